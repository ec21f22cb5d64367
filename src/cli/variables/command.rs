//! Values that are not in the command line itself: in a file, or in the output of
//! a program such as a password manager.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Mask, text};

/// More than a value can be.
const LONGEST: u64 = 1 << 20;

/// How much of what a failed program said its error shows.
const SHOWN_LINES: usize = 5;

/// The text of a file, without the newline that every editor adds.
pub(super) fn read_file(name: &str, file: &Path, directory: &Path) -> Result<String> {
    let attempt = format!("read the value of `{name}` from");
    let content =
        std::fs::read_to_string(directory.join(file)).map_err(|e| Error::io(&attempt, file, &e))?;
    Ok(without_newline(&content))
}

/// What a command prints, without its last newline.
///
/// A shell runs it, so that it can be a pipe. It has the terminal, and may ask
/// there. Where stderr is no terminal, what it says there is part of the error
/// if it fails, and is given to `hears` if it does not.
pub(super) fn output_of(
    name: &str,
    command: &str,
    directory: &Path,
    mask: &Mask,
    hears: impl FnOnce(String),
) -> Result<String> {
    let failed = |what: String| {
        let message = format!("the command for `{name}` {what}");
        Error::new(ErrorKind::CommandFailed, message)
    };
    let unusable = |e: std::io::Error| failed(format!("cannot be run: {e}"));
    let asks = std::io::stderr().is_terminal();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(if asks {
            Stdio::inherit()
        } else {
            Stdio::piped()
        })
        .spawn()
        .map_err(unusable)?;
    let stderr = child.stderr.take();
    let said = thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            // What cannot be read is not shown.
            let _ = stderr.by_ref().take(LONGEST).read_to_end(&mut said);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let mut printed = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(LONGEST + 1).read_to_end(&mut printed),
        None => Ok(0),
    };
    if printed.len() as u64 > LONGEST {
        let _ = child.kill();
    }
    let status = child.wait().map_err(unusable)?;
    let said = said.join().unwrap_or_default();
    read.map_err(unusable)?;
    if printed.len() as u64 > LONGEST {
        return Err(failed(format!(
            "printed more than {}",
            text::bytes(LONGEST)
        )));
    }
    let printed = String::from_utf8(printed);
    if !status.success() {
        // It may have printed the secret before, and said it on stderr as well.
        mask.add(&printed.unwrap_or_default());
        let lines: Vec<&str> = said.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        let said = match last.as_str() {
            "" => String::new(),
            last => format!(":\n{}", text::harmless(&mask.apply(last))),
        };
        return Err(failed(format!("failed, {status}{said}")));
    }
    let printed =
        printed.map_err(|_| failed("printed something that is not UTF-8 text".to_owned()))?;
    let value = without_newline(&printed);
    if value.is_empty() {
        return Err(failed("printed nothing".to_owned()));
    }
    if !said.trim().is_empty() {
        hears(format!("the command for `{name}` said: {}", said.trim()));
    }
    Ok(value)
}

fn without_newline(text: &str) -> String {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(command: &str) -> Result<String> {
        output_of("pw", command, Path::new("/"), &Mask::default(), drop)
    }

    #[test]
    fn a_command_gives_its_output_without_its_last_newline() {
        for (command, value) in [
            ("echo hunter22", "hunter22"),
            ("printf 'hunter22'", "hunter22"),
            ("printf 'hunter22\\r\\n'", "hunter22"),
            ("printf 'two\\nlines\\n\\n'", "two\nlines\n"),
            ("printf ' a  b ' | cat", " a  b "),
            ("pwd", "/"),
            ("echo noise >&2; echo hunter22", "hunter22"),
        ] {
            assert_eq!(output(command).unwrap(), value, "{command}");
        }
    }

    #[test]
    fn a_command_that_fails_is_told_without_the_secret() {
        let error = output("echo hunter22; echo locked: hunter22 >&2; exit 3").unwrap_err();
        assert_eq!(error.kind, ErrorKind::CommandFailed);
        assert_eq!(
            error.to_string(),
            "the command for `pw` failed, exit status: 3:\nlocked: ****"
        );
        for (command, what) in [
            ("nosuch-program", "failed, exit status: 127"),
            ("kill -9 $$", "failed, signal: 9"),
            ("true", "printed nothing"),
            ("echo", "printed nothing"),
            ("printf '\\377hunter'", "not UTF-8"),
            ("head -c 2000000 /dev/zero", "printed more than 1.0 MiB"),
            ("yes", "printed more than 1.0 MiB"),
        ] {
            let message = output(command).unwrap_err().to_string();
            assert!(message.contains(what), "{command}: {message}");
        }
    }
}
