//! `~` and `~user` in paths on a host: the host's own list of users says where
//! they are.

use super::shell::quote;

/// The home directory for programs that start there.
pub(super) const HERE: &str = ".";

/// Returns shell code that sets a variable to a path on the host. `~/x` is in
/// `home`, which is shell code for the home directory. `~user/x` is in the home
/// directory of that user; if there is no such user, `otherwise` runs.
pub(super) fn at_home(variable: &str, path: &str, home: &str, otherwise: &str) -> String {
    match path.strip_prefix('~') {
        None => format!("{variable}={}\n", quote(path)),
        Some("" | "/") => format!("{variable}={home}\n"),
        Some(rest) if rest.starts_with('/') && home == HERE => {
            format!("{variable}={}\n", quote(&in_home(rest)))
        }
        Some(rest) if rest.starts_with('/') => format!("{variable}={home}{}\n", quote(rest)),
        Some(rest) => {
            let (user, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !is_user(user) {
                return format!("{otherwise}\n");
            }
            // A shell leaves the tilde if it knows no such user.
            format!(
                "{variable}=~{user}\ncase ${variable} in \"~\"*) {otherwise} ;; esac\n\
                 {variable}=${variable}{}\n",
                quote(rest)
            )
        }
    }
}

/// Returns a path in the home directory as a relative one, which cannot look
/// like an option.
fn in_home(rest: &str) -> String {
    let rest = rest.trim_start_matches('/');
    if rest.starts_with('-') {
        format!("./{rest}")
    } else {
        rest.to_owned()
    }
}

/// Returns whether a text can be a user name that a shell expands after a
/// tilde. Nothing in it has a meaning for the shell.
fn is_user(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_knows_where_a_user_lives() {
        let shown = |path: &str| {
            let code = at_home("t", path, HERE, "echo unknown; exit 1") + "printf %s \"$t\"";
            let out = std::process::Command::new("sh")
                .args(["-c", &code])
                .output();
            String::from_utf8(out.unwrap().stdout).unwrap()
        };
        for (path, expected) in [
            ("~", "."),
            ("~/", "."),
            ("~/a b", "a b"),
            ("~//x", "x"),
            ("~/-x", "./-x"),
            ("~root", "/root"),
            ("~root/a'b", "/root/a'b"),
            ("./~root", "./~root"),
            ("a~", "a~"),
            ("~nosuchuser/x", "unknown\n"),
            ("~$(id)/x", "unknown\n"),
            ("~root;id", "unknown\n"),
            ("~+", "unknown\n"),
            ("~1", "unknown\n"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
        let code = at_home("t", "~/a b", "\"$HOME\"", "false");
        assert_eq!(code, "t=\"$HOME\"'/a b'\n");
    }
}
