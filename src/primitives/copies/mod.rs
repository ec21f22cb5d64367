//! Files and directories to hosts and back, over ssh.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde::{Deserialize, Serialize};

use super::{file_state, seconds};
use crate::clients::ssh::{Command, Finished, Host};
use crate::context::Context;
use crate::error::Result;
use crate::report::text;
use crate::script::{self, Outcome};

mod errors;
mod fetch;
mod send;

pub(super) use send::mode;

#[export_module]
pub mod api {
    /// Copies a local file or directory to a host, or to each of an array of
    /// hosts at once.
    ///
    /// `target` is a path there; a relative one starts at the home directory.
    /// In a directory a file keeps its name, and it appears under that name only
    /// when it is complete: its size is compared there first. Gives a map with
    /// `path`, `size` and `seconds`.
    ///
    /// A directory becomes `target` itself, or goes into `target` when that ends
    /// in `/`. It is unpacked under a hidden name and then moved: in one go when
    /// nothing is there, else file by file, and other files that are there stay.
    /// Links are copied as links; sockets and devices are passed over, and the
    /// log says so. The host needs tar. The map has `files`, too.
    ///
    /// - `mode` (string): permissions of a file, as "0644"; by default those of
    ///   the local one.
    /// - `delete` (bool, false): a directory takes the place of the one that is
    ///   there, with all that it holds.
    /// - `sudo` (bool, false): write as root.
    /// - `timeout` (seconds).
    ///
    /// Throws `not_found` when the local file does not exist, `command_failed`
    /// when the target cannot be written, `quota_exceeded` when the disk there is
    /// full, `timeout`, `unreachable`, `denied`, `host_key_changed`.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// scp(web, "assets/check_webserver.py", "check_webserver.py");
    /// scp(web, "userdata", "scripts");
    /// ```
    #[rhai_fn(name = "scp", return_raw)]
    pub fn scp_with(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let state = file_state(&call, &source);
        let arguments = [
            &server,
            &state,
            &source.clone().into(),
            &target.clone().into(),
            &options.clone().into(),
        ];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(options)?;
            super::send::scp(cx, step, &server, &source, &target, options).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn scp(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
    ) -> Outcome<Dynamic> {
        scp_with(call, server, source, target, Map::new())
    }

    /// Copies a file or directory of a host to this machine.
    ///
    /// `source` is a path there: a directory when it ends in `/`, else a file. The
    /// host decides on contents only: if it has the other thing, nothing is
    /// copied.
    ///
    /// `target` is a path here: in a directory a file keeps its name. It appears
    /// under that name only when it is complete; what was there is replaced. A
    /// directory becomes `target` itself, or goes into `target` when that ends in
    /// `/`; other files that are there stay, and directories that are there keep
    /// their permissions. Nothing of it becomes setuid, and nothing gets outside
    /// of `target`: links that lead out of the directory are left out, as are
    /// devices and pipes, and the log says so. Gives a map with `path`, `size` and
    /// `seconds`, of a directory with `files`, too.
    ///
    /// - `delete` (bool, false): a directory takes the place of the one that is
    ///   here, with all that it holds.
    /// - `sudo` (bool, false): read as root.
    /// - `timeout` (seconds).
    ///
    /// Throws `command_failed` when it cannot be read there, is of the other kind,
    /// or when the host sends something else; `not_found` when it is not there or
    /// the target's directory is not here, `quota_exceeded` when the disk here is
    /// full, `timeout`, `unreachable`, `denied`, `host_key_changed`.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// scp_from(web, "/etc/hostname", "/tmp/hostname");
    /// scp_from(web, "/etc/skel/", "/tmp/skel");
    /// ```
    #[rhai_fn(name = "scp_from", return_raw)]
    pub fn scp_from_with(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options = script::options(options)?;
            super::fetch::scp_from(cx, &server, &source, &target, &options).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn scp_from(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
    ) -> Outcome<Dynamic> {
        scp_from_with(call, server, source, target, Map::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scp {
    mode: Option<String>,
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    sudo: bool,
    timeout: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScpFrom {
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    sudo: bool,
    timeout: Option<f64>,
}

impl ScpFrom {
    fn timeout(&self) -> Result<Option<Duration>> {
        self.timeout.map(|t| seconds("timeout", t)).transpose()
    }
}

/// What both give.
#[derive(Debug, Serialize)]
struct Copied {
    path: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    seconds: f64,
}

/// `copied site to web:/srv/site (12 files, 3.4 MiB in 0.5 s)`.
fn say_copied(cx: &Context, from: (&str, &str), to: (&str, &str), copied: &Copied) {
    let place = |(first, second): (&str, &str)| match second {
        "" => first.to_owned(),
        _ => format!("{first}:{second}"),
    };
    let files = copied
        .files
        .map_or_else(String::new, |n| format!("{}, ", text::count(n, "file")));
    cx.report.info(format!(
        "copied {} to {} ({files}{} in {})",
        place(from),
        place(to),
        text::bytes(copied.size),
        text::duration(Duration::from_secs_f64(copied.seconds))
    ));
}

/// Runs a small command whose output is only for us.
async fn ask(
    cx: &Context,
    host: &Host,
    command: String,
    sudo: bool,
    timeout: Option<Duration>,
) -> Result<Finished> {
    let command = Command {
        command,
        sudo,
        timeout,
        ..Command::default()
    };
    cx.clients.ssh().run(host, command, &cx.report).await
}
