//! What runs do, written down before it is asked for.
//!
//! A *run* has *steps* (calls with an effect) and *resources* (what they make).
//! A step writes durably twice: [`Step::intend`] before the request leaves, with
//! a row per resource, and [`Step::finish`] when its end is known. Between the
//! two, rows change in memory alone. A [`Wait`] goes along with the next commit. An [`Intent`] is consumed by `created` or
//! `abandoned`; dropping it (an early `?`, a panic, a kill) leaves the row
//! *intended*: possibly made, to be found by its token and tag.
//!
//! One process works on a run at a time ([`Hold`]), so the rows of its run in
//! memory are those on disk and what the next commit adds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rusqlite::{Transaction, params};

pub use resource::{Resource, ResourceKind, State};
pub use run::{About, Hold, Run, RunStatus, SecretSource, Target};
pub use step::{Call, Progress, Step, StepResult, StepRow, Wanted};
pub use store::Store;
pub use wait::Wait;

use crate::error::{Error, Result};
use crate::report::{Event, Outcome, Remaining, Reporter};

mod opening;
mod resource;
mod run;
mod step;
mod stopped;
mod store;
mod wait;
mod witness;

/// Milliseconds since 1970.
pub type Millis = i64;

/// The time now.
#[must_use]
pub fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

/// The rows of one run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    run: Arc<str>,
    store: Store,
    state: Arc<Mutex<Memory>>,
    report: Reporter,
    /// Values of the secret variables: recorded by their names, and put back.
    secrets: Arc<Vec<(String, String)>>,
    _hold: Arc<Hold>,
}

/// What is in memory, and which of it the next commit writes.
#[derive(Debug, Default)]
struct Memory {
    resources: Vec<Resource>,
    /// How many of them earlier attempts wrote down.
    known: usize,
    changed_resources: BTreeSet<usize>,
    steps: Vec<StepRow>,
    changed_steps: BTreeSet<usize>,
    /// Those that no commit has written yet.
    new_waits: Vec<Wait>,
    /// How many this attempt has noted.
    waits_noted: usize,
    /// Steps of earlier attempts that succeeded, by key.
    recorded: HashMap<String, usize>,
    /// Those of them that this attempt has come by.
    used: HashSet<String>,
    /// How many steps told by the same have succeeded in this attempt.
    occurrences: HashMap<String, u32>,
    /// Instances at whose stop this attempt has arrived.
    stopped_here: HashSet<String>,
    /// Instances that this attempt started again, and when.
    started_again: HashMap<String, Instant>,
}

impl Ledger {
    /// The ledger of a run that begins.
    ///
    /// Throws as [`Store::begin`].
    pub fn begin(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.begin(run)?;
        Ok(Self::of(store, run, report, hold, Memory::default()))
    }

    /// The ledger of a run that goes on: its steps are given back, not repeated.
    ///
    /// Throws as [`Store::take_up`].
    pub fn take_up(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.take_up(run)?;
        let mut memory = Memory::load(store, &run.id)?;
        memory.check()?;
        let done = memory.steps.iter().enumerate();
        memory.recorded = done
            .filter(|(_, step)| step.state == Progress::Done)
            .map(|(index, step)| (step.key.clone(), index))
            .collect();
        Ok(Self::of(store, run, report, hold, memory))
    }

    /// The ledger of a run that has ended, to remove what it made.
    ///
    /// Throws as [`Store::hold_ended`].
    pub fn of_ended(store: &Store, run: &Run, report: Reporter) -> Result<Self> {
        let hold = store.hold_ended(run)?;
        let memory = Memory::load(store, &run.id)?;
        Ok(Self::of(store, run, report, hold, memory))
    }

    fn of(store: &Store, run: &Run, report: Reporter, hold: Hold, memory: Memory) -> Self {
        Self {
            run: run.id.as_str().into(),
            store: store.clone(),
            state: Arc::new(Mutex::new(memory)),
            report,
            secrets: Arc::default(),
            _hold: Arc::new(hold),
        }
    }

    /// The same with the values of the secret variables.
    #[must_use]
    pub fn with_secrets(self, secrets: Vec<(String, String)>) -> Self {
        Self {
            secrets: Arc::new(secrets),
            ..self
        }
    }

    /// The run's short random id: the tag `autorun:run` on all it makes.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The ledger's id: the tag `autorun:owner`.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.store.owner()
    }

    /// A call with an effect, that may have been done before.
    #[must_use]
    pub fn step(&self, call: Call) -> Step {
        Step::new(self, call, self.report.mask())
    }

    /// Writes down that a live resource is about to be removed; the next commit
    /// makes it durable. Nothing when this run did not make it.
    #[must_use = "consume it with released() or abandoned()"]
    pub fn intend_release(&self, kind: ResourceKind, id: &str, by: Remover) -> Option<Release> {
        let index = self.find(kind, id)?;
        if self.state().resources[index].state == State::Live {
            self.turn(index, State::Releasing);
        }
        Some(Release {
            ledger: self.clone(),
            index,
            by,
        })
    }

    /// Whether this run made the resource and it is still there.
    #[must_use]
    pub fn made(&self, kind: ResourceKind, id: &str) -> bool {
        self.find(kind, id).is_some()
    }

    /// The row of a live resource.
    #[must_use]
    pub fn live_row(&self, kind: ResourceKind, id: &str) -> Option<Resource> {
        let index = self.find(kind, id)?;
        Some(self.state().resources[index].clone())
    }

    /// What is up, newest first.
    #[must_use]
    pub fn live(&self) -> Vec<Remaining> {
        self.remaining(|state| matches!(state, State::Live | State::Releasing))
    }

    /// What was asked for without an answer, newest first.
    #[must_use]
    pub fn possibly_made(&self) -> Vec<Remaining> {
        self.remaining(|state| state == State::Intended)
    }

    fn remaining(&self, wanted: impl Fn(State) -> bool) -> Vec<Remaining> {
        let rows = self.resources();
        let wanted = rows.iter().rev().filter(|row| wanted(row.state));
        wanted.map(Resource::remaining).collect()
    }

    /// Every row, oldest first.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        self.state().resources.clone()
    }

    /// Every step, oldest first.
    #[must_use]
    pub fn steps(&self) -> Vec<StepRow> {
        self.state().steps.clone()
    }

    /// Steps that an earlier attempt did and for which this one has no
    /// counterpart, unless all that they did is gone.
    #[must_use]
    pub fn left_over(&self) -> Vec<StepRow> {
        let state = self.state();
        let unused = state.recorded.iter();
        let unused = unused.filter(|(key, _)| !state.used.contains(*key));
        let mut left: Vec<usize> = unused.map(|(_, index)| *index).collect();
        left.sort_unstable();
        left.retain(|index| {
            let step = &state.steps[*index];
            !state.has_counterpart(*index) && !state.is_undone(step)
        });
        left.iter()
            .map(|index| state.steps[*index].clone())
            .collect()
    }

    /// What the cloud said about an intended row: its id if it was made.
    pub fn resolve(&self, row: &str, found: Option<&str>) {
        let mut state = self.state();
        let Some(index) = state.resources.iter().position(|r| r.row == row) else {
            return;
        };
        if let Some(id) = found {
            state.resources[index].id = Some(id.to_owned());
        }
        drop(state);
        let next = match found {
            Some(_) => State::Live,
            None => State::Abandoned,
        };
        self.turn(index, next);
    }

    /// Nobody asks for it any more: it stays up, and the ledger drops it.
    pub fn forget(&self, row: &Resource) {
        let mut state = self.state();
        if let Some(index) = state.resources.iter().position(|r| r.row == row.row)
            && state.resources[index].state.may_be_up()
        {
            state.resources[index].state = State::Forgotten;
            state.resources[index].changed = now();
            state.changed_resources.insert(index);
        }
    }

    /// A recorded resource turned out to be gone.
    pub fn is_gone(&self, row: &Resource) {
        self.went_with(row, Remover::User);
    }

    /// A resource went together with another one that was removed.
    pub fn went_with(&self, row: &Resource, by: Remover) {
        let mut state = self.state();
        let Some(index) = state.resources.iter().position(|r| r.row == row.row) else {
            return;
        };
        let changed = &mut state.resources[index];
        if matches!(changed.state, State::Live | State::Releasing) {
            changed.state = State::Released;
            changed.changed = now();
            changed.removed_by_playbook = by == Remover::Playbook;
            state.changed_resources.insert(index);
        }
    }

    /// What another run of the same account made is gone: it is not up there
    /// either.
    pub fn gone_for_others(&self, kind: ResourceKind, id: &str) {
        // What cannot be written now is found by that run's own removal.
        if let Err(unwritten) = self.store.release_of_others(&self.run, kind, id) {
            self.report.warn(unwritten.to_string());
        }
    }

    /// Whether the playbook itself removed what it made under this id.
    #[must_use]
    pub fn was_removed_by_playbook(&self, kind: ResourceKind, id: &str) -> bool {
        let state = self.state();
        let rows = state.resources.iter();
        let last = rows
            .rev()
            .find(|r| r.kind == kind && r.id.as_deref() == Some(id));
        last.is_some_and(|row| row.removed_by_playbook && !row.state.may_be_up())
    }

    /// Writes durably what has changed, that of all branches. Nothing when
    /// another branch's commit has done so meanwhile.
    ///
    /// Throws when the ledger cannot be written; the changes are then written by
    /// the next commit that can be.
    pub fn commit(&self) -> Result<()> {
        let mut connection = self.store.connection();
        let (rows, steps, waits) = {
            let mut state = self.state();
            let rows: Vec<Resource> = std::mem::take(&mut state.changed_resources)
                .into_iter()
                .map(|index| state.resources[index].clone())
                .collect();
            let steps: Vec<StepRow> = std::mem::take(&mut state.changed_steps)
                .into_iter()
                .map(|index| state.steps[index].clone())
                .collect();
            (rows, steps, std::mem::take(&mut state.new_waits))
        };
        if rows.is_empty() && steps.is_empty() && waits.is_empty() {
            return Ok(());
        }
        let written = self.store.commit(&mut connection, |tx| {
            steps
                .iter()
                .try_for_each(|step| write_step(tx, &self.run, step))?;
            waits
                .iter()
                .try_for_each(|wait| wait::write_wait(tx, &self.run, wait))?;
            rows.iter()
                .try_for_each(|row| write_row(tx, &self.run, row))
        });
        drop(connection);
        if written.is_err() {
            let mut state = self.state();
            for row in &rows {
                let index = state.resources.iter().position(|r| r.row == row.row);
                state.changed_resources.extend(index);
            }
            let numbers: Vec<usize> = steps.iter().map(|step| step.number).collect();
            state.changed_steps.extend(numbers);
            state.new_waits.splice(0..0, waits);
        }
        written
    }

    /// Writes down, durably, how the run ended.
    pub fn end(&self, outcome: Outcome, error: Option<&Error>) -> Result<()> {
        self.commit()?;
        let error = error.map(|error| {
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default();
            self.report.mask().apply(&match error.place.line {
                0 => said.to_owned(),
                line => format!("{said} ({}:{line})", error.place.source),
            })
        });
        self.store.end(&self.run, outcome, error.as_deref())
    }

    fn add(&self, state: &mut Memory, wanted: &Wanted, step: &str) -> usize {
        let index = state.resources.len();
        let row = format!(
            "autorun-{}-{index:04}-{:08x}",
            self.run,
            rand::random::<u32>()
        );
        state.resources.push(Resource::intended(row, wanted, step));
        state.changed_resources.insert(index);
        index
    }

    /// Adds a step's row; gives its index, which is its number.
    fn add_step(&self, mut step: StepRow) -> usize {
        let mut state = self.state();
        let index = state.steps.len();
        step.number = index;
        state.steps.push(step);
        state.changed_steps.insert(index);
        index
    }

    fn change_step(&self, index: usize, step: StepRow) {
        let mut state = self.state();
        state.steps[index] = StepRow {
            number: index,
            ..step
        };
        state.changed_steps.insert(index);
    }

    fn was_under_way(&self, key: &str) -> bool {
        let state = self.state();
        let last = state.steps.iter().rev().find(|step| step.key == key);
        last.is_some_and(|step| step.state == Progress::UnderWay)
    }

    fn find(&self, kind: ResourceKind, id: &str) -> Option<usize> {
        self.state().resources.iter().position(|row| {
            row.kind == kind
                && row.id.as_deref() == Some(id)
                && matches!(row.state, State::Live | State::Releasing)
        })
    }

    fn turn(&self, index: usize, next: State) {
        let mut state = self.state();
        let row = &mut state.resources[index];
        // Two branches may remove one thing: the second changes nothing.
        if !row.state.may_become(next) {
            return;
        }
        row.state = next;
        row.changed = now();
        state.changed_resources.insert(index);
    }

    fn state(&self) -> MutexGuard<'_, Memory> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Whether this attempt did the same with other contents: a file that has
    /// changed, a try that was not needed any more.
    fn has_counterpart(&self, index: usize) -> bool {
        let told_by = |step: &StepRow| {
            let told = (&step.branch, &step.function, &step.summary);
            (told.0.clone(), told.1.clone(), told.2.clone())
        };
        let wanted = told_by(&self.steps[index]);
        let done = self
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.state == Progress::Done);
        let mut here = done.filter(|(_, step)| {
            !self.recorded.contains_key(&step.key) || self.used.contains(&step.key)
        });
        here.any(|(other, step)| other != index && told_by(step) == wanted)
    }

    /// Whether all that a step made is gone, or the instance it worked on.
    fn is_undone(&self, step: &StepRow) -> bool {
        let mut made = self
            .resources
            .iter()
            .filter(|row| row.step == step.key)
            .peekable();
        if made.peek().is_some() {
            return made.all(|row| !row.state.may_be_up());
        }
        let on = step.summary.split(' ').next().unwrap_or_default();
        let mut rows = self
            .resources
            .iter()
            .filter(|row| row.id.as_deref() == Some(on));
        rows.any(|row| row.kind == ResourceKind::Instance && !row.state.may_be_up())
    }

    /// Refuses rows that belong to no step: a step that cannot find what it was
    /// about to make would make it a second time.
    fn check(&self) -> Result<()> {
        let keys: HashSet<&str> = self.steps.iter().map(|step| step.key.as_str()).collect();
        match self
            .resources
            .iter()
            .find(|row| !keys.contains(row.step.as_str()))
        {
            None => Ok(()),
            Some(row) => Err(Error::internal(format!(
                "the ledger does not say which step made {} `{}` (row {})",
                row.kind.words(),
                row.name,
                row.row
            ))
            .hint(
                "the row was changed, so the step would be done a second time: bring the ledger \
                 back from a backup, or remove what the run made with `autorun destroy`",
            )),
        }
    }

    fn load(store: &Store, run: &str) -> Result<Self> {
        let resources = store.resources(run)?;
        Ok(Self {
            known: resources.len(),
            resources,
            steps: store.steps(run)?,
            ..Self::default()
        })
    }
}

/// Who removes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remover {
    /// The playbook: a resumed run takes it as done.
    Playbook,
    /// The user, by `autorun destroy` or `--on-error destroy`.
    User,
}

/// Something that is about to be made.
#[derive(Debug)]
pub struct Intent {
    ledger: Ledger,
    index: usize,
    row: String,
    again: bool,
}

impl Intent {
    /// The row's id: `ClientToken` of the request and tag `autorun:resource`.
    /// At most 64 ASCII characters, as EC2 demands.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.row
    }

    /// Whether an earlier attempt may have made it: look before making it.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        self.again
    }

    /// It was made, and this is its id.
    pub fn created(self, id: &str) {
        let row = {
            let mut state = self.ledger.state();
            state.resources[self.index].id = Some(id.to_owned());
            state.resources[self.index].clone()
        };
        self.ledger.turn(self.index, State::Live);
        self.ledger.report.report(&Event::ResourceCreated {
            kind: row.kind.as_str(),
            id: id.to_owned(),
            name: row.name,
        });
    }

    /// It failed. Where the error does not prove that nothing was made, now or
    /// in an earlier attempt, the row stays intended.
    pub fn abandoned(self, error: &Error) {
        if error.proves_no_effect() && !self.again {
            self.ledger.turn(self.index, State::Abandoned);
        }
    }

    /// It is certain that nothing was made, or that it is gone again.
    pub fn came_to_nothing(self) {
        self.ledger.turn(self.index, State::Abandoned);
    }
}

/// Something that is about to be removed.
#[derive(Debug)]
pub struct Release {
    ledger: Ledger,
    index: usize,
    by: Remover,
}

impl Release {
    /// It is gone.
    pub fn released(self) {
        let row = {
            let mut state = self.ledger.state();
            let row = &mut state.resources[self.index];
            row.removed_by_playbook = self.by == Remover::Playbook;
            row.clone()
        };
        self.ledger.turn(self.index, State::Released);
        self.ledger.report.report(&Event::ResourceReleased {
            kind: row.kind.as_str(),
            id: row.id.unwrap_or_default(),
        });
    }

    /// It could not be removed: it is still up.
    pub fn abandoned(self) {
        self.ledger.turn(self.index, State::Live);
    }
}

impl Resource {
    fn intended(row: String, wanted: &Wanted, step: &str) -> Self {
        let (kind, name, id) = wanted.parts();
        Self {
            row,
            kind,
            name,
            id,
            state: State::Intended,
            step: step.to_owned(),
            intended: now(),
            changed: now(),
            removed_by_playbook: false,
            stopped: false,
        }
    }

    /// As it is listed.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        Remaining {
            kind: self.kind.as_str(),
            // The id that is known from the start proves nothing yet.
            id: self.id.clone().filter(|_| self.state != State::Intended),
            name: self.name.clone(),
            can_log_in: self.kind == ResourceKind::Instance && self.state == State::Live,
        }
    }
}

fn write_row(tx: &Transaction, run: &str, row: &Resource) -> rusqlite::Result<()> {
    let mut upsert = tx.prepare_cached(
        "INSERT INTO resource (run, row, kind, name, id, state, step, intended, changed, \
         removed_by_playbook) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (run, row) DO UPDATE SET id = ?5, state = ?6, changed = ?9, \
         removed_by_playbook = ?10",
    )?;
    upsert.execute(params![
        run,
        row.row,
        row.kind.as_str(),
        row.name,
        row.id,
        row.state.as_str(),
        row.step,
        row.intended,
        row.changed,
        row.removed_by_playbook,
    ])?;
    stopped::write_stopped(tx, run, row)
}

fn write_step(tx: &Transaction, run: &str, step: &StepRow) -> rusqlite::Result<()> {
    let mut upsert = tx.prepare_cached(
        "INSERT INTO step (run, number, key, branch, function, summary, place, state, result, \
         altered, error, started, ended) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
         ON CONFLICT (run, number) DO UPDATE SET state = ?8, result = ?9, altered = ?10, \
         error = ?11, ended = ?13",
    )?;
    upsert.execute(params![
        run,
        step.number,
        step.key,
        step.branch,
        step.function,
        step.summary,
        step.place,
        step.state.as_str(),
        step.result.as_ref().map(StepResult::text),
        step.altered,
        step.error,
        step.started,
        step.ended,
    ])?;
    Ok(())
}

impl Store {
    /// The resources of a run, oldest first.
    pub fn resources(&self, run: &str) -> Result<Vec<Resource>> {
        self.read(|db| {
            let mut query = db.prepare(
                "SELECT row, kind, name, id, state, step, intended, changed, \
                 removed_by_playbook, EXISTS (SELECT 1 FROM stopped \
                 WHERE stopped.run = resource.run AND stopped.row = resource.row) \
                 FROM resource WHERE run = ?1 ORDER BY row",
            )?;
            let rows = query.query_map([run], |row| {
                let id: String = row.get(0)?;
                let what = format!("run {run}, resource {id}");
                Ok(Resource {
                    row: id,
                    kind: word(row, 1, &what, &ResourceKind::ALL, ResourceKind::as_str)?,
                    name: row.get(2)?,
                    id: row.get(3)?,
                    state: word(row, 4, &what, &State::ALL, State::as_str)?,
                    step: row.get(5)?,
                    intended: row.get(6)?,
                    changed: row.get(7)?,
                    removed_by_playbook: row.get(8)?,
                    stopped: row.get(9)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The steps of a run, oldest first.
    pub fn steps(&self, run: &str) -> Result<Vec<StepRow>> {
        self.read(|db| {
            let mut query = db.prepare(
                "SELECT number, key, branch, function, summary, place, state, result, altered, \
                 error, started, ended FROM step WHERE run = ?1 ORDER BY number",
            )?;
            let rows = query.query_map([run], |row| {
                let result: Option<String> = row.get(7)?;
                let (function, place): (String, String) = (row.get(3)?, row.get(5)?);
                let what = format!("run {run}, {function} ({place})");
                Ok(StepRow {
                    number: row.get(0)?,
                    key: row.get(1)?,
                    branch: row.get(2)?,
                    function,
                    summary: row.get(4)?,
                    place,
                    state: word(row, 6, &what, &Progress::ALL, Progress::as_str)?,
                    result: result.map(StepResult::read),
                    altered: row.get(8)?,
                    error: row.get(9)?,
                    started: row.get(10)?,
                    ended: row.get(11)?,
                })
            })?;
            rows.collect()
        })
    }
}

/// A column that holds one of a few words; `what` names the row.
fn word<T: Copy>(
    row: &rusqlite::Row,
    column: usize,
    what: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    known_word(&text, all, name).map_err(|why| unreadable(column, format!("{what}: a word {why}")))
}

/// The value that has this name.
fn known_word<T: Copy>(
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> std::result::Result<T, String> {
    let known = all.iter().copied().find(|one| name(*one) == text);
    known.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        format!("is `{text}`, not one of {}", names.join(", "))
    })
}

/// An error about a row that autorun did not write so.
fn unreadable(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorKind;
    use crate::report::Settings;

    struct Home {
        store: Store,
        run: Run,
        _dir: tempfile::TempDir,
    }

    fn home() -> Home {
        let dir = tempfile::tempdir().unwrap();
        Home {
            store: Store::open(dir.path()).unwrap(),
            run: Run::new(Path::new("/srv/a.rhai"), "", About::default()),
            _dir: dir,
        }
    }

    fn quiet() -> Reporter {
        let settings = Settings {
            output: crate::report::Output::Human,
            console: log::LevelFilter::Off,
            file: None,
            file_level: log::LevelFilter::Off,
            color: false,
            terminal: false,
        };
        Reporter::new("abc", settings).unwrap()
    }

    fn report_with(secret: &str) -> Reporter {
        let report = quiet();
        report.mask().add(secret);
        report
    }

    fn step(ledger: &Ledger, function: &str, arguments: &Value) -> Step {
        ledger.step(Call {
            branch: "",
            function,
            arguments,
            place: String::new(),
        })
    }

    fn bucket(name: &str) -> Wanted {
        Wanted::with_id(ResourceKind::Bucket, name, name)
    }

    /// Makes a bucket, as a primitive does.
    fn make(ledger: &Ledger, name: &str) {
        let mut step = step(ledger, "create_bucket", &json!([name]));
        step.intend_one(bucket(name)).unwrap().created(name);
        step.finish(&Ok(json!({ "name": name }))).unwrap();
    }

    #[test]
    fn what_was_intended_survives_the_process() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        make(&ledger, "a");
        let mut cut = step(&ledger, "create_bucket", &json!(["b"]));
        let intent = cut.intend_one(bucket("b")).unwrap();
        let token = intent.token().to_owned();
        intent.created("b"); // in memory alone
        drop((cut, ledger));

        let ledger = Ledger::take_up(&home.store, &home.run, quiet()).unwrap();
        assert_eq!(ledger.live().len(), 1);
        assert_eq!(ledger.possibly_made()[0].name, "b");
        let mut again = step(&ledger, "create_bucket", &json!(["b"]));
        assert!(again.recorded::<Value>().unwrap().is_none());
        let intent = again.intend_one(bucket("b")).unwrap();
        assert!(intent.is_retried());
        assert_eq!(
            intent.token(),
            token,
            "the same token asks for the same thing"
        );
    }

    #[test]
    fn a_step_that_succeeded_is_given_back_once() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        make(&ledger, "a");
        drop(ledger);
        let ledger = Ledger::take_up(&home.store, &home.run, quiet()).unwrap();
        assert_eq!(ledger.left_over().len(), 1);
        let mut first = step(&ledger, "create_bucket", &json!(["a"]));
        let recorded: Value = first.recorded().unwrap().unwrap();
        assert_eq!(recorded["name"], "a");
        first.replay();
        first.finish(&Ok(recorded)).unwrap();
        assert!(ledger.left_over().is_empty());
        let second = step(&ledger, "create_bucket", &json!(["a"]));
        assert!(
            second.recorded::<Value>().unwrap().is_none(),
            "it ran once before"
        );
        let other = step(&ledger, "create_bucket", &json!(["b"]));
        assert!(other.recorded::<Value>().unwrap().is_none());
    }

    #[test]
    fn a_retry_in_the_same_run_keeps_the_token() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let mut step = step(&ledger, "launch_instance", &json!([{ "name": "web" }]));
            let wanted = Wanted::new(ResourceKind::Instance, "web");
            let intent = step.intend_one(wanted).unwrap();
            tokens.push(intent.token().to_owned());
            let lost = Error::new(ErrorKind::Timeout, "no answer");
            intent.abandoned(&lost);
            step.finish::<()>(&Err(lost)).unwrap();
        }
        assert_eq!(tokens[0], tokens[1]);
        assert_eq!(ledger.possibly_made().len(), 1);
    }

    #[test]
    fn only_a_proof_abandons() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        let lost = Error::new(ErrorKind::Timeout, "no answer");
        let denied = Error::new(ErrorKind::Denied, "not allowed");
        for (name, error) in [("a", lost), ("b", denied)] {
            let mut step = step(&ledger, "create_bucket", &json!([name]));
            step.intend_one(bucket(name)).unwrap().abandoned(&error);
        }
        let names: Vec<_> = ledger.possibly_made().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn an_effect_takes_two_commits_and_no_effect_none() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        let commits = || {
            let db = home.store.connection();
            db.query_row("SELECT total_changes()", [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        let before = commits();
        let refused = step(&ledger, "ssh_exec", &json!(["", "true"]));
        refused
            .finish::<()>(&Err(Error::invalid("no host")))
            .unwrap();
        assert_eq!(commits(), before);
        // A row per step and per resource, each written twice, and the count.
        make(&ledger, "a");
        assert_eq!(commits(), before + 6);
    }

    #[test]
    fn a_wait_is_written_by_the_next_commit_and_masked() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, report_with("hunter22")).unwrap();
        let wait = Wait {
            branch: "/hunter22#1".to_owned(),
            function: "wait_until_ready".to_owned(),
            place: "a.rhai:3".to_owned(),
            error: Some("hunter22 did not come".to_owned()),
            started: 5,
            ended: 9,
        };
        ledger.waited(wait);
        let noted = || home.store.waits(&home.run.id).unwrap();
        assert!(noted().is_empty(), "no commit on its account");
        make(&ledger, "a");
        let noted = noted();
        assert_eq!(noted.len(), 1, "and it is written once");
        assert_eq!(noted[0].branch, "/****#1");
        assert_eq!(noted[0].error.as_deref(), Some("**** did not come"));
        assert_eq!((noted[0].started, noted[0].ended), (5, 9));
    }

    #[test]
    fn released_is_no_longer_live() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        make(&ledger, "b");
        assert!(ledger.made(ResourceKind::Bucket, "b"));
        let release = |by| ledger.intend_release(ResourceKind::Bucket, "b", by);
        release(Remover::Playbook).unwrap().released();
        assert!(ledger.live().is_empty());
        assert!(release(Remover::User).is_none());
        ledger.commit().unwrap();
        drop(ledger);
        let ledger = Ledger::take_up(&home.store, &home.run, quiet()).unwrap();
        let mut made = step(&ledger, "create_bucket", &json!(["b"]));
        assert!(made.was_undone());
        // Made again, and not gone again.
        made.intend_one(bucket("b")).unwrap().created("b");
        assert!(!made.was_undone());
        let release = ledger.intend_release(ResourceKind::Bucket, "b", Remover::User);
        release.unwrap().released();
        assert!(made.was_undone());
    }

    #[test]
    fn no_secret_enters_it() {
        let home = home();
        let report = report_with("hunter22");
        let ledger = Ledger::begin(&home.store, &home.run, report).unwrap();
        let mut step = step(&ledger, "ssh_exec", &json!(["web", "echo hunter22"]));
        step.begin().unwrap();
        step.finish(&Ok(json!({ "stdout": "hunter22\n" }))).unwrap();
        drop(ledger);
        let row = &home.store.steps(&home.run.id).unwrap()[0];
        assert_eq!(row.summary, "web echo ****");
        assert_eq!(
            row.result.as_ref().unwrap().value().unwrap()["stdout"],
            "****\n"
        );
        assert!(row.altered);
        let ledger = Ledger::take_up(&home.store, &home.run, report_with("hunter22")).unwrap();
        let mut named = self::step(&ledger, "create_bucket", &json!(["hunter22"]));
        let refused = named.intend_one(bucket("a-hunter22")).unwrap_err();
        assert!(refused.message.contains("holds a secret"), "{refused}");
    }

    /// What a step of an earlier attempt made of a result that was changed.
    fn recorded_as(sql: &str) -> Result<Option<Named>> {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        make(&ledger, "a");
        drop(ledger);
        let changed = home.store.write(|tx| tx.execute(sql, []));
        assert_eq!(changed.unwrap(), 1);
        let ledger = Ledger::take_up(&home.store, &home.run, quiet())?;
        step(&ledger, "create_bucket", &json!(["a"])).recorded()
    }

    #[derive(Debug, serde::Deserialize)]
    struct Named {
        name: String,
    }

    #[test]
    fn a_result_that_cannot_be_read_is_an_error() {
        let whole = recorded_as("UPDATE step SET summary = summary").unwrap();
        assert_eq!(whole.unwrap().name, "a");
        for (sql, why) in [
            ("UPDATE step SET result = '{\"name\":'", "EOF while parsing"),
            ("UPDATE step SET result = '[1]'", "invalid type"),
            ("UPDATE step SET result = '{}'", "missing field `name`"),
            ("UPDATE step SET result = 'null'", "invalid type: null"),
            ("UPDATE step SET result = NULL", "there is none"),
            (
                "UPDATE step SET state = 'did'",
                "is `did`, not one of under_way",
            ),
            (
                "UPDATE resource SET state = 'up'",
                "is `up`, not one of intended",
            ),
            (
                "UPDATE resource SET kind = 'pail'",
                "is `pail`, not one of instance",
            ),
            (
                "UPDATE resource SET step = 'other'",
                "which step made bucket `a`",
            ),
        ] {
            let error = recorded_as(sql).unwrap_err();
            assert!(error.to_string().contains(why), "{sql}: {error}");
            assert_eq!(error.kind, ErrorKind::Internal, "{sql}");
            assert!(error.hint.is_some(), "{sql}");
        }
    }

    #[test]
    fn a_run_that_cannot_be_read_is_named() {
        let home = home();
        drop(Ledger::begin(&home.store, &home.run, quiet()).unwrap());
        for (sql, why) in [
            (
                "UPDATE run SET outcome = 'well'",
                "is `well`, not one of done",
            ),
            ("UPDATE run SET about = ''", "column `about`"),
        ] {
            home.store.write(|tx| tx.execute(sql, [])).unwrap();
            let error = home.store.runs().unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains(&home.run.id),
                "{error}"
            );
            let whole = "UPDATE run SET outcome = NULL";
            home.store.write(|tx| tx.execute(whole, [])).unwrap();
        }
    }

    #[test]
    fn a_result_that_was_too_long_is_not_an_error() {
        let cut = "UPDATE step SET result = 'null', altered = 1";
        assert!(recorded_as(cut).unwrap().is_none());
    }

    #[test]
    fn a_step_whose_result_cannot_be_written_is_not_done_again() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        let mut made = step(&ledger, "local_exec", &json!(["true"]));
        made.begin().unwrap();
        let no_key = HashMap::from([(vec![1], 2)]);
        let error = made.finish(&Ok(no_key)).unwrap_err();
        assert!(error.to_string().contains("local_exec"), "{error}");
        drop(ledger);
        let ledger = Ledger::take_up(&home.store, &home.run, quiet()).unwrap();
        let again = step(&ledger, "local_exec", &json!(["true"]));
        assert!(again.recorded::<Value>().is_err());
    }

    #[test]
    fn tokens_fit_ec2() {
        let home = home();
        let ledger = Ledger::begin(&home.store, &home.run, quiet()).unwrap();
        let mut step = step(&ledger, "launch_instance", &json!([]));
        let wanted = Wanted::new(ResourceKind::Instance, "web");
        let intent = step.intend_one(wanted).unwrap();
        assert!(intent.token().len() <= 64 && intent.token().is_ascii());
    }
}
