//! Listing keys in order: prefixes, delimiters and pages.

use std::collections::BTreeMap;
use std::ops::Bound;

/// The parameters of a listing.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Listing {
    pub(in super::super) prefix: String,
    pub(in super::super) delimiter: String,
    /// Only keys after this key or common prefix are listed.
    pub(in super::super) after: String,
    /// Whether a common prefix of the key `after` is already listed.
    pub(in super::super) past_prefix: bool,
    /// Whether entries of the key `after` itself remain.
    pub(in super::super) within: bool,
    pub(in super::super) limit: usize,
}

/// An entry of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Entry<T> {
    Item(T),
    /// A common prefix, which stands for all keys that begin with it.
    Prefix(String),
}

/// A page of a listing.
#[derive(Debug)]
pub(in super::super) struct Page<T> {
    pub(in super::super) entries: Vec<Entry<T>>,
    /// The entry after which the next page starts. `None` on the last page.
    pub(in super::super) next: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            next: None,
        }
    }
}

impl Listing {
    /// Returns the requested page of `items`. `entries_of` returns the entries of
    /// a key, possibly none.
    pub(in super::super) fn page<T, U>(
        &self,
        items: &BTreeMap<String, T>,
        entries_of: impl Fn(&str, &T) -> Vec<U>,
    ) -> Page<U> {
        let mut entries = Vec::new();
        let mut last = String::new();
        let mut from = if self.after < self.prefix || self.within {
            Bound::Included(self.after.clone().max(self.prefix.clone()))
        } else {
            Bound::Excluded(self.after.clone())
        };
        while let Some((key, item)) = first(items, &from) {
            if !key.starts_with(&self.prefix) {
                break;
            }
            let found = entries_of(key, item);
            let common = self.common_prefix(key).filter(|_| !found.is_empty());
            from = Bound::Excluded(past(key, common.as_deref()));
            let found = match common {
                // The previous page or iteration may have ended with this prefix.
                Some(prefix) if self.has_listed(&prefix) || prefix == last => continue,
                Some(prefix) => vec![Entry::Prefix(prefix)],
                None => found.into_iter().map(Entry::Item).collect(),
            };
            for entry in found {
                if entries.len() == self.limit {
                    return Page {
                        entries,
                        next: Some(last),
                    };
                }
                match &entry {
                    Entry::Prefix(prefix) => prefix.clone_into(&mut last),
                    Entry::Item(_) => key.clone_into(&mut last),
                }
                entries.push(entry);
            }
        }
        Page {
            entries,
            ..Page::default()
        }
    }

    fn has_listed(&self, prefix: &str) -> bool {
        prefix == self.after || self.past_prefix && self.after.starts_with(prefix)
    }

    /// Returns the common prefix of a key that begins with the listing's prefix.
    pub(in super::super) fn common_prefix(&self, key: &str) -> Option<String> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = &key[self.prefix.len()..];
        let end = rest.find(&self.delimiter)? + self.delimiter.len();
        Some(key[..self.prefix.len() + end].to_owned())
    }
}

fn first<'a, T>(
    items: &'a BTreeMap<String, T>,
    from: &Bound<String>,
) -> Option<(&'a String, &'a T)> {
    let from = from.as_ref().map(String::as_str);
    items.range::<str, _>((from, Bound::Unbounded)).next()
}

/// Returns where to continue after a key. Keys with the same common prefix are
/// skipped at once, except keys whose next character is the last of Unicode,
/// which take an iteration each.
fn past(key: &str, common: Option<&str>) -> String {
    let beyond = common.map(|prefix| format!("{prefix}{}", char::MAX));
    beyond.map_or_else(|| key.to_owned(), |beyond| beyond.max(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 7] = ["a", "b/1", "b/2", "b/c/3", "b/\u{10ffff}z", "c", "d/"];

    /// Returns a map from each key to itself.
    fn items() -> BTreeMap<String, String> {
        let keys = KEYS.map(str::to_owned);
        keys.into_iter().map(|key| (key.clone(), key)).collect()
    }

    /// Returns all pages of a listing, with an item as its key.
    fn pages(prefix: &str, delimiter: &str, after: &str, limit: usize) -> Vec<Vec<String>> {
        let items = items();
        let mut listing = Listing {
            prefix: prefix.into(),
            delimiter: delimiter.into(),
            after: after.into(),
            limit,
            ..Listing::default()
        };
        let mut pages = Vec::new();
        loop {
            let page = listing.page(&items, |_, key| vec![key.clone()]);
            let name = |entry| match entry {
                Entry::Item(key) => key,
                Entry::Prefix(prefix) => format!("{prefix}*"),
            };
            pages.push(page.entries.into_iter().map(name).collect());
            match page.next {
                Some(next) => listing.after = next,
                None => return pages,
            }
        }
    }

    #[test]
    fn prefixes_are_listed_once_and_pages_are_complete() {
        assert_eq!(pages("", "", "", 1000), [KEYS.map(str::to_owned).to_vec()]);
        assert_eq!(pages("", "/", "", 1000), [["a", "b/*", "c", "d/*"]]);
        assert_eq!(pages("", "/", "", 1).concat(), ["a", "b/*", "c", "d/*"]);
        assert_eq!(
            pages("b/", "/", "", 2),
            [vec!["b/1", "b/2"], vec!["b/c/*", "b/\u{10ffff}z"]]
        );
        assert_eq!(pages("", "", "b/1", 3).concat(), KEYS[2..]);
        assert_eq!(pages("", "/", "b/1", 9), [["b/*", "c", "d/*"]]);
        assert_eq!(pages("x", "/", "", 9), [Vec::<String>::new()]);
        assert_eq!(pages("b/", "", "c", 9), [Vec::<String>::new()]);
    }
}
