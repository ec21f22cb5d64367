//! Parses what the host writes before the output of the command: whatever the
//! login shell prints, sudo's dialog, and the lines with which the programs of
//! [`super::shell`] report.

use super::shell::{self, Framing, Sudo};

/// The limit of kept output from before the command, in bytes, per stream.
pub(super) const LONGEST_PREFACE: usize = 64 << 10;

/// An event before the output of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BootEvent {
    AsksForPassword,
    AsksAgain,
    /// sudo does not ask again.
    IsRoot,
    /// The program has started; it reads its input next.
    Started,
}

/// Finds the reports of the programs, which divide the command's output from
/// everything before it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Boot {
    marker: Vec<u8>,
    prompt: Vec<u8>,
    /// Whether sudo may ask for a password.
    dialog: bool,
    answered: bool,
    /// The output before the command's, as far as it is kept.
    before: [Vec<u8>; 2],
    /// Whether the output of the command has begun.
    begun: [bool; 2],
    /// Whether the account's shell ran and called sudo.
    pub(super) asked_sudo: bool,
    /// Whether the working directory of the command cannot be entered.
    pub(super) no_directory: bool,
    /// Whether the working directory is that of a user who does not exist.
    pub(super) no_user: bool,
    /// The process group of the command.
    pub(super) group: Option<i32>,
    /// The id of the host's boot, on Linux.
    pub(super) id: Option<String>,
}

impl Boot {
    pub(super) fn new(framing: &Framing, sudo: Sudo) -> Self {
        Self {
            marker: framing.marker().into_bytes(),
            prompt: framing.prompt().into_bytes(),
            dialog: sudo == Sudo::Password,
            answered: false,
            before: [Vec::new(), Vec::new()],
            begun: [false, false],
            asked_sudo: false,
            no_directory: false,
            no_user: false,
            group: None,
            id: None,
        }
    }

    /// Returns whether the command has begun, so that its status counts.
    pub(super) fn began(&self) -> bool {
        self.begun[1]
    }

    /// Returns what the host printed before the command, on one stream.
    pub(super) fn before(&self, stream: usize) -> &[u8] {
        &self.before[stream]
    }

    /// Takes output of a stream. Returns the part that belongs to the command,
    /// and adds what happened to `events`.
    pub(super) fn take<'a>(
        &mut self,
        stream: usize,
        bytes: &'a [u8],
        events: &mut Vec<BootEvent>,
    ) -> std::borrow::Cow<'a, [u8]> {
        if self.begun[stream] {
            return bytes.into();
        }
        self.before[stream].extend_from_slice(bytes);
        while let Some(word) = self.next_report(stream, events) {
            match word.as_slice() {
                word if word == shell::OUTPUT.as_bytes() => {
                    self.begun[stream] = true;
                    return std::mem::take(&mut self.before[stream]).into();
                }
                word if word == shell::ASKS_SUDO.as_bytes() => self.asked_sudo = true,
                word if word == shell::IS_ROOT.as_bytes() => {
                    self.dialog = false;
                    events.push(BootEvent::IsRoot);
                }
                word if word == shell::NO_DIRECTORY.as_bytes() => self.no_directory = true,
                word if word == shell::NO_USER.as_bytes() => self.no_user = true,
                word => {
                    if let (Some((group, boot)), None) = (started(word), self.group) {
                        self.group = Some(group);
                        self.id = boot;
                        events.push(BootEvent::Started);
                    }
                }
            }
        }
        let over = self.before[stream].len().saturating_sub(LONGEST_PREFACE);
        self.before[stream].drain(..over);
        std::borrow::Cow::Borrowed(&[])
    }

    /// Returns the word of the next complete report and removes the report. On
    /// the way it follows sudo's dialog.
    fn next_report(&mut self, stream: usize, events: &mut Vec<BootEvent>) -> Option<Vec<u8>> {
        let before = &mut self.before[stream];
        if stream == 1
            && self.dialog
            && let Some(at) = find(before, &self.prompt)
        {
            before.drain(at..at + self.prompt.len());
            events.push(if std::mem::replace(&mut self.answered, true) {
                BootEvent::AsksAgain
            } else {
                BootEvent::AsksForPassword
            });
        }
        let at = find(before, &self.marker)?;
        let word = at + self.marker.len();
        let end = word + before[word..].iter().position(|b| *b == b'\n')?;
        let report = before[word..end].to_vec();
        // What was printed before a report does not explain what fails later,
        // except for the shell's own words about a directory.
        let explains = [shell::NO_DIRECTORY, shell::NO_USER].map(str::as_bytes);
        let from = if explains.contains(&report.as_slice()) {
            at
        } else {
            0
        };
        before.drain(from..=end);
        Some(report)
    }
}

/// Parses the report of a program that starts: `GROUP:BOOT`.
fn started(word: &[u8]) -> Option<(i32, Option<String>)> {
    let (group, boot) = std::str::from_utf8(word).ok()?.split_once(':')?;
    let is_id = |c: char| c.is_ascii_hexdigit() || c == '-';
    let boot = Some(boot).filter(|id| (1..=64).contains(&id.len()) && id.chars().all(is_id));
    Some((group.parse().ok()?, boot.map(str::to_owned)))
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|part| part == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_output_after_the_report_belongs_to_the_command() {
        let framing = Framing::new();
        let marker = framing.marker();
        let stdout = format!("\x00\u{1b}[31mmotd{marker}.\nout {marker}.\n");
        let stderr = format!("who?\n{marker}4711:ab-1\nagain {marker}.\nerr");
        for piece in [1, 2, 7, 1000] {
            let mut boot = Boot::new(&framing, Sudo::No);
            let mut events = Vec::new();
            let mut got = [Vec::new(), Vec::new()];
            for (stream, text) in [&stdout, &stderr].into_iter().enumerate() {
                for bytes in text.as_bytes().chunks(piece) {
                    let own = boot.take(stream, bytes, &mut events);
                    got[stream].extend_from_slice(&own);
                }
            }
            assert_eq!(got[0], format!("out {marker}.\n").into_bytes());
            assert_eq!(got[1], b"err");
            assert_eq!((boot.group, boot.began()), (Some(4711), true));
            assert_eq!(boot.id.as_deref(), Some("ab-1"));
            assert_eq!(events, [BootEvent::Started]);
        }
    }

    #[test]
    fn long_output_before_the_command_is_cut_at_its_beginning() {
        let framing = Framing::new();
        let mut boot = Boot::new(&framing, Sudo::No);
        for _ in 0..100 {
            let own = boot.take(0, &[b'x'; 4096], &mut Vec::new());
            assert!(own.is_empty());
        }
        assert_eq!(boot.before(0).len(), LONGEST_PREFACE);
        let end = format!("{}.\nout", framing.marker());
        assert_eq!(&*boot.take(0, end.as_bytes(), &mut Vec::new()), b"out");
    }
}
