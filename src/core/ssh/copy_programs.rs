//! The programs that copy files and directories to and from hosts, and parsers
//! for their output. They need only POSIX sh and tar.
//!
//! Their exit status shows what went wrong, because messages depend on the
//! language of the host. See [`Trouble`].

use super::home::{HERE, at_home};
use super::shell::quote;

/// Why a copy program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A file or directory that the path names does not exist.
    Missing,
    /// The user may not read or write the path.
    Denied,
    /// The disk or the user's quota is full.
    Full,
    /// There is a directory in the place of a file, or the other way round.
    InTheWay,
    /// The directory to be replaced contains the home directory.
    HoldsHome,
    /// The data arrived incomplete.
    Incomplete,
    /// The path names neither a file nor a directory.
    Special,
    /// The path begins with `~user`, and the host has no such user.
    NoUser,
    /// The host has no tar.
    NoTar,
}

impl Trouble {
    const ALL: [Self; 9] = [
        Self::Missing,
        Self::Denied,
        Self::Full,
        Self::InTheWay,
        Self::HoldsHome,
        Self::Incomplete,
        Self::Special,
        Self::NoUser,
        Self::NoTar,
    ];

    /// Returns the program's exit status for this reason; sh, tar and sudo use
    /// others.
    pub(super) const fn status(self) -> i64 {
        match self {
            Self::Missing => 91,
            Self::Denied => 92,
            Self::Full => 93,
            Self::InTheWay => 94,
            Self::HoldsHome => 95,
            Self::Incomplete => 96,
            Self::Special => 97,
            Self::NoUser => 98,
            Self::NoTar => 99,
        }
    }

    /// Returns the reason for an exit status, if the status has one.
    #[must_use]
    pub fn of_status(status: i64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|trouble| trouble.status() == status)
    }
}

/// How a host packs and unpacks directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tar {
    /// GNU tar, which supports sparse files.
    Gnu,
    /// Another tar.
    Other,
}

impl Tar {
    /// A program that prints the kind: `gnu`, `tar` or `none`.
    pub const COMMAND: &str = "\
case $(tar --version 2>/dev/null) in *GNU*) printf gnu ;; \
*) command -v tar >/dev/null && printf tar || printf none ;; esac";

    /// Parses the output of [`Tar::COMMAND`]; `None` if there is no tar.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        match answer.trim() {
            "gnu" => Some(Self::Gnu),
            "tar" => Some(Self::Other),
            _ => None,
        }
    }
}

/// The kind of a path on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A file: its size and permissions.
    File(u64, u32),
    /// A directory: the host's tar, if there is one.
    Directory(Option<Tar>),
}

impl Looked {
    /// Parses the output of [`look`].
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let (kind, rest) = answer.split_once(' ')?;
        match kind {
            "file" => {
                let (size, mode) = rest.split_once(' ')?;
                Some(Self::File(size.parse().ok()?, permissions(mode)?))
            }
            "directory" => Some(Self::Directory(Tar::parse(rest))),
            _ => None,
        }
    }
}

/// Parses `-rw-r--r--` to a mode, without the setuid, setgid and sticky bits.
fn permissions(shown: &str) -> Option<u32> {
    let letters: Vec<char> = shown.chars().skip(1).collect();
    if letters.len() != 9 {
        return None;
    }
    let bit = |(n, letter): (usize, &char)| match (n % 3, letter) {
        (0, 'r') | (1, 'w') | (2, 'x' | 's' | 't') => Some(0o400 >> n),
        (_, '-') | (2, 'S' | 'T') => Some(0),
        _ => None,
    };
    letters.iter().enumerate().map(bit).sum()
}

/// Returns a program for POSIX sh from a script, with these functions:
///
/// - `absent PATH` exits because the path does not exist, or because the user
///   may not search one of its directories.
/// - `why DIRECTORY` exits with the reason why the directory is not writable.
fn command(script: &str) -> String {
    let functions = format!(
        r#"absent() {{
p=$1
until [ -e "$p" ]; do
case $p in /*/*|[!/]*/*) p=${{p%/*}} ;; /*) p=/ ;; *) p=. ;; esac
done
[ -d "$p" ] && [ ! -x "$p" ] && {{ echo "$1: Permission denied" >&2; exit {denied}; }}
echo "$1: No such file or directory" >&2
exit {missing}
}}
why() {{
[ -d "$1" ] || absent "$1" 2>/dev/null
[ -w "$1" ] && [ -x "$1" ] || exit {denied}
w=$1/.autorun-$$.probe
(set -C; printf %4096s | cat >"$w") 2>/dev/null || {{ rm -f -- "$w"; exit {full}; }}
rm -f -- "$w"
exit 1
}}
"#,
        missing = Trouble::Missing.status(),
        denied = Trouble::Denied.status(),
        full = Trouble::Full.status(),
    );
    functions + script
}

/// Returns shell code that sets a variable to a path on the host.
fn on_host(variable: &str, path: &str) -> String {
    let fails = format!(
        "{{ echo 'no such user' >&2; exit {}; }}",
        Trouble::NoUser.status()
    );
    at_home(variable, path, HERE, &fails)
}

/// Returns a program that copies its input to a file, for [`super::Ssh::run`].
/// It writes a hidden file beside the target, checks the size, sets the mode
/// and renames the file. It prints the path of the hidden file and a zero byte, and
/// in the end the path of the file.
#[must_use]
pub fn receive_file(name: &str, target: &str, size: u64, mode: u32) -> String {
    command(&format!(
        r#"{target}n={name}
case $t in
*/) [ -d "$t" ] || {{ echo "the directory $t does not exist" >&2; exit {missing}; }} ;;
esac
if [ -d "$t" ]; then t=${{t%/}}/$n; fi
case $t in
*/*) d=${{t%/*}}/ ;;
*) d= ;;
esac
h=${{d}}.${{t##*/}}.autorun-$$
umask 077
[ ! -e "$h" ] && [ ! -L "$h" ] || {{ echo "$h already exists" >&2; exit 1; }}
trap 'rm -f -- "$h"' EXIT
trap 'exit 1' HUP INT PIPE TERM
set -C
{{ printf '%s\0' "$h" && cat >&3; }} 3>"$h" || why "${{d:-.}}"
s=$(wc -c <"$h") || exit 1
[ "$s" -eq {size} ] || {{ echo "received $s of {size} bytes" >&2; exit {incomplete}; }}
chmod -- {mode:04o} "$h" || exit 1
mv -f -- "$h" "$t" || why "${{d:-.}}"
printf '%s' "$t""#,
        target = on_host("t", target),
        name = quote(name),
        missing = Trouble::Missing.status(),
        incomplete = Trouble::Incomplete.status(),
    ))
}

/// Parts of a file begin at multiples of this size, in bytes.
pub(super) const BLOCK: u64 = 1 << 20;

/// Returns a program that writes parts of its input into the hidden file of [`receive_file`].
/// The input is a line with the path of the file, and for each part a line with its
/// place and its length in blocks, and the part. Only the last part may end within a
/// block. The program fails with status 1 if the host cannot do that.
pub(super) fn receive_parts() -> String {
    command(&format!(
        r#"IFS= read -r h || exit 0
d=.
case $h in */*) d=${{h%/*}}/ ;; esac
dd bs=1 count=0 iflag=fullblock </dev/null >/dev/null 2>&1 || exit 1
while read -r s n; do
[ -f "$h" ] || exit 1
dd bs={BLOCK} seek="$s" count="$n" iflag=fullblock conv=notrunc 2>/dev/null 1<>"$h" || why "$d"
done"#
    ))
}

/// Returns the beginning of a program that creates the directory `target`. It
/// creates the hidden directory `$h`, which is removed when the shell exits and
/// whose `tree` will be moved. `$h` is inside `target` if that is a directory
/// that stays, otherwise beside it. `$d` is the directory that contains `$h`.
fn stage(name: &str, target: &str, replace: bool) -> String {
    format!(
        r#"{target}n={name} into= home=$(pwd -P)
case $t in
*/) [ -d "$t" ] || {{ echo "the directory $t does not exist" >&2; exit {missing}; }}; t=$t$n ;;
esac
if [ -d "$t" ]; then t=$(cd -P -- "$t" && pwd) || exit {denied}
elif [ -e "$t" ] || [ -L "$t" ]; then echo "$t exists and is not a directory" >&2; exit {in_the_way}
fi
if ! {merging}; then
case "$home/" in
"${{t%/}}"/*) echo "$t is not replaced because it contains the home directory" >&2; exit {holds_home} ;;
esac
fi
if [ -d "$t" ] && {merging}; then into=1
[ -w "$t" ] || chmod -- u+wx "$t" 2>/dev/null
d=$t/ h=$t/.autorun-{token}
else
case $t in */*) d=${{t%/*}}/ ;; *) d= ;; esac
h=$d.${{t##*/}}.autorun-{token}
fi
umask 077
mkdir -- "$h" || why "${{d:-.}}"
clean() {{
if [ -e "$h/old" ] && [ ! -e "$t" ]; then mv -- "$h/old" "$t" || return; fi
rm -rf -- "$h" 2>/dev/null || {{ chmod -R -- u+rwx "$h"; rm -rf -- "$h"; }}
}}
trap clean EXIT
trap 'exit 1' HUP INT PIPE TERM
"#,
        target = on_host("t", target),
        name = quote(name),
        merging = if replace { "false" } else { "true" },
        token = format_args!("{:08x}", rand::random::<u32>()),
        missing = Trouble::Missing.status(),
        denied = Trouble::Denied.status(),
        in_the_way = Trouble::InTheWay.status(),
        holds_home = Trouble::HoldsHome.status(),
    )
}

/// Returns the part of a program that moves `$h/tree` to `$t`: with a single
/// rename if `$t` does not exist or is replaced, otherwise file by file into
/// the existing directory. A link in the place of a directory is not followed,
/// because it might lead anywhere. Afterwards, directories that their owner
/// cannot write to get their mode, and the path is printed.
fn settle() -> String {
    format!(
        r#"merge() {{
[ -w "$2" ] || chmod -- u+wx "$2" 2>/dev/null
(cd -- "$1" && find . ! -name . -prune ! -type d -exec sh -c '
t=$1; shift
for f do
if [ -d "$t/$f" ] && [ ! -L "$t/$f" ]; then
echo "$t/${{f#./}} is a directory on the host, but not here" >&2; exit 1
fi
done' sh "$2" {{}} +) || exit {in_the_way}
(cd -- "$1" && find . ! -name . -prune ! -type d -exec sh -c '
t=$1; shift; mv -f -- "$@" "$t/"' sh "$2" {{}} +) || why "$2"
for e in "$1"/* "$1"/.[!.]* "$1"/..?*; do
if [ -d "$e" ] && [ ! -L "$e" ]; then
n=${{e##*/}}
if [ -d "$2/$n" ] && [ ! -L "$2/$n" ]; then merge "$e" "$2/$n"
elif [ -e "$2/$n" ] || [ -L "$2/$n" ]; then
echo "$2/$n is a directory here, but not on the host" >&2; exit {in_the_way}
else mv -- "$e" "$2/$n" || why "$2"
fi
fi
done
}}
if [ "$into" ]; then merge "$h/tree" "$t"
elif [ ! -d "$t" ]; then mv -- "$h/tree" "$t" || why "${{d:-.}}"
else
[ -w "$t" ] || chmod -- u+wx "$t" 2>/dev/null
trap '' HUP INT PIPE TERM
mv -- "$t" "$h/old" || why "${{d:-.}}"
mv -- "$h/tree" "$t" || why "${{d:-.}}"
fi
if [ -f "$h/closed" ]; then
while IFS=' ' read -r m n; do
v=$(printf '%bx' "$n") && v=${{v%x}} && chmod -- "$m" "$t/$v" || exit 1
done <"$h/closed"
fi
printf '%s' "$t""#,
        in_the_way = Trouble::InTheWay.status(),
    )
}

/// Returns a program that unpacks the output of [`crate::tree::pack`],
/// a tar stream that ends with the file `done`. The directory is built under a
/// hidden name and then moved to `target`. With `replace` it replaces an
/// existing directory; otherwise its files are added. The program prints the
/// directory's path.
#[must_use]
pub fn receive_tree(name: &str, target: &str, replace: bool) -> String {
    command(&format!(
        r#"command -v tar >/dev/null || exit {no_tar}
{stage}tar -xpof - -C "$h" || {{
[ -f "$h/done" ] && why "$h"
(why "$h"); s=$?
[ $s -eq {full} ] && exit {full}
exit {incomplete}
}}
[ -f "$h/done" ] || {{ echo "the directory arrived incomplete" >&2; exit {incomplete}; }}
{settle}"#,
        stage = stage(name, target, replace),
        settle = settle(),
        no_tar = Trouble::NoTar.status(),
        full = Trouble::Full.status(),
        incomplete = Trouble::Incomplete.status(),
    ))
}

/// Returns a program that prints the kind of a path, for [`Looked::parse`]:
/// `file SIZE -rw-r--r--`, or `directory TAR`.
#[must_use]
pub fn look(path: &str) -> String {
    command(&format!(
        r#"{path}if [ -d "$p" ]; then printf 'directory '; {tar}
elif [ -f "$p" ]; then
[ -r "$p" ] || {{ echo "$p: Permission denied" >&2; exit {denied}; }}
m=$(ls -ldL -- "$p") && s=$(wc -c <"$p") || exit 1
printf 'file %d %.10s' "$s" "$m"
elif [ -e "$p" ]; then echo "$p is neither a file nor a directory" >&2; exit {special}
else absent "$p"
fi"#,
        path = on_host("p", path),
        tar = Tar::COMMAND,
        denied = Trouble::Denied.status(),
        special = Trouble::Special.status(),
    ))
}

/// Returns a program that writes the first `size` bytes of a file, without data
/// that is appended in the meantime.
#[must_use]
pub fn send_file(path: &str, size: u64) -> String {
    command(&format!(
        r#"{path}[ -e "$p" ] || absent "$p"
exec head -c {size} <"$p""#,
        path = on_host("p", path),
    ))
}

/// Returns a program that writes a directory as a tar stream. Its exit status
/// is tar's, unless a file in it cannot be read.
#[must_use]
pub fn send_tree(path: &str) -> String {
    command(&format!(
        r#"{path}[ -e "$p" ] || absent "$p"
cd -- "$p" || exit {denied}
tar -cf - .
s=$?
[ $s -lt 2 ] && exit $s
find . ! -type l -exec sh -c 'for f do [ -r "$f" ] || exit 1; done' sh {{}} + >/dev/null 2>&1 ||
exit {denied}
exit $s"#,
        path = on_host("p", path),
        denied = Trouble::Denied.status(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    #[test]
    fn the_output_of_look_is_parsed_completely_or_not_at_all() {
        let file = |output| Looked::parse(output);
        assert_eq!(file("file 12 -rw-r-----"), Some(Looked::File(12, 0o640)));
        assert_eq!(file("file 0 -rwsr-Sr-t"), Some(Looked::File(0, 0o745)));
        for odd in [
            "",
            "file",
            "file 12",
            "file -1 -rw-r--r--",
            "file 99999999999999999999 -rw-r--r--",
            "file 12 -rw-r--r-",
            "file 12 -rw-r--r--x",
            "file 12 -wr-r--r--",
            "file 12 wwwwwwwwww",
            "link 12 -rw-r--r--",
            "directory",
        ] {
            assert_eq!(Looked::parse(odd), None, "{odd}");
        }
        assert_eq!(
            Looked::parse("directory gnu"),
            Some(Looked::Directory(Some(Tar::Gnu)))
        );
        assert_eq!(
            Looked::parse("directory none"),
            Some(Looked::Directory(None))
        );
    }

    /// Runs a program with real sh and this input. Returns its exit status.
    fn status(command: &str, stdin: &str, path: Option<&Path>) -> i32 {
        let mut sh = Command::new("sh");
        if let Some(path) = path {
            sh.env("PATH", format!("{}:/usr/bin:/bin", path.display()));
        }
        let mut child = sh
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A program may end without reading its input.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait().unwrap().code().unwrap()
    }

    fn trouble(command: &str, stdin: &str) -> Option<Trouble> {
        Trouble::of_status(status(command, stdin, None).into())
    }

    #[test]
    fn a_short_copy_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a 'b'\nc");
        let command = receive_file("x", target.to_str().unwrap(), 5, 0o640);
        assert_eq!(trouble(&command, "abc"), Some(Trouble::Incomplete));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(status(&command, "abcde", None), 0);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "abcde");
        let into = receive_file("x", dir.path().to_str().unwrap(), 2, 0o755);
        assert_eq!(status(&into, "hi", None), 0);
        assert_eq!(std::fs::read_to_string(dir.path().join("x")).unwrap(), "hi");
    }

    #[test]
    fn the_exit_status_shows_the_reason_in_any_language() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("file"), "x").unwrap();
        for (command, expected) in [
            (
                receive_file("x", &at("no/such"), 1, 0o644),
                Trouble::Missing,
            ),
            (receive_file("x", &at("no/"), 1, 0o644), Trouble::Missing),
            (receive_tree("x", &at("no/such"), false), Trouble::Missing),
            (receive_tree("x", &at("file"), false), Trouble::InTheWay),
            (receive_tree("x", &at("new"), false), Trouble::Incomplete),
            (receive_tree("x", ".", true), Trouble::HoldsHome),
            (look(&at("no/such")), Trouble::Missing),
            (look("/dev/null"), Trouble::Special),
            (send_file(&at("nosuch"), 1), Trouble::Missing),
            (send_tree(&at("nosuch")), Trouble::Missing),
        ] {
            assert_eq!(trouble(&command, "y"), Some(expected), "{command}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

        // A host whose disk is full and whose messages are not in English.
        let full = "#!/bin/sh\necho 'Auf dem Gerät ist kein Platz' >&2; exit 1\n";
        let programs = dir.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        std::fs::write(programs.join("cat"), full).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(programs.join("cat"), executable).unwrap();
        let copy = receive_file("x", &at("new"), 1, 0o644);
        let ended = status(&copy, "y", Some(&programs));
        assert_eq!(Trouble::of_status(ended.into()), Some(Trouble::Full));
        assert!(!dir.path().join("new").exists());
    }
}
