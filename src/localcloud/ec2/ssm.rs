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
    let found = |name: &str| {
        let image = parameter(region, system, name)?;
        Some(json!({
            "ARN": format!("arn:aws:ssm:{region}::parameter{name}"),
            "DataType": "text",
            "Name": name,
            "Type": "String",
            "Value": image.id,
            "Version": 1,
        }))
    };
    match operation {
        "GetParameter" => {
            let request: GetParameter = read(body)?;
            let parameter = found(&request.name);
            let parameter = parameter.ok_or_else(|| Refusal::new("ParameterNotFound", ""))?;
            Ok(json!({ "Parameter": parameter }))
        }
        "GetParameters" => {
            let request: GetParameters = read(body)?;
            let missing = request.names.iter().filter(|name| found(name).is_none());
            let parameters = request.names.iter().filter_map(|name| found(name));
            Ok(json!({
                "Parameters": parameters.collect::<Vec<_>>(),
                "InvalidParameters": missing.collect::<Vec<_>>(),
            }))
        }
        _ => Err(Refusal::new("UnknownOperationException", "")),
    }
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
