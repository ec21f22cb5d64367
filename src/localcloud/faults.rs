//! What goes wrong on request: the faults of `--faults FILE`, so that a
//! playbook's `catch` blocks can be rehearsed.
//!
//! Faults hold for one run alone, which is told by the application's name in
//! its requests. Which call is hit depends on the file and on the order of the
//! run's own calls, on nothing else.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// The name under which the start of an instance is counted.
pub const BOOT: &str = "boot";

/// The name that stands for every operation, but not for [`BOOT`].
pub const ANY: &str = "*";

/// A faults file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Decides what `chance` hits.
    pub seed: u64,
    /// How the account is set up.
    pub account: Account,
    /// The faults; every one that fits a call is counted, the first acts.
    pub fault: Vec<Fault>,
}

/// What an account may be like.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// S3 Block Public Access of the whole account.
    pub blocks_public: bool,
    /// There is no default VPC.
    pub no_default_vpc: bool,
    /// How many vCPUs may run.
    pub vcpus: Option<u32>,
}

/// One fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The SDK's name of the operation, as `RunInstances`; `boot` is the start
    /// of an instance, `*` every operation.
    pub operation: String,
    /// Which call is the first one hit, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls are hit, 0 for all; 1 by default, all with `chance`.
    pub times: Option<u64>,
    /// How likely a call is hit, from 0 to 1.
    pub chance: Option<f64>,
    /// What happens.
    #[serde(rename = "do")]
    pub act: Act,
    /// Before the operation has any effect, or after.
    #[serde(default)]
    pub when: When,
    /// The code of an `error`.
    pub code: Option<String>,
    /// The words of an `error`.
    pub message: Option<String>,
    /// HTTP status of an `error`, exit status of a `fail-user-data`.
    pub status: Option<u16>,
    /// How long a `hang` or `slow-boot` lasts.
    pub seconds: Option<f64>,
    /// After how many bytes a `drop-ssh` drops a connection.
    pub bytes: Option<u64>,
}

fn one() -> u64 {
    1
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// AWS asks to slow down.
    Throttle,
    /// An error answer; without a code 500 `InternalError`.
    Error,
    /// The connection is reset without an answer.
    Reset,
    /// Nothing happens for a while, then the operation goes on.
    Hang,
    /// An object's bytes are not those that were stored.
    Corrupt,
    /// The instance stays pending for a while.
    SlowBoot,
    /// The instance stays pending.
    EndlessBoot,
    /// The user data runs, but counts as failed.
    FailUserData,
    /// cloud-init ends with recoverable errors.
    DegradeUserData,
    /// Each ssh connection is reset after some bytes.
    DropSsh,
    /// No ssh server answers.
    NoSsh,
    /// The instance has no cloud-init.
    NoCloudInit,
    /// The console never shows the host keys.
    NoConsoleKeys,
    /// The console shows other host keys than the server has.
    OtherConsoleKeys,
    /// The console shows the host keys only after the user data, as AWS's does.
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
    /// The operation has its effect, but its answer is lost.
    After,
}

impl Faults {
    /// Finds what makes no sense, in words for whoever wrote the file.
    ///
    /// # Errors
    /// The first fault found, as a sentence's fragment.
    pub fn check(&self) -> Result<(), String> {
        for (index, fault) in self.fault.iter().enumerate() {
            let at = |what: &str| Err(format!("fault {}: {what}", index + 1));
            if fault.nth == 0 {
                return at("`nth` counts from 1");
            }
            if fault
                .chance
                .is_some_and(|chance| !(0.0..=1.0).contains(&chance))
            {
                return at("`chance` is from 0 to 1");
            }
            if fault
                .seconds
                .is_some_and(|s| !(0.0..=86_400.0).contains(&s))
            {
                return at("`seconds` is from 0 to 86400");
            }
            if fault
                .status
                .is_some_and(|status| fault.act == Act::Error && !(400..600).contains(&status))
            {
                return at("`status` of an error is from 400 to 599");
            }
            if fault.act == Act::Corrupt && fault.operation != "GetObject" {
                return at("`corrupt` goes with `operation = \"GetObject\"`");
            }
            if fault.act.concerns_boot() != (fault.operation == BOOT) {
                return at("what an instance does goes with `operation = \"boot\"`, and only that");
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

/// A number from 0 to 1 that is the same for the same three.
fn dice(seed: u64, index: usize, call: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (seed, index, call).hash(&mut hasher);
    #[expect(clippy::cast_precision_loss, reason = "53 bits of a chance are enough")]
    let share = (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64;
    share
}

/// One run's faults and how far it has come.
#[derive(Debug)]
struct Run {
    faults: Faults,
    calls: HashMap<String, u64>,
}

/// The faults of all runs.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<HashMap<String, Run>>);

/// How many runs' faults are kept: those of runs that were killed stay behind.
const MOST_RUNS: usize = 1000;

impl Plans {
    /// Sets a run's faults; false when too many runs have some.
    pub(crate) fn set(&self, run: &str, faults: Faults) -> bool {
        let mut runs = self.lock();
        if runs.len() >= MOST_RUNS {
            return false;
        }
        let calls = HashMap::new();
        runs.insert(run.to_owned(), Run { faults, calls });
        true
    }

    /// Forgets a run's faults.
    pub(crate) fn forget(&self, run: &str) {
        self.lock().remove(run);
    }

    /// Counts a call and tells which fault hits it.
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

    /// How a run's account is set up.
    pub(crate) fn account(&self, run: Option<&str>) -> Account {
        let runs = self.lock();
        run.and_then(|run| runs.get(run))
            .map(|run| run.faults.account.clone())
            .unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Run>> {
        // A panic elsewhere leaves counters that are still counters.
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
    fn nonsense_is_found() {
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
