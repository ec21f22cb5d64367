//! The faults of `--faults FILE`: failures on request, to rehearse a playbook's
//! `catch` blocks.
//!
//! Faults apply to one run, identified by the application name in its requests, or
//! to all requests of runs that have none of their own. Which call is hit depends only
//! on the file and on the order of these requests.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::authorization::Policy;

/// The name of the pseudo-operation that starts an instance.
pub const BOOT: &str = "boot";

/// The name that matches every operation except [`BOOT`].
pub const ANY: &str = "*";

/// A faults file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The seed of the random numbers for `chance`.
    pub seed: u64,
    /// The settings of the account.
    pub account: Account,
    /// The faults. A call counts for every fault that matches it; the first
    /// fault that hits acts.
    pub fault: Vec<Fault>,
}

/// Settings of the account that a playbook may meet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Account {
    /// Whether S3 Block Public Access is on for the whole account.
    pub blocks_public: bool,
    /// Whether the account has no default VPC.
    pub no_default_vpc: bool,
    /// Whether the default VPC has no default subnet.
    pub no_default_subnet: bool,
    /// Whether the account is on the free plan, which has only the free-tier
    /// eligible types.
    pub free_plan: bool,
    /// The quota of running vCPUs.
    pub vcpus: Option<u32>,
    /// The quota of Elastic IP addresses in a region.
    pub elastic_ips: Option<usize>,
    /// Names of buckets that belong to another account.
    pub taken_buckets: Vec<String>,
    /// The zones that do not offer an instance type, by the type's name.
    pub not_offered: BTreeMap<String, Vec<String>>,
    /// Where AWS has less capacity than launches ask for.
    pub shortages: Vec<Shortage>,
    /// The regions that the account has not enabled.
    pub disabled_regions: Vec<String>,
    /// Whether the session token of the credentials has expired.
    pub expired_token: bool,
    /// Whether Systems Manager manages instances without a role that allows it (its
    /// Default Host Management Configuration).
    pub default_host_management: bool,
    /// How many seconds this machine's clock is behind that of AWS. A negative number
    /// says that it is ahead.
    pub clock_skew_seconds: i32,
    /// The policy of the only user, which may otherwise do everything. A path, which
    /// is relative to the directory of the faults file.
    pub policy: Option<PathBuf>,
}

/// A lack of capacity for instances.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shortage {
    /// The instance type; without it, all types.
    #[serde(rename = "type")]
    pub instance_type: Option<String>,
    /// The zone; without it, all zones.
    pub zone: Option<String>,
    /// Whether spot capacity is short, or other capacity; without it, both.
    pub spot: Option<bool>,
    /// How many of these instances can be up at once.
    pub available: u32,
}

impl Account {
    /// Whether a region is not enabled.
    pub(crate) fn disables(&self, region: &str) -> bool {
        self.disabled_regions.iter().any(|name| name == region)
    }

    /// Whether a zone offers an instance type.
    pub(crate) fn offers(&self, instance_type: &str, zone: &str) -> bool {
        let zones = self.not_offered.get(instance_type);
        !zones.is_some_and(|zones| zones.iter().any(|name| name == zone))
    }
}

/// A faults file with the text of the policy that it names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The faults.
    pub faults: Faults,
    /// The text of the policy.
    #[serde(default)]
    pub policy: Option<String>,
}

impl Settings {
    /// Checks the values that the types cannot check.
    ///
    /// # Errors
    /// Fails with a message about the first mistake.
    pub fn check(&self) -> Result<(), String> {
        self.faults.check()?;
        let policy = self.policy.as_deref().map(Policy::parse).transpose();
        policy.map(drop).map_err(|mistake| mistake.to_string())
    }
}

/// One fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The operation's name in the SDK, such as `RunInstances`; `boot` for the
    /// start of an instance; `*` for every operation.
    pub operation: String,
    /// The number of the first call that is hit, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls are hit, 0 for all. The default is 1, or all with
    /// `chance`.
    pub times: Option<u64>,
    /// The probability that a call is hit, from 0 to 1.
    pub chance: Option<f64>,
    /// What happens.
    #[serde(rename = "do")]
    pub act: Act,
    /// Whether the fault acts before or after the operation takes effect.
    #[serde(default)]
    pub when: When,
    /// The code of an `error`, or of the reason of a `fail-boot`.
    pub code: Option<String>,
    /// The message of an `error` or a `fail-boot`.
    pub message: Option<String>,
    /// The HTTP status of an `error`, the exit status of a `fail-user-data`.
    pub status: Option<u16>,
    /// How long a `hang`, `slow-boot` or `slow-reboot` lasts; how long after its start
    /// an `interrupt-spot` announces the interruption of an instance.
    pub seconds: Option<f64>,
    /// How long before it an `interrupt-spot` announces the interruption. The default
    /// is that of EC2, 120 seconds.
    pub notice: Option<f64>,
    /// The number of bytes after which a `drop-ssh` resets a connection.
    pub bytes: Option<u64>,
}

fn one() -> u64 {
    1
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A throttling error of the service.
    Throttle,
    /// An error response. The default is status 500 with code `InternalError`.
    Error,
    /// A connection reset instead of a response.
    Reset,
    /// A delay before the operation continues.
    Hang,
    /// An object whose last byte differs from the stored one.
    Corrupt,
    /// An instance that stays pending for a while.
    SlowBoot,
    /// An instance whose reboots take a while.
    SlowReboot,
    /// An instance that stays pending forever.
    EndlessBoot,
    /// An instance that terminates instead of running.
    FailBoot,
    /// User data that runs and then counts as failed.
    FailUserData,
    /// A cloud-init that ends with recoverable errors.
    DegradeUserData,
    /// ssh connections that are reset after some bytes.
    DropSsh,
    /// An instance without an ssh server.
    NoSsh,
    /// An instance without cloud-init.
    NoCloudInit,
    /// A console that never shows the host keys.
    NoConsoleKeys,
    /// A console that shows other host keys than those of the ssh server.
    OtherConsoleKeys,
    /// A console that shows the host keys only after the user data, as on AWS.
    LateConsoleKeys,
    /// An instance without the agent of Systems Manager.
    NoAgent,
    /// An instance whose agent of Systems Manager has lost its connection.
    AgentOffline,
    /// A spot instance that EC2 interrupts.
    InterruptSpot,
}

impl Act {
    fn concerns_boot(self) -> bool {
        !matches!(
            self,
            Self::Throttle | Self::Error | Self::Reset | Self::Hang | Self::Corrupt
        )
    }
}

/// When a fault acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// The operation has no effect.
    #[default]
    Before,
    /// The operation takes effect, but its response is lost.
    After,
}

impl Faults {
    /// Checks the values that the types cannot check.
    ///
    /// # Errors
    /// Fails with a message about the first bad fault, a sentence fragment for
    /// the author of the file.
    pub fn check(&self) -> Result<(), String> {
        for (index, fault) in self.fault.iter().enumerate() {
            let at = |what: &str| Err(format!("fault {}: {what}", index + 1));
            if fault.nth == 0 {
                return at("`nth` must be at least 1");
            }
            if fault
                .chance
                .is_some_and(|chance| !(0.0..=1.0).contains(&chance))
            {
                return at("`chance` must be from 0 to 1");
            }
            for (name, seconds) in [("seconds", fault.seconds), ("notice", fault.notice)] {
                if seconds.is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds)) {
                    return at(&format!("`{name}` must be from 0 to 86400"));
                }
            }
            if fault
                .status
                .is_some_and(|status| fault.act == Act::Error && !(400..600).contains(&status))
            {
                return at("`status` of an error must be from 400 to 599");
            }
            if fault.act == Act::Corrupt && fault.operation != "GetObject" {
                return at("`corrupt` needs `operation = \"GetObject\"`");
            }
            if fault.act.concerns_boot() != (fault.operation == BOOT) {
                return at(
                    "a fault of an instance needs `operation = \"boot\"`, and no other fault may have it",
                );
            }
        }
        Ok(())
    }
}

impl Fault {
    fn hits(&self, seed: u64, index: usize, call: u64) -> bool {
        let times = self
            .times
            .unwrap_or_else(|| u64::from(self.chance.is_none()));
        let within = call >= self.nth && (times == 0 || call - self.nth < times);
        within
            && self
                .chance
                .is_none_or(|chance| dice(seed, index, call) < chance)
    }
}

/// Returns a number from 0 to 1 that depends only on the arguments.
fn dice(seed: u64, index: usize, call: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (seed, index, call).hash(&mut hasher);
    #[expect(clippy::cast_precision_loss, reason = "53 bits of a chance are enough")]
    let share = (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64;
    share
}

/// The faults of one run and its call counters.
#[derive(Debug)]
struct Run {
    faults: Faults,
    policy: Option<Arc<Policy>>,
    calls: HashMap<String, u64>,
}

/// The faults of all runs. Those of the name [`EVERYONE`] apply to the requests of all
/// other runs, and to those that name no run.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<HashMap<String, Run>>);

/// The key of the faults for everyone. No run has this name.
const EVERYONE: &str = "";

/// The maximum number of runs with faults. The faults of a killed run stay
/// until the process ends.
const MOST_RUNS: usize = 1000;

impl Plans {
    /// Sets the faults of a run, or of everyone. Fails with a message.
    pub(crate) fn set(&self, run: Option<&str>, settings: &Settings) -> Result<(), String> {
        settings.check()?;
        let policy = settings.policy.as_deref().map(Policy::parse).transpose();
        let policy = policy.map_err(|mistake| mistake.to_string())?;
        let mut runs = self.lock();
        if runs.len() >= MOST_RUNS {
            return Err("too many runs have faults already".to_owned());
        }
        let entry = Run {
            faults: settings.faults.clone(),
            policy: policy.map(Arc::new),
            calls: HashMap::new(),
        };
        runs.insert(run.unwrap_or(EVERYONE).to_owned(), entry);
        Ok(())
    }

    /// Removes the faults of a run, or of everyone.
    pub(crate) fn forget(&self, run: Option<&str>) {
        self.lock().remove(run.unwrap_or(EVERYONE));
    }

    /// Whether there are faults for everyone.
    pub(crate) fn has_any_for_everyone(&self) -> bool {
        self.lock().contains_key(EVERYONE)
    }

    /// Counts a call and returns the fault that hits it.
    pub(crate) fn hit(&self, run: Option<&str>, operation: &str) -> Option<Fault> {
        let mut runs = self.lock();
        let run = key(&runs, run);
        let run = runs.get_mut(&run)?;
        let call = run.calls.entry(operation.to_owned()).or_default();
        *call += 1;
        let seed = run.faults.seed;
        let hit = run.faults.fault.iter().enumerate().find(|(index, fault)| {
            let fits =
                fault.operation == operation || (fault.operation == ANY && operation != BOOT);
            fits && fault.hits(seed, *index, *call)
        });
        hit.map(|(_, fault)| fault.clone())
    }

    /// Returns the account settings of a run.
    pub(crate) fn account(&self, run: Option<&str>) -> Account {
        let runs = self.lock();
        let found = runs.get(&key(&runs, run));
        found
            .map(|run| run.faults.account.clone())
            .unwrap_or_default()
    }

    /// Returns the policy that holds the user in a run.
    pub(crate) fn policy(&self, run: Option<&str>) -> Option<Arc<Policy>> {
        let runs = self.lock();
        runs.get(&key(&runs, run))?.policy.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Run>> {
        // After a panic in another thread the counters are still valid.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Returns the key of the faults for a run.
fn key(runs: &HashMap<String, Run>, run: Option<&str>) -> String {
    let own = run.filter(|run| runs.contains_key(*run));
    own.unwrap_or(EVERYONE).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(toml: &str) -> Plans {
        let settings = Settings {
            faults: toml::from_str(toml).unwrap(),
            policy: None,
        };
        let plans = Plans::default();
        plans.set(Some("r"), &settings).unwrap();
        plans
    }

    #[test]
    fn the_faults_of_everyone_apply_to_runs_without_their_own() {
        let plans = plans("[account]\nvcpus = 1\n");
        let everyone = Settings {
            policy: Some(r#"{"Statement": []}"#.to_owned()),
            ..Settings::default()
        };
        plans.set(None, &everyone).unwrap();
        assert_eq!(plans.account(Some("r")).vcpus, Some(1));
        assert!(plans.policy(Some("r")).is_none());
        for run in [None, Some("other")] {
            assert_eq!(plans.account(run).vcpus, None);
            assert!(plans.policy(run).is_some());
        }
        plans.forget(None);
        assert!(plans.policy(None).is_none());
    }

    #[test]
    fn the_nth_call_is_hit_and_the_next_is_not() {
        let plans = plans("[[fault]]\noperation = 'RunInstances'\nnth = 2\ndo = 'throttle'\n");
        let hit = |operation| plans.hit(Some("r"), operation).is_some();
        assert!(!hit("RunInstances"));
        assert!(!hit("DescribeImages"), "another operation is not counted");
        assert!(hit("RunInstances"));
        assert!(!hit("RunInstances"));
        assert!(plans.hit(Some("other"), "RunInstances").is_none());
        assert!(plans.hit(None, "RunInstances").is_none());
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let rolls = |seed: u64| -> Vec<bool> {
            let plans = plans(&format!(
                "seed = {seed}\n[[fault]]\noperation = '*'\nchance = 0.5\ndo = 'reset'\n"
            ));
            (0..64)
                .map(|_| plans.hit(Some("r"), "GetObject").is_some())
                .collect()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        let hits = rolls(1).into_iter().filter(|hit| *hit).count();
        assert!((16..48).contains(&hits), "{hits}");
    }

    #[test]
    fn invalid_faults_are_rejected() {
        let fault = |text: &str| {
            toml::from_str::<Faults>(&format!("[[fault]]\n{text}"))
                .unwrap()
                .check()
        };
        assert!(fault("operation = 'RunInstances'\ndo = 'slow-boot'").is_err());
        assert!(fault("operation = 'boot'\ndo = 'throttle'").is_err());
        assert!(fault("operation = 'PutObject'\ndo = 'corrupt'").is_err());
        assert!(fault("operation = 'GetObject'\ndo = 'corrupt'").is_ok());
        assert!(fault("operation = 'boot'\ndo = 'drop-ssh'\nnth = 0").is_err());
        assert!(fault("operation = 'x'\ndo = 'hang'\nchance = 2.0").is_err());
        let interrupt = "operation = 'boot'\ndo = 'interrupt-spot'\nnotice";
        assert!(fault(&format!("{interrupt} = 2")).is_ok());
        assert!(fault(&format!("{interrupt} = -1")).is_err());
        assert!(fault("operation = 'boot'\ndo = 'drop-ssh'\nbytes = 10").is_ok());
    }
}
