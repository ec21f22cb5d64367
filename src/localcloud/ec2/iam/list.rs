//! Lists in answers, page by page.

use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::state::Tags;
use super::super::xml::Xml;
use super::names::invalid;

/// The default and the largest size of a page.
const PAGE: (usize, usize) = (100, 1000);

/// Writes the entries of a page, each in `<member>`. The marker of the next page
/// is the name of its first entry.
pub(super) fn write_page<T>(
    xml: &mut Xml,
    request: &Part<'_>,
    name: &str,
    entries: impl IntoIterator<Item = (String, T)>,
    write: impl Fn(&mut Xml, T),
) -> Result<()> {
    let (entries, next) = page(request, entries)?;
    xml.node(name, |xml| {
        for (_, entry) in entries {
            xml.node("member", |xml| write(xml, entry));
        }
    });
    write_end(xml, next);
    Ok(())
}

/// The entries of a page by their names, and the marker of the next page.
type Page<T> = (Vec<(String, T)>, Option<String>);

/// Returns the entries of the page that a request names.
pub(super) fn page<T>(
    request: &Part<'_>,
    entries: impl IntoIterator<Item = (String, T)>,
) -> Result<Page<T>> {
    let (default, most) = PAGE;
    let size = request.number("MaxItems")?.unwrap_or(default);
    if !(1..=most).contains(&size) {
        let rule = format!("Member must have value less than or equal to {most}");
        return Err(invalid(&size.to_string(), "maxItems", &rule));
    }
    let mut entries: Vec<_> = entries.into_iter().collect();
    if let Some(marker) = request.text("Marker") {
        let start = entries.iter().position(|(name, _)| name == marker);
        let message = format!("Invalid Marker: {marker}");
        let start = start.ok_or_else(|| Refusal::new("ValidationError", message))?;
        entries.drain(..start);
    }
    let next = entries.get(size).map(|(name, _)| name.clone());
    entries.truncate(size);
    Ok((entries, next))
}

/// Writes whether more pages follow.
pub(super) fn write_end(xml: &mut Xml, next: Option<String>) {
    xml.text("IsTruncated", next.is_some());
    xml.option("Marker", next);
}

/// Returns the page of tags that a request names.
pub(super) fn tag_page(request: &Part<'_>, tags: &Tags) -> Result<Xml> {
    let entries = tags.iter().map(|(key, value)| (key.clone(), (key, value)));
    let mut xml = Xml::default();
    write_page(&mut xml, request, "Tags", entries, |xml, (key, value)| {
        xml.text("Key", key);
        xml.text("Value", value);
    })?;
    Ok(xml)
}

/// Writes tags.
pub(super) fn write_tags(xml: &mut Xml, tags: &Tags) {
    if tags.is_empty() {
        return;
    }
    xml.node("Tags", |xml| {
        for (key, value) in tags {
            xml.node("member", |xml| {
                xml.text("Key", key);
                xml.text("Value", value);
            });
        }
    });
}
