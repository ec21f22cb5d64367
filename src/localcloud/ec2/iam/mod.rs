//! IAM, as far as instances need it: roles, their policies, and instance
//! profiles. The policies of roles are stored, but not evaluated: the credentials of a
//! role may do everything.

mod list;
mod names;
mod needs;
mod profiles;
mod roles;
mod state;

use super::answer::Answer;
use super::ids::new_request_id;
use super::params::{Params, Part};
use super::refusal::{Refusal, Result};
use super::store::Store;
use super::xml::Xml;
use crate::authorization::Guard;

pub(super) use profiles::usable;
pub(super) use state::{Iam, InstanceRole, Profile};

const XMLNS: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// What an action works with.
struct Call<'a> {
    iam: &'a mut Iam,
    account: &'a str,
    params: &'a Params,
}

/// An action returns its result, which is empty for most changes.
type Action = fn(&mut Call<'_>, &Part<'_>) -> Result<Xml>;

/// Every action, by AWS's name.
const ACTIONS: &[(&str, Action)] = &[
    ("AddRoleToInstanceProfile", profiles::add_role),
    ("AttachRolePolicy", roles::attach_policy),
    ("CreateInstanceProfile", profiles::create),
    ("CreateRole", roles::create),
    ("DeleteInstanceProfile", profiles::delete),
    ("DeleteRole", roles::delete),
    ("DeleteRolePolicy", roles::delete_policy),
    ("DetachRolePolicy", roles::detach_policy),
    ("GetInstanceProfile", profiles::get),
    ("GetRole", roles::get),
    ("GetRolePolicy", roles::get_policy),
    ("ListAttachedRolePolicies", roles::list_attached),
    ("ListInstanceProfileTags", profiles::list_tags),
    ("ListInstanceProfiles", profiles::list),
    ("ListInstanceProfilesForRole", profiles::list_for_role),
    ("ListRolePolicies", roles::list_policies),
    ("ListRoleTags", roles::list_tags),
    ("ListRoles", roles::list),
    ("PutRolePolicy", roles::put_policy),
    ("RemoveRoleFromInstanceProfile", profiles::remove_role),
    ("TagInstanceProfile", profiles::tag),
    ("TagRole", roles::tag),
    ("UntagInstanceProfile", profiles::untag),
    ("UntagRole", roles::untag),
    ("UpdateAssumeRolePolicy", roles::update_trust),
    ("UpdateRole", roles::update),
    ("UpdateRoleDescription", roles::update_description),
];

/// Returns AWS's names of the actions.
pub(super) fn actions() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, _)| *name)
}

/// Returns what a request needs.
#[cfg(test)]
pub(super) fn needs_of(
    iam: &mut Iam,
    account: &str,
    params: &Params,
) -> Vec<crate::authorization::Need> {
    let call = Call {
        iam,
        account,
        params,
    };
    needs::needs(&call, &params.all())
}

/// Answers a request whose signature has been verified.
pub(super) fn answer(store: &Store, form: &[u8], guard: Option<&Guard>) -> Answer {
    let request = new_request_id();
    match act(store, form, guard) {
        Ok((action, result)) => {
            let result = match result.finish() {
                // The SDK for Go requires the result of the only change that has one.
                empty if empty.is_empty() && action != "UpdateRole" => empty,
                result => format!("<{action}Result>{result}</{action}Result>"),
            };
            Answer {
                status: 200,
                xml: format!(
                    "<{action}Response xmlns=\"{XMLNS}\">{result}<ResponseMetadata><RequestId>\
                     {request}</RequestId></ResponseMetadata></{action}Response>"
                ),
                request,
            }
        }
        Err(refusal) => refused(&refusal, &request),
    }
}

fn act(store: &Store, form: &[u8], guard: Option<&Guard>) -> Result<(String, Xml)> {
    let params = Params::parse(form)?;
    let request = params.all();
    let name = request.required("Action")?;
    request.text("Version");
    let found = ACTIONS.iter().find(|(known, _)| *known == name);
    let Some((_, action)) = found else {
        let message = format!("Could not find operation {name} for version 2010-05-08");
        return Err(Refusal::new("InvalidAction", message));
    };
    let mut change = store.begin();
    let mut call = Call {
        iam: &mut change.iam,
        account: &store.facts.account,
        params: &params,
    };
    if let Some(guard) = guard {
        let asked = Params::parse(form)?;
        let denied = |message| Refusal::new("AccessDenied", message).status(403);
        guard
            .check(needs::needs(&call, &asked.all()))
            .map_err(|denial| denied(denial.message(false)))?;
    }
    let result = action(&mut call, &request)?;
    if !name.starts_with("Get") && !name.starts_with("List") {
        change.commit().map_err(|_| {
            let message = "The local cloud cannot write its state";
            Refusal::new("ServiceFailure", message).status(500)
        })?;
    }
    Ok((name.to_owned(), result))
}

/// Returns an error answer in IAM's format.
pub(super) fn refused(refusal: &Refusal, request: &str) -> Answer {
    let mut xml = Xml::default();
    xml.node("Error", |xml| {
        xml.text("Type", "Sender");
        xml.text("Code", &refusal.code);
        xml.text("Message", &refusal.message);
    });
    Answer {
        status: refusal.status,
        request: request.to_owned(),
        xml: format!(
            "<ErrorResponse xmlns=\"{XMLNS}\">{}<RequestId>{request}</RequestId></ErrorResponse>",
            xml.finish()
        ),
    }
}

fn no_such_entity(message: String) -> Refusal {
    Refusal::new("NoSuchEntity", message).status(404)
}

fn conflict(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(code, message).status(409)
}
