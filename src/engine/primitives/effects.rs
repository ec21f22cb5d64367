//! What each function does to the world, and what a rehearsal does in its place.

/// The effect of a function, which decides where a plan lists its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It computes or looks.
    None,
    /// It creates a resource.
    Create,
    /// It changes a resource.
    Change,
    /// It copies data to another place.
    Copy,
    /// It runs a command or a request with an effect of its own.
    Run,
    /// It deletes a resource.
    Delete,
}

/// Where a function acts, which decides how a rehearsal is kept from acting there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In the playbook, or in files that it reads: a rehearsal does the same.
    Inside,
    /// At EC2 or S3: a rehearsal has its own endpoint.
    Cloud,
    /// On hosts and at URLs: a rehearsal connects only to its own instances and
    /// assumes the rest.
    Hosts,
    /// In files of this machine: a rehearsal writes to its own directory.
    Files,
    /// In programs of this machine: a rehearsal assumes that they succeed.
    Programs,
}

/// All functions.
const FUNCTIONS: &[(Effect, Reach, &[&str])] = &[
    (
        Effect::None,
        Reach::Inside,
        &[
            "allow_again",
            "assert",
            "env",
            "error_info",
            "fail",
            "format_json",
            "format_toml",
            "glob",
            // It may run the program `ssh` to read the ssh configuration.
            "host",
            "is_file",
            "log_debug",
            "log_error",
            "log_info",
            "log_warn",
            "parallel",
            "parse_json",
            "parse_toml",
            // A question changes nothing.
            "prompt",
            "read_file",
            "render",
            "retry",
            "run_id",
            "script_dir",
            "secret",
            "sha256",
            "show_samples",
            "sleep",
            "summary",
            "utc_now",
            "uuid",
            "var",
        ],
    ),
    (
        Effect::None,
        Reach::Cloud,
        &[
            "console_output",
            "describe_instance",
            "find_elastic_ip",
            "find_instance",
            "find_snapshot",
            "find_volume",
            "instance_types",
            "latest_amazon_linux",
            "latest_image",
            "list_instances",
            "list_objects",
            "my_ip",
            "presigned_url",
            "wait_until_running",
        ],
    ),
    (
        Effect::None,
        Reach::Hosts,
        &[
            "host_metrics",
            "http_get",
            "interruption_notice",
            "probe",
            "wait_for_port",
            "wait_for_ssh",
            "wait_until_ready",
            "wait_until_serving",
        ],
    ),
    (
        Effect::Create,
        Reach::Cloud,
        &[
            "create_bucket",
            "create_default_vpc",
            "create_image",
            "create_network",
            "create_security_group",
            "create_snapshot",
            "create_volume",
            "elastic_ip",
            "import_key_pair",
            "instance_role",
            "launch_instance",
        ],
    ),
    // It writes the private key to a file.
    (Effect::Create, Reach::Files, &["create_key_pair"]),
    (
        Effect::Change,
        Reach::Cloud,
        &[
            "attach_volume",
            "close_port",
            "detach_volume",
            "object_url",
            "open_port",
            "reboot_instance",
            "start_instance",
            "stop_instance",
            "tag",
        ],
    ),
    (
        Effect::Copy,
        Reach::Cloud,
        &["copy_object", "upload_dir", "upload_file", "upload_image"],
    ),
    (Effect::Copy, Reach::Hosts, &["scp"]),
    (
        Effect::Copy,
        Reach::Files,
        &["download_dir", "download_file", "scp_from", "write_file"],
    ),
    (Effect::Run, Reach::Cloud, &["fleet_exec"]),
    (Effect::Run, Reach::Hosts, &["http_request", "ssh_exec"]),
    (Effect::Run, Reach::Programs, &["local_exec"]),
    (
        Effect::Delete,
        Reach::Cloud,
        &[
            "delete_bucket",
            "delete_network",
            "delete_object",
            "delete_security_group",
            "delete_snapshot",
            "delete_volume",
            "deregister_image",
            "empty_bucket",
            "release_elastic_ip",
            "terminate_instance",
        ],
    ),
    // It deletes the file of the private key too.
    (Effect::Delete, Reach::Files, &["delete_key_pair"]),
];

/// Returns the effect of a function of autorun.
#[must_use]
pub fn effect_of(function: &str) -> Effect {
    let mut rows = FUNCTIONS.iter();
    rows.find(|(_, _, names)| names.contains(&function))
        .map_or(Effect::None, |(effect, ..)| *effect)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::primitives::{Realm, realms};

    /// A new function needs a row: decide what a rehearsal does in its place.
    #[test]
    fn every_function_has_one_row() {
        let names = FUNCTIONS.iter().flat_map(|(_, _, names)| names.iter());
        let mut rows = BTreeMap::new();
        for name in names {
            *rows.entry((*name).to_owned()).or_insert(0) += 1;
        }
        let twice: Vec<_> = rows.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        let listed: BTreeSet<String> = rows.into_keys().collect();
        let known: BTreeSet<String> = realms().into_keys().map(str::to_owned).collect();
        let missing: Vec<_> = known.difference(&listed).collect();
        let unknown: Vec<_> = listed.difference(&known).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{missing:?} {unknown:?}"
        );
    }

    #[test]
    fn functions_of_aws_reach_the_cloud() {
        let realms = realms();
        for (_, reach, names) in FUNCTIONS {
            for name in *names {
                let aws = matches!(realms[*name], Realm::Ec2 | Realm::S3);
                let fits = match reach {
                    Reach::Cloud => aws,
                    Reach::Files | Reach::Hosts => true,
                    Reach::Inside | Reach::Programs => !aws,
                };
                assert!(fits, "{name}");
            }
        }
    }
}
