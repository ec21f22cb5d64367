//! Copies the output of processes into the journal, line by line.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;
use tokio::task::spawn_local;

use super::writer::{Journal, LONGEST, Source};

impl Journal {
    /// Returns the output for a process to start, and the task's other end.
    pub(in super::super) fn pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        Ok((pipe::Receiver::from_owned_fd(reader.into())?, writer.into()))
    }

    /// Copies output until all processes that have it as theirs have ended.
    pub(in super::super) fn follow(
        &self,
        source: Source,
        priority: u8,
        output: impl AsyncRead + Unpin + 'static,
    ) {
        let journal = self.clone();
        spawn_local(async move {
            if let Err(error) = journal.copy(&source, priority, output).await {
                log::debug!("cannot read the output of {}: {error}", source.identifier);
            }
        });
    }

    /// Copies lines of output until its end.
    pub(in super::super) async fn copy(
        &self,
        source: &Source,
        priority: u8,
        mut output: impl AsyncRead + Unpin,
    ) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let length = output.read_buf(&mut buffer).await?;
            while let Some(end) = end_of_line(&buffer) {
                self.line(source, priority, &buffer[..end]);
                buffer.drain(..end);
            }
            if length == 0 {
                self.line(source, priority, &buffer);
                return Ok(());
            }
            // Other tasks of the machine must run even during a flood of output.
            tokio::task::yield_now().await;
        }
    }
}

/// Returns the end of the first line, if the line is complete or too long.
fn end_of_line(buffer: &[u8]) -> Option<usize> {
    let line_break = buffer.iter().position(|byte| *byte == b'\n');
    match line_break.map(|at| at + 1) {
        Some(end) if end <= LONGEST => Some(end),
        _ => (buffer.len() >= LONGEST).then_some(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_becomes_several_messages() {
        assert_eq!(end_of_line(b"one\ntwo"), Some(4));
        assert_eq!(end_of_line(b"two"), None);
        assert_eq!(end_of_line(&vec![b'x'; LONGEST + 5]), Some(LONGEST));
    }
}
