//! Copies of files and directories to and from hosts over ssh.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fanout::Fanout;
use super::file_state;
use crate::clients::ssh::{Command, Host, Program, Ran};
use crate::context::Context;
use crate::error::Result;
use crate::report::text;
use crate::script::{self, Declared, Outcome, Seconds, Shape, Share};

mod errors;
mod fetch;
mod send;

pub(super) use send::mode;

#[export_module(manifest)]
pub mod api {
    /// Copies a file or directory from this machine to a host.
    ///
    /// `server` is a map that `launch_instance` or `host` returned, or an
    /// address. For an array of these, the copies are made at the same time.
    ///
    /// `source` is a path on this machine. `target` is a path on the host; a
    /// relative path starts at the home directory of the user.
    ///
    /// A file is copied to `target`, or into it under its own name if `target`
    /// is a directory. The file is first written under a temporary name and
    /// renamed after its size is verified, so an incomplete file never appears
    /// under the final name.
    ///
    /// A directory is copied to `target` itself. If `target` ends in `/`, the
    /// directory is copied into `target`, which must exist. The directory is
    /// unpacked under a hidden name and then renamed. If it already exists on
    /// the host, its files are replaced one by one, and other files in it are
    /// kept. Links are copied as links; sockets and devices are skipped with a
    /// warning. The host needs tar.
    ///
    /// A `target` that begins with `~user/` is in the home directory of that
    /// user of the host; write `./~name` for a file whose name begins with `~`.
    ///
    /// If the account runs no commands, as with `ForceCommand internal-sftp`,
    /// files and directories are copied with the sftp protocol, without `sudo`.
    ///
    /// Throws:
    ///
    /// - `not_found` if `source` does not exist;
    /// - `denied` if `source` cannot be read or the login is refused;
    /// - `command_failed` if the target cannot be written;
    /// - `quota_exceeded` if the disk of the host is full;
    /// - `timeout` if a copy takes longer than `timeout`;
    /// - `unreachable` if there is no connection or it breaks;
    /// - `host_key_changed` if the host key is not the known one;
    /// - `invalid_option` if an option does not fit the source.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// // Each comment is the path of the copy, in the home directory of the user.
    /// scp(web, "assets/check_webserver.py", "check.py"); // check.py
    /// scp(web, "userdata", "scripts");                   // scripts
    /// scp(web, "userdata", "scripts/");                  // scripts/userdata
    /// scp(web, "assets/logo.png", "scripts");            // scripts/logo.png
    /// ```
    #[rhai_fn(return_raw)]
    pub fn scp(
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
            let options = script::options(&call, options)?;
            super::send::scp(cx, step, &server, &source, &target, options).await
        })
    }

    /// Copies a file or directory from a host to this machine.
    ///
    /// `server` is a map that `launch_instance` or `host` returned, or an
    /// address.
    ///
    /// `source` is a path on the host. It means a directory if it ends in `/`,
    /// else a file. If the path on the host is of the other kind, nothing is
    /// copied. `~user/` and accounts without a shell are treated as in `scp`.
    ///
    /// `target` is a path on this machine. If it is a directory, a file is
    /// copied into it under its own name. A file is first written under a
    /// temporary name and renamed when it is complete; an existing file is
    /// replaced.
    ///
    /// A directory is copied to `target` itself, or into `target` if that ends
    /// in `/`. If the directory already exists, other files in it are kept, and
    /// existing subdirectories keep their permissions. The host determines
    /// contents only: no file becomes setuid, and no file is written outside of
    /// `target`. Devices, pipes and links to the outside are skipped with a
    /// warning.
    ///
    /// Throws:
    ///
    /// - `not_found` if `source` does not exist on the host or the directory of
    ///   `target` does not exist here;
    /// - `command_failed` if `source` cannot be read, is of the other kind, or
    ///   the host sends other data than announced;
    /// - `quota_exceeded` if the disk of this machine is full;
    /// - `timeout` if the copy takes longer than `timeout`;
    /// - `unreachable` if there is no connection or it breaks;
    /// - `denied` if the login is refused or the target cannot be written;
    /// - `host_key_changed` if the host key is not the known one;
    /// - `invalid_option` if an option does not fit the source.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// scp_from(web, "/etc/hostname", "/tmp/hostname");
    /// scp_from(web, "/etc/skel/", "/tmp/skel");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn scp_from(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options = script::options(&call, options)?;
            super::fetch::scp_from(cx, &server, &source, &target, &options).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("scp")
        .options::<Scp>()
        .returns::<Copied>(Shape::LikeArgument),
    Declared::of("scp_from")
        .options::<ScpFrom>()
        .returns::<Copied>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Scp {
    /// Permissions of a copied file in octal, such as "0644". The default is
    /// the permissions of the local file. Not for directories.
    mode: Option<String>,
    /// Replace an existing directory on the host with all its contents, instead
    /// of keeping its other files.
    #[serde(default)]
    delete: bool,
    /// Write the copy as root, who then owns it. The user must be allowed to
    /// use sudo. Without this option, the user who logs in owns the copy.
    #[serde(default)]
    sudo: bool,
    /// Limit for the copy to each host. By default there is no limit.
    timeout: Option<Seconds>,
    /// To how many hosts of an array the copy is made at the same time: a number,
    /// or a percentage such as "10%". The default is 64.
    at_once: Option<Share<1>>,
    /// Sizes of batches of hosts, as for `ssh_exec`.
    #[serde(default)]
    batches: Vec<Share<1>>,
    /// How many hosts may fail before no other host begins, as for `ssh_exec`.
    max_failures: Option<Share<0>>,
}

impl Scp {
    fn fanout(&self) -> Fanout {
        Fanout {
            at_once: self.at_once,
            batches: self.batches.clone(),
            max_failures: self.max_failures,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScpFrom {
    /// Replace an existing directory on this machine with all its contents,
    /// instead of keeping its other files.
    #[serde(default)]
    delete: bool,
    /// Read the source as root. The user must be allowed to use sudo.
    #[serde(default)]
    sudo: bool,
    /// Limit for the copy. By default there is no limit.
    timeout: Option<Seconds>,
}

/// The map that `scp` and `scp_from` return.
#[derive(Debug, Serialize, JsonSchema)]
struct Copied {
    /// Path of the copy.
    path: String,
    /// Size of the copy in bytes.
    size: u64,
    /// Number of files in a directory. Present only for directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    files: Option<usize>,
    /// Seconds that the copy took.
    seconds: f64,
}

/// Logs `copied site to web:/srv/site (12 files, 3.4 MiB in 0.5 s)`.
fn log_copied(cx: &Context, from: (&str, &str), to: (&str, &str), copied: &Copied) {
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

/// Runs a small command on a host and returns its output, which is not logged.
async fn query(
    cx: &Context,
    host: &Host,
    command: String,
    sudo: bool,
    timeout: Option<Duration>,
) -> Result<Ran> {
    let command = Command {
        program: Program::Own(command),
        sudo,
        timeout,
        ..Command::default()
    };
    cx.clients.ssh().try_run(host, command, &cx.report).await
}
