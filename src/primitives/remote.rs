//! Commands and files on hosts, over ssh.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::host_keys::{Again, compare_with_console, pin_first_key};
use super::servers::{ServerRef, instance_host};
use super::{file_state, seconds};
use crate::clients::ec2::Instance;
use crate::clients::ssh::{self, Command, Finished, Host, Stdin, Trust};
use crate::context::Context;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::text;
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
    /// Its host key must be in `~/.ssh/known_hosts`, or be named here. Nothing
    /// is connected to yet.
    ///
    /// - `user` (string): by default the user who runs autorun.
    /// - `port` (integer, 22).
    /// - `key` (string): private key file; by default the ssh agent and the
    ///   usual files in `~/.ssh`.
    /// - `host_key` (string): its fingerprint, as "SHA256:...".
    /// - `name` (string): how the log calls it; by default the address.
    ///
    /// Throws `invalid_option`.
    ///
    /// ```rhai
    /// let db = host("db.example.com", #{ user: "admin", port: 2222 });
    /// ```
    #[rhai_fn(name = "host", return_raw)]
    pub fn host_with(
        call: NativeCallContext,
        address: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            super::host(cx, &address, script::options(options)?)
        })
    }

    #[rhai_fn(return_raw)]
    pub fn host(call: NativeCallContext, address: ImmutableString) -> Outcome<Dynamic> {
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
    /// - `sudo` (bool, false): run as root; needs sudo without a password.
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

    /// Copies a local file to a host, or to each of an array of hosts at once.
    ///
    /// `target` is a path there; a relative one starts at the home directory,
    /// and in a directory the file keeps its name. The file appears under its
    /// final name only when it is complete: its size is compared there first.
    /// Gives a map with `path`, `size` and `seconds`.
    ///
    /// - `mode` (string): permissions, as "0644"; by default those of the
    ///   local file.
    /// - `sudo` (bool, false): write as root.
    /// - `timeout` (seconds).
    ///
    /// Throws `not_found` when the local file does not exist, `command_failed`
    /// when the target cannot be written, `timeout`, `unreachable`, `denied`,
    /// `host_key_changed`.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// scp(web, "assets/check_webserver.py", "check_webserver.py");
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
            super::scp(
                cx,
                step,
                &server,
                &source,
                &target,
                script::options(options)?,
            )
            .await
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
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostOptions {
    user: Option<String>,
    port: Option<u16>,
    key: Option<PathBuf>,
    host_key: Option<String>,
    name: Option<String>,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scp {
    mode: Option<String>,
    #[serde(default)]
    sudo: bool,
    timeout: Option<f64>,
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

/// What `scp` gives.
#[derive(Debug, Serialize)]
struct Copied {
    path: String,
    size: u64,
    seconds: f64,
}

fn host(cx: &Context, address: &str, options: HostOptions) -> Result<Host> {
    let (user, address) = match address.split_once('@') {
        Some((user, address)) => (Some(user.to_owned()), address),
        None => (None, address),
    };
    if address.is_empty() || address.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(format!(
            "`{address}` is not a host name or address"
        )));
    }
    if options.port == Some(0) {
        return Err(Error::invalid("option `port`: it must be from 1 to 65535"));
    }
    let blank = |user: &&String| user.is_empty() || user.chars().any(char::is_whitespace);
    if let Some(user) = options.user.iter().chain(&user).find(blank) {
        return Err(Error::invalid(format!("`{user}` is not a user name")));
    }
    let user = options
        .user
        .or(user)
        .or_else(|| cx.clients.local.user.clone());
    let trust = match options.host_key {
        None => Trust::KnownHosts,
        Some(fingerprint) if is_fingerprint(&fingerprint) => {
            Trust::Fingerprint(fingerprint.trim_end_matches('=').to_owned())
        }
        Some(other) => {
            return Err(
                Error::invalid(format!("option `host_key`: `{other}` is no fingerprint"))
                    .hint("write it as `ssh-keygen -l -f KEY.pub` shows it: \"SHA256:...\""),
            );
        }
    };
    Ok(Host {
        name: options.name.unwrap_or_else(|| address.to_owned()),
        address: address.to_owned(),
        port: options.port.unwrap_or(22),
        user: user.ok_or_else(|| Error::invalid("no user name is known").hint("pass `user`"))?,
        key: options.key.map(|key| cx.clients.local.expand(&key)),
        trust,
    })
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
    if let Ok(address) = value.clone().into_immutable_string()
        && !address.starts_with("i-")
    {
        return host(cx, &address, HostOptions::default());
    }
    if value
        .read_lock::<Map>()
        .is_some_and(|map| map.contains_key("trust"))
    {
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
    // Launched without waiting: its address is known by now, or not yet.
    let host = if let Ok(host) = instance_host(&server, &described) {
        host
    } else {
        let ids = [server.id.clone()];
        let seen = cx.clients.ec2().await?.instances(&ids).await?;
        instance_host(&server, &seen[0])?
    };
    pin_first_key(cx, &host, &server.id).await?;
    compare_with_console(cx, &host, &server.id, Again::No).await?;
    Ok(host)
}

/// The host that is meant, or those: one that cannot be reached must not keep
/// the others waiting, so they are looked up one by one.
enum Targets {
    One(Host),
    Each(Array),
}

impl Targets {
    async fn of(cx: &Context, servers: &Dynamic) -> Result<Self> {
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
async fn on_each<T: Serialize>(
    cx: &Context,
    targets: Targets,
    work: impl AsyncFn(Host) -> Result<T>,
) -> Result<Value> {
    let json = |value: T| {
        serde_json::to_value(value).map_err(|e| Error::internal(format!("cannot show it: {e}")))
    };
    let list = match targets {
        Targets::One(host) => return json(work(host).await?),
        Targets::Each(list) => list,
    };
    let one = async |server: Dynamic| {
        let host = target(cx, &server).await?;
        let name = host.name.clone();
        work(host)
            .await
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
    let done = on_each(cx, targets, async |host| {
        run_on(cx, host, command, options.clone()).await
    });
    let done = done.await;
    crash::reached("after a command");
    done
}

async fn wait_for_ssh(cx: &Context, servers: &Dynamic, options: Within) -> Result<()> {
    let timeout = seconds("timeout", options.timeout)?;
    let list = servers.read_lock::<Array>().map(|list| list.clone());
    let Some(list) = list else {
        return let_in(cx, servers, timeout).await;
    };
    let waits = list.iter().map(|server| let_in(cx, server, timeout));
    let done = join_all(waits).await;
    gathered(done).map(drop)
}

async fn let_in(cx: &Context, server: &Dynamic, timeout: Duration) -> Result<()> {
    let mut pace = cx.pace("ssh to let us in".to_owned(), timeout);
    let mut refused_at = None;
    loop {
        let tried = async {
            // Of a new instance this asks for its key.
            let host = target(cx, server).await?;
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
    let address = match server.clone().into_immutable_string() {
        Ok(address) if !address.starts_with("i-") => address.to_string(),
        _ => reachable_at(cx, server).await?,
    };
    let mut pace = cx.pace(format!("port {port} of {address} to accept"), timeout);
    loop {
        let connect = tokio::net::TcpStream::connect((address.as_str(), port));
        let one_try = pace.left().min(ONE_TRY);
        match tokio::time::timeout(one_try, connect).await {
            Ok(Ok(_)) => {
                cx.report.info(format!(
                    "port {port} of {address} accepts after {}",
                    text::duration(pace.elapsed())
                ));
                return Ok(());
            }
            Ok(Err(e)) => pace.pause(&e.to_string()).await?,
            Err(_) => pace.pause("no answer").await?,
        }
    }
}

/// The address of a host or an instance, without its host key: nothing is said
/// to it.
async fn reachable_at(cx: &Context, server: &Dynamic) -> Result<String> {
    if let Some(address) = server
        .read_lock::<Map>()
        .filter(|map| map.contains_key("trust"))
        .and_then(|map| map.get("address")?.clone().into_string().ok())
    {
        return Ok(address);
    }
    let server = ServerRef::of(server)?;
    let seen = cx
        .clients
        .ec2()
        .await?
        .instances(std::slice::from_ref(&server.id))
        .await?;
    instance_host(&server, &seen[0]).map(|host| host.address)
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

/// A local file that is copied.
struct Source {
    /// As the playbook names it.
    shown: String,
    path: PathBuf,
    size: u64,
    mode: u32,
}

async fn scp(
    cx: &Context,
    step: &mut Step,
    servers: &Dynamic,
    source: &str,
    to: &str,
    options: Scp,
) -> Result<Value> {
    let path = cx.clients.local.expand(Path::new(source));
    let about = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?;
    if !about.is_file() {
        return Err(Error::invalid(format!("`{source}` is not a regular file")));
    }
    if to.is_empty() || to.contains('\0') {
        return Err(Error::invalid("argument `target`: it must name a path"));
    }
    let source = Source {
        shown: source.to_owned(),
        size: about.len(),
        mode: match &options.mode {
            Some(text) => mode(text)?,
            None => about.permissions().mode() & 0o7777,
        },
        path,
    };
    if let Some(timeout) = options.timeout {
        seconds("timeout", timeout)?;
    }
    File::open(&source.path).map_err(|e| Error::io("read", &source.path, &e))?;
    if let Some(recorded) = step.recorded::<Value>() {
        step.replay();
        return Ok(recorded);
    }
    let targets = Targets::of(cx, servers).await?;
    step.begin()?;
    crash::reached("before a copy");
    let done = on_each(cx, targets, async |host| {
        copy_to(cx, host, &source, to, &options).await
    });
    let done = done.await;
    crash::reached("after a copy");
    done
}

/// Copies a file to one host.
async fn copy_to(
    cx: &Context,
    host: Host,
    source: &Source,
    to: &str,
    options: &Scp,
) -> Result<Copied> {
    let timeout = options.timeout.map(|t| seconds("timeout", t)).transpose()?;
    let name = source
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let file = File::open(&source.path).map_err(|e| Error::io("read", &source.path, &e))?;
    let started = Instant::now();
    let finished = cx
        .clients
        .ssh()
        .run(
            &host,
            Command {
                command: ssh::copy_command(&name, to, source.size, source.mode),
                stdin: Stdin::File(file, source.size),
                sudo: options.sudo,
                timeout,
                ..Command::default()
            },
            &cx.report,
        )
        .await?;
    if finished.status != 0 {
        return Err(not_copied(&host, &source.shown, to, &finished));
    }
    let path = String::from_utf8_lossy(&finished.stdout).into_owned();
    cx.report.info(format!(
        "copied {} to {}:{path} ({} in {})",
        source.shown,
        host.name,
        text::bytes(source.size),
        text::duration(started.elapsed())
    ));
    Ok(Copied {
        path,
        size: source.size,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Permissions as `chmod` takes them: octal digits.
pub(super) fn mode(text: &str) -> Result<u32> {
    Some(text)
        .filter(|mode| mode.chars().all(|c| c.is_digit(8)))
        .and_then(|mode| u32::from_str_radix(mode, 8).ok())
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| Error::invalid(format!("option `mode`: `{text}` is not octal, as \"0644\"")))
}

fn not_copied(host: &Host, source: &str, to: &str, finished: &Finished) -> Error {
    let said = ssh::tail(&finished.stderr, 3);
    let kind = if said.contains("No space left") || said.contains("quota exceeded") {
        ErrorKind::QuotaExceeded
    } else {
        ErrorKind::CommandFailed
    };
    // Of the name that a copy has until it is whole, nobody wants to hear.
    let reason = match said.rsplit_once(": ") {
        Some((of, reason)) if of.contains(".autorun-") => reason,
        _ => &said,
    };
    let error = Error::new(
        kind,
        format!("cannot copy `{source}` to {}:{to}: {reason}", host.name),
    )
    .detail(serde_json::json!({
        "status": finished.status, "stdout": "", "stderr": said,
    }));
    if kind == ErrorKind::QuotaExceeded {
        return error.hint("make room there: ssh_exec(server, \"df -h\") shows its disks");
    }
    if said.contains("Permission denied") {
        return error.hint("pass `sudo: true`, or a target that the user may write");
    }
    if said.contains("No such file or directory")
        || said.contains("nonexistent")
        || said.contains("does not exist")
    {
        return match to.rsplit_once('/') {
            Some((directory, _)) if !directory.is_empty() => error.hint(format!(
                "make the directory first: ssh_exec(server, \"mkdir -p {}\")",
                shell_words::quote(directory)
            )),
            _ => error,
        };
    }
    error
}
