//! Command lines in unit files: prefixes, quotes, specifiers, variables.

use std::collections::BTreeMap;

/// A command of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "prefixes are independent")]
pub(super) struct Exec {
    words: Vec<String>,
    /// `@`: the second word is the program's `argv[0]`.
    names_itself: bool,
    /// `-`: a failure is ignored.
    pub(super) may_fail: bool,
    /// `+` or `!`: runs as root, regardless of `User=`.
    pub(super) as_root: bool,
    /// `:`: variables are not replaced.
    literal: bool,
}

/// A command that is ready to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argv {
    pub(super) program: String,
    pub(super) arg0: String,
    pub(super) args: Vec<String>,
}

impl Exec {
    /// Parses a line. Most lines have one command; `;` separates several.
    pub(super) fn parse(line: &str) -> Vec<Self> {
        let words = split(line);
        let commands = words.split(|word| word == ";");
        commands.filter_map(Self::from_words).collect()
    }

    fn from_words(words: &[String]) -> Option<Self> {
        let mut exec = Self {
            words: words.to_vec(),
            names_itself: false,
            may_fail: false,
            as_root: false,
            literal: false,
        };
        let first = exec.words.first_mut()?;
        loop {
            match first.chars().next()? {
                '@' => exec.names_itself = true,
                '-' => exec.may_fail = true,
                '+' | '!' => exec.as_root = true,
                ':' => exec.literal = true,
                _ => return Some(exec),
            }
            first.remove(0);
        }
    }

    /// Replaces variables: `${A}` within a word, and a word `$A` by the words
    /// of the value.
    pub(super) fn argv(&self, variables: &BTreeMap<String, String>) -> Argv {
        let replaced = |word: &String| {
            if self.literal {
                vec![word.clone()]
            } else {
                replace(word, variables)
            }
        };
        let mut words: Vec<String> = self.words.iter().flat_map(replaced).collect();
        let program = if words.is_empty() {
            String::new()
        } else {
            words.remove(0)
        };
        let arg0 = if self.names_itself && !words.is_empty() {
            words.remove(0)
        } else {
            program.clone()
        };
        Argv {
            program,
            arg0,
            args: words,
        }
    }
}

fn replace(word: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let value = |name: &str| variables.get(name).cloned().unwrap_or_default();
    if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
        return value(name).split_whitespace().map(str::to_owned).collect();
    }
    let mut result = String::new();
    let mut rest = word;
    while let Some(position) = rest.find('$') {
        result += &rest[..position];
        rest = &rest[position..];
        let braced = rest
            .strip_prefix("${")
            .and_then(|rest| rest.split_once('}'));
        if let Some(after) = rest.strip_prefix("$$") {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = braced {
            result += &value(name);
            rest = after;
        } else {
            result.push('$');
            rest = &rest[1..];
        }
    }
    vec![result + rest]
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(is_part) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Splits a line into words as systemd does, with quotes and C escapes.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => {
                let target = word.get_or_insert_default();
                unescape(&mut chars, target);
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn unescape(chars: &mut std::str::Chars, word: &mut String) {
    match chars.next() {
        Some('n') => word.push('\n'),
        Some('t') => word.push('\t'),
        Some('s') => word.push(' '),
        Some('x') => {
            let code: String = chars.by_ref().take(2).collect();
            word.extend(u8::from_str_radix(&code, 16).map(char::from));
        }
        Some(other @ ('\\' | '"' | '\'' | ' ' | ';')) => word.push(other),
        Some(other) => word.extend(['\\', other]),
        None => word.push('\\'),
    }
}

/// Replaces specifiers such as `%n` by their values for a unit.
pub(super) fn specify(text: &str, unit: &str) -> String {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result += unit,
            Some('N') => result += stem,
            Some('p' | 'P') => result += prefix,
            Some('i') => result += instance,
            Some('I') => result += &instance.replace('-', "/"),
            Some('f') => result.extend(["/", &instance.replace('-', "/")]),
            Some('t') => result += "/run",
            Some('S') => result += "/var/lib",
            Some('C') => result += "/var/cache",
            Some('L') => result += "/var/log",
            Some('E') => result += "/etc",
            Some('T') => result += "/tmp",
            Some('V') => result += "/var/tmp",
            Some('h') => result += "/root",
            Some('u' | 'g') => result += "root",
            Some('U' | 'G') => result.push('0'),
            Some('s') => result += "/bin/sh",
            Some('H' | 'l') => {
                let name = nix::unistd::gethostname().unwrap_or_default();
                result += &name.to_string_lossy();
            }
            Some('%') | None => result.push('%'),
            Some(other) => result.extend(['%', other]),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Argv {
        let variables = [("OPTIONS", "-a -b"), ("NAME", "x y")];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned()));
        Exec::parse(line)[0].argv(&BTreeMap::from(variables))
    }

    #[test]
    fn command_lines_are_parsed() {
        let nginx = argv("/usr/sbin/nginx -g 'daemon on; master_process on;'");
        assert_eq!(nginx.args, ["-g", "daemon on; master_process on;"]);
        let replaced = argv("-/bin/a $OPTIONS --name=${NAME} $$HOME \"a\\tb\"");
        assert_eq!(replaced.args, ["-a", "-b", "--name=x y", "$HOME", "a\tb"]);
        let named = argv("@/bin/sh -sh -c true");
        assert_eq!(
            (named.program.as_str(), named.arg0.as_str()),
            ("/bin/sh", "-sh")
        );
        let two = Exec::parse("/bin/a b ; -/bin/c");
        assert!(two.len() == 2 && two[1].may_fail && !two[0].may_fail);
        assert!(Exec::parse("  ").is_empty());
    }

    #[test]
    fn specifiers_name_the_unit() {
        let text = specify("%n %N %p %i %t/%p 100%%", "getty@tty-1.service");
        assert_eq!(
            text,
            "getty@tty-1.service getty@tty-1 getty tty-1 /run/getty 100%"
        );
    }
}
