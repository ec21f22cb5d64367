//! Checksums of content: announced by requests, calculated while content arrives,
//! and combined from the checksums of parts.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use hyper::HeaderMap;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::{S3Error, S3ErrorCode};
use serde::{Deserialize, Serialize};

use super::failure::{Naming as _, Result, fail, invalid_request};
use super::payload::Trailers;

/// A checksum algorithm of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

use Algorithm::{Crc32 as C32, Crc32c as C32C, Crc64Nvme as C64, Sha1 as S1, Sha256 as S256};

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [C32, C32C, C64, S1, S256];

    pub(super) fn name(self) -> &'static str {
        match self {
            C32 => "CRC32",
            C32C => "CRC32C",
            C64 => "CRC64NVME",
            S1 => "SHA1",
            S256 => "SHA256",
        }
    }

    /// Returns the name as S3 writes it in texts about multipart uploads.
    pub(super) fn small_name(self) -> String {
        self.name().to_ascii_lowercase()
    }

    pub(super) fn header(self) -> &'static str {
        match self {
            C32 => "x-amz-checksum-crc32",
            C32C => "x-amz-checksum-crc32c",
            C64 => "x-amz-checksum-crc64nvme",
            S1 => "x-amz-checksum-sha1",
            S256 => "x-amz-checksum-sha256",
        }
    }

    fn bytes(self) -> usize {
        match self {
            C32 | C32C => 4,
            C64 => 8,
            S1 => 20,
            S256 => 32,
        }
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            invalid_request("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
        })
    }

    /// Returns how S3 combines the checksums of parts by default.
    pub(super) fn default_kind(self) -> Kind {
        match self {
            C64 => Kind::FullObject,
            _ => Kind::Composite,
        }
    }

    /// Whether the checksums of parts can be combined in this way.
    pub(super) fn supports(self, kind: Kind) -> bool {
        match kind {
            Kind::FullObject => matches!(self, C32 | C32C | C64),
            Kind::Composite => self != C64,
        }
    }

    /// Returns the parameters of a CRC, or `None` for a hash. The CRC of a whole
    /// can be calculated from the CRCs of its parts.
    fn cyclic(self) -> Option<CrcAlgorithm> {
        match self {
            C32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            C32C => Some(CrcAlgorithm::Crc32Iscsi),
            C64 => Some(CrcAlgorithm::Crc64Nvme),
            S1 | S256 => None,
        }
    }
}

/// What the checksum of a multipart object covers: the content, or the checksums
/// of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    FullObject,
    Composite,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        match name {
            "FULL_OBJECT" => Ok(Self::FullObject),
            "COMPOSITE" => Ok(Self::Composite),
            _ => Err(invalid_request(
                "Value for x-amz-checksum-type header is invalid.",
            )),
        }
    }
}

/// A calculated checksum in base64, as S3 shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksum {
    pub(super) algorithm: Algorithm,
    pub(super) kind: Kind,
    pub(super) value: String,
}

/// The checksums that a request announces for its content.
#[derive(Clone, Debug, Default)]
pub(super) struct Announced {
    pub(super) algorithm: Option<Algorithm>,
    value: Option<String>,
    md5: Option<ContentMd5>,
}

/// The `Content-MD5` of a request, as written and decoded.
#[derive(Clone, Debug)]
struct ContentMd5 {
    text: String,
    bytes: Vec<u8>,
}

impl Announced {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self> {
        let mut announced = Self {
            md5: content_md5(headers)?,
            ..Self::default()
        };
        let given = |algorithm: &Algorithm| headers.contains_key(algorithm.header());
        let mut given = Algorithm::ALL.into_iter().filter(given);
        announced.algorithm = given.next();
        if given.next().is_some() {
            return Err(invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(algorithm) = announced.algorithm {
            let value = text(algorithm.header()).unwrap_or_default();
            check_form(algorithm, value)?;
            announced.value = Some(value.to_owned());
        } else if let Some(name) = text("x-amz-trailer") {
            let named = |algorithm: &Algorithm| algorithm.header().eq_ignore_ascii_case(name);
            announced.algorithm = Algorithm::ALL.into_iter().find(named);
            if announced.algorithm.is_none() {
                return Err(invalid_request(
                    "The value specified in the x-amz-trailer header is not supported",
                ));
            }
        } else if text("x-amz-sdk-checksum-algorithm").is_some() {
            return Err(invalid_request(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
            ));
        }
        Ok(announced)
    }

    /// Shows the announced MD5 in hexadecimal if it is wrong, as S3 does for objects
    /// but not for parts.
    pub(super) fn of_object(mut self) -> Self {
        if let Some(md5) = &mut self.md5 {
            md5.text = hex::encode(&md5.bytes);
        }
        self
    }

    /// Whether a checksum of any kind is announced.
    pub(super) fn has_checksum(&self) -> bool {
        self.algorithm.is_some() || self.md5.is_some()
    }

    /// Whether a header, which a signature covers, has a cryptographic digest of the
    /// content.
    pub(super) fn has_digest(&self) -> bool {
        let secure = matches!(self.algorithm, Some(Algorithm::Sha1 | Algorithm::Sha256));
        self.md5.is_some() || (secure && self.value.is_some())
    }

    /// Compares the announced with the calculated checksums. Call this function
    /// after all content has been read, because a trailer arrives last.
    pub(super) fn verify(
        &self,
        calculated: Option<&Checksum>,
        md5: &[u8],
        trailers: &Trailers,
    ) -> Result<()> {
        if let Some(expected) = &self.md5
            && expected.bytes != md5
        {
            let error = fail(
                S3ErrorCode::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            );
            return Err(error
                .naming("ExpectedDigest", &expected.text)
                .naming("CalculatedDigest", BASE64_STANDARD.encode(md5)));
        }
        let Some(algorithm) = self.algorithm else {
            return Ok(());
        };
        let value = match &self.value {
            Some(value) => value.clone(),
            None => trailers.get(algorithm.header()).ok_or_else(|| {
                fail(
                    S3ErrorCode::MalformedXML,
                    "The trailer that the request announced is missing.",
                )
            })?,
        };
        check_form(algorithm, &value)?;
        match calculated {
            Some(calculated) if value == calculated.value => Ok(()),
            _ => Err(mismatch(algorithm.name())),
        }
    }

    /// Compares the announced checksums with a small body.
    pub(super) fn verify_bytes(&self, body: &[u8], trailers: &Trailers) -> Result<()> {
        let mut hasher = Hasher::new(self.algorithm.unwrap_or(C64));
        hasher.update(body);
        self.verify(
            Some(&hasher.finish()),
            &s3s::crypto::Md5::checksum(body),
            trailers,
        )
    }
}

fn content_md5(headers: &HeaderMap) -> Result<Option<ContentMd5>> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    match BASE64_STANDARD.decode(&text) {
        Ok(bytes) if bytes.len() == 16 => Ok(Some(ContentMd5 { text, bytes })),
        _ => {
            let error = fail(
                S3ErrorCode::InvalidDigest,
                "The Content-MD5 you specified was invalid.",
            );
            Err(error.naming("Content-MD5", text))
        }
    }
}

fn check_form(algorithm: Algorithm, value: &str) -> Result<()> {
    match BASE64_STANDARD.decode(value) {
        Ok(bytes) if bytes.len() == algorithm.bytes() => Ok(()),
        _ => Err(invalid_request(format!(
            "Value for {} header is invalid.",
            algorithm.header()
        ))),
    }
}

/// Returns the error for a checksum that is not the calculated one. S3 writes the
/// name of the algorithm in capitals for content, else in small letters.
pub(super) fn mismatch(algorithm: &str) -> S3Error {
    fail(
        S3ErrorCode::BadDigest,
        format!("The {algorithm} you specified did not match the calculated checksum."),
    )
}

/// Calculates a checksum.
pub(super) enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            C32 => Self::Crc32(Crc32::new()),
            C32C => Self::Crc32c(Crc32c::new()),
            C64 => Self::Crc64Nvme(Crc64Nvme::new()),
            S1 => Self::Sha1(Sha1::new()),
            S256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(data),
            Self::Crc32c(hasher) => hasher.update(data),
            Self::Crc64Nvme(hasher) => hasher.update(data),
            Self::Sha1(hasher) => hasher.update(data),
            Self::Sha256(hasher) => hasher.update(data),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        let (algorithm, value) = match self {
            Self::Crc32(hasher) => (C32, BASE64_STANDARD.encode(hasher.finalize())),
            Self::Crc32c(hasher) => (C32C, BASE64_STANDARD.encode(hasher.finalize())),
            Self::Crc64Nvme(hasher) => (C64, BASE64_STANDARD.encode(hasher.finalize())),
            Self::Sha1(hasher) => (S1, BASE64_STANDARD.encode(hasher.finalize())),
            Self::Sha256(hasher) => (S256, BASE64_STANDARD.encode(hasher.finalize())),
        };
        Checksum {
            algorithm,
            kind: Kind::FullObject,
            value,
        }
    }
}

/// Returns the checksum of an object from the checksums and sizes of its parts.
pub(super) fn of_parts(algorithm: Algorithm, kind: Kind, parts: &[(String, u64)]) -> Checksum {
    let digests = parts
        .iter()
        .map(|(value, size)| (BASE64_STANDARD.decode(value).unwrap_or_default(), *size));
    let value = if let (Kind::FullObject, Some(cyclic)) = (kind, algorithm.cyclic()) {
        let whole = digests.fold(0, |crc, (bytes, size)| {
            checksum_combine(cyclic, crc, number(&bytes), size)
        });
        BASE64_STANDARD.encode(&whole.to_be_bytes()[8 - algorithm.bytes()..])
    } else {
        let mut hasher = Hasher::new(algorithm);
        digests.for_each(|(bytes, _)| hasher.update(&bytes));
        format!("{}-{}", hasher.finish().value, parts.len())
    };
    Checksum {
        algorithm,
        kind,
        value,
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, data: &[u8]) -> String {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish().value
    }

    #[test]
    fn crcs_of_parts_combine_to_the_crc_of_the_whole() {
        let data: Vec<u8> = (0..100_000_u32)
            .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
            .collect();
        for algorithm in [C32, C32C, C64] {
            let pieces = [
                &data[..1],
                &data[1..70_001],
                &data[70_001..70_001],
                &data[70_001..],
            ];
            let parts: Vec<_> = pieces
                .iter()
                .map(|piece| (of(algorithm, piece), piece.len() as u64))
                .collect();
            let whole = of_parts(algorithm, Kind::FullObject, &parts);
            assert_eq!(whole.value, of(algorithm, &data), "{algorithm:?}");
        }
    }

    #[test]
    fn a_composite_checksum_ends_with_the_number_of_parts() {
        let part = (of(S256, b"a"), 1);
        let whole = of_parts(S256, Kind::Composite, &[part.clone(), part]);
        assert!(whole.value.ends_with("=-2"));
    }

    #[test]
    fn announced_checksums_are_parsed_and_compared() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-checksum-crc32", "DUoRhQ==".parse().unwrap());
        headers.insert("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==".parse().unwrap());
        let announced = Announced::read(&headers).unwrap();
        assert!(
            announced
                .verify_bytes(b"hello world", &Trailers::default())
                .is_ok()
        );
        let error = announced
            .verify_bytes(b"hello", &Trailers::default())
            .unwrap_err();
        assert_eq!(error.code().as_str(), "BadDigest");
        headers.insert("x-amz-checksum-sha1", "DUoRhQ==".parse().unwrap());
        assert!(Announced::read(&headers).is_err());
        headers.remove("x-amz-checksum-sha1");
        headers.insert("x-amz-checksum-crc32", "DUoRhQ".parse().unwrap());
        assert!(Announced::read(&headers).is_err());
        headers.insert("content-md5", "x".parse().unwrap());
        assert_eq!(
            Announced::read(&headers).unwrap_err().code().as_str(),
            "InvalidDigest"
        );
    }
}
