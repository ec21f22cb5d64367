//! What a request to IAM needs from the policy of its sender. Each action acts on the
//! role or the instance profile that the request names, as AWS's Service Authorization
//! Reference has it; the lists of all roles and all profiles act on no resource.

use super::super::params::Part;
use super::Call;
use crate::authorization::Need;

/// Returns what a request needs. `request` is not that of the action, which refuses
/// parameters that it has not read itself.
pub(super) fn needs(call: &Call<'_>, request: &Part<'_>) -> Vec<Need> {
    let action = request.action();
    let need = |action: &str, resource: String| {
        let mut need = Need::new(format!("iam:{action}"), resource);
        set_values(&mut need, request);
        need
    };
    let role = request
        .text("RoleName")
        .map(|name| role_arn(call, request, name));
    let profile = request.text("InstanceProfileName");
    let profile = profile.map(|name| profile_arn(call, request, name));
    let mut needs = match (action, &role, &profile) {
        (_, _, Some(profile)) => vec![need(action, profile.clone())],
        (_, Some(role), None) => vec![need(action, role.clone())],
        (_, None, None) => vec![need(action, "*".to_owned())],
    };
    match (action, role, profile) {
        ("AddRoleToInstanceProfile", Some(role), _) => needs.push(Need::new("iam:PassRole", role)),
        ("CreateRole", Some(role), _) if request.has("Tags") => needs.push(need("TagRole", role)),
        ("CreateInstanceProfile", _, Some(profile)) if request.has("Tags") => {
            needs.push(need("TagInstanceProfile", profile));
        }
        _ => {}
    }
    needs
}

/// Returns the ARN of a role. Its path is in the request that creates it.
fn role_arn(call: &Call<'_>, request: &Part<'_>, name: &str) -> String {
    let account = call.account;
    let known = call.iam.roles.get(name).map(|role| role.arn(account));
    known.unwrap_or_else(|| {
        let path = request.text("Path").unwrap_or("/");
        format!("arn:aws:iam::{account}:role{path}{name}")
    })
}

/// Returns the ARN of an instance profile.
fn profile_arn(call: &Call<'_>, request: &Part<'_>, name: &str) -> String {
    let account = call.account;
    let known = call.iam.profiles.get(name);
    let known = known.map(|profile| profile.arn(account));
    known.unwrap_or_else(|| {
        let path = request.text("Path").unwrap_or("/");
        format!("arn:aws:iam::{account}:instance-profile{path}{name}")
    })
}

/// Sets the tags of a request, and the managed policy that it names.
fn set_values(need: &mut Need, request: &Part<'_>) {
    let tags = request.part("Tags").parts("member");
    let mut keys: Vec<String> = Vec::new();
    for tag in &tags {
        let key = tag.text("Key").unwrap_or_default();
        keys.push(key.to_owned());
        need.values.set(
            &format!("aws:RequestTag/{key}"),
            tag.given("Value").unwrap_or_default(),
        );
    }
    let removed = request.part("TagKeys").list("member");
    keys.extend(removed.into_iter().map(str::to_owned));
    if !keys.is_empty() {
        need.values.set_all("aws:TagKeys", keys);
    }
    if let Some(policy) = request.text("PolicyArn") {
        need.values.set("iam:PolicyARN", policy);
    }
}
