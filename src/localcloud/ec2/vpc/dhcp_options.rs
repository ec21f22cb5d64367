//! The set of DHCP options that all VPCs have. Others cannot be created.

use super::super::call::Call;
use super::super::filters::{Filtered, Filters, page};
use super::super::ids::{DHCP_OPTIONS, stable_id};
use super::super::params::Part;
use super::super::refusal::Result;
use super::super::state::Tags;
use super::super::xml::Xml;

/// A set of options.
struct Options {
    owner: String,
    domain: String,
}

const SERVERS: &str = "AmazonProvidedDNS";

/// Returns the id of the set, which is the same in all regions.
pub(super) fn id() -> String {
    stable_id("dopt", &["default"])
}

impl Options {
    fn pairs(&self) -> [(&'static str, &str); 2] {
        [
            ("domain-name", self.domain.as_str()),
            ("domain-name-servers", SERVERS),
        ]
    }
}

impl Filtered for Options {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let each =
            |value: fn(&(&str, &str)) -> String| Some(self.pairs().iter().map(value).collect());
        match name {
            "dhcp-options-id" => Some(vec![id()]),
            "key" => each(|(key, _)| (*key).to_owned()),
            "owner-id" => Some(vec![self.owner.clone()]),
            "value" => each(|(_, value)| (*value).to_owned()),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        static NONE: Tags = Tags::new();
        Some(&NONE)
    }
}

pub(in super::super) fn describe_dhcp_options(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let ids = request.list("DhcpOptionsId");
    DHCP_OPTIONS.find_all(&ids, |known| known == id())?;
    let options = Options {
        owner: call.facts.account.clone(),
        domain: match call.region_name {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        },
    };
    let all = Filters::of(request)?.keep(vec![options])?;
    let (all, next) = page(request, all, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("dhcpOptionsSet", all, |xml, options| {
        xml.text("dhcpOptionsId", id());
        xml.text("ownerId", &options.owner);
        xml.list(
            "dhcpConfigurationSet",
            options.pairs(),
            |xml, (key, value)| {
                xml.text("key", key);
                xml.list("valueSet", [value], |xml, value| xml.text("value", value));
            },
        );
        xml.texts("tagSet", [] as [&str; 0]);
    });
    xml.option("nextToken", next);
    Ok(xml)
}
