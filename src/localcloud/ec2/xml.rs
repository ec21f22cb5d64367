//! The XML of EC2's answers: elements, and lists of `item`s.

use std::fmt::Display;

use quick_xml::escape::escape;

/// XML under construction.
#[derive(Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    /// The answer of an action that has nothing to tell.
    pub(super) fn done() -> Self {
        let mut xml = Self::default();
        xml.text("return", true);
        xml
    }

    /// `<name>value</name>`.
    pub(super) fn text(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        // XML 1.0 has no words for most control characters.
        let clean: String = value
            .chars()
            .map(|c| match c {
                '\t' | '\n' | '\r' => c,
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
                c => c,
            })
            .collect();
        self.raw(name, &escape(&clean));
    }

    /// The same if there is a value.
    pub(super) fn option(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn raw(&mut self, name: &str, inner: &str) {
        for part in ["<", name, ">", inner, "</", name, ">"] {
            self.0.push_str(part);
        }
    }

    /// `<name>..</name>` around what `inner` writes.
    pub(super) fn node(&mut self, name: &str, inner: impl FnOnce(&mut Self)) {
        let mut xml = Self::default();
        inner(&mut xml);
        self.raw(name, &xml.0);
    }

    /// `<name><item>..</item>..</name>`.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.node(name, |xml| {
            for each in items {
                xml.node("item", |xml| item(xml, each));
            }
        });
    }

    /// The same for items that are text alone.
    pub(super) fn texts(&mut self, name: &str, items: impl IntoIterator<Item = impl Display>) {
        self.node(name, |xml| {
            for each in items {
                xml.text("item", each);
            }
        });
    }

    /// The XML as text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Xml;

    #[test]
    fn text_cannot_break_out() {
        let mut xml = Xml::default();
        xml.list("set", ["a<b", "c&\u{1}"], |xml, value| {
            xml.text("v", value);
        });
        assert_eq!(
            xml.finish(),
            "<set><item><v>a&lt;b</v></item><item><v>c&amp;\u{fffd}</v></item></set>"
        );
    }
}
