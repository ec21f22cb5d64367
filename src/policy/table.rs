//! The facts about IAM actions that `actions.txt` has.

use std::sync::LazyLock;

use crate::clients::calls::Service;

const TEXT: &str = include_str!("actions.txt");

/// An action and the types of resources that it supports.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) types: Vec<Type>,
}

/// A type of resource of an action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    /// Its name in ARNs, such as `security-group`.
    pub(super) name: &'static str,
    /// Whether every request has such a resource.
    pub(super) required: bool,
    /// Whether the tags that a request creates can be a condition.
    pub(super) request_tag: bool,
    /// Whether the tags of the resource can be a condition.
    pub(super) resource_tag: bool,
}

static ACTIONS: LazyLock<Vec<Action>> = LazyLock::new(|| {
    let lines = lines().filter(|words| words[0].contains(':'));
    let action = |words: Vec<&'static str>| Action {
        name: words[0],
        types: words[1..].iter().map(|word| type_of(word)).collect(),
    };
    lines.map(action).collect()
});

fn lines() -> impl Iterator<Item = Vec<&'static str>> {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(' ').collect())
        .filter(|words: &Vec<&str>| !words.is_empty())
}

fn type_of(word: &'static str) -> Type {
    let name = word.trim_end_matches(['*', '+', '-']);
    let flags = &word[name.len()..];
    Type {
        name,
        required: flags.contains('*'),
        request_tag: flags.contains('+'),
        resource_tag: flags.contains('-'),
    }
}

/// Returns an action by its name, such as `ec2:RunInstances`.
pub(super) fn action(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// Returns the ARN of a type of resource, with `${Variables}`.
pub(super) fn arn(service: &str, name: &str) -> Option<&'static str> {
    let mut lines = lines();
    let found = lines.find(|words| words[0] == service && words[1] == name)?;
    found.get(2).copied()
}

/// Returns the action of an operation of EC2.
pub(super) fn of_ec2(operation: &str) -> Option<&'static Action> {
    action(&format!("{}:{operation}", Service::Ec2.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let launch = action("ec2:RunInstances").unwrap();
        let of = |name: &str| launch.types.iter().find(|t| t.name == name).unwrap();
        assert!(of("instance").required && of("instance").request_tag);
        assert!(of("security-group").resource_tag && !of("security-group").request_tag);
        assert!(!of("key-pair").required);
        assert!(of_ec2("DescribeVpcs").unwrap().types.is_empty());
        assert!(action("ec2:Nothing").is_none());
        assert_eq!(
            arn("ec2", "image"),
            Some("arn:${Partition}:ec2:${Region}::image/${ImageId}")
        );
        assert_eq!(arn("ec2", "bucket"), None);
    }

    #[test]
    fn every_type_has_an_arn() {
        for action in ACTIONS.iter() {
            let (service, _) = action.name.split_once(':').unwrap();
            for kind in &action.types {
                assert!(arn(service, kind.name).is_some(), "{}", kind.name);
            }
        }
    }
}
