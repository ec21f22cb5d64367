//! The output of a command: its beginning in answers, all of it in S3.

use std::fmt::Debug;
use std::fs::File;
use std::io;

use futures_util::future::BoxFuture;

use super::order::Captured;

/// The longest text of each stream in answers.
pub(super) const STDOUT: usize = 24_000;
pub(super) const STDERR: usize = 8_000;

/// How a text ends that an agent has cut.
const CUT: &str = "--output truncated--";

/// Where agents store output.
pub(crate) trait OutputStore: Debug + Send + Sync {
    /// Stores an object.
    fn store(&self, bucket: String, key: String, content: File) -> BoxFuture<'_, io::Result<()>>;
}

/// Returns what an answer has of a stream.
pub(super) fn shown(captured: &Captured, longest: usize) -> String {
    if captured.length <= longest as u64 {
        return String::from_utf8_lossy(&captured.head).into_owned();
    }
    let kept = captured.head.len().min(longest - CUT.len());
    let text = String::from_utf8_lossy(&captured.head[..kept]);
    format!("{text}{CUT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut() {
        let captured = |text: &str| Captured {
            head: text.as_bytes().to_vec(),
            all: None,
            length: text.len() as u64,
        };
        assert_eq!(shown(&captured("abc"), 24), "abc");
        let full = "a".repeat(24);
        assert_eq!(shown(&captured(&full), 24), full);
        let cut = shown(&captured(&"a".repeat(25)), 24);
        assert_eq!(cut, "aaaa--output truncated--");
        assert_eq!(cut.len(), 24);
    }
}
