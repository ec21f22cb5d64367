//! The `aws-chunked` encoding: content in chunks, which may be signed, and a
//! trailer.
//!
//! The decoder passes content on as it arrives, although the signature of a chunk
//! can be verified only at its end. Code that stores the content must not show it
//! before the decoder has finished.
//!
//! Why not the decoder of s3s (0.14.1): it holds a whole chunk in memory, up to
//! 4 GiB, and accepts a body that ends before its last chunk.

use std::collections::VecDeque;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use s3s::{S3Error, S3ErrorCode};
use sha2::{Digest, Sha256};

use super::failure::{Result, fail, named};
use crate::signature::Chain;

/// The maximum length of a line with a chunk's size or a trailer. A valid line
/// has about 100 bytes.
const MAX_LINE: usize = 512;

/// Decodes an `aws-chunked` body that arrives in pieces of any size.
pub(super) struct Decoder {
    chain: Option<Chain>,
    digest: Sha256,
    /// The signature that the current chunk presents.
    signature: String,
    state: State,
    line: Vec<u8>,
    /// The name of the announced trailer.
    announced: Option<String>,
    trailers: HeaderMap,
    canonical_trailer: String,
    trailer_signature: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Content(u64),
    /// The line break after a chunk's content.
    ContentEnd,
    Trailer,
    Done,
}

impl Decoder {
    /// Creates a decoder. With a chain, every chunk must be signed. The body must
    /// end with the announced trailer and must not contain any other trailer.
    pub(super) fn new(chain: Option<Chain>, announced: Option<String>) -> Self {
        Self {
            chain,
            digest: Sha256::new(),
            signature: String::new(),
            state: State::Size,
            line: Vec::new(),
            announced,
            trailers: HeaderMap::new(),
            canonical_trailer: String::new(),
            trailer_signature: None,
        }
    }

    /// Decodes the next piece of the body and appends its content to `content`.
    pub(super) fn feed(&mut self, mut input: Bytes, content: &mut VecDeque<Bytes>) -> Result<()> {
        while !input.is_empty() {
            match self.state {
                State::Content(remaining) => {
                    let take = usize::try_from(remaining)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    let piece = input.split_to(take);
                    if self.chain.is_some() {
                        self.digest.update(&piece);
                    }
                    content.push_back(piece);
                    self.state = match remaining - take as u64 {
                        0 => State::ContentEnd,
                        remaining => State::Content(remaining),
                    };
                }
                State::Done => return Err(malformed("data after the trailer")),
                State::Size | State::ContentEnd | State::Trailer => {
                    if let Some(line) = self.take_line(&mut input)? {
                        self.handle_line(&line)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that the body is complete and returns its trailer.
    pub(super) fn finish(mut self) -> Result<HeaderMap> {
        if self.state == State::Trailer {
            // Many clients omit the empty line at the end.
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            if !line.is_empty() {
                self.handle_line(&line)?;
            }
            self.handle_line("")?;
        }
        match self.state {
            State::Done => Ok(self.trailers),
            _ => Err(fail(
                S3ErrorCode::IncompleteBody,
                "The request body terminated unexpectedly",
            )),
        }
    }

    /// Returns the next complete line without its line break.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<String>> {
        let end = input.iter().position(|&byte| byte == b'\n');
        let piece = input.split_to(end.map_or(input.len(), |end| end + 1));
        self.line.extend_from_slice(&piece);
        if self.line.len() > MAX_LINE {
            return Err(malformed("a line is too long"));
        }
        if end.is_none() {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8(line).map_err(|_| malformed("a line is not valid UTF-8"))?;
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn handle_line(&mut self, line: &str) -> Result<()> {
        match self.state {
            State::Size => self.begin_chunk(line),
            State::ContentEnd if line.is_empty() => {
                self.end_chunk()?;
                self.state = State::Size;
                Ok(())
            }
            State::ContentEnd => Err(malformed("a chunk is longer than its declared size")),
            State::Trailer if line.is_empty() => {
                self.end_trailer()?;
                self.state = State::Done;
                Ok(())
            }
            State::Trailer => self.take_trailer(line),
            State::Content(_) | State::Done => Ok(()),
        }
    }

    fn begin_chunk(&mut self, line: &str) -> Result<()> {
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let hexadecimal = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = if hexadecimal {
            u64::from_str_radix(size, 16).ok()
        } else {
            None
        };
        let size = size.ok_or_else(|| malformed("a chunk does not begin with its size"))?;
        let signature = match (&self.chain, extension) {
            (None, "") => "",
            (None, _) => return Err(malformed("an unsigned chunk has an extension")),
            (Some(_), extension) => extension
                .strip_prefix("chunk-signature=")
                .ok_or_else(signature_mismatch)?,
        };
        signature.clone_into(&mut self.signature);
        if size == 0 {
            self.end_chunk()?;
            self.state = State::Trailer;
        } else {
            self.state = State::Content(size);
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<()> {
        let digest = std::mem::take(&mut self.digest).finalize();
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        if chain.chunk(&digest, &self.signature) {
            Ok(())
        } else {
            Err(signature_mismatch())
        }
    }

    fn take_trailer(&mut self, line: &str) -> Result<()> {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| malformed("a trailer line has no colon"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let place = match name.as_str() {
            "x-amz-trailer-signature" if self.chain.is_some() => &mut self.trailer_signature,
            name if self.announced.as_deref() == Some(name) => {
                return self.take_announced(name, value);
            }
            _ => return Err(malformed_trailer()),
        };
        match place.replace(value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(malformed_trailer()),
        }
    }

    fn take_announced(&mut self, name: &str, value: &str) -> Result<()> {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        let (Some(header), Ok(content)) = (header, HeaderValue::from_str(value)) else {
            return Err(malformed("a trailer line is not a valid header"));
        };
        self.canonical_trailer = format!("{name}:{value}\n");
        match self.trailers.insert(header, content) {
            None => Ok(()),
            Some(_) => Err(malformed_trailer()),
        }
    }

    fn end_trailer(&mut self) -> Result<()> {
        if self.trailers.is_empty() != self.announced.is_none() {
            return Err(malformed_trailer());
        }
        let signature = self.trailer_signature.take();
        match (&mut self.chain, &self.announced, signature) {
            (None, _, _) | (Some(_), None, None) => Ok(()),
            (Some(_), None, Some(_)) => Err(malformed_trailer()),
            (Some(chain), Some(_), signature) => {
                let signature = signature.unwrap_or_default();
                if chain.trailer(&self.canonical_trailer, &signature) {
                    Ok(())
                } else {
                    Err(signature_mismatch())
                }
            }
        }
    }
}

/// Returns the error for a trailer that does not match the announcement.
fn malformed_trailer() -> S3Error {
    named(
        "MalformedTrailerError",
        StatusCode::BAD_REQUEST,
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    )
}

fn malformed(what: &str) -> S3Error {
    fail(
        S3ErrorCode::InvalidRequest,
        format!("The body is not a valid aws-chunked stream: {what}."),
    )
}

fn signature_mismatch() -> S3Error {
    fail(
        S3ErrorCode::SignatureDoesNotMatch,
        "The signature of a chunk does not match the one we calculated.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a body that arrives `step` bytes at a time.
    fn decode(body: &[u8], step: usize) -> Result<(Vec<u8>, HeaderMap)> {
        decode_with(Some("x-amz-checksum-crc32"), body, step)
    }

    fn decode_with(
        announced: Option<&str>,
        body: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, HeaderMap)> {
        let mut decoder = Decoder::new(None, announced.map(str::to_owned));
        let mut content = VecDeque::new();
        for piece in body.chunks(step) {
            decoder.feed(Bytes::copy_from_slice(piece), &mut content)?;
        }
        let trailers = decoder.finish()?;
        Ok((content.into_iter().flatten().collect(), trailers))
    }

    const BODY: &[u8] = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32: DUoRhQ==\r\n\r\n";

    #[test]
    fn bodies_are_decoded_from_pieces_of_any_size() {
        for step in 1..=BODY.len() {
            let (content, trailers) = decode(BODY, step).unwrap();
            assert_eq!(content, b"hello world", "{step}");
            assert_eq!(trailers["x-amz-checksum-crc32"], "DUoRhQ==");
        }
        for empty in [&b"0\r\n\r\n"[..], b"0\r\n"] {
            assert!(decode_with(None, empty, 9).unwrap().0.is_empty());
            assert!(decode(empty, 9).is_err(), "the trailer is missing");
        }
    }

    #[test]
    fn incomplete_and_malformed_bodies_are_refused() {
        let content_end = BODY.len() - b"0\r\nx-amz-checksum-crc32: DUoRhQ==\r\n\r\n".len();
        for end in 0..content_end {
            assert!(decode(&BODY[..end], 7).is_err(), "{end}");
        }
        let wrong: [&[u8]; 6] = [
            b"zz\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n\r\nmore",
            b"10000000000000000\r\n",
        ];
        for body in wrong {
            assert!(
                decode(body, 3).is_err(),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        assert!(decode(&vec![b'1'; MAX_LINE + 1], 64).is_err());
    }

    #[test]
    fn only_the_announced_trailer_is_accepted_and_only_once() {
        let with = |trailer: &str| format!("5\r\nhello\r\n0\r\n{trailer}\r\n").into_bytes();
        let line = "x-amz-checksum-crc32:NhCmhg==\r\n";
        assert!(decode(&with(line), 9).is_ok());
        assert!(decode(&with(""), 9).is_err());
        assert!(decode(&with(&format!("{line}{line}")), 9).is_err());
        assert!(decode(&with(&format!("{line}x-amz-meta-a:1\r\n")), 9).is_err());
        assert!(decode(&with(&format!("{line}x-amz-trailer-signature:0\r\n")), 9).is_err());
        assert!(decode_with(None, &with(line), 9).is_err());
        let extended = b"5;chunk-signature=0\r\nhello\r\n0\r\n\r\n";
        assert!(decode_with(None, extended, 9).is_err());
    }
}
