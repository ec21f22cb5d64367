//! Checks of IAM's parameters, with the messages of its validation.

use serde_json::Value;

use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::state::Tags;

/// AWS's limit of the tags of a role or profile.
const MAX_TAGS: usize = 50;

/// Returns a new id of IAM, for example `AROA` and 17 characters.
pub(super) fn new_id(prefix: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters = (0..17).map(|_| char::from(LETTERS[usize::from(rand::random::<u8>() % 32)]));
    format!("{prefix}{}", letters.collect::<String>())
}

/// Returns a required name.
pub(super) fn name<'a>(request: &Part<'a>, parameter: &str, longest: usize) -> Result<&'a str> {
    let name = required(request, parameter)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !name.chars().all(is_plain) {
        return Err(invalid(
            name,
            parameter,
            "Member must satisfy regular expression pattern: [\\w+=,.@-]+",
        ));
    }
    if name.len() > longest {
        let rule = format!("Member must have length less than or equal to {longest}");
        return Err(invalid(name, parameter, &rule));
    }
    Ok(name)
}

/// Returns a required value.
pub(super) fn required<'a>(request: &Part<'a>, parameter: &str) -> Result<&'a str> {
    request.text(parameter).ok_or_else(|| {
        let at = member(parameter);
        Refusal::new(
            "ValidationError",
            format!(
                "1 validation error detected: Value null at '{at}' failed to satisfy constraint: \
                 Member must not be null"
            ),
        )
    })
}

/// Returns the path of a name: `/`, or a text between slashes.
pub(super) fn path(request: &Part<'_>) -> Result<String> {
    let path = request.text("Path").unwrap_or("/");
    let is_sound = path.starts_with('/')
        && path.ends_with('/')
        && path.len() <= 512
        && path.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if is_sound {
        return Ok(path.to_owned());
    }
    Err(Refusal::new(
        "ValidationError",
        "The specified value for path is invalid. It must begin and end with / and contain only \
         alphanumeric characters and/or / characters.",
    ))
}

/// Returns a policy that is a JSON object with statements.
pub(super) fn document(request: &Part<'_>, parameter: &str) -> Result<String> {
    let text = required(request, parameter)?;
    let malformed = |message| Refusal::new("MalformedPolicyDocument", message);
    let policy: Value =
        serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    if policy["Statement"].is_object() || policy["Statement"].is_array() {
        Ok(text.to_owned())
    } else {
        Err(malformed("Syntax errors in policy."))
    }
}

/// Returns the tags in a request.
pub(super) fn tags(request: &Part<'_>) -> Result<Tags> {
    // An empty list is sent as an empty value.
    request.text("Tags");
    let mut tags = Tags::default();
    for tag in request.part("Tags").parts("member") {
        let (key, value) = (
            required(&tag, "Key")?,
            tag.text("Value").unwrap_or_default(),
        );
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            let message = "Duplicate tag keys found. Please note that Tag keys are case \
                insensitive.";
            return Err(Refusal::new("InvalidInput", message));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(too_many());
    }
    Ok(tags)
}

/// Adds the tags in a request to those of a role or profile.
pub(super) fn add_tags(request: &Part<'_>, own: &mut Tags) -> Result<()> {
    for (key, value) in tags(request)? {
        own.insert(key, value);
    }
    if own.len() > MAX_TAGS {
        return Err(too_many());
    }
    Ok(())
}

/// Removes the tags whose keys a request names. As on AWS, other keys are ignored.
pub(super) fn remove_tags(request: &Part<'_>, own: &mut Tags) {
    request.text("TagKeys");
    for key in request.part("TagKeys").list("member") {
        own.remove(key);
    }
}

fn too_many() -> Refusal {
    let message = format!("Cannot exceed quota for TagsPerEntity: {MAX_TAGS}");
    Refusal::new("LimitExceeded", message).status(409)
}

/// Returns the failure of a value that breaks a rule.
pub(super) fn invalid(value: &str, parameter: &str, rule: &str) -> Refusal {
    let at = member(parameter);
    let message = format!(
        "1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: \
         {rule}"
    );
    Refusal::new("ValidationError", message)
}

/// Returns the name with a small first letter, as validation shows it.
fn member(parameter: &str) -> String {
    let mut letters = parameter.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
