//! The arguments of the commands about the text of playbooks, and about the manual.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(in crate::cli) struct DocsArgs {
    /// A function, a page of the manual, a code of `autorun check`, or a playbook
    /// file. Without it, list all functions and pages
    #[arg(value_name = "NAME|PAGE|CODE|PLAYBOOK")]
    pub(in crate::cli) subject: Option<String>,

    /// List the functions, pages and codes whose text contains all these words
    #[arg(long, value_name = "WORDS", conflicts_with = "subject")]
    pub(in crate::cli) search: Option<String>,

    /// Write definition files of Rhai, for editors, to this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["subject", "search"])]
    pub(in crate::cli) definitions: Option<PathBuf>,
}

/// The arguments of `autorun new`.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// Name of the file; .rhai is added if it is missing
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: std::ffi::OsString,
}

/// The arguments of `autorun check`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// The playbooks. If it is -, read standard input
    #[arg(value_name = "PLAYBOOK", required = true)]
    pub(in crate::cli) files: Vec<PathBuf>,

    /// Fail with exit status 1 also if there are only warnings
    #[arg(long, value_name = "WHAT")]
    pub(in crate::cli) deny: Vec<Deny>,

    /// Format of the findings: human is text, json is one JSON object per line,
    /// sarif is SARIF 2.1.0
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(in crate::cli) output: CheckOutput,
}

/// The arguments of `autorun lsp`.
#[derive(Debug, Args)]
pub(in crate::cli) struct LspArgs {
    /// Accepted because some editors pass it to every language server
    #[arg(long, hide = true)]
    pub(in crate::cli) stdio: bool,
}

/// The findings that count as errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Deny {
    Warnings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum CheckOutput {
    Human,
    Json,
    Sarif,
}
