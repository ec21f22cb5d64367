//! Steps: calls with an effect. A step is known by its branch, its function, its
//! arguments and how many of the same succeeded before it; so a resumed run
//! knows what it has done.

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

/// What a step does, before it is known whether it was done before.
#[derive(Debug)]
pub struct Call<'a> {
    /// The branch of `parallel`.
    pub branch: &'a str,
    /// The function.
    pub function: &'a str,
    /// Its arguments, without what may differ between two attempts.
    pub arguments: &'a Value,
    /// Where in the playbook.
    pub place: String,
}

/// A call with an effect, from before it is asked for to its end.
#[derive(Debug)]
pub struct Step {
    ledger: Ledger,
    row: StepRow,
    /// Counts the calls that this one is the n-th of.
    counter: String,
    /// Where its row is, once it has begun.
    index: Option<usize>,
    /// The step that did the same in an earlier attempt, and succeeded.
    earlier: Option<usize>,
}

impl Step {
    /// A call with an effect, which may have been done before.
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

    /// What the same step returned when an earlier attempt did it. A caller that
    /// uses it calls [`Self::replay`].
    ///
    /// Throws `internal` when the step succeeded and its result cannot be read:
    /// what was done is not done a second time.
    pub fn recorded<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(earlier) = self.earlier else {
            return Ok(None);
        };
        let row = self.ledger.memory().steps[earlier].clone();
        let value = match &row.result {
            Some(StepResult::Value(value)) => value,
            Some(StepResult::Unreadable { why, .. }) => return Err(self.unreadable(&row, why)),
            None => return Err(self.unreadable(&row, "there is none")),
        };
        match serde_json::from_value(with_secrets(value.clone(), &self.ledger.secrets)) {
            Ok(result) => Ok(Some(result)),
            Err(e) => Err(self.unreadable(&row, &e.to_string())),
        }
    }

    fn unreadable(&self, row: &StepRow, why: &str) -> Error {
        Error::internal(format!(
            "an earlier attempt did {} {} ({}), and its recorded result cannot be read: {why}",
            row.function, row.summary, row.place
        ))
        .hint(format!(
            "so it is not done a second time; bring the ledger back from a backup, or remove what \
             the run made with `autorun destroy {}`",
            self.ledger.run()
        ))
    }

    /// What the same step made in an earlier attempt.
    #[must_use]
    pub fn made(&self) -> Vec<Resource> {
        let memory = self.ledger.memory();
        let rows = memory.resources.iter();
        rows.filter(|row| row.step == self.row.key)
            .cloned()
            .collect()
    }

    /// What an earlier attempt of this step made for certain and what, as far as
    /// the ledger knows, is still there.
    #[must_use]
    pub fn live(&self, kind: ResourceKind) -> Vec<Resource> {
        let mut made = self.made();
        made.retain(|row| row.kind == kind && row.is_there());
        made
    }

    /// Whether the playbook itself removed later on what this step made, so that
    /// it need not be there.
    #[must_use]
    pub fn was_undone(&self) -> bool {
        let made = self.made();
        made.iter().any(|row| row.removed_by_playbook)
            && !made.iter().any(|row| row.state.may_be_up())
    }

    /// The recorded result stands: nothing is done, nothing is written.
    pub fn replay(&self) {
        let altered = {
            let memory = self.ledger.memory();
            self.earlier
                .is_some_and(|earlier| memory.steps[earlier].altered)
        };
        let said = format!(
            "{} {} was done before; not done again",
            self.row.function, self.row.summary
        );
        if altered {
            self.ledger.report.warn(format!(
                "{said}; its recorded result is masked or shortened"
            ));
        } else {
            self.ledger.report.info(said);
        }
    }

    /// Writes down, durably, that the step begins and what it is about to make.
    /// What an earlier attempt was about to make and may have made keeps its
    /// row, and so its token.
    pub fn intend(&mut self, wanted: &[NewResource]) -> Result<Vec<Intent>> {
        self.check(wanted)?;
        self.begin_unwritten();
        let mut intents: Vec<Intent> = Vec::new();
        let mut memory = self.ledger.memory();
        let key = &self.row.key;
        if let Some(wanted) = wanted.iter().find(|w| memory.is_taken(w, key)) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "{} `{}` was made by this run before",
                    wanted.kind.words(),
                    wanted.name
                ),
            ));
        }
        for wanted in wanted {
            let taken: Vec<usize> = intents.iter().map(|intent| intent.index).collect();
            let again = memory.intended(wanted, key, &taken);
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

    /// What others see of a thing must hold no secret: names are in the ledger,
    /// in URLs and in AWS's own logs.
    fn check(&self, wanted: &[NewResource]) -> Result<()> {
        let mask = self.ledger.report.mask();
        let checked = wanted.iter().try_for_each(|wanted| {
            let what = format!("the name of a {}", wanted.kind.words());
            mask.keep_out_of(&what, &wanted.name)?;
            mask.keep_out_of(&what, wanted.id.as_deref().unwrap_or_default())
        });
        checked.map_err(|error| {
            error.hint("names are seen by others and kept in the ledger: choose another")
        })
    }

    /// The same for one thing.
    pub fn intend_one(&mut self, wanted: NewResource) -> Result<Intent> {
        let mut intents = self.intend(&[wanted])?;
        intents
            .pop()
            .ok_or_else(|| Error::internal("one intent was asked for"))
    }

    /// Writes down, durably, that the step begins.
    pub fn begin(&mut self) -> Result<()> {
        if self.ledger.memory().was_under_way(&self.row.key) {
            self.ledger.report.warn(format!(
                "{} {} was under way when the run ended; it is done again",
                self.row.function, self.row.summary
            ));
        }
        self.begin_unwritten();
        self.ledger.commit()
    }

    /// The next commit writes the beginning down.
    pub fn begin_unwritten(&mut self) {
        if self.index.is_none() {
            self.row.started = now();
            self.index = Some(self.ledger.memory().add_step(self.row.clone()));
        }
    }

    /// Writes down, durably, how it ended. Nothing for a call that had no
    /// effect: it was replayed, or it failed before it began.
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
                // A step without a result is not done a second time either.
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
                let mut said = Value::String(mask.apply(&error.to_string()));
                shorten(&mut said);
                row.error = said.as_str().map(str::to_owned);
                row.state = Progress::Failed;
            }
        }
        self.ledger.memory().change_step(index, row);
        self.ledger.commit().map_err(|error| {
            error.while_doing(&format!("the end of {function} could not be written down"))
        })?;
        unkept.map_or(Ok(()), |e| {
            Err(Error::internal(format!(
                "the result of {function} could not be written down: {e}"
            )))
        })
    }

    /// When the first of its resources was written down: the same in every
    /// attempt.
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
