//! Parses what the host writes to stderr before the command runs: sudo's
//! dialog, and the line with which the boot program reports that it has
//! started.

use super::shell::{self, Sudo};

/// The limit of kept output from a login shell before the command, in bytes;
/// the beginning of longer output is passed on unexamined.
pub(super) const LONGEST_PREFACE: usize = 64 << 10;

/// An event on stderr before the program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SudoEvent {
    Nothing,
    AsksForPassword,
    AsksAgain,
    /// sudo does not ask again.
    Done,
}

/// sudo's password dialog.
struct Dialog {
    prompt: String,
    done: String,
    answered: bool,
}

impl Dialog {
    fn new(token: &str) -> Self {
        Self {
            prompt: shell::prompt(token),
            done: shell::sudo_done(token),
            answered: false,
        }
    }
}

/// Finds the boot program's line on stderr, which contains the process group.
pub(super) struct Boot {
    dialog: Option<Dialog>,
    token: String,
    /// The output before the line: that of a login shell, or an incomplete
    /// line.
    seen: Vec<u8>,
    /// Whether the account's shell ran and called sudo.
    pub(super) asked_sudo: bool,
    /// Whether the working directory of the command cannot be entered.
    pub(super) no_directory: bool,
    pub(super) group: Option<i32>,
}

impl Boot {
    pub(super) fn new(token: &str, sudo: Sudo) -> Self {
        Self {
            dialog: (sudo == Sudo::Password).then(|| Dialog::new(token)),
            token: token.to_owned(),
            seen: Vec::new(),
            asked_sudo: false,
            no_directory: false,
            group: None,
        }
    }

    /// Passes the command's own stderr to `take`, without the lines of sudo and
    /// the boot program.
    pub(super) fn strip(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> SudoEvent {
        if self.group.is_some() {
            take(bytes);
            return SudoEvent::Nothing;
        }
        self.seen.extend_from_slice(bytes);
        if let Some(event) = self.follow_dialog() {
            // Other output of sudo is not part of the command's output.
            self.shorten(|_| {});
            return event;
        }
        while let Some(end) = self.seen.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.seen.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            // A login shell may have written text before it, without a newline.
            let Some((before, group)) = text.split_once(self.token.as_str()) else {
                take(&line);
                continue;
            };
            take(before.as_bytes());
            match group.trim() {
                shell::ASKS_SUDO => {
                    self.asked_sudo = true;
                    continue;
                }
                shell::NO_DIRECTORY => {
                    self.no_directory = true;
                    continue;
                }
                _ => {}
            }
            self.group = group.trim().parse().ok();
            take(&std::mem::take(&mut self.seen));
            break;
        }
        self.shorten(take);
        SudoEvent::Nothing
    }

    /// Passes on the beginning of output that is too long to be searched.
    fn shorten(&mut self, mut take: impl FnMut(&[u8])) {
        if self.seen.len() > LONGEST_PREFACE {
            let over: Vec<u8> = self.seen.drain(..LONGEST_PREFACE / 2).collect();
            take(&over);
        }
    }

    /// Follows sudo's dialog. Returns `None` if there is no dialog, or if it is
    /// over.
    fn follow_dialog(&mut self) -> Option<SudoEvent> {
        let dialog = self.dialog.as_mut()?;
        let seen = String::from_utf8_lossy(&self.seen).into_owned();
        // Other output of sudo, such as its lecture, is discarded.
        if let Some((_, rest)) = seen.split_once(&format!("{}\n", dialog.done)) {
            self.seen = rest.as_bytes().to_vec();
            self.dialog = None;
            return Some(SudoEvent::Done);
        }
        let Some((_, rest)) = seen.split_once(&dialog.prompt) else {
            return Some(SudoEvent::Nothing);
        };
        self.seen = rest.as_bytes().to_vec();
        let again = std::mem::replace(&mut dialog.answered, true);
        Some(if again {
            SudoEvent::AsksAgain
        } else {
            SudoEvent::AsksForPassword
        })
    }

    pub(super) fn flush(&mut self, take: impl FnOnce(&[u8])) {
        take(&std::mem::take(&mut self.seen));
    }
}
