//! Hosts and commands on them, over ssh.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::control::label;
use super::fanout::{Fanout, failed_on_hosts, gathered};
use super::host_map::KnownHost;
use super::hosts::{self, HostOptions, Targets, know_keys, located, on_each};
use super::readiness::{WaitOptions, after_outage};
use super::reboots;
use super::rehearsed::is_outside;
use super::servers::explained;
use crate::clients::ssh::{self, Command, Finished, Host, Program, Ran, Stdin};
use crate::context::Context;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::{Mask, text};
use crate::script::{self, Declared, Outcome, Seconds, Shape, Share, yes};

/// How long a host may refuse a login. On a new instance, sshd starts before
/// cloud-init installs the key.
const KEY_ARRIVES: Duration = Duration::from_secs(30);

/// Limit for one attempt to connect while waiting for a port.
const ONE_TRY: Duration = Duration::from_secs(5);

/// How long the last attempt of a wait for a login may take at least.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// How many lines of a failed command's output the error shows.
const SHOWN_LINES: usize = 15;

#[export_module(manifest)]
pub mod api {
    /// Describes how to reach a host over ssh.
    ///
    /// Pass the returned map to `ssh_exec`, `scp` and other functions. This
    /// function does not connect. `address` is a host name or an IP address,
    /// also as "user@host:port", "[IPv6]:port" or "ssh://user@host:port". It can
    /// also be a map that `launch_instance` returned, if the instance is to be
    /// reached in another way than by default, for example through a jump host;
    /// the returned map can then be used wherever an instance is expected.
    ///
    /// With `via: "ssm"`, an instance needs neither an open port nor a public
    /// address: its agent of Systems Manager, whose role must let it register
    /// (see `instance_role`), connects to the ssh server. AWS's program
    /// `session-manager-plugin` must be installed on this machine.
    ///
    /// `~/.ssh/config` and `/etc/ssh/ssh_config` apply to an address as with
    /// `ssh`; what the playbook names has precedence. For an instance, only
    /// `ProxyJump` applies. `StrictHostKeyChecking no` has no effect.
    ///
    /// The host key must be in a `known_hosts` file or in the option
    /// `host_key`; for an instance, autorun reads it from the console output.
    /// The files are the ones of OpenSSH: `known_hosts` and `known_hosts2` in
    /// `~/.ssh`, and `ssh_known_hosts` and `ssh_known_hosts2` in `/etc/ssh`.
    /// Host certificates (`@cert-authority`) are not supported: set `host_key`
    /// for such a host. Skipped lines of these files are logged with their
    /// number.
    ///
    /// Throws `invalid_option` if the address, an option or the ssh
    /// configuration is not valid, or if the user name for the login cannot be
    /// determined; `not_found` if the instance does not exist, or if the ssh
    /// configuration may apply, but the program `ssh` is not installed. The
    /// address of an instance id is looked up.
    ///
    /// ```rhai
    /// let db = host("db.example.com", #{ user: "admin", port: 2222 });
    /// let inner = host("10.0.1.7", #{ via: "bastion.example.com" });
    /// let closed = host("i-0123456789abcdef0", #{ via: "ssm" });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn host(call: NativeCallContext, address: Dynamic, options: Map) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            let options = script::options(&call, options)?;
            cx.runtime.block_on(hosts::host(cx, &address, options))
        })
    }

    /// Runs a command on a host and returns its output.
    ///
    /// `server` is a map that `launch_instance` or `host` returned, or an
    /// address. For an array of these, the command runs on all hosts at the
    /// same time, and the results are returned in the same order. If the
    /// command fails on one host, the others finish first; then an error is
    /// thrown that has every failure in `causes`, and in `detail` the names of
    /// the hosts that `failed` and of those where the command has `not_begun`.
    ///
    /// The login shell of the user runs the command, after its startup files, as
    /// with the program `ssh`. What startup files print is not part of the
    /// result. In zsh, csh and tcsh, functions and aliases of these files are
    /// not available; exported variables are. The output is logged while the
    /// command runs. If stdout or stderr is very long, the result has its
    /// last 4 MiB.
    ///
    /// A secret in `command` is an error, because every user of the host can
    /// read command lines. Pass secrets with `env` or `stdin`.
    ///
    /// When `timeout` expires or Ctrl-C is pressed, autorun ends the command
    /// and the processes that it started. If it cannot verify that they have
    /// ended, the error message says so.
    ///
    /// Throws:
    ///
    /// - `command_failed` if the status is not 0 (its `detail` has `status`,
    ///   `stdout` and `stderr`);
    /// - `timeout` if the command takes longer than `timeout`;
    /// - `denied` if the login is refused, or if the account runs no commands;
    ///   the message then has what it printed instead;
    /// - `host_key_changed` if the host key is not the known one;
    /// - `invalid_option` if `command` contains a secret;
    /// - `throttled` if the ssh server refuses new connections for 15 seconds;
    /// - `unreachable` if there is no connection, or if it breaks before the
    ///   host reports the status: the command may still be running.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// let disk = ssh_exec(web, "df -h /", #{ timeout: 10 });
    /// print(disk.stdout);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ssh_exec(
        call: NativeCallContext,
        server: Dynamic,
        command: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&server, &command.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::ssh_exec(
                cx,
                step,
                &server,
                &command,
                script::options(&call, options)?,
            )
            .await
        })
    }

    /// Waits until a login to a host over ssh succeeds.
    ///
    /// `server` is a map that `launch_instance` or `host` returned, an address,
    /// or an array of these. For instances, `wait_until_ready` is better,
    /// because it also waits for the user data.
    ///
    /// A host that is about to reboot does not count: after `reboot_instance`,
    /// or a command such as `sudo reboot`, the function waits for a new boot. If
    /// the host has not begun to reboot 15 seconds after the command, a warning
    /// says so.
    ///
    /// Throws `timeout` if no login succeeds in time, `denied` if the host
    /// refuses the login for more than 30 seconds, and `host_key_changed` if
    /// the host key is not the known one.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// wait_for_ssh(web);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn wait_for_ssh(
        call: NativeCallContext,
        server: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::wait_for_ssh(cx, &server, script::options(&call, options)?).await
        })
    }

    /// Waits until a TCP port of a host accepts connections.
    ///
    /// `server` is a map that `launch_instance` or `host` returned, or an
    /// address.
    ///
    /// Throws `timeout` if the port does not accept a connection in time, and
    /// `invalid_option` if `port` is not from 1 to 65535.
    ///
    /// ```rhai
    /// wait_for_port("192.0.2.10", 22, #{ timeout: 60 });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn wait_for_port(
        call: NativeCallContext,
        server: Dynamic,
        port: i64,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::wait_for_port(cx, &server, port, script::options(&call, options)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("host")
        .options::<HostOptions>()
        .returns::<KnownHost>(Shape::One),
    Declared::of("ssh_exec")
        .options::<SshExec>()
        .returns::<CommandResult>(Shape::LikeArgument),
    Declared::of("wait_for_ssh").options::<WaitOptions>(),
    Declared::of("wait_for_port").options::<WaitOptions>(),
];

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SshExec {
    /// Throw an error if the exit status is not 0.
    #[serde(default = "yes")]
    check: bool,
    /// Limit after which the command is ended. By default there is no limit.
    timeout: Option<Seconds>,
    /// Working directory of the command. `~` and `~user` are home directories
    /// on the host.
    cwd: Option<String>,
    /// Environment variables. They and `stdin` are sent inside the ssh
    /// connection, never in a command line.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Standard input of the command.
    stdin: Option<String>,
    /// Run the command as root. This needs sudo without a password, or the
    /// option `sudo_password` of `host`.
    #[serde(default)]
    sudo: bool,
    /// How many hosts of an array run the command at the same time: a number, or a
    /// percentage such as "10%". The default is 64.
    at_once: Option<Share<1>>,
    /// Sizes of batches of hosts, such as `[1, "10%", "100%"]`: each batch begins
    /// when the previous one has finished. The last size is repeated. By default,
    /// all hosts are one batch.
    #[serde(default)]
    batches: Vec<Share<1>>,
    /// How many hosts may fail before no other host begins: a number, or a
    /// percentage. By default there is no limit; with `batches` it is 0.
    max_failures: Option<Share<0>>,
}

impl SshExec {
    fn fanout(&self) -> Fanout {
        Fanout {
            at_once: self.at_once,
            batches: self.batches.clone(),
            max_failures: self.max_failures,
        }
    }
}

/// The map that `ssh_exec` returns.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct CommandResult {
    /// Exit status of the command.
    status: i64,
    /// Standard output of the command.
    stdout: String,
    /// Standard error of the command.
    stderr: String,
    /// Seconds that the command took.
    seconds: f64,
    /// The signal that ended the command, such as "TERM"; `()` if it ended
    /// without a signal.
    signal: Option<String>,
}

async fn ssh_exec(
    cx: &Context,
    step: &mut Step,
    servers: &Dynamic,
    command: &str,
    options: SshExec,
) -> Result<Value> {
    let readable = cx.report.mask().keep_out_of("argument `command`", command);
    readable.map_err(|error| {
        error.hint(
            "every user of the host can read the command line: pass the secret with `env` or \
             `stdin`, as in ssh_exec(server, \"..\", #{ env: #{ PASSWORD: password } })",
        )
    })?;
    let cwd = options.cwd.as_deref().map(|cwd| ("option `cwd`", cwd));
    for (what, text) in [Some(("argument `command`", command)), cwd]
        .into_iter()
        .flatten()
    {
        if text.contains('\0') {
            return Err(Error::invalid(format!("{what}: it contains a NUL byte")));
        }
    }
    for (name, value) in &options.env {
        check_env(name, value)?;
    }
    if let Some(recorded) = step.recorded::<Value>()? {
        step.replay();
        return Ok(recorded);
    }
    // Fail on a bad address or a changed host key before the step begins: a step
    // that has begun may have had an effect.
    let targets = Targets::resolve(cx, servers).await?;
    step.begin()?;
    crash::reached("before a command");
    cx.ledger.may_act()?;
    let done = on_each(cx, targets, options.fanout(), async |cx, host| {
        run_on(cx, host, command, options.clone()).await
    });
    let done = done.await;
    crash::reached("after a command");
    done
}

async fn wait_for_ssh(cx: &Context, servers: &Dynamic, options: WaitOptions) -> Result<()> {
    let timeout = options.timeout.duration();
    let list = servers.read_lock::<Array>().map(|list| list.clone());
    let explained_one = async |server: &Dynamic| match wait_for_login(cx, server, timeout).await {
        Err(error) => match located(cx, server).await {
            Ok(host) => Err(explained(cx, &host, error).await),
            Err(_) => Err(error),
        },
        done => done,
    };
    let Some(list) = list else {
        return explained_one(servers).await;
    };
    let names: Vec<String> = list.iter().enumerate().map(label).collect();
    let waits = list.iter().zip(&names).map(async |(server, name)| {
        let waited = explained_one(server).await;
        Some(waited.map_err(|error| error.on(name)))
    });
    let done = join_all(waits).await;
    gathered(done, &names, failed_on_hosts, ErrorKind::CommandFailed).map(drop)
}

async fn wait_for_login(cx: &Context, server: &Dynamic, timeout: Duration) -> Result<()> {
    let mut pace = cx.pace("the login over ssh".to_owned(), timeout);
    let mut refused_at = None;
    loop {
        let tried = async {
            // This requests the host key of a new instance.
            let host = located(cx, server).await?;
            if is_outside(cx, &host) {
                cx.assume_success(format!("wait for a login on {}", host.name));
                return Ok(None);
            }
            know_keys(cx, &host).await?;
            let command = Command {
                program: Program::Own(reboots::STATE.to_owned()),
                timeout: Some(pace.left()),
                ..Command::default()
            };
            let ssh = cx.clients.ssh();
            let ran = match ssh.try_run(&host, command, &cx.report).await {
                Err(error) => {
                    ssh.note_outage(&host);
                    return Err(error);
                }
                Ok(ran) => ran,
            };
            match ran {
                Ran::Finished(state) => Ok(Some((host, state))),
                // The login works, but not for commands.
                Ran::Refused(_) if ssh.has_sftp(&host).await? => Ok(None),
                Ran::Refused(error) => Err(error),
            }
        };
        // What an earlier attempt saw explains more than that the time is over.
        let Ok(tried) = tokio::time::timeout(pace.left().max(LAST_LOOK), tried).await else {
            let error = Error::new(ErrorKind::Timeout, "the host has not answered");
            return Err(pace.timeout_after(&error));
        };
        match tried {
            Ok(Some((host, state))) => {
                if reboots::settled(cx, &host, &state, &mut pace).await? {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            // sshd may answer before cloud-init has installed the key.
            Err(e) if e.kind == ErrorKind::Denied => {
                let since = *refused_at.get_or_insert_with(|| pace.elapsed());
                if pace.elapsed().saturating_sub(since) > KEY_ARRIVES {
                    return Err(e);
                }
                pace.pause(&first_line(&e)).await?;
            }
            Err(e) if e.kind.retryable() && pace.left().is_zero() => {
                return Err(pace.timeout_after(&e));
            }
            Err(e) if e.kind.retryable() => after_outage(&mut pace, &e).await?,
            Err(e) => return Err(e),
        }
    }
}

/// Returns the first line of an error, to be shown as the state of a wait.
pub(super) fn first_line(error: &Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

async fn wait_for_port(
    cx: &Context,
    server: &Dynamic,
    port: i64,
    options: WaitOptions,
) -> Result<()> {
    let timeout = options.timeout.duration();
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Error::invalid("argument `port`: it must be from 1 to 65535"))?;
    let host = reachable_at(cx, server, port).await?;
    if is_outside(cx, &host) {
        cx.assume_success(format!("wait for port {port} of {}", host.name));
        return Ok(());
    }
    let address = &host.address;
    let mut pace = cx.pace(
        format!("port {port} of {address} to accept connections"),
        timeout,
    );
    loop {
        let one_try = pace.left().min(ONE_TRY);
        let paused = match cx.clients.ssh().accepts(&host, one_try).await {
            Ok(()) => break,
            Err(e) if e.kind.retryable() => after_outage(&mut pace, &e).await,
            Err(e) => Err(e),
        };
        if let Err(error) = paused {
            return Err(explained(cx, &host, error).await);
        }
    }
    cx.report.info(format!(
        "port {port} of {address} accepts connections after {}",
        text::duration(pace.elapsed())
    ));
    Ok(())
}

/// Returns how to reach a port of a host or an instance. Its host key is not looked
/// up, because there is no ssh session with it.
async fn reachable_at(cx: &Context, server: &Dynamic, port: u16) -> Result<Host> {
    let mut host = located(cx, server).await?;
    if let Some(via) = &host.via {
        know_keys(cx, via).await?;
    }
    if host.ssm.is_some() && port != host.port {
        return Err(Error::invalid(format!(
            "through Systems Manager, only the ssh server of {} can be reached, not port {port}",
            host.name
        ))
        .hint("ask on the instance, for example: ssh_exec(server, \"curl -fsS localhost:80\")"));
    }
    host.port = port;
    Ok(host)
}

/// Runs a command on one host.
async fn run_on(
    cx: &Context,
    host: Host,
    command: &str,
    options: SshExec,
) -> Result<CommandResult> {
    if is_outside(cx, &host) {
        cx.assume(
            format!("run on {}: {command}", host.name),
            "status 0, no output",
        );
        return Ok(CommandResult::default());
    }
    let timeout = options.timeout.map(Seconds::duration);
    cx.report.debug(format!("{}: {command}", host.name));
    cx.report
        .doing(command.trim().lines().next().unwrap_or_default());
    let ran = cx.clients.ssh().run(
        &host,
        Command {
            program: Program::Shell(command.to_owned()),
            cwd: options.cwd.clone(),
            env: options.env,
            stdin: options
                .stdin
                .map_or(Stdin::Empty, |text| Stdin::Bytes(text.into_bytes())),
            sudo: options.sudo,
            timeout,
            live: true,
            ..Command::default()
        },
        &cx.report,
    );
    let finished = reboots::noted(cx, &host, command, ran.await)?;
    let result = CommandResult {
        status: finished.status,
        stdout: String::from_utf8_lossy(&finished.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&finished.stderr).into_owned(),
        seconds: finished.seconds,
        signal: finished.signal.clone(),
    };
    if options.check && result.status != 0 {
        if let Some(error) = reboots::ended_by(&host, command, &finished) {
            return Err(error);
        }
        let error = failed(&host, command, &finished, cx.report.mask());
        return Err(match &options.cwd {
            Some(cwd) if finished.no_user => error.hint(format!(
                "the host has no user for `{cwd}` (`cwd`); write `./{cwd}` for a directory of \
                 this name"
            )),
            Some(cwd) if finished.no_directory => error.hint(format!(
                "check that the directory `{cwd}` (`cwd`) exists on the host, and that the \
                 user may enter it"
            )),
            _ => error,
        });
    }
    Ok(result)
}

/// Checks that a name is valid for a shell variable and that the value can be sent.
pub(super) fn check_env(name: &str, value: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Error::invalid(format!(
            "option `env.{name}`: not a valid variable name"
        )));
    }
    if value.contains('\0') {
        return Err(Error::invalid(format!(
            "option `env.{name}`: the value contains a NUL byte"
        )));
    }
    Ok(())
}

/// Returns the error for a command whose exit status is not 0.
fn failed(host: &Host, command: &str, finished: &Finished, mask: &Mask) -> Error {
    let how = match &finished.signal {
        Some(signal) => format!("was ended by SIG{signal}"),
        None => format!("failed with status {}", finished.status),
    };
    let output = [&finished.stderr, &finished.stdout]
        .into_iter()
        // Mask before cutting: the last lines may begin in the middle of a secret.
        .map(|output| mask.apply(&String::from_utf8_lossy(output)))
        .map(|output| ssh::tail(output.as_bytes(), SHOWN_LINES))
        .find(|output| !output.is_empty());
    let output = output.map_or_else(String::new, |output| format!(":\n{output}"));
    let command = command.trim().lines().next().unwrap_or_default();
    Error::new(
        ErrorKind::CommandFailed,
        format!("`{command}` {how} on {}{output}", host.name),
    )
    .detail(serde_json::json!({
        "status": finished.status,
        "signal": finished.signal,
        "stdout": String::from_utf8_lossy(&finished.stdout),
        "stderr": String::from_utf8_lossy(&finished.stderr),
    }))
}
