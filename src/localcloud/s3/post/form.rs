//! A form of a browser (`multipart/form-data`): its fields, and its file as a stream.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt as _, try_unfold};
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use s3s::S3Error;

use super::super::failure::{Naming as _, Result, bad_argument, fail_as};

/// S3's limit of what precedes the file, in bytes.
const MAX_FIELDS: usize = 20_480;

/// The fields before the file, by names in lower case.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(pairs.iter().map(owned).collect())
    }
}

/// A form that has been read up to its file.
pub(super) struct Form<S> {
    pub(super) fields: Fields,
    /// The name of the file on the client.
    pub(super) filename: String,
    rest: Reader<S>,
}

/// A body that is searched for the lines that separate the parts of a form.
struct Reader<S> {
    source: S,
    buffer: BytesMut,
    delimiter: Vec<u8>,
}

/// Reads a form up to its file.
pub(super) async fn read<S>(headers: &HeaderMap, source: S) -> Result<Form<S>>
where
    S: Stream<Item = Result<Bytes>> + Unpin + Send,
{
    let mut reader = Reader {
        source,
        // The first separator has no line before it.
        buffer: BytesMut::from("\r\n"),
        delimiter: [b"\r\n--", boundary(headers)?.as_bytes()].concat(),
    };
    let delimiter = reader.delimiter.clone();
    let mut fields = Fields::default();
    let mut left = MAX_FIELDS;
    reader.until(&delimiter, &mut left).await?;
    loop {
        let end = reader.until(b"\r\n", &mut left).await?;
        if end.starts_with(b"--") {
            return Err(no_file());
        }
        // The line before the empty one is there for a part without headers.
        reader.unread(b"\r\n");
        let head = reader.until(b"\r\n\r\n", &mut left).await?;
        let head = String::from_utf8(head.to_vec()).map_err(|_| malformed())?;
        let name = parameter(&head, "name").ok_or_else(malformed)?;
        if name.eq_ignore_ascii_case("file") {
            return Ok(Form {
                fields,
                filename: base_name(&parameter(&head, "filename").unwrap_or_default()),
                rest: reader,
            });
        }
        let value = reader.until(&delimiter, &mut left).await?;
        let value = String::from_utf8(value.to_vec()).map_err(|_| malformed())?;
        fields.0.push((name.to_ascii_lowercase(), value));
    }
}

impl<S> Form<S>
where
    S: Stream<Item = Result<Bytes>> + Unpin + Send,
{
    /// Returns the content of the file, whose size must be in the range.
    pub(super) fn content(
        self,
        (min, max): (u64, u64),
    ) -> (Fields, impl Stream<Item = Result<Bytes>> + Send) {
        let state = (self.rest, 0_u64);
        let content = try_unfold(state, move |(mut reader, seen)| async move {
            let piece = reader.piece().await?;
            let size = seen + piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if size > max {
                return Err(too_large(size, max));
            }
            if piece.is_none() && size < min {
                return Err(too_small(size, min));
            }
            Ok(piece.map(|piece| (piece, (reader, size))))
        });
        (self.fields, content)
    }
}

impl<S> Reader<S>
where
    S: Stream<Item = Result<Bytes>> + Unpin + Send,
{
    /// Reads more of the body. Fails at its end: a form ends before.
    async fn more(&mut self) -> Result<()> {
        let piece = self.source.next().await.ok_or_else(malformed)??;
        self.buffer.extend_from_slice(&piece);
        Ok(())
    }

    /// Returns what precedes `mark`, and skips the mark.
    async fn until(&mut self, mark: &[u8], left: &mut usize) -> Result<Bytes> {
        loop {
            if let Some(place) = find(&self.buffer, mark) {
                *left = left.checked_sub(place).ok_or_else(fields_too_large)?;
                let found = self.buffer.split_to(place).freeze();
                let _ = self.buffer.split_to(mark.len());
                return Ok(found);
            }
            if self.buffer.len() > *left + mark.len() {
                return Err(fields_too_large());
            }
            self.more().await?;
        }
    }

    fn unread(&mut self, text: &[u8]) {
        let rest = self.buffer.split();
        self.buffer.extend_from_slice(text);
        self.buffer.unsplit(rest);
    }

    /// Returns the next piece of the file, or `None` at its end.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.delimiter.is_empty() {
            return Ok(None);
        }
        loop {
            if let Some(place) = find(&self.buffer, &self.delimiter) {
                let last = self.buffer.split_to(place).freeze();
                self.delimiter.clear();
                // S3 ignores what follows the file.
                while self.source.next().await.transpose()?.is_some() {}
                return Ok(Some(last).filter(|last| !last.is_empty()));
            }
            // The end of the buffer may be the begin of the separator.
            let safe = self.buffer.len().saturating_sub(self.delimiter.len());
            if safe > 0 {
                return Ok(Some(self.buffer.split_to(safe).freeze()));
            }
            self.more().await?;
        }
    }
}

/// Returns where `mark` is in `text`.
fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    let first = mark.first()?;
    let mut from = 0;
    while let Some(place) = text[from..].iter().position(|byte| byte == first) {
        let place = from + place;
        if text[place..].starts_with(mark) {
            return Some(place);
        }
        from = place + 1;
    }
    None
}

/// Returns the separator that a request names.
fn boundary(headers: &HeaderMap) -> Result<String> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind.filter(|kind| {
        let name = kind.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("multipart/form-data")
    });
    let Some(kind) = kind else {
        let message = "At least one of the pre-conditions you specified did not hold";
        let condition = "Bucket POST must be of the enclosure-type multipart/form-data";
        return Err(fail_as("PreconditionFailed", 412, message).naming("Condition", condition));
    };
    let boundary = parameter(kind, "boundary").filter(|boundary| !boundary.is_empty());
    boundary.ok_or_else(malformed)
}

/// Returns a parameter of a header, for example `name` of
/// `form-data; name="key"`. Browsers escape quotation marks as `%22`, and others
/// with a backslash.
fn parameter(header: &str, name: &str) -> Option<String> {
    let mark = format!("{name}=");
    let mut from = 0;
    loop {
        let place = from + header[from..].to_ascii_lowercase().find(&mark)?;
        let is_whole = header[..place].ends_with([';', ' ', '\t']);
        let rest = &header[place + mark.len()..];
        if !is_whole {
            from = place + mark.len();
            continue;
        }
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([';', '\r', '\n']).unwrap_or(rest.len());
            return Some(rest[..end].trim().to_owned());
        };
        let mut value = String::new();
        let mut letters = quoted.chars();
        loop {
            match letters.next()? {
                '"' => return Some(value),
                '\\' => value.push(letters.next()?),
                letter => value.push(letter),
            }
        }
    }
}

/// Returns a file name without its directories.
fn base_name(path: &str) -> String {
    path.rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn malformed() -> S3Error {
    fail_as(
        "MalformedPOSTRequest",
        400,
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

fn no_file() -> S3Error {
    let message = "POST requires exactly one file upload per request.";
    bad_argument("file", "0", message)
}

fn fields_too_large() -> S3Error {
    fail_as(
        "MaxPostPreDataLengthExceeded",
        400,
        "Your POST request fields preceding the upload file was too large.",
    )
    .naming("MaxPostPreDataLengthBytes", MAX_FIELDS.to_string())
}

fn too_large(size: u64, max: u64) -> S3Error {
    let message = "Your proposed upload exceeds the maximum allowed size";
    fail_as("EntityTooLarge", 400, message)
        .naming("ProposedSize", size.to_string())
        .naming("MaxSizeAllowed", max.to_string())
}

fn too_small(size: u64, min: u64) -> S3Error {
    let message = "Your proposed upload is smaller than the minimum allowed size";
    fail_as("EntityTooSmall", 400, message)
        .naming("ProposedSize", size.to_string())
        .naming("MinSizeAllowed", min.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, TryStreamExt as _};

    use super::*;

    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na/${filename}\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\\\dir\\\\n.txt\"\r\n\
        Content-Type: text/plain\r\n\r\none\r\n--\r\ntwo\r\n--b--\r\n";

    fn headers(kind: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        headers
    }

    /// Reads a form that arrives in pieces of `size` bytes.
    async fn form(body: &str, size: usize, range: (u64, u64)) -> Result<(String, String, String)> {
        let pieces: Vec<Result<Bytes>> = body
            .as_bytes()
            .chunks(size)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let headers = headers("multipart/form-data; boundary=b");
        let form = read(&headers, stream::iter(pieces)).await?;
        let name = form.filename.clone();
        let (fields, content) = form.content(range);
        let content: Vec<Bytes> = content.try_collect().await?;
        let content = String::from_utf8(content.concat()).unwrap();
        Ok((fields.get("key").unwrap().to_owned(), name, content))
    }

    #[tokio::test]
    async fn a_form_is_read_whatever_its_pieces_are() {
        for size in 1..BODY.len() {
            let read = form(BODY, size, (0, 100)).await.unwrap();
            let expected = ("a/${filename}", "n.txt", "one\r\n--\r\ntwo");
            assert_eq!((&*read.0, &*read.1, &*read.2), expected, "{size}");
        }
    }

    #[tokio::test]
    async fn a_form_that_s3_refuses() {
        let code = |body: &str, range| {
            let body = body.to_owned();
            async move {
                let error = form(&body, 7, range).await.unwrap_err();
                error.code().as_str().to_owned()
            }
        };
        assert_eq!(code(BODY, (0, 5)).await, "EntityTooLarge");
        assert_eq!(code(BODY, (50, 99)).await, "EntityTooSmall");
        let open = BODY.trim_end_matches("--b--\r\n");
        assert_eq!(code(open, (0, 99)).await, "MalformedPOSTRequest");
        assert_eq!(code("", (0, 99)).await, "MalformedPOSTRequest");
        let without = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b--\r\n";
        assert_eq!(code(without, (0, 99)).await, "InvalidArgument");
        let long = without.replace("\r\nk\r\n", &format!("\r\n{}\r\n", "k".repeat(30_000)));
        assert_eq!(code(&long, (0, 99)).await, "MaxPostPreDataLengthExceeded");
    }

    #[test]
    fn the_separator_is_a_parameter_of_the_type() {
        let of = |kind| boundary(&headers(kind));
        assert_eq!(of("multipart/form-data; boundary=\"a b\"").unwrap(), "a b");
        assert_eq!(of("Multipart/Form-Data;boundary=ab").unwrap(), "ab");
        let code = |kind| of(kind).unwrap_err().code().as_str().to_owned();
        assert_eq!(code("multipart/form-data"), "MalformedPOSTRequest");
        assert_eq!(
            code("application/x-www-form-urlencoded"),
            "PreconditionFailed"
        );
    }
}
