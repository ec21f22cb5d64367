//! The rows of one run in memory: those on disk, and what the next commit adds.
//! Pure: nothing here reads or writes a file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use super::clock::now;
use super::resource::{NewResource, Remover, Resource, ResourceKind, State};
use super::step_row::{Progress, StepRow};
use super::wait::Wait;
use crate::error::{Error, Result};

/// How many waits of one attempt are kept: a playbook may watch something for days.
const MOST_WAITS: usize = 2000;

/// What is in memory, and which of it the next commit writes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) resources: Vec<Resource>,
    /// How many of them earlier attempts wrote down.
    pub(super) known: usize,
    pub(super) changed_resources: BTreeSet<usize>,
    pub(super) steps: Vec<StepRow>,
    pub(super) changed_steps: BTreeSet<usize>,
    /// Those that no commit has written yet.
    pub(super) new_waits: Vec<Wait>,
    /// How many this attempt has noted.
    pub(super) waits_noted: usize,
    /// Steps of earlier attempts that succeeded, by key.
    pub(super) recorded: HashMap<String, usize>,
    /// Recorded steps that this attempt has reached.
    pub(super) used: HashSet<String>,
    /// How many steps of the same identity have succeeded in this attempt.
    pub(super) occurrences: HashMap<String, u32>,
    /// Instances at whose stop this attempt has arrived.
    pub(super) stopped_here: HashSet<String>,
    /// Instances that this attempt started again, and when.
    pub(super) started_again: HashMap<String, Instant>,
}

/// What a commit writes.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) resources: Vec<Resource>,
    pub(super) steps: Vec<StepRow>,
    pub(super) waits: Vec<Wait>,
}

impl Unwritten {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.steps.is_empty() && self.waits.is_empty()
    }
}

impl Memory {
    /// What earlier attempts wrote down.
    pub(super) fn loaded(resources: Vec<Resource>, steps: Vec<StepRow>) -> Self {
        Self {
            known: resources.len(),
            resources,
            steps,
            ..Self::default()
        }
    }

    /// Takes the steps that succeeded as done.
    ///
    /// Throws `internal` when a resource belongs to no step: a step that cannot
    /// find what it was about to make would make it a second time.
    pub(super) fn resume(&mut self, run: &str) -> Result<()> {
        let keys: HashSet<&str> = self.steps.iter().map(|step| step.key.as_str()).collect();
        let mut rows = self.resources.iter();
        if let Some(row) = rows.find(|row| !keys.contains(row.step.as_str())) {
            return Err(Error::internal(format!(
                "the ledger does not say which step made {} `{}` (row {})",
                row.kind.words(),
                row.name,
                row.row
            ))
            .hint(format!(
                "the row was changed, so the step would be done a second time: bring the ledger \
                 back from a backup, or remove what the run made with `autorun destroy {run}`",
            )));
        }
        let done = self.steps.iter().enumerate();
        self.recorded = done
            .filter(|(_, step)| step.state == Progress::Done)
            .map(|(index, step)| (step.key.clone(), index))
            .collect();
        Ok(())
    }

    /// Adds the row of something that is about to be made; returns its index.
    pub(super) fn add(&mut self, run: &str, wanted: &NewResource, step: &str) -> usize {
        let index = self.resources.len();
        let row = format!("autorun-{run}-{index:04}-{:08x}", rand::random::<u32>());
        self.resources.push(Resource::intended(row, wanted, step));
        self.changed_resources.insert(index);
        index
    }

    /// What the step was about to make in an earlier attempt, unless it is taken.
    pub(super) fn intended(
        &self,
        wanted: &NewResource,
        step: &str,
        taken: &[usize],
    ) -> Option<usize> {
        let mut rows = self.resources.iter().enumerate();
        let again = rows.find(|(index, row)| {
            row.step == step
                && row.state == State::Intended
                && row.kind == wanted.kind
                && row.name == wanted.name
                && !taken.contains(index)
        });
        again.map(|(index, _)| index)
    }

    /// Whether another step of this run has it: S3 would give the same bucket a
    /// second time, in us-east-1.
    pub(super) fn is_taken(&self, wanted: &NewResource, step: &str) -> bool {
        wanted.kind == ResourceKind::Bucket
            && self.resources.iter().any(|row| {
                row.kind == wanted.kind
                    && row.id == wanted.id
                    && row.step != step
                    && row.state.may_be_up()
            })
    }

    /// Adds a step's row; returns its index, which is its number.
    pub(super) fn add_step(&mut self, mut step: StepRow) -> usize {
        let index = self.steps.len();
        step.number = index;
        self.steps.push(step);
        self.changed_steps.insert(index);
        index
    }

    pub(super) fn change_step(&mut self, index: usize, step: StepRow) {
        self.steps[index] = StepRow {
            number: index,
            ..step
        };
        self.changed_steps.insert(index);
    }

    /// Notes a wait, unless this attempt has many.
    pub(super) fn note_wait(&mut self, wait: Wait) {
        if self.waits_noted < MOST_WAITS {
            self.waits_noted += 1;
            self.new_waits.push(wait);
        }
    }

    /// Whether the last attempt at a step began and its end is not on record.
    pub(super) fn was_under_way(&self, key: &str) -> bool {
        let last = self.steps.iter().rev().find(|step| step.key == key);
        last.is_some_and(|step| step.state == Progress::UnderWay)
    }

    /// The row of a thing that is there.
    pub(super) fn find(&self, kind: ResourceKind, id: &str) -> Option<usize> {
        let mut rows = self.resources.iter();
        rows.position(|row| row.kind == kind && row.id.as_deref() == Some(id) && row.is_there())
    }

    /// Changes the state of a row, if that is legal.
    pub(super) fn turn(&mut self, index: usize, next: State) {
        let row = &mut self.resources[index];
        // Two branches may remove one thing: the second changes nothing.
        if row.state.may_become(next) {
            row.state = next;
            row.changed = now();
            self.changed_resources.insert(index);
        }
    }

    /// What the cloud said about an intended row: its id if it was made.
    pub(super) fn resolve(&mut self, row: &str, found: Option<&str>) {
        let Some(index) = self.position(row) else {
            return;
        };
        if let Some(id) = found {
            self.resources[index].id = Some(id.to_owned());
            self.turn(index, State::Live);
        } else {
            self.turn(index, State::Abandoned);
        }
    }

    /// Drops a row whose thing may be up.
    pub(super) fn forget(&mut self, row: &str) {
        if let Some(index) = self.position(row)
            && self.resources[index].state.may_be_up()
        {
            self.resources[index].state = State::Forgotten;
            self.resources[index].changed = now();
            self.changed_resources.insert(index);
        }
    }

    /// A thing went, together with another one that was removed.
    pub(super) fn went(&mut self, row: &str, by: Remover) {
        if let Some(index) = self.position(row)
            && self.resources[index].is_there()
        {
            let changed = &mut self.resources[index];
            changed.state = State::Released;
            changed.changed = now();
            changed.removed_by_playbook = by == Remover::Playbook;
            self.changed_resources.insert(index);
        }
    }

    fn position(&self, row: &str) -> Option<usize> {
        self.resources.iter().position(|known| known.row == row)
    }

    /// Whether the playbook itself removed what it made under this id.
    pub(super) fn was_removed_by_playbook(&self, kind: ResourceKind, id: &str) -> bool {
        let mut rows = self.resources.iter().rev();
        let last = rows.find(|row| row.kind == kind && row.id.as_deref() == Some(id));
        last.is_some_and(|row| row.removed_by_playbook && !row.state.may_be_up())
    }

    /// Steps that an earlier attempt did and for which this one has no
    /// counterpart, unless all that they did is gone.
    pub(super) fn left_over(&self) -> Vec<StepRow> {
        let unused = self.recorded.iter();
        let unused = unused.filter(|(key, _)| !self.used.contains(*key));
        let mut left: Vec<usize> = unused.map(|(_, index)| *index).collect();
        left.sort_unstable();
        left.retain(|index| !self.has_counterpart(*index) && !self.is_undone(&self.steps[*index]));
        left.iter()
            .map(|index| self.steps[*index].clone())
            .collect()
    }

    /// Whether this attempt did the same with other contents: a file that has
    /// changed, a try that was not needed any more.
    fn has_counterpart(&self, index: usize) -> bool {
        let wanted = &self.steps[index];
        let is_same = |step: &StepRow| {
            (&step.branch, &step.function, &step.summary)
                == (&wanted.branch, &wanted.function, &wanted.summary)
        };
        let done = self
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.state == Progress::Done);
        let mut here = done.filter(|(_, step)| {
            !self.recorded.contains_key(&step.key) || self.used.contains(&step.key)
        });
        here.any(|(other, step)| other != index && is_same(step))
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

    /// The row of an instance that an earlier attempt made.
    pub(super) fn row_of_instance(&self, id: &str) -> Option<&Resource> {
        self.resources[..self.known.min(self.resources.len())]
            .iter()
            .find(|row| is_instance(row, id))
    }

    /// Notes whether the playbook stopped an instance.
    pub(super) fn set_stopped(&mut self, id: &str, stopped: bool) {
        let found = self.resources.iter().position(|row| is_instance(row, id));
        if let Some(index) = found
            && self.resources[index].stopped != stopped
        {
            self.resources[index].stopped = stopped;
            self.changed_resources.insert(index);
        }
    }

    /// Takes what no commit has written yet.
    pub(super) fn take_unwritten(&mut self) -> Unwritten {
        let resources = std::mem::take(&mut self.changed_resources).into_iter();
        let steps = std::mem::take(&mut self.changed_steps).into_iter();
        Unwritten {
            resources: resources
                .map(|index| self.resources[index].clone())
                .collect(),
            steps: steps.map(|index| self.steps[index].clone()).collect(),
            waits: std::mem::take(&mut self.new_waits),
        }
    }

    /// Puts back what could not be written: the next commit writes it.
    pub(super) fn put_back(&mut self, unwritten: Unwritten) {
        for row in &unwritten.resources {
            let index = self.position(&row.row);
            self.changed_resources.extend(index);
        }
        let numbers = unwritten.steps.iter().map(|step| step.number);
        self.changed_steps.extend(numbers);
        self.new_waits.splice(0..0, unwritten.waits);
    }
}

fn is_instance(row: &Resource, id: &str) -> bool {
    row.kind == ResourceKind::Instance
        && row.id.as_deref() == Some(id)
        && matches!(row.state, State::Live | State::Releasing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::StepResult;

    fn done(key: &str, summary: &str) -> StepRow {
        StepRow {
            number: 0,
            key: key.to_owned(),
            branch: String::new(),
            function: "create_bucket".to_owned(),
            summary: summary.to_owned(),
            place: String::new(),
            state: Progress::Done,
            result: Some(StepResult::Value(serde_json::Value::Null)),
            altered: false,
            error: None,
            started: 1,
            ended: Some(2),
        }
    }

    fn bucket(name: &str, step: &str) -> Resource {
        let wanted = NewResource::with_id(ResourceKind::Bucket, name, name);
        Resource::intended(format!("row-{name}"), &wanted, step)
    }

    fn resumed() -> Memory {
        let resources = vec![bucket("a", "one"), bucket("b", "two")];
        let mut memory = Memory::loaded(resources, vec![done("one", "a"), done("two", "b")]);
        memory.resume("run").unwrap();
        memory
    }

    #[test]
    fn what_was_done_and_is_not_asked_for_is_left_over() {
        let mut memory = resumed();
        let left = |memory: &Memory| {
            let left = memory.left_over().into_iter();
            left.map(|step| step.key).collect::<Vec<_>>()
        };
        assert_eq!(left(&memory), ["one", "two"]);
        memory.used.insert("one".to_owned());
        assert_eq!(left(&memory), ["two"]);
        // The same with other contents is its counterpart.
        memory.add_step(done("new", "b"));
        assert!(left(&memory).is_empty());
        let mut memory = resumed();
        memory.resolve("row-a", None);
        memory.resolve("row-b", Some("b"));
        memory.went("row-b", Remover::User);
        assert!(left(&memory).is_empty(), "all of it is gone");
    }

    #[test]
    fn an_intended_row_is_found_by_its_step_and_its_name() {
        let memory = resumed();
        let wanted = NewResource::with_id(ResourceKind::Bucket, "a", "a");
        assert_eq!(memory.intended(&wanted, "one", &[]), Some(0));
        assert_eq!(memory.intended(&wanted, "one", &[0]), None);
        assert_eq!(memory.intended(&wanted, "two", &[]), None);
        assert!(memory.is_taken(&wanted, "two") && !memory.is_taken(&wanted, "one"));
    }

    #[test]
    fn a_row_of_no_step_is_refused() {
        let mut memory = Memory::loaded(vec![bucket("a", "lost")], vec![done("one", "a")]);
        let error = memory.resume("run").unwrap_err().to_string();
        assert!(error.contains("which step made bucket `a`"), "{error}");
    }

    #[test]
    fn what_could_not_be_written_is_written_by_the_next_commit() {
        let mut memory = resumed();
        assert!(memory.take_unwritten().is_empty());
        memory.resolve("row-a", Some("a"));
        memory.add_step(done("new", "c"));
        let unwritten = memory.take_unwritten();
        assert!(memory.take_unwritten().is_empty());
        memory.put_back(unwritten);
        let again = memory.take_unwritten();
        assert_eq!((again.resources.len(), again.steps.len()), (1, 1));
        assert_eq!(again.resources[0].state, State::Live);
    }
}
