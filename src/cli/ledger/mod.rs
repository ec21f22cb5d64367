//! `autorun ledger`: the bucket of a shared ledger, and its records.

use super::args::LedgerCommand;

mod bucket_settings;
mod check;
mod init;
mod moving;
mod prune;
mod status;

pub(super) fn ledger(command: &LedgerCommand) -> anyhow::Result<u8> {
    match command {
        LedgerCommand::Init(arguments) => init::init(arguments),
        LedgerCommand::Status(arguments) => status::status(arguments),
        LedgerCommand::Check(arguments) => check::check(arguments),
        LedgerCommand::Import(arguments) => moving::import(arguments),
        LedgerCommand::Export(arguments) => moving::export(arguments),
        LedgerCommand::Prune(arguments) => prune::prune(arguments),
    }
}
