//! The `autorun` program: calls the command line and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    autorun::cli::main()
}
