//! The definition of a service, parsed once from its unit file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::super::files;
use super::exec::{Exec, specify, split};
use super::file::{UnitFile, is_yes};
use super::loader::Unit;
use super::values::{absolute, assignments, duration};

/// The default and the longest timeout; the default is systemd's. A service
/// must not block init for longer.
const LONGEST_PATIENCE: Duration = Duration::from_secs(90);

/// The condition for a service to count as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Simple,
    Forking,
    Oneshot,
    Notify,
}

/// When a service restarts after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    No,
    OnSuccess,
    OnFailure,
    Always,
}

/// Which processes receive the signals of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KillMode {
    ControlGroup,
    Mixed,
    Process,
    None,
}

/// A directory to create for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnDirectory {
    pub(super) variable: &'static str,
    pub(super) base: &'static str,
    pub(super) name: String,
    pub(super) mode: u32,
}

/// The definition of a service.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    /// The name and the description.
    pub(super) title: String,
    /// The variables of all services.
    pub(super) given: Vec<(String, String)>,
    /// The name of its processes in the journal, instead of the program's.
    pub(super) identifier: Option<String>,
    pub(super) kind: Kind,
    pub(super) start_pre: Vec<Exec>,
    pub(super) start: Vec<Exec>,
    pub(super) start_post: Vec<Exec>,
    pub(super) reload: Vec<Exec>,
    pub(super) stop: Vec<Exec>,
    pub(super) stop_post: Vec<Exec>,
    pub(super) pid_file: Option<String>,
    pub(super) remain_after_exit: bool,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) directory: String,
    pub(super) umask: u32,
    pub(super) directories: Vec<OwnDirectory>,
    pub(super) kill_mode: KillMode,
    pub(super) kill_signal: Signal,
    pub(super) restart: Restart,
    pub(super) restart_pause: Duration,
    pub(super) start_patience: Duration,
    pub(super) stop_patience: Duration,
    pub(super) success_codes: Vec<i32>,
    environment: Vec<String>,
    environment_files: Vec<String>,
    conditions: Vec<(String, String)>,
}

impl Definition {
    /// Parses a loaded unit.
    pub(super) fn of(unit: &Unit, given: Vec<(String, String)>) -> Self {
        let text = Text(unit);
        let restart_pause = text
            .duration("RestartSec")
            .unwrap_or(Duration::from_millis(100));
        let patience = |key: &str| text.duration(key).or_else(|| text.duration("TimeoutSec"));
        let patience = |key: &str| match patience(key) {
            Some(patience) if !patience.is_zero() => patience.min(LONGEST_PATIENCE),
            _ => LONGEST_PATIENCE,
        };
        let title = match unit.file.last("Unit", "Description") {
            Some(description) => format!("{} - {description}", unit.name),
            None => unit.name.clone(),
        };
        Self {
            title,
            given,
            identifier: text.value("SyslogIdentifier"),
            kind: text.kind(),
            start_pre: text.commands("ExecStartPre"),
            start: text.commands("ExecStart"),
            start_post: text.commands("ExecStartPost"),
            reload: text.commands("ExecReload"),
            stop: text.commands("ExecStop"),
            stop_post: text.commands("ExecStopPost"),
            pid_file: text.value("PIDFile").map(|path| absolute(&path)),
            remain_after_exit: is_yes(text.value("RemainAfterExit").as_deref()),
            user: text.value("User"),
            group: text.value("Group"),
            directory: text
                .value("WorkingDirectory")
                .unwrap_or_else(|| "/".to_owned()),
            umask: text.octal("UMask").unwrap_or(0o022),
            directories: text.directories(),
            kill_mode: text.kill_mode(),
            kill_signal: text.kill_signal(),
            restart: text.restart(),
            restart_pause: restart_pause.min(Duration::from_secs(30)),
            start_patience: patience("TimeoutStartSec"),
            stop_patience: patience("TimeoutStopSec"),
            success_codes: text.success_codes(),
            environment: text.values("Environment"),
            environment_files: text.values("EnvironmentFile"),
            conditions: text.conditions(),
        }
    }

    /// Returns the first condition that is not met.
    pub(super) fn unmet_condition(&self) -> Option<String> {
        let unmet = |(key, value): &&(String, String)| !holds(key, value);
        let (key, value) = self.conditions.iter().find(unmet)?;
        Some(format!("{key}={value}"))
    }

    /// Adds the unit file's variables to the given ones, which they override.
    pub(super) fn variables(
        &self,
        given: &[(String, String)],
    ) -> io::Result<BTreeMap<String, String>> {
        let mut variables: BTreeMap<_, _> = given.iter().cloned().collect();
        for word in self.environment.iter().flat_map(|line| split(line)) {
            if let Some((key, value)) = word.split_once('=') {
                variables.insert(key.to_owned(), value.to_owned());
            }
        }
        for path in &self.environment_files {
            let (path, optional) = match path.strip_prefix('-') {
                Some(path) => (path, true),
                None => (path.as_str(), false),
            };
            match files::read_text(path) {
                Ok(text) => variables.extend(assignments(&text)),
                Err(_) if optional => {}
                Err(error) => {
                    let message = format!("cannot read the environment file {path}: {error}");
                    return Err(io::Error::new(error.kind(), message));
                }
            }
        }
        Ok(variables)
    }
}

/// A unit file whose specifiers are replaced.
struct Text<'a>(&'a Unit);

impl Text<'_> {
    fn file(&self) -> &UnitFile {
        &self.0.file
    }

    fn value(&self, key: &str) -> Option<String> {
        let value = self.file().last("Service", key)?;
        Some(specify(value, &self.0.name))
    }

    fn values(&self, key: &str) -> Vec<String> {
        let values = self.file().all("Service", key);
        values.map(|value| specify(value, &self.0.name)).collect()
    }

    fn commands(&self, key: &str) -> Vec<Exec> {
        let lines = self.values(key);
        lines.iter().flat_map(|line| Exec::parse(line)).collect()
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        duration(&self.value(key)?)
    }

    fn octal(&self, key: &str) -> Option<u32> {
        u32::from_str_radix(&self.value(key)?, 8).ok()
    }

    fn kind(&self) -> Kind {
        match self.value("Type").as_deref() {
            Some("forking") => Kind::Forking,
            Some("oneshot") => Kind::Oneshot,
            Some("notify" | "notify-reload") => Kind::Notify,
            // Without ExecStart only the commands around it run.
            None if self.file().last("Service", "ExecStart").is_none() => Kind::Oneshot,
            _ => Kind::Simple,
        }
    }

    fn kill_mode(&self) -> KillMode {
        match self.value("KillMode").as_deref() {
            Some("mixed") => KillMode::Mixed,
            Some("process") => KillMode::Process,
            Some("none") => KillMode::None,
            _ => KillMode::ControlGroup,
        }
    }

    fn kill_signal(&self) -> Signal {
        let name = self.value("KillSignal").unwrap_or_default();
        let name = if name.starts_with("SIG") {
            name
        } else {
            format!("SIG{name}")
        };
        name.parse().unwrap_or(Signal::SIGTERM)
    }

    fn restart(&self) -> Restart {
        match self.value("Restart").as_deref() {
            Some("always") => Restart::Always,
            Some("on-failure" | "on-abnormal" | "on-abort" | "on-watchdog") => Restart::OnFailure,
            Some("on-success") => Restart::OnSuccess,
            _ => Restart::No,
        }
    }

    fn success_codes(&self) -> Vec<i32> {
        let words = self.file().words("Service", "SuccessExitStatus");
        words.iter().filter_map(|word| word.parse().ok()).collect()
    }

    fn directories(&self) -> Vec<OwnDirectory> {
        const KINDS: [(&str, &str, &str); 5] = [
            ("RuntimeDirectory", "RUNTIME_DIRECTORY", "/run"),
            ("StateDirectory", "STATE_DIRECTORY", "/var/lib"),
            ("CacheDirectory", "CACHE_DIRECTORY", "/var/cache"),
            ("LogsDirectory", "LOGS_DIRECTORY", "/var/log"),
            ("ConfigurationDirectory", "CONFIGURATION_DIRECTORY", "/etc"),
        ];
        let mut directories = Vec::new();
        for (key, variable, base) in KINDS {
            let mode = self.octal(&format!("{key}Mode")).unwrap_or(0o755);
            let names = self.values(key);
            for name in names.iter().flat_map(|line| line.split_whitespace()) {
                // A unit file must not leave the base directory.
                if !name.split('/').any(|part| part == ".." || part.is_empty()) {
                    let name = name.split(':').next().unwrap_or(name).to_owned();
                    directories.push(OwnDirectory {
                        variable,
                        base,
                        name,
                        mode,
                    });
                }
            }
        }
        directories
    }

    fn conditions(&self) -> Vec<(String, String)> {
        let known = [
            "ConditionPathExists",
            "ConditionPathIsDirectory",
            "ConditionFileNotEmpty",
            "ConditionDirectoryNotEmpty",
            "ConditionFileIsExecutable",
        ];
        let of_key = |key: &'static str| {
            let values = self.file().all("Unit", key);
            let name = &self.0.name;
            values.map(move |value| (key.to_owned(), specify(value, name)))
        };
        known.into_iter().flat_map(of_key).collect()
    }
}

fn holds(key: &str, value: &str) -> bool {
    let (value, expected) = match value.trim_start_matches('|').strip_prefix('!') {
        Some(value) => (value, false),
        None => (value.trim_start_matches('|'), true),
    };
    let path = Path::new(value);
    let found = match key {
        "ConditionPathIsDirectory" => path.is_dir(),
        "ConditionFileNotEmpty" => path.metadata().is_ok_and(|found| found.len() > 0),
        "ConditionDirectoryNotEmpty" => {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        _ => path.exists(),
    };
    found == expected
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn definition(text: &str) -> Definition {
        let mut file = UnitFile::default();
        file.merge(text);
        Definition::of(
            &Unit {
                name: "web@1.service".to_owned(),
                path: PathBuf::new(),
                file,
            },
            Vec::new(),
        )
    }

    #[test]
    fn a_unit_becomes_a_definition() {
        let web = definition(
            "[Unit]\nConditionPathExists=!/nosuch\n[Service]\nType=forking\nPIDFile=web.pid\n\
             ExecStart=/usr/sbin/web -n %i\nExecReload=-/bin/kill -HUP $MAINPID\n\
             Environment=A=1 \"B=two words\"\nRuntimeDirectory=web ../etc\nKillMode=mixed\n\
             KillSignal=SIGQUIT\nRestart=on-failure\nRestartSec=5min\nTimeoutStopSec=1min 5s\n",
        );
        assert_eq!(web.kind, Kind::Forking);
        assert_eq!(web.pid_file.as_deref(), Some("/run/web.pid"));
        assert_eq!(web.start[0].argv(&BTreeMap::new()).args, ["-n", "1"]);
        assert!(web.reload[0].may_fail);
        assert_eq!(web.variables(&[]).unwrap()["B"], "two words");
        assert_eq!(web.directories.len(), 1);
        assert_eq!(web.kill_signal, Signal::SIGQUIT);
        assert_eq!(web.restart_pause, Duration::from_secs(30));
        assert_eq!(web.stop_patience, Duration::from_secs(65));
        assert_eq!(web.unmet_condition(), None);
    }

    #[test]
    fn conditions_are_checked() {
        let unit = definition("[Unit]\nConditionPathExists=/nosuch\n[Service]\nExecStart=/a\n");
        let unmet = unit.unmet_condition();
        assert_eq!(unmet.as_deref(), Some("ConditionPathExists=/nosuch"));
    }
}
