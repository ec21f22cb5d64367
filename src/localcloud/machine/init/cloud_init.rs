//! Runs user data as cloud-init does, and reports its progress.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::super::super::files;
use super::super::boot::Faults;
use super::console::Console;
use super::reaper::Reaper;
use super::spawn::Spawn;
use super::user_data::{UserData, is_gzip};

const LOG: &str = "/var/log/cloud-init-output.log";
const SCRIPTS: &str = "/var/lib/cloud/instance/scripts";
const USER_DATA: &str = "/var/lib/cloud/instance/user-data.txt";

/// Exists once the user data has started. Its content is the result.
const RESULT: &str = "/var/lib/cloud/instance/user-data-result";

/// The maximum size, in bytes, of unpacked user data.
const LARGEST_UNPACKED: u64 = 16 * 1024 * 1024;

/// The progress of cloud-init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Done,
    /// Done, with a warning.
    Degraded(String),
    /// Failed, with the reason.
    Failed(String),
}

/// The user data of one boot.
pub(super) struct CloudInit {
    pub(super) console: Console,
    pub(super) reaper: Reaper,
    pub(super) environment: Vec<(String, String)>,
    pub(super) faults: Faults,
    pub(super) progress: Rc<watch::Sender<Progress>>,
}

impl CloudInit {
    /// Runs user data if this disk has not run it yet, and records the result.
    pub(super) async fn run(self, user_data: Option<Vec<u8>>) {
        let progress = match self.result(user_data).await {
            Ok(progress) => progress,
            Err(error) => Progress::Failed(format!("cannot run user data: {error}")),
        };
        if let Progress::Failed(reason) | Progress::Degraded(reason) = &progress {
            self.report(&format!("cloud-init: {reason}"));
        }
        self.console
            .stamped("cloud-init: Cloud-init v. 22.2.2 finished. Datasource DataSourceEc2Local.");
        self.progress.send_replace(progress);
    }

    async fn result(&self, user_data: Option<Vec<u8>>) -> io::Result<Progress> {
        let progress = match files::read_text(RESULT) {
            Ok(result) => remembered(&result),
            Err(_) => self.first_time(user_data).await?,
        };
        let message = "a warning requested by the faults file";
        Ok(match progress {
            Progress::Done if self.faults.degraded => Progress::Degraded(message.to_owned()),
            other => other,
        })
    }

    async fn first_time(&self, user_data: Option<Vec<u8>>) -> io::Result<Progress> {
        let Some(data) = user_data.filter(|data| !data.is_empty()) else {
            return Ok(Progress::Done);
        };
        files::replace(USER_DATA, &data, 0o600)?;
        // From here on it counts as run, even if the machine ends during the
        // run.
        files::replace(RESULT, b"", 0o600)?;
        let data = if is_gzip(&data) {
            self.unpacked().await?
        } else {
            data
        };
        let parsed = UserData::parse(&data);
        let mut progress = self.run_scripts(&parsed.scripts).await?;
        if progress == Progress::Done && !parsed.unsupported.is_empty() {
            progress = Progress::Degraded(parsed.unsupported.join("; "));
        }
        let text = match &progress {
            Progress::Degraded(reason) => format!("degraded {reason}"),
            Progress::Failed(reason) => format!("failed {reason}"),
            Progress::Done | Progress::Running => String::new(),
        };
        files::replace(RESULT, text.as_bytes(), 0o600)?;
        Ok(progress)
    }

    /// Runs all scripts, even if some of them fail.
    async fn run_scripts(&self, scripts: &[Vec<u8>]) -> io::Result<Progress> {
        fs::create_dir_all(SCRIPTS)?;
        let mut failed = Vec::new();
        for (index, script) in scripts.iter().enumerate() {
            let name = format!("part-{:03}", index + 1);
            let path = format!("{SCRIPTS}/{name}");
            files::replace(&path, script, 0o700)?;
            let result = match self.run_script(&path).await {
                Ok(status) => self.described(status),
                Err(error) => Some(format!("could not start: {error}")),
            };
            let ended = result.as_deref().unwrap_or("exited with status 0");
            self.report(&format!("cloud-init: user data {name} {ended}"));
            if result.is_some() {
                failed.push(format!("{name} {ended}"));
            }
        }
        if failed.is_empty() {
            return Ok(Progress::Done);
        }
        let failed = failed.join(", ");
        Ok(Progress::Failed(format!(
            "Failed to run module scripts-user (user data {failed})"
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

    async fn run_script(&self, path: &str) -> io::Result<ExitStatus> {
        let (reader, writer) = std::io::pipe()?;
        let child = Spawn::new(path)
            .environment(&self.environment)
            .output(OwnedFd::from(writer))?
            .start(&self.reaper)?;
        let mut output = Output::new(OwnedFd::from(reader), self.console.clone())?;
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

    async fn unpacked(&self) -> io::Result<Vec<u8>> {
        let (reader, writer) = std::io::pipe()?;
        let child = Spawn::new("gzip")
            .args(["-dc"])
            .environment(&self.environment)
            .input(files::open(USER_DATA.as_ref())?.0)
            .output(OwnedFd::from(writer))?
            .start(&self.reaper)?;
        let mut data = Vec::new();
        let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        reader.take(LARGEST_UNPACKED).read_to_end(&mut data).await?;
        let status = child.exited.await.map_err(io::Error::other)?;
        if status.success() {
            Ok(data)
        } else {
            Err(io::Error::other("gzip cannot unpack it"))
        }
    }

    fn report(&self, text: &str) {
        self.console.line(text);
        if let Ok(mut log) = open_log() {
            // If the log cannot be written, the console still has the text.
            let _ = writeln!(log, "{text}");
        }
    }
}

fn remembered(result: &str) -> Progress {
    match result.split_once(' ') {
        Some(("failed", reason)) => Progress::Failed(reason.to_owned()),
        Some(("degraded", reason)) => Progress::Degraded(reason.to_owned()),
        _ => Progress::Done,
    }
}

fn open_log() -> io::Result<fs::File> {
    fs::create_dir_all("/var/log")?;
    files::append(LOG, 0o640)
}

/// The output of a script, on its way to log and console.
struct Output {
    pipe: pipe::Receiver,
    log: fs::File,
    console: Console,
    buffer: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd, console: Console) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe::Receiver::from_owned_fd(pipe)?,
            log: open_log()?,
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
        self.log.write_all(text)?;
        Ok(length > 0)
    }
}

/// Returns the output of `cloud-init status` and its exit status.
pub(super) fn describe(progress: &Progress, format: Format) -> (String, u8) {
    let (status, extended, code) = match progress {
        Progress::Running => ("running", "running", 0),
        Progress::Done => ("done", "done", 0),
        Progress::Degraded(_) => ("done", "degraded done", 2),
        Progress::Failed(_) => ("error", "error - done", 1),
    };
    let errors: Vec<&str> = match progress {
        Progress::Failed(reason) => vec![reason],
        _ => vec![],
    };
    let recoverable = match progress {
        Progress::Degraded(reason) => serde_json::json!({ "WARNING": [reason] }),
        _ => serde_json::json!({}),
    };
    let text = match format {
        Format::Short => format!("status: {status}\n"),
        Format::Long => format!(
            "status: {status}\nextended_status: {extended}\n\
             boot_status_code: enabled-by-generator\ndetail: DataSourceEc2Local\n\
             errors: {}\nrecoverable_errors: {recoverable}\n",
            serde_json::json!(errors)
        ),
        Format::Json => {
            let report = serde_json::json!({
                "boot_status_code": "enabled-by-generator",
                "datasource": "ec2",
                "detail": "DataSourceEc2Local",
                "errors": errors,
                "extended_status": extended,
                "recoverable_errors": recoverable,
                "status": status,
            });
            format!("{report:#}\n")
        }
    };
    (text, code)
}

/// The output format of `cloud-init status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Short,
    Long,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_the_format_of_cloud_init() {
        let done = describe(&Progress::Done, Format::Short);
        assert_eq!(done, ("status: done\n".to_owned(), 0));
        let degraded = Progress::Degraded("odd".to_owned());
        let (text, code) = describe(&degraded, Format::Json);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (code, &report["extended_status"]),
            (2, &"degraded done".into())
        );
        let (text, code) = describe(&Progress::Failed("x".to_owned()), Format::Long);
        assert!(text.contains("errors: [\"x\"]") && code == 1);
    }

    #[test]
    fn results_survive_a_boot() {
        assert_eq!(remembered(""), Progress::Done);
        assert_eq!(remembered("failed x y"), Progress::Failed("x y".to_owned()));
    }
}
