//! Compares what a request needs with the policy of its sender.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::policy::{Policy, Verdict};
use super::values::Values;
use crate::{USER_ID, USER_NAME};

/// A permission that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The action, for example `ec2:RunInstances`.
    pub(crate) action: String,
    /// The ARN of the resource, or `*` for an action that acts on no resource.
    pub(crate) resource: String,
    /// The values of condition keys.
    pub(crate) values: Values,
}

impl Need {
    /// Creates a need of an action that acts on no resource.
    pub(crate) fn of_action(action: impl Into<String>) -> Self {
        Self::new(action, "*")
    }

    pub(crate) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            values: Values::default(),
        }
    }
}

/// The policy that holds the sender of a request, and what is known of the request.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    policy: Arc<Policy>,
    /// The ARN of the user.
    user: String,
    /// The values of condition keys that each need of the request has.
    values: Values,
}

/// A need that the policy does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    user: String,
    action: String,
    resource: String,
    /// Whether a statement denies it. Otherwise no statement allows it.
    explicit: bool,
}

impl Guard {
    /// Creates the guard of a request that the only user sends to a region from an
    /// address. Requests use plain HTTP.
    pub(crate) fn of_user(
        policy: Arc<Policy>,
        account: &str,
        region: &str,
        (address, now): (IpAddr, Timestamp),
    ) -> Self {
        let user = format!("arn:aws:iam::{account}:user/{USER_NAME}");
        let mut values = Values::default();
        values.set("aws:CurrentTime", now.to_string());
        values.set("aws:EpochTime", now.as_second().to_string());
        values.set("aws:PrincipalAccount", account);
        values.set("aws:PrincipalArn", &user);
        values.set("aws:PrincipalIsAWSService", "false");
        values.set("aws:PrincipalType", "User");
        values.set("aws:RequestedRegion", region);
        values.set("aws:SecureTransport", "false");
        values.set("aws:SourceIp", address.to_canonical().to_string());
        values.set("aws:userid", USER_ID);
        values.set("aws:username", USER_NAME);
        values.set("aws:ViaAWSService", "false");
        Self {
            policy,
            user,
            values,
        }
    }

    /// Checks whether the policy allows each of the needs.
    pub(crate) fn check(&self, needs: impl IntoIterator<Item = Need>) -> Result<(), Denial> {
        #[cfg(feature = "judgements")]
        let needs = {
            let needs: Vec<Need> = needs.into_iter().collect();
            super::judgements::keep(self, &needs);
            needs
        };
        let mut silent = None;
        for need in needs {
            let need = self.completed(need);
            let explicit = match self.policy.verdict(&need) {
                Verdict::Allowed => continue,
                Verdict::Denied => true,
                Verdict::Silent => false,
            };
            let denial = Denial {
                user: self.user.clone(),
                action: need.action,
                resource: need.resource,
                explicit,
            };
            if explicit {
                return Err(denial);
            }
            silent.get_or_insert(denial);
        }
        silent.map_or(Ok(()), Err)
    }

    /// Adds the values that all needs of the request have.
    fn completed(&self, mut need: Need) -> Need {
        need.values.extend(&self.values);
        need
    }
}

impl Denial {
    /// Whether a statement denies the need. Otherwise no statement allows it.
    pub(crate) fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// Whether the need is of this action.
    pub(crate) fn is_of(&self, action: &str) -> bool {
        self.action == action
    }

    /// Returns AWS's message. S3 puts the resource in quotes.
    pub(crate) fn message(&self, quotes: bool) -> String {
        let Self {
            user,
            action,
            resource,
            explicit,
        } = self;
        let resource = match (resource.as_str(), quotes) {
            ("*", _) => String::new(),
            (arn, true) => format!(" on resource: \"{arn}\""),
            (arn, false) => format!(" on resource: {arn}"),
        };
        let why = if *explicit {
            "with an explicit deny in an identity-based policy".to_owned()
        } else {
            format!("because no identity-based policy allows the {action} action")
        };
        format!("User: {user} is not authorized to perform: {action}{resource} {why}")
    }
}

#[cfg(any(test, feature = "judgements"))]
impl Guard {
    /// Returns a need with all its values, and the verdict of the policy.
    pub(super) fn judged(&self, need: Need) -> (Need, Verdict) {
        let need = self.completed(need);
        let verdict = self.policy.verdict(&need);
        (need, verdict)
    }
}
