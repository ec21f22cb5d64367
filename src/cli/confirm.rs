//! Questions to the user at the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Returns whether a question can be asked.
pub(super) fn is_at_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a question and returns the line that the user typed, trimmed.
pub(super) fn ask(question: &str) -> anyhow::Result<String> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} ")?;
    stderr.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Asks a yes/no question. Any answer but `y` or `yes` means no.
pub(super) fn agrees(question: &str) -> anyhow::Result<bool> {
    let answer = ask(&format!("{question} [y/N]"))?.to_lowercase();
    Ok(["y", "yes"].contains(&answer.as_str()))
}

/// Asks for a secret, without echoing the input.
pub(super) fn ask_secret(question: &str) -> anyhow::Result<String> {
    Ok(rpassword::prompt_password(format!("{question} "))?)
}
