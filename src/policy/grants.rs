//! What IAM must allow for each request.

use std::collections::{BTreeMap, BTreeSet};

use super::need::{ADDRESS_ASSOCIATION, Named, Need, TABLE_ASSOCIATION};
use super::operations::{
    CREATE_FLEET, CREATE_SERVICE_ROLE, CREATE_TAGS, If, KMS, LAUNCH, On, PASS_ROLE, actions,
};
use super::scope::{Conditions, Scope, equals};
use super::table::{self, Type};
use crate::clients::calls::{Cause, Service};
use crate::error::{Error, Result};

/// The names of the roles and instance profiles of this program, with their path.
const OWN_PATH: &str = "autorun/*";

/// The type of a request for a spot instance.
const SPOT_REQUEST: &str = "spot-instances-request";

/// The role of the service for spot instances, with its path.
const SPOT_ROLE: &str = "aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot";

/// One action on one resource pattern.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) action: String,
    /// The type of the resource in the table of actions; `None` is everything.
    pub(super) kind: Option<&'static str>,
    /// The ARN, or `*`.
    pub(super) resource: String,
    pub(super) conditions: Conditions,
    pub(super) reason: Reason,
}

/// Why an action is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reason {
    /// The call of the playbook.
    pub(super) cause: Cause,
    /// Whether `resume` or `destroy` need it for what the call created.
    pub(super) later: bool,
}

/// Returns what requests need. `later` are those of `resume` and `destroy`.
///
/// Fails with [`ErrorKind::Internal`] for a request that this program does not send.
///
/// [`ErrorKind::Internal`]: crate::error::ErrorKind::Internal
pub(super) fn grants(scope: &Scope, needs: &[Need], later: &[Need]) -> Result<Vec<Grant>> {
    let keys = kms_keys(needs);
    let mut all = Vec::new();
    for (needs, later) in [(needs, false), (later, true)] {
        for need in needs {
            let of = Request { scope, need, later };
            all.extend(match need.service {
                Service::Ec2 => of.of_ec2()?,
                _ => of.of_others(&keys)?,
            });
        }
    }
    Ok(all)
}

/// Returns the KMS keys of the buckets that have one.
fn kms_keys(needs: &[Need]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for need in needs {
        if let (Some(bucket), Some(key)) = (&need.about.bucket, &need.about.kms_key) {
            keys.entry(bucket).or_default().insert(key);
        }
    }
    keys
}

struct Request<'a> {
    scope: &'a Scope,
    need: &'a Need,
    later: bool,
}

impl Request<'_> {
    fn grant(
        &self,
        action: &str,
        kind: Option<&'static str>,
        resource: String,
        conditions: Conditions,
    ) -> Grant {
        Grant {
            action: action.to_owned(),
            kind,
            resource,
            conditions,
            reason: Reason {
                cause: self.need.cause.clone(),
                later: self.later,
            },
        }
    }

    fn unknown(&self) -> Error {
        let (service, operation) = (self.need.service.as_str(), &self.need.operation);
        Error::internal(format!(
            "the permissions of {service}:{operation} are not known"
        ))
        .hint("report it with the playbook that sends this request")
    }

    fn of_ec2(&self) -> Result<Vec<Grant>> {
        let about = &self.need.about;
        let action = table::of_ec2(&self.need.operation).ok_or_else(|| self.unknown())?;
        if action.types.is_empty() {
            let everywhere = self.scope.in_region();
            return Ok(vec![self.grant(
                action.name,
                None,
                "*".to_owned(),
                everywhere,
            )]);
        }
        let mut grants = Vec::new();
        for kind in &action.types {
            for (resource, conditions) in self.targets(*kind) {
                grants.push(self.grant(action.name, Some(kind.name), resource, conditions));
            }
        }
        if action.name != CREATE_TAGS {
            let types = table::action(CREATE_TAGS).map_or(&[][..], |action| &action.types);
            for kind in types.iter().filter(|kind| about.tagged.contains(kind.name)) {
                let mut conditions = self.scope.becomes_own();
                conditions.extend([equals("ec2:CreateAction", &self.need.operation)]);
                let resource = self.scope.arn("ec2", kind.name, &[]);
                grants.push(self.grant(CREATE_TAGS, Some(kind.name), resource, conditions));
            }
        }
        if action.name == CREATE_FLEET {
            // What its template has is needed by the dry runs before it.
            let template = self.scope.arn("ec2", "launch-template", &[]);
            let kind = Some("launch-template");
            grants.push(self.grant(LAUNCH, kind, template, self.scope.is_own()));
        }
        if about.spot {
            let requests = self.scope.arn("ec2", SPOT_REQUEST, &[]);
            let free = Conditions::new();
            grants.push(self.grant(LAUNCH, Some(SPOT_REQUEST), requests, free));
            // An account that has never had a spot instance lacks the role.
            let role = self.scope.arn("iam", "role", &[SPOT_ROLE]);
            let service = [equals("iam:AWSServiceName", "spot.amazonaws.com")];
            let kind = Some("role");
            grants.push(self.grant(CREATE_SERVICE_ROLE, kind, role, service.into()));
        }
        if let Some(profile) = &about.profile {
            // The request names the profile, and its role may have any name. The roles of
            // this program are below one path.
            let conditions = Conditions::from([equals("iam:PassedToService", "ec2.amazonaws.com")]);
            let is_own = profile.ends_with(&format!("-{}", self.scope.run));
            let names: &[&str] = if is_own { &[OWN_PATH] } else { &[] };
            let role = self.scope.arn("iam", "role", names);
            grants.push(self.grant(PASS_ROLE, Some("role"), role, conditions));
        }
        Ok(grants)
    }

    /// Returns the resources of one type that the request is about, each with its
    /// conditions.
    fn targets(&self, kind: Type) -> Vec<(String, Conditions)> {
        let (scope, about) = (self.scope, &self.need.about);
        let any = || (scope.arn("ec2", kind.name, &[]), Conditions::new());
        let own = || {
            let conditions = if kind.resource_tag {
                scope.is_own()
            } else {
                Conditions::new()
            };
            (scope.arn("ec2", kind.name, &[]), conditions)
        };
        // A key pair has its name before it exists.
        let new = about.tagged.contains(kind.name) && kind.request_tag;
        if new {
            return vec![(scope.arn("ec2", kind.name, &[]), scope.becomes_own())];
        }
        let named = about.resources.iter().filter(|named| named.0 == kind.name);
        let named: Vec<&Named> = named.collect();
        if !named.is_empty() {
            return named
                .into_iter()
                .flat_map(|named| {
                    let given = || (scope.arn("ec2", kind.name, &[&named.1]), Conditions::new());
                    match kind.name {
                        _ if named.1.is_empty() || scope.own.contains(named) => vec![own()],
                        // The newest image of a family has another id next month.
                        "image" => vec![any()],
                        "key-pair" => vec![given()],
                        // Volumes of instances and snapshots of images have the tag,
                        // and no rows in the ledger.
                        "volume" | "snapshot" if scope.local => vec![own()],
                        "volume" | "snapshot" => vec![own(), given()],
                        _ if scope.local => vec![any()],
                        _ => vec![given()],
                    }
                })
                .collect();
        }
        let is_of = |association: &str| about.resources.iter().any(|named| named.0 == association);
        match (self.need.operation.as_str(), kind.name) {
            ("CreateTags", _) => vec![],
            (_, "elastic-ip") if is_of(ADDRESS_ASSOCIATION) => vec![own()],
            (_, "network-interface") if is_of(ADDRESS_ASSOCIATION) => vec![any()],
            (_, "route-table" | "subnet") if is_of(TABLE_ASSOCIATION) => vec![own()],
            // Without a VPC in the request, it is the default VPC.
            ("CreateSecurityGroup", "vpc") => vec![any()],
            _ if kind.required => vec![any()],
            _ => vec![],
        }
    }

    fn of_others(&self, keys: &BTreeMap<&str, BTreeSet<&str>>) -> Result<Vec<Grant>> {
        let (scope, about) = (self.scope, &self.need.about);
        let needed = actions(self.need.service, &self.need.operation);
        let mut grants = Vec::new();
        for (action, on, when) in needed.ok_or_else(|| self.unknown())? {
            let applies = match when {
                If::Always => true,
                If::Version => about.version,
                If::NoVersion => !about.version,
            };
            if !applies {
                continue;
            }
            let bucket = scope.bucket(about.bucket.as_deref().unwrap_or("*"));
            let source = scope.bucket(about.source.as_deref().unwrap_or("*"));
            let (kind, resource) = match on {
                On::Bucket => (Some("bucket"), scope.arn("s3", "bucket", &[&bucket])),
                On::Objects => (Some("object"), scope.arn("s3", "object", &[&bucket])),
                On::Source => (Some("object"), scope.arn("s3", "object", &[&source])),
                On::Parameter => {
                    let name = about.parameter.as_deref().unwrap_or("*");
                    let name = name.trim_start_matches('/');
                    (Some("parameter"), scope.arn("ssm", "parameter", &[name]))
                }
                On::Roles => (Some("role"), scope.arn("iam", "role", &[OWN_PATH])),
                On::Profiles => {
                    let arn = scope.arn("iam", "instance-profile", &[OWN_PATH]);
                    (Some("instance-profile"), arn)
                }
                On::ShellDocument => {
                    let name = "AWS-RunShellScript";
                    (Some("document"), scope.arn("ssm", "document", &[name]))
                }
                On::SshDocument => {
                    let name = "AWS-StartSSHSession";
                    (Some("document"), scope.arn("ssm", "document", &[name]))
                }
                On::Sessions => (Some("session"), scope.arn("ssm", "session", &[])),
                On::Instances => {
                    let service = self.need.service.as_str();
                    (Some("instance"), scope.arn(service, "instance", &[]))
                }
                On::All => (None, "*".to_owned()),
            };
            let conditions = match self.need.service {
                Service::S3 => scope.in_region(),
                _ => Conditions::new(),
            };
            grants.push(self.grant(action, kind, resource, conditions));
            if matches!(on, On::Objects | On::Source) {
                let bucket = if *on == On::Source {
                    &about.source
                } else {
                    &about.bucket
                };
                let keys = bucket.as_deref().and_then(|bucket| keys.get(bucket));
                let keys = keys.into_iter().flatten();
                grants.extend(keys.flat_map(|key| self.of_key(action, key)));
            }
        }
        Ok(grants)
    }

    /// Returns what an action on objects needs of the KMS key of their bucket.
    fn of_key(&self, action: &str, key: &str) -> Vec<Grant> {
        let used: &[&str] = match action {
            "s3:PutObject" => &KMS,
            "s3:GetObject" | "s3:GetObjectVersion" => &KMS[1..],
            _ => &[],
        };
        let mut conditions = Conditions::new();
        if let Some(region) = &self.scope.region {
            let service = format!("s3.{region}.amazonaws.com");
            conditions.extend([equals("kms:ViaService", &service)]);
        }
        let resource = match key.split_once("alias/") {
            Some((_, name)) => {
                let aliases = ("ForAnyValue:StringEquals", "kms:ResourceAliases".to_owned());
                conditions.insert(aliases, BTreeSet::from([format!("alias/{name}")]));
                self.scope.arn("kms", "key", &[])
            }
            None if key.starts_with("arn:") => key.to_owned(),
            None => self.scope.arn("kms", "key", &[key]),
        };
        let grant =
            |action: &&str| self.grant(action, Some("key"), resource.clone(), conditions.clone());
        used.iter().map(grant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::need::About;

    fn granted(about: About, service: Service, operation: &str) -> Vec<String> {
        let scope = Scope {
            region: Some("eu-central-1".to_owned()),
            account: Some("111122223333".to_owned()),
            owner: "me".to_owned(),
            run: "7kq2m9w".to_owned(),
            own: BTreeSet::from([Named("instance".to_owned(), "i-1".to_owned())]),
            ..Scope::default()
        };
        let need = Need {
            service,
            operation: operation.to_owned(),
            about,
            cause: Cause::default(),
        };
        let grants = grants(&scope, &[need], &[]).unwrap();
        let shown = grants.iter().map(|grant| {
            let conditions = grant.conditions.iter().map(|((operator, key), values)| {
                format!(
                    " {operator} {key} {}",
                    values.iter().cloned().collect::<String>()
                )
            });
            let conditions: String = conditions.collect();
            format!("{} {}{conditions}", grant.action, grant.resource)
        });
        shown.collect()
    }

    fn named(resources: &[(&str, &str)]) -> About {
        let owned = |(kind, id): &(&str, &str)| Named((*kind).to_owned(), (*id).to_owned());
        About {
            resources: resources.iter().map(owned).collect(),
            ..About::default()
        }
    }

    #[test]
    fn own_resources_have_the_tag_and_others_their_id() {
        let attached = named(&[("instance", "i-1"), ("volume", "vol-1")]);
        assert_eq!(
            granted(attached, Service::Ec2, "AttachVolume"),
            [
                "ec2:AttachVolume arn:aws:ec2:eu-central-1:111122223333:instance/* \
                 StringEquals aws:ResourceTag/autorun:owner me",
                "ec2:AttachVolume arn:aws:ec2:eu-central-1:111122223333:volume/* \
                 StringEquals aws:ResourceTag/autorun:owner me",
                "ec2:AttachVolume arn:aws:ec2:eu-central-1:111122223333:volume/vol-1",
            ]
        );
        let stopped = named(&[("instance", "i-2")]);
        assert_eq!(
            granted(stopped, Service::Ec2, "StopInstances"),
            ["ec2:StopInstances arn:aws:ec2:eu-central-1:111122223333:instance/i-2"]
        );
    }

    #[test]
    fn a_profile_needs_the_permission_to_pass_its_role() {
        for (profile, roles) in [("reader", "*"), ("web-7kq2m9w", "autorun/*")] {
            let launch = About {
                profile: Some(profile.to_owned()),
                ..About::default()
            };
            let granted = granted(launch, Service::Ec2, "RunInstances");
            let pass = format!(
                "iam:PassRole arn:aws:iam::111122223333:role/{roles} StringEquals \
                 iam:PassedToService ec2.amazonaws.com"
            );
            assert_eq!(granted.last(), Some(&pass));
            assert_eq!(granted.len(), 6, "{granted:?}");
        }
    }

    #[test]
    fn a_bucket_with_a_key_of_the_account_needs_the_key() {
        for (key, expected) in [
            ("1a2b", "arn:aws:kms:eu-central-1:111122223333:key/1a2b"),
            (
                "alias/data",
                "arn:aws:kms:eu-central-1:111122223333:key/* ForAnyValue:StringEquals \
                 kms:ResourceAliases alias/data",
            ),
            ("arn:aws:kms:x:1:key/k", "arn:aws:kms:x:1:key/k"),
        ] {
            let upload = About {
                bucket: Some("b".to_owned()),
                kms_key: Some(key.to_owned()),
                ..About::default()
            };
            let granted = granted(upload, Service::S3, "PutObject");
            assert_eq!(
                granted[1..],
                ["GenerateDataKey", "Decrypt"].map(|action| format!(
                    "kms:{action} {expected} StringEquals kms:ViaService \
                     s3.eu-central-1.amazonaws.com"
                ))
            );
        }
    }

    #[test]
    fn a_fleet_launches_from_templates_of_the_ledger() {
        let template = "ec2:RunInstances arn:aws:ec2:eu-central-1:111122223333:launch-template/* \
                        StringEquals aws:ResourceTag/autorun:owner me";
        let fleet = granted(About::default(), Service::Ec2, "CreateFleet");
        assert!(fleet.iter().any(|grant| grant == template), "{fleet:#?}");
        let launch = granted(About::default(), Service::Ec2, "RunInstances");
        assert!(!launch.iter().any(|grant| grant == template), "{launch:#?}");
    }

    #[test]
    fn a_spot_instance_needs_its_request_and_the_role_of_the_service() {
        let launch = About {
            spot: true,
            ..About::default()
        };
        let spot = granted(launch, Service::Ec2, "RunInstances");
        for needed in [
            "ec2:RunInstances arn:aws:ec2:eu-central-1:111122223333:spot-instances-request/*",
            "iam:CreateServiceLinkedRole arn:aws:iam::111122223333:role/aws-service-role/\
             spot.amazonaws.com/AWSServiceRoleForEC2Spot StringEquals iam:AWSServiceName \
             spot.amazonaws.com",
        ] {
            assert!(spot.iter().any(|grant| grant == needed), "{spot:#?}");
        }
    }

    #[test]
    fn a_session_needs_its_document_and_the_instances() {
        assert_eq!(
            granted(About::default(), Service::Ssm, "StartSession"),
            [
                "ssm:StartSession arn:aws:ssm:eu-central-1::document/AWS-StartSSHSession",
                "ssm:StartSession arn:aws:ec2:eu-central-1:111122223333:instance/*",
            ]
        );
        assert_eq!(
            granted(About::default(), Service::Ssm, "TerminateSession"),
            ["ssm:TerminateSession arn:aws:ssm:eu-central-1:111122223333:session/*"]
        );
    }

    #[test]
    fn an_unknown_request_is_an_error() {
        let need = Need {
            service: Service::Ec2,
            operation: "CreateVpnGateway".to_owned(),
            about: About::default(),
            cause: Cause::default(),
        };
        let error = grants(&Scope::default(), &[need], &[]).unwrap_err();
        assert!(
            error.to_string().contains("ec2:CreateVpnGateway"),
            "{error}"
        );
    }
}
