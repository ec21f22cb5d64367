//! Values that the command line refers to: the content of a file, or the output
//! of a program such as a password manager.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::string::FromUtf8Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Mask, text};

/// The most bytes that a command may print.
const LONGEST: u64 = 1 << 20;

/// How many lines of a failed command's stderr the error shows.
const SHOWN_LINES: usize = 5;

/// Reads a file, or standard input for `-`, without the final newline that every
/// editor adds.
///
/// Throws `invalid_option` if another variable has read standard input.
pub(super) fn read_file(name: &str, file: &Path, directory: &Path) -> Result<String> {
    static STDIN_READ: AtomicBool = AtomicBool::new(false);
    let attempt = format!("read the value of `{name}` from");
    let read = if file == Path::new("-") {
        if STDIN_READ.swap(true, Ordering::Relaxed) {
            return Err(Error::invalid(format!(
                "variable `{name}`: another variable has already read standard input"
            ))
            .hint("pass `@-` for one variable only, and `@FILE` for the others"));
        }
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(directory.join(file))
    };
    let bytes = read.map_err(|e| Error::io(&attempt, file, &e))?;
    let content = String::from_utf8(bytes).map_err(|e| not_text(&attempt, file, &e))?;
    Ok(without_newline(&content))
}

/// Creates the error for a file in another encoding. It does not show the bytes, which
/// may be a secret.
fn not_text(attempt: &str, file: &Path, error: &FromUtf8Error) -> Error {
    let (name, bytes) = (file.display(), error.as_bytes());
    let before = &bytes[..error.utf8_error().valid_up_to()];
    let line = before.split(|byte| *byte == b'\n').count();
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let (why, from) = if is_utf16 {
        ("it is UTF-16 text".to_owned(), "UTF-16")
    } else {
        (format!("line {line} is not UTF-8 text"), "LATIN1")
    };
    let message = format!("cannot {attempt} `{name}`: {why}");
    Error::invalid(message).hint(format!(
        "save the file as UTF-8, for example: `iconv -f {from} -t UTF-8 {}`",
        shell_words::quote(&file.to_string_lossy())
    ))
}

/// Runs a shell command and returns its output, without the final newline.
///
/// The command has the terminal, so that it can ask for a password. If stderr is
/// not a terminal, it is captured: it is part of the error if the command fails,
/// and is passed to `on_stderr` if the command succeeds.
pub(super) fn output_of(
    name: &str,
    command: &str,
    directory: &Path,
    mask: &Mask,
    on_stderr: impl FnOnce(String),
) -> Result<String> {
    let failed = |what: String| {
        let message = format!("the command for `{name}` {what}");
        Error::new(ErrorKind::CommandFailed, message)
    };
    let unusable = |e: std::io::Error| failed(format!("cannot run: {e}"));
    let at_terminal = std::io::stderr().is_terminal();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(if at_terminal {
            Stdio::inherit()
        } else {
            Stdio::piped()
        })
        .spawn()
        .map_err(unusable)?;
    let stderr = child.stderr.take();
    let messages = thread::spawn(move || {
        let mut messages = Vec::new();
        if let Some(mut stderr) = stderr {
            // A read error only shortens the messages.
            let _ = stderr.by_ref().take(LONGEST).read_to_end(&mut messages);
            // Without a reader, a full pipe would block the command.
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        String::from_utf8_lossy(&messages).into_owned()
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
    let messages = messages.join().unwrap_or_default();
    read.map_err(unusable)?;
    if printed.len() as u64 > LONGEST {
        return Err(failed(format!(
            "printed more than {}",
            text::bytes(LONGEST)
        )));
    }
    let printed = String::from_utf8(printed);
    if !status.success() {
        // The command may have printed the secret to stdout and to stderr before
        // it failed.
        mask.add(&printed.unwrap_or_default());
        let lines: Vec<&str> = messages.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        let shown = match last.as_str() {
            "" => String::new(),
            last => format!(":\n{}", text::harmless(&mask.apply(last))),
        };
        return Err(failed(format!("failed, {status}{shown}")));
    }
    let printed =
        printed.map_err(|_| failed("printed output that is not UTF-8 text".to_owned()))?;
    let value = without_newline(&printed);
    if value.is_empty() {
        return Err(failed("printed nothing".to_owned()));
    }
    if !messages.trim().is_empty() {
        on_stderr(format!(
            "stderr of the command for `{name}`: {}",
            messages.trim()
        ));
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
    fn the_value_is_the_output_without_the_final_newline() {
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
    fn the_error_of_a_failed_command_has_no_secret() {
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
