//! Whether the account would let a playbook do what its rehearsal did. Every
//! request here changes nothing: the clients refuse all others.

mod facts;
mod images;
mod names;
mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::rehearsal::{Kind, Loan, Rehearsed, Source};
use crate::clients::Clients;
use crate::clients::calls::Call;
use crate::error::{Error, ErrorKind};
use requests::{DryRun, Known, Unchecked, dry_runs};

/// What the account answered.
#[derive(Debug, Default, Serialize)]
pub(super) struct Account {
    /// The account id; empty if it is not known.
    #[serde(rename = "account")]
    pub(super) id: String,
    pub(super) region: String,
    /// Why the playbook would fail.
    pub(super) faults: Vec<Fault>,
    /// What the playbook will do in another way, in words.
    pub(super) notes: Vec<String>,
    /// What was checked, in words.
    pub(super) checked: Vec<String>,
    /// What was not checked, and why.
    pub(super) unchecked: Vec<String>,
    /// The operations whose dry runs would only repeat a fault that is known.
    #[serde(skip)]
    explained: BTreeSet<&'static str>,
}

/// A reason why the playbook would fail.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The place in the playbook that needs it.
    pub(super) place: Option<String>,
}

/// What is known of the rehearsal.
pub(super) struct Question<'a> {
    pub(super) rehearsed: &'a Rehearsed,
    /// The clients of the rehearsal.
    pub(super) stage: &'a Clients,
    /// The texts of the playbook and of its variables.
    pub(super) written: Vec<String>,
}

impl Question<'_> {
    /// Returns the requests of one operation.
    fn calls_of<'a>(&'a self, operation: &'a str) -> impl Iterator<Item = &'a Arc<Call>> {
        self.rehearsed
            .calls
            .iter()
            .filter(move |call| call.operation == operation)
    }
}

/// Asks the account.
pub(super) async fn ask(clients: &Clients, question: &Question<'_>) -> Account {
    let mut account = Account::default();
    match clients.caller().await {
        Ok((region, id)) => {
            account.region = region;
            account.id = id;
        }
        // Every other request would have the same error.
        Err(error) => {
            account.fault(&error, None);
            return account;
        }
    }
    account.checked.push("credentials".to_owned());
    account.note_missing(&question.rehearsed.loans);
    if question
        .rehearsed
        .calls
        .iter()
        .any(|call| call.service == crate::clients::calls::Service::Ec2)
        && !account.ask_ec2(clients, question).await
    {
        return account;
    }
    names::ask(&mut account, clients, question).await;
    account
}

impl Account {
    /// Adds a fault, unless there is one with the same message.
    fn fault(&mut self, error: &Error, place: Option<&str>) {
        let fault = Fault {
            kind: error.kind.as_str(),
            message: error.to_string(),
            hint: error.hint.clone(),
            place: place.filter(|place| !place.is_empty()).map(str::to_owned),
        };
        if !self
            .faults
            .iter()
            .any(|known| known.message == fault.message)
        {
            self.faults.push(fault);
        }
    }

    /// Adds the fault of a request, if it failed.
    fn check<T>(&mut self, result: crate::error::Result<T>, place: Option<&str>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(&error, place);
                None
            }
        }
    }

    /// Adds a fault for each resource that the playbook names and the account does not
    /// have. Images and types have checks of their own.
    fn note_missing(&mut self, loans: &[Loan]) {
        let missing = loans.iter().filter(|loan| loan.source == Source::Missing);
        let named = |loan: &&Loan| !matches!(loan.kind, Kind::Image | Kind::InstanceType);
        for loan in missing.filter(named) {
            let (kind, name) = (loan.kind.words(), &loan.name);
            let error = Error::new(
                ErrorKind::NotFound,
                format!("the account has no {kind} `{name}` in {}", self.region),
            );
            let error = error.hint(
                "check the name, `--region` and `--profile`: an id is valid in one region of one \
                 account",
            );
            self.fault(&error, Some(&loan.place));
        }
    }

    /// Asks EC2. Returns false if no service can be asked further.
    async fn ask_ec2(&mut self, clients: &Clients, question: &Question<'_>) -> bool {
        let ec2 = match clients.ec2().await {
            Ok(ec2) => ec2,
            Err(error) => {
                self.fault(&error, None);
                return false;
            }
        };
        match ec2.check_region().await {
            Ok(()) => self.checked.push(format!("region {}", self.region)),
            Err(error) => {
                self.fault(&error, None);
                return false;
            }
        }
        let mut known = self.known(clients, question).await;
        facts::ask(self, clients, &ec2, (question, &mut known)).await;
        self.run_dry(&ec2, question, &known).await;
        true
    }

    /// Collects what the account has in the place of what the rehearsal had.
    async fn known(&mut self, clients: &Clients, question: &Question<'_>) -> Known {
        let images = images::translate(self, clients, question).await;
        let rows = question.rehearsed.record.resources.iter();
        let key_pairs = rows.filter(|row| row.kind == crate::ledger::ResourceKind::KeyPair);
        let mut known = Known {
            written: question.written.clone(),
            images,
            key_pairs: key_pairs.map(|row| row.name.clone()).collect(),
            lent: names_of(question, Source::Account),
            missing: names_of(question, Source::Missing),
            ..Known::default()
        };
        if let Ok(ec2) = clients.ec2().await {
            (known.subnet, known.vpc) = ec2.any_subnet().await.ok().flatten().unzip();
            known.types = images::types(&ec2, question).await;
        }
        known
    }

    /// Sends the requests to EC2 as dry runs.
    async fn run_dry(
        &mut self,
        ec2: &crate::clients::ec2::Ec2<'_>,
        question: &Question<'_>,
        known: &Known,
    ) {
        let (runs, mut unchecked) = dry_runs(&question.rehearsed.calls, known);
        match ec2.knows_dry_runs().await {
            Ok(true) => {}
            Ok(false) => {
                let why = "the server does not know dry runs".to_owned();
                self.unchecked.push(why);
                return;
            }
            Err(error) => return self.fault(&error, None),
        }
        let mut passed = BTreeSet::new();
        for DryRun {
            operation,
            parameters,
            place,
        } in &runs
        {
            if self.explained.contains(operation.as_str()) {
                continue;
            }
            let answer = ec2.dry_run(operation, parameters).await;
            let lacks = answer.as_ref().err().map(|error| error.kind);
            if operation == "CreateFleet" && lacks == Some(ErrorKind::NotFound) {
                unchecked.insert(Unchecked {
                    operation: operation.clone(),
                    why: "its launch template exists only in the rehearsal".to_owned(),
                });
            } else if self.check(answer, Some(place)).is_some() {
                passed.insert(operation.clone());
            }
        }
        if !passed.is_empty() {
            let count = passed.len();
            let all = passed.into_iter().collect::<Vec<_>>().join(", ");
            self.checked
                .push(format!("{count} operations of EC2 by dry runs: {all}"));
        }
        self.unchecked.extend(by_reason(&unchecked));
    }
}

/// Returns the ids and names of what the rehearsal has from one source.
fn names_of(question: &Question<'_>, source: Source) -> BTreeSet<String> {
    let loans = question.rehearsed.loans.iter();
    let loans = loans.filter(|loan| loan.source == source);
    loans.map(|loan| loan.name.clone()).collect()
}

/// Returns one line for each reason.
fn by_reason(unchecked: &BTreeSet<Unchecked>) -> Vec<String> {
    let reasons: BTreeSet<&str> = unchecked.iter().map(|one| one.why.as_str()).collect();
    let line = |why: &str| {
        let of_reason = unchecked.iter().filter(|one| one.why == why);
        let operations: Vec<&str> = of_reason.map(|one| one.operation.as_str()).collect();
        format!("{}: {why}", operations.join(", "))
    };
    reasons.into_iter().map(line).collect()
}
