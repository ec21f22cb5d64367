//! The arguments of `autorun ledger`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::parse_time;
use super::{LedgerArgs, ReportArgs};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LedgerCommand {
    /// Prepare a bucket for a shared ledger: versioning, encryption, no public
    /// access, no requests without TLS. Applies to the whole bucket
    Init(LedgerArgs),
    /// Show what is in the ledger, who works on its runs, and how its bucket is set
    Status(LedgerArgs),
    /// Read every object of the ledger, and report what is damaged or foreign
    Check(LedgerArgs),
    /// Move runs of this machine into the shared ledger
    Import(MoveArgs),
    /// Move runs of the shared ledger to this machine
    Export(MoveArgs),
    /// Remove the records of old runs that have left nothing behind
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MoveArgs {
    /// IDs of runs, or unique prefixes of them
    #[arg(value_name = "RUN", required_unless_present = "all")]
    pub(in crate::cli) runs: Vec<String>,

    /// Every run that is not in progress
    #[arg(long, conflicts_with = "runs")]
    pub(in crate::cli) all: bool,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    #[command(flatten)]
    pub(in crate::cli) report: ReportArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PruneArgs {
    /// Only of runs that ended at least this long ago, such as 90d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(in crate::cli) older_than: Duration,

    /// Remove them without asking
    #[arg(short, long)]
    pub(in crate::cli) yes: bool,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,

    #[command(flatten)]
    pub(in crate::cli) report: ReportArgs,
}
