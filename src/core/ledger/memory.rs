//! The rows of one run in memory: those on disk, and the changes that the next
//! commit writes. This module does no I/O.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use super::clock::now;
use super::request::Request;
use super::resource::{NewResource, Remover, Resource, ResourceKind, State};
use super::resource_rows::ResourceRows;
use super::step_row::{Progress, StepRow};
use super::wait::Wait;
use crate::error::{Error, Result};

/// The most waits that are recorded in an attempt, because a playbook may poll for
/// days.
const MOST_WAITS: usize = 2000;

/// The rows, and which of them the next commit writes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) resources: ResourceRows,
    /// How many of the resources earlier attempts recorded.
    pub(super) known: usize,
    pub(super) changed_resources: BTreeSet<usize>,
    pub(super) steps: Vec<StepRow>,
    /// The last row of each step, by key.
    last_rows: HashMap<String, usize>,
    pub(super) changed_steps: BTreeSet<usize>,
    /// Waits that no commit has written yet.
    pub(super) new_waits: Vec<Wait>,
    /// Requests that no commit has written yet.
    pub(super) new_requests: Vec<Request>,
    /// How many waits this attempt has recorded.
    pub(super) waits_noted: usize,
    /// Steps of earlier attempts that succeeded, by key.
    pub(super) recorded: HashMap<String, usize>,
    /// Keys of recorded steps that this attempt has reached.
    pub(super) used: HashSet<String>,
    /// How many steps with the same identity have succeeded in this attempt.
    pub(super) occurrences: HashMap<String, u32>,
    /// Instances whose stop this attempt has performed or replayed.
    pub(super) stopped_here: HashSet<String>,
    /// Instances that this attempt started again, and when.
    pub(super) started_again: HashMap<String, Instant>,
}

/// The rows that a commit writes.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) resources: Vec<Resource>,
    pub(super) steps: Vec<StepRow>,
    pub(super) waits: Vec<Wait>,
    pub(super) requests: Vec<Request>,
}

impl Unwritten {
    /// Returns whether there is nothing to write. Requests alone cause no commit.
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.steps.is_empty() && self.waits.is_empty()
    }
}

impl Memory {
    /// Creates the memory from the rows of earlier attempts.
    pub(super) fn loaded(resources: Vec<Resource>, steps: Vec<StepRow>) -> Self {
        let rows = steps.iter().enumerate();
        Self {
            known: resources.len(),
            resources: resources.into_iter().collect(),
            last_rows: rows.map(|(n, step)| (step.key.clone(), n)).collect(),
            steps,
            ..Self::default()
        }
    }

    /// Marks the steps that succeeded as recorded.
    ///
    /// Fails with [`ErrorKind::Internal`] if a resource belongs to no step: the
    /// step would not find the resource and would create it a second time.
    ///
    /// [`ErrorKind::Internal`]: crate::error::ErrorKind::Internal
    pub(super) fn resume(&mut self, run: &str) -> Result<()> {
        let keys: HashSet<&str> = self.steps.iter().map(|step| step.key.as_str()).collect();
        let mut rows = self.resources.all().iter();
        if let Some(row) = rows.find(|row| !keys.contains(row.step.as_str())) {
            return Err(Error::internal(format!(
                "the ledger does not have the step that created {} `{}` (row {})",
                row.kind.words(),
                row.name,
                row.row
            ))
            .hint(format!(
                "the row was changed, so the step would be repeated: restore the ledger from a \
                 backup, or remove what the run created with `autorun destroy {run}`",
            )));
        }
        let done = self.steps.iter().enumerate();
        self.recorded = done
            .filter(|(_, step)| step.state == Progress::Done)
            .map(|(index, step)| (step.key.clone(), index))
            .collect();
        Ok(())
    }

    /// Adds the row of a resource that is about to be created. Returns its index.
    pub(super) fn add(&mut self, run: &str, wanted: &NewResource, step: &str) -> usize {
        let index = self.resources.all().len();
        let row = format!("autorun-{run}-{index:04}-{:08x}", rand::random::<u32>());
        self.resources.add(Resource::intended(row, wanted, step));
        self.changed_resources.insert(index);
        index
    }

    /// Returns the rows that earlier attempts of a step recorded and whose requests have
    /// no known result.
    pub(super) fn intended(&self, step: &str) -> Vec<usize> {
        let rows = self.resources.of_step(step);
        let open = rows.filter(|(_, row)| row.state == State::Intended);
        open.map(|(index, _)| index).collect()
    }

    /// Takes the row for the same resource, if there is one among `intended`.
    pub(super) fn take_again(
        &self,
        wanted: &NewResource,
        intended: &mut Vec<usize>,
    ) -> Option<usize> {
        let at = intended.iter().position(|index| {
            let row = &self.resources[*index];
            row.kind == wanted.kind && row.name == wanted.name
        });
        at.map(|at| intended.remove(at))
    }

    /// Returns whether another step of this run has created the bucket. In
    /// us-east-1, S3 does not fail if the caller already owns the bucket.
    pub(super) fn is_taken(&self, wanted: &NewResource, step: &str) -> bool {
        let Some(id) = wanted
            .id
            .as_deref()
            .filter(|_| wanted.kind == ResourceKind::Bucket)
        else {
            return false;
        };
        let mut rows = self.resources.with_id(id);
        rows.any(|(_, row)| row.kind == wanted.kind && row.step != step && row.state.may_be_up())
    }

    /// Adds the row of a step. Returns its index, which is its number.
    pub(super) fn add_step(&mut self, mut step: StepRow) -> usize {
        let index = self.steps.len();
        step.number = index;
        self.last_rows.insert(step.key.clone(), index);
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

    /// Adds a wait, unless this attempt has reached the limit.
    pub(super) fn note_wait(&mut self, wait: Wait) {
        if self.waits_noted < MOST_WAITS {
            self.waits_noted += 1;
            self.new_waits.push(wait);
        }
    }

    /// Returns whether the last attempt at a step has no recorded end.
    pub(super) fn was_under_way(&self, key: &str) -> bool {
        let last = self.last_rows.get(key);
        last.is_some_and(|last| self.steps[*last].state == Progress::UnderWay)
    }

    /// Finds the row of a resource that exists.
    pub(super) fn find(&self, kind: ResourceKind, id: &str) -> Option<usize> {
        let mut rows = self.resources.with_id(id);
        let found = rows.find(|(_, row)| row.kind == kind && row.exists());
        found.map(|(index, _)| index)
    }

    /// Changes the state of a row if the transition is valid.
    pub(super) fn set_state(&mut self, index: usize, next: State) {
        let row = &mut self.resources[index];
        // Two branches may remove the same resource: the second one changes
        // nothing.
        if row.state.may_become(next) {
            row.state = next;
            row.changed = now();
            self.changed_resources.insert(index);
        }
    }

    /// Records whether an intended resource exists: `found` is its ID if it does.
    pub(super) fn resolve(&mut self, row: &str, found: Option<&str>) {
        let Some(index) = self.position(row) else {
            return;
        };
        if let Some(id) = found {
            self.resources.set_id(index, id);
            self.set_state(index, State::Live);
        } else {
            self.set_state(index, State::Abandoned);
        }
    }

    /// Forgets a resource that may be up.
    pub(super) fn forget(&mut self, row: &str) {
        if let Some(index) = self.position(row)
            && self.resources[index].state.may_be_up()
        {
            self.resources[index].state = State::Forgotten;
            self.resources[index].changed = now();
            self.changed_resources.insert(index);
        }
    }

    /// Records that a resource was removed together with another one.
    pub(super) fn removed(&mut self, row: &str, by: Remover) {
        if let Some(index) = self.position(row)
            && self.resources[index].exists()
        {
            let changed = &mut self.resources[index];
            changed.state = State::Released;
            changed.changed = now();
            changed.removed_by_playbook = by == Remover::Playbook;
            self.changed_resources.insert(index);
        }
    }

    fn position(&self, row: &str) -> Option<usize> {
        self.resources.position(row)
    }

    /// Returns whether the playbook itself removed the resource with this ID.
    pub(super) fn was_removed_by_playbook(&self, kind: ResourceKind, id: &str) -> bool {
        let mut rows = self.resources.with_id(id).rev();
        let last = rows.find(|(_, row)| row.kind == kind);
        last.is_some_and(|(_, row)| row.removed_by_playbook && !row.state.may_be_up())
    }

    /// Returns the recorded steps that this attempt has not performed, without
    /// those whose resources are all removed.
    pub(super) fn unused_steps(&self) -> Vec<StepRow> {
        let unused = self.recorded.iter();
        let unused = unused.filter(|(key, _)| !self.used.contains(*key));
        let mut left: Vec<usize> = unused.map(|(_, index)| *index).collect();
        left.sort_unstable();
        left.retain(|index| !self.has_counterpart(*index) && !self.is_undone(&self.steps[*index]));
        left.iter()
            .map(|index| self.steps[*index].clone())
            .collect()
    }

    /// Returns whether this attempt performed a similar step: with a changed file,
    /// for example, or with fewer retries.
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

    /// Returns whether the resources that a step created, or the instance that it
    /// worked on, are removed.
    fn is_undone(&self, step: &StepRow) -> bool {
        let mut made = self.resources.of_step(&step.key).peekable();
        if made.peek().is_some() {
            return made.all(|(_, row)| !row.state.may_be_up());
        }
        let on = step.summary.split(' ').next().unwrap_or_default();
        let mut rows = self.resources.with_id(on);
        rows.any(|(_, row)| row.kind == ResourceKind::Instance && !row.state.may_be_up())
    }

    /// Returns the row of an instance that an earlier attempt created.
    pub(super) fn row_of_instance(&self, id: &str) -> Option<&Resource> {
        let mut rows = self.resources.with_id(id);
        let found = rows.find(|(index, row)| *index < self.known && is_instance(row, id));
        found.map(|(_, row)| row)
    }

    /// Records whether the playbook stopped an instance.
    pub(super) fn set_stopped(&mut self, id: &str, stopped: bool) {
        let found = self
            .resources
            .with_id(id)
            .find(|(_, row)| is_instance(row, id))
            .map(|(index, _)| index);
        if let Some(index) = found
            && self.resources[index].stopped != stopped
        {
            self.resources[index].stopped = stopped;
            self.changed_resources.insert(index);
        }
    }

    /// Takes the changes that no commit has written yet.
    pub(super) fn take_unwritten(&mut self) -> Unwritten {
        let resources = std::mem::take(&mut self.changed_resources).into_iter();
        let steps = std::mem::take(&mut self.changed_steps).into_iter();
        Unwritten {
            resources: resources
                .map(|index| self.resources[index].clone())
                .collect(),
            steps: steps.map(|index| self.steps[index].clone()).collect(),
            waits: std::mem::take(&mut self.new_waits),
            requests: std::mem::take(&mut self.new_requests),
        }
    }

    /// Puts back changes that could not be written, so that the next commit writes
    /// them.
    pub(super) fn put_back(&mut self, unwritten: Unwritten) {
        for row in &unwritten.resources {
            let index = self.position(&row.row);
            self.changed_resources.extend(index);
        }
        let numbers = unwritten.steps.iter().map(|step| step.number);
        self.changed_steps.extend(numbers);
        self.new_waits.splice(0..0, unwritten.waits);
        self.new_requests.extend(unwritten.requests);
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
    fn recorded_steps_that_are_not_performed_are_unused() {
        let mut memory = resumed();
        let left = |memory: &Memory| {
            let left = memory.unused_steps().into_iter();
            left.map(|step| step.key).collect::<Vec<_>>()
        };
        assert_eq!(left(&memory), ["one", "two"]);
        memory.used.insert("one".to_owned());
        assert_eq!(left(&memory), ["two"]);
        // A step with another key but the same summary is similar.
        memory.add_step(done("new", "b"));
        assert!(left(&memory).is_empty());
        let mut memory = resumed();
        memory.resolve("row-a", None);
        memory.resolve("row-b", Some("b"));
        memory.removed("row-b", Remover::User);
        assert!(left(&memory).is_empty(), "all resources are removed");
    }

    #[test]
    fn an_intended_row_is_found_by_its_step_and_its_name() {
        let memory = resumed();
        let wanted = NewResource::with_id(ResourceKind::Bucket, "a", "a");
        let mut intended = memory.intended("one");
        assert_eq!(memory.take_again(&wanted, &mut intended), Some(0));
        assert_eq!(memory.take_again(&wanted, &mut intended), None);
        let mut others = memory.intended("two");
        assert_eq!(memory.take_again(&wanted, &mut others), None);
        assert!(memory.is_taken(&wanted, "two") && !memory.is_taken(&wanted, "one"));
    }

    #[test]
    fn a_row_without_a_step_is_refused() {
        let mut memory = Memory::loaded(vec![bucket("a", "lost")], vec![done("one", "a")]);
        let error = memory.resume("run").unwrap_err().to_string();
        assert!(
            error.contains("the step that created bucket `a`"),
            "{error}"
        );
    }

    #[test]
    fn changes_that_could_not_be_written_are_written_by_the_next_commit() {
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
