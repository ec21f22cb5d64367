//! Filters and pagination of the describe actions.

use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::Tags;

/// A resource that filters can select.
pub(super) trait Filtered {
    /// Returns the values that a filter compares, or `None` for an unknown
    /// filter.
    fn values(&self, name: &str) -> Option<Vec<String>>;
    /// Returns the tags, or `None` if this kind of resource has no tags.
    fn tags(&self) -> Option<&Tags> {
        None
    }
}

/// One `Filter.N`. A resource must match all filters. It matches a filter if it
/// matches any of the filter's values.
#[derive(Debug)]
struct Filter {
    name: String,
    values: Vec<String>,
}

/// All filters of a request.
#[derive(Debug)]
pub(super) struct Filters(Vec<Filter>);

impl Filters {
    pub(super) fn of(request: &Part<'_>) -> Result<Self> {
        let mut filters = Vec::new();
        for part in request.parts("Filter") {
            let values: Vec<String> = part.list("Value").into_iter().map(str::to_owned).collect();
            let name = part.required("Name")?.to_owned();
            if values.len() > 200 {
                return Err(Refusal::new(
                    "FilterLimitExceeded",
                    "The maximum number of filter values specified on a single call is 200",
                ));
            }
            filters.push(Filter { name, values });
        }
        Ok(Self(filters))
    }

    /// Keeps the items that match all filters.
    pub(super) fn keep<T: Filtered>(&self, items: Vec<T>) -> Result<Vec<T>> {
        let mut kept = Vec::new();
        for item in items {
            if self.fits(&item)? {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    fn fits<T: Filtered>(&self, item: &T) -> Result<bool> {
        for filter in &self.0 {
            let tags = item.tags();
            let values = if let (Some(key), Some(tags)) = (filter.name.strip_prefix("tag:"), tags) {
                tags.get(key).cloned().into_iter().collect()
            } else if let ("tag-key", Some(tags)) = (filter.name.as_str(), tags) {
                tags.keys().cloned().collect()
            } else {
                item.values(&filter.name)
                    .ok_or_else(|| invalid(&filter.name))?
            };
            let any = filter
                .values
                .iter()
                .any(|pattern| values.iter().any(|value| matches(pattern, value)));
            if !any {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn invalid(name: &str) -> Refusal {
    Refusal::new(
        "InvalidParameterValue",
        format!("The filter '{name}' is invalid"),
    )
}

/// Whether a text matches a pattern with `*` and `?`. `\` makes the next
/// character literal. The time is at most the product of both lengths:
/// patterns come from clients.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts: Vec<Wild> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Wild::Many,
            '?' => Wild::One,
            '\\' => Wild::This(chars.next().unwrap_or('\\')),
            c => Wild::This(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // Where to continue if the rest after the last `*` does not match.
    let (mut at, mut seen, mut back) = (0, 0, None);
    while seen < text.len() {
        match parts.get(at) {
            Some(Wild::Many) => {
                back = Some((at + 1, seen));
                at += 1;
            }
            Some(Wild::One) => (at, seen) = (at + 1, seen + 1),
            Some(Wild::This(c)) if *c == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match back {
                Some((after, from)) => {
                    back = Some((after, from + 1));
                    (at, seen) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    parts[at..].iter().all(|part| *part == Wild::Many)
}

#[derive(Debug, PartialEq, Eq)]
enum Wild {
    Many,
    One,
    This(char),
}

/// Returns the requested page of a listing and the token of the next page.
pub(super) fn page<T>(
    request: &Part<'_>,
    items: Vec<T>,
    smallest: usize,
) -> Result<(Vec<T>, Option<String>)> {
    let most: Option<usize> = request.number("MaxResults")?;
    let start = match request.text("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|number| number.parse().ok())
            .filter(|start| *start <= items.len())
            .ok_or_else(|| {
                Refusal::new(
                    "InvalidNextToken",
                    format!("The token '{token}' is invalid"),
                )
            })?,
    };
    let Some(most) = most else {
        return Ok((items.into_iter().skip(start).collect(), None));
    };
    if !(smallest..=1000).contains(&most) {
        return Err(Refusal::value(
            "maxResults",
            &most.to_string(),
            &format!("Expecting a value from {smallest} to 1000."),
        ));
    }
    let end = (start + most).min(items.len());
    let next = (end < items.len()).then(|| format!("page-{end}"));
    Ok((items.into_iter().skip(start).take(most).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_ec2() {
        assert!(matches("al2023-ami-2023.*", "al2023-ami-2023.9"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(!matches("a*b", "a-c"));
        assert!(matches("t?.micro", "t3.micro"));
        assert!(!matches("t3", "t3.micro"));
        assert!(matches(r"a\*b", "a*b"));
        assert!(!matches(r"a\*b", "axb"));
    }

    #[test]
    fn many_wildcards_do_not_take_exponential_time() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(150)));
    }
}
