//! Dry runs of every action: they change nothing, and they fail as the action fails.

use std::fs;
use std::path::Path;

use super::super::actions;
use super::Cloud;
use super::furnished::{BARE, furnished, phases};
use super::samples::sample;

/// Returns the actions that can succeed. There are only fleets of the type `instant`,
/// whose instances cannot be described.
fn answerable() -> impl Iterator<Item = &'static str> {
    actions::of_ec2().filter(|action| *action != "DescribeFleetInstances")
}

fn region_of(action: &str) -> &'static str {
    match action {
        "CreateDefaultVpc" => BARE,
        _ => "us-east-1",
    }
}

/// Returns everything that the cloud has.
fn state(cloud: &Cloud, directory: &Path) -> (String, Vec<u8>) {
    let memory = serde_json::to_string(&*cloud.store.state()).unwrap();
    (memory, fs::read(directory.join("ec2.journal")).unwrap())
}

#[test]
fn a_dry_run_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cloud, names) = furnished(directory.path());
    let before = state(&cloud, directory.path());
    let mut wrong = Vec::new();
    for action in answerable() {
        cloud.region = region_of(action);
        let form = sample(action, &names);
        let answer = cloud.send(&format!("{form}&DryRun=true")).unwrap_err();
        if answer != "DryRunOperation: Request would have succeeded, but DryRun flag is set." {
            wrong.push(format!("{form}: {answer}"));
        }
        let is_unchanged = state(&cloud, directory.path()) == before;
        assert!(is_unchanged, "{form} left something");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Without this test, the one above could hold of requests that cannot succeed.
#[test]
fn what_a_dry_run_allows_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let (cloud, names) = furnished(directory.path());
    let now = cloud.now;
    drop(cloud);
    let mut wrong = Vec::new();
    for action in answerable() {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let mut cloud = Cloud::open(copy.path());
        cloud.now = now;
        phases(&cloud, &names);
        cloud.region = region_of(action);
        let form = sample(action, &names);
        wrong.extend(
            cloud
                .send(&form)
                .err()
                .map(|error| format!("{form}: {error}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A dry run of a request without one of its parameters, or with an unknown one, fails
/// as the request itself.
#[test]
fn a_dry_run_fails_as_the_action_fails() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cloud, names) = furnished(directory.path());
    let before = state(&cloud, directory.path());
    let mut refused = 0;
    for action in actions::of_ec2() {
        cloud.region = region_of(action);
        let form = sample(action, &names);
        let unknown = format!("{form}&Nothing=1");
        let parameters: Vec<&str> = form.split('&').collect();
        let shorter = (1..parameters.len()).map(|without| {
            let mut others = parameters.clone();
            others.remove(without);
            others.join("&")
        });
        for form in shorter.chain([unknown]).collect::<Vec<_>>() {
            let dry = cloud.send(&format!("{form}&DryRun=true")).unwrap_err();
            if dry.starts_with("DryRunOperation") {
                continue;
            }
            refused += 1;
            assert_eq!(cloud.send(&form), Err(dry), "{form}");
            assert!(
                state(&cloud, directory.path()) == before,
                "{form} left something"
            );
        }
    }
    assert!(refused > 200, "{refused}");
}
