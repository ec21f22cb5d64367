//! The verbs of `systemctl` that query units.

use super::super::super::files;
use super::super::init::control::Reply;
use super::super::journal::Style;
use super::super::tools::{VERSION, matches};
use super::arguments::Call;
use super::enablement::Enabled;
use super::loader::Found;
use super::manager::{Manager, Refusal, Target};
use super::stages;
use super::state::{Active, State};
use super::wording::{describe, lines_of, out, refused};

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
            match self.enablement(unit) {
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
            let one = self.status_of(unit, call.lines);
            reply.out += &one.out;
            reply.err += &one.err;
            reply.code = reply.code.max(one.code);
        }
        if call.units.is_empty() {
            let (host, state) = (hostname(), self.system_state().out);
            let failed = self.failed();
            return out(format!(
                "● {host}\n    State: {state}     Jobs: 0 queued\n   Failed: {failed} units\n"
            ));
        }
        reply
    }

    /// Returns whether all units are as they should be.
    pub(super) fn system_state(&self) -> Reply {
        let state = match self.failed() {
            _ if self.stages().are_running() => "starting\n",
            0 => return out("running\n"),
            _ => "degraded\n",
        };
        Reply {
            code: 1,
            ..out(state)
        }
    }

    /// Returns the number of failed services.
    fn failed(&self) -> usize {
        let states = self.listed().into_iter().map(|(_, active, _)| active);
        states.filter(|active| *active == Active::Failed).count()
    }

    /// Returns the name, active state and sub state of the services that were ever
    /// started, and of cloud-init's services.
    fn listed(&self) -> Vec<(String, Active, &'static str)> {
        let services = self.services().into_iter().map(|(name, service)| {
            let State { active, sub, .. } = service.state();
            (name, active, sub)
        });
        let is_listed =
            |name: &&str| name.ends_with(".service") && self.is_stage(name).unwrap_or(false);
        let stages = stages::names().filter(is_listed).map(|name| {
            let (active, sub) = self.pretended_state(name);
            (name.to_owned(), active, sub)
        });
        let mut all: Vec<_> = services.chain(stages).collect();
        all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        all
    }

    fn status_of(&self, name: &str, lines: usize) -> Reply {
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
                let (active, sub) = self.pretended_state(&name);
                let (mark, code) = match active {
                    Active::Running => ("●", 0),
                    Active::Failed => ("×", 3),
                    _ => ("○", 3),
                };
                let (title, active) = (self.description(&name), active.as_str());
                Reply {
                    out: format!(
                        "{mark} {name} - {title}\n     Loaded: loaded\n     Active: {active} ({sub})\n"
                    ),
                    code,
                    ..Reply::default()
                }
            }
            Ok(Target::Service(unit, service, _)) => {
                let state = service.state();
                let enabled = self.enablement(name).ok().flatten();
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
                let zone = files::time_zone();
                let log = self.journal().latest(&unit.name, lines);
                out += if log.is_empty() { "" } else { "\n" };
                for entry in log {
                    out += &entry.show(Style::Short, &zone);
                }
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
        let own = || {
            let state = self.system_state().out.trim().to_owned();
            let failed = self.failed().to_string();
            [
                ("Version", VERSION.to_owned()),
                ("SystemState", state),
                ("NFailedUnits", failed),
            ]
            .map(|(key, value)| (key.to_owned(), value))
        };
        let of_manager = call.units.is_empty().then(own).into_iter().flatten();
        let of_units = call.units.iter().flat_map(|unit| self.properties(unit));
        let all = of_manager.chain(of_units);
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
        let enabled = self.enablement(name).ok().flatten();
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
                    ("InvocationID", state.family.invocation.clone()),
                    (
                        "StateChangeTimestamp",
                        state.since.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string(),
                    ),
                    ("NeedDaemonReload", "no".to_owned()),
                    ("User", definition.user.clone().unwrap_or_default()),
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
            Ok(Target::Pretended(name)) => {
                let (_, sub) = self.pretended_state(&name);
                properties.extend([("MainPID", "0".to_owned()), ("SubState", sub.to_owned())]);
                "loaded"
            }
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
            let Ok(Found::Unit(unit)) = self.loader().find(name) else {
                return Reply::failure(format!("No files found for {name}."), 1);
            };
            let content = files::read_text(&unit.path).unwrap_or_default();
            text += &lines_of([format!("# {}", unit.path.display()), content]);
        }
        out(text)
    }

    pub(super) fn list_units(&self, call: &Call) -> Reply {
        let mut rows = Vec::new();
        for (name, active, sub) in self.listed() {
            let (state, shown) = (active.as_str(), call.all || active != Active::Inactive);
            let is_named = call.words.is_empty()
                || call
                    .words
                    .iter()
                    .chain(&call.units)
                    .any(|word| matches(word, &name));
            let is_wanted = if call.states.is_empty() {
                shown
            } else {
                call.states
                    .iter()
                    .any(|wanted| [state, sub].contains(&wanted.as_str()))
            };
            if is_named && is_wanted {
                let title = self.description(&name);
                let mark = if active == Active::Failed { "●" } else { " " };
                rows.push([
                    mark.to_owned(),
                    name,
                    state.to_owned(),
                    sub.to_owned(),
                    title,
                ]);
            }
        }
        out(units_table(&rows, call))
    }

    fn description(&self, name: &str) -> String {
        match self.loader().find(name) {
            Ok(Found::Unit(unit)) => {
                let title = unit.file.last("Unit", "Description");
                title.unwrap_or(&unit.name).to_owned()
            }
            _ => name.to_owned(),
        }
    }

    pub(super) fn list_unit_files(&self, call: &Call) -> Reply {
        let mut lines = Vec::new();
        for name in self.loader().names() {
            let words = call.words.iter().chain(&call.units);
            let wanted = call.words.is_empty() || words.clone().any(|word| matches(word, &name));
            let enabled = self.enablement(&name);
            if let (true, Ok(Some(enabled))) = (wanted, enabled)
                && (call.states.is_empty() || call.states.iter().any(|s| s == enabled.as_str()))
            {
                lines.push(format!("{name} {}", enabled.as_str()));
            }
        }
        let count = lines.len();
        if !call.no_legend {
            lines.insert(0, "UNIT FILE STATE".to_owned());
            lines.push(format!("\n{count} unit files listed."));
        }
        Reply {
            code: u8::from(count == 0),
            ..out(lines_of(lines))
        }
    }
}

/// Returns the table of `list-units` with systemd's columns.
fn units_table(rows: &[[String; 5]], call: &Call) -> String {
    let width = |column: usize, title: &str| {
        let lengths = rows.iter().map(|row| row[column].len());
        lengths.chain([title.len()]).max().unwrap_or_default()
    };
    let (name, active, sub) = (width(1, "UNIT"), width(2, "ACTIVE"), width(3, "SUB"));
    let mark = |text: &str| {
        if call.plain {
            String::new()
        } else {
            format!("{text} ")
        }
    };
    let line = |row: [&str; 5]| {
        let [at, unit, state, detail, title] = row;
        let load = if title == "DESCRIPTION" {
            "LOAD"
        } else {
            "loaded"
        };
        format!(
            "{}{unit:name$} {load:6} {state:active$} {detail:sub$} {title}\n",
            mark(at)
        )
    };
    let mut text: String = rows
        .iter()
        .map(|row| line(row.each_ref().map(String::as_str)))
        .collect();
    if !call.no_legend {
        let head = line([" ", "UNIT", "ACTIVE", "SUB", "DESCRIPTION"]);
        let count = rows.len();
        text = format!("{head}{text}\n{count} loaded units listed.\n");
    }
    text
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
