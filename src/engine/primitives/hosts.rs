//! Hosts as arguments of a function: an address, a map that `host` or
//! `launch_instance` returned, or an array of these. Work on the hosts of an array
//! is done at the same time.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::{future, stream};
use rhai::{Array, Dynamic, ImmutableString};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::control::label;
use super::fanout::{Fanout, Results, failed_on_hosts, gathered};
use super::host_keys::{compare_or_warn, pin_first_key};
use super::host_map::KnownHost;
use super::rehearsed::is_outside;
use super::servers::{ServerRef, explained, instance_host, is_host, mask_secrets};
use super::variables::declare_secret;
use crate::clients::ec2::Instance;
use crate::clients::ssh::{
    Address, Configuration, Host, Question, Secret, Trust, allow_open_files, is_fingerprint,
    is_user,
};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, text};
use crate::script::{self, HostValue};

/// The value of the option `via` for Systems Manager.
const SSM: &str = "ssm";

/// How many hosts have a line each in the log when the work on them ends.
const SHOWN: usize = 20;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HostOptions {
    /// The user to log in as. The default is the user who runs autorun; for an
    /// instance, the `user` of its map.
    user: Option<String>,
    /// TCP port of the ssh server. The default is 22.
    port: Option<u16>,
    /// Path of the private key file, or of the public key of one in the ssh agent.
    /// By default the agent and the usual files in `~/.ssh` are tried.
    key: Option<PathBuf>,
    /// Passphrase of the key file, usually from a secret variable. Without it,
    /// an encrypted key must be in the ssh agent.
    passphrase: Option<Secret>,
    /// Password for the login, usually from a secret variable. Without `key`,
    /// keys are used only if the host requires both.
    password: Option<Secret>,
    /// Password for sudo on the host, usually from a secret variable. Without
    /// it, `sudo: true` needs sudo without a password.
    sudo_password: Option<Secret>,
    /// Jump host through which the host is reached: an address, or a map that
    /// `launch_instance` or `host` returned. As with `ssh -J`, keys and
    /// passwords stay on this machine. Or "ssm": the instance is reached through
    /// AWS Systems Manager, without an open port or a public address.
    via: Option<HostValue>,
    /// Fingerprint of the host key, such as "SHA256:...". By default the key is
    /// looked up in the `known_hosts` files.
    host_key: Option<String>,
    /// Name of the host in the log. The default is the address.
    name: Option<String>,
    /// Path of a file to read in place of `~/.ssh/config` and
    /// `/etc/ssh/ssh_config`, or `false` to read none. The default is the path
    /// in the environment variable AUTORUN_SSH_CONFIG.
    #[schemars(with = "Option<Value>")]
    ssh_config: Option<SshConfig>,
}

/// The option `ssh_config`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected `false` or the path of a file")]
enum SshConfig {
    Switch(bool),
    File(PathBuf),
}

impl SshConfig {
    /// Returns the file that the option names.
    fn file(option: Option<&Self>, cx: &Context) -> Option<PathBuf> {
        match option {
            Some(Self::File(file)) => Some(cx.clients.local.expand(file)),
            _ => None,
        }
    }

    fn is_off(option: Option<&Self>) -> bool {
        matches!(option, Some(Self::Switch(false)))
    }
}

/// Builds a host and its jump host from the arguments of `host`.
pub(super) async fn host(
    cx: &Context,
    address: &Dynamic,
    mut options: HostOptions,
) -> Result<KnownHost> {
    let via = match options.via.take() {
        None => None,
        Some(HostValue(via)) if is_ssm(&via) => {
            return Ok(through_ssm(cx, address, options).await?.into());
        }
        Some(HostValue(via)) => {
            let way = async { configured(cx, &via, named(cx, &via)?).await };
            Some(way.await.map_err(|e| e.while_doing("option `via`"))?)
        }
    };
    let config = options.ssh_config.take();
    let mut host = if let Some(text) = text_of(address) {
        let mut host = addressed(cx, &text, options)?;
        match &mut host.configuration {
            Configuration::Of(_) if SshConfig::is_off(config.as_ref()) => {
                host.configuration = Configuration::Off;
            }
            Configuration::Of(question) => {
                question.via = via.is_some();
                question.file = SshConfig::file(config.as_ref(), cx);
            }
            Configuration::Open | Configuration::Off => {}
        }
        cx.clients.ssh().configured(host).await?
    } else {
        let host = adjusted(cx, with_address(cx, address).await?, options)?;
        instance_with(cx, host, via.is_some(), config.as_ref()).await?
    };
    if let Some(via) = via {
        // A jump host reaches the instance at its private address.
        if let (Trust::Instance(_), Ok(server)) = (&host.trust, ServerRef::from_value(cx, address))
            && let Some(private) = server.private_ip
        {
            host.address = private;
        }
        host.via = Some(Box::new(via));
    }
    Ok(host.into())
}

/// Whether the option `via` names Systems Manager.
fn is_ssm(via: &Dynamic) -> bool {
    via.read_lock::<ImmutableString>()
        .is_some_and(|via| via.as_str() == SSM)
}

/// Builds the host of an instance that is reached through Systems Manager.
async fn through_ssm(cx: &Context, address: &Dynamic, options: HostOptions) -> Result<Host> {
    if text_of(address).is_some() {
        return Err(Error::invalid(format!(
            "option `via`: Systems Manager reaches instances only, and `{address}` is an address"
        ))
        .hint("pass the map that launch_instance returned, or an instance id"));
    }
    if options.ssh_config.is_some() {
        return Err(Error::invalid(
            "option `ssh_config`: the ssh configuration does not apply with `via: \"ssm\"`",
        )
        .hint("remove `ssh_config`"));
    }
    let server = ServerRef::from_value(cx, address)?;
    // Its address is not used to reach it, and an id has none.
    let described = Instance {
        private_ip: server
            .private_ip
            .clone()
            .or_else(|| Some(server.id.clone())),
        ..Instance::default()
    };
    let mut host = adjusted(cx, instance_host(&server, &described)?, options)?;
    if host.via.is_some() {
        return Err(Error::invalid(format!(
            "option `via`: {} already has a jump host",
            host.name
        ))
        .hint("pass the map that launch_instance returned"));
    }
    host.configuration = Configuration::Off;
    host.ssm = Some(cx.clients.ssm_target(&server.id).await?);
    Ok(host)
}

/// Applies the option `ssh_config` to a host that a map or an id names.
async fn instance_with(
    cx: &Context,
    mut host: Host,
    via: bool,
    config: Option<&SshConfig>,
) -> Result<Host> {
    match config {
        None | Some(SshConfig::Switch(true)) => Ok(host),
        Some(_) if !matches!(host.trust, Trust::Instance(_)) => Err(Error::invalid(
            "option `ssh_config`: the map of a host already contains what the file says",
        )
        .hint("pass `ssh_config` together with the address")),
        Some(SshConfig::Switch(false)) => {
            host.configuration = Configuration::Off;
            Ok(host)
        }
        Some(SshConfig::File(_)) if via => Ok(host),
        Some(SshConfig::File(_)) => with_jump(cx, host, SshConfig::file(config, cx)).await,
    }
}

/// Returns the text of an address, which an instance id is not.
fn text_of(value: &Dynamic) -> Option<String> {
    let text = value.clone().into_string().ok()?;
    (!text.starts_with("i-")).then_some(text)
}

/// Builds a host from the text of an address, such as `user@address:port`. The
/// ssh configuration has not been asked.
fn addressed(cx: &Context, text: &str, options: HostOptions) -> Result<Host> {
    let address = Address::parse(text)?;
    if let (Some(one), Some(other)) = (address.port, options.port)
        && one != other
    {
        return Err(Error::invalid(format!(
            "option `port`: it is {other}, but `{text}` has the port {one}"
        ))
        .hint("name the port once"));
    }
    let named_user = options.user.clone().or_else(|| address.user.clone());
    let named_port = options.port.or(address.port);
    let unknown =
        || Error::invalid("cannot determine the user name for the login").hint("pass `user`");
    let user = named_user.clone().or_else(|| cx.clients.local.user.clone());
    let host = Host {
        name: address.host.clone(),
        address: address.host.clone(),
        port: named_port.unwrap_or(22),
        user: user.ok_or_else(unknown)?,
        key: None,
        trust: Trust::KnownHosts,
        passphrase: None,
        password: None,
        sudo_password: None,
        via: None,
        ssm: None,
        configuration: Configuration::Of(Question {
            name: address.host,
            user: named_user,
            port: named_port,
            file: None,
            via: false,
        }),
        settings: Arc::default(),
    };
    adjusted(cx, host, options)
}

/// Applies the options to a host.
fn adjusted(cx: &Context, mut host: Host, options: HostOptions) -> Result<Host> {
    if options.port == Some(0) {
        return Err(Error::invalid("option `port`: it must be from 1 to 65535"));
    }
    host.port = options.port.unwrap_or(host.port);
    host.user = options.user.unwrap_or(host.user);
    if !is_user(&host.user) {
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
        Some(fingerprint) if is_fingerprint(fingerprint.trim_end_matches('=')) => {
            host.trust = Trust::Fingerprint(fingerprint.trim_end_matches('=').to_owned());
        }
        Some(other) => {
            return Err(Error::invalid(format!(
                "option `host_key`: `{other}` is not a fingerprint"
            ))
            .hint("write it as `ssh-keygen -l -f KEY.pub` shows it: \"SHA256:...\""));
        }
    }
    if options.passphrase.is_some() && host.key.is_none() {
        return Err(Error::invalid("option `passphrase`: there is no key file")
            .hint("pass `key`, the key file that the passphrase unlocks"));
    }
    let secrets = [
        ("passphrase", &options.passphrase),
        ("password", &options.password),
        ("sudo_password", &options.sudo_password),
    ];
    for (name, secret) in secrets {
        if let Some(Secret(secret)) = secret {
            declare_secret(cx, &format!("option `{name}`"), secret)?;
            check_line(name, secret)?;
        }
    }
    host.passphrase = options.passphrase.or(host.passphrase);
    host.password = options.password.or(host.password);
    host.sudo_password = options.sudo_password.or(host.sudo_password);
    Ok(host)
}

/// Checks that a secret has one line, because it is sent on one line.
fn check_line(name: &str, secret: &str) -> Result<()> {
    if secret.contains(['\n', '\r', '\0']) {
        return Err(Error::invalid(format!(
            "option `{name}`: the secret has more than one line"
        ))
        .hint("if it was read from a file, remove the newline at its end with trim()"));
    }
    Ok(())
}

/// Returns the host that a value names, without a request to AWS and without the
/// ssh configuration.
fn named(cx: &Context, value: &Dynamic) -> Result<Host> {
    if let Some(text) = text_of(value) {
        return addressed(cx, &text, HostOptions::default());
    }
    if is_host(value) {
        let host = script::argument("server", value)?;
        mask_secrets(cx, &host);
        return Ok(host);
    }
    let server = ServerRef::from_value(cx, value).map_err(|e| match e.hint {
        Some(_) => e,
        None => e.hint("pass the map that launch_instance or host returned, or an address"),
    })?;
    let described = Instance {
        public_ip: server.public_ip.clone(),
        private_ip: server.private_ip.clone(),
        ..Instance::default()
    };
    instance_host(&server, &described)
}

/// Returns the host that a value names. The address and the host key of an
/// instance are looked up.
pub(super) async fn target(cx: &Context, value: &Dynamic) -> Result<Host> {
    let host = located(cx, value).await?;
    match know_keys(cx, &host).await {
        Ok(()) => Ok(host),
        Err(error) => Err(explained(cx, &host, error).await),
    }
}

/// Returns the host that a value names, with the ssh configuration.
pub(super) async fn located(cx: &Context, value: &Dynamic) -> Result<Host> {
    let host = with_address(cx, value).await?;
    configured(cx, value, host).await
}

/// Returns the host that a value names. If the value is an instance id, or the instance
/// had no address when its map was returned, the address is looked up.
async fn with_address(cx: &Context, value: &Dynamic) -> Result<Host> {
    match named(cx, value) {
        Err(error) if error.kind == ErrorKind::NotFound => {
            let server = ServerRef::from_value(cx, value)?;
            let ids = [server.id.clone()];
            let seen = cx.clients.ec2().await?.instances(&ids).await?;
            instance_host(&server.with_user(cx, &seen[0]).await, &seen[0])
        }
        named => named,
    }
}

/// Applies the ssh configuration to the host that a value names. The map that
/// `host` returned already contains what it says.
async fn configured(cx: &Context, value: &Dynamic, host: Host) -> Result<Host> {
    match text_of(value) {
        Some(_) => cx.clients.ssh().configured(host).await,
        None => reached(cx, host).await,
    }
}

/// Completes the way to a host of a map: the settings of the ssh configuration
/// that the map does not have, and the jump host of an instance.
pub(super) async fn reached(cx: &Context, host: Host) -> Result<Host> {
    let host = cx.clients.ssh().remembered(host).await?;
    with_jump(cx, host, None).await
}

/// Adds the jump host that the ssh configuration has for the address of an
/// instance on AWS.
async fn with_jump(cx: &Context, host: Host, file: Option<PathBuf>) -> Result<Host> {
    let applies = matches!(host.trust, Trust::Instance(_))
        && host.via.is_none()
        && host.ssm.is_none()
        && host.configuration.is_open()
        && !cx.clients.on_local_cloud();
    if !applies {
        return Ok(host);
    }
    cx.clients.ssh().through_configured_jump(host, file).await
}

/// Looks up the host keys of all instances on the way to a host, the first jump
/// host first.
pub(super) async fn know_keys(cx: &Context, host: &Host) -> Result<()> {
    if is_outside(cx, host) {
        note_session(cx, host).await;
        return Ok(());
    }
    if let Some(via) = &host.via {
        Box::pin(know_keys(cx, via)).await?;
    }
    if let Trust::Instance(id) = &host.trust {
        pin_first_key(cx, host, id).await?;
        compare_or_warn(cx, host, id).await?;
    }
    Ok(())
}

/// Notes in a rehearsal what the way to a host needs, without going it.
async fn note_session(cx: &Context, host: &Host) {
    if host.ssm.is_some()
        && let Ok(ssm) = cx.clients.ssm().await
    {
        ssm.note_session();
    }
}

/// One host, or the values of an array. The hosts of an array are looked up later,
/// each on its own: an unreachable host must not delay the others.
pub(super) enum Targets {
    One(Box<Host>),
    Each(Array),
}

impl Targets {
    pub(super) async fn resolve(cx: &Context, servers: &Dynamic) -> Result<Self> {
        let list = servers.read_lock::<Array>().map(|list| list.clone());
        match list {
            Some(list) => Ok(Self::Each(list)),
            None => Ok(Self::One(Box::new(target(cx, servers).await?))),
        }
    }
}

/// Does the work on one host, or on the hosts of an array, as `fanout` says. Returns
/// one result or an array of results in the same order. If the work fails on one
/// host, the others that have begun finish first; the error then has every failure
/// in its causes.
pub(super) async fn on_each<T: Serialize>(
    cx: &Context,
    targets: Targets,
    fanout: Fanout,
    work: impl AsyncFn(&Context, Host) -> Result<T>,
) -> Result<Value> {
    let json = |value: T| {
        serde_json::to_value(value)
            .map_err(|e| Error::internal(format!("cannot convert the result: {e}")))
    };
    let worked = async |cx: &Context, host: Host| match work(cx, host.clone()).await {
        Err(error) => Err(explained(cx, &host, error).await),
        done => done,
    };
    let list = match targets {
        Targets::One(host) => return json(worked(cx, *host).await?),
        Targets::Each(list) => list,
    };
    if list.is_empty() {
        cx.report.warn("the array of hosts is empty: nothing to do");
    }
    // The lines of many hosts would hide everything else.
    let level = match list.len() {
        0..=1 => None,
        2..=SHOWN => Some((Level::Info, Level::Warn)),
        _ => Some((Level::Debug, Level::Debug)),
    };
    let one = async |server: &Dynamic, name: &str| {
        let host = target(cx, server).await.map_err(|error| error.on(name))?;
        let name = host.name.clone();
        let cx = cx.working(&name);
        let started = Instant::now();
        let result = worked(&cx, host).await;
        // The progress line of the host disappears from the terminal; this line
        // stays.
        if let Some((done, failed)) = level {
            let took = text::duration(started.elapsed());
            match &result {
                Ok(_) => cx.report.log(done, format!("{name}: done in {took}")),
                Err(_) => cx
                    .report
                    .log(failed, format!("{name}: failed after {took}")),
            }
        }
        result.and_then(json).map_err(|error| error.on(&name))
    };
    let names: Vec<String> = list.iter().enumerate().map(label).collect();
    let schedule = fanout.schedule(list.len());
    allow_open_files(schedule.largest())?;
    let mut done: Results<Value> = list.iter().map(|_| None).collect();
    let failures = Cell::new(0);
    let mut worked_on = 0;
    for batch in &schedule.batches {
        // A host is taken from the list only when its work can begin.
        let allowed = stream::iter(batch.clone())
            .take_while(|_| future::ready(schedule.continues_after(failures.get())));
        let mut ended = allowed
            .map(async |at| (at, one(&list[at], &names[at]).await))
            .buffer_unordered(schedule.at_once);
        while let Some((at, result)) = ended.next().await {
            failures.set(failures.get() + usize::from(result.is_err()));
            done[at] = Some(result);
            worked_on += 1;
            cx.report
                .doing(&format!("{worked_on} of {} hosts done", list.len()));
        }
    }
    gathered(done, &names, failed_on_hosts, ErrorKind::CommandFailed).map(Value::Array)
}
