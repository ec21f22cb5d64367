//! The smallest IAM policy with which a run can be performed, resumed and destroyed.
//!
//! The clients report each request to a [`Recorder`] ([`crate::clients::calls`]). The
//! recorder keeps what a policy depends on (`need`), and the ledger records it with
//! its next commit. A [`Policy`] is made of that record and of the requests that
//! `resume` and `destroy` send for what the run created (`implied`):
//!
//! 1. `operations` has the IAM actions of each request; `table`, with the data of
//!    others, the types of resources and the condition keys of each action.
//! 2. `grants` restricts each action to resources and conditions, within a `scope`:
//!    the region, the account, and the tag `autorun:owner`.
//! 3. `document` joins these permissions into statements.
//!
//! The policy is for the caller's own credentials. Permissions to assume a role are
//! those of other credentials and not part of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::clients::calls::Cause;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Resource, ResourceKind, Run, State, Store};
use document::Statement;
use grants::Reason;
use need::{Named, Need};
use scope::Scope;

pub use recorder::Recorder;

mod document;
mod grants;
mod implied;
mod need;
mod operations;
mod recorder;
mod scope;
mod table;

/// The longest managed policy that IAM accepts, in characters without white space.
const LONGEST: usize = 6144;

/// The policy of a run.
#[derive(Debug)]
pub struct Policy {
    statements: Vec<Statement>,
    /// Remarks for the user of the policy.
    pub notes: Vec<String>,
}

/// What differs between the record of a rehearsal and the user's account.
#[derive(Clone, Debug, Default)]
pub struct For {
    /// The region, if it is not that of the run.
    pub region: Option<String>,
    /// The value of the tag `autorun:owner`, if it is not that of the ledger.
    pub owner: Option<String>,
    /// Whether the run was a rehearsal, so that no account has its ids.
    pub is_rehearsed: bool,
}

impl Policy {
    /// Returns the policy of a recorded run.
    ///
    /// Fails with [`ErrorKind::NotFound`] if no request of the run is recorded.
    pub fn of_run(store: &Store, run: &Run, wanted: For) -> Result<Self> {
        let recorded = store.requests(&run.id)?;
        if recorded.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no request to AWS of run {} is recorded", run.id),
            )
            .hint("run the playbook again, or use `autorun policy PLAYBOOK`"));
        }
        let needs: Vec<Need> = recorded.iter().map(Need::read).collect::<Result<_>>()?;
        let resources = created(store, run)?;
        let later = later(store, run, &resources, &needs)?;
        let target = &run.about.target;
        let scope = Scope {
            region: wanted.region.or_else(|| target.region.clone()),
            account: Some(target.account.clone())
                .filter(|account| !account.is_empty() && target.local_cloud.is_none()),
            owner: wanted.owner.unwrap_or_else(|| store.owner().to_owned()),
            run: run.id.clone(),
            local: wanted.is_rehearsed || target.local_cloud.is_some(),
            own: own(store, needs.iter().chain(&later))?,
        };
        let grants = grants::grants(&scope, &needs, &later)?;
        let statements = document::statements(&grants);
        let mut policy = Self {
            statements,
            notes: Vec::new(),
        };
        policy.notes = policy.remarks(&scope);
        Ok(policy)
    }

    /// Returns the policy as IAM reads it.
    #[must_use]
    pub fn json(&self) -> Value {
        document::policy(&self.statements)
    }

    /// Returns the policy with the calls behind each statement.
    #[must_use]
    pub fn json_with_reasons(&self) -> Value {
        let statements = self.statements.iter().map(|statement| {
            let actions = statement.actions.iter().flat_map(|(action, reasons)| {
                named(reasons).map(move |reason| {
                    json!({
                        "action": action,
                        "function": reason.cause.function,
                        "place": reason.cause.place,
                        "for": if reason.later { "resume and destroy" } else { "run" },
                    })
                })
            });
            json!({ "sid": statement.sid, "actions": actions.collect::<Vec<_>>() })
        });
        json!({
            "policy": self.json(),
            "reasons": statements.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    /// Returns the statements in words: for each, the resources, and the lines of the
    /// playbook that need its actions.
    #[must_use]
    pub fn explained(&self) -> Vec<Explained> {
        self.statements.iter().map(Explained::of).collect()
    }

    fn remarks(&self, scope: &Scope) -> Vec<String> {
        let mut notes = Vec::new();
        if scope.region.is_none() {
            notes.push("the policy allows every region; pass --region".to_owned());
        }
        let passes_any_role = |statement: &Statement| {
            statement.actions.contains_key(operations::PASS_ROLE)
                && (statement.resources.keys()).any(|arn| arn.ends_with(":role/*"))
        };
        if self.statements.iter().any(passes_any_role) {
            notes.push(
                "iam:PassRole allows every role that EC2 may use: replace `role/*` with the \
                 role of the instance profile"
                    .to_owned(),
            );
        }
        let length = self.json().to_string().len();
        if length > LONGEST {
            notes.push(format!(
                "the policy has {length} characters, and IAM accepts {LONGEST}: split its \
                 statements into two policies"
            ));
        }
        notes
    }
}

/// A statement in words.
#[derive(Debug)]
pub struct Explained {
    /// Its name in the policy.
    pub sid: String,
    /// The ARNs.
    pub resources: Vec<String>,
    /// The conditions, such as `aws:RequestedRegion = eu-central-1`.
    pub conditions: Vec<String>,
    /// The calls of the playbook with the actions that they need.
    pub calls: Vec<(String, Vec<String>)>,
}

impl Explained {
    fn of(statement: &Statement) -> Self {
        let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (action, reasons) in &statement.actions {
            for reason in named(reasons) {
                let Cause { place, function } = &reason.cause;
                let call = match place.as_str() {
                    "" => "the end of a run".to_owned(),
                    _ if reason.later => format!("{place} {function}, to resume or destroy it"),
                    _ => format!("{place} {function}"),
                };
                calls.entry(call).or_default().insert(action.clone());
            }
        }
        let conditions = statement.conditions.iter().map(|((_, key), values)| {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            format!("{key} = {}", values.join(" or "))
        });
        let calls = calls.into_iter();
        Self {
            sid: statement.sid.clone(),
            resources: statement.resources.keys().cloned().collect(),
            conditions: conditions.collect(),
            calls: calls
                .map(|(call, actions)| (call, actions.into_iter().collect()))
                .collect(),
        }
    }
}

/// Returns the reasons that name a line of the playbook, or all if none does. The
/// requests of `destroy` name none, and the lines that created what it removes are
/// reasons too.
fn named(reasons: &BTreeSet<Reason>) -> impl Iterator<Item = &Reason> {
    let has_place = |reason: &&Reason| !reason.cause.place.is_empty();
    let any = reasons.iter().any(|reason| has_place(&reason));
    reasons
        .iter()
        .filter(move |reason| !any || has_place(reason))
}

/// Returns the resources that a run created, also those that are removed again.
fn created(store: &Store, run: &Run) -> Result<Vec<Resource>> {
    let mut resources = store.resources(&run.id)?;
    resources.retain(|row| !matches!(row.state, State::Abandoned));
    Ok(resources)
}

/// Returns what `resume` and `destroy` need for these resources.
fn later(store: &Store, run: &Run, resources: &[Resource], sent: &[Need]) -> Result<Vec<Need>> {
    let steps = store.steps(&run.id)?;
    let causes: BTreeMap<&str, Cause> = steps
        .iter()
        .map(|step| {
            let cause = Cause {
                place: step.place.clone(),
                function: step.function.clone(),
            };
            (step.key.as_str(), cause)
        })
        .collect();
    let of = |row: &Resource| {
        let cause = causes.get(row.step.as_str()).cloned().unwrap_or_default();
        implied::needs(row, &cause, resources, sent)
    };
    Ok(resources.iter().flat_map(of).collect())
}

/// Returns those EC2 resources in the requests that runs of this ledger created.
fn own<'a>(store: &Store, needs: impl Iterator<Item = &'a Need>) -> Result<BTreeSet<Named>> {
    let mut own = BTreeSet::new();
    for named in needs.flat_map(|need| &need.about.resources) {
        let kind = ResourceKind::ALL
            .into_iter()
            .find(|kind| implied::type_of(*kind) == Some(&named.0));
        if let Some(kind) = kind
            && store.created(kind, &named.1)?
        {
            own.insert(named.clone());
        }
    }
    Ok(own)
}
