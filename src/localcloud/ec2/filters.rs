//! Filters and pages of the describe actions.

use std::cell::LazyCell;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::filter_answers::Leaves;
use super::filter_names::is_documented;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::Tags;
use super::xml::Xml;

/// A resource that filters can select.
pub(super) trait Filtered {
    /// Returns the values that a filter compares. `None` means those in the answer
    /// about the resource, or none if [`Filters::keep`] does not know the answer.
    /// `filter_names` has the names that AWS documents.
    fn values(&self, name: &str) -> Option<Vec<String>>;
    /// Returns the tags, or `None` if this kind of resource has no tags.
    fn tags(&self) -> Option<&Tags> {
        None
    }
}

/// AWS's limit of the values in the filters of one request.
const MAX_VALUES: usize = 200;

/// One `Filter.N`. A resource must match all filters. It matches a filter if it
/// matches any of the filter's values.
#[derive(Debug)]
struct Filter {
    name: String,
    patterns: Vec<String>,
}

/// All filters of a request.
#[derive(Debug)]
pub(super) struct Filters {
    all: Vec<Filter>,
    /// Whether the names were compared with those that AWS documents.
    checked: bool,
}

impl Filters {
    /// Reads the filters of a request. Refuses a filter that AWS does not
    /// document for the action.
    pub(super) fn of(request: &Part<'_>) -> Result<Self> {
        let action = request.action();
        let mut filters = Self {
            all: Vec::new(),
            checked: true,
        };
        for part in request.parts("Filter") {
            let patterns = part.list("Value");
            let name = part.text("Name").unwrap_or("null");
            match is_documented(action, name) {
                Some(true) => {}
                Some(false) => return Err(invalid(name)),
                None => filters.checked = false,
            }
            filters.all.push(Filter {
                name: name.to_owned(),
                patterns: patterns.into_iter().map(str::to_owned).collect(),
            });
        }
        let values: usize = filters.all.iter().map(|filter| filter.patterns.len()).sum();
        if values > MAX_VALUES {
            return Err(Refusal::new(
                "FilterLimitExceeded",
                "The maximum number of filter values specified on a single call is 200",
            ));
        }
        Ok(filters)
    }

    /// Returns the values in the filters with this name, as the request has them.
    pub(super) fn patterns<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.all.iter().filter(move |filter| filter.name == name);
        named.flat_map(|filter| filter.patterns.iter().map(String::as_str))
    }

    /// Keeps the items that match all filters.
    pub(super) fn keep<T: Filtered>(&self, items: Vec<T>) -> Result<Vec<T>> {
        self.keep_as(items, |_, _| {})
    }

    /// Keeps the items that match all filters. A filter without values of its own
    /// compares what `write` writes about the item.
    pub(super) fn keep_as<T: Filtered>(
        &self,
        items: Vec<T>,
        mut write: impl FnMut(&mut Xml, &T),
    ) -> Result<Vec<T>> {
        let mut kept = Vec::new();
        for item in items {
            let answer = || {
                let mut xml = Xml::default();
                write(&mut xml, &item);
                Leaves::of(xml)
            };
            if self.fits(&item, answer)? {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    fn fits<T: Filtered>(&self, item: &T, answer: impl FnOnce() -> Leaves) -> Result<bool> {
        let leaves = LazyCell::new(answer);
        for filter in &self.all {
            let values = match of_tags(&filter.name, item.tags()) {
                Some(values) => values,
                None => match item.values(&filter.name) {
                    Some(values) => values,
                    None if self.checked => leaves.values(&filter.name),
                    None => return Err(invalid(&filter.name)),
                },
            };
            let any = filter
                .patterns
                .iter()
                .any(|pattern| values.iter().any(|value| matches(pattern, value)));
            if !any {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns the values that a filter of tags compares, or `None` if it is another
/// filter or the resource has no tags.
fn of_tags(filter: &str, tags: Option<&Tags>) -> Option<Vec<String>> {
    let tags = tags?;
    match filter {
        "tag-key" => Some(tags.keys().cloned().collect()),
        "tag-value" => Some(tags.values().cloned().collect()),
        _ => {
            let key = filter.strip_prefix("tag:")?;
            Some(tags.get(key).cloned().into_iter().collect())
        }
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

/// AWS's limit of the items of a page, for most actions.
const MAX_RESULTS: usize = 1000;

/// The actions that refuse `MaxResults` together with ids: the name of the ids in
/// the request, and the names of both in AWS's message.
const IDS: &[(&str, &str, &str, &str)] = &[
    ("DescribeImages", "ImageId", "imageIdsSet", "maxResults"),
    (
        "DescribeInstanceCreditSpecifications",
        "InstanceId",
        "instancesSet",
        "maxResults",
    ),
    (
        "DescribeInstanceStatus",
        "InstanceId",
        "instancesSet",
        "maxResults",
    ),
    (
        "DescribeInstances",
        "InstanceId",
        "instancesSet",
        "maxResults",
    ),
    (
        "DescribeInternetGateways",
        "InternetGatewayId",
        "InternetGatewayIds",
        "MaxResults",
    ),
    (
        "DescribeNetworkInterfaces",
        "NetworkInterfaceId",
        "NetworkInterfaceIds",
        "MaxResults",
    ),
    ("DescribeSubnets", "SubnetId", "SubnetIds", "MaxResults"),
    ("DescribeVolumes", "VolumeId", "volumeSet", "maxResults"),
    ("DescribeVpcs", "VpcId", "VpcIds", "MaxResults"),
];

/// Returns the requested page of a listing that never changes, and the token of the next
/// page.
///
/// Refuses a `MaxResults` below `smallest`, and a token that this action has not
/// returned.
pub(super) fn page<T>(
    request: &Part<'_>,
    items: Vec<T>,
    smallest: usize,
) -> Result<(Vec<T>, Option<String>)> {
    let most = max_results(request, smallest)?;
    let start = match request.text("NextToken") {
        None => 0,
        Some(token) => place_of(request.action(), token)
            .and_then(|place| place.parse().ok())
            .filter(|start| *start <= items.len())
            .ok_or_else(|| invalid_token(token))?,
    };
    let end = most.map_or(items.len(), |most| (start + most).min(items.len()));
    let next = (end < items.len()).then(|| token(request.action(), &end.to_string()));
    let kept = items.into_iter().take(end).skip(start);
    Ok((kept.collect(), next))
}

/// Returns the requested page of a listing, and the token of the next page. The pages
/// are in the order of the keys. A page begins after the last entry of the one before,
/// although entries may appear or go in the meantime, that one included.
pub(super) fn page_after<T>(
    request: &Part<'_>,
    mut items: Vec<T>,
    smallest: usize,
    key: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>)> {
    let most = max_results(request, smallest)?;
    let token_of_page = request.text("NextToken");
    if most.is_some() || token_of_page.is_some() {
        items.sort_by_cached_key(&key);
    }
    if let Some(token) = token_of_page {
        let place = place_of(request.action(), token);
        let place = place.ok_or_else(|| invalid_token(token))?;
        items.retain(|item| key(item) > place);
    }
    let most = most.unwrap_or(items.len());
    let has_more = items.len() > most;
    items.truncate(most);
    let last = items.last().filter(|_| has_more);
    let next = last.map(|last| token(request.action(), &key(last)));
    Ok((items, next))
}

fn invalid_token(token: &str) -> Refusal {
    let message = format!("The token '{token}' is invalid");
    Refusal::new("InvalidNextToken", message)
}

/// Refuses `MaxResults` together with ids, if AWS refuses it for the action. As on
/// AWS, this comes before the ids are looked up.
pub(super) fn check_ids(request: &Part<'_>) -> Result<()> {
    let action = request.action();
    let Some((_, ids, words, max_results)) = IDS.iter().find(|(known, ..)| *known == action) else {
        return Ok(());
    };
    if request.has("MaxResults") && request.has(ids) {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            format!("The parameter {words} cannot be used with the parameter {max_results}"),
        ));
    }
    Ok(())
}

fn max_results(request: &Part<'_>, smallest: usize) -> Result<Option<usize>> {
    let action = request.action();
    let Some(most) = request.number::<i64>("MaxResults")? else {
        return Ok(None);
    };
    let largest = match action {
        "DescribeInstanceTypes" | "DescribeRouteTables" => 100,
        _ => MAX_RESULTS,
    };
    let invalid = |expected: String| {
        Refusal::new(
            "InvalidParameterValue",
            format!(
                "Value ( {most} ) for parameter maxResults is invalid. Expecting a value {expected}."
            ),
        )
    };
    let results = usize::try_from(most).unwrap_or_default();
    if results < smallest {
        return Err(invalid(format!("greater than {smallest}")));
    }
    if results > largest {
        return Err(invalid(format!("smaller than {largest}")));
    }
    Ok(Some(results))
}

/// Returns the token of the page of this action that begins at a place. Clients must not
/// depend on its form, so they cannot read it.
fn token(action: &str, place: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{action} {place}"))
}

/// Returns where the page with this token begins, or `None` if this action has not
/// returned the token.
fn place_of(action: &str, token: &str) -> Option<String> {
    let text = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    let text = String::from_utf8(text).ok()?;
    let place = text.strip_prefix(action)?.strip_prefix(' ')?;
    Some(place.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::ec2::params::Params;

    fn refused(form: &str) -> Option<Refusal> {
        let params = Params::parse(form.as_bytes()).unwrap();
        Filters::of(&params.all()).err()
    }

    #[test]
    fn an_unknown_filter_is_refused_without_resources() {
        let key_pairs = "Action=DescribeKeyPairs&Filter.1.Value.1=x&Filter.1.Name";
        for known in ["key-name", "tag:a", "tag-key", "tag-value"] {
            assert_eq!(refused(&format!("{key_pairs}={known}")), None, "{known}");
        }
        for unknown in ["Key-Name", "tag:", "tag", "spam", ""] {
            let refusal = refused(&format!("{key_pairs}={unknown}")).unwrap();
            assert_eq!(refusal.code, "InvalidParameterValue", "{unknown}");
        }
    }

    #[test]
    fn the_values_of_all_filters_count() {
        let form = |each: usize| {
            let mut form = String::from("Action=DescribeVpcs");
            for (n, name) in [(1, "vpc-id"), (2, "state")] {
                let _ = write!(form, "&Filter.{n}.Name={name}");
                for value in 1..=each {
                    let _ = write!(form, "&Filter.{n}.Value.{value}=x");
                }
            }
            form
        };
        assert_eq!(refused(&form(100)), None);
        assert_eq!(refused(&form(101)).unwrap().code, "FilterLimitExceeded");
    }

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

    fn listed(form: &str) -> Result<(Vec<usize>, Option<String>)> {
        let params = Params::parse(form.as_bytes()).unwrap();
        page(&params.all(), (0..12).collect(), 5)
    }

    #[test]
    fn pages_follow_each_other() {
        let vpcs = "Action=DescribeVpcs&MaxResults=5";
        let (first, next) = listed(vpcs).unwrap();
        assert_eq!(first, [0, 1, 2, 3, 4]);
        let (second, next) = listed(&format!("{vpcs}&NextToken={}", next.unwrap())).unwrap();
        assert_eq!(second, [5, 6, 7, 8, 9]);
        let token = next.unwrap();
        let (last, next) = listed(&format!("{vpcs}&NextToken={token}")).unwrap();
        assert_eq!((last, next), (vec![10, 11], None));
        let other = format!("Action=DescribeTags&NextToken={token}");
        for form in [other.as_str(), "NextToken=x", "NextToken=page-5"] {
            assert_eq!(listed(form).unwrap_err().code, "InvalidNextToken", "{form}");
        }
    }

    #[test]
    fn a_page_begins_after_the_last_entry_of_the_one_before() {
        let page_of = |form: &str, items: &[&str]| {
            let params = Params::parse(form.as_bytes()).unwrap();
            let items: Vec<String> = items.iter().map(|&item| item.into()).collect();
            page_after(&params.all(), items, 1, String::clone)
        };
        let vpcs = "Action=DescribeVpcs&MaxResults=2";
        let (first, next) = page_of(vpcs, &["b", "d", "f"]).unwrap();
        assert_eq!(first, ["b", "d"]);
        let token = next.unwrap();
        let second = format!("{vpcs}&NextToken={token}");
        for (now, expected) in [
            (&["b", "d", "f"][..], &["f"][..]),
            (&["a", "b", "c", "d", "f"], &["f"]),
            // The last entry is gone, and another one is new.
            (&["b", "e", "f"], &["e", "f"]),
            (&["b"], &[]),
        ] {
            assert_eq!(page_of(&second, now).unwrap().0, expected);
        }
        let other = format!("Action=DescribeTags&NextToken={token}");
        for form in [other.as_str(), "Action=DescribeVpcs&NextToken=x"] {
            let refusal = page_of(form, &["b"]).unwrap_err();
            assert_eq!(refusal.code, "InvalidNextToken", "{form}");
        }
    }

    #[test]
    fn a_page_has_a_size_that_aws_allows() {
        let refused = |form: &str| {
            let refusal = listed(&format!("Action={form}")).unwrap_err();
            format!("{}: {}", refusal.code, refusal.message)
        };
        // https://github.com/aws/aws-sdk-ruby/pull/2575
        let small = "InvalidParameterValue: Value ( 1 ) for parameter maxResults is invalid. \
                     Expecting a value greater than 5.";
        assert_eq!(refused("DescribeInstances&MaxResults=1"), small);
        for form in [
            "DescribeVpcs&MaxResults=-7",
            "DescribeVpcs&MaxResults=1001",
            "DescribeVpcs&MaxResults=many",
            "DescribeInstanceTypes&MaxResults=101",
        ] {
            assert!(
                refused(form).starts_with("InvalidParameterValue: "),
                "{form}"
            );
        }
    }

    #[test]
    fn ids_and_a_page_size_exclude_each_other() {
        let message = |form: &str| {
            let params = Params::parse(form.as_bytes()).unwrap();
            check_ids(&params.all())
                .err()
                .map(|refusal| refusal.message)
        };
        // https://github.com/aws/aws-cli/issues/1976
        assert_eq!(
            message("Action=DescribeVolumes&VolumeId.1=x&MaxResults=5").unwrap(),
            "The parameter volumeSet cannot be used with the parameter maxResults"
        );
        assert_eq!(message("Action=DescribeVolumes&VolumeId.1=x"), None);
        assert_eq!(
            message("Action=DescribeTags&VolumeId.1=x&MaxResults=5"),
            None
        );
    }
}
