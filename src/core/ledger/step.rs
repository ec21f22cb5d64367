//! Steps: calls with an effect. Branch, function, arguments and the number of
//! equal calls that succeeded before identify a step, so that a resumed run
//! recognizes the recorded steps.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::clock::{Millis, now};
use super::handle::{Intent, Ledger};
use super::identity::{digest, forget_signatures, sorted, summary};
use super::kept::{shorten, with_secrets, without_secrets};
use super::resource::{NewResource, Resource, ResourceKind, State};
use super::step_row::{Progress, StepResult, StepRow};
use crate::error::{Error, ErrorKind, Result};

/// The call of a step.
#[derive(Debug)]
pub struct Call<'a> {
    /// The branch of `parallel`.
    pub branch: &'a str,
    /// The function.
    pub function: &'a str,
    /// The arguments, without the parts that may differ between two attempts.
    pub arguments: &'a Value,
    /// The place in the playbook.
    pub place: String,
}

/// A call with an effect, from before its first request to its end.
#[derive(Debug)]
pub struct Step {
    ledger: Ledger,
    row: StepRow,
    /// Key of the counter of equal calls.
    counter: String,
    /// Index of the row, once the step has begun.
    index: Option<usize>,
    /// Index of the recorded step of an earlier attempt.
    earlier: Option<usize>,
}

impl Step {
    /// Identifies a call. It may be a recorded step.
    #[must_use]
    pub fn new(ledger: &Ledger, call: Call) -> Self {
        let mask = ledger.report.mask();
        let mut arguments = call.arguments.clone();
        mask.apply_json(&mut arguments);
        forget_signatures(&mut arguments);
        let branch = mask.apply(call.branch);
        let identity = serde_json::json!([branch, call.function, sorted(&arguments)]);
        let counter = digest(&identity.to_string());
        let mut memory = ledger.memory();
        let occurrence = memory.occurrences.get(&counter).copied().unwrap_or(0);
        let key = digest(&format!("{counter} {occurrence}"));
        let earlier = memory.recorded.get(&key).copied();
        if earlier.is_some() {
            memory.used.insert(key.clone());
        }
        drop(memory);
        Self {
            ledger: ledger.clone(),
            row: StepRow {
                number: 0,
                key,
                branch,
                function: call.function.to_owned(),
                summary: summary(&arguments),
                place: call.place,
                state: Progress::UnderWay,
                result: None,
                altered: false,
                error: None,
                started: now(),
                ended: None,
            },
            counter,
            index: None,
            earlier,
        }
    }

    /// Returns the result of a recorded step. A caller that uses it calls
    /// [`Self::replay`].
    ///
    /// Fails with [`ErrorKind::Internal`] if the step succeeded but its result
    /// cannot be read: the step must not be repeated.
    pub fn recorded<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(earlier) = self.earlier else {
            return Ok(None);
        };
        let row = self.ledger.memory().steps[earlier].clone();
        let value = match &row.result {
            Some(StepResult::Value(value)) => value,
            Some(StepResult::Unreadable { why, .. }) => return Err(self.unreadable(&row, why)),
            None => return Err(self.unreadable(&row, "it is missing")),
        };
        match serde_json::from_value(with_secrets(value.clone(), &self.ledger.secrets)) {
            Ok(result) => Ok(Some(result)),
            Err(e) => Err(self.unreadable(&row, &e.to_string())),
        }
    }

    fn unreadable(&self, row: &StepRow, why: &str) -> Error {
        Error::internal(format!(
            "cannot read the recorded result of {} {} ({}): {why}",
            row.function, row.summary, row.place
        ))
        .hint(format!(
            "an earlier attempt completed the step, so it is not repeated: restore the ledger from \
             a backup, or remove what the run created with `autorun destroy {}`",
            self.ledger.run()
        ))
    }

    /// Returns the resources that earlier attempts of this step recorded.
    #[must_use]
    pub fn made(&self) -> Vec<Resource> {
        let memory = self.ledger.memory();
        let rows = memory.resources.of_step(&self.row.key);
        rows.map(|(_, row)| row.clone()).collect()
    }

    /// Returns the resources that earlier attempts of this step created and that,
    /// according to the ledger, still exist.
    #[must_use]
    pub fn live(&self, kind: ResourceKind) -> Vec<Resource> {
        let mut made = self.made();
        made.retain(|row| row.kind == kind && row.exists());
        made
    }

    /// Returns whether the playbook itself later removed the resources of this
    /// step, so that they need not exist.
    #[must_use]
    pub fn was_undone(&self) -> bool {
        is_undone(&self.made())
    }

    /// Returns the same about the resources of one kind.
    #[must_use]
    pub fn was_undone_for(&self, kind: ResourceKind) -> bool {
        let mut made = self.made();
        made.retain(|row| row.kind == kind);
        is_undone(&made)
    }

    /// Returns whether the playbook has removed a resource of this step, or began
    /// to. It does not need the others any more.
    #[must_use]
    pub fn removal_began(&self) -> bool {
        self.made().iter().any(|row| row.removed_by_playbook)
    }

    /// Returns the digest that identifies the step in its run, in every attempt.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.row.key
    }

    /// Returns how many attempts at the step have failed before.
    #[must_use]
    pub fn failures(&self) -> usize {
        let memory = self.ledger.memory();
        let attempts = memory.steps.iter().enumerate();
        let earlier = attempts.filter(|(index, row)| {
            row.key == self.row.key && row.state == Progress::Failed && Some(*index) != self.index
        });
        earlier.count()
    }

    /// Returns when the last attempt at the step began, if it has no recorded end.
    #[must_use]
    pub fn interrupted(&self) -> Option<Millis> {
        let memory = self.ledger.memory();
        let attempts = memory.steps.iter().enumerate().rev();
        let mut earlier = attempts.filter(|(index, _)| Some(*index) != self.index);
        let (_, last) = earlier.find(|(_, row)| row.key == self.row.key)?;
        (last.state == Progress::UnderWay).then_some(last.started)
    }

    /// Reports that the step is replayed: its recorded result is used, and nothing
    /// is written.
    pub fn replay(&self) {
        let altered = {
            let memory = self.ledger.memory();
            self.earlier
                .is_some_and(|earlier| memory.steps[earlier].altered)
        };
        let message = format!(
            "replayed {} {}: an earlier attempt completed it",
            self.row.function, self.row.summary
        );
        if altered {
            self.ledger.report.warn(format!(
                "{message}; its recorded result is masked or shortened"
            ));
        } else {
            self.ledger.report.info(message);
        }
    }

    /// Records durably that the step begins and which resources it is about to
    /// create. A resource that an earlier attempt may have created keeps its row,
    /// and therefore its token.
    pub fn intend(&mut self, wanted: &[NewResource]) -> Result<Vec<Intent>> {
        self.check(wanted)?;
        self.begin_unwritten();
        let mut intents: Vec<Intent> = Vec::with_capacity(wanted.len());
        let mut memory = self.ledger.memory();
        let key = &self.row.key;
        if let Some(wanted) = wanted.iter().find(|w| memory.is_taken(w, key)) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "this run has already created {} `{}`",
                    wanted.kind.words(),
                    wanted.name
                ),
            ));
        }
        let mut earlier = memory.intended(key);
        for wanted in wanted {
            let again = memory.take_again(wanted, &mut earlier);
            let index = again.unwrap_or_else(|| memory.add(self.ledger.run(), wanted, key));
            intents.push(Intent {
                ledger: self.ledger.clone(),
                index,
                row: memory.resources[index].row.clone(),
                again: again.is_some(),
            });
        }
        drop(memory);
        self.ledger.commit()?;
        Ok(intents)
    }

    /// Checks that names and IDs contain no secret: they appear in the ledger, in
    /// URLs and in the logs of AWS.
    fn check(&self, wanted: &[NewResource]) -> Result<()> {
        let mask = self.ledger.report.mask();
        let checked = wanted.iter().try_for_each(|wanted| {
            let what = format!("the name of a {}", wanted.kind.words());
            mask.keep_out_of(&what, &wanted.name)?;
            mask.keep_out_of(&what, wanted.id.as_deref().unwrap_or_default())
        });
        checked.map_err(|error| {
            error.hint("choose another name: names are visible to others and kept in the ledger")
        })
    }

    /// Like [`Self::intend`], for one resource.
    pub fn intend_one(&mut self, wanted: NewResource) -> Result<Intent> {
        let mut intents = self.intend(&[wanted])?;
        intents
            .pop()
            .ok_or_else(|| Error::internal("`intend` returned no intent"))
    }

    /// Records durably that the step begins.
    pub fn begin(&mut self) -> Result<()> {
        if self.ledger.memory().was_under_way(&self.row.key) {
            self.ledger.report.warn(format!(
                "{} {} was in progress when the last attempt ended; repeating it",
                self.row.function, self.row.summary
            ));
        }
        self.begin_unwritten();
        self.ledger.commit()
    }

    /// Records with the next commit that the step begins.
    pub fn begin_unwritten(&mut self) {
        if self.index.is_none() {
            self.row.started = now();
            self.index = Some(self.ledger.memory().add_step(self.row.clone()));
        }
    }

    /// Records durably how the step ended. In a shared ledger, other machines may see it
    /// a moment later, with the next commit at the latest. Writes nothing for a call without an
    /// effect: one that was replayed or failed before it began.
    pub fn finish<T: Serialize>(self, result: &Result<T>) -> Result<()> {
        let mask = self.ledger.report.mask();
        if result.is_ok() {
            let mut memory = self.ledger.memory();
            *memory.occurrences.entry(self.counter).or_default() += 1;
        }
        let Some(index) = self.index else {
            return Ok(());
        };
        let mut row = self.row;
        row.ended = Some(now());
        let function = row.function.clone();
        let mut unkept = None;
        match result {
            Ok(value) => {
                // Set even if the result cannot be recorded: the step must not
                // be repeated.
                row.state = Progress::Done;
                match serde_json::to_value(value) {
                    Ok(value) => {
                        let mut kept = without_secrets(value.clone(), &self.ledger.secrets);
                        mask.apply_json(&mut kept);
                        shorten(&mut kept);
                        row.altered = with_secrets(kept.clone(), &self.ledger.secrets) != value;
                        row.result = Some(StepResult::Value(kept));
                    }
                    Err(e) => unkept = Some(e),
                }
            }
            Err(error) => {
                let causes = error.causes.iter().map(|cause| format!("\n{cause}"));
                let message = format!("{error}{}", causes.collect::<String>());
                let mut message = Value::String(mask.apply(&message));
                shorten(&mut message);
                row.error = message.as_str().map(str::to_owned);
                row.state = Progress::Failed;
            }
        }
        self.ledger.memory().change_step(index, row);
        self.ledger
            .record()
            .map_err(|error| error.while_doing(&format!("cannot record the end of {function}")))?;
        unkept.map_or(Ok(()), |e| {
            Err(Error::internal(format!(
                "cannot record the result of {function}: {e}"
            )))
        })
    }

    /// Returns when the first of its resources was recorded, which is the same in
    /// every attempt.
    #[must_use]
    pub fn intended(&self) -> Millis {
        let made = self.made();
        let first = made.iter().filter(|row| row.state == State::Intended);
        first
            .map(|row| row.intended)
            .min()
            .unwrap_or(self.row.started)
    }
}

fn is_undone(made: &[Resource]) -> bool {
    made.iter().any(|row| row.removed_by_playbook) && !made.iter().any(|row| row.state.may_be_up())
}
