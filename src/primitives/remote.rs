//! Hosts and commands on them, over ssh.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::host_map::KnownHost;
use super::hosts::{self, HostOptions, Targets, gathered, know_keys, located, on_each};
use super::readiness::WaitOptions;
use super::servers::explained;
use crate::clients::ssh::{self, Command, Finished, Host, Stdin};
use crate::context::Context;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::{Mask, text};
use crate::script::{self, Declared, Outcome, Seconds, Shape, yes};

/// How long a host may refuse a login: its key may arrive after sshd.
const KEY_ARRIVES: Duration = Duration::from_secs(30);

/// One try to connect while waiting for a port.
const ONE_TRY: Duration = Duration::from_secs(5);

/// How much of a failed command's output its error shows.
const SHOWN_LINES: usize = 15;

#[export_module]
pub mod api {
    /// Describes a host that is no instance of this run, for `ssh_exec` and `scp`.
    ///
    /// `address` is a name or an address; or what `launch_instance` gave, to
    /// reach that instance in another way than by default: what is made of it
    /// goes wherever an instance does. Nothing is connected to yet.
    ///
    /// The key of a host must be in `known_hosts`, or be named here; an
    /// instance's is known by its console. The files are those of OpenSSH, and
    /// mean the same: `~/.ssh/known_hosts`, `known_hosts2` beside it, and
    /// `ssh_known_hosts` and `ssh_known_hosts2` in `/etc/ssh`. Certificates of
    /// hosts (`@cert-authority`) are not verified: name the key of such a host.
    /// Lines that are skipped are logged with their number.
    ///
    /// Throws `invalid_option`.
    ///
    /// ```rhai
    /// let db = host("db.example.com", #{ user: "admin", port: 2222 });
    /// let inner = host("10.0.1.7", #{ via: "bastion.example.com" });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn host(call: NativeCallContext, address: Dynamic, options: Map) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| hosts::host(cx, &address, options))
    }

    /// Runs a command on a host and waits for its end.
    ///
    /// `server` is what `launch_instance` or `host` gave, or an address; or an
    /// array of such, and then it runs on all of them at once and gives an array
    /// of results in the same order. A failure lets the others finish and is then
    /// thrown, with every failure in `causes`. The
    /// command is text for the user's login shell there. Its output goes to the
    /// log while it runs; of very long output the last 4 MiB are kept.
    ///
    /// Every user there can read a command line, so a secret in it is an error.
    /// `env` and `stdin` are for secrets.
    ///
    /// On `timeout` and Ctrl-C the command and what it started is ended; if that
    /// cannot be made sure, the error says so.
    ///
    /// Throws `command_failed`, whose `detail` has `status`, `stdout` and
    /// `stderr`; `timeout`, `denied`, `host_key_changed`; `invalid_option` for a
    /// secret in `command`; `unreachable`, also when the host does not say how the
    /// command ended: then it may still run.
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
            super::ssh_exec(cx, step, &server, &command, script::options(options)?).await
        })
    }

    /// Waits until a host lets us in by ssh.
    ///
    /// For instances `wait_until_ready` is better: it waits for the user data,
    /// too. `server` is what `launch_instance` or `host` gave, or an address; or
    /// an array of such.
    ///
    /// Throws `timeout`, `denied` when the login is refused for half a minute,
    /// `host_key_changed`.
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
            super::wait_for_ssh(cx, &server, script::options(options)?).await
        })
    }

    /// Waits until a TCP port of a host accepts connections.
    ///
    /// `server` is what `launch_instance` or `host` gave, or an address.
    ///
    /// Throws `timeout`.
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
            super::wait_for_port(cx, &server, port, script::options(options)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("host")
        .options::<HostOptions>()
        .gives::<KnownHost>(Shape::One),
    Declared::of("ssh_exec")
        .options::<SshExec>()
        .gives::<CommandResult>(Shape::LikeArgument),
    Declared::of("wait_for_ssh").options::<WaitOptions>(),
    Declared::of("wait_for_port").options::<WaitOptions>(),
];

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SshExec {
    /// A status other than 0 is an error.
    #[serde(default = "yes")]
    check: bool,
    /// The command is ended after that; by default it may take as long as it
    /// wants.
    timeout: Option<Seconds>,
    /// Directory to run in.
    cwd: Option<String>,
    /// Environment variables. They and `stdin` travel inside the connection,
    /// never in a command line.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// What the command reads.
    stdin: Option<String>,
    /// Run as root; needs sudo without a password, or `sudo_password` of
    /// `host`.
    #[serde(default)]
    sudo: bool,
}

/// What `ssh_exec` gives.
#[derive(Debug, Serialize, JsonSchema)]
struct CommandResult {
    /// The exit status.
    status: i64,
    /// What it wrote to its standard output.
    stdout: String,
    /// What it wrote to its standard error.
    stderr: String,
    /// How many seconds it took.
    seconds: f64,
    /// The signal that ended it, as "TERM"; `()` when none did.
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
            "every user there can read the command line: pass the secret by `env` or `stdin`, \
             as in ssh_exec(server, \"..\", #{ env: #{ PASSWORD: password } })",
        )
    })?;
    for (name, value) in &options.env {
        check_env(name, value)?;
    }
    if let Some(recorded) = step.recorded::<Value>()? {
        step.replay();
        return Ok(recorded);
    }
    // An address that is none, a host key that changed: before it counts as
    // begun.
    let targets = Targets::resolve(cx, servers).await?;
    step.begin()?;
    crash::reached("before a command");
    let done = on_each(cx, targets, async |cx, host| {
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
    let waits = list.iter().map(&explained_one);
    let done = join_all(waits).await;
    gathered(done).map(drop)
}

async fn wait_for_login(cx: &Context, server: &Dynamic, timeout: Duration) -> Result<()> {
    let mut pace = cx.pace("ssh to let us in".to_owned(), timeout);
    let mut refused_at = None;
    loop {
        let tried = async {
            // Of a new instance this asks for its key.
            let host = located(cx, server).await?;
            know_keys(cx, &host).await?;
            let command = Command {
                command: "true".to_owned(),
                timeout: Some(pace.left()),
                ..Command::default()
            };
            cx.clients.ssh().run(&host, command, &cx.report).await
        };
        match tried.await {
            Ok(_) => return Ok(()),
            // sshd may answer before the key has arrived.
            Err(e) if e.kind == ErrorKind::Denied => {
                let since = *refused_at.get_or_insert_with(|| pace.elapsed());
                if pace.elapsed().saturating_sub(since) > KEY_ARRIVES {
                    return Err(e);
                }
                pace.pause("the login is refused").await?;
            }
            Err(e) if e.kind.retryable() => pace.pause(&e.to_string()).await?,
            Err(e) => return Err(e),
        }
    }
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
    let address = &host.address;
    let mut pace = cx.pace(format!("port {port} of {address} to accept"), timeout);
    loop {
        let one_try = pace.left().min(ONE_TRY);
        let paused = match cx.clients.ssh().accepts(&host, one_try).await {
            Ok(()) => break,
            Err(e) if e.kind.retryable() => pace.pause(&e.to_string()).await,
            Err(e) => Err(e),
        };
        if let Err(error) = paused {
            return Err(explained(cx, &host, error).await);
        }
    }
    cx.report.info(format!(
        "port {port} of {address} accepts after {}",
        text::duration(pace.elapsed())
    ));
    Ok(())
}

/// A port of a host or an instance, whose own host key is not looked up: nothing
/// is said to it.
async fn reachable_at(cx: &Context, server: &Dynamic, port: u16) -> Result<Host> {
    let mut host = located(cx, server).await?;
    if let Some(via) = &host.via {
        know_keys(cx, via).await?;
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
    let timeout = options.timeout.map(Seconds::duration);
    cx.report.debug(format!("{}: {command}", host.name));
    cx.report
        .doing(command.trim().lines().next().unwrap_or_default());
    let finished = cx
        .clients
        .ssh()
        .run(
            &host,
            Command {
                command: command.to_owned(),
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
        )
        .await?;
    let result = CommandResult {
        status: finished.status,
        stdout: String::from_utf8_lossy(&finished.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&finished.stderr).into_owned(),
        seconds: finished.seconds,
        signal: finished.signal.clone(),
    };
    if options.check && result.status != 0 {
        let error = failed(&host, command, &finished, cx.report.mask());
        return Err(match &options.cwd {
            Some(cwd) if finished.no_directory => {
                error.hint(format!("does the directory `{cwd}` of `cwd` exist there?"))
            }
            _ => error,
        });
    }
    Ok(result)
}

/// A shell variable's name, and a value that can travel.
fn check_env(name: &str, value: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Error::invalid(format!(
            "option `env.{name}`: not a variable's name"
        )));
    }
    if value.contains('\0') {
        return Err(Error::invalid(format!(
            "option `env.{name}`: it holds a NUL byte"
        )));
    }
    Ok(())
}

/// A command that ended with a status other than 0.
fn failed(host: &Host, command: &str, finished: &Finished, mask: &Mask) -> Error {
    let how = match &finished.signal {
        Some(signal) => format!("was ended by SIG{signal}"),
        None => format!("failed with status {}", finished.status),
    };
    let said = [&finished.stderr, &finished.stdout]
        .into_iter()
        // Masked first: the last lines may begin in the middle of a secret.
        .map(|output| mask.apply(&String::from_utf8_lossy(output)))
        .map(|output| ssh::tail(output.as_bytes(), SHOWN_LINES))
        .find(|said| !said.is_empty());
    let said = said.map_or_else(String::new, |said| format!(":\n{said}"));
    let command = command.trim().lines().next().unwrap_or_default();
    Error::new(
        ErrorKind::CommandFailed,
        format!("`{command}` {how} on {}{said}", host.name),
    )
    .detail(serde_json::json!({
        "status": finished.status,
        "signal": finished.signal,
        "stdout": String::from_utf8_lossy(&finished.stdout),
        "stderr": String::from_utf8_lossy(&finished.stderr),
    }))
}
