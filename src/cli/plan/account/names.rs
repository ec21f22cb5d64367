//! Names that must be free in the account, and public access.

use std::collections::BTreeMap;

use super::{Account, Question};
use crate::clients::Clients;
use crate::clients::calls::Service;
use crate::clients::s3::NameOwner;
use crate::context::Note;
use crate::error::{Error, ErrorKind};

pub(super) async fn ask(account: &mut Account, clients: &Clients, question: &Question<'_>) {
    key_pairs(account, clients, question).await;
    groups(account, clients, question).await;
    buckets(account, clients, question).await;
    public_access(account, clients, question).await;
    if question
        .rehearsed
        .calls
        .iter()
        .any(|call| call.service == Service::S3)
    {
        account
            .unchecked
            .push("permissions for S3: S3 has no dry runs".to_owned());
    }
}

/// Returns the names of one parameter, with the places that need them.
fn named(question: &Question<'_>, operation: &str, parameter: &str) -> BTreeMap<String, String> {
    let calls = question.calls_of(operation);
    let named = calls.filter_map(|call| {
        let name = call.parameter(parameter)?;
        Some((name.to_owned(), call.cause.place.clone()))
    });
    named.collect()
}

fn exists(what: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("the {what} `{name}` already exists in the account"),
    )
}

async fn key_pairs(account: &mut Account, clients: &Clients, question: &Question<'_>) {
    for (name, place) in named(question, "ImportKeyPair", "KeyName") {
        let asked = async { clients.ec2().await?.key_pair_marks(&name).await };
        match account.check(asked.await, Some(&place)) {
            Some(Some(_)) => {
                let error = exists("key pair", &name).hint(
                    "choose another name, or delete the existing key pair with \
                     `aws ec2 delete-key-pair --key-name NAME`",
                );
                account.fault(&error, Some(&place));
            }
            Some(None) => account.checked.push(format!("key pair name {name}")),
            None => {}
        }
    }
}

async fn groups(account: &mut Account, clients: &Clients, question: &Question<'_>) {
    // In another VPC, the name is free.
    let in_default = |name: &str| {
        let mut calls = question.calls_of("CreateSecurityGroup");
        calls.any(|call| {
            call.parameter("GroupName") == Some(name) && call.parameter("VpcId").is_none()
        })
    };
    for (name, place) in named(question, "CreateSecurityGroup", "GroupName") {
        if !in_default(&name) {
            continue;
        }
        let asked = async {
            let ec2 = clients.ec2().await?;
            match ec2.default_vpc().await? {
                Some(vpc) => ec2.has_security_group(&name, &vpc).await,
                None => Ok(false),
            }
        };
        if account.check(asked.await, Some(&place)) == Some(true) {
            let error = exists("security group", &name);
            account.fault(
                &error.hint("choose another name, or pass its id"),
                Some(&place),
            );
        }
    }
}

async fn buckets(account: &mut Account, clients: &Clients, question: &Question<'_>) {
    for (name, place) in named(question, "CreateBucket", "bucket") {
        let asked = async { clients.s3().await?.owner_of(&name).await };
        match account.check(asked.await, Some(&place)) {
            Some(NameOwner::Unknown(region)) => {
                let place_of = |region| format!("a bucket in {region} has the name `{name}`");
                let known = region.map_or_else(
                    || format!("S3 refuses to show the bucket `{name}` (HTTP 403)"),
                    place_of,
                );
                let error = Error::new(
                    ErrorKind::AlreadyExists,
                    format!("{known}: another account has it, or you may not look at it"),
                );
                let error = error.hint(
                    "bucket names are shared by all AWS accounts: choose another name, or omit \
                     `exact`",
                );
                account.fault(&error, Some(&place));
            }
            Some(NameOwner::ThisAccount) => account
                .checked
                .push(format!("bucket {name}, which exists in the account")),
            Some(NameOwner::Free) => account.checked.push(format!("bucket name {name}")),
            None => {}
        }
    }
}

/// Checks that the account allows public objects, if the playbook makes some. Where
/// the playbook does not demand it, a presigned URL takes the place of a public one.
async fn public_access(account: &mut Account, clients: &Clients, question: &Question<'_>) {
    if question.calls_of("PutBucketPolicy").next().is_none() {
        return;
    }
    if account.id.is_empty() {
        let why = "Block Public Access of the account: its id is not known";
        return account.unchecked.push(why.to_owned());
    }
    let is_blocked = match clients.account_blocks_public(&account.id).await {
        Ok(is_blocked) => is_blocked,
        Err(error) => {
            let why = format!("Block Public Access of the account: {error}");
            return account.unchecked.push(why);
        }
    };
    let blocks = "the account blocks public access to all its buckets";
    match (is_blocked, demands_public(question)) {
        (false, _) => account
            .checked
            .push("Block Public Access of the account".to_owned()),
        (true, None) => account.notes.push(format!(
            "{blocks}: the URLs of objects will be presigned ones, which are valid for a limited \
             time"
        )),
        (true, Some(place)) => {
            let error = Error::new(
                ErrorKind::Denied,
                format!("{blocks}, so no object can be public"),
            );
            let error = error.hint(
                "pass `public: false` and use presigned URLs; or turn the block off for the \
                 account: `aws s3control delete-public-access-block --account-id ID`",
            );
            account.fault(&error, Some(place));
        }
    }
}

/// Returns the place of the first call that passes `public: true`.
fn demands_public<'a>(question: &'a Question<'_>) -> Option<&'a str> {
    let demands = |note: &&Note| {
        let mut arguments = note.arguments.as_array().into_iter().flatten();
        arguments.any(|argument| argument["public"] == true)
    };
    let note = question.rehearsed.notes.iter().find(demands)?;
    Some(&note.place)
}
