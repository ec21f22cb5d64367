//! Takes events and writes them to stderr, stdout and the log file, without
//! secrets.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Zoned;
use log::{Level as LogLevel, LevelFilter, Log, Metadata, Record};

use super::console::{AS_IT_IS, console_line, prefix};
use super::event::{Event, Level, Remaining, Steps};
use super::human;
use super::live::{Live, Task};
use super::mask::Mask;
use super::meter::Meter;
use super::tally::Tally;
use super::text;
use crate::error::{Error, Result};

/// What stdout holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// What the playbook prints, as it is.
    #[default]
    Human,
    /// One JSON object per line and event.
    Json,
}

/// Where and how much to report.
#[derive(Debug)]
pub struct Settings {
    /// What stdout holds.
    pub output: Output,
    /// What the console shows on stderr.
    pub console: LevelFilter,
    /// File that is appended to.
    pub file: Option<PathBuf>,
    /// What goes into the file.
    pub file_level: LevelFilter,
    /// Whether stderr may be coloured.
    pub color: bool,
    /// Whether stderr is a terminal, where long lines are broken to fit.
    pub terminal: bool,
}

/// Takes events, writes them out. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    sinks: Arc<dyn Log>,
    mask: Arc<Mask>,
    output: Output,
    run: Arc<str>,
    branch: Option<Arc<str>>,
    live: Arc<Live>,
    /// What this reports about, on the terminal.
    pub(super) task: Option<Arc<Task>>,
    tally: Arc<Tally>,
}

impl Reporter {
    /// Opens the log file and the console.
    ///
    /// Throws `denied` or `not_found` when the log file cannot be opened.
    pub fn new(run: &str, settings: Settings) -> Result<Self> {
        let (color, terminal) = (settings.color, settings.terminal);
        // Who wants to see warnings only does not want to see this.
        let moves = terminal && settings.console >= LevelFilter::Info;
        let live = Live::new(moves, color);
        let below = Arc::clone(&live);
        let console = fern::Dispatch::new()
            .level(settings.console)
            .chain(fern::Output::call(
                // A closed stderr is no reason to stop, so the result is dropped.
                move |record| {
                    let said = console_line(record, color, terminal);
                    below.above(|| {
                        let _ = writeln!(std::io::stderr(), "{said}");
                    });
                },
            ));
        let mut sinks = fern::Dispatch::new().chain(console);
        if let Some(path) = settings.file {
            let file = fern::log_file(&path).map_err(|e| Error::io("open log file", &path, &e))?;
            let file = fern::Dispatch::new()
                .level(settings.file_level)
                .format(|out, message, record| {
                    let time = Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
                    out.finish(format_args!(
                        "{time} {:<5} {}{message}",
                        record.level(),
                        prefix(record)
                    ));
                })
                .chain(file);
            sinks = sinks.chain(file);
        }
        Ok(Self {
            sinks: sinks.into_log().1.into(),
            mask: Arc::default(),
            output: settings.output,
            run: run.into(),
            branch: None,
            live,
            task: None,
            tally: Arc::default(),
        })
    }

    /// A reporter for a branch of `parallel`: its lines carry the label.
    #[must_use]
    pub fn branch(&self, label: &str) -> Self {
        let label = match &self.branch {
            Some(outer) => format!("{outer}.{label}"),
            None => label.to_owned(),
        };
        let label = text::harmless(&self.mask.apply(&label));
        Self {
            branch: Some(label.into()),
            ..self.clone()
        }
    }

    /// The same for something that takes its time: it is on the terminal until
    /// the last clone of this is dropped.
    #[must_use]
    pub fn working(&self, what: &str) -> Self {
        let what = match &self.branch {
            Some(branch) => format!("[{branch}] {what}"),
            None => what.to_owned(),
        };
        let task = self.live.begin(self.shown(&what));
        Self {
            task: task.map(Arc::new),
            ..self.clone()
        }
    }

    /// Says on the terminal how far it is.
    pub fn doing(&self, state: &str) {
        if let Some(task) = &self.task {
            task.state(&self.shown(state));
        }
    }

    /// Counts the bytes of a transfer: a bar on a terminal, a line now and then
    /// elsewhere.
    #[must_use]
    pub fn meter(&self, what: &str, total: u64) -> Meter {
        self.doing(what);
        Meter::new(self.clone(), what.to_owned(), total)
    }

    /// Keeps the terminal free, for a question, until this is dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.live.hold();
        Hold(Arc::clone(&self.live))
    }

    /// On one line, without secrets and control characters.
    fn shown(&self, said: &str) -> String {
        let masked = self.mask.apply(said);
        let line = masked.lines().next().unwrap_or_default();
        text::harmless(&line.replace('\t', " "))
    }

    /// The secrets of this run.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// A resource on a line of its own, as `  bucket  pictures-7kq2m9w`.
    #[must_use]
    pub fn listed(resource: &Remaining) -> String {
        human::remaining(resource)
    }

    /// Whether anybody sees what hosts write while they do.
    #[must_use]
    pub fn follows_hosts(&self) -> bool {
        let info = Metadata::builder().level(LogLevel::Info).build();
        self.output == Output::Json || self.sinks.enabled(&info)
    }

    /// Writes one event to everything that wants it.
    pub fn report(&self, event: &Event) {
        self.tally.count(event);
        if let Event::RunFinished { .. } = event {
            // Nothing moves any more.
            self.live.hold();
        }
        if let Some((level, message)) = human::line(event, &self.run) {
            let message = text::harmless(&self.mask.apply(&message));
            // What a host wrote, and source with its caret, keep their lines;
            // others are broken to fit.
            let as_it_is = matches!(event, Event::RemoteOutput { .. } | Event::RunFailed { .. });
            self.sinks.log(
                &Record::builder()
                    .level(level)
                    .target(self.branch.as_deref().unwrap_or_default())
                    .module_path_static(as_it_is.then_some(AS_IT_IS))
                    .args(format_args!("{message}"))
                    .build(),
            );
        }
        match (self.output, event) {
            (Output::Json, event) => self.json(event),
            (Output::Human, Event::Printed { text }) => self.print(text),
            (
                Output::Human,
                Event::Sampled {
                    line, latencies, ..
                },
            ) => {
                let words = line
                    .split_once(' ')
                    .map_or(line.as_str(), |(_, words)| words);
                let graph = self.live.graph(latencies);
                self.live.pin(format!("{graph} {}", self.shown(words)));
                self.print(line);
            }
            (Output::Human, _) => {}
        }
    }

    /// Logs for finding out why.
    pub fn debug(&self, message: impl Into<String>) {
        self.log(Level::Debug, message);
    }

    /// Logs what was done.
    pub fn info(&self, message: impl Into<String>) {
        self.log(Level::Info, message);
    }

    /// Logs what deserves attention.
    pub fn warn(&self, message: impl Into<String>) {
        self.log(Level::Warn, message);
    }

    /// Logs at a level.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        self.report(&Event::Logged {
            level,
            message: message.into(),
        });
    }

    /// What the run has done so far, in the order of the time it took.
    #[must_use]
    pub fn steps(&self) -> Vec<Steps> {
        self.tally.steps()
    }

    fn print(&self, printed: &str) {
        let masked = self.mask.apply(printed);
        let terminal = std::io::stdout().is_terminal();
        let shown = if terminal {
            text::harmless(&masked)
        } else {
            masked
        };
        // A reader that went away, as `head` does, is no failure of the run.
        let write = || {
            let _ = writeln!(std::io::stdout(), "{shown}");
        };
        if terminal {
            self.live.above(write);
        } else {
            write();
        }
    }

    fn json(&self, event: &Event) {
        let mut line = match serde_json::to_value(event) {
            Ok(line) => line,
            Err(e) => serde_json::json!({
                "event": "logged",
                "level": Level::Error,
                "message": format!("an event could not be written as JSON: {e}"),
            }),
        };
        self.mask.apply_json(&mut line);
        if let Some(map) = line.as_object_mut() {
            map.insert("time".to_owned(), jiff::Timestamp::now().to_string().into());
            map.insert("run".to_owned(), self.run.to_string().into());
            if let Some(branch) = &self.branch {
                map.insert("branch".to_owned(), branch.to_string().into());
            }
        }
        let write = || {
            let _ = writeln!(std::io::stdout(), "{line}");
        };
        if std::io::stdout().is_terminal() {
            self.live.above(write);
        } else {
            write();
        }
    }
}

/// Keeps the terminal free while it lives.
pub struct Hold(Arc<Live>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.go_on();
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hold")
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}
