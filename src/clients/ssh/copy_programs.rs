//! The programs that copy files and directories to hosts and from them, and what
//! those answer. POSIX sh and tar, nothing else.
//!
//! They say by their exit status what went wrong: the words of a host depend on
//! its language. See [`Trouble`].

use super::shell::quote;

/// Why a copy program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A file or directory that the path names does not exist.
    Missing,
    /// The user may not read or write there.
    Denied,
    /// The disk is full, or the user's part of it.
    Full,
    /// A directory stands where a file is to go, or the other way round.
    InTheWay,
    /// The home directory is in the directory that would be replaced.
    HoldsHome,
    /// Not all that was sent has arrived.
    Incomplete,
    /// The path names neither a file nor a directory.
    Special,
}

impl Trouble {
    const ALL: [Self; 7] = [
        Self::Missing,
        Self::Denied,
        Self::Full,
        Self::InTheWay,
        Self::HoldsHome,
        Self::Incomplete,
        Self::Special,
    ];

    /// The status with which a program ends; sh, tar and sudo have others.
    const fn status(self) -> i64 {
        match self {
            Self::Missing => 91,
            Self::Denied => 92,
            Self::Full => 93,
            Self::InTheWay => 94,
            Self::HoldsHome => 95,
            Self::Incomplete => 96,
            Self::Special => 97,
        }
    }

    /// What a program's exit status says; nothing for one without a reason.
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
    /// GNU tar, which knows of holes in files.
    Gnu,
    /// Another tar.
    Other,
}

impl Tar {
    /// A program that says it: `gnu`, `tar` or `none`.
    pub const COMMAND: &str = "\
case $(tar --version 2>/dev/null) in *GNU*) printf gnu ;; \
*) command -v tar >/dev/null && printf tar || printf none ;; esac";

    /// What [`Tar::COMMAND`] wrote; nothing when there is no tar.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        match answer.trim() {
            "gnu" => Some(Self::Gnu),
            "tar" => Some(Self::Other),
            _ => None,
        }
    }
}

/// What a path on a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A file: its size, and its permissions as `ls` shows them.
    File(u64, u32),
    /// A directory: how it can be packed, if there is a tar.
    Directory(Option<Tar>),
}

impl Looked {
    /// What [`look`] wrote.
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

/// `-rw-r--r--` as a number; without what makes a file another user's program.
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

/// A script as a command for the login shell, after these functions:
///
/// - `absent PATH` ends because the path does not exist, or is in a directory
///   that the user may not look into.
/// - `why DIRECTORY` ends with the reason why nothing can be written in it.
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
    format!("exec sh -c {}", quote(&(functions + script)))
}

/// A path as the shell there takes it: a quoted tilde would be a name, and
/// relative paths start at home anyway.
fn from_home(path: &str) -> &str {
    match path.strip_prefix("~/") {
        Some("") => ".",
        Some(rest) => rest,
        None if path == "~" => ".",
        None => path,
    }
}

/// A program that copies its input to a file, for [`super::Ssh::run`]: it writes
/// a hidden file beside the target, checks its size, sets the mode and renames
/// it. It writes the path on which the file is then.
#[must_use]
pub fn receive_file(name: &str, target: &str, size: u64, mode: u32) -> String {
    command(&format!(
        r#"t={target} n={name}
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
[ ! -e "$h" ] && [ ! -L "$h" ] || {{ echo "$h is there" >&2; exit 1; }}
trap 'rm -f -- "$h"' EXIT
trap 'exit 1' HUP INT PIPE TERM
set -C
cat >"$h" || why "${{d:-.}}"
s=$(wc -c <"$h") || exit 1
[ "$s" -eq {size} ] || {{ echo "received $s of {size} bytes" >&2; exit {incomplete}; }}
chmod {mode:04o} "$h" || exit 1
mv -f -- "$h" "$t" || why "${{d:-.}}"
printf '%s' "$t""#,
        target = quote(from_home(target)),
        name = quote(name),
        missing = Trouble::Missing.status(),
        incomplete = Trouble::Incomplete.status(),
    ))
}

/// Begins a directory that is to become `target`: makes `$h`, a hidden one that
/// the end of the shell removes, whose `tree` will be moved. It stands inside
/// `target` when that is a directory that stays, else beside it; `$d` is the
/// directory that holds it.
fn stage(name: &str, target: &str, replace: bool) -> String {
    format!(
        r#"t={target} n={name} into= home=$(pwd -P)
case $t in
*/) [ -d "$t" ] || {{ echo "the directory $t does not exist" >&2; exit {missing}; }}; t=$t$n ;;
esac
if [ -d "$t" ]; then t=$(cd -P -- "$t" && pwd) || exit {denied}
elif [ -e "$t" ] || [ -L "$t" ]; then echo "$t is there and is no directory" >&2; exit {in_the_way}
fi
if ! {merging}; then
case "$home/" in
"${{t%/}}"/*) echo "$t is not replaced: the home directory is in it" >&2; exit {holds_home} ;;
esac
fi
if [ -d "$t" ] && {merging}; then into=1
[ -w "$t" ] || chmod u+wx "$t" 2>/dev/null
d=$t/ h=$t/.autorun-{token}
else
case $t in */*) d=${{t%/*}}/ ;; *) d= ;; esac
h=$d.${{t##*/}}.autorun-{token}
fi
umask 077
mkdir -- "$h" || why "${{d:-.}}"
clean() {{
if [ -e "$h/old" ] && [ ! -e "$t" ]; then mv -- "$h/old" "$t" || return; fi
rm -rf -- "$h" 2>/dev/null || {{ chmod -R u+rwx "$h"; rm -rf -- "$h"; }}
}}
trap clean EXIT
trap 'exit 1' HUP INT PIPE TERM
"#,
        target = quote(from_home(target)),
        name = quote(name),
        merging = if replace { "false" } else { "true" },
        token = format_args!("{:08x}", rand::random::<u32>()),
        missing = Trouble::Missing.status(),
        denied = Trouble::Denied.status(),
        in_the_way = Trouble::InTheWay.status(),
        holds_home = Trouble::HoldsHome.status(),
    )
}

/// Moves `$h/tree` to `$t`: in one go if nothing is there or it is replaced,
/// else file by file into what is there. A link in the place of a directory is
/// not followed: it might lead anywhere. Then directories that are closed to
/// their own owner are closed, and the path is written.
fn settle() -> String {
    format!(
        r#"merge() {{
[ -w "$2" ] || chmod u+wx "$2" 2>/dev/null
(cd -- "$1" && find . ! -name . -prune ! -type d -exec sh -c '
t=$1; shift
for f do
if [ -d "$t/$f" ] && [ ! -L "$t/$f" ]; then
echo "$t/${{f#./}} is a directory there and none here" >&2; exit 1
fi
done' sh "$2" {{}} +) || exit {in_the_way}
(cd -- "$1" && find . ! -name . -prune ! -type d -exec sh -c '
t=$1; shift; mv -f -- "$@" "$t/"' sh "$2" {{}} +) || why "$2"
for e in "$1"/* "$1"/.[!.]* "$1"/..?*; do
if [ -d "$e" ] && [ ! -L "$e" ]; then
n=${{e##*/}}
if [ -d "$2/$n" ] && [ ! -L "$2/$n" ]; then merge "$e" "$2/$n"
elif [ -e "$2/$n" ] || [ -L "$2/$n" ]; then
echo "$2/$n is no directory there and one here" >&2; exit {in_the_way}
else mv -- "$e" "$2/$n" || why "$2"
fi
fi
done
}}
if [ "$into" ]; then merge "$h/tree" "$t"
elif [ ! -d "$t" ]; then mv -- "$h/tree" "$t" || why "${{d:-.}}"
else
[ -w "$t" ] || chmod u+wx "$t" 2>/dev/null
trap '' HUP INT PIPE TERM
mv -- "$t" "$h/old" || why "${{d:-.}}"
mv -- "$h/tree" "$t" || why "${{d:-.}}"
fi
if [ -f "$h/closed" ]; then
while IFS=' ' read -r m n; do
v=$(printf '%bx' "$n") && v=${{v%x}} && chmod "$m" "$t/$v" || exit 1
done <"$h/closed"
fi
printf '%s' "$t""#,
        in_the_way = Trouble::InTheWay.status(),
    )
}

/// A program that makes a directory of what [`crate::clients::tree::pack`] wrote:
/// a tar stream that ends with the file `done`. It is built under a hidden name
/// and then moved to `target`; with `replace` it takes the place of what is
/// there, else that is added to. It writes the directory's path.
#[must_use]
pub fn receive_tree(name: &str, target: &str, replace: bool) -> String {
    command(&format!(
        r#"{stage}tar -xpof - -C "$h" || {{
[ -f "$h/done" ] && why "$h"
(why "$h"); s=$?
[ $s -eq {full} ] && exit {full}
exit {incomplete}
}}
[ -f "$h/done" ] || {{ echo "the directory did not arrive whole" >&2; exit {incomplete}; }}
{settle}"#,
        stage = stage(name, target, replace),
        settle = settle(),
        full = Trouble::Full.status(),
        incomplete = Trouble::Incomplete.status(),
    ))
}

/// A program that says what a path is, for [`Looked::parse`]:
/// `file SIZE -rw-r--r--`, or `directory TAR`.
#[must_use]
pub fn look(path: &str) -> String {
    command(&format!(
        r#"p={path}
if [ -d "$p" ]; then printf 'directory '; {tar}
elif [ -f "$p" ]; then
[ -r "$p" ] || {{ echo "$p: Permission denied" >&2; exit {denied}; }}
m=$(ls -ldL -- "$p") && s=$(wc -c <"$p") || exit 1
printf 'file %d %.10s' "$s" "$m"
elif [ -e "$p" ]; then echo "$p is neither a file nor a directory" >&2; exit {special}
else absent "$p"
fi"#,
        path = quote(from_home(path)),
        tar = Tar::COMMAND,
        denied = Trouble::Denied.status(),
        special = Trouble::Special.status(),
    ))
}

/// A program that writes the first bytes of a file, however much is appended
/// meanwhile.
#[must_use]
pub fn send_file(path: &str, size: u64) -> String {
    command(&format!(
        r#"p={path}
[ -e "$p" ] || absent "$p"
exec head -c {size} <"$p""#,
        path = quote(from_home(path)),
    ))
}

/// A program that writes a directory as a tar stream. Its status is tar's own,
/// unless something in it cannot be read.
#[must_use]
pub fn send_tree(path: &str) -> String {
    command(&format!(
        r#"p={path}
[ -e "$p" ] || absent "$p"
cd -- "$p" || exit {denied}
tar -cf - .
s=$?
[ $s -lt 2 ] && exit $s
find . ! -type l -exec sh -c 'for f do [ -r "$f" ] || exit 1; done' sh {{}} + >/dev/null 2>&1 ||
exit {denied}
exit $s"#,
        path = quote(from_home(path)),
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
    fn what_a_host_says_of_a_path_is_understood_whole_or_not_at_all() {
        let file = |said| Looked::parse(said);
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

    /// The status of a program under real sh, with this input.
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
        // A program may end without reading it.
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
    fn a_status_says_what_is_wrong_whatever_a_host_says_of_it() {
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

        // One whose disk is full, in its own language.
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
