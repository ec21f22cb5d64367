//! Systems Manager's Parameter Store, as far as EC2 needs it: the public
//! parameters with the ids of images.

use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::images::parameter;
use super::refusal::{Refusal, Result};
use super::regions::has_region;

/// All operations, by AWS's names.
pub(super) const OPERATIONS: [&str; 2] = ["GetParameter", "GetParameters"];

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

/// Returns the operation that a request names in its header.
pub(crate) fn operation(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix("AmazonSSM."));
    operation.unwrap_or_default().to_owned()
}

pub(super) fn answer(region: &str, system: &str, operation: &str, body: &[u8]) -> Result<Value> {
    if !has_region(region) {
        return Err(Refusal::new(
            "UnrecognizedClientException",
            format!("The local cloud does not have the region '{region}'"),
        ));
    }
    let found = |text: &str| found(region, system, text);
    match operation {
        "GetParameter" => {
            let request: GetParameter = read(body)?;
            Ok(json!({ "Parameter": found(&request.name)? }))
        }
        "GetParameters" => {
            let request: GetParameters = read(body)?;
            let missing = request.names.iter().filter(|name| found(name).is_err());
            let parameters = request.names.iter().filter_map(|name| found(name).ok());
            Ok(json!({
                "Parameters": parameters.collect::<Vec<_>>(),
                "InvalidParameters": missing.collect::<Vec<_>>(),
            }))
        }
        _ => Err(Refusal::new("UnknownOperationException", "")),
    }
}

/// Returns the parameter that a text names: `NAME`, or `NAME:VERSION`. Each
/// parameter has one version here.
fn found(region: &str, system: &str, text: &str) -> Result<Value> {
    let (name, version) = match text.split_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let image = parameter(region, system, name);
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

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Refusal::new("SerializationException", e.to_string()))
}

/// Returns an error answer in Systems Manager's format.
pub(crate) fn refused(refusal: &Refusal) -> Value {
    let mut answer = json!({ "__type": refusal.code });
    if !refusal.message.is_empty() {
        answer["message"] = json!(refusal.message);
    }
    answer
}
