//! Names the earlier runs of a playbook that still have resources, before
//! another run creates more. If they have instances, which cost money by the
//! hour, the user decides.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::confirm;
use super::output::complain;
use super::settings::shown;
use crate::error::{Error, ErrorKind, exit};
use crate::ledger::{Millis, Resource, ResourceKind, Run, RunStatus, Store, between, now};
use crate::playbook::{Playbook, diagnostic};
use crate::report::{Event, Output, Remaining, Reporter, text};

/// How many resources or runs a line names.
const NAMED: usize = 3;

/// A run that still has resources.
struct Earlier {
    run: Run,
    status: RunStatus,
    /// The resources that may be up, instances first.
    up: Vec<Resource>,
}

/// Checks a new run against the earlier ones. Returns an exit code if it must
/// not start. `again` is whether the user allows another run.
pub(super) fn check(
    store: &Store,
    run: &Run,
    playbook: &Playbook,
    again: bool,
    report: &Reporter,
) -> anyhow::Result<Option<u8>> {
    if !playbook.uses_aws() {
        return Ok(None);
    }
    let earlier = find(store, run)?;
    if earlier.is_empty() {
        return Ok(None);
    }
    let asks = playbook.launches_instances() && !playbook.allows_again() && !again;
    let with_instances: Vec<&Earlier> = earlier.iter().filter(|e| e.instances() > 0).collect();
    if !asks || with_instances.is_empty() {
        report.info(in_short(&earlier));
        return Ok(None);
    }
    if report.output() == Output::Human && confirm::is_at_terminal() {
        report.warn(listed(run, &with_instances));
        let _held = report.hold();
        if confirm::agrees("launch another?")? {
            return Ok(None);
        }
        complain("nothing was created");
        return Ok(Some(exit::FAILED));
    }
    let error = refused(run, &with_instances);
    let rendered = diagnostic::render_error(&error, &diagnostic::Texts::new());
    report.report(&Event::RunFailed { error, rendered });
    Ok(Some(exit::USAGE))
}

fn find(store: &Store, run: &Run) -> anyhow::Result<Vec<Earlier>> {
    let mut all = Vec::new();
    for earlier in store.earlier(run).map_err(|e| shown(&e))? {
        let mut up = store.resources(&earlier.id).map_err(|e| shown(&e))?;
        let ttl = earlier.about.ttl;
        let since = cloud_since(&earlier);
        up.retain(|row| {
            let ended = row.ends(ttl).is_some_and(|ends| ends <= now());
            row.state.may_be_up() && !ended && row.intended >= since
        });
        up.sort_by_key(|row| row.kind != ResourceKind::Instance);
        if !up.is_empty() {
            all.push(Earlier {
                status: store.status(&earlier).map_err(|e| shown(&e))?,
                run: earlier,
                up,
            });
        }
    }
    Ok(all)
}

/// Returns when the directory of a run's local cloud was created. What is older
/// was removed together with an earlier directory.
fn cloud_since(run: &Run) -> Millis {
    let Some(state) = &run.about.target.local_cloud else {
        return Millis::MIN;
    };
    match std::fs::metadata(state).and_then(|state| state.created()) {
        Ok(created) => {
            let since = created.duration_since(UNIX_EPOCH).unwrap_or_default();
            Millis::try_from(since.as_millis()).unwrap_or(Millis::MIN)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Millis::MAX,
        // Another user may not see it, and some file systems have no such time.
        Err(_) => Millis::MIN,
    }
}

impl Earlier {
    fn instances(&self) -> usize {
        let instances = self.up.iter();
        instances
            .filter(|row| row.kind == ResourceKind::Instance)
            .count()
    }

    fn age(&self) -> Duration {
        between(self.run.started, now())
    }

    /// `q5cbnhg (done, 2 h 5 min ago): instance i-0abc (shop), bucket shop`.
    fn line(&self) -> String {
        let named = self.up.iter().map(|row| {
            let Remaining { id, name, .. } = row.remaining();
            let kind = row.kind.words();
            match id {
                Some(id) if id != name => format!("{kind} {id} ({name})"),
                Some(_) => format!("{kind} {name}"),
                None => format!("possibly {kind} {name}"),
            }
        });
        format!(
            "{} ({}, {} ago): {}",
            self.run.id,
            self.status.as_str(),
            text::duration(self.age()),
            text::some_of(named, NAMED)
        )
    }

    fn commands(&self) -> Vec<String> {
        let mut commands = vec![format!("autorun destroy {}", self.run.id)];
        if self.status.can_resume() {
            commands.push(format!("autorun resume {}", self.run.id));
        }
        commands
    }

    fn as_json(&self) -> Value {
        json!({
            "run": self.run.id,
            "status": self.status.as_str(),
            "seconds": self.age().as_secs(),
            "up": self.up.iter().map(Resource::remaining).collect::<Vec<_>>(),
            "can_resume": self.status.can_resume(),
        })
    }
}

/// One line about runs that do not stop this one.
fn in_short(earlier: &[Earlier]) -> String {
    let runs = earlier.iter().map(|earlier| {
        let instances = earlier.instances();
        let others = earlier.up.len() - instances;
        let counts = [(instances, "instance"), (others, "other resource")];
        let counts = counts.iter().filter(|(n, _)| *n > 0);
        let counts: Vec<String> = counts.map(|(n, what)| text::count(*n, what)).collect();
        format!("{} ({})", earlier.run.id, counts.join(", "))
    });
    format!(
        "earlier runs of this playbook still have resources: {}; `autorun runs --up` lists them",
        text::some_of(runs, NAMED)
    )
}

fn what_is_up(run: &Run) -> String {
    let name = match run.name.as_str() {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    format!(
        "an earlier run of `{}`{name} still has an instance on {}",
        run.about.playbook,
        run.about.target.words()
    )
}

/// The warning before the question: each run, and what the user can do instead.
fn listed(run: &Run, earlier: &[&Earlier]) -> String {
    let mut lines = vec![format!("{}:", what_is_up(run))];
    for earlier in earlier {
        lines.push(format!("  {}", earlier.line()));
        let commands = earlier.commands().into_iter();
        lines.extend(commands.map(|command| format!("    {command}")));
    }
    lines.join("\n")
}

fn refused(run: &Run, earlier: &[&Earlier]) -> Error {
    let mut message = format!("{}; nothing was created", what_is_up(run));
    for earlier in earlier {
        message.push_str("\n  ");
        message.push_str(&earlier.line());
    }
    let commands: Vec<String> = earlier[0].commands();
    Error::new(ErrorKind::AlreadyExists, message)
        .hint(format!(
            "pass --again to launch another one, or call {}",
            text::or_ticked(&commands)
        ))
        .detail(json!({
            "earlier": earlier.iter().map(|earlier| earlier.as_json()).collect::<Vec<_>>(),
        }))
}
