//! The files in which cloud-init records how it ended, for the user data that
//! this process runs itself.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::super::files;

const DATA: &str = "/var/lib/cloud/data";
const RUN: &str = "/run/cloud-init";
const LOG: &str = "/var/log/cloud-init.log";
const FINISHED: &str = "/var/lib/cloud/instance/boot-finished";

/// The datasource of Amazon Linux.
pub(super) const DATASOURCE: &str = "DataSourceEc2Local";

/// The version of Amazon Linux 2023.
pub(super) const VERSION: &str = "22.2.2";

/// Records that the last stage runs.
pub(super) fn begin() -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(DATA)?;
    let stages = stages(&json!("modules-final"), &Value::Null, &[]);
    write("status", &stages)
}

/// Records the end.
pub(super) fn finish(errors: &[String]) -> io::Result<()> {
    let now = jiff::Timestamp::now();
    write("status", &stages(&Value::Null, &json!(seconds()), errors))?;
    let result = json!({ "v1": { "datasource": DATASOURCE, "errors": errors } });
    write("result", &result)?;
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = uptime.split(' ').next().unwrap_or_default();
    let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let text = format!("{uptime} - {date} - v. {VERSION}\n");
    files::replace(FINISHED, text.as_bytes(), 0o644)
}

/// Adds a warning to the log. This version records warnings only there.
pub(super) fn warn(module: &str, text: &str) -> io::Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S,%3f");
    let mut log = files::append(LOG, 0o640)?;
    writeln!(log, "{now} - {module}[WARNING]: {text}")
}

fn stages(stage: &Value, finished: &Value, errors: &[String]) -> Value {
    let now = seconds();
    let done = json!({ "errors": [], "start": now, "finished": now });
    json!({ "v1": {
        "datasource": DATASOURCE,
        "init-local": done,
        "init": done,
        "modules-config": done,
        "modules-final": { "errors": errors, "start": now, "finished": finished },
        "stage": stage,
    } })
}

fn seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}

/// Writes a file, and its link in `/run`.
fn write(name: &str, content: &Value) -> io::Result<()> {
    let text = format!("{content:#}\n");
    files::replace(format!("{DATA}/{name}.json"), text.as_bytes(), 0o644)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(RUN)?;
    match symlink(
        format!("../..{DATA}/{name}.json"),
        format!("{RUN}/{name}.json"),
    ) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
