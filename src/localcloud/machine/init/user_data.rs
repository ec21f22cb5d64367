//! Decides who runs user data: this process, which is fast, or the distribution's
//! own cloud-init, which can do everything.

/// The beginnings that cloud-init knows, in lower case.
const BEGINNINGS: [&str; 9] = [
    "#!",
    "#cloud-boothook",
    "#cloud-config",
    "#include",
    "#part-handler",
    "## template: jinja",
    "text/x-shellscript-per-boot",
    "text/x-shellscript-per-instance",
    "text/x-shellscript-per-once",
];

/// How far cloud-init looks for the header of a MIME message.
const MESSAGE_WITHIN: usize = 4096;

/// User data, by who runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UserData {
    Nothing,
    /// A script, with the line ends that cloud-init gives it.
    Script(Vec<u8>),
    /// Text that cloud-init only warns about, with its beginning as the warning
    /// shows it.
    Ignored(String),
    /// Everything else.
    ForCloudInit,
}

impl UserData {
    pub(super) fn of(data: &[u8]) -> Self {
        if data.is_empty() {
            return Self::Nothing;
        }
        let start = &data[..data.len().min(MESSAGE_WITHIN)];
        let start = start.to_ascii_lowercase();
        let is_message = start.windows(13).any(|window| window == b"mime-version:");
        let Ok(text) = std::str::from_utf8(data) else {
            return Self::ForCloudInit;
        };
        if is_message {
            return Self::ForCloudInit;
        }
        if let Some(interpreter) = text.strip_prefix("#!")
            && !interpreter
                .lines()
                .next()
                .unwrap_or_default()
                .trim()
                .is_empty()
        {
            return Self::Script(with_unix_lines(text).into_bytes());
        }
        let bare = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
        let bare: String = bare.chars().take(40).collect();
        let bare = bare.to_lowercase();
        if BEGINNINGS.iter().any(|known| bare.starts_with(known)) {
            return Self::ForCloudInit;
        }
        let first = text.split('\n').next().unwrap_or_default();
        let first: String = first.chars().take(24).collect();
        Self::Ignored(python_bytes(&first))
    }
}

/// Returns a text as cloud-init's log shows it: Python's escapes, escaped once more
/// as those of bytes.
fn python_bytes(text: &str) -> String {
    let escaped: String = text.chars().map(unicode_escape).collect();
    let quote = if escaped.contains('\'') && !escaped.contains('"') {
        '"'
    } else {
        '\''
    };
    let inner = escaped.replace('\\', "\\\\");
    let inner = if quote == '\'' {
        inner.replace('\'', "\\'")
    } else {
        inner
    };
    format!("b{quote}{inner}{quote}")
}

fn unicode_escape(c: char) -> String {
    match (c, u32::from(c)) {
        ('\\', _) => "\\\\".to_owned(),
        ('\t', _) => "\\t".to_owned(),
        ('\r', _) => "\\r".to_owned(),
        (' '..='~', _) => c.to_string(),
        (_, code @ 0..=0xff) => format!("\\x{code:02x}"),
        (_, code @ 0x100..=0xffff) => format!("\\u{code:04x}"),
        (_, code) => format!("\\U{code:08x}"),
    }
}

/// cloud-init changes all line ends if the first one is that of Windows.
fn with_unix_lines(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, _)) if first.ends_with('\r') => text.replace("\r\n", "\n"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scripts_run_here() {
        let script = |data: &str| UserData::of(data.as_bytes());
        let unix = UserData::Script(b"#!/bin/sh\ndate\n".to_vec());
        assert_eq!(script("#!/bin/sh\ndate\n"), unix);
        assert_eq!(script("#!/bin/sh\r\ndate\r\n"), unix);
        let mixed = "#!/bin/sh\ndate\r\n";
        assert_eq!(script(mixed), UserData::Script(mixed.into()));
        assert_eq!(script(""), UserData::Nothing);
    }

    #[test]
    fn text_without_a_known_beginning_is_ignored() {
        let ignored = |data: &str, shown: &str| {
            assert_eq!(
                UserData::of(data.as_bytes()),
                UserData::Ignored(shown.to_owned())
            );
        };
        ignored("hello\nworld", "b'hello'");
        ignored("\u{feff}#!/bin/sh\n", r"b'\\ufeff#!/bin/sh'");
        ignored("# cloud-config\n", "b'# cloud-config'");
        ignored("it's ü\r\n", r#"b"it's \\xfc\\r""#);
        ignored(&"x".repeat(100), &format!("b'{}'", "x".repeat(24)));
    }

    #[test]
    fn everything_else_is_for_cloud_init() {
        let gzip: &[u8] = b"\x1f\x8b\x08\x00";
        for data in [
            b"#cloud-config\n".as_slice(),
            b"\n#!/bin/sh\n",
            b"#!\n",
            b"Content-Type: text/x-shellscript\nMime-Version: 1.0\n\n#!/bin/sh\n",
            b"#!/bin/sh\ncat <<E\nMIME-Version: 1.0\nE\n",
            b"#!/bin/sh\necho \xfc\n",
            b"## Template: Jinja\n",
            gzip,
        ] {
            assert_eq!(UserData::of(data), UserData::ForCloudInit, "{data:?}");
        }
    }
}
