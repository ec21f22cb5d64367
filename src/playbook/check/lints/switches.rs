//! Cases of a `switch` that can never match.
//!
//! Rhai keeps only hashes of the cases, so their texts come from the source.

use rhai::{ASTNode, Expr, Position, Stmt};

use super::super::finding::Finding;
use super::super::known::Reader;
use super::super::rules::CONSTANT_COMPARISON;
use super::super::written::Literal;
use super::File;
use super::comparisons::{differ, hint, known};
use crate::playbook::scan::{Part, Scan};
use crate::script::schema::Kind;

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    file.ast.walk(&mut |nodes| {
        if let Some(ASTNode::Stmt(Stmt::Switch(parts, _))) = nodes.last() {
            let reader = Reader {
                variables: file.facts.results(nodes),
                own: file.own,
            };
            let value = known(&reader, file.facts.values(nodes), &parts.0);
            found.extend(
                value
                    .into_iter()
                    .flat_map(|value| in_switch(file, &parts.0, value)),
            );
        }
        true
    });
    found
}

/// Returns a warning for each case that a value of this type never has.
fn in_switch(file: &File, value: &Expr, (name, kind): (String, Kind)) -> Vec<Finding> {
    let never = |text: &str| match &kind {
        Kind::Choice(all) => !all.iter().any(|one| one == text),
        kind => differ(kind, Literal::String),
    };
    let place = value.position();
    let (Some(line), Some(column)) = (place.line(), place.position()) else {
        return Vec::new();
    };
    let mut cases = Cases {
        scan: file.scan,
        at: file.scan.index(line, column),
    };
    let cases = cases.labels().into_iter().filter(|(_, text)| never(text));
    let found = cases.map(|(at, text)| {
        let message = format!("this case never matches: {name} is never {text:?}");
        let mut found = file.finding(&CONSTANT_COMPARISON, position(file.scan, at), message);
        if let Some(hint) = hint(&kind, &Expr::StringConstant(text.into(), Position::NONE)) {
            found.error = found.error.hint(hint);
        }
        found
    });
    found.collect()
}

fn position(scan: &Scan, at: usize) -> Position {
    let (line, column) = scan.place(at);
    let number = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    Position::new(number(line), number(column))
}

/// Reads the cases of a `switch` from the source.
struct Cases<'a> {
    scan: &'a Scan,
    at: usize,
}

impl Cases<'_> {
    /// Returns the texts in quotes that are cases, with their places.
    fn labels(&mut self) -> Vec<(usize, String)> {
        let mut labels = Vec::new();
        if !self.skip_to(&['{']) {
            return labels;
        }
        self.at += 1;
        loop {
            self.at = self.scan.next(self.at);
            let end = self.scan.chars.len();
            if self.at >= end || self.scan.is_at(self.at, "}") {
                return labels;
            }
            self.case(&mut labels);
            let is_block = self.scan.is_at(self.at, "{");
            if is_block {
                self.skip_bracket();
            } else if !self.skip_to(&[',', '}']) {
                return labels;
            }
            self.at = self.scan.next(self.at);
            if self.scan.is_at(self.at, ",") {
                self.at += 1;
            }
        }
    }

    /// Reads the labels before an arrow, and goes to the value after it. A condition
    /// ends the labels.
    fn case(&mut self, labels: &mut Vec<(usize, String)>) {
        let mut is_condition = false;
        while self.at < self.scan.chars.len() && !self.scan.is_at(self.at, "=>") {
            is_condition |= self.scan.word(self.at) == "if";
            let start = self.at;
            if self.is_code() {
                self.at += 1;
                continue;
            }
            while self.at < self.scan.chars.len() && !self.is_code() {
                self.at += 1;
            }
            let label: String = self.scan.chars[start..self.at].iter().collect();
            let text = label
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'));
            if let Some(text) = text.filter(|text| !is_condition && !text.contains('\\')) {
                labels.push((start, text.to_owned()));
            }
        }
        self.at = self.scan.next(self.at + 2);
    }

    fn is_code(&self) -> bool {
        self.scan.part(self.at) == Part::Code
    }

    /// Goes to the next of these characters outside of brackets. Returns whether there
    /// is one.
    fn skip_to(&mut self, wanted: &[char]) -> bool {
        while let Some(c) = self.scan.chars.get(self.at) {
            match c {
                _ if !self.is_code() => self.at += 1,
                c if wanted.contains(c) => return true,
                '(' | '[' | '{' => self.skip_bracket(),
                _ => self.at += 1,
            }
        }
        false
    }

    /// Goes behind the bracket that begins here.
    fn skip_bracket(&mut self) {
        let mut depth = 0_usize;
        while let Some(c) = self.scan.chars.get(self.at) {
            if self.is_code() {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        let scan = Scan::of(text);
        let mut cases = Cases { scan: &scan, at: 7 };
        cases.labels().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_labels_of_a_switch_are_its_texts() {
        let text = r#"switch f(#{ a: "x" }).state { "one" | "two" => { print("a, }"); }, // "no"
            "three" if x == "no" => 1, 5 => #{ b: "no" }, `four` => [1, 2], _ => "no" } "no""#;
        assert_eq!(labels(text), ["one", "two", "three"]);
        assert_eq!(labels("switch s { \"a\" => { } \"b\" => 1 }"), ["a", "b"]);
        assert_eq!(labels("switch s { "), Vec::<String>::new());
    }
}
