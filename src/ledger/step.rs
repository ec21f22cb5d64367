//! Steps: calls with an effect. A step is told by its branch, its function, its
//! arguments and how many of the same succeeded before it; so a resumed run
//! knows what it has done.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Intent, Ledger, Memory, Millis, Resource, ResourceKind, State, now};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Mask, text};

/// How much of a result or an error is kept, as JSON.
const KEPT: usize = 64 << 10;

/// A step as the ledger keeps it.
#[derive(Clone, Debug)]
pub struct StepRow {
    /// Its number in the run, from 0.
    pub number: usize,
    /// Digest of what tells it from others.
    pub key: String,
    /// The branch of `parallel` that it was in.
    pub branch: String,
    /// The function that was called.
    pub function: String,
    /// Its arguments in a few words, masked.
    pub summary: String,
    /// Where in the playbook, as `web.rhai:12`.
    pub place: String,
    /// How far it got.
    pub state: Progress,
    /// What it returned, masked.
    pub result: Option<StepResult>,
    /// Whether the result was masked or shortened.
    pub altered: bool,
    /// What it failed with, masked.
    pub error: Option<String>,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
}

/// What a step returned, as the ledger has it.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// A value, masked and shortened.
    Value(Value),
    /// A text that autorun did not write.
    Unreadable {
        /// The text.
        text: String,
        /// Why it cannot be read.
        why: String,
    },
}

impl StepResult {
    /// Reads what the ledger has.
    pub(super) fn read(text: String) -> Self {
        match serde_json::from_str(&text) {
            Ok(value) => Self::Value(value),
            Err(e) => Self::Unreadable {
                text,
                why: e.to_string(),
            },
        }
    }

    /// As the ledger keeps it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Unreadable { text, .. } => text.clone(),
        }
    }

    /// The value, where it can be read.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unreadable { .. } => None,
        }
    }
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It began, and nobody wrote down how it ended.
    UnderWay,
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
}

impl Progress {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::UnderWay, Self::Done, Self::Failed];

    /// The name that the ledger uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

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

/// Something that is about to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    kind: ResourceKind,
    name: String,
    id: Option<String>,
}

impl Wanted {
    /// Something whose id the cloud will give.
    #[must_use]
    pub fn new(kind: ResourceKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            id: None,
        }
    }

    /// Whether another step of this run has it: S3 would give the same bucket a
    /// second time, in us-east-1.
    fn is_taken(&self, memory: &Memory, step: &str) -> bool {
        self.kind == ResourceKind::Bucket
            && memory.resources.iter().any(|row| {
                row.kind == self.kind
                    && row.id == self.id
                    && row.step != step
                    && row.state.may_be_up()
            })
    }

    pub(super) fn parts(&self) -> (ResourceKind, String, Option<String>) {
        (self.kind, self.name.clone(), self.id.clone())
    }

    /// Something whose id is known from the start.
    #[must_use]
    pub fn with_id(kind: ResourceKind, name: &str, id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::new(kind, name)
        }
    }
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
    replayed: bool,
}

impl Step {
    pub(super) fn new(ledger: &Ledger, call: Call, mask: &Mask) -> Self {
        let mut arguments = call.arguments.clone();
        mask.apply_json(&mut arguments);
        forget_signatures(&mut arguments);
        let branch = mask.apply(call.branch);
        let told_by = serde_json::json!([branch, call.function, sorted(&arguments)]);
        let counter = digest(&told_by.to_string());
        let mut state = ledger.state();
        let occurrence = state.occurrences.get(&counter).copied().unwrap_or(0);
        let key = digest(&format!("{counter} {occurrence}"));
        let earlier = state.recorded.get(&key).copied();
        if earlier.is_some() {
            state.used.insert(key.clone());
        }
        drop(state);
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
            replayed: false,
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
        let row = self.ledger.state().steps[earlier].clone();
        let value = match &row.result {
            Some(StepResult::Value(value)) => value,
            Some(StepResult::Unreadable { why, .. }) => return Err(self.unreadable(&row, why)),
            None => return Err(self.unreadable(&row, "there is none")),
        };
        match serde_json::from_value(with_secrets(value.clone(), &self.ledger.secrets)) {
            Ok(result) => Ok(Some(result)),
            Err(_) if row.altered && value.is_null() => {
                self.ledger.report.warn(format!(
                    "{} {} was done before; its result was too long to be recorded, so it is done \
                     again",
                    row.function, row.summary
                ));
                Ok(None)
            }
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
        let state = self.ledger.state();
        let rows = state
            .resources
            .iter()
            .filter(|row| row.step == self.row.key);
        rows.cloned().collect()
    }

    /// What an earlier attempt of this step made for certain, if the playbook or
    /// somebody else has not removed it since as far as the ledger knows.
    #[must_use]
    pub fn live(&self, kind: ResourceKind) -> Vec<Resource> {
        let mut made = self.made();
        made.retain(|row| row.kind == kind && matches!(row.state, State::Live | State::Releasing));
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
    pub fn replay(&mut self) {
        self.replayed = true;
        let altered = {
            let state = self.ledger.state();
            self.earlier
                .is_some_and(|earlier| state.steps[earlier].altered)
        };
        let said = format!(
            "{} {} was done before; not done again",
            self.row.function, self.row.summary
        );
        match altered {
            true => self.ledger.report.warn(format!(
                "{said}; its recorded result is masked or shortened"
            )),
            false => self.ledger.report.info(said),
        }
    }

    /// Writes down, durably, that the step begins and what it is about to make.
    /// What an earlier attempt was about to make and may have made keeps its
    /// row, and so its token.
    pub fn intend(&mut self, wanted: &[Wanted]) -> Result<Vec<Intent>> {
        self.check(wanted)?;
        self.begin_unwritten();
        let mut indices: Vec<(usize, bool)> = Vec::new();
        let mut state = self.ledger.state();
        if let Some(wanted) = wanted.iter().find(|w| w.is_taken(&state, &self.row.key)) {
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
            let again = (0..state.resources.len()).find(|index| {
                let row = &state.resources[*index];
                row.step == self.row.key
                    && row.state == State::Intended
                    && row.kind == wanted.kind
                    && row.name == wanted.name
                    && !indices.iter().any(|(taken, _)| taken == index)
            });
            indices.push(match again {
                Some(index) => (index, true),
                None => (self.ledger.add(&mut state, wanted, &self.row.key), false),
            });
        }
        let tokens: Vec<String> = indices
            .iter()
            .map(|(index, _)| state.resources[*index].row.clone())
            .collect();
        drop(state);
        self.ledger.commit()?;
        Ok(indices
            .into_iter()
            .zip(tokens)
            .map(|((index, again), row)| Intent {
                ledger: self.ledger.clone(),
                index,
                row,
                again,
            })
            .collect())
    }

    /// What others see of a thing must hold no secret: names are in the ledger,
    /// in URLs and in AWS's own logs.
    fn check(&self, wanted: &[Wanted]) -> Result<()> {
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
    pub fn intend_one(&mut self, wanted: Wanted) -> Result<Intent> {
        let mut intents = self.intend(&[wanted])?;
        intents
            .pop()
            .ok_or_else(|| Error::internal("one intent was asked for"))
    }

    /// Writes down, durably, that the step begins.
    pub fn begin(&mut self) -> Result<()> {
        if self.ledger.was_under_way(&self.row.key) {
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
            self.index = Some(self.ledger.add_step(self.row.clone()));
        }
    }

    /// Writes down, durably, how it ended. Nothing for a call that had no
    /// effect: it was replayed, or it failed before it began.
    pub fn finish<T: Serialize>(self, result: &Result<T>) -> Result<()> {
        let mask = self.ledger.report.mask();
        if result.is_ok() {
            let mut state = self.ledger.state();
            *state.occurrences.entry(self.counter).or_default() += 1;
        }
        let Some(index) = self.index else {
            return Ok(());
        };
        let mut row = self.row;
        row.ended = Some(now());
        let mut unkept = None;
        let function = row.function.clone();
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
        self.ledger.change_step(index, row);
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

fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(16).fold(String::new(), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The same value with the keys of its maps in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        other => other.clone(),
    }
}

/// A presigned URL is another one each time, and means the same.
fn forget_signatures(value: &mut Value) {
    use std::sync::LazyLock;
    static SIGNED: LazyLock<regex_lite::Regex> = LazyLock::new(|| {
        let pattern = r"(X-Amz-[A-Za-z-]+=)[^&\s\x22'<>]*";
        regex_lite::Regex::new(pattern).expect("the pattern is a constant")
    });
    match value {
        Value::String(text) if text.contains("X-Amz-") => {
            *text = SIGNED.replace_all(text, "$1").into_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(forget_signatures),
        Value::Object(map) => map.values_mut().for_each(forget_signatures),
        _ => {}
    }
}

/// A result with the names of secret variables in place of their values.
fn without_secrets(value: Value, secrets: &[(String, String)]) -> Value {
    let by_name = |text: String| {
        secrets.iter().fold(text, |text, (name, secret)| {
            text.replace(secret.as_str(), &format!("****{name}****"))
        })
    };
    in_texts(value, &by_name)
}

/// The same with the values in place of the names.
fn with_secrets(value: Value, secrets: &[(String, String)]) -> Value {
    let by_value = |text: String| {
        secrets.iter().fold(text, |text, (name, secret)| {
            text.replace(&format!("****{name}****"), secret)
        })
    };
    in_texts(value, &by_value)
}

fn in_texts(value: Value, change: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| in_texts(item, change))
            .collect(),
        Value::Object(map) => {
            let entries = map.into_iter().map(|(k, v)| (k, in_texts(v, change)));
            Value::Object(entries.collect())
        }
        other => other,
    }
}

/// The first texts among the arguments, on one line.
fn summary(arguments: &Value) -> String {
    const LONGEST: usize = 40;
    let Value::Array(arguments) = arguments else {
        return String::new();
    };
    let words = arguments.iter().filter_map(|argument| match argument {
        Value::String(text) => text.lines().next().map(str::to_owned),
        Value::Object(map) => map
            .get("name")
            .or_else(|| map.get("id"))
            .or_else(|| map.get("address"))
            .and_then(Value::as_str)
            .map(str::to_owned),
        // A command and its arguments.
        Value::Array(words) => words
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .filter(|words| !words.iter().any(|word| word.starts_with("i-")))
            .and_then(|words| words.join(" ").lines().next().map(str::to_owned)),
        _ => None,
    });
    let line = text::harmless(&words.collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

/// Shortens the texts of a value that is too long, to their ends.
pub(super) fn shorten(value: &mut Value) {
    let mut most = KEPT;
    while value.to_string().len() > KEPT {
        most = most * 7 / 8;
        if most == 0 {
            *value = Value::Null;
            return;
        }
        cut(value, most);
    }
}

fn cut(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            let mut start = text.len() - most;
            while !text.is_char_boundary(start) {
                start += 1;
            }
            *text = format!("[{start} bytes not recorded]{}", &text[start..]);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, most)),
        Value::Object(map) => map.values_mut().for_each(|item| cut(item, most)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_means_nothing() {
        let one = json!({ "a": 1, "b": { "c": 2, "d": 3 } });
        let two = json!({ "b": { "d": 3, "c": 2 }, "a": 1 });
        assert_eq!(sorted(&one).to_string(), sorted(&two).to_string());
    }

    #[test]
    fn a_signature_means_nothing() {
        let url = |date: &str, signature: &str| {
            let mut url = json!([format!(
                "<img src='http://b/k?X-Amz-Date={date}&X-Amz-Signature={signature}'>"
            )]);
            forget_signatures(&mut url);
            url
        };
        assert_eq!(url("1", "a"), url("2", "b"));
        assert!(url("1", "a").to_string().ends_with("X-Amz-Signature='>\"]"));
    }

    #[test]
    fn what_is_kept_is_at_most_64_kib() {
        let long = "é".repeat(100_000);
        let mut value = json!({ "stdout": long, "stderr": long, "status": 3 });
        shorten(&mut value);
        assert!(value.to_string().len() <= KEPT);
        assert_eq!(value["status"], 3);
        let mut many = json!(vec!["x".repeat(100); 10_000]);
        shorten(&mut many);
        assert!(many.to_string().len() <= KEPT);
        let mut control = json!("\u{1}".repeat(40_000));
        shorten(&mut control);
        assert!(control.to_string().len() <= KEPT);
    }

    #[test]
    fn a_secret_is_recorded_by_its_name_and_put_back() {
        let secrets = [("pw".to_owned(), "hunter22".to_owned())];
        let value = json!({ "stdout": "password=hunter22\n", "status": 0 });
        let kept = without_secrets(value.clone(), &secrets);
        assert_eq!(kept["stdout"], "password=****pw****\n");
        assert_eq!(with_secrets(kept, &secrets), value);
    }

    #[test]
    fn a_summary_is_one_short_line() {
        let arguments = json!([{ "name": "web" }, "echo a\necho b", 3]);
        assert_eq!(summary(&arguments), "web echo a");
        assert!(summary(&json!(["x".repeat(500)])).len() < 70);
    }
}
