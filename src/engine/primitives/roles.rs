//! IAM roles for instances.

use std::collections::BTreeMap;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::clients::iam::{Attached, Iam};
use crate::clients::marks::Marks;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, ResourceKind, Step};
use crate::script::{self, Declared, Outcome, Shape, yes};

/// The longest name of a role.
const LONGEST: usize = 64;

#[export_module(manifest)]
pub mod api {
    /// Creates an IAM role for instances, with an instance profile.
    ///
    /// Pass the `profile` of the result to `launch_instance` as `iam_profile`. The role
    /// lets the agent of Systems Manager register, so that `fleet_exec` reaches the
    /// instance. The options `read` and `write` allow objects of one prefix. The name
    /// gets the id of the run, so that runs do not disturb each other. `destroy`
    /// deletes role and profile.
    ///
    /// IAM takes some seconds until EC2 knows a new profile; `launch_instance` waits
    /// for it.
    ///
    /// Throws `invalid_option` if the name is not valid, `already_exists` if the
    /// account has such a role of another run, and `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let role = instance_role("web", #{ read: "my-bucket/config" });
    /// let server = launch_instance(#{ name: "web", iam_profile: role.profile });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn instance_role(
        call: NativeCallContext,
        name: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments: [&Dynamic; 2] = [&name.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::instance_role(cx, step, &name, &script::options(&call, options)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[Declared::of("instance_role")
    .options::<RoleOptions>()
    .returns::<InstanceRole>(Shape::One)];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RoleOptions {
    /// Let the agent of Systems Manager register, with AWS's policy
    /// `AmazonSSMManagedInstanceCore`.
    #[serde(default = "yes")]
    ssm: bool,
    /// Objects that instances may read: "BUCKET", or "BUCKET/PREFIX" for the keys that
    /// begin with this prefix and a slash.
    read: Option<String>,
    /// Objects that instances may write, such as the output of `fleet_exec`.
    write: Option<String>,
    /// Additional tags of role and profile.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// The map that `instance_role` returns.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct InstanceRole {
    /// The name of the role.
    role: String,
    /// The name of the instance profile, for `iam_profile` of `launch_instance`.
    profile: String,
}

async fn instance_role(
    cx: &Context,
    step: &mut Step,
    name: &str,
    options: &RoleOptions,
) -> Result<InstanceRole> {
    cx.report.mask().keep_out_of_tags(&options.tags)?;
    let name = full_name(name, cx.ledger.run())?;
    let iam = cx.clients.iam().await?;
    let document = policy(options, iam.partition())?;
    if let Some(recorded) = step.recorded::<InstanceRole>()?
        && (step.was_undone() || exist(cx, step, &iam).await?)
    {
        step.replay();
        return Ok(recorded);
    }
    create(cx, step, &iam, &name, &options.tags).await?;
    if options.ssm {
        until_attached(cx, async || iam.allow_agent(&name).await).await?;
    }
    if let Some(document) = document {
        until_attached(cx, async || iam.set_policy(&name, &document).await).await?;
    }
    until_attached(cx, async || iam.add_role(&name, &name).await).await?;
    cx.report.info(format!(
        "created the IAM role {name} with its instance profile"
    ));
    Ok(InstanceRole {
        role: name.clone(),
        profile: name,
    })
}

/// Creates the role and the profile that do not exist yet.
async fn create(
    cx: &Context,
    step: &mut Step,
    iam: &Iam<'_>,
    name: &str,
    tags: &BTreeMap<String, String>,
) -> Result<()> {
    let mut kinds = vec![ResourceKind::IamRole, ResourceKind::InstanceProfile];
    kinds.retain(|kind| step.live(*kind).is_empty());
    let wanted = kinds
        .iter()
        .map(|kind| NewResource::with_id(*kind, name, name));
    let wanted: Vec<NewResource> = wanted.collect();
    let mut intents = step.intend(&wanted)?.into_iter().zip(kinds);
    while let Some((intent, kind)) = intents.next() {
        let find = async || marks(iam, kind, name).await;
        if intent.is_retried()
            && let Some(found) = cx
                .find_created(&format!("the {}", kind.words()), &find)
                .await?
            && found.row.as_deref() == Some(intent.token())
        {
            intent.created(name);
            continue;
        }
        let tags = cx.tags(name, intent.token(), tags);
        let created = match kind {
            ResourceKind::IamRole => iam.create_role(name, &tags).await,
            _ => iam.create_profile(name, &tags).await,
        };
        match created {
            Ok(()) => intent.created(name),
            Err(error) => {
                intent.abandoned(&error);
                intents.for_each(|(intent, _)| intent.not_created());
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Returns the name with the id of the run.
fn full_name(name: &str, run: &str) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let full = format!("{name}-{run}");
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(Error::invalid(format!("`{name}` is not a name of a role"))
            .hint("use letters, digits and the characters _+=,.@-"));
    }
    if full.len() > LONGEST {
        let message = format!("the name `{name}` is too long for a role");
        let most = LONGEST - run.len() - 1;
        return Err(Error::invalid(message).hint(format!("use at most {most} characters")));
    }
    Ok(full)
}

/// Returns the inline policy, or `None` if the options need none.
fn policy(options: &RoleOptions, partition: &str) -> Result<Option<String>> {
    let allowed = [
        ("read", &options.read, "s3:GetObject"),
        ("write", &options.write, "s3:PutObject"),
    ];
    let mut statements = Vec::new();
    for (name, place, action) in allowed {
        let Some(place) = place else { continue };
        let place = place.trim_end_matches('/');
        let bucket = place.split('/').next().unwrap_or_default();
        if bucket.is_empty() || place.contains(['*', '?', '$']) {
            let message = format!("option `{name}`: `{place}` is not a bucket with a prefix");
            return Err(Error::invalid(message).hint("write \"BUCKET\" or \"BUCKET/PREFIX\""));
        }
        statements.push(json!({
            "Effect": "Allow",
            "Action": action,
            "Resource": format!("arn:{partition}:s3:::{place}/*"),
        }));
    }
    if statements.is_empty() {
        return Ok(None);
    }
    let document = json!({ "Version": "2012-10-17", "Statement": statements });
    Ok(Some(document.to_string()))
}

async fn marks(iam: &Iam<'_>, kind: ResourceKind, name: &str) -> Result<Option<Marks>> {
    match kind {
        ResourceKind::IamRole => iam.role_marks(name).await,
        _ => iam.profile_marks(name).await,
    }
}

/// Returns whether role and profile of an earlier attempt still exist.
async fn exist(cx: &Context, step: &Step, iam: &Iam<'_>) -> Result<bool> {
    for kind in [ResourceKind::IamRole, ResourceKind::InstanceProfile] {
        let Some(row) = step.live(kind).pop() else {
            return Ok(false);
        };
        let ask = async || marks(iam, kind, &row.name).await;
        if cx.seen(&row, ask).await?.is_none() {
            cx.ledger.is_gone(&row);
            return Ok(false);
        }
    }
    Ok(true)
}

/// Repeats a request until IAM knows the role and the profile that it names.
async fn until_attached(cx: &Context, send: impl AsyncFn() -> Result<Attached>) -> Result<()> {
    let limit = cx.clients.consistency() * 2;
    let mut pace = cx.pace("IAM to know the new role".to_owned(), limit);
    loop {
        let error = match send().await? {
            Attached::Done => return Ok(()),
            Attached::NotYet(error) => error,
        };
        match pace.pause("not known yet").await {
            Err(late) if late.kind == ErrorKind::Timeout => return Err(error),
            paused => paused?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(value: serde_json::Value) -> RoleOptions {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_policy_allows_one_prefix() {
        assert_eq!(policy(&options(json!({})), "aws").unwrap(), None);
        let both = options(json!({ "read": "b/config/", "write": "logs" }));
        let document = policy(&both, "aws").unwrap().unwrap();
        assert!(
            document.contains(r#""arn:aws:s3:::b/config/*""#),
            "{document}"
        );
        assert!(document.contains(r#""arn:aws:s3:::logs/*""#), "{document}");
        for wrong in ["", "/x", "*", "b/*", "b/${aws:username}"] {
            let error = policy(&options(json!({ "read": wrong })), "aws").unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidOption, "{wrong}");
        }
    }

    #[test]
    fn a_name_has_the_run() {
        assert_eq!(full_name("web", "7kq2m9w").unwrap(), "web-7kq2m9w");
        for wrong in ["", "a b", "a/b", &"x".repeat(57)] {
            assert!(full_name(wrong, "7kq2m9w").is_err(), "{wrong}");
        }
    }
}
