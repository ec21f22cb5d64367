//! Parameter Store, as far as EC2 needs it: the public parameters with the ids of
//! images.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::images::{Image, images, parameter};
use super::super::refusal::{Refusal, Result};
use super::{Request, read};
use crate::authorization::Need;

/// The largest size of a page, and the default.
const MAX_RESULTS: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetParameter {
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "public parameters are not encrypted")]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetParameters {
    names: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "public parameters are not encrypted")]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetParametersByPath {
    path: String,
    #[serde(default)]
    recursive: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
    parameter_filters: Option<Value>,
    #[serde(default)]
    #[expect(dead_code, reason = "public parameters are not encrypted")]
    with_decryption: bool,
}

pub(super) fn get_parameter(request: &Request<'_>) -> Result<Value> {
    let wanted: GetParameter = read(request.body)?;
    allow(request, std::slice::from_ref(&wanted.name))?;
    Ok(json!({ "Parameter": found(request, &wanted.name)? }))
}

pub(super) fn get_parameters(request: &Request<'_>) -> Result<Value> {
    let wanted: GetParameters = read(request.body)?;
    allow(request, &wanted.names)?;
    let names = wanted.names.iter();
    let missing = names.clone().filter(|name| found(request, name).is_err());
    let parameters = names.filter_map(|name| found(request, name).ok());
    Ok(json!({
        "Parameters": parameters.collect::<Vec<_>>(),
        "InvalidParameters": missing.collect::<Vec<_>>(),
    }))
}

pub(super) fn get_parameters_by_path(request: &Request<'_>) -> Result<Value> {
    let wanted: GetParametersByPath = read(request.body)?;
    allow(request, std::slice::from_ref(&wanted.path))?;
    by_path(request, &wanted)
}

/// Checks that the sender may read parameters.
fn allow(request: &Request<'_>, names: &[String]) -> Result<()> {
    let needs = names
        .iter()
        .map(|name| need(request.region, request.operation, name));
    request.allow(needs)
}

/// Returns what an operation needs for a parameter. The public parameters belong to no
/// account.
fn need(region: &str, operation: &str, name: &str) -> Need {
    let (name, _version) = name.split_once(':').unwrap_or((name, ""));
    let path = name.trim_matches('/');
    let arn = format!("arn:aws:ssm:{region}::parameter/{path}");
    Need::new(format!("ssm:{operation}"), arn)
}

/// Returns a page of the parameters below a path, or directly below it.
fn by_path(sent: &Request<'_>, request: &GetParametersByPath) -> Result<Value> {
    let invalid = |message: String| Refusal::new("ValidationException", message);
    let most = request.max_results.unwrap_or(MAX_RESULTS);
    if !(1..=MAX_RESULTS).contains(&most) {
        let rule = if most == 0 {
            "greater than or equal to 1"
        } else {
            "less than or equal to 10"
        };
        return Err(invalid(format!(
            "1 validation error detected: Value '{most}' at 'maxResults' failed to satisfy \
             constraint: Member must have value {rule}"
        )));
    }
    if !request.path.starts_with('/') {
        return Err(invalid(
            "The parameter doesn't meet the parameter name requirements. The parameter name must \
             begin with a forward slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" \
             (case-insensitive). It must use only letters, numbers, or the following symbols: \
             . (period), - (hyphen), _ (underscore). Special characters are not allowed. All \
             sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: \
             /get/parameters2-/by1./path0_."
                .to_owned(),
        ));
    }
    if request.parameter_filters.is_some() {
        return Err(Refusal::new(
            "InvalidFilterKey",
            "The local cloud does not filter parameters",
        ));
    }
    let path = format!("{}/", request.path.trim_end_matches('/'));
    let below = |name: &String| {
        let rest = name.strip_prefix(&path);
        rest.is_some_and(|rest| request.recursive || !rest.contains('/'))
    };
    let images = images(sent.region, &sent.facts.system);
    let mut names: Vec<String> = images.iter().flat_map(Image::parameters).collect();
    names.retain(below);
    names.sort_unstable();
    if let Some(token) = &request.next_token {
        let from = names.iter().position(|name| token_of(name) == *token);
        let message = "The specified token isn't valid.";
        let from = from.ok_or_else(|| Refusal::new("InvalidNextToken", message))?;
        names.drain(..from);
    }
    let next = names.get(most).map(|name| token_of(name));
    let page = names.iter().take(most).map(|name| found(sent, name));
    let mut answer = json!({ "Parameters": page.collect::<Result<Vec<_>>>()? });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}

/// Returns the token of the page that begins with a parameter.
fn token_of(name: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(name)
}

/// Returns the parameter that a text names: `NAME`, or `NAME:VERSION`. Each
/// parameter has one version here.
fn found(request: &Request<'_>, text: &str) -> Result<Value> {
    let region = request.region;
    let (name, version) = match text.split_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let image = parameter(region, &request.facts.system, name);
    let image = image.ok_or_else(|| Refusal::new("ParameterNotFound", ""))?;
    if let Some(other) = version.filter(|version| *version != "1") {
        let message = format!(
            "Systems Manager could not find version {other} of {name}. Verify the version and try \
             again."
        );
        return Err(Refusal::new("ParameterVersionNotFound", message));
    }
    let mut parameter = json!({
        "ARN": format!("arn:aws:ssm:{region}::parameter{name}"),
        "DataType": "text",
        "LastModifiedDate": image.created_seconds(),
        "Name": name,
        "Type": "String",
        "Value": image.id,
        "Version": 1,
    });
    if let Some(version) = version {
        parameter["Selector"] = json!(format!(":{version}"));
    }
    Ok(parameter)
}
