//! Questions to the user at the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::error::{Error, ErrorKind, Result};

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

/// Asks for the code of a multi-factor device.
///
/// Throws `invalid_option` if there is no terminal, or if the answer does not
/// have 6 digits.
pub(super) fn ask_code(serial: &str) -> Result<String> {
    if !is_at_terminal() {
        return Err(Error::invalid(format!(
            "a code of the MFA device {serial} is needed, and there is no terminal to ask for it"
        ))
        .hint(
            "run any `aws` command with this profile at a terminal first, and autorun uses its \
             session; or put the keys that `aws sts get-session-token --serial-number ARN \
             --token-code CODE` returns into the environment; or use a profile without \
             mfa_serial",
        ));
    }
    let failed = |e| Error::new(ErrorKind::Denied, format!("cannot ask for the code: {e}"));
    let code = ask(&format!("code of the MFA device {serial}:")).map_err(failed)?;
    let digits = code.chars().all(|c| c.is_ascii_digit());
    if code.len() == 6 && digits {
        Ok(code)
    } else {
        Err(Error::invalid("the code of an MFA device has 6 digits")
            .hint("run it again with the code that the device shows"))
    }
}
