//! Posts that are due: a file in the ledger's directory for each run in
//! progress that has a webhook.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::message::{End, Failure, body, for_service};
use super::webhook::Webhook;
use crate::error::{Error, Result};
use crate::ledger::{Resource, Run, RunStatus, State, Store};
use crate::report::{Mask, Remaining, Reporter};

/// How many commands try to post the end of a run.
const TRIES: u32 = 3;

/// The content of the file, which only the user can read.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    url: String,
    /// How many commands have tried to post.
    #[serde(default)]
    tries: u32,
}

/// A post that is due when the run ends.
#[derive(Debug)]
pub(in crate::cli) struct Due {
    webhook: Webhook,
    /// The file that another command would find.
    path: PathBuf,
}

impl Due {
    /// Records that the end of a run, which this process holds, must be posted.
    pub(in crate::cli) fn record(
        store: &Store,
        run: &str,
        webhook: Webhook,
        report: &Reporter,
    ) -> Self {
        let path = directory(store).join(run);
        let record = Record {
            url: webhook.as_str().to_owned(),
            tries: 0,
        };
        if let Err(error) = write(&path, &record) {
            let error = Error::io("write", &path, &error);
            report.warn(format!(
                "if autorun is killed, nothing can be posted to {}: {error}",
                webhook.host()
            ));
        }
        Self { webhook, path }
    }

    /// Posts the end of the run. A failure is only a warning.
    pub(in crate::cli) async fn post(self, run: &Run, end: &End, report: &Reporter) {
        if let Err(why) = send(&self.webhook, run, end, Some(report.mask())).await {
            report.warn(failure(&self.webhook, &run.id, &why));
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Posts the ends of runs whose processes were killed before they could.
/// Warnings go to `warn`.
pub(in crate::cli) fn post_of_ended_runs(store: &Store, warn: impl Fn(String)) {
    let entries = std::fs::read_dir(directory(store));
    for entry in entries.into_iter().flatten().flatten() {
        if let Err(error) = post_of(store, &entry.path(), &warn) {
            warn(error.to_string());
        }
    }
}

fn post_of(store: &Store, path: &Path, warn: &impl Fn(String)) -> Result<()> {
    let id = path.file_name().and_then(|name| name.to_str());
    // Another command is writing a file whose name begins with a dot.
    let Some(id) = id.filter(|id| !id.starts_with('.')) else {
        return Ok(());
    };
    // The lock excludes other commands. The run's own process holds the run.
    let Ok(file) = File::open(path) else {
        return Ok(());
    };
    if file.try_lock().is_err() {
        return Ok(());
    }
    let Some(run) = store.runs()?.into_iter().find(|run| run.id == id) else {
        // The ledger is another one now.
        let _ = std::fs::remove_file(path);
        return Ok(());
    };
    if store.holder(&run)?.is_some() {
        return Ok(());
    }
    let read = std::fs::read_to_string(path).ok();
    let record = read.and_then(|text| serde_json::from_str::<Record>(&text).ok());
    let Some(mut record) = record else {
        return Ok(());
    };
    let Ok(webhook) = Webhook::parse(&record.url) else {
        return Ok(());
    };
    let end = recorded_end(store, &run)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal(format!("cannot start the runtime: {e}")))?;
    let sent = runtime.block_on(send(&webhook, &run, &end, None));
    record.tries += 1;
    if let Err(why) = &sent {
        warn(failure(&webhook, &run.id, why));
    }
    if sent.is_ok() || record.tries >= TRIES {
        let _ = std::fs::remove_file(path);
    } else {
        let _ = write(path, &record);
    }
    Ok(())
}

/// Returns the end of a run as the ledger has it.
fn recorded_end(store: &Store, run: &Run) -> Result<End> {
    let mut rows = store.resources(&run.id)?;
    rows.reverse();
    let (possible, certain): (Vec<Resource>, Vec<Resource>) = rows
        .into_iter()
        .filter(|row| row.state.may_be_up())
        .partition(|row| row.state == State::Intended);
    let remaining =
        |rows: Vec<Resource>| -> Vec<Remaining> { rows.iter().map(Resource::remaining).collect() };
    Ok(End {
        status: run.outcome.map_or(RunStatus::Killed, RunStatus::Ended),
        seconds: None,
        failure: run.error.clone().map(Failure::Recorded),
        up: remaining(certain),
        possibly_made: remaining(possible),
    })
}

async fn send(
    webhook: &Webhook,
    run: &Run,
    end: &End,
    mask: Option<&Mask>,
) -> std::result::Result<(), String> {
    let mut body = body(run, end);
    // What the ledger has is masked already.
    if let Some(mask) = mask {
        mask.apply_json(&mut body);
    }
    webhook.post(&for_service(webhook.host(), body)).await
}

fn failure(webhook: &Webhook, run: &str, why: &str) -> String {
    format!(
        "cannot post the end of run {run} to {}: {why}",
        webhook.host()
    )
}

fn directory(store: &Store) -> PathBuf {
    store.directory().join("notify")
}

/// Writes the file atomically, with mode 0600.
fn write(path: &Path, record: &Record) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(directory)?;
    file.write_all(serde_json::to_string(record)?.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
