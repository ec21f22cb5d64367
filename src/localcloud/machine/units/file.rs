//! Parses unit files: sections, keys, and the effect of drop-ins.

/// A unit file merged with its drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitFile {
    /// Section, key and value. An empty value removed the earlier ones.
    entries: Vec<(String, String, String)>,
}

impl UnitFile {
    /// Merges another text. Its values follow the earlier ones.
    pub(super) fn merge(&mut self, text: &str) {
        let mut section = String::new();
        for line in logical_lines(text) {
            let line = line.trim();
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                self.set(&section, key.trim_end(), value.trim());
            }
        }
    }

    fn set(&mut self, section: &str, key: &str, value: &str) {
        if value.is_empty() {
            self.entries
                .retain(|(s, k, _)| (s.as_str(), k.as_str()) != (section, key));
            return;
        }
        let entry = (section.to_owned(), key.to_owned(), value.to_owned());
        self.entries.push(entry);
    }

    /// Returns every value of a key.
    pub(super) fn all<'a>(
        &'a self,
        section: &'a str,
        key: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let matching = move |(s, k, _): &&(String, String, String)| s == section && k == key;
        self.entries
            .iter()
            .filter(matching)
            .map(|(_, _, value)| value.as_str())
    }

    /// Returns the last value of a key.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&str> {
        let is_it = |(s, k, _): &&(String, String, String)| s == section && k == key;
        self.entries
            .iter()
            .rev()
            .find(is_it)
            .map(|(_, _, value)| value.as_str())
    }

    /// Returns the words of all values of a key.
    pub(super) fn words(&self, section: &str, key: &str) -> Vec<String> {
        let words = self.all(section, key).flat_map(str::split_whitespace);
        words.map(str::to_owned).collect()
    }

    /// Whether the file has a section with at least one value.
    pub(super) fn has_section(&self, section: &str) -> bool {
        self.entries.iter().any(|(name, _, _)| name == section)
    }
}

/// Whether a value means yes.
pub(super) fn is_yes(value: Option<&str>) -> bool {
    matches!(value, Some("yes" | "true" | "on" | "1"))
}

/// Returns the lines without comments, with continuations joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        if let Some(front) = line.trim_end().strip_suffix('\\') {
            pending += front;
            pending.push(' ');
            continue;
        }
        pending += line;
        lines.push(std::mem::take(&mut pending));
    }
    lines.push(pending);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_merged() {
        let mut file = UnitFile::default();
        file.merge(
            "# remark\n[Unit]\nAfter=a.service \\\n  b.service\n[Service]\nExecStart=/bin/a\n",
        );
        file.merge("[Service]\nExecStart=\nExecStart=/bin/b -x=y\nRestart = always\n");
        assert_eq!(file.words("Unit", "After"), ["a.service", "b.service"]);
        let start: Vec<_> = file.all("Service", "ExecStart").collect();
        assert_eq!(start, ["/bin/b -x=y"]);
        assert_eq!(file.last("Service", "Restart"), Some("always"));
        assert!(!file.has_section("Install"));
    }
}
