//! The XML of EC2's answers: elements, and lists of `item`s.

use std::fmt::Display;

use quick_xml::escape::escape;
use serde_json::Value;

/// XML under construction.
#[derive(Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    /// Creates the answer of an action without a result.
    pub(super) fn done() -> Self {
        let mut xml = Self::default();
        xml.text("return", true);
        xml
    }

    /// Appends `<name>value</name>`.
    pub(super) fn text(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        // XML 1.0 cannot represent most control characters, not even escaped.
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

    /// Appends `<name>value</name>` if there is a value.
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

    /// Appends `<name>..</name>` around the output of `inner`.
    pub(super) fn node(&mut self, name: &str, inner: impl FnOnce(&mut Self)) {
        let mut xml = Self::default();
        inner(&mut xml);
        self.raw(name, &xml.0);
    }

    /// Appends `<name><item>..</item>..</name>`.
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

    /// Appends a list whose items are text.
    pub(super) fn texts(&mut self, name: &str, items: impl IntoIterator<Item = impl Display>) {
        self.node(name, |xml| {
            for each in items {
                xml.text("item", each);
            }
        });
    }

    /// Appends a JSON value: an array as a list of items, an object with its
    /// members as elements.
    pub(super) fn json(&mut self, name: &str, value: &Value) {
        match value {
            Value::Array(items) => self.node(name, |xml| {
                for item in items {
                    xml.json("item", item);
                }
            }),
            Value::Object(members) => self.node(name, |xml| {
                for (name, value) in members {
                    xml.json(name, value);
                }
            }),
            Value::String(text) => self.text(name, text),
            other => self.text(name, other),
        }
    }

    /// Returns the XML as text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Xml;

    #[test]
    fn text_is_escaped() {
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
