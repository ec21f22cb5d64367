//! Questions to the person at the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Whether a question can be asked.
pub(super) fn is_at_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks, and returns the line that was typed, without blanks around it.
pub(super) fn ask(question: &str) -> anyhow::Result<String> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} ")?;
    stderr.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Asks a question whose answer is no unless it is yes.
pub(super) fn agrees(question: &str) -> anyhow::Result<bool> {
    let answer = ask(&format!("{question} [y/N]"))?.to_lowercase();
    Ok(["y", "yes"].contains(&answer.as_str()))
}

/// Asks for a secret, without showing what is typed.
pub(super) fn ask_secret(question: &str) -> anyhow::Result<String> {
    Ok(rpassword::prompt_password(format!("{question} "))?)
}
