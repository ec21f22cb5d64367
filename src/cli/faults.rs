//! `--faults FILE`: reads a faults file and the policy that it names.

use std::path::Path;

use anyhow::anyhow;
use autorun_localcloud::authorization::Policy;
use autorun_localcloud::faults::{self, Faults, Settings};

use super::settings::shown;
use crate::error::Error;
use crate::report::text;

/// Reads a faults file. The error for a mistake in it, or in its policy, shows the
/// line.
pub(super) fn read_faults(path: &Path) -> anyhow::Result<Settings> {
    let text = read("read the faults file", path)?;
    let faults: Faults = toml::from_str(&text).map_err(|e| anyhow!("{}: {e}", path.display()))?;
    let checked = faults.check().and_then(|()| check_operations(&faults));
    checked.map_err(|why| anyhow!("{}: {why}", path.display()))?;
    let policy = faults.account.policy.as_ref();
    let policy = policy.map(|policy| read_policy(&path.with_file_name(policy)));
    Ok(Settings {
        policy: policy.transpose()?,
        faults,
    })
}

/// Reads a policy and checks it.
fn read_policy(path: &Path) -> anyhow::Result<String> {
    let text = read("read the policy", path)?;
    Policy::parse(&text).map_err(|mistake| anyhow!("{}: {mistake}", path.display()))?;
    Ok(text)
}

fn read(action: &str, path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|e| shown(&Error::io(action, path, &e)))
}

/// Rejects unknown operations: their faults would never happen.
fn check_operations(faults: &Faults) -> Result<(), String> {
    let known = || autorun_localcloud::operations().chain([faults::BOOT, faults::ANY]);
    for (index, fault) in faults.fault.iter().enumerate() {
        let name = fault.operation.as_str();
        if !known().any(|operation| operation == name) {
            let nearest = text::nearest(name, known());
            let instead = nearest.map_or_else(
                || "use the name of an AWS operation, such as `RunInstances`".to_owned(),
                |nearest| format!("the most similar one is `{nearest}`"),
            );
            return Err(format!(
                "fault {}: the local cloud has no operation `{name}`; {instead}",
                index + 1
            ));
        }
    }
    Ok(())
}
