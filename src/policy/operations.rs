//! The IAM actions that AWS checks for each operation that the clients send.
//!
//! An action of EC2 has the name of its operation. Those of S3 do not: see "Required
//! permissions for Amazon S3 API operations" in S3's User Guide.

use crate::clients::calls::Service;

/// What an action is allowed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// The bucket in the request.
    Bucket,
    /// The objects of the bucket in the request.
    Objects,
    /// The objects of the bucket from which the request copies.
    Source,
    /// The parameter of Systems Manager in the request.
    Parameter,
    /// The document of Systems Manager that runs shell commands.
    ShellDocument,
    /// The document of Systems Manager for ssh.
    SshDocument,
    /// Sessions of Systems Manager.
    Sessions,
    /// Instances.
    Instances,
    /// The roles of this program, which have a path of their own.
    Roles,
    /// Its instance profiles.
    Profiles,
    /// Everything: the action does not support resources.
    All,
}

/// Requests of an operation that need an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum If {
    /// All of them.
    Always,
    /// Those that name a version of an object.
    Version,
    /// Those that do not.
    NoVersion,
}

/// An action that an operation needs.
pub(super) type Needed = (&'static str, On, If);

const fn bucket(action: &'static str) -> Needed {
    (action, On::Bucket, If::Always)
}

const fn objects(action: &'static str) -> Needed {
    (action, On::Objects, If::Always)
}

/// To a caller who may not list the bucket, S3 answers 403 instead of 404 for an
/// object that does not exist.
const LIST: Needed = bucket("s3:ListBucket");
const PUT: Needed = objects("s3:PutObject");
const GET: Needed = ("s3:GetObject", On::Objects, If::NoVersion);
const GET_VERSION: Needed = ("s3:GetObjectVersion", On::Objects, If::Version);
const SOURCE: Needed = ("s3:GetObject", On::Source, If::Always);
const DELETE: Needed = ("s3:DeleteObject", On::Objects, If::NoVersion);
const DELETE_VERSION: Needed = ("s3:DeleteObjectVersion", On::Objects, If::Version);

/// Returns the actions of an operation of another service than EC2, or `None` if the
/// program does not send it.
pub(super) fn actions(service: Service, operation: &str) -> Option<&'static [Needed]> {
    Some(match service {
        Service::S3 => return of_s3(operation),
        Service::Ssm => return of_ssm(operation),
        Service::Iam => return of_iam(operation),
        Service::InstanceConnect if operation == "SendSSHPublicKey" => {
            &const {
                [(
                    "ec2-instance-connect:SendSSHPublicKey",
                    On::Instances,
                    If::Always,
                )]
            }
        }
        // AWS allows it to everyone.
        Service::Sts if operation == "GetCallerIdentity" => &[],
        Service::Ec2 | Service::Sts | Service::InstanceConnect => return None,
    })
}

fn of_ssm(operation: &str) -> Option<&'static [Needed]> {
    const fn any(action: &'static str) -> Needed {
        (action, On::All, If::Always)
    }
    Some(match operation {
        "CancelCommand" => &const { [any("ssm:CancelCommand")] },
        "DescribeInstanceInformation" => &const { [any("ssm:DescribeInstanceInformation")] },
        "GetCommandInvocation" => &const { [any("ssm:GetCommandInvocation")] },
        "GetParameter" => &[("ssm:GetParameter", On::Parameter, If::Always)],
        "ListCommandInvocations" => &const { [any("ssm:ListCommandInvocations")] },
        "ListCommands" => &const { [any("ssm:ListCommands")] },
        "SendCommand" => {
            &const {
                [
                    ("ssm:SendCommand", On::ShellDocument, If::Always),
                    ("ssm:SendCommand", On::Instances, If::Always),
                    // After a lost answer, and after Ctrl-C.
                    any("ssm:ListCommands"),
                    any("ssm:CancelCommand"),
                ]
            }
        }
        "StartSession" => {
            &const {
                [
                    ("ssm:StartSession", On::SshDocument, If::Always),
                    ("ssm:StartSession", On::Instances, If::Always),
                ]
            }
        }
        "TerminateSession" => &const { [("ssm:TerminateSession", On::Sessions, If::Always)] },
        _ => return None,
    })
}

fn of_iam(operation: &str) -> Option<&'static [Needed]> {
    const fn role(action: &'static str) -> Needed {
        (action, On::Roles, If::Always)
    }
    const fn profile(action: &'static str) -> Needed {
        (action, On::Profiles, If::Always)
    }
    Some(match operation {
        "AddRoleToInstanceProfile" => {
            &const { [profile("iam:AddRoleToInstanceProfile"), role(PASS_ROLE)] }
        }
        "AttachRolePolicy" => &const { [role("iam:AttachRolePolicy")] },
        "CreateInstanceProfile" => {
            &const {
                [
                    profile("iam:CreateInstanceProfile"),
                    profile("iam:TagInstanceProfile"),
                ]
            }
        }
        "CreateRole" => &const { [role("iam:CreateRole"), role("iam:TagRole")] },
        "DeleteInstanceProfile" => &const { [profile("iam:DeleteInstanceProfile")] },
        "DeleteRole" => &const { [role("iam:DeleteRole")] },
        "DeleteRolePolicy" => &const { [role("iam:DeleteRolePolicy")] },
        "DetachRolePolicy" => &const { [role("iam:DetachRolePolicy")] },
        "GetInstanceProfile" => &const { [profile("iam:GetInstanceProfile")] },
        "GetRole" => &const { [role("iam:GetRole")] },
        "PutRolePolicy" => &const { [role("iam:PutRolePolicy")] },
        "RemoveRoleFromInstanceProfile" => {
            &const { [profile("iam:RemoveRoleFromInstanceProfile")] }
        }
        _ => return None,
    })
}

fn of_s3(operation: &str) -> Option<&'static [Needed]> {
    Some(match operation {
        "AbortMultipartUpload" => &const { [objects("s3:AbortMultipartUpload")] },
        "CompleteMultipartUpload" | "CreateMultipartUpload" | "PutObject" | "UploadPart" => &[PUT],
        "CopyObject" | "UploadPartCopy" => &[SOURCE, PUT],
        "CreateBucket" => &const { [bucket("s3:CreateBucket")] },
        "DeleteBucket" => &const { [bucket("s3:DeleteBucket")] },
        "DeleteBucketPolicy" => &const { [bucket("s3:DeleteBucketPolicy")] },
        "DeleteObject" | "DeleteObjects" => &[DELETE, DELETE_VERSION],
        "GetBucketEncryption" => &const { [bucket("s3:GetEncryptionConfiguration")] },
        "GetBucketPolicy" => &const { [bucket("s3:GetBucketPolicy")] },
        "GetBucketTagging" => &const { [bucket("s3:GetBucketTagging")] },
        "GetBucketVersioning" => &const { [bucket("s3:GetBucketVersioning")] },
        "GetObject" | "HeadObject" => &[GET, GET_VERSION, LIST],
        "GetPublicAccessBlock" => &const { [bucket("s3:GetBucketPublicAccessBlock")] },
        "HeadBucket" | "ListObjectsV2" => &[LIST],
        "ListBuckets" => &[("s3:ListAllMyBuckets", On::All, If::Always)],
        "ListMultipartUploads" => &const { [bucket("s3:ListBucketMultipartUploads")] },
        "ListObjectVersions" => &const { [bucket("s3:ListBucketVersions")] },
        "ListParts" => &const { [objects("s3:ListMultipartUploadParts")] },
        "PutBucketEncryption" => &const { [bucket("s3:PutEncryptionConfiguration")] },
        "PutBucketPolicy" => &const { [bucket("s3:PutBucketPolicy")] },
        "PutBucketTagging" => &const { [bucket("s3:PutBucketTagging")] },
        "PutBucketVersioning" => &const { [bucket("s3:PutBucketVersioning")] },
        "PutPublicAccessBlock" => &const { [bucket("s3:PutBucketPublicAccessBlock")] },
        _ => return None,
    })
}

/// The action for the role of an instance profile.
pub(super) const PASS_ROLE: &str = "iam:PassRole";

/// The action for the role of a service.
pub(super) const CREATE_SERVICE_ROLE: &str = "iam:CreateServiceLinkedRole";

/// The action for launches, which those of a fleet need too.
pub(super) const LAUNCH: &str = "ec2:RunInstances";

/// The action for fleets.
pub(super) const CREATE_FLEET: &str = "ec2:CreateFleet";

/// The action for tags, which a request that creates something with tags needs too.
pub(super) const CREATE_TAGS: &str = "ec2:CreateTags";

/// The actions for a bucket that is encrypted with a KMS key of the account: to write
/// objects, and to read them or write them in parts.
pub(super) const KMS: [&str; 2] = ["kms:GenerateDataKey", "kms:Decrypt"];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use regex_lite::Regex;

    use super::*;
    use crate::policy::table;

    /// Returns the sources in a folder and the folders below it.
    fn sources(folder: &Path) -> Vec<String> {
        let files = std::fs::read_dir(folder).unwrap();
        let of_file = |path: &Path| {
            if path.is_dir() {
                sources(path)
            } else {
                vec![std::fs::read_to_string(path).unwrap()]
            }
        };
        files
            .flat_map(|file| of_file(&file.unwrap().path()))
            .collect()
    }

    /// Returns the operations that the clients in this folder send, read from their
    /// calls of the SDK.
    fn sent(folder: &str) -> Vec<String> {
        let call = Regex::new(r"\bclient\s*\.\s*([a-z_0-9]+)\(").unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut found = Vec::new();
        for text in sources(&folder) {
            let methods = call.captures_iter(&text).map(|found| found[1].to_owned());
            found.extend(methods.filter(|method| method != "config"));
        }
        found.sort();
        found.dedup();
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        let names = found.iter();
        names
            .map(|method| method.split('_').map(capital).collect())
            .collect()
    }

    #[test]
    fn every_operation_that_the_clients_send_has_its_actions() {
        let ec2 = sent("src/clients/ec2");
        assert!(ec2.len() >= 60, "{ec2:?}");
        for operation in ec2 {
            assert!(table::of_ec2(&operation).is_some(), "ec2:{operation}");
        }
        let s3 = sent("src/clients/s3");
        assert!(s3.len() >= 30, "{s3:?}");
        for operation in s3 {
            assert!(of_s3(&operation).is_some(), "s3:{operation}");
        }
    }

    #[test]
    fn every_action_is_in_the_table() {
        let text = include_str!("operations.rs");
        let name = Regex::new(r#""((ec2|iam|kms|s3|ssm):[A-Za-z]+)""#).unwrap();
        let mut count = 0;
        for found in name.captures_iter(text) {
            assert!(table::action(&found[1]).is_some(), "{}", &found[1]);
            count += 1;
        }
        assert!(count >= 25, "{count}");
    }
}
