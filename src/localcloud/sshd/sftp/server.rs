//! The main loop of the server, which reads packets and writes answers.
//!
//! Requests are answered in order. Answers are buffered while further requests are
//! waiting.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use super::files::Files;
use super::wire::MAX_PACKET;

/// Serves files on standard input and output until the end of the input.
#[must_use]
pub(crate) fn sftp_server() -> ExitCode {
    // Use files, because the standard streams of Rust have their own buffers.
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let output = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let result = match (input, output) {
        (Ok(input), Ok(output)) => serve(input, output),
        (Err(e), _) | (_, Err(e)) => Err(e),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::warn!("sftp: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(input: impl Read, output: impl Write) -> io::Result<()> {
    let mut input = BufReader::with_capacity(MAX_PACKET, input);
    let mut output = BufWriter::with_capacity(MAX_PACKET, output);
    let mut files = Files::default();
    let mut packet = Vec::new();
    while read_packet(&mut input, &mut packet)? {
        output.write_all(&files.answer(&packet))?;
        if !has_packet(input.buffer()) {
            output.flush()?;
        }
    }
    output.flush()
}

/// Reads the next packet without its length. Returns false at the end of the input.
fn read_packet(input: &mut impl BufRead, packet: &mut Vec<u8>) -> io::Result<bool> {
    if input.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MAX_PACKET {
        let reason = format!("invalid packet length {length}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    packet.resize(length, 0);
    input.read_exact(packet)?;
    Ok(true)
}

/// Whether the buffer contains the whole next packet.
fn has_packet(buffer: &[u8]) -> bool {
    buffer
        .split_first_chunk()
        .is_some_and(|(length, rest)| rest.len() >= u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_packet_length_ends_the_server() {
        let mut output = Vec::new();
        for input in [[0xff; 8].as_slice(), &[0; 8], &[0, 0, 0, 9, 1]] {
            assert!(serve(input, &mut output).is_err());
        }
        assert!(serve([].as_slice(), &mut output).is_ok());
        assert!(output.is_empty());
    }

    #[test]
    fn every_packet_gets_an_answer() {
        let mut files = Files::default();
        for kind in 0..=255 {
            for length in 0..40 {
                let mut packet = vec![0; length];
                packet.insert(0, kind);
                assert!(!files.answer(&packet).is_empty());
            }
        }
    }
}
