//! The versions of launch templates. Each template has one.

use std::collections::BTreeMap;

use super::call::Call;
use super::filters::{Filtered, Filters, page_after};
use super::launch_templates::{LaunchTemplate, VERSION, is_version, named, no_version};
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::xml::Xml;
use crate::clock::iso;

/// A template with its version.
struct TemplateVersion(LaunchTemplate);

impl Filtered for TemplateVersion {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let Self(template) = self;
        let given = |name: &str| Some(template.data.get(name).into_iter().cloned().collect());
        match name {
            "create-time" => Some(vec![iso(template.created)]),
            "ebs-optimized" => given("EbsOptimized"),
            "http-endpoint" => given("MetadataOptions.HttpEndpoint"),
            "http-tokens" => given("MetadataOptions.HttpTokens"),
            "iam-instance-profile" => given("IamInstanceProfile.Arn"),
            "image-id" => given("ImageId"),
            "instance-type" => given("InstanceType"),
            "is-default-version" => Some(vec!["true".to_owned()]),
            "network-card-index" => given("NetworkInterface.1.NetworkCardIndex"),
            _ => None,
        }
    }
}

pub(super) fn describe_launch_template_versions(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    let versions = request.list("LaunchTemplateVersion");
    let mut asked = templates(call, request, &versions)?;
    let least: Option<u64> = request.number("MinVersion")?;
    let most: Option<u64> = request.number("MaxVersion")?;
    if least.is_some_and(|least| least > 1) || most.is_some_and(|most| most < 1) {
        asked.clear();
    }
    // The id of an image stands for itself, and no AWS service manages a template.
    request.flag("ResolveAlias")?;
    request.flag("IncludeManagedResources")?;
    let found = asked.into_iter().map(TemplateVersion).collect();
    let found = Filters::of(request)?.keep(found)?;
    let (found, next) = page_after(request, found, 1, |one| one.0.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("launchTemplateVersionSet", found, |xml, one| {
        write(xml, call, &one.0);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

/// Returns the template that a request names, or all for the latest or the default
/// versions.
fn templates(
    call: &mut Call<'_>,
    request: &Part<'_>,
    versions: &[&str],
) -> Result<Vec<LaunchTemplate>> {
    let is_named = request.has("LaunchTemplateId") || request.has("LaunchTemplateName");
    if is_named {
        let template = named(call, request)?;
        if let Some(unknown) = versions.iter().find(|one| !is_version(one)) {
            return Err(no_version(&template.id, unknown));
        }
        return Ok(vec![template]);
    }
    let is_of_all = |version: &&str| ["$Latest", "$Default"].contains(version);
    if versions.is_empty() || !versions.iter().all(is_of_all) {
        return Err(Refusal::new(
            "MissingParameter",
            "When describing all launch templates, the request must contain the version $Latest \
             or $Default",
        ));
    }
    Ok(call.region().launch_templates.values().cloned().collect())
}

fn write(xml: &mut Xml, call: &Call<'_>, template: &LaunchTemplate) {
    xml.text("launchTemplateId", &template.id);
    xml.text("launchTemplateName", &template.name);
    xml.text("versionNumber", VERSION);
    xml.option("versionDescription", template.description.as_ref());
    template.write_creation(xml, call);
    xml.text("defaultVersion", true);
    xml.node("launchTemplateData", |xml| {
        Tree::of(&template.data).write_parts(xml, "");
    });
}

/// Parameters by the parts of their names. Answers have the same structure as requests.
#[derive(Default)]
struct Tree<'a> {
    value: Option<&'a str>,
    parts: BTreeMap<(Option<u32>, &'a str), Self>,
}

impl<'a> Tree<'a> {
    fn of(parameters: &'a BTreeMap<String, String>) -> Self {
        let mut root = Self::default();
        for (name, value) in parameters {
            let mut at = &mut root;
            for part in name.split('.') {
                at = at.parts.entry((part.parse().ok(), part)).or_default();
            }
            at.value = Some(value);
        }
        root
    }

    /// Writes the parts of a structure, whose name is `of`.
    fn write_parts(&self, xml: &mut Xml, of: &str) {
        for ((_, name), part) in &self.parts {
            part.write(xml, of, name);
        }
    }

    fn write(&self, xml: &mut Xml, of: &str, name: &str) {
        if let Some(value) = self.value {
            return xml.text(&small(name), value);
        }
        let is_list = self.parts.keys().any(|(number, _)| number.is_some());
        if !is_list {
            return xml.node(&small(name), |xml| self.write_parts(xml, name));
        }
        let (list, item) = match (of, name) {
            ("NetworkInterface", "SecurityGroupId") => ("groupSet".to_owned(), "groupId"),
            _ => (format!("{}Set", small(name)), "item"),
        };
        xml.node(&list, |xml| {
            for part in self.parts.values() {
                match part.value {
                    Some(value) => xml.text(item, value),
                    None => xml.node(item, |xml| part.write_parts(xml, name)),
                }
            }
        });
    }
}

/// Returns a name as answers have it: the first letter is small.
fn small(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_names_of_answers() {
        let given = [
            ("ImageId", "ami-1"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "8"),
            ("SecurityGroupId.2", "sg-2"),
            ("SecurityGroupId.10", "sg-10"),
            ("NetworkInterface.1.SecurityGroupId.1", "sg-1"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let parameters = BTreeMap::from(given);
        let mut xml = Xml::default();
        Tree::of(&parameters).write_parts(&mut xml, "");
        assert_eq!(
            xml.finish(),
            "<blockDeviceMappingSet><item><deviceName>/dev/xvda</deviceName><ebs><volumeSize>8\
             </volumeSize></ebs></item></blockDeviceMappingSet><imageId>ami-1</imageId>\
             <networkInterfaceSet><item><groupSet><groupId>sg-1</groupId></groupSet></item>\
             </networkInterfaceSet><securityGroupIdSet><item>sg-2</item><item>sg-10</item>\
             </securityGroupIdSet>"
        );
    }
}
