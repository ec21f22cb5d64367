//! Texts of a policy that contain wildcards and variables.

use super::Language;
use super::flaw::Flaw;
use super::values::Values;

type Result<T> = std::result::Result<T, Flaw>;

/// A parsed text of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Template(Vec<Token>);

#[derive(Clone, Debug)]
enum Token {
    Char(char),
    /// `*`: any number of characters.
    Any,
    /// `?`: any single character.
    One,
    Variable {
        key: String,
        otherwise: Option<String>,
    },
}

/// An element of a template after its variables are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glyph {
    Char(char),
    Any,
    One,
}

impl Template {
    /// Parses a text. `${..}` is a variable only in the newer version of the policy
    /// language.
    pub(crate) fn parse(text: &str, language: Language) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(inside) = rest.strip_prefix("${").filter(|_| language.variables) {
                let (name, after) = inside
                    .split_once('}')
                    .ok_or_else(|| Flaw::Variable(text.to_owned()))?;
                tokens.push(variable(name, language)?);
                rest = after;
                continue;
            }
            tokens.push(match first {
                '*' => Token::Any,
                '?' => Token::One,
                other => Token::Char(other),
            });
            rest = &rest[first.len_utf8()..];
        }
        Ok(Self(tokens))
    }

    /// Whether the template is the same text for every request.
    pub(crate) fn is_fixed(&self) -> bool {
        self.0.iter().all(|token| matches!(token, Token::Char(_)))
    }

    /// Replaces the variables by the values of a request. Returns `None` if the
    /// request does not have one of them.
    pub(super) fn expand(&self, context: &Values) -> Option<Vec<Glyph>> {
        let mut glyphs = Vec::new();
        for token in &self.0 {
            match token {
                Token::Char(c) => glyphs.push(Glyph::Char(*c)),
                Token::Any => glyphs.push(Glyph::Any),
                Token::One => glyphs.push(Glyph::One),
                Token::Variable { key, otherwise } => {
                    let value = match context.get(key) {
                        [value] => Some(value),
                        _ => otherwise.as_ref(),
                    };
                    glyphs.extend(value?.chars().map(Glyph::Char));
                }
            }
        }
        Some(glyphs)
    }

    /// Whether a text matches the template in a request.
    pub(crate) fn matches(&self, text: &str, context: &Values) -> bool {
        let glyphs = self.expand(context);
        glyphs.is_some_and(|glyphs| matches(&glyphs, text))
    }
}

fn variable(name: &str, language: Language) -> Result<Token> {
    if let Some(c) = ["*", "?", "$"].iter().find(|c| **c == name) {
        return Ok(Token::Char(c.chars().next().unwrap_or_default()));
    }
    let (key, otherwise) = match name.split_once(',') {
        None => (name, None),
        Some((key, otherwise)) => {
            let quoted = otherwise.trim().strip_prefix('\'');
            let quoted = quoted.and_then(|rest| rest.strip_suffix('\''));
            let quoted = quoted.ok_or(Flaw::VariableDefault)?;
            (key, Some(quoted.to_owned()))
        }
    };
    let key = language.key(key.trim())?;
    Ok(Token::Variable { key, otherwise })
}

/// Returns the glyphs as a text in which `*` and `?` are literal.
pub(super) fn literally(glyphs: &[Glyph]) -> String {
    let plain = |glyph: &Glyph| match glyph {
        Glyph::Char(c) => *c,
        Glyph::Any => '*',
        Glyph::One => '?',
    };
    glyphs.iter().map(plain).collect()
}

/// Whether a text matches a pattern. The time is linear for one `*` and at most
/// the product of both lengths: patterns come from clients.
pub(super) fn matches(pattern: &[Glyph], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Glyph::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(glyph) if *glyph == Glyph::One || *glyph == Glyph::Char(text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    p = at + 1;
                    t = taken + 1;
                    star = Some((at, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|glyph| *glyph == Glyph::Any)
}

/// Whether an ARN matches a pattern. As on AWS, the six parts are compared one by
/// one, so that a wildcard does not match across a colon.
pub(super) fn matches_arn(pattern: &[Glyph], arn: &str) -> bool {
    const PARTS: usize = 6;
    let is_colon = |glyph: &Glyph| *glyph == Glyph::Char(':');
    let patterns: Vec<&[Glyph]> = pattern.splitn(PARTS, is_colon).collect();
    let parts: Vec<&str> = arn.splitn(PARTS, ':').collect();
    let mut pairs = patterns.iter().zip(&parts);
    patterns.len() == parts.len() && pairs.all(|(pattern, part)| matches(pattern, part))
}

/// Whether a name of an action matches a pattern. The comparison is
/// case-insensitive.
pub(crate) fn matches_ignoring_case(pattern: &str, name: &str) -> bool {
    let glyphs: Vec<Glyph> = pattern
        .to_ascii_lowercase()
        .chars()
        .map(|c| match c {
            '*' => Glyph::Any,
            '?' => Glyph::One,
            other => Glyph::Char(other),
        })
        .collect();
    matches(&glyphs, &name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        let mut context = Values::default();
        context.set("aws:username", "ada*");
        let template = Template::parse(pattern, Language::ANY_KEY).unwrap();
        template.matches(text, &context)
    }

    #[test]
    fn wildcards_match_as_in_policies() {
        assert!(fits("a*c", "abbbc"));
        assert!(fits("*", ""));
        assert!(!fits("a*c", "abbb"));
        assert!(!fits("a?", "a"));
        assert!(fits("a?", "aü"));
        let long = "a".repeat(2_000);
        assert!(!fits(&"a*".repeat(200), &"b".repeat(2_000)));
        assert!(fits("*a*a*a", &long));
    }

    #[test]
    fn variables_are_replaced_by_values_of_the_request() {
        assert!(fits("home/${aws:username}/*", "home/ada*/x"));
        assert!(!fits("home/${aws:username}/*", "home/adam/x"));
        assert!(fits("${AWS:UserName}", "ada*"));
        assert!(fits("${*}${?}${$}", "*?$"));
        assert!(!fits("${*}", "x"));
        assert!(fits("${aws:SourceVpc, 'none'}", "none"));
        assert!(!fits("${aws:SourceVpc}", ""));
        let without = Language {
            variables: false,
            ..Language::ANY_KEY
        };
        for wrong in ["${aws:username", "${aws:SourceVpc, none}"] {
            assert!(
                Template::parse(wrong, Language::ANY_KEY).is_err(),
                "{wrong}"
            );
            assert!(Template::parse(wrong, without).is_ok(), "{wrong}");
        }
    }
}
