//! Characters that look like others or like nothing: quotes of word processors,
//! invisible blanks, marks that change the direction of text.

use super::scan::{Part, Scan};
use crate::error::{Error, ErrorKind};

/// Characters that a playbook cannot contain in its code: their names, and what to
/// write instead. An empty replacement means none.
const LOOKALIKES: &[(&str, &str, &str)] = &[
    ("\u{a0}\u{2007}\u{202f}", "a no-break space", "a space"),
    (
        "\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2008}\u{2009}\u{200a}\u{205f}\u{3000}\u{2800}",
        "a wide or narrow space",
        "a space",
    ),
    (
        "\u{b}\u{85}\u{2028}\u{2029}",
        "a line separator",
        "a line break",
    ),
    (
        "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{180e}\u{34f}\u{fe0e}\u{fe0f}",
        "an invisible character",
        "",
    ),
    (
        "\u{201c}\u{201d}\u{201e}\u{201f}\u{ab}\u{bb}\u{2033}\u{3003}",
        "a typographic quote",
        "`\"`",
    ),
    (
        "\u{2018}\u{2019}\u{201a}\u{201b}\u{2032}\u{b4}\u{2039}\u{203a}",
        "a typographic quote",
        "`\"`",
    ),
    (
        "\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{2212}",
        "a dash",
        "`-`",
    ),
    ("\u{2026}", "an ellipsis", "`..`"),
    ("\u{d7}\u{2217}", "a multiplication sign", "`*`"),
    ("\u{f7}\u{2044}\u{2215}", "a division sign", "`/`"),
    ("\u{2260}", "a sign", "`!=`"),
    ("\u{2264}", "a sign", "`<=`"),
    ("\u{2265}", "a sign", "`>=`"),
    ("\u{2192}\u{21d2}", "an arrow", "`=>`"),
    ("\u{37e}", "a Greek question mark", "`;`"),
    ("\u{3001}\u{60c}", "a comma of another script", "`,`"),
    ("\u{3002}", "a full stop of another script", "`.`"),
    (
        "\u{300c}\u{300d}\u{300e}\u{300f}",
        "a quote of another script",
        "`\"`",
    ),
    (
        "\u{3010}\u{3011}",
        "a bracket of another script",
        "`[` or `]`",
    ),
];

/// Cyrillic and Greek letters, and the Latin letters that look like them.
#[rustfmt::skip]
const LETTERS: &[(char, char)] = &[
    ('\u{430}', 'a'), ('\u{435}', 'e'), ('\u{43e}', 'o'), ('\u{440}', 'p'),
    ('\u{441}', 'c'), ('\u{445}', 'x'), ('\u{443}', 'y'), ('\u{456}', 'i'),
    ('\u{458}', 'j'), ('\u{455}', 's'), ('\u{4bb}', 'h'), ('\u{501}', 'd'),
    ('\u{410}', 'A'), ('\u{412}', 'B'), ('\u{415}', 'E'), ('\u{41a}', 'K'),
    ('\u{41c}', 'M'), ('\u{41d}', 'H'), ('\u{41e}', 'O'), ('\u{420}', 'P'),
    ('\u{421}', 'C'), ('\u{422}', 'T'), ('\u{425}', 'X'), ('\u{3bd}', 'v'),
    ('\u{3bf}', 'o'), ('\u{391}', 'A'), ('\u{392}', 'B'), ('\u{395}', 'E'),
    ('\u{397}', 'H'), ('\u{399}', 'I'), ('\u{39a}', 'K'), ('\u{39c}', 'M'),
    ('\u{39d}', 'N'), ('\u{39f}', 'O'), ('\u{3a1}', 'P'), ('\u{3a4}', 'T'),
    ('\u{3a7}', 'X'), ('\u{3a5}', 'Y'), ('\u{396}', 'Z'),
];

/// Returns an error about the first character that the code cannot contain, and about
/// marks that change the direction of text anywhere: with them, a text or a comment
/// shows something else than it is (CVE-2021-42574).
pub(super) fn first(scan: &Scan) -> Option<(usize, Error)> {
    let mut chars = scan.chars.iter().enumerate();
    let (at, c) = chars.find(|(at, c)| {
        changes_direction(**c)
            || scan.part(*at) == Part::Code
                && !c.is_ascii_graphic()
                && !matches!(c, ' ' | '\t' | '\n' | '\u{c}')
    })?;
    Some((at, error(*c)))
}

fn changes_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn error(c: char) -> Error {
    let shown = visible(c);
    let code = u32::from(c);
    let is = |name: &str| {
        Error::new(
            ErrorKind::Script,
            format!("{name} (U+{code:04X}) is not allowed here"),
        )
    };
    if changes_direction(c) {
        return is("a mark that changes the direction of text").hint(format!(
            "remove it: what you see is not what is executed; in double quotes, write \
             `\\u{code:04x}` if it is meant"
        ));
    }
    if let Some((_, name, instead)) = LOOKALIKES.iter().find(|(chars, ..)| chars.contains(c)) {
        let error = is(&with_sign(name, &shown));
        return match *instead {
            "" => error.hint("remove it: editors show it with \"render whitespace\""),
            instead => error.hint(format!("write {instead} instead")),
        };
    }
    if let 0xff01..=0xff5e = code
        && let Some(ascii) = char::from_u32(code - 0xfee0)
    {
        let tick = if ascii == '`' {
            "a backtick".to_owned()
        } else {
            format!("`{ascii}`")
        };
        return is(&with_sign("a full-width character", &shown))
            .hint(format!("write {tick} instead"));
    }
    if let Some((_, latin)) = LETTERS.iter().find(|(foreign, _)| *foreign == c) {
        return is(&with_sign("a letter of another alphabet", &shown))
            .hint(format!("it only looks like `{latin}`: write that instead"));
    }
    if c.is_alphanumeric() {
        return is(&format!("`{c}`"))
            .hint("names have the letters a to z, digits and `_`; text and comments have any");
    }
    is(&with_sign("a character", &shown)).hint("put it in quotes, or remove it")
}

/// Returns the name followed by the character, if it can be seen.
fn with_sign(name: &str, shown: &str) -> String {
    match shown {
        "" => name.to_owned(),
        shown => format!("{name} `{shown}`"),
    }
}

/// Returns the character as text, or nothing if it cannot be seen.
fn visible(c: char) -> String {
    let invisible = c.is_control()
        || c.is_whitespace()
        || changes_direction(c)
        || LOOKALIKES
            .iter()
            .any(|(chars, name, _)| *name == "an invisible character" && chars.contains(c));
    if invisible {
        String::new()
    } else {
        c.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(usize, String)> {
        first(&Scan::of(text)).map(|(at, error)| {
            (
                at,
                format!("{error}: {}", error.hint.clone().unwrap_or_default()),
            )
        })
    }

    #[test]
    fn each_kind_is_named_with_its_code_and_replacement() {
        for (text, at, code, hint) in [
            ("let\u{a0}a", 3, "U+00A0", "write a space"),
            ("a\u{3000}b", 1, "U+3000", "write a space"),
            ("a\u{200b}b", 1, "U+200B", "remove it"),
            ("a\u{feff}b", 1, "U+FEFF", "remove it"),
            ("\u{201c}a\u{201d}", 0, "U+201C", "write `\"` instead"),
            ("\u{2018}a\u{2019}", 0, "U+2018", "write `\"` instead"),
            ("a \u{2013} b", 2, "U+2013", "write `-` instead"),
            ("f\u{ff08}1\u{ff09}", 1, "U+FF08", "write `(` instead"),
            ("f(1)\u{ff1b}", 4, "U+FF1B", "write `;` instead"),
            ("f(1)\u{37e}", 4, "U+037E", "write `;` instead"),
            ("let \u{430} = 1", 4, "U+0430", "looks like `a`"),
            ("gr\u{f6}\u{df}e", 2, "U+00F6", "names have"),
            ("a \u{1f600}", 2, "U+1F600", "in quotes"),
            ("\u{1b}[1m", 0, "U+001B", "remove it"),
            ("// \u{202e}", 3, "U+202E", "remove it"),
            ("\"\u{2066}\"", 1, "U+2066", "`\\u2066`"),
        ] {
            let (place, words) = found(text).unwrap();
            assert_eq!(place, at, "{words}");
            assert!(words.contains(code) && words.contains(hint), "{words}");
        }
    }

    #[test]
    fn text_and_comments_may_contain_them() {
        for text in [
            "\"\u{201c}\u{a0}\u{200d}\u{ff08}gr\u{f6}\u{df}e\"",
            "`\u{200b}\u{feff}`",
            "// \u{2018}\u{2013}\n/* \u{3000} */",
            "#\"\u{430}\"#",
            "\t'\u{e9}'",
            "`\x1b[1m`",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
