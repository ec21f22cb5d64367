//! Checks a command and sends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::super::ids::is_id;
use super::super::refusal::{Refusal, Result};
use super::command_answers::describe;
use super::commands::{Command, Invocation, Limit, OutputPlace, Status, Target};
use super::managed::{Managed, managed, managed_of};
use super::{Request, check_number, delivery, invalid, read};
use crate::authorization::Need;
use crate::clock;

/// The only document that instances can run.
const DOCUMENT: &str = "AWS-RunShellScript";

/// The most instances that a request can name, and the most values of a target.
const MOST: usize = 50;

/// The most targets.
const MOST_TARGETS: usize = 5;

/// The longest comment.
const LONGEST_COMMENT: usize = 100;

/// The longest parameters, in bytes of their JSON.
const LONGEST_PARAMETERS: usize = 64 * 1024;

/// Defaults of the service, in seconds and in instances.
const TIMEOUT: u64 = 3600;
const EXECUTION_TIMEOUT: u64 = 3600;
const CONCURRENCY: &str = "50";
const ERRORS: &str = "0";

/// The longest execution, 48 hours.
const LONGEST_EXECUTION: u64 = 172_800;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendCommand {
    #[serde(default)]
    instance_ids: Vec<String>,
    #[serde(default)]
    targets: Vec<Target>,
    document_name: String,
    document_version: Option<String>,
    document_hash: Option<String>,
    document_hash_type: Option<String>,
    timeout_seconds: Option<u64>,
    comment: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
    #[serde(rename = "OutputS3Region")]
    output_region: Option<String>,
    #[serde(rename = "OutputS3BucketName")]
    output_bucket: Option<String>,
    #[serde(rename = "OutputS3KeyPrefix")]
    output_prefix: Option<String>,
    max_concurrency: Option<String>,
    max_errors: Option<String>,
    service_role_arn: Option<String>,
    notification_config: Option<Value>,
    cloud_watch_output_config: Option<CloudWatch>,
    alarm_configuration: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CloudWatch {
    #[expect(
        dead_code,
        reason = "without an effect while the output is not enabled"
    )]
    cloud_watch_log_group_name: Option<String>,
    #[serde(default)]
    cloud_watch_output_enabled: bool,
}

pub(super) fn send_command(request: &Request<'_>) -> Result<Value> {
    let wanted: SendCommand = read(request.body)?;
    check_targets(&wanted)?;
    check_document(&wanted)?;
    check_parameters(&wanted.parameters)?;
    check_limits(&wanted)?;
    check_output(&wanted)?;
    check_absent(&wanted)?;
    request.allow(needs(request, &wanted))?;
    let targets = selected(request, &wanted)?;
    let command = command(request, wanted, targets);
    let answer = describe(&command, true);
    request.cloud.commands.add(command.clone());
    tokio::spawn(delivery::deliver(
        Arc::clone(request.cloud),
        command,
        request.account.clone(),
    ));
    Ok(json!({ "Command": answer }))
}

fn check_targets(wanted: &SendCommand) -> Result<()> {
    let SendCommand {
        instance_ids,
        targets,
        ..
    } = wanted;
    let too_many = |most: usize| format!("Member must have length less than or equal to {most}");
    if instance_ids.len() > MOST {
        let shown = format!("[{}]", instance_ids.join(", "));
        return Err(invalid(&shown, "instanceIds", &too_many(MOST)));
    }
    if targets.len() > MOST_TARGETS {
        let keys = targets.iter().map(|target| target.key.as_str());
        let shown = format!("[{}]", keys.collect::<Vec<_>>().join(", "));
        return Err(invalid(&shown, "targets", &too_many(MOST_TARGETS)));
    }
    if let Some(target) = targets.iter().find(|target| target.values.len() > MOST) {
        let shown = format!("[{}]", target.values.join(", "));
        return Err(invalid(&shown, "targets.1.member.values", &too_many(MOST)));
    }
    let ids = || {
        let listed = targets.iter().filter(|target| target.key == "InstanceIds");
        instance_ids
            .iter()
            .chain(listed.flat_map(|target| &target.values))
    };
    if let Some(id) = ids().find(|id| !is_id("i", id) && !is_id("mi", id)) {
        let rule = "Member must satisfy regular expression pattern: \
            (^i-(\\w{8}|\\w{17})$)|(^mi-\\w{17}$)";
        return Err(invalid(id, "instanceIds", rule));
    }
    let mut seen = BTreeSet::new();
    if !ids().all(|id| seen.insert(id)) {
        return Err(Refusal::new("DuplicateInstanceId", ""));
    }
    match (instance_ids.is_empty(), targets.is_empty()) {
        (true, true) => Err(Refusal::new(
            "ValidationException",
            "Either InstanceIds or Targets is required",
        )),
        (false, false) => Err(Refusal::new(
            "ValidationException",
            "InstanceIds and Targets cannot both be specified",
        )),
        _ => targets.iter().try_for_each(check_target),
    }
}

fn check_target(target: &Target) -> Result<()> {
    let invalid = |message: &str| Err(Refusal::new("InvalidTarget", message));
    let is_tag = target
        .key
        .strip_prefix("tag:")
        .is_some_and(|tag| !tag.is_empty());
    if !is_tag && target.key != "tag-key" && target.key != "InstanceIds" {
        return invalid("The target key is not valid: use tag:NAME, tag-key or InstanceIds");
    }
    if target.values.is_empty() {
        return invalid("The target has no values");
    }
    Ok(())
}

fn check_document(wanted: &SendCommand) -> Result<()> {
    let name = wanted.document_name.rsplit('/').next().unwrap_or_default();
    if name == "AWS-RunPowerShellScript" {
        return Err(Refusal::new("UnsupportedPlatformType", ""));
    }
    if name != DOCUMENT {
        let message = format!("Document with name {name} does not exist.");
        return Err(Refusal::new("InvalidDocument", message));
    }
    let version = wanted.document_version.as_deref().unwrap_or("$DEFAULT");
    if !["1", "$DEFAULT", "$LATEST"].contains(&version) {
        let message = format!("Document version {version} is not valid for {DOCUMENT}.");
        return Err(Refusal::new("InvalidDocumentVersion", message));
    }
    if wanted.document_hash.is_some() || wanted.document_hash_type.is_some() {
        let message = "The local cloud does not know the hash of the document.";
        return Err(Refusal::new("InvalidDocument", message));
    }
    Ok(())
}

fn check_parameters(parameters: &BTreeMap<String, Vec<String>>) -> Result<()> {
    let invalid = |message: String| Refusal::new("InvalidParameters", message);
    if let Some(name) = parameters
        .keys()
        .find(|name| !["commands", "executionTimeout", "workingDirectory"].contains(&name.as_str()))
    {
        return Err(invalid(format!(
            "Parameter \"{name}\" is not defined in the document."
        )));
    }
    if parameters.get("commands").is_none_or(Vec::is_empty) {
        return Err(invalid("Parameter \"commands\" is required.".to_owned()));
    }
    for name in ["executionTimeout", "workingDirectory"] {
        if parameters.get(name).is_some_and(|values| values.len() != 1) {
            return Err(invalid(format!(
                "Parameter \"{name}\" must have one value."
            )));
        }
    }
    execution_timeout(parameters)
        .ok_or_else(|| invalid("Parameter \"executionTimeout\" is not valid.".to_owned()))?;
    if json!(parameters).to_string().len() > LONGEST_PARAMETERS {
        return Err(invalid("The parameters are too long.".to_owned()));
    }
    Ok(())
}

/// Returns the limit of the script's time, or `None` if it is not valid.
fn execution_timeout(parameters: &BTreeMap<String, Vec<String>>) -> Option<u64> {
    let text = parameters
        .get("executionTimeout")
        .and_then(|all| all.first());
    let Some(text) = text else {
        return Some(EXECUTION_TIMEOUT);
    };
    let seconds = text.parse().ok()?;
    (1..=LONGEST_EXECUTION)
        .contains(&seconds)
        .then_some(seconds)
}

fn check_limits(wanted: &SendCommand) -> Result<()> {
    check_number(wanted.timeout_seconds, "timeoutSeconds", 30, 2_592_000)?;
    if let Some(comment) = &wanted.comment
        && comment.chars().count() > LONGEST_COMMENT
    {
        let rule = "Member must have length less than or equal to 100";
        return Err(invalid(comment, "comment", rule));
    }
    let limits = [
        (&wanted.max_concurrency, "maxConcurrency", 1),
        (&wanted.max_errors, "maxErrors", 0),
    ];
    for (limit, member, least) in limits {
        if let Some(limit) = limit.as_ref().filter(|limit| !is_limit(limit, least)) {
            let pattern = match least {
                0 => "^([1-9][0-9]*|[0]|[1-9][0-9]%|[0-9]%|100%)$",
                _ => "^([1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%)$",
            };
            let rule = format!("Member must satisfy regular expression pattern: {pattern}");
            return Err(invalid(limit, member, &rule));
        }
    }
    Ok(())
}

/// Whether a text is a number, or a percentage up to 100, that is at least `least`.
fn is_limit(text: &str, least: u64) -> bool {
    let number = text.strip_suffix('%').unwrap_or(text);
    let most = if number == text { 9_999_999 } else { 100 };
    let is_plain = number == "0" || !number.starts_with(['0', '+']);
    let value = number.parse::<u64>();
    text.len() <= 7 && is_plain && value.is_ok_and(|value| (least..=most).contains(&value))
}

fn check_output(wanted: &SendCommand) -> Result<()> {
    let lengths = [
        (&wanted.output_region, "outputS3Region", 3..=20),
        (&wanted.output_bucket, "outputS3BucketName", 3..=63),
        (&wanted.output_prefix, "outputS3KeyPrefix", 0..=500),
    ];
    for (value, member, length) in lengths {
        if let Some(value) = value
            .as_ref()
            .filter(|value| !length.contains(&value.len()))
        {
            let rule = format!(
                "Member must have length from {} to {}",
                length.start(),
                length.end()
            );
            return Err(invalid(value, member, &rule));
        }
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let bucket = wanted.output_bucket.as_deref().unwrap_or_default();
    if !bucket.chars().all(allowed) {
        return Err(Refusal::new(
            "InvalidOutputFolder",
            "The S3 bucket does not exist.",
        ));
    }
    Ok(())
}

/// Refuses what the local cloud does not have.
fn check_absent(wanted: &SendCommand) -> Result<()> {
    let absent = |code: &'static str, what: &str| {
        Err(Refusal::new(
            code,
            format!("The local cloud does not have {what}"),
        ))
    };
    if wanted.service_role_arn.is_some() {
        return absent("InvalidRole", "roles for notifications");
    }
    if wanted.notification_config.is_some() {
        return absent("InvalidNotificationConfig", "notifications");
    }
    let log = wanted.cloud_watch_output_config.as_ref();
    if log.is_some_and(|log| log.cloud_watch_output_enabled) {
        return absent("ValidationException", "CloudWatch Logs");
    }
    if wanted.alarm_configuration.is_some() {
        return absent("ValidationException", "CloudWatch alarms");
    }
    Ok(())
}

/// Returns what a command needs: the document, and each instance that it names.
fn needs(request: &Request<'_>, wanted: &SendCommand) -> Vec<Need> {
    let (region, account) = (request.region, &request.facts.account);
    let need = |arn: String| Need::new("ssm:SendCommand", arn);
    let document = need(format!("arn:aws:ssm:{region}::document/{DOCUMENT}"));
    let instances = wanted.instance_ids.iter();
    let instances =
        instances.map(|id| need(format!("arn:aws:ec2:{region}:{account}:instance/{id}")));
    std::iter::once(document).chain(instances).collect()
}

/// Returns the instances that a command runs on.
fn selected(request: &Request<'_>, wanted: &SendCommand) -> Result<Vec<Managed>> {
    let (cloud, region, account) = (request.cloud, request.region, request.account);
    if wanted.instance_ids.is_empty() {
        let mut chosen = managed(cloud, region, account);
        chosen.retain(|one| is_chosen(one, &wanted.targets));
        return Ok(chosen);
    }
    let found = managed_of(cloud, region, account, &wanted.instance_ids).into_iter();
    let mut found: BTreeMap<String, Managed> = found
        .map(|managed| (managed.instance.id.clone(), managed))
        .collect();
    let ids = wanted.instance_ids.iter();
    let unknown = ids.clone().filter(|id| !found.contains_key(*id));
    let unknown: Vec<&str> = unknown.map(String::as_str).collect();
    if !unknown.is_empty() {
        let message = format!(
            "Instances [[{}]] not in a valid state for account {}",
            unknown.join(", "),
            request.facts.account
        );
        return Err(Refusal::new("InvalidInstanceId", message));
    }
    Ok(ids.filter_map(|id| found.remove(id)).collect())
}

/// Whether every target selects an instance.
fn is_chosen(managed: &Managed, targets: &[Target]) -> bool {
    let instance = &managed.instance;
    targets.iter().all(|target| match target.key.as_str() {
        "InstanceIds" => target.values.contains(&instance.id),
        "tag-key" => instance.tags.keys().any(|key| target.values.contains(key)),
        key => {
            let tag = key
                .strip_prefix("tag:")
                .and_then(|tag| instance.tags.get(tag));
            tag.is_some_and(|value| target.values.contains(value))
        }
    })
}

fn command(request: &Request<'_>, wanted: SendCommand, targets: Vec<Managed>) -> Command {
    let parameters = wanted.parameters.into_iter();
    let parameters: Map<String, Value> = parameters
        .map(|(name, values)| (name, json!(values)))
        .collect();
    let invocations = targets.into_iter().map(|managed| Invocation {
        name: managed
            .instance
            .tags
            .get("Name")
            .cloned()
            .unwrap_or_default(),
        instance: managed.instance.id,
        status: Status::Pending,
        code: -1,
        started: None,
        ended: None,
        stdout: String::new(),
        stderr: String::new(),
        cancel: CancellationToken::new(),
    });
    Command {
        id: new_command_id(),
        region: request.region.to_owned(),
        document: DOCUMENT.to_owned(),
        version: wanted
            .document_version
            .unwrap_or_else(|| "$DEFAULT".to_owned()),
        comment: wanted.comment.unwrap_or_default(),
        parameters,
        instances: wanted.instance_ids,
        targets: wanted.targets,
        timeout: wanted.timeout_seconds.unwrap_or(TIMEOUT),
        concurrency: Limit(
            wanted
                .max_concurrency
                .unwrap_or_else(|| CONCURRENCY.to_owned()),
        ),
        errors: Limit(wanted.max_errors.unwrap_or_else(|| ERRORS.to_owned())),
        output: wanted.output_bucket.map(|bucket| OutputPlace {
            bucket,
            prefix: wanted.output_prefix.unwrap_or_default(),
        }),
        requested: clock::millis(),
        is_cancelled: false,
        invocations: invocations.collect(),
    }
}

/// Returns a new id in the form of a UUID.
fn new_command_id() -> String {
    let mut bytes: [u8; 16] = rand::random();
    // Version 4, variant 1.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|part| &digits[part])
        .join("-")
}

/// Returns the script of a command, its working directory and its limit in seconds.
pub(super) fn script(command: &Command) -> (String, Option<String>, u64) {
    let text = |name: &str| {
        command
            .parameters
            .get(name)
            .and_then(|value| value[0].as_str())
    };
    let lines = command.parameters.get("commands").and_then(Value::as_array);
    let lines = lines.into_iter().flatten().filter_map(Value::as_str);
    let script = lines.collect::<Vec<_>>().join("\n");
    let directory = text("workingDirectory").filter(|directory| !directory.is_empty());
    let seconds = text("executionTimeout").and_then(|text| text.parse().ok());
    (
        script,
        directory.map(str::to_owned),
        seconds.unwrap_or(EXECUTION_TIMEOUT),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_model() {
        for good in ["1", "50", "9999999", "1%", "10%", "100%"] {
            assert!(is_limit(good, 1), "{good}");
        }
        for wrong in [
            "0", "0%", "101%", "x", "", "%", "-1", "+1", "01", "10000000", "1.5",
        ] {
            assert!(!is_limit(wrong, 1), "{wrong}");
        }
        assert!(is_limit("0", 0) && is_limit("0%", 0));
    }

    #[test]
    fn an_execution_takes_at_most_two_days() {
        let of = |text: &str| {
            let values = vec![text.to_owned()];
            execution_timeout(&BTreeMap::from([("executionTimeout".to_owned(), values)]))
        };
        assert_eq!(of("1"), Some(1));
        assert_eq!(of("172800"), Some(172_800));
        for wrong in ["0", "172801", "x", ""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(execution_timeout(&BTreeMap::new()), Some(3600));
    }

    #[test]
    fn a_command_id_is_a_uuid() {
        let id = new_command_id();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_ne!(id, new_command_id());
    }
}
