//! What the other side writes to stderr before the command runs: sudo's dialog,
//! and the line with which the boot program says that it began.

use super::shell::{self, Sudo};

/// What a login shell may say before the command runs; of more only the end is
/// looked at.
pub(super) const LONGEST_PREFACE: usize = 64 << 10;

/// What the other side said on stderr before the program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    AsksForPassword,
    AsksAgain,
    /// sudo asks no more.
    Through,
}

/// sudo's question and its end.
struct Dialog {
    prompt: String,
    through: String,
    answered: bool,
}

impl Dialog {
    fn new(token: &str) -> Self {
        Self {
            prompt: shell::prompt(token),
            through: shell::through(token),
            answered: false,
        }
    }
}

/// Finds the boot program's one line on stderr, which says the process group.
pub(super) struct Boot {
    dialog: Option<Dialog>,
    token: String,
    /// What came before it: a login shell's own words, or half a line.
    seen: Vec<u8>,
    /// Whether the account's shell ran, and called sudo.
    pub(super) asked_sudo: bool,
    /// Whether the directory of the command cannot be entered.
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

    pub(super) fn strip(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Said {
        if self.group.is_some() {
            take(bytes);
            return Said::Nothing;
        }
        self.seen.extend_from_slice(bytes);
        if let Some(said) = self.listen() {
            // What sudo says besides is no output.
            self.shorten(|_| {});
            return said;
        }
        while let Some(end) = self.seen.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.seen.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            // A login shell may have written there without ending its line.
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
        Said::Nothing
    }

    /// Lets go of what is too long for the line that is waited for.
    fn shorten(&mut self, mut take: impl FnMut(&[u8])) {
        if self.seen.len() > LONGEST_PREFACE {
            let over: Vec<u8> = self.seen.drain(..LONGEST_PREFACE / 2).collect();
            take(&over);
        }
    }

    /// Follows sudo's dialog; nothing when there is none, or none any more.
    fn listen(&mut self) -> Option<Said> {
        let dialog = self.dialog.as_mut()?;
        let seen = String::from_utf8_lossy(&self.seen).into_owned();
        // What sudo says besides, as its lecture, is nobody's output.
        if let Some((_, rest)) = seen.split_once(&format!("{}\n", dialog.through)) {
            self.seen = rest.as_bytes().to_vec();
            self.dialog = None;
            return Some(Said::Through);
        }
        let Some((_, rest)) = seen.split_once(&dialog.prompt) else {
            return Some(Said::Nothing);
        };
        self.seen = rest.as_bytes().to_vec();
        let again = std::mem::replace(&mut dialog.answered, true);
        Some(if again {
            Said::AsksAgain
        } else {
            Said::AsksForPassword
        })
    }

    pub(super) fn flush(&mut self, take: impl FnOnce(&[u8])) {
        take(&std::mem::take(&mut self.seen));
    }
}
