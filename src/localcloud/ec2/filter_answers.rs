//! The values of filters, taken from answers: a filter such as
//! `network-interface.addresses.primary` names a member of the answer, so it compares
//! what the answer says.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::xml::Xml;

/// The leaves of an answer: the names of the elements around a value, and the value.
pub(super) struct Leaves(Vec<(Vec<String>, String)>);

impl Leaves {
    /// Reads an answer.
    pub(super) fn of(answer: Xml) -> Self {
        let text = answer.finish();
        let mut reader = Reader::from_str(&text);
        let mut leaves = Vec::new();
        let mut path: Vec<String> = Vec::new();
        let mut value = String::new();
        let mut is_leaf = false;
        // The answer is the service's own, so it is well-formed.
        while let Ok(event) = reader.read_event() {
            match event {
                Event::Start(start) => {
                    path.push(segment(&String::from_utf8_lossy(start.name().as_ref())));
                    (is_leaf, value) = (true, String::new());
                }
                Event::Text(text) => value.push_str(&text.decode().unwrap_or_default()),
                Event::GeneralRef(reference) => value.push_str(character(&reference)),
                Event::End(_) => {
                    if is_leaf {
                        let path = path.iter().filter(|name| !name.is_empty());
                        leaves.push((path.cloned().collect(), std::mem::take(&mut value)));
                    }
                    path.pop();
                    is_leaf = false;
                }
                Event::Eof => break,
                _ => {}
            }
        }
        Self(leaves)
    }

    /// Returns the values that a filter names. A filter may omit elements around the
    /// member, for example `placement` in `availability-zone`; then no leaf has its
    /// full name.
    pub(super) fn values(&self, filter: &str) -> Vec<String> {
        let filter = filter.strip_prefix("instance.").unwrap_or(filter);
        let wanted = filter
            .replace(
                "network-interface.addresses",
                "network-interface.private-ip-addresses",
            )
            .replace(['-', '.'], "");
        let chosen = |fits: &dyn Fn(&[String]) -> bool| -> Vec<String> {
            let found = self.0.iter().filter(|(path, _)| fits(path));
            found.map(|(_, value)| value.clone()).collect()
        };
        let exact = chosen(&|path| path.concat() == wanted);
        if exact.is_empty() {
            return chosen(&|path| omits(&wanted, path));
        }
        exact
    }
}

/// Returns an element's name as it is in filters, without `Set`, hyphens and capitals.
/// Items of lists have no name.
fn segment(name: &str) -> String {
    match name.strip_suffix("Set").unwrap_or(name) {
        "item" => String::new(),
        name => name.to_ascii_lowercase(),
    }
}

fn character(reference: &[u8]) -> &'static str {
    match reference {
        b"amp" => "&",
        b"lt" => "<",
        b"gt" => ">",
        b"quot" => "\"",
        b"apos" => "'",
        _ => "",
    }
}

/// Whether the name is that of a leaf of which some elements around it are omitted.
fn omits(wanted: &str, path: &[String]) -> bool {
    let Some((last, around)) = path.split_last() else {
        return false;
    };
    let Some(mut rest) = wanted.strip_suffix(last.as_str()) else {
        return false;
    };
    for name in around {
        rest = rest.strip_prefix(name.as_str()).unwrap_or(rest);
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_a_member_of_the_answer() {
        let mut xml = Xml::default();
        xml.text("instanceId", "i-1");
        xml.node("instanceState", |xml| xml.text("code", 16));
        xml.node("placement", |xml| xml.text("availabilityZone", "a"));
        xml.node("monitoring", |xml| xml.text("state", "disabled"));
        xml.list("groupSet", ["g<1", "g2"], |xml, name| {
            xml.text("groupName", name);
        });
        xml.list("blockDeviceMapping", [()], |xml, ()| {
            xml.node("ebs", |xml| xml.text("volumeId", "vol-1"));
        });
        xml.list("networkInterfaceSet", [()], |xml, ()| {
            xml.text("status", "in-use");
            xml.node("attachment", |xml| xml.text("status", "attached"));
            xml.list("privateIpAddressesSet", [()], |xml, ()| {
                xml.text("primary", true);
            });
        });
        let leaves = Leaves::of(xml);
        for (filter, values) in [
            ("instance-id", &["i-1"][..]),
            ("instance-state-code", &["16"]),
            ("availability-zone", &["a"]),
            ("monitoring-state", &["disabled"]),
            ("instance.group-name", &["g<1", "g2"]),
            ("block-device-mapping.volume-id", &["vol-1"]),
            ("network-interface.status", &["in-use"]),
            ("network-interface.attachment.status", &["attached"]),
            ("network-interface.addresses.primary", &["true"]),
            ("host-id", &[]),
        ] {
            assert_eq!(leaves.values(filter), values, "{filter}");
        }
    }
}
