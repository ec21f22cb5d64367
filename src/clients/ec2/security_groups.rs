//! Security groups and their rules.

use std::net::IpAddr;
use std::time::Duration;

use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup, UserIdGroupPair,
};

use super::Ec2;
use super::marked::{Marked, marked_group};
use super::tags::{filter, marks, tag_specification};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};
use crate::marks::{Marks, RESOURCE_TAG, Tags};
use crate::pace;

/// A security group rule.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// The protocol: `tcp`, `udp`, `icmp`, or `-1` for all.
    pub protocol: String,
    /// The first port.
    pub port: i32,
    /// The last port.
    pub to_port: i32,
    /// The source: a network, for example `203.0.113.7/32`, or the id of a
    /// security group for its instances.
    pub from: String,
    /// The description that the AWS console shows.
    pub description: Option<String>,
}

impl Ingress {
    /// Returns a rule as text for the ledger, such as
    /// `sg-0abc tcp 80-80 0.0.0.0/0`.
    #[must_use]
    pub fn ledger_id(&self, group: &str) -> String {
        format!(
            "{group} {} {}-{} {}",
            self.protocol, self.port, self.to_port, self.from
        )
    }

    /// Returns the security group whose instances may connect, if the source is
    /// one.
    #[must_use]
    pub fn from_group(&self) -> Option<&str> {
        Some(self.from.as_str()).filter(|from| from.starts_with("sg-"))
    }

    /// Parses the group and the rule from the ledger's text.
    #[must_use]
    pub fn from_ledger_id(words: &str) -> Option<(String, Self)> {
        let mut words = words.split(' ');
        let (group, protocol, ports, from) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let (port, to_port) = ports.split_once('-')?;
        let rule = Self {
            protocol: protocol.to_owned(),
            port: port.parse().ok()?,
            to_port: to_port.parse().ok()?,
            from: from.to_owned(),
            description: None,
        };
        Some((group.to_owned(), rule))
    }
}

/// The result of [`Ec2::create_security_group`].
#[derive(Debug)]
pub enum Created {
    /// The id of the group.
    Group(String),
    /// The region has no default VPC.
    NoDefaultVpc(Error),
}

/// The result of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The resource is gone.
    Done,
    /// EC2 refuses the deletion while another resource uses this one.
    StillUsed,
    /// EC2 is deleting the resource.
    Begun,
}

impl Ec2<'_> {
    /// Creates a security group without rules.
    ///
    /// Throws `already_exists`.
    pub async fn create_security_group(
        &self,
        name: &str,
        description: &str,
        vpc: Option<&str>,
        tags: &Tags,
    ) -> Result<Created> {
        let created = self
            .client
            .create_security_group()
            .group_name(name)
            .description(description)
            .set_vpc_id(vpc.map(str::to_owned))
            .tag_specifications(tag_specification(ResourceType::SecurityGroup, tags))
            .send()
            .await;
        match created {
            Ok(answer) => {
                let id = answer.group_id().unwrap_or_default();
                Ok(Created::Group(id.to_owned()))
            }
            Err(e) => {
                let error = aws_error(&format!("create security group `{name}`"), &e);
                match code(&e) {
                    Code::NoDefaultVpc => Ok(Created::NoDefaultVpc(error)),
                    _ => Err(error),
                }
            }
        }
    }

    /// Adds rules to a group that was just created. Retries while EC2 does not
    /// know it.
    pub async fn authorize(&self, group: &str, rules: &[Ingress]) -> Result<()> {
        let request = self
            .client
            .authorize_security_group_ingress()
            .group_id(group)
            .set_ip_permissions(Some(rules.iter().map(permission).collect()));
        let mut pause = Duration::from_millis(50);
        loop {
            match request.clone().send().await {
                Ok(_) => return Ok(()),
                Err(e)
                    if code(&e) == Code::InvalidGroupNotFound
                        && pause < Duration::from_secs(10) =>
                {
                    pace::sleep(pause, self.cancel).await?;
                    pause *= 2;
                }
                // A retry after a lost response: the first attempt added the
                // rules.
                Err(e) if code(&e) == Code::InvalidPermissionDuplicate => return Ok(()),
                Err(e) => return Err(aws_error(&format!("open ports of `{group}`"), &e)),
            }
        }
    }

    /// Deletes a security group. Deleting one that does not exist is not an error.
    pub async fn delete_security_group(&self, id: &str) -> Result<Deletion> {
        let request = self.client.delete_security_group().group_id(id);
        match request.send().await {
            Ok(_) => Ok(Deletion::Done),
            Err(e) => match code(&e) {
                Code::InvalidGroupNotFound => Ok(Deletion::Done),
                Code::DependencyViolation => Ok(Deletion::StillUsed),
                _ => Err(aws_error(&format!("delete security group `{id}`"), &e)),
            },
        }
    }

    /// Returns whether a group has exactly this rule.
    ///
    /// Throws `not_found`.
    pub async fn is_open(&self, group: &str, rule: &Ingress) -> Result<bool> {
        let request = self.client.describe_security_groups().group_ids(group);
        let answer = request
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up security group `{group}`"), &e))?;
        let groups = answer.security_groups().iter();
        let mut open = groups.flat_map(SecurityGroup::ip_permissions).filter(|p| {
            p.ip_protocol() == Some(rule.protocol.as_str())
                && p.from_port() == Some(rule.port)
                && p.to_port() == Some(rule.to_port)
        });
        Ok(open.any(|permission| sources(permission).any(|from| from == rule.from)))
    }

    /// Returns the rules of a security group, one for each source.
    ///
    /// Throws `not_found`.
    pub async fn open_ports(&self, group: &str) -> Result<Vec<Ingress>> {
        let request = self.client.describe_security_groups().group_ids(group);
        let answer = request
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up security group `{group}`"), &e))?;
        let groups = answer.security_groups().iter();
        Ok(groups.flat_map(rules).collect())
    }

    /// Opens a port. Returns false if it was already open.
    pub async fn open(&self, group: &str, rule: &Ingress) -> Result<bool> {
        let request = self
            .client
            .authorize_security_group_ingress()
            .group_id(group)
            .ip_permissions(permission(rule));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(e) if code(&e) == Code::InvalidPermissionDuplicate => Ok(false),
            Err(e) => Err(aws_error(&format!("open a port of `{group}`"), &e)),
        }
    }

    /// Closes a port. Returns false if it was already closed.
    pub async fn close(&self, group: &str, rule: &Ingress) -> Result<bool> {
        let request = self
            .client
            .revoke_security_group_ingress()
            .group_id(group)
            .ip_permissions(permission(rule));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(e) if code(&e) == Code::InvalidPermissionNotFound => Ok(false),
            Err(e) => Err(aws_error(&format!("close a port of `{group}`"), &e)),
        }
    }

    /// Returns the marks of a security group, or `None` if it does not exist.
    pub async fn security_group_marks(&self, id: &str) -> Result<Option<Marks>> {
        let request = self.client.describe_security_groups().group_ids(id);
        match request.send().await {
            Ok(answer) => Ok(answer.security_groups().first().map(|g| marks(g.tags()))),
            Err(e) if code(&e) == Code::InvalidGroupNotFound => Ok(None),
            Err(e) => Err(aws_error(&format!("look up security group `{id}`"), &e)),
        }
    }

    /// Returns the id of the security group that has this row as its tag.
    pub async fn security_group_of(&self, row: &str) -> Result<Option<String>> {
        let answer = self
            .client
            .describe_security_groups()
            .filters(filter(&format!("tag:{RESOURCE_TAG}"), row))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look for the security group of `{row}`"), &e))?;
        let first = answer.security_groups().first().and_then(|g| g.group_id());
        Ok(first.map(str::to_owned))
    }

    /// Returns the security groups with this name, at most one per VPC.
    pub async fn security_groups_named(&self, name: &str) -> Result<Vec<Marked>> {
        let answer = self
            .client
            .describe_security_groups()
            .filters(filter("group-name", name))
            .send()
            .await
            .map_err(|e| aws_error(&format!("look for security group `{name}`"), &e))?;
        Ok(answer.security_groups().iter().map(marked_group).collect())
    }
}

/// Returns the rules of a security group, one for each source.
pub(super) fn rules(group: &SecurityGroup) -> impl Iterator<Item = Ingress> {
    let permissions = group.ip_permissions().iter();
    permissions.flat_map(|permission| {
        sources(permission).map(|from| Ingress {
            protocol: permission.ip_protocol().unwrap_or_default().to_owned(),
            port: permission.from_port().unwrap_or(-1),
            to_port: permission.to_port().unwrap_or(-1),
            from: from.to_owned(),
            description: None,
        })
    })
}

/// Returns the networks and the security groups from which a permission allows
/// connections.
fn sources(permission: &IpPermission) -> impl Iterator<Item = &str> {
    let v4 = permission.ip_ranges().iter().filter_map(|r| r.cidr_ip());
    let v6 = permission
        .ipv6_ranges()
        .iter()
        .filter_map(|r| r.cidr_ipv6());
    let pairs = permission.user_id_group_pairs().iter();
    let groups = pairs.filter_map(|pair| pair.group_id());
    v4.chain(v6).chain(groups)
}

fn permission(rule: &Ingress) -> IpPermission {
    let permission = IpPermission::builder()
        .ip_protocol(&rule.protocol)
        .from_port(rule.port)
        .to_port(rule.to_port);
    let text = rule.description.clone();
    if let Some(group) = rule.from_group() {
        let group = UserIdGroupPair::builder()
            .group_id(group)
            .set_description(text);
        return permission.user_id_group_pairs(group.build()).build();
    }
    let address = rule.from.split('/').next();
    if address.is_some_and(|ip| matches!(ip.parse(), Ok(IpAddr::V6(_)))) {
        let range = Ipv6Range::builder()
            .cidr_ipv6(&rule.from)
            .set_description(text);
        permission.ipv6_ranges(range.build()).build()
    } else {
        let range = IpRange::builder().cidr_ip(&rule.from).set_description(text);
        permission.ip_ranges(range.build()).build()
    }
}
