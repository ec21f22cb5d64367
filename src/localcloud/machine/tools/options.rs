//! Options as `getopt_long` takes them: `-n 5`, `-n5`, `-xeu NAME`, `--lines=5`.

use super::super::init::control::Reply;
use super::unsupported;

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Value {
    No,
    Required,
    /// Only in the same word: `-b0`, `--boot=0`.
    Optional,
}

/// An option: its letter, its long name, and whether it has a value.
pub(in super::super) type Known = (Option<char>, &'static str, Value);

/// A parsed option, by its long name.
pub(in super::super) type Given = (&'static str, Option<String>);

/// Splits arguments into options and other words. Fails as `getopt_long`, or
/// because the local cloud does not support an option.
pub(in super::super) fn parse(
    tool: &str,
    known: &[Known],
    args: &[String],
) -> Result<(Vec<Given>, Vec<String>), Reply> {
    let missing = |what: String| {
        Reply::failure(
            format!("{tool}: option requires an argument -- '{what}'"),
            1,
        )
    };
    let (mut given, mut words) = (Vec::new(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            words.extend(args.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let Some((_, name, kind)) = known.iter().find(|(_, known, _)| *known == name) else {
                return Err(unsupported(tool, &format!("--{name}")));
            };
            let value = match (kind, value) {
                (Value::No, Some(_)) => {
                    let message = format!("{tool}: option '--{name}' doesn't allow an argument");
                    return Err(Reply::failure(message, 1));
                }
                (Value::Required, None) => {
                    let next = args.next().cloned();
                    Some(next.ok_or_else(|| missing(format!("--{name}")))?)
                }
                (_, value) => value,
            };
            given.push((*name, value));
        } else if arg.len() > 1 && arg.starts_with('-') {
            let mut letters = arg[1..].chars();
            while let Some(letter) = letters.next() {
                let Some((_, name, kind)) = known.iter().find(|(known, ..)| *known == Some(letter))
                else {
                    return Err(unsupported(tool, &format!("-{letter}")));
                };
                if *kind == Value::No {
                    given.push((*name, None));
                    continue;
                }
                let rest = letters.as_str();
                let value = match (rest.is_empty(), kind) {
                    (false, _) => Some(rest.to_owned()),
                    (true, Value::Required) => {
                        let next = args.next().cloned();
                        Some(next.ok_or_else(|| missing(letter.to_string()))?)
                    }
                    (true, _) => None,
                };
                given.push((*name, value));
                break;
            }
        } else {
            words.push(arg.clone());
        }
    }
    Ok((given, words))
}

#[cfg(test)]
mod tests {
    use super::super::tests::words;
    use super::*;

    const KNOWN: [Known; 4] = [
        (Some('u'), "unit", Value::Required),
        (Some('n'), "lines", Value::Optional),
        (Some('f'), "follow", Value::No),
        (None, "no-pager", Value::No),
    ];

    #[test]
    fn options_are_split_as_by_getopt() {
        let parsed = |line: &str| parse("t", &KNOWN, &words(line));
        let (given, rest) = parsed("-fu web -n5 --lines --unit=db --no-pager x -- -y").unwrap();
        let value = |text: &str| Some(text.to_owned());
        let expected = [
            ("follow", None),
            ("unit", value("web")),
            ("lines", value("5")),
            ("lines", None),
            ("unit", value("db")),
            ("no-pager", None),
        ];
        assert_eq!(given, expected);
        assert_eq!(rest, ["x", "-y"]);
        for (line, words) in [
            ("--nope", "does not support `--nope`"),
            ("-fz", "does not support `-z`"),
            ("-u", "t: option requires an argument -- 'u'"),
            ("--unit", "t: option requires an argument -- '--unit'"),
            (
                "--follow=1",
                "t: option '--follow' doesn't allow an argument",
            ),
        ] {
            let reply = parsed(line).unwrap_err();
            assert!(reply.err.contains(words), "{line}: {}", reply.err);
            assert_eq!(reply.code, 1);
        }
    }
}
