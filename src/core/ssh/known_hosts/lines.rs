//! Parses the lines of a file, and explains why invalid ones are skipped.

use std::collections::BTreeMap;

use super::names::{Names, hashed, is_too_long};
use crate::ssh::public_key::PublicKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    None,
    Authority,
    Revoked,
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) marker: Marker,
    pub(super) names: Names,
    pub(super) key: PublicKey,
}

/// The numbers of the skipped lines, by reason. Lines with a marker are
/// separate, because they may have been meant to revoke a key.
pub(super) type Skipped = BTreeMap<(bool, &'static str), Vec<usize>>;

pub(super) fn parse(bytes: &[u8]) -> (Vec<Line>, Skipped) {
    let mut lines = Vec::new();
    let mut skipped = Skipped::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        // OpenSSH is a C program, so a zero byte ends its line.
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let line = without_blanks(line);
        if matches!(line, [] | [b'#', ..] | [b'\r']) {
            continue;
        }
        match parse_line(index + 1, line) {
            Ok(line) => lines.push(line),
            Err(why) => {
                let numbers = skipped.entry((line[0] == b'@', why)).or_default();
                numbers.push(index + 1);
            }
        }
    }
    (lines, skipped)
}

pub(super) fn parse_line(number: usize, line: &[u8]) -> Result<Line, &'static str> {
    let (marker, line) = marker(line)?;
    let (names, rest) = field(line);
    let (kind, rest) = field(rest);
    if rest.is_empty() || kind.starts_with(b"#") {
        return Err("it ends before the key");
    }
    let names = match names {
        [b'|', ..] => hashed(names).ok_or("its hashed name is not valid")?,
        list => {
            if list.split(|byte| *byte == b',').any(is_too_long) {
                return Err("a name in it is too long");
            }
            Names::List(list.to_ascii_lowercase())
        }
    };
    let (base64, _comment) = field(rest);
    let key = PublicKey::of_fields(kind, base64)?;
    Ok(Line {
        number,
        marker,
        names,
        key,
    })
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn without_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_blank(**byte)).count();
    &line[blanks..]
}

/// Splits off the first word and the blanks after it.
pub(super) fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| is_blank(*byte));
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    (word, without_blanks(rest))
}

/// Splits off the marker of a line, if it has one.
pub(super) fn marker(line: &[u8]) -> Result<(Marker, &[u8]), &'static str> {
    const UNKNOWN: &str = "its marker is neither `@revoked` nor `@cert-authority`";
    const TAB: &str = "a tab follows its marker and a space comes later, so OpenSSH does not \
                       recognize the marker";
    if !line.starts_with(b"@") {
        return Ok((Marker::None, line));
    }
    // OpenSSH searches for a tab only if the line contains no space.
    let ends_at = |end| line.iter().position(|byte| *byte == end);
    let end = ends_at(b' ').or_else(|| ends_at(b'\t')).ok_or(UNKNOWN)?;
    let marker = match &line[..end] {
        b"@cert-authority" => Marker::Authority,
        b"@revoked" => Marker::Revoked,
        other if other.contains(&b'\t') => return Err(TAB),
        _ => return Err(UNKNOWN),
    };
    let rest = without_blanks(&line[end..]);
    if rest.starts_with(b"@") {
        Err("it has two markers")
    } else {
        Ok((marker, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::ranges;
    use super::*;

    #[test]
    fn skipped_lines_are_numbered() {
        let file = b"# comment\n\n \r\nweb\nweb ssh-ed25519\nweb ssh-none AAAA\n\
            @revokd web ssh-ed25519 AAAA\n|1|x|y ssh-ed25519 AAAA\nweb ssh-ed25519 AAAA\n";
        let (lines, skipped) = parse(file);
        assert!(lines.is_empty());
        let numbers: Vec<usize> = skipped.into_values().flatten().collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [4, 5, 6, 7, 8, 9]);
        assert_eq!(ranges(&[1, 2, 3, 5, 7, 8]), "1-3, 5, 7-8");
    }
}
