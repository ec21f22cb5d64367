//! `known_hosts`: what it says of a host, as OpenSSH reads it.
//!
//! Parsing and matching follow OpenSSH's `hostfile.c` and `match.c` line by
//! line, also where that is surprising; tests/integration/known_hosts.rs asks
//! `ssh` itself. Two things differ by decision: a line that does not count is
//! logged with its number, and so is a file that cannot be read; and host
//! certificates are not verified, so that a line with `@cert-authority` leads to
//! an error that says what to do.
//!
//! The files are read once, and again only when they have changed: by the
//! playbook, by the user, by another run.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::host::Host;
use super::public_key::{Kind, PublicKey};
use crate::report::{Level, Reporter};

/// Names of files of the system, which count after the user's.
const SYSTEM: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

/// The longest file that is read.
const LONGEST_FILE: u64 = 64 << 20;

/// A name in a list must be shorter; OpenSSH has this much room for one.
const LONGEST_NAME: usize = 1023;

/// A file that changed this short a time before it was read may have changed
/// once more without another time of change.
const CLOCK_TICK: Duration = Duration::from_secs(2);

/// What is asked of hosts, in OpenSSH's order. Certificates are not among them,
/// for nothing here verifies one.
const ALGORITHMS: [(&str, Kind); 6] = [
    ("ssh-ed25519", Kind::Ed25519),
    ("ecdsa-sha2-nistp256", Kind::Ecdsa256),
    ("ecdsa-sha2-nistp384", Kind::Ecdsa384),
    ("ecdsa-sha2-nistp521", Kind::Ecdsa521),
    ("rsa-sha2-512", Kind::Rsa),
    ("rsa-sha2-256", Kind::Rsa),
];

/// For hosts that know nothing newer; OpenSSH does not ask for it any more.
const OLDEST_ALGORITHM: &str = "ssh-rsa";

/// Every algorithm, those first whose keys are `preferred`.
pub(super) fn algorithms(preferred: impl Fn(&Kind) -> bool) -> String {
    let mut names = ALGORITHMS.to_vec();
    names.sort_by_key(|(_, kind)| !preferred(kind));
    let names = names.iter().map(|(name, _)| *name);
    names
        .chain([OLDEST_ALGORITHM])
        .collect::<Vec<_>>()
        .join(",")
}

/// The `known_hosts` files of a run.
#[derive(Debug)]
pub(super) struct KnownHosts {
    report: Reporter,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    all: Vec<Cached>,
    /// What the log says of them already.
    said: HashSet<String>,
}

/// A file as it was when it was last read.
#[derive(Debug)]
struct Cached {
    path: PathBuf,
    stamp: Option<Stamp>,
    bytes: Vec<u8>,
    content: Arc<Content>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The lines of a file that count.
#[derive(Debug, Default)]
struct Content {
    lines: Vec<Line>,
    /// Why it could not be read.
    unread: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    Authority,
    Revoked,
}

#[derive(Clone, Debug)]
struct Line {
    number: usize,
    marker: Marker,
    names: Names,
    key: PublicKey,
}

#[derive(Clone, Debug)]
enum Names {
    /// Salt and HMAC of one name.
    Hashed([u8; 20], [u8; 20]),
    /// Patterns, separated by commas.
    List(Vec<u8>),
}

/// Where something is said of a host.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    /// Whether `ssh-keygen -R` removes that line; it leaves those with patterns.
    pub(super) removable: bool,
    /// The name under which it was found.
    pub(super) name: String,
}

/// What a key is to a host.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is known.
    Accepted,
    /// Nothing is known; or an authority, whose certificates are not verified.
    Unknown { authority: Option<Place> },
    /// Another key is known.
    Changed {
        known: Place,
        authority: Option<Place>,
    },
    /// It must not be trusted.
    Revoked(Place),
}

/// What the files say of one host.
#[derive(Debug)]
pub(super) struct Known {
    files: Vec<(PathBuf, Arc<Content>)>,
    /// What is said of its name, with the port if that is another than 22.
    entries: Vec<(Place, Line)>,
    /// The name alone then.
    without_port: Option<String>,
}

impl KnownHosts {
    /// Those of a user with this home directory, and the system's. Nothing is
    /// read yet.
    pub(super) fn new(home: Option<&Path>, report: Reporter) -> Self {
        let users = home.iter().flat_map(|home| {
            ["known_hosts", "known_hosts2"].map(|name| home.join(".ssh").join(name))
        });
        let paths = users.chain(SYSTEM.map(PathBuf::from));
        let files = Files {
            all: paths.map(Cached::new).collect(),
            said: HashSet::new(),
        };
        Self {
            report,
            files: Mutex::new(files),
        }
    }

    /// What is said of a host.
    pub(super) fn of(&self, host: &Host) -> Known {
        let files = self.current();
        let bare = name_of(&host.address);
        let (name, without_port) = match host.port {
            22 => (bare, None),
            port => (format!("[{bare}]:{port}"), Some(bare)),
        };
        Known {
            entries: entries(&files, &name),
            files,
            without_port,
        }
    }

    /// The files as they are now. Whoever comes while one is read waits for it.
    fn current(&self) -> Vec<(PathBuf, Arc<Content>)> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Files { all, said } = &mut *files;
        for file in &mut *all {
            for (level, text) in file.refresh() {
                if !said.contains(&text) {
                    self.report.log(level, text.clone());
                    said.insert(text);
                }
            }
        }
        let current = all.iter();
        current
            .map(|file| (file.path.clone(), Arc::clone(&file.content)))
            .collect()
    }
}

impl Cached {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            stamp: None,
            bytes: Vec::new(),
            content: Arc::default(),
        }
    }

    /// Reads the file if it is another than it was; gives what there is to say.
    fn refresh(&mut self) -> Vec<(Level, String)> {
        let now = fs::metadata(&self.path).ok().map(|data| Stamp::of(&data));
        if now.is_some() && now == self.stamp {
            return Vec::new();
        }
        let (stamp, bytes) = match read(&self.path) {
            Ok(Some(read)) => read,
            // A file that is not there says nothing.
            Ok(None) => {
                *self = Self::new(std::mem::take(&mut self.path));
                return Vec::new();
            }
            Err(why) => {
                let text = format!(
                    "cannot read `{}`: {why}; the hosts in it are unknown",
                    self.path.display()
                );
                *self = Self::new(std::mem::take(&mut self.path));
                self.content = Arc::new(Content {
                    unread: Some(why),
                    ..Content::default()
                });
                return vec![(Level::Warn, text)];
            }
        };
        self.stamp = stamp;
        if bytes == self.bytes && self.content.unread.is_none() {
            return Vec::new();
        }
        let (lines, skipped) = parse(&bytes);
        self.bytes = bytes;
        self.content = Arc::new(Content {
            lines,
            unread: None,
        });
        said_of(&self.path, &skipped)
    }
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            file: (data.dev(), data.ino()),
            length: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

/// A file's bytes, and its stamp if that can be relied on.
type Read = (Option<Stamp>, Vec<u8>);

/// Reads a file, if it is there; or says why it cannot be read.
fn read(path: &Path) -> Result<Option<Read>, String> {
    let why = |error: std::io::Error| {
        let text = error.to_string();
        text.split(" (os error")
            .next()
            .unwrap_or(&text)
            .to_lowercase()
    };
    // A pipe without a writer must not keep us.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(why(error)),
    };
    let data = file.metadata().map_err(why)?;
    // `/dev/null` is how some say that they want to know no hosts.
    if !data.is_file() && !data.file_type().is_char_device() {
        return Err("it is not a regular file".to_owned());
    }
    let bytes = content(file).map_err(why)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("it is longer than {} MiB", LONGEST_FILE >> 20));
    }
    let age = data
        .modified()
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    let settled = age.is_some_and(|age| age > CLOCK_TICK);
    Ok(Some((settled.then(|| Stamp::of(&data)), bytes)))
}

fn content(file: File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Lines that do not count, by the reason; a marker may have been meant to
/// revoke a key, so such lines stand apart.
type Skipped = BTreeMap<(bool, &'static str), Vec<usize>>;

fn said_of(path: &Path, skipped: &Skipped) -> Vec<(Level, String)> {
    let all = skipped.iter().map(|((marked, why), numbers)| {
        let lines = match numbers.as_slice() {
            [one] => format!("line {one} is skipped"),
            many => format!("lines {} are skipped", ranges(many)),
        };
        let level = match marked {
            true => Level::Warn,
            false => Level::Info,
        };
        (level, format!("`{}`: {lines}: {why}", path.display()))
    });
    all.collect()
}

/// Ascending numbers as `3, 7-9`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        one => one.iter().map(usize::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(", ")
}

fn parse(bytes: &[u8]) -> (Vec<Line>, Skipped) {
    let mut lines = Vec::new();
    let mut skipped = Skipped::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        // What is behind a zero byte is not there for a program in C.
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

fn parse_line(number: usize, line: &[u8]) -> Result<Line, &'static str> {
    let (marker, line) = marker(line)?;
    let (names, rest) = field(line);
    let (kind, rest) = field(rest);
    if rest.is_empty() || kind.starts_with(b"#") {
        return Err("it ends before its key");
    }
    let names = match names {
        [b'|', ..] => hashed(names).ok_or("its hashed name cannot be read")?,
        list => match list.split(|byte| *byte == b',').any(is_too_long) {
            true => return Err("a name in it is too long"),
            false => Names::List(list.to_ascii_lowercase()),
        },
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

fn is_too_long(pattern: &[u8]) -> bool {
    pattern.strip_prefix(b"!").unwrap_or(pattern).len() >= LONGEST_NAME
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn without_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_blank(**byte)).count();
    &line[blanks..]
}

/// The first word, and what follows the blanks behind it.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| is_blank(*byte));
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    (word, without_blanks(rest))
}

/// The marker of a line, if it has one, and the rest of it.
fn marker(line: &[u8]) -> Result<(Marker, &[u8]), &'static str> {
    const UNKNOWN: &str = "its marker is not one of `@revoked` and `@cert-authority`";
    const TAB: &str = "its marker ends in a tab, and a blank follows later: OpenSSH does not see \
                       it then";
    if !line.starts_with(b"@") {
        return Ok((Marker::None, line));
    }
    // OpenSSH looks for a tab only in lines without a blank.
    let ends_at = |end| line.iter().position(|byte| *byte == end);
    let end = ends_at(b' ').or_else(|| ends_at(b'\t')).ok_or(UNKNOWN)?;
    let marker = match &line[..end] {
        b"@cert-authority" => Marker::Authority,
        b"@revoked" => Marker::Revoked,
        other if other.contains(&b'\t') => return Err(TAB),
        _ => return Err(UNKNOWN),
    };
    let rest = without_blanks(&line[end..]);
    match rest.starts_with(b"@") {
        true => Err("it has two markers"),
        false => Ok((marker, rest)),
    }
}

/// `|1|salt|hash`.
fn hashed(names: &[u8]) -> Option<Names> {
    let rest = names.strip_prefix(b"|1|")?;
    let bar = rest.iter().position(|byte| *byte == b'|')?;
    let twenty = |text: &[u8]| <[u8; 20]>::try_from(BASE64_STANDARD.decode(text).ok()?).ok();
    Some(Names::Hashed(
        twenty(&rest[..bar])?,
        twenty(&rest[bar + 1..])?,
    ))
}

impl Names {
    fn include(&self, name: &str) -> bool {
        match self {
            Self::Hashed(salt, hash) => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::sign(&key, name.as_bytes()).as_ref() == hash
            }
            Self::List(list) => is_listed(&name.to_ascii_lowercase(), list),
        }
    }

    /// Whether they are names alone, not patterns.
    fn are_plain(&self) -> bool {
        match self {
            Self::Hashed(..) => true,
            Self::List(list) => !list.iter().any(|byte| b"*?!".contains(byte)),
        }
    }
}

/// Whether a pattern fits and no negated one does.
fn is_listed(name: &str, list: &[u8]) -> bool {
    let mut listed = false;
    for pattern in list.split(|byte| *byte == b',') {
        match pattern.strip_prefix(b"!") {
            Some(pattern) if fits(name.as_bytes(), pattern) => return false,
            Some(_) => {}
            None => listed |= fits(name.as_bytes(), pattern),
        }
    }
    listed
}

/// Whether a pattern with `*` and `?` fits a whole name.
fn fits(name: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    // Where the last star stands, and how much it stands for.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(next) {
            Some(b'*') => {
                star = Some((next, at));
                next += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[at] => {
                at += 1;
                next += 1;
            }
            _ => match &mut star {
                Some((position, until)) => {
                    *until += 1;
                    at = *until;
                    next = *position + 1;
                }
                None => return false,
            },
        }
    }
    pattern[next..].iter().all(|byte| *byte == b'*')
}

/// Lines of all files that say something of a name.
fn entries(files: &[(PathBuf, Arc<Content>)], name: &str) -> Vec<(Place, Line)> {
    let lines = files.iter().flat_map(|(file, content)| {
        let lines = content.lines.iter();
        lines.filter(|line| line.names.include(name)).map(|line| {
            let place = Place {
                file: file.clone(),
                line: line.number,
                removable: line.names.are_plain(),
                name: name.to_owned(),
            };
            (place, line.clone())
        })
    });
    lines.collect()
}

impl Known {
    /// The algorithms to ask for: those first whose keys are known, else a host
    /// known by its RSA key would show its ed25519 one.
    pub(super) fn algorithms(&self) -> String {
        let is_known = |kind: &Kind| {
            let plain = self
                .entries
                .iter()
                .filter(|(_, l)| l.marker == Marker::None);
            let mut plain = plain.map(|(_, line)| &line.key);
            let first = plain.find(|key| key.kind == *kind);
            first.is_some_and(|key| self.revoked(key).is_none())
        };
        // The best one known leaves the order as it is.
        match is_known(&ALGORITHMS[0].1) {
            true => algorithms(|_| true),
            false => algorithms(is_known),
        }
    }

    fn revoked(&self, key: &PublicKey) -> Option<&Place> {
        place_of(&self.entries, Marker::Revoked, |known| known == key)
    }

    /// What a key is to this host.
    pub(super) fn verdict(&self, key: &PublicKey) -> Verdict {
        let verdict = judge(&self.entries, key);
        let Verdict::Unknown { authority } = verdict else {
            return verdict;
        };
        let Some(name) = &self.without_port else {
            return Verdict::Unknown { authority };
        };
        // A key of the same machine under its name alone is good for any port;
        // another one there says nothing of this port.
        match judge(&entries(&self.files, name), key) {
            Verdict::Changed { authority, .. } => Verdict::Unknown { authority },
            other => other,
        }
    }

    /// Files that could not be read, and why.
    pub(super) fn unread(&self) -> impl Iterator<Item = (&Path, &str)> {
        let unread = self.files.iter();
        unread.filter_map(|(path, content)| Some((path.as_path(), content.unread.as_deref()?)))
    }
}

fn place_of(
    entries: &[(Place, Line)],
    marker: Marker,
    is_meant: impl Fn(&PublicKey) -> bool,
) -> Option<&Place> {
    let mut lines = entries.iter();
    lines
        .find(|(_, line)| line.marker == marker && is_meant(&line.key))
        .map(|(place, _)| place)
}

fn judge(entries: &[(Place, Line)], key: &PublicKey) -> Verdict {
    if let Some(place) = place_of(entries, Marker::Revoked, |known| known == key) {
        return Verdict::Revoked(place.clone());
    }
    if place_of(entries, Marker::None, |known| known == key).is_some() {
        return Verdict::Accepted;
    }
    let authority = place_of(entries, Marker::Authority, |_| true).cloned();
    // One of the same type says more than one of another.
    let same = place_of(entries, Marker::None, |known| known.kind == key.kind);
    match same.or_else(|| place_of(entries, Marker::None, |_| true)) {
        Some(known) => Verdict::Changed {
            known: known.clone(),
            authority,
        },
        None => Verdict::Unknown { authority },
    }
}

/// The name that OpenSSH looks up: an address in its usual form, a name in
/// lower case.
fn name_of(address: &str) -> String {
    let (bare, scope) = match address.split_once('%') {
        Some((bare, _)) => (bare, &address[bare.len()..]),
        None => (address, ""),
    };
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return format!("{}{scope}", usual_form(address));
    }
    match ipv4(address) {
        Some(address) => address.to_string(),
        None => address.to_ascii_lowercase(),
    }
}

/// As the C library writes it, which shows old addresses with an IPv4 one inside
/// as such.
fn usual_form(address: Ipv6Addr) -> String {
    let segments = address.segments();
    let embeds = segments[..6].iter().all(|segment| *segment == 0) && segments[6] != 0;
    match embeds.then(|| address.to_ipv4()).flatten() {
        Some(inside) => format!("::{inside}"),
        None => address.to_string(),
    }
}

/// An address as the C library reads it: one to four numbers, each decimal,
/// octal or hexadecimal, of which the last fills what is left.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let numbers = text.split('.').map(|part| {
        let (digits, radix) = match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        let is_number = digits.chars().all(|digit| digit.is_digit(radix));
        is_number
            .then(|| u32::from_str_radix(digits, radix).ok())
            .flatten()
    });
    let numbers = numbers.collect::<Option<Vec<u32>>>()?;
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|number| *number > 0xff) {
        return None;
    }
    let room = 8 * (4 - u32::try_from(first.len()).ok()?);
    if u64::from(*last) >= 1 << room {
        return None;
    }
    let high = first
        .iter()
        .fold(0_u64, |all, number| all << 8 | u64::from(*number));
    let address = (high << room) | u64::from(*last);
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        let all = [
            ("web", "web", true),
            ("web", "we", false),
            ("web", "w*", true),
            ("web", "*", true),
            ("", "*", true),
            ("", "", true),
            ("web", "", false),
            ("web", "w?b", true),
            ("web", "w??b", false),
            ("web.example.com", "*.example.com", true),
            ("example.com", "*.example.com", false),
            ("a.b.c", "*.*.*", true),
            ("aaab", "*a*b", true),
            ("aaab", "a*a*a*a*b", false),
            ("[web]:2222", "[web]:*", true),
            ("web", "[w]eb", false),
        ];
        for (name, pattern, fit) in all {
            assert_eq!(
                fits(name.as_bytes(), pattern.as_bytes()),
                fit,
                "{name} {pattern}"
            );
        }
    }

    #[test]
    fn lists_are_read_as_openssh_reads_them() {
        let all = [
            ("web", "db,web", true),
            ("web", "*,!web", false),
            ("web", "!web,*", false),
            ("web", "!db", false),
            ("web", "!!web,*", true),
            ("web", ",,web,", true),
        ];
        for (name, list, listed) in all {
            assert_eq!(is_listed(name, list.as_bytes()), listed, "{name} {list}");
        }
    }

    #[test]
    fn addresses_have_their_usual_form() {
        let all = [
            ("Web.Example.COM", "web.example.com"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("FE80::1%eth0", "fe80::1%eth0"),
            ("::FFFF:10.0.0.1", "::ffff:10.0.0.1"),
            ("::10.0.0.1", "::10.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("0x7f.0.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("1.2.3.256", "1.2.3.256"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("10.example", "10.example"),
            ("10.", "10."),
        ];
        for (address, name) in all {
            assert_eq!(name_of(address), name);
        }
    }

    #[test]
    fn lines_that_do_not_count_are_numbered() {
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
