//! Runs user data as cloud-init does, and reports its progress. Plain scripts run
//! here; for everything else `distribution` has the real cloud-init.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::rc::Rc;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::super::super::files;
use super::super::boot::Faults;
use super::super::units::{Stage, Stages};
use super::console::Console;
use super::reaper::Reaper;
use super::spawn::Spawn;
use super::user_data::UserData;
use super::{distribution, records};

const LOG: &str = "/var/log/cloud-init-output.log";
const SCRIPTS: &str = "/var/lib/cloud/instance/scripts";
const USER_DATA: &str = "/var/lib/cloud/instance/user-data.txt";

/// Exists once the user data has started. Its content is the result.
const RESULT: &str = "/var/lib/cloud/instance/user-data-result";

/// The progress of cloud-init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Done,
    /// Failed, with cloud-init's error.
    Failed(String),
}

/// The user data of one boot.
pub(super) struct CloudInit {
    pub(super) console: Console,
    pub(super) reaper: Reaper,
    pub(super) environment: Vec<(String, String)>,
    /// The login user of the image.
    pub(super) user: String,
    pub(super) faults: Faults,
    /// What the units of cloud-init show.
    pub(super) stages: Stages,
    pub(super) progress: Rc<watch::Sender<Progress>>,
}

impl CloudInit {
    /// Runs user data if this disk has not run it yet, and records the result.
    /// Fails with the reason if this user data needs cloud-init, and its package
    /// cannot be installed.
    pub(super) async fn run(self, user_data: Option<Vec<u8>>) -> Result<(), String> {
        let user_data = UserData::of(&user_data.unwrap_or_default());
        let is_installed = distribution::is_installed();
        let needs_it = user_data == UserData::ForCloudInit && !self.faults.no_cloud_init;
        if needs_it && !is_installed {
            self.install().await.map_err(|why| {
                format!(
                    "this user data is run by cloud-init, whose package cannot be installed: {why}"
                )
            })?;
        }
        let ended = if is_installed || needs_it {
            self.run_stages().await
        } else {
            self.stages.end(Stage::Init, true);
            self.stages.end(Stage::Config, true);
            self.stages.begin(Stage::Final);
            self.result(user_data).await
        };
        let progress = ended
            .unwrap_or_else(|error| Progress::Failed(format!("cannot run user data: {error}")));
        if progress == Progress::Done {
            self.stages.end(Stage::Final, true);
        }
        self.stages.give_up();
        if !is_installed && !needs_it {
            self.console.stamped(&format!(
                "cloud-init: Cloud-init v. {} finished. Datasource {}.",
                records::VERSION,
                records::DATASOURCE
            ));
        }
        self.progress.send_replace(progress);
        Ok(())
    }

    async fn result(&self, user_data: UserData) -> io::Result<Progress> {
        records::begin()?;
        let progress = match files::read_text(RESULT) {
            Ok(result) => remembered(&result),
            Err(_) => self.first_time(user_data).await?,
        };
        let errors = match &progress {
            Progress::Failed(error) => vec![error.clone()],
            Progress::Done | Progress::Running => Vec::new(),
        };
        if self.faults.degraded {
            self.warn("util.py", "a warning requested by the faults file")?;
        }
        records::finish(&errors)?;
        Ok(progress)
    }

    async fn first_time(&self, user_data: UserData) -> io::Result<Progress> {
        let script = match user_data {
            UserData::Script(script) => script,
            UserData::Ignored(start) => {
                files::replace(RESULT, b"", 0o600)?;
                let kind = "text/x-not-multipart";
                let text = format!("Unhandled non-multipart ({kind}) userdata: '{start}...'");
                self.warn("__init__.py", &text)?;
                return Ok(Progress::Done);
            }
            UserData::Nothing | UserData::ForCloudInit => return Ok(Progress::Done),
        };
        files::replace(USER_DATA, &script, 0o600)?;
        // From here on it counts as run, even if the machine ends during the
        // run.
        files::replace(RESULT, b"", 0o600)?;
        let progress = self.run_script(&script).await?;
        if let Progress::Failed(error) = &progress {
            files::replace(RESULT, format!("failed {error}").as_bytes(), 0o600)?;
        }
        Ok(progress)
    }

    async fn run_script(&self, script: &[u8]) -> io::Result<Progress> {
        fs::create_dir_all(SCRIPTS)?;
        let name = "part-001";
        let path = format!("{SCRIPTS}/{name}");
        files::replace(&path, script, 0o700)?;
        let failure = match self.run_program(Spawn::new(path), Some(LOG)).await {
            Ok(status) => self.described(status),
            Err(error) => Some(format!("could not start: {error}")),
        };
        let ended = failure.as_deref().unwrap_or("exited with status 0");
        self.report(&format!("cloud-init: user data {name} {ended}"));
        if failure.is_none() {
            return Ok(Progress::Done);
        }
        self.report(&format!(
            "cloud-init: Failed to run module scripts-user (user data {name} {ended})"
        ));
        let text = format!("Failed to run module scripts-user (scripts in {SCRIPTS})");
        records::warn("cc_scripts_user.py", &text)?;
        Ok(Progress::Failed(format!(
            "('scripts-user', RuntimeError('Runparts: 1 failures ({name}) in 1 attempted commands'))"
        )))
    }

    /// Describes a failure. Returns `None` for success.
    fn described(&self, status: ExitStatus) -> Option<String> {
        use std::os::unix::process::ExitStatusExt;
        let code = self.faults.user_data_exit.or(status.code());
        match code {
            Some(0) => None,
            Some(code) => Some(format!("exited with status {code}")),
            None => {
                let signal = status.signal().unwrap_or_default();
                Some(format!("was killed by signal {signal}"))
            }
        }
    }

    /// Runs a program. Its output goes to the console, and to a log.
    pub(super) async fn run_program(
        &self,
        program: Spawn,
        log: Option<&str>,
    ) -> io::Result<ExitStatus> {
        let (reader, writer) = std::io::pipe()?;
        let child = program
            .environment(&self.environment)
            .output(OwnedFd::from(writer))?
            .start(&self.reaper)?;
        let mut output = Output::new(OwnedFd::from(reader), log, self.console.clone())?;
        let mut exited = child.exited;
        let status = loop {
            tokio::select! {
                biased;
                more = output.copy() => if !more? { break exited.await },
                status = &mut exited => break status,
            }
        };
        output.copy_available()?;
        // Background programs may continue to write.
        tokio::task::spawn_local(output.copy_to_end());
        status.map_err(io::Error::other)
    }

    fn warn(&self, module: &str, text: &str) -> io::Result<()> {
        self.report(&format!("cloud-init: {text}"));
        records::warn(module, text)
    }

    fn report(&self, text: &str) {
        self.console.line(text);
        if let Ok(mut log) = open_log(LOG) {
            // If the log cannot be written, the console still has the text.
            let _ = writeln!(log, "{text}");
        }
    }
}

fn remembered(result: &str) -> Progress {
    match result.split_once(' ') {
        Some(("failed", reason)) => Progress::Failed(reason.to_owned()),
        _ => Progress::Done,
    }
}

fn open_log(path: &str) -> io::Result<fs::File> {
    fs::create_dir_all("/var/log")?;
    files::append(path, 0o640)
}

/// The output of a program, on its way to log and console.
struct Output {
    pipe: pipe::Receiver,
    log: Option<fs::File>,
    console: Console,
    buffer: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd, log: Option<&str>, console: Console) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe::Receiver::from_owned_fd(pipe)?,
            log: log.map(open_log).transpose()?,
            console,
            buffer: vec![0; 16 * 1024],
        })
    }

    /// Copies the next piece. Returns false at the end of the output.
    async fn copy(&mut self) -> io::Result<bool> {
        let length = self.pipe.read(&mut self.buffer).await?;
        self.pass_on(length)
    }

    fn copy_available(&mut self) -> io::Result<()> {
        loop {
            match self.pipe.try_read(&mut self.buffer) {
                Ok(length) if self.pass_on(length)? => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn copy_to_end(mut self) {
        while let Ok(true) = self.copy().await {}
    }

    fn pass_on(&mut self, length: usize) -> io::Result<bool> {
        let text = &self.buffer[..length];
        self.console.write(text);
        if let Some(log) = &mut self.log {
            log.write_all(text)?;
        }
        Ok(length > 0)
    }
}

/// Returns the output of `cloud-init status` and its exit status, in the form of
/// version 22.2.2: it has no status 2, and does not know `--format`.
pub(super) fn describe(progress: &Progress, is_long: bool) -> (String, u8) {
    let (status, detail, code) = match progress {
        Progress::Running => ("running", "Running in stage: modules-final", 0),
        Progress::Done => ("done", records::DATASOURCE, 0),
        Progress::Failed(error) => ("error", error.as_str(), 1),
    };
    let mut text = format!("status: {status}\n");
    if is_long {
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000");
        let _ = write!(text, "time: {now}\ndetail:\n{detail}\n");
    }
    (text, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_the_format_of_cloud_init() {
        let done = describe(&Progress::Done, false);
        assert_eq!(done, ("status: done\n".to_owned(), 0));
        let (text, code) = describe(&Progress::Failed("x".to_owned()), true);
        assert!(text.starts_with("status: error\ntime: ") && text.ends_with("\ndetail:\nx\n"));
        assert_eq!(code, 1);
    }

    #[test]
    fn results_survive_a_boot() {
        assert_eq!(remembered(""), Progress::Done);
        assert_eq!(remembered("failed x y"), Progress::Failed("x y".to_owned()));
    }
}
