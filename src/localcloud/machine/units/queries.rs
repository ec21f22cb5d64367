//! The verbs of `systemctl` that query units.

use super::super::super::files;
use super::super::init::control::Reply;
use super::arguments::Call;
use super::enablement::Enabled;
use super::manager::{Manager, Refusal, Target};
use super::state::{Active, State};
use super::wording::{describe, lines_of, out, refused};

/// The number of log lines that `status` shows.
const LOG_LINES: usize = 10;

impl Manager {
    pub(super) fn is_active(&self, call: &Call) -> Reply {
        let states = call.units.iter().map(|unit| self.active(unit));
        let states: Vec<_> = states.collect();
        let ok = states.contains(&Active::Running) || states.contains(&Active::Reloading);
        Reply {
            out: lines_of(states.iter().map(|state| state.as_str())),
            code: if ok { 0 } else { 3 },
            ..Reply::default()
        }
    }

    pub(super) fn is_failed(&self, call: &Call) -> Reply {
        let states: Vec<_> = call.units.iter().map(|unit| self.active(unit)).collect();
        Reply {
            out: lines_of(states.iter().map(|state| state.as_str())),
            code: u8::from(!states.contains(&Active::Failed)),
            ..Reply::default()
        }
    }

    pub(super) fn is_enabled(&self, call: &Call) -> Reply {
        let mut reply = Reply {
            code: 1,
            ..Reply::default()
        };
        for unit in &call.units {
            match self.loader().is_enabled(unit) {
                Ok(Some(enabled)) => {
                    reply.out += &lines_of([enabled.as_str()]);
                    if enabled.is_yes() {
                        reply.code = 0;
                    }
                }
                Ok(None) => {
                    let message = format!(
                        "Failed to get unit file state for {unit}: No such file or directory"
                    );
                    reply.err += &lines_of([message]);
                }
                Err(error) => return Reply::failure(error.to_string(), 1),
            }
        }
        reply
    }

    pub(super) fn status(&self, call: &Call) -> Reply {
        let mut reply = Reply::default();
        for unit in &call.units {
            let one = self.status_of(unit);
            reply.out += &one.out;
            reply.err += &one.err;
            reply.code = reply.code.max(one.code);
        }
        if call.units.is_empty() {
            return out("State: running\n");
        }
        reply
    }

    fn status_of(&self, name: &str) -> Reply {
        match self.target(name) {
            Err(Refusal::Missing) => Reply::failure(format!("Unit {name} could not be found."), 4),
            Err(Refusal::Masked) => Reply {
                out: format!(
                    "○ {name}\n     Loaded: masked (Reason: Unit {name} is masked.)\n     Active: inactive (dead)\n"
                ),
                code: 3,
                ..Reply::default()
            },
            Err(refusal) => refused("get status of", name, &refusal),
            Ok(Target::Pretended(name)) => {
                let active = self.is_pretended_active(&name);
                let state = if active { "active" } else { "inactive (dead)" };
                Reply {
                    out: format!("● {name}\n     Loaded: loaded\n     Active: {state}\n"),
                    code: if active { 0 } else { 3 },
                    ..Reply::default()
                }
            }
            Ok(Target::Service(unit, service, _)) => {
                let state = service.state();
                let enabled = self.loader().is_enabled(name).ok().flatten();
                let enabled = enabled.map_or("unknown", Enabled::as_str);
                let title = unit.file.last("Unit", "Description").unwrap_or(&unit.name);
                let mark = if state.active == Active::Running {
                    "●"
                } else {
                    "○"
                };
                let mut out = format!(
                    "{mark} {} - {title}\n     Loaded: loaded ({}; {enabled})\n{}",
                    unit.name,
                    unit.path.display(),
                    describe(&state)
                );
                let log = files::tail(service.log(), files::MOST).unwrap_or_default();
                let log = String::from_utf8_lossy(&log);
                let lines: Vec<_> = log.lines().rev().take(LOG_LINES).collect();
                out += if lines.is_empty() { "" } else { "\n" };
                out += &lines_of(lines.into_iter().rev());
                Reply {
                    out,
                    code: if state.active == Active::Running {
                        0
                    } else {
                        3
                    },
                    ..Reply::default()
                }
            }
        }
    }

    pub(super) fn show(&self, call: &Call) -> Reply {
        let all = call.units.iter().flat_map(|unit| self.properties(unit));
        let is_wanted = |key: &String| call.properties.is_empty() || call.properties.contains(key);
        let wanted = all.filter(|(key, _)| is_wanted(key));
        out(lines_of(wanted.map(|(key, value)| {
            if call.value {
                value
            } else {
                format!("{key}={value}")
            }
        })))
    }

    fn properties(&self, name: &str) -> Vec<(String, String)> {
        let enabled = self.loader().is_enabled(name).ok().flatten();
        let active = self.active(name);
        let mut properties = vec![("Id", name.to_owned())];
        let loaded = match self.target(name) {
            Ok(Target::Service(unit, service, definition)) => {
                let state = service.state();
                let status = state.status.and_then(|status| status.code()).unwrap_or(0);
                let title = unit.file.last("Unit", "Description").unwrap_or(&unit.name);
                properties.extend([
                    ("MainPID", state.family.main.unwrap_or(0).to_string()),
                    ("ExecMainStatus", status.to_string()),
                    ("Result", state.result.to_owned()),
                    ("NRestarts", state.restarts.to_string()),
                    ("SubState", state.sub.to_owned()),
                    ("Type", format!("{:?}", definition.kind).to_lowercase()),
                    ("Description", title.to_owned()),
                    ("FragmentPath", unit.path.display().to_string()),
                    (
                        "CanReload",
                        if definition.reload.is_empty() {
                            "no"
                        } else {
                            "yes"
                        }
                        .to_owned(),
                    ),
                    ("Names", unit.name.clone()),
                ]);
                "loaded"
            }
            Ok(Target::Pretended(_)) => "loaded",
            Err(Refusal::Masked) => "masked",
            Err(_) => "not-found",
        };
        properties.extend([
            ("LoadState", loaded.to_owned()),
            ("ActiveState", active.as_str().to_owned()),
            (
                "UnitFileState",
                enabled.map_or("", Enabled::as_str).to_owned(),
            ),
        ]);
        let pairs = properties
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        pairs.collect()
    }

    pub(super) fn cat(&self, call: &Call) -> Reply {
        let mut text = String::new();
        for name in &call.units {
            let Ok(Target::Service(unit, ..)) = self.target(name) else {
                return Reply::failure(format!("No files found for {name}."), 1);
            };
            let content = files::read_text(&unit.path).unwrap_or_default();
            text += &lines_of([format!("# {}", unit.path.display()), content]);
        }
        out(text)
    }

    pub(super) fn list_units(&self, call: &Call) -> Reply {
        let mut lines = vec!["  UNIT LOAD ACTIVE SUB".to_owned()];
        for (name, service) in self.services() {
            let State { active, sub, .. } = service.state();
            let wanted = call.units.is_empty() || call.units.contains(&name);
            if wanted && (call.all || active != Active::Inactive) {
                lines.push(format!("  {name} loaded {} {sub}", active.as_str()));
            }
        }
        let count = lines.len() - 1;
        lines.push(format!("\n{count} loaded units listed."));
        out(lines_of(lines))
    }

    pub(super) fn list_unit_files(&self, call: &Call) -> Reply {
        let mut lines = vec!["UNIT FILE STATE".to_owned()];
        for name in self.loader().names() {
            let wanted = call.units.is_empty() || call.units.contains(&name);
            let enabled = self.loader().is_enabled(&name);
            if let (true, Ok(Some(enabled))) = (wanted, enabled) {
                lines.push(format!("{name} {}", enabled.as_str()));
            }
        }
        let count = lines.len() - 1;
        lines.push(format!("\n{count} unit files listed."));
        Reply {
            code: u8::from(count == 0),
            ..out(lines_of(lines))
        }
    }
}
