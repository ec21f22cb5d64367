//! The user data of an instance while it runs: waiting for its end, its log as it
//! grows, and what still runs when the time is over.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::user_data_reasons::Reasons;
use crate::clients::ssh::{self, Command, Finished, Host, Program, Sink};
use crate::context::Context;
use crate::error::Result;
use crate::report::{Reporter, text};

/// The log of the user data on the instance.
pub(super) const LOG: &str = "/var/log/cloud-init-output.log";

/// How often the log appears in the output if there is no terminal.
const LOGS_EVERY: Duration = Duration::from_secs(60);

/// The longest line of the log that is shown.
const SHOWN: usize = 200;

/// What precedes a line of the log in the output of [`WAIT`].
const LOG_LINE: &str = "log:";

/// Separates the files that [`WAIT`] prints at its end.
pub(super) const NEXT_FILE: char = '\x1e';

/// Waits for cloud-init and shows the last line of its log meanwhile. Its
/// `power_state` leaves a process that shuts down once cloud-init has ended:
/// waits for that process too, but not without end. Then prints what cloud-init
/// recorded, and the warnings in its log: versions before 23.4 record no warnings,
/// and have no exit status for them.
const WAIT: &str = "\
(l=; while sleep 1 >/dev/null 2>&1 && kill -0 $$; do
n=$(tail -n 1 /var/log/cloud-init-output.log 2>/dev/null | tail -c 400)
[ \"$n\" = \"$l\" ] || { l=$n; printf '\\nlog:%s\\n' \"$n\"; }
done) 2>/dev/null & f=$!
cloud-init status --wait; s=$?
kill $f 2>/dev/null
n=0
while [ $n -lt 50 ] && cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' |
grep -qs '[c]loud-init modules --mode.final'; do sleep 0.1; n=$((n + 1)); done
for f in status result; do printf '\\036'; cat /run/cloud-init/$f.json 2>/dev/null; done
printf '\\036'; l=/var/log/cloud-init.log
(cat $l 2>/dev/null || sudo -n cat $l 2>/dev/null) | grep -a '\\[\\(WARNING\\|ERROR\\|CRITICAL\\)\\]: ' | tail -n 20
exit $s";

/// Prints the processes below cloud-init that have no child: what it waits for.
const RUNS: &str = r#"ps -eo pid=,ppid=,etime=,args= 2>/dev/null | awk '
{ up[$1] = $2; time[$1] = $3; pid = $1; $1 = $2 = $3 = ""; sub(/^ +/, ""); args[pid] = $0; kids[up[pid]]++ }
END { for (p in args) { below = 0
for (q = p; q in up; q = up[q])
if (args[q] ~ /[v]ar\/lib\/cloud\/instance\/scripts\/|[c]loud-init modules/) below = 1
if (below && !kids[p]) printf "`%.120s` (process %s, for %s)\n", args[p], p, time[p] } }'"#;

/// How cloud-init ended.
pub(super) struct Ended {
    pub(super) finished: Finished,
    pub(super) reasons: Reasons,
}

/// Waits until cloud-init has ended.
pub(super) async fn wait(cx: &Context, host: &Host, limit: Duration) -> Result<Ended> {
    let output = Arc::new(Mutex::new(Vec::new()));
    let follower = Follower {
        name: host.name.clone(),
        report: cx.report.clone(),
        line: Vec::new(),
        output: Arc::clone(&output),
        logged: Instant::now(),
    };
    let command = Command {
        program: Program::Own(WAIT.to_owned()),
        timeout: Some(limit),
        stdout: Some(Sink(Box::new(follower))),
        ..Command::default()
    };
    let mut finished = cx.clients.ssh().run(host, command, &cx.report).await?;
    finished.stdout = std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
    let printed = cx
        .report
        .mask()
        .apply(&String::from_utf8_lossy(&finished.stdout));
    let reasons = Reasons::of(&printed);
    Ok(Ended { finished, reasons })
}

/// Separates the lines of the log from the output of cloud-init, and shows them.
struct Follower {
    name: String,
    report: Reporter,
    line: Vec<u8>,
    output: Arc<Mutex<Vec<u8>>>,
    logged: Instant,
}

impl Follower {
    fn take(&mut self, line: &[u8]) {
        let Some(shown) = line.strip_prefix(LOG_LINE.as_bytes()) else {
            // cloud-init prints dots while it waits.
            if !line.iter().all(|b| b".\n".contains(b)) {
                let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
                output.extend_from_slice(line);
            }
            return;
        };
        let shown = String::from_utf8_lossy(shown);
        // A progress bar rewrites its line: show only the final state.
        let shown = shown.trim_end().rsplit('\r').next().unwrap_or_default();
        let shown: String = text::harmless(shown).chars().take(SHOWN).collect();
        if shown.is_empty() {
            return;
        }
        let message = format!("user data of {}: {shown}", self.name);
        self.report.doing(&message);
        if self.logged.elapsed() >= LOGS_EVERY {
            self.logged = Instant::now();
            self.report.info(message);
        } else {
            self.report.debug(message);
        }
    }
}

impl Write for Follower {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            self.take(&line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let rest = std::mem::take(&mut self.line);
        self.take(&rest);
        Ok(())
    }
}

/// Returns what cloud-init still waits for, or an empty text if that cannot be
/// found out.
pub(super) async fn still_runs(cx: &Context, host: &Host) -> String {
    let runs = query(cx, host, RUNS.to_owned()).await;
    runs.map(|found| found.replace('\n', ", "))
        .unwrap_or_default()
}

/// Returns the end of the log of the user data, or why it cannot be read.
pub(super) async fn log(cx: &Context, host: &Host) -> String {
    let tail = format!("tail -n 15 {LOG} 2>/dev/null || sudo -n tail -n 15 {LOG}");
    match query(cx, host, tail).await {
        Ok(log) => log,
        Err(error) => format!("(cannot read {LOG}: {error})"),
    }
}

async fn query(cx: &Context, host: &Host, program: String) -> Result<String> {
    let command = Command {
        program: Program::Own(program),
        timeout: Some(Duration::from_secs(15)),
        ..Command::default()
    };
    let finished = cx.clients.ssh().run(host, command, &cx.report).await?;
    let output = String::from_utf8_lossy(&finished.stdout);
    Ok(ssh::tail(cx.report.mask().apply(&output).as_bytes(), 15))
}
