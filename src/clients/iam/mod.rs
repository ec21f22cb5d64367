//! IAM, as far as instances need it: a role with an instance profile.
//!
//! These are signed forms, without the SDK's crate for IAM, for the reason that the
//! header of `ssm` has. IAM has no regions; its requests are signed for one of the
//! partition.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_util::sync::CancellationToken;

use super::calls::{Listeners, Service};
use super::marks::{Marks, Tags};
use super::pace;
use super::signed::{Failure, SignedRequest, SignedService, failure};
use crate::error::{Error, ErrorKind, Result};
use answers::{marks, next_marker, reason, texts};

mod answers;

/// The path of the roles and profiles of this program, so that a policy can name them.
pub const PATH: &str = "/autorun/";

/// The managed policy that lets the agent of Systems Manager register.
const AGENT_POLICY: &str = "policy/AmazonSSMManagedInstanceCore";

/// The name of the inline policy of a role.
const INLINE: &str = "autorun";

/// Who may take a role: instances.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// Limit for a request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a request is sent that AWS refuses for its rate.
const ATTEMPTS: u32 = 5;

/// The pause before the second attempt; each one after it is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// IAM of the account of a run.
#[derive(Clone, Copy, Debug)]
pub struct Iam<'a> {
    service: &'a SignedService,
    listeners: &'a Listeners,
    cancel: &'a CancellationToken,
    partition: &'static str,
}

/// What became of a request that needs another resource.
#[derive(Debug)]
pub enum Attached {
    /// It is done.
    Done,
    /// IAM does not know the other resource yet.
    NotYet(Error),
}

type Form<'a> = &'a [(&'a str, &'a str)];

impl<'a> Iam<'a> {
    pub(super) fn new(
        service: &'a SignedService,
        (listeners, cancel): (&'a Listeners, &'a CancellationToken),
        partition: &'static str,
    ) -> Self {
        Self {
            service,
            listeners,
            cancel,
            partition,
        }
    }

    /// Returns the name of the partition in ARNs, such as `aws`.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        self.partition
    }

    /// Creates a role that instances can take.
    pub async fn create_role(&self, name: &str, tags: &Tags) -> Result<()> {
        let form = [
            ("Path", PATH),
            ("RoleName", name),
            ("AssumeRolePolicyDocument", TRUST),
        ];
        let attempt = format!("create the role `{name}`");
        let form = tagged(&form, tags);
        unless_taken(self.call(("CreateRole", &attempt), &form).await)
    }

    /// Creates an instance profile.
    pub async fn create_profile(&self, name: &str, tags: &Tags) -> Result<()> {
        let form = [("Path", PATH), ("InstanceProfileName", name)];
        let attempt = format!("create the instance profile `{name}`");
        let form = tagged(&form, tags);
        unless_taken(self.call(("CreateInstanceProfile", &attempt), &form).await)
    }

    /// Lets the agent of Systems Manager in instances with a role register.
    pub async fn allow_agent(&self, role: &str) -> Result<Attached> {
        let arn = format!("arn:{}:iam::aws:{AGENT_POLICY}", self.partition);
        let form = [("RoleName", role), ("PolicyArn", arn.as_str())];
        let attempt = format!("attach a policy to the role `{role}`");
        self.attach(("AttachRolePolicy", &attempt), &form).await
    }

    /// Sets the inline policy of a role.
    pub async fn set_policy(&self, role: &str, document: &str) -> Result<Attached> {
        let form = [
            ("RoleName", role),
            ("PolicyName", INLINE),
            ("PolicyDocument", document),
        ];
        let attempt = format!("set the policy of the role `{role}`");
        self.attach(("PutRolePolicy", &attempt), &form).await
    }

    /// Adds a role to an instance profile. One that has it already is left as it is.
    pub async fn add_role(&self, profile: &str, role: &str) -> Result<Attached> {
        let form = [("InstanceProfileName", profile), ("RoleName", role)];
        let attempt = format!("add the role `{role}` to its instance profile");
        self.attach(("AddRoleToInstanceProfile", &attempt), &form)
            .await
    }

    /// Returns the marks in the tags of a role, or `None` if there is no such role.
    pub async fn role_marks(&self, name: &str) -> Result<Option<Marks>> {
        let attempt = format!("ask for the role `{name}`");
        self.marks(("GetRole", &attempt), &[("RoleName", name)])
            .await
    }

    /// Returns the same for an instance profile.
    pub async fn profile_marks(&self, name: &str) -> Result<Option<Marks>> {
        let attempt = format!("ask for the instance profile `{name}`");
        let form = [("InstanceProfileName", name)];
        self.marks(("GetInstanceProfile", &attempt), &form).await
    }

    /// Returns the names of the roles of this program, whichever run created them.
    pub async fn roles(&self) -> Result<Vec<String>> {
        let operation = ("ListRoles", "look for roles");
        self.names(operation, "RoleName").await
    }

    /// Returns the same for instance profiles.
    pub async fn profiles(&self) -> Result<Vec<String>> {
        let operation = ("ListInstanceProfiles", "look for instance profiles");
        self.names(operation, "InstanceProfileName").await
    }

    async fn names(&self, operation: (&str, &str), element: &str) -> Result<Vec<String>> {
        let mut form = owned(&[("PathPrefix", PATH)]);
        let mut found = Vec::new();
        loop {
            let answer = self.call(operation, &form).await?;
            found.extend(texts(&answer, element));
            let Some(marker) = next_marker(&answer) else {
                return Ok(found);
            };
            form.truncate(1);
            form.push(("Marker".to_owned(), marker));
        }
    }

    /// Deletes a role, what this program attached to it, and its place in the instance
    /// profile of the same name. Returns whether it is gone: right after these requests,
    /// IAM may refuse the last one.
    pub async fn delete_role(&self, name: &str) -> Result<bool> {
        let attempt = format!("delete the role `{name}`");
        let arn = format!("arn:{}:iam::aws:{AGENT_POLICY}", self.partition);
        let role = ("RoleName", name);
        let profile = [("InstanceProfileName", name), role];
        self.remove(("RemoveRoleFromInstanceProfile", &attempt), &profile)
            .await?;
        self.remove(
            ("DetachRolePolicy", &attempt),
            &[role, ("PolicyArn", arn.as_str())],
        )
        .await?;
        self.remove(
            ("DeleteRolePolicy", &attempt),
            &[role, ("PolicyName", INLINE)],
        )
        .await?;
        match self.call(("DeleteRole", &attempt), &owned(&[role])).await {
            Err(failure) if failure.code == "DeleteConflict" => Ok(false),
            Err(failure) if failure.code != "NoSuchEntity" => Err(failure.into()),
            _ => Ok(true),
        }
    }

    /// Deletes an instance profile, which has a role of the same name.
    pub async fn delete_profile(&self, name: &str) -> Result<()> {
        let attempt = format!("delete the instance profile `{name}`");
        let profile = ("InstanceProfileName", name);
        let form = [profile, ("RoleName", name)];
        self.remove(("RemoveRoleFromInstanceProfile", &attempt), &form)
            .await?;
        self.remove(("DeleteInstanceProfile", &attempt), &[profile])
            .await
    }

    async fn attach(&self, operation: (&str, &str), form: Form<'_>) -> Result<Attached> {
        match self.call(operation, &owned(form)).await {
            Ok(_) => Ok(Attached::Done),
            // A profile has one role at most. This one belongs to this program, which
            // has added the role in a request whose answer was lost.
            Err(failure) if failure.code == "LimitExceeded" => Ok(Attached::Done),
            Err(failure) if failure.code == "NoSuchEntity" => Ok(Attached::NotYet(failure.into())),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn remove(&self, operation: (&str, &str), form: Form<'_>) -> Result<()> {
        match self.call(operation, &owned(form)).await {
            Err(failure) if failure.code == "NoSuchEntity" => Ok(()),
            Err(failure) => Err(failure.into()),
            Ok(_) => Ok(()),
        }
    }

    async fn marks(&self, operation: (&str, &str), form: Form<'_>) -> Result<Option<Marks>> {
        match self.call(operation, &owned(form)).await {
            Ok(answer) => Ok(Some(marks(&answer))),
            Err(failure) if failure.code == "NoSuchEntity" => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Sends a request, and repeats it if AWS refuses it for its rate.
    async fn call(
        &self,
        (operation, attempt): (&str, &str),
        form: &[(String, String)],
    ) -> std::result::Result<String, Failure> {
        let recorded: Vec<_> = form
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        self.listeners.send(Service::Iam, operation, &recorded);
        let request = SignedRequest {
            operation,
            attempt,
            content_type: "application/x-www-form-urlencoded; charset=utf-8",
            target: None,
            body: encoded(operation, form),
            timeout: TIMEOUT,
        };
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            let answer = tokio::select! {
                () = self.cancel.cancelled() => return Err(Failure {
                    code: String::new(),
                    error: Error::cancelled(),
                }),
                answer = self.once(&request) => answer,
            };
            match answer {
                Err(failure)
                    if failure.error.kind == ErrorKind::Throttled
                        && pace::sleep(pause, self.cancel).await.is_ok() => {}
                answer => return answer,
            }
            pause *= 2;
        }
        self.once(&request).await
    }

    async fn once(&self, request: &SignedRequest<'_>) -> std::result::Result<String, Failure> {
        let answer = self.service.send(request).await?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let (code, message) = reason(&answer.body);
        Err(failure(request, (&code, &message), answer.status))
    }
}

/// Returns the result of a create request, whose name may be taken.
fn unless_taken(created: std::result::Result<String, Failure>) -> Result<()> {
    match created {
        Err(Failure { code, error }) if code == "EntityAlreadyExists" => {
            Err(Error::new(ErrorKind::AlreadyExists, error.to_string()))
        }
        created => Ok(created.map(drop)?),
    }
}

/// Adds tags to a form.
fn tagged(form: Form<'_>, tags: &Tags) -> Vec<(String, String)> {
    let mut all = owned(form);
    for (index, (key, value)) in tags.iter().enumerate() {
        let member = format!("Tags.member.{}", index + 1);
        all.push((format!("{member}.Key"), key.clone()));
        all.push((format!("{member}.Value"), value.clone()));
    }
    all
}

fn owned(form: Form<'_>) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    form.iter().map(owned).collect()
}

/// Returns the body of a request.
fn encoded(operation: &str, form: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = form
        .iter()
        .map(|(name, value)| format!("&{}={}", encode(name), encode(value)));
    format!(
        "Action={operation}&Version=2010-05-08{}",
        pairs.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_tags_and_is_encoded() {
        let tags = vec![("autorun:run".to_owned(), "a b&c".to_owned())];
        let form = tagged(&[("RoleName", "web")], &tags);
        assert_eq!(
            encoded("CreateRole", &form),
            "Action=CreateRole&Version=2010-05-08&RoleName=web&Tags%2Emember%2E1%2EKey=\
             autorun%3Arun&Tags%2Emember%2E1%2EValue=a%20b%26c"
        );
    }
}
