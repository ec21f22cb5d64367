//! The faults of `--faults FILE`: failures on request, to rehearse a playbook's
//! `catch` blocks.
//!
//! Faults apply to one run, identified by the application name in its requests.
//! Which call is hit depends only on the file and on the order of the run's own
//! calls.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

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
    /// How long a `hang`, `slow-boot` or `slow-reboot` lasts.
    pub seconds: Option<f64>,
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
            if fault
                .seconds
                .is_some_and(|s| !(0.0..=86_400.0).contains(&s))
            {
                return at("`seconds` must be from 0 to 86400");
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
    calls: HashMap<String, u64>,
}

/// The faults of all runs.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<HashMap<String, Run>>);

/// The maximum number of runs with faults. The faults of a killed run stay
/// until the process ends.
const MOST_RUNS: usize = 1000;

impl Plans {
    /// Sets the faults of a run. Returns false if too many runs have faults.
    pub(crate) fn set(&self, run: &str, faults: Faults) -> bool {
        let mut runs = self.lock();
        if runs.len() >= MOST_RUNS {
            return false;
        }
        let calls = HashMap::new();
        runs.insert(run.to_owned(), Run { faults, calls });
        true
    }

    /// Removes the faults of a run.
    pub(crate) fn forget(&self, run: &str) {
        self.lock().remove(run);
    }

    /// Counts a call and returns the fault that hits it.
    pub(crate) fn hit(&self, run: Option<&str>, operation: &str) -> Option<Fault> {
        let mut runs = self.lock();
        let run = runs.get_mut(run?)?;
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
        run.and_then(|run| runs.get(run))
            .map(|run| run.faults.account.clone())
            .unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Run>> {
        // After a panic in another thread the counters are still valid.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(toml: &str) -> Plans {
        let faults: Faults = toml::from_str(toml).unwrap();
        faults.check().unwrap();
        let plans = Plans::default();
        assert!(plans.set("r", faults));
        plans
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
        assert!(fault("operation = 'boot'\ndo = 'drop-ssh'\nbytes = 10").is_ok());
    }
}
