//! Launch templates: create, describe and delete. Each has one version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::filters::{Filtered, Filters, page_after};
use super::ids::{LAUNCH_TEMPLATE, new_id};
use super::journaled::Row;
use super::launch::token;
use super::launch_request;
use super::params::{Params, Part};
use super::refusal::{Refusal, Result};
use super::state::{Millis, Tags};
use super::tags;
use super::volume_answer::write_operator;
use super::xml::Xml;
use crate::USER_NAME;
use crate::clock::iso;

/// The name of the parameter with the parameters of launches.
const DATA: &str = "LaunchTemplateData";

/// The only version of each template.
pub(super) const VERSION: &str = "1";

/// Parameters of a launch that are not those of its instances.
const OF_REQUESTS: [&str; 5] = [
    "Action",
    "ClientToken",
    "DryRun",
    "LaunchTemplate",
    "Version",
];

/// Parameters that templates have in addition to launches, and the local cloud does
/// not. Its launches name one instance type.
const UNSUPPORTED: [&str; 2] = ["InstanceRequirements", "RamDiskId"];

/// A launch template.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LaunchTemplate {
    pub(super) id: String,
    pub(super) name: String,
    /// The parameters of `RunInstances`.
    pub(super) data: BTreeMap<String, String>,
    pub(super) tags: Tags,
    /// The description of its version.
    #[serde(default)]
    pub(super) description: Option<String>,
    pub(super) created: Millis,
    /// The client token of its creation, and the canonical request.
    token: Option<(String, String)>,
}

impl LaunchTemplate {
    /// Writes when it was created, and by whom.
    pub(super) fn write_creation(&self, xml: &mut Xml, call: &Call<'_>) {
        let account = &call.facts.account;
        xml.text("createTime", iso(self.created));
        xml.text(
            "createdBy",
            format!("arn:aws:iam::{account}:user/{USER_NAME}"),
        );
    }
}

/// A template is found by its name.
impl Row for LaunchTemplate {
    fn aliases(&self) -> Vec<String> {
        vec![self.name.clone()]
    }
}

impl Filtered for LaunchTemplate {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "create-time" => iso(self.created),
            "launch-template-name" => self.name.clone(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

pub(super) fn create_launch_template(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let token = token(request)?;
    let same = call.params.canonical_without("ClientToken");
    if let Some(token) = &token {
        let mut known = call.region().launch_templates.values();
        let known = known.find(|one| one.token.as_ref().is_some_and(|(of, _)| of == token));
        if let Some(known) = known.cloned() {
            if known.token.as_ref().is_some_and(|(_, of)| *of == same) {
                return Ok(answer(call, &known));
            }
            return Err(Refusal::new(
                "IdempotentParameterMismatch",
                "Client token already used before with different parameters.",
            ));
        }
    }
    let name = request.required("LaunchTemplateName")?;
    check_name(name)?;
    let description = request.text("VersionDescription").map(str::to_owned);
    request.unsupported(&["Operator"])?;
    let tags = tags::specified(request, &["launch-template"], "launch-template")?;
    let data = data(call, request)?;
    call.read_all()?;
    if call.region().launch_templates.find(name).next().is_some() {
        return Err(Refusal::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        ));
    }
    let template = LaunchTemplate {
        id: new_id("lt"),
        name: name.to_owned(),
        data,
        tags,
        description,
        created: call.now,
        token: token.map(|token| (token, same)),
    };
    let templates = &mut call.region().launch_templates;
    templates.insert(template.id.clone(), template.clone());
    Ok(answer(call, &template))
}

fn check_name(name: &str) -> Result<()> {
    let is_valid = |b: u8| b.is_ascii_alphanumeric() || b"()./_-".contains(&b);
    if (3..=128).contains(&name.len()) && name.bytes().all(is_valid) {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidLaunchTemplateName.MalformedException",
        "The launch template name must be between 3 and 128 characters, and may contain letters, \
         numbers, and the following characters: - ( ) . / _.",
    ))
}

/// Returns the parameters of the template's launches.
///
/// As AWS, this does not check whether a launch would succeed. It refuses parameters
/// that the local cloud does not have.
fn data(call: &mut Call<'_>, request: &Part<'_>) -> Result<BTreeMap<String, String>> {
    let part = request.part(DATA);
    let mut data = BTreeMap::new();
    for (name, value) in request.pairs() {
        let Some(name) = name.strip_prefix(DATA).and_then(|n| n.strip_prefix('.')) else {
            continue;
        };
        // This reads it.
        part.given(name);
        data.insert(name.to_owned(), value.to_owned());
    }
    if data.is_empty() {
        request.required(DATA)?;
    }
    part.unsupported(&UNSUPPORTED)?;
    let launch = launch(&data, 1);
    let read = launch_request::read(call, &launch.all(), None);
    match read.and_then(|_| launch.none_left()) {
        Err(refusal) if ["UnknownParameter", "UnsupportedOperation"].contains(&&*refusal.code) => {
            Err(refusal)
        }
        _ => Ok(data),
    }
}

/// Returns the launch of at most so many instances with these parameters.
pub(super) fn launch(data: &BTreeMap<String, String>, count: u32) -> Params {
    let mut values = data.clone();
    values.insert("MinCount".to_owned(), "1".to_owned());
    values.insert("MaxCount".to_owned(), count.to_string());
    Params::of(values)
}

/// Returns the parameters of a launch that names a template, with the template's id.
/// Those of the request replace those of the template.
pub(super) fn with_template(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Option<(String, Params)>> {
    if !request.has("LaunchTemplate") {
        return Ok(None);
    }
    let part = request.part("LaunchTemplate");
    let template = named(call, &part)?;
    let version = part.text("Version").unwrap_or("$Default");
    if !is_version(version) {
        return Err(no_version(&template.id, version));
    }
    let mut values = template.data;
    for (name, _) in request.pairs() {
        let first = first(name);
        values.retain(|known, _| self::first(known) != first);
    }
    for (name, value) in request.pairs() {
        if !OF_REQUESTS.contains(&first(name)) {
            values.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(Some((template.id, Params::of(values))))
}

fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

pub(super) fn is_version(version: &str) -> bool {
    ["$Latest", "$Default", VERSION].contains(&version)
}

/// Returns the error about a version that a template does not have.
pub(super) fn no_version(id: &str, version: &str) -> Refusal {
    Refusal::new(
        "InvalidLaunchTemplateId.VersionNotFound",
        format!(
            "Could not find the specified version {version} for the launch template with ID {id}."
        ),
    )
}

/// Returns the template that a request names by its id or name.
pub(super) fn named(call: &mut Call<'_>, request: &Part<'_>) -> Result<LaunchTemplate> {
    let id = request.text("LaunchTemplateId");
    match (id, request.text("LaunchTemplateName")) {
        (Some(_), Some(_)) => Err(Refusal::new(
            "InvalidParameterCombination",
            "The parameters launchTemplateId and launchTemplateName cannot be used together",
        )),
        (None, None) => Err(Refusal::new(
            "MissingParameter",
            "The request must contain the parameter LaunchTemplateId or LaunchTemplateName",
        )),
        (Some(id), None) => {
            LAUNCH_TEMPLATE.check(id)?;
            let known = call.region().launch_templates.get(id).cloned();
            known.ok_or_else(|| LAUNCH_TEMPLATE.not_found(&[id]))
        }
        (None, Some(name)) => {
            let known = call.region().launch_templates.find(name).next().cloned();
            known.ok_or_else(|| no_name(name))
        }
    }
}

fn no_name(name: &str) -> Refusal {
    Refusal::new(
        "InvalidLaunchTemplateName.NotFoundException",
        format!("The specified launch template, with template name {name}, does not exist."),
    )
}

pub(super) fn delete_launch_template(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let template = named(call, request)?;
    call.read_all()?;
    call.region().launch_templates.remove(&template.id);
    Ok(answer(call, &template))
}

pub(super) fn describe_launch_templates(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let (ids, names) = (
        request.list("LaunchTemplateId"),
        request.list("LaunchTemplateName"),
    );
    // The local cloud has no templates that an AWS service manages.
    request.flag("IncludeManagedResources")?;
    let all: Vec<LaunchTemplate> = call.region().launch_templates.values().cloned().collect();
    let is_known = |name: &&&str| all.iter().any(|known| known.name == **name);
    if names.iter().any(|name| !is_known(&name)) {
        return Err(Refusal::new(
            "InvalidLaunchTemplateName.NotFoundException",
            "At least one of the launch templates specified in the request does not exist.",
        ));
    }
    let mut asked = LAUNCH_TEMPLATE.select(&ids, all, |one| &one.id)?;
    asked.retain(|one| names.is_empty() || names.contains(&one.name.as_str()));
    let found = Filters::of(request)?.keep(asked)?;
    let (found, next) = page_after(request, found, 1, |one| one.id.clone())?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("launchTemplates", found, |xml, one| write(xml, call, &one));
    xml.option("nextToken", next);
    Ok(xml)
}

fn answer(call: &Call<'_>, template: &LaunchTemplate) -> Xml {
    let mut xml = Xml::default();
    xml.node("launchTemplate", |xml| write(xml, call, template));
    xml
}

fn write(xml: &mut Xml, call: &Call<'_>, template: &LaunchTemplate) {
    xml.text("launchTemplateId", &template.id);
    xml.text("launchTemplateName", &template.name);
    template.write_creation(xml, call);
    xml.text("defaultVersionNumber", 1);
    xml.text("latestVersionNumber", 1);
    tags::write(xml, &template.tags);
    write_operator(xml);
}
