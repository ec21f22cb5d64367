//! The distribution's own cloud-init: installs its package where it is missing,
//! tells it where it is, and runs its stages.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitStatus;

use serde_json::{Value, json};

use super::super::super::files;
use super::super::disk::standins::{CLOUD_INIT, HOSTS_CLOUD_INIT};
use super::super::units::Stage;
use super::cloud_init::{CloudInit, Progress};
use super::spawn::Spawn;

const SETTINGS: &str = "/etc/cloud/cloud.cfg.d/90_autorun.cfg";
const INSTALL_LOG: &str = "/var/log/cloud-init-install.log";
const STATUS: &str = "/var/lib/cloud/data/status.json";
const RESULT: &str = "/var/lib/cloud/data/result.json";

/// The stages after the network is up. The one before it, `init --local`, would
/// query the network by DHCP, which a local cloud does not have.
const STAGES: [(Stage, &[&str]); 3] = [
    (Stage::Init, &["init"]),
    (Stage::Config, &["modules", "--mode=config"]),
    (Stage::Final, &["modules", "--mode=final"]),
];

/// Installs the package. Package lists may be older than the packages. The proxy
/// accepts the user agent also from instances in private subnets. Newer versions of the
/// package fail on machines without `ip`, and do not depend on it.
const INSTALL: &str = "\
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    agent=Acquire::http::User-Agent=autorun-cloud-init
    set -- -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o $agent \
        install cloud-init iproute2
    apt-get \"$@\" || { apt-get -o $agent update && apt-get \"$@\"; }
else
    dnf install -y cloud-init
fi";

/// Whether the disk has the distribution's program in the place of ours.
pub(super) fn is_installed() -> bool {
    let found = Path::new(CLOUD_INIT).symlink_metadata();
    found.is_ok_and(|found| found.is_file())
}

/// Returns the settings: what differs in a local cloud from a machine of EC2.
/// Its network, host keys and disk are set up already.
fn settings(user: &str) -> String {
    format!(
        "# Written by autorun at each boot.\n\
         datasource_list: [Ec2]\n\
         network: {{config: disabled}}\n\
         growpart: {{mode: \"off\"}}\n\
         resize_rootfs: false\n\
         ssh_deletekeys: false\n\
         ssh_genkeytypes: [ed25519]\n\
         ssh: {{emit_keys_to_console: false}}\n\
         no_ssh_fingerprints: true\n\
         locale: C.UTF-8\n\
         system_info: {{default_user: {{name: {user}}}}}\n"
    )
}

impl CloudInit {
    /// Installs the package. Fails with the reason.
    pub(super) async fn install(&self) -> Result<(), String> {
        if Path::new(HOSTS_CLOUD_INIT).is_file() {
            let placed = fs::copy(HOSTS_CLOUD_INIT, format!("{CLOUD_INIT}.new"))
                .and_then(|_| fs::rename(format!("{CLOUD_INIT}.new"), CLOUD_INIT));
            return placed.map_err(|error| error.to_string());
        }
        self.console
            .stamped("autorun: installing cloud-init for this user data");
        let shell = Spawn::new("/bin/sh").args(["-c", INSTALL]);
        let ended = self.run_program(shell, Some(INSTALL_LOG)).await;
        match ended {
            Ok(status) if status.success() && is_installed() => Ok(()),
            Ok(_) => Err(last_error(
                &files::read_text(INSTALL_LOG).unwrap_or_default(),
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Runs the stages, and returns how they ended.
    pub(super) async fn run_stages(&self) -> io::Result<Progress> {
        fs::create_dir_all("/etc/cloud/cloud.cfg.d")?;
        files::replace(SETTINGS, settings(&self.user).as_bytes(), 0o644)?;
        fs::create_dir_all("/run/cloud-init")?;
        // The generator of systemd would leave this file.
        files::replace("/run/cloud-init/enabled", b"", 0o644)?;
        for (stage, args) in STAGES {
            self.stages.begin(stage);
            let program = Spawn::new(CLOUD_INIT).args(args);
            // It writes its log itself.
            let ended = self.run_program(program, None).await;
            self.stages
                .end(stage, ended.as_ref().is_ok_and(ExitStatus::success));
            ended?;
        }
        self.apply_faults()?;
        let result = files::read_text(RESULT).unwrap_or_default();
        let result: Value = serde_json::from_str(&result).unwrap_or_default();
        let errors = result["v1"]["errors"].as_array();
        Ok(match errors {
            Some(errors) if errors.is_empty() => Progress::Done,
            Some(errors) => Progress::Failed(errors[0].as_str().unwrap_or_default().to_owned()),
            None => Progress::Failed("cloud-init recorded no result".to_owned()),
        })
    }

    /// Adds the errors that the faults file requests to what cloud-init recorded.
    fn apply_faults(&self) -> io::Result<()> {
        if self.faults.user_data_exit.is_none() && !self.faults.degraded {
            return Ok(());
        }
        let text = "requested by the faults file";
        for file in [STATUS, RESULT] {
            let mut record: Value = serde_json::from_str(&files::read_text(file)?)?;
            let place = if file == STATUS {
                &mut record["v1"]["modules-final"]
            } else {
                &mut record["v1"]
            };
            if self.faults.user_data_exit.is_some() {
                place["errors"] = json!([format!("('scripts-user', RuntimeError('{text}'))")]);
            } else if file == STATUS {
                place["recoverable_errors"] = json!({ "WARNING": [text] });
            }
            files::replace(file, format!("{record:#}\n").as_bytes(), 0o644)?;
        }
        Ok(())
    }
}

/// Returns the line of a package manager's output that says why it failed.
fn last_error(output: &str) -> String {
    let lines = || {
        output
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let error = lines().rfind(|line| line.starts_with("E: ") || line.starts_with("Error"));
    let line = error.or_else(|| lines().next_back());
    line.unwrap_or("the package manager printed no reason")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_failed_installation_is_found() {
        let apt = "Reading package lists...\nE: Unable to locate package cloud-init\n\n";
        assert_eq!(last_error(apt), "E: Unable to locate package cloud-init");
        assert_eq!(
            last_error("No match for argument: cloud-init\n"),
            "No match for argument: cloud-init"
        );
        assert_eq!(last_error(""), "the package manager printed no reason");
    }
}
