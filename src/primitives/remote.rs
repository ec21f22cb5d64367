//! Hosts and commands on them, over ssh.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::host_keys::{Again, compare_with_console, pin_first_key};
use super::seconds;
use super::servers::{ServerRef, explained, instance_host, is_host};
use crate::clients::ec2::Instance;
use crate::clients::ssh::{self, Command, Finished, Host, Secret, Stdin, Trust};
use crate::context::Context;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::{SHORTEST, text};
use crate::script::{self, Outcome};

/// How long a host may refuse a login: its key may arrive after sshd.
const KEY_ARRIVES: Duration = Duration::from_secs(30);

/// One try to connect while waiting for a port.
const ONE_TRY: Duration = Duration::from_secs(5);

/// How many hosts of an array are worked on at once.
const AT_ONCE: usize = 64;

/// How much of a failed command's output its error shows.
const SHOWN_LINES: usize = 15;

#[export_module]
pub mod api {
    /// Describes a host that is no instance of this run, for `ssh_exec` and `scp`.
    ///
    /// `address` is a name or an address; or what `launch_instance` gave, to
    /// reach that instance in another way than by default. The key of a host
    /// must be in `~/.ssh/known_hosts`, or be named here; an instance's is known
    /// by its console. Nothing is connected to yet.
    ///
    /// - `user` (string): by default the user who runs autorun.
    /// - `port` (integer, 22).
    /// - `key` (string): private key file; by default the ssh agent and the
    ///   usual files in `~/.ssh`.
    /// - `passphrase` (string): unlocks the key file; from a secret variable.
    ///   Without it an encrypted key must be in the ssh agent.
    /// - `sudo_password` (string): what sudo asks for there; from a secret
    ///   variable. Without it `sudo: true` needs sudo without a password.
    /// - `via` (host): the jump host through which it is reached, as what
    ///   `launch_instance` or `host` gave, or an address; as `ssh -J` does it,
    ///   so keys and passwords stay here.
    /// - `host_key` (string): its fingerprint, as "SHA256:...".
    /// - `name` (string): how the log calls it; by default the address.
    ///
    /// Throws `invalid_option`.
    ///
    /// ```rhai
    /// let db = host("db.example.com", #{ user: "admin", port: 2222 });
    /// let inner = host("10.0.1.7", #{ via: "bastion.example.com" });
    /// ```
    #[rhai_fn(name = "host", return_raw)]
    pub fn host_with(call: NativeCallContext, address: Dynamic, options: Map) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| super::host(cx, &address, options))
    }

    #[rhai_fn(return_raw)]
    pub fn host(call: NativeCallContext, address: Dynamic) -> Outcome<Dynamic> {
        host_with(call, address, Map::new())
    }

    /// Runs a command on a host and waits for its end.
    ///
    /// `server` is what `launch_instance` or `host` gave, or an address; or an
    /// array of such, and then it runs on all of them at once and gives an array
    /// of results in the same order. A failure lets the others finish and is then
    /// thrown, with every failure in `causes`. The
    /// command is text for the user's login shell there. Its output goes to the
    /// log while it runs. Gives a map with `status`, `stdout`, `stderr`,
    /// `seconds` and `signal`; of very long output the last 4 MiB.
    ///
    /// - `check` (bool, true): a status other than 0 is an error.
    /// - `timeout` (seconds): the command is ended after that; by default it
    ///   may take as long as it wants.
    /// - `cwd` (string): directory to run in.
    /// - `env` (map of strings): environment variables. They and `stdin` travel
    ///   inside the connection, never in a command line.
    /// - `stdin` (string): what the command reads.
    /// - `sudo` (bool, false): run as root; needs sudo without a password, or
    ///   `sudo_password` of `host`.
    ///
    /// On `timeout` and Ctrl-C the command and what it started is ended; if that
    /// cannot be made sure, the error says so.
    ///
    /// Throws `command_failed`, whose `detail` has `status`, `stdout` and
    /// `stderr`; `timeout`, `unreachable`, `denied`, `host_key_changed`.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// let disk = ssh_exec(web, "df -h /", #{ timeout: 10 });
    /// print(disk.stdout);
    /// ```
    #[rhai_fn(name = "ssh_exec", return_raw)]
    pub fn ssh_exec_with(
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

    #[rhai_fn(return_raw)]
    pub fn ssh_exec(
        call: NativeCallContext,
        server: Dynamic,
        command: ImmutableString,
    ) -> Outcome<Dynamic> {
        ssh_exec_with(call, server, command, Map::new())
    }

    /// Waits until a host lets us in by ssh.
    ///
    /// For instances `wait_until_ready` is better: it waits for the user data,
    /// too. `server` is what `launch_instance` or `host` gave, or an address; or
    /// an array of such.
    ///
    /// - `timeout` (seconds, 300).
    ///
    /// Throws `timeout`, `denied` when the login is refused for half a minute,
    /// `host_key_changed`.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// wait_for_ssh(web);
    /// ```
    #[rhai_fn(name = "wait_for_ssh", return_raw)]
    pub fn wait_for_ssh_with(
        call: NativeCallContext,
        server: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::wait_for_ssh(cx, &server, script::options(options)?).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn wait_for_ssh(call: NativeCallContext, server: Dynamic) -> Outcome<Dynamic> {
        wait_for_ssh_with(call, server, Map::new())
    }

    /// Waits until a TCP port of a host accepts connections.
    ///
    /// `server` is what `launch_instance` or `host` gave, or an address.
    ///
    /// - `timeout` (seconds, 300).
    ///
    /// Throws `timeout`.
    ///
    /// ```rhai
    /// wait_for_port("192.0.2.10", 22, #{ timeout: 60 });
    /// ```
    #[rhai_fn(name = "wait_for_port", return_raw)]
    pub fn wait_for_port_with(
        call: NativeCallContext,
        server: Dynamic,
        port: i64,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::wait_for_port(cx, &server, port, script::options(options)?).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn wait_for_port(call: NativeCallContext, server: Dynamic, port: i64) -> Outcome<Dynamic> {
        wait_for_port_with(call, server, port, Map::new())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostOptions {
    user: Option<String>,
    port: Option<u16>,
    key: Option<PathBuf>,
    host_key: Option<String>,
    name: Option<String>,
    passphrase: Option<Secret>,
    sudo_password: Option<Secret>,
    via: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SshExec {
    #[serde(default = "yes")]
    check: bool,
    timeout: Option<f64>,
    cwd: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    stdin: Option<String>,
    #[serde(default)]
    sudo: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Within {
    #[serde(default = "five_minutes")]
    timeout: f64,
}

fn five_minutes() -> f64 {
    300.0
}

fn yes() -> bool {
    true
}

/// What `ssh_exec` gives.
#[derive(Debug, Serialize)]
struct CommandResult {
    status: i64,
    stdout: String,
    stderr: String,
    seconds: f64,
    signal: Option<String>,
}

/// What a playbook says of a host, and of its jump host.
fn host(cx: &Context, address: &Dynamic, options: Map) -> Result<Host> {
    let mut options: HostOptions = script::options(options)?;
    let via = options.via.take().map(|via| {
        let via = script::to_dynamic(&via)?;
        named(cx, &via).map_err(|error| error.while_doing("option `via`"))
    });
    let mut host = match address.clone().into_immutable_string() {
        Ok(address) if !address.starts_with("i-") => addressed(cx, &address, options)?,
        _ => adjusted(cx, named(cx, address)?, options)?,
    };
    if let Some(via) = via.transpose()? {
        // Behind a jump host an instance is reached at its address in there.
        if let (Trust::Instance(_), Ok(server)) = (&host.trust, ServerRef::of(address))
            && let Some(private) = server.private_ip
        {
            host.address = private;
        }
        host.via = Some(Box::new(via));
    }
    Ok(host)
}

/// A host by its address.
fn addressed(cx: &Context, address: &str, options: HostOptions) -> Result<Host> {
    let (user, address) = match address.split_once('@') {
        Some((user, address)) => (Some(user.to_owned()), address),
        None => (None, address),
    };
    if address.is_empty() || address.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(format!(
            "`{address}` is not a host name or address"
        )));
    }
    let user = user.or_else(|| cx.clients.local.user.clone());
    let unknown = || Error::invalid("no user name is known").hint("pass `user`");
    let user = match &options.user {
        Some(user) => user.clone(),
        None => user.ok_or_else(unknown)?,
    };
    let host = Host {
        name: address.to_owned(),
        address: address.to_owned(),
        port: 22,
        user,
        key: None,
        trust: Trust::KnownHosts,
        passphrase: None,
        sudo_password: None,
        via: None,
    };
    adjusted(cx, host, options)
}

/// The host with what the options say otherwise.
fn adjusted(cx: &Context, mut host: Host, options: HostOptions) -> Result<Host> {
    if options.port == Some(0) {
        return Err(Error::invalid("option `port`: it must be from 1 to 65535"));
    }
    host.port = options.port.unwrap_or(host.port);
    host.user = options.user.unwrap_or(host.user);
    if host.user.is_empty() || host.user.chars().any(char::is_whitespace) {
        return Err(Error::invalid(format!(
            "`{}` is not a user name",
            host.user
        )));
    }
    host.name = options.name.unwrap_or(host.name);
    if let Some(key) = options.key {
        host.key = Some(cx.clients.local.expand(&key));
    }
    match options.host_key {
        None => {}
        Some(fingerprint) if is_fingerprint(&fingerprint) => {
            host.trust = Trust::Fingerprint(fingerprint.trim_end_matches('=').to_owned());
        }
        Some(other) => {
            return Err(
                Error::invalid(format!("option `host_key`: `{other}` is no fingerprint"))
                    .hint("write it as `ssh-keygen -l -f KEY.pub` shows it: \"SHA256:...\""),
            );
        }
    }
    if options.passphrase.is_some() && host.key.is_none() {
        return Err(Error::invalid("option `passphrase`: there is no key file")
            .hint("pass `key`, the file that it unlocks"));
    }
    let secrets = [
        ("passphrase", &options.passphrase),
        ("sudo_password", &options.sudo_password),
    ];
    for (name, secret) in secrets {
        if let Some(Secret(secret)) = secret {
            check_secret(name, secret)?;
            cx.report.mask().add(secret);
        }
    }
    host.passphrase = options.passphrase.or(host.passphrase);
    host.sudo_password = options.sudo_password.or(host.sudo_password);
    Ok(host)
}

/// A secret that can be masked, and travels on one line.
fn check_secret(name: &str, secret: &str) -> Result<()> {
    if secret.len() < SHORTEST {
        return Err(Error::invalid(format!(
            "option `{name}`: it is too short to be masked in the output"
        ))
        .hint(format!("it must have {SHORTEST} characters at least")));
    }
    if secret.contains(['\n', '\r', '\0']) {
        return Err(
            Error::invalid(format!("option `{name}`: it has more than one line"))
                .hint("read from a file, it may end in a newline: trim() takes it off"),
        );
    }
    Ok(())
}

/// The host that a value names, as far as that is known without asking anybody.
fn named(cx: &Context, value: &Dynamic) -> Result<Host> {
    if let Ok(address) = value.clone().into_immutable_string()
        && !address.starts_with("i-")
    {
        return addressed(cx, &address, HostOptions::default());
    }
    if is_host(value) {
        return script::argument("server", value);
    }
    let server = ServerRef::of(value).map_err(|e| match e.hint {
        Some(_) => e,
        None => e.hint("pass what launch_instance or host gave, or an address"),
    })?;
    let described = Instance {
        public_ip: server.public_ip.clone(),
        private_ip: server.private_ip.clone(),
        ..Instance::default()
    };
    instance_host(&server, &described)
}

/// `SHA256:` and the base64 of 32 bytes.
fn is_fingerprint(text: &str) -> bool {
    let hash = text
        .strip_prefix("SHA256:")
        .map(|hash| hash.trim_end_matches('='));
    hash.is_some_and(|hash| {
        hash.len() == 43
            && hash
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+/".contains(c))
    })
}

/// The host that a playbook means: an address, a `host`, or an instance, whose
/// address and host key are looked up.
pub(super) async fn target(cx: &Context, value: &Dynamic) -> Result<Host> {
    let host = located(cx, value).await?;
    match know_keys(cx, &host).await {
        Ok(()) => Ok(host),
        Err(error) => Err(explained(cx, &host, error).await),
    }
}

/// The host that a playbook means; of an instance that was launched without
/// waiting, the address is looked up: by now there is one, or not yet.
async fn located(cx: &Context, value: &Dynamic) -> Result<Host> {
    match named(cx, value) {
        Err(error) if error.kind == ErrorKind::NotFound => {
            let server = ServerRef::of(value)?;
            let ids = [server.id.clone()];
            let seen = cx.clients.ec2().await?.instances(&ids).await?;
            instance_host(&server, &seen[0])
        }
        named => named,
    }
}

/// Looks up the keys of what are instances on the way to a host, the nearest
/// first.
pub(super) async fn know_keys(cx: &Context, host: &Host) -> Result<()> {
    if let Some(via) = &host.via {
        Box::pin(know_keys(cx, via)).await?;
    }
    if let Trust::Instance(id) = &host.trust {
        pin_first_key(cx, host, id).await?;
        compare_with_console(cx, host, id, Again::No).await?;
    }
    Ok(())
}

/// The host that is meant, or those: one that cannot be reached must not keep
/// the others waiting, so they are looked up one by one.
pub(super) enum Targets {
    One(Host),
    Each(Array),
}

impl Targets {
    pub(super) async fn of(cx: &Context, servers: &Dynamic) -> Result<Self> {
        let list = servers.read_lock::<Array>().map(|list| list.clone());
        match list {
            Some(list) => Ok(Self::Each(list)),
            None => target(cx, servers).await.map(Self::One),
        }
    }
}

/// Does the work on one host, or on each of an array at once, and gives the
/// results in the same shape. A failure lets the others finish; the error then
/// has every failure in its causes.
pub(super) async fn on_each<T: Serialize>(
    cx: &Context,
    targets: Targets,
    work: impl AsyncFn(&Context, Host) -> Result<T>,
) -> Result<Value> {
    let json = |value: T| {
        serde_json::to_value(value).map_err(|e| Error::internal(format!("cannot show it: {e}")))
    };
    let worked = async |cx: &Context, host: Host| match work(cx, host.clone()).await {
        Err(error) => Err(explained(cx, &host, error).await),
        done => done,
    };
    let list = match targets {
        Targets::One(host) => return json(worked(cx, host).await?),
        Targets::Each(list) => list,
    };
    if list.is_empty() {
        cx.report
            .warn("the array of hosts is empty: nothing is done");
    }
    let many = list.len() > 1;
    let one = async |server: Dynamic| {
        let host = target(cx, &server).await?;
        let name = host.name.clone();
        let cx = cx.working(&name);
        let started = Instant::now();
        let result = worked(&cx, host).await;
        // On the terminal its line is gone now; this one stays.
        if many {
            let took = text::duration(started.elapsed());
            match &result {
                Ok(_) => cx.report.info(format!("{name}: done in {took}")),
                Err(_) => cx.report.warn(format!("{name}: failed after {took}")),
            }
        }
        result
            .and_then(json)
            .map_err(|error| error.while_doing(&format!("[{name}]")))
    };
    let done = stream::iter(list.into_iter().map(one)).buffered(AT_ONCE);
    let done: Vec<Result<Value>> = done.collect().await;
    gathered(done).map(Value::Array)
}

/// All results, or one error with every failure in its causes.
fn gathered<T>(done: Vec<Result<T>>) -> Result<Vec<T>> {
    let count = done.len();
    let mut results = Vec::with_capacity(count);
    let mut causes = Vec::new();
    for result in done {
        match result {
            Ok(value) => results.push(value),
            Err(error) => causes.push(error),
        }
    }
    let Some(first) = causes.first() else {
        return Ok(results);
    };
    let same = causes.iter().all(|cause| cause.kind == first.kind);
    let kind = match same {
        true => first.kind,
        false => ErrorKind::CommandFailed,
    };
    let message = format!("it failed on {} of {count} hosts", causes.len());
    Err(Error::new(kind, message).caused_by(causes))
}

async fn ssh_exec(
    cx: &Context,
    step: &mut Step,
    servers: &Dynamic,
    command: &str,
    options: SshExec,
) -> Result<Value> {
    for (name, value) in &options.env {
        check_env(name, value)?;
    }
    if let Some(timeout) = options.timeout {
        seconds("timeout", timeout)?;
    }
    if let Some(recorded) = step.recorded::<Value>() {
        step.replay();
        return Ok(recorded);
    }
    // An address that is none, a host key that changed: before it counts as
    // begun.
    let targets = Targets::of(cx, servers).await?;
    step.begin()?;
    crash::reached("before a command");
    let done = on_each(cx, targets, async |cx, host| {
        run_on(cx, host, command, options.clone()).await
    });
    let done = done.await;
    crash::reached("after a command");
    done
}

async fn wait_for_ssh(cx: &Context, servers: &Dynamic, options: Within) -> Result<()> {
    let timeout = seconds("timeout", options.timeout)?;
    let list = servers.read_lock::<Array>().map(|list| list.clone());
    let explained_one = async |server: &Dynamic| match let_in(cx, server, timeout).await {
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

async fn let_in(cx: &Context, server: &Dynamic, timeout: Duration) -> Result<()> {
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
            Err(e) if e.kind.retryable() => pace.pause(&e.message).await?,
            Err(e) => return Err(e),
        }
    }
}

async fn wait_for_port(cx: &Context, server: &Dynamic, port: i64, options: Within) -> Result<()> {
    let timeout = seconds("timeout", options.timeout)?;
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
            Err(e) if e.kind.retryable() => pace.pause(&e.message).await,
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
    let timeout = options.timeout.map(|t| seconds("timeout", t)).transpose()?;
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
        let error = failed(&host, command, &finished);
        return Err(match &options.cwd {
            Some(cwd) if result.stderr.contains("cd: ") => {
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
fn failed(host: &Host, command: &str, finished: &Finished) -> Error {
    let how = match &finished.signal {
        Some(signal) => format!("was ended by SIG{signal}"),
        None => format!("failed with status {}", finished.status),
    };
    let said = [&finished.stderr, &finished.stdout]
        .into_iter()
        .map(|output| ssh::tail(output, SHOWN_LINES))
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
