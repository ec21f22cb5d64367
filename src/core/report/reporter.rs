//! Writes events to stderr, stdout and the log file, without secrets.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Zoned;
use log::{Level as LogLevel, LevelFilter, Log, Metadata, Record};

use super::console::{VERBATIM, console_line, prefix};
use super::event::{Event, Level, Remaining, Steps};
use super::human;
use super::live::{Live, Task};
use super::mask::Mask;
use super::meter::Meter;
use super::tally::Tally;
use super::text;
use crate::error::{Error, Result};

/// The format of stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// The text that the playbook prints.
    #[default]
    Human,
    /// A line of JSON for each event.
    Json,
    /// Nothing: a rehearsal prints its plan instead.
    Silent,
}

/// The outputs of a reporter and their levels.
#[derive(Debug)]
pub struct Settings {
    /// Format of stdout.
    pub output: Output,
    /// Level of the console (stderr).
    pub console: LevelFilter,
    /// Log file, to which the log is appended.
    pub file: Option<PathBuf>,
    /// Level of the log file.
    pub file_level: LevelFilter,
    /// Whether to use colors on stderr.
    pub color: bool,
    /// Whether stderr is a terminal; long lines are then wrapped.
    pub terminal: bool,
}

/// Writes events to the outputs. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    sinks: Arc<dyn Log>,
    mask: Arc<Mask>,
    output: Output,
    run: Arc<str>,
    branch: Option<Arc<str>>,
    live: Arc<Live>,
    /// The task on the terminal to which this reporter belongs.
    pub(super) task: Option<Arc<Task>>,
    tally: Arc<Tally>,
}

impl Reporter {
    /// Returns a reporter without a console or a log file, for tests.
    ///
    /// # Panics
    ///
    /// Never: it opens no file.
    #[must_use]
    pub fn quiet() -> Self {
        let settings = Settings {
            output: Output::Human,
            console: LevelFilter::Off,
            file: None,
            file_level: LevelFilter::Off,
            color: false,
            terminal: false,
        };
        Self::new("abc", settings).expect("it opens no file")
    }

    /// Opens the log file and the console.
    ///
    /// Fails if the log file cannot be opened.
    pub fn new(run: &str, settings: Settings) -> Result<Self> {
        let (color, terminal) = (settings.color, settings.terminal);
        // With `--quiet`, there is no progress display.
        let has_progress = terminal && settings.console >= LevelFilter::Info;
        let live = Live::new(has_progress, color);
        let below = Arc::clone(&live);
        let console = fern::Dispatch::new()
            .level(settings.console)
            .chain(fern::Output::call(
                // Errors are ignored: a closed stderr does not stop the run.
                move |record| {
                    let shown = console_line(record, color, terminal);
                    below.above(|| {
                        let _ = writeln!(std::io::stderr(), "{shown}");
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

    /// Returns a reporter for a branch of `parallel`, whose lines have the label.
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

    /// Returns a reporter for a rehearsal: it prints nothing on stdout and logs only
    /// warnings and errors, unless debug messages are wanted.
    #[must_use]
    pub fn silent(&self) -> Self {
        Self {
            sinks: Arc::new(Warnings(Arc::clone(&self.sinks))),
            output: Output::Silent,
            tally: Arc::default(),
            ..self.clone()
        }
    }

    /// Returns a reporter for a task, which the terminal shows until the last clone
    /// of the reporter is dropped.
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

    /// Shows the state of the task on the terminal.
    pub fn doing(&self, state: &str) {
        if let Some(task) = &self.task {
            task.state(&self.shown(state));
        }
    }

    /// Returns a counter for the bytes of a transfer. It shows a bar on a terminal,
    /// and logs a line from time to time otherwise.
    #[must_use]
    pub fn meter(&self, what: &str, total: u64) -> Meter {
        self.doing(what);
        Meter::new(self.clone(), what.to_owned(), total)
    }

    /// Removes the progress display, for a question, until the value is dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.live.hold();
        Hold(Arc::clone(&self.live))
    }

    /// Returns the first line, without secrets and control characters.
    fn shown(&self, text: &str) -> String {
        let masked = self.mask.apply(text);
        let line = masked.lines().next().unwrap_or_default();
        text::harmless(&line.replace('\t', " "))
    }

    /// Returns the secrets of this run.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Formats a resource on its own line, such as `  bucket  pictures-7kq2m9w`.
    #[must_use]
    pub fn listed(resource: &Remaining) -> String {
        human::remaining(resource)
    }

    /// Returns the format of stdout.
    #[must_use]
    pub fn output(&self) -> Output {
        self.output
    }

    /// Returns whether an output shows the lines of remote commands as they arrive.
    #[must_use]
    pub fn follows_hosts(&self) -> bool {
        let info = Metadata::builder().level(LogLevel::Info).build();
        self.output == Output::Json || self.sinks.enabled(&info)
    }

    /// Writes an event to all outputs that show it.
    pub fn report(&self, event: &Event) {
        self.tally.count(event);
        if let Event::RunFinished { .. } = event {
            // Remove the progress display for good.
            self.live.hold();
        }
        if let Some((level, message)) = human::line(event, &self.run) {
            let message = text::harmless(&self.mask.apply(&message));
            // Do not wrap the output of hosts and errors with source lines.
            let verbatim = matches!(event, Event::RemoteOutput { .. } | Event::RunFailed { .. });
            self.sinks.log(
                &Record::builder()
                    .level(level)
                    .target(self.branch.as_deref().unwrap_or_default())
                    .module_path_static(verbatim.then_some(VERBATIM))
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
            (Output::Human | Output::Silent, _) => {}
        }
    }

    /// Logs a detail for troubleshooting.
    pub fn debug(&self, message: impl Into<String>) {
        self.log(Level::Debug, message);
    }

    /// Logs what was done.
    pub fn info(&self, message: impl Into<String>) {
        self.log(Level::Info, message);
    }

    /// Logs a problem that does not stop the run.
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

    /// Returns the calls of the run so far, by function, longest first.
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
        // Errors are ignored: a closed stdout, as with `| head`, does not fail the
        // run.
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
                "message": format!("cannot write an event as JSON: {e}"),
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

/// Passes on what is at least a warning, or everything if debug messages are wanted.
struct Warnings(Arc<dyn Log>);

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let debug = Metadata::builder().level(LogLevel::Debug).build();
        let shown = metadata.level() <= LogLevel::Warn || self.0.enabled(&debug);
        shown && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Keeps the progress display off the terminal until it is dropped.
pub struct Hold(Arc<Live>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release();
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
