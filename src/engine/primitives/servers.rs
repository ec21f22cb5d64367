//! Instances as values of a playbook: the map that it receives, the argument that
//! it passes, and how to reach the instance.

use std::iter::successors;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rhai::Dynamic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::host_keys::HostKey;
use super::host_map::KnownHost;
use crate::clients::ec2::{Instance, InstanceState, no_instance};
use crate::clients::ssh::{Configuration, Host, Trust};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ResourceKind;
use crate::script::{self, HostValue, NameOr, Named, ResultKind};

/// Limit for the EC2 request that finds out why ssh failed.
const EXPLAINS_WITHIN: Duration = Duration::from_secs(5);

/// The user of an instance whose image is not known: Amazon Linux's.
pub(super) fn ec2_user() -> String {
    "ec2-user".to_owned()
}

/// The map of an instance: the description by EC2 and how to log in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Server {
    /// "instance".
    kind: ResultKind,
    #[serde(flatten)]
    pub(super) instance: Instance,
    /// The user that `ssh_exec` and `scp` log in as.
    user: String,
    /// Path of the private key file; `()` if it is not known.
    key: Option<PathBuf>,
    /// "verified" after the ssh host key has been compared with the console
    /// output, else "unverified".
    host_key: HostKey,
    /// How to reach the instance: the map that `host` returned for it, with its
    /// jump host and other settings. Present only in the results of functions
    /// that were called with such a map, for example `wait_until_ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HostValue")]
    host: Option<KnownHost>,
}

/// An instance as an argument of a function.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServerRef {
    /// The id of the instance.
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    /// The login user, if the playbook or an earlier result named one.
    #[serde(default)]
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) key: Option<PathBuf>,
    #[serde(default)]
    pub(super) public_ip: Option<String>,
    #[serde(default)]
    pub(super) private_ip: Option<String>,
    /// How to reach the instance, if the playbook specified it with `host`.
    #[serde(default)]
    pub(super) host: Option<Host>,
}

impl Named for ServerRef {
    const EXPECTED: &'static str =
        "an id like \"i-0abc\", or the map that launch_instance returned";
}

impl ServerRef {
    /// Reads an id, a map that `launch_instance` returned, or the map that
    /// `host` returned for such a map.
    pub(super) fn from_value(cx: &Context, value: &Dynamic) -> Result<Self> {
        let server = if is_host(value) {
            Self::of_host(script::argument("server", value)?)?
        } else {
            match script::argument("server", value)? {
                NameOr::Name(id) => Self::by_id(id),
                NameOr::Map(server) => server,
            }
        };
        server.host.iter().for_each(|host| mask_secrets(cx, host));
        if !server.id.starts_with("i-") {
            return Err(
                Error::invalid(format!("`{}` is not an instance id", server.id))
                    .hint("pass the map that launch_instance returned, or an id like \"i-0abc\""),
            );
        }
        Ok(server)
    }

    pub(super) fn by_id(id: String) -> Self {
        Self {
            id,
            name: String::new(),
            user: None,
            key: None,
            public_ip: None,
            private_ip: None,
            host: None,
        }
    }

    fn of_host(host: Host) -> Result<Self> {
        let id = match &host.trust {
            Trust::Instance(id) => id.clone(),
            Trust::KnownHosts | Trust::Fingerprint(_) => {
                return Err(
                    Error::invalid(format!("`{}` is not known as an instance", host.name)).hint(
                        "pass the map that launch_instance returned, or host() of that map \
                         without `host_key`",
                    ),
                );
            }
        };
        Ok(Self {
            name: host.name.clone(),
            user: Some(host.user.clone()),
            key: host.key.clone(),
            host: Some(host),
            ..Self::by_id(id)
        })
    }

    /// Returns the map of an instance.
    pub(super) async fn with(self, cx: &Context, instance: Instance) -> Server {
        let server = self.with_user(cx, &instance).await;
        Server {
            kind: ResultKind::Instance,
            host_key: HostKey::from_pin(cx, &instance.id),
            instance,
            user: server.user.unwrap_or_else(ec2_user),
            key: server.key,
            host: server.host.map(KnownHost::from),
        }
    }

    /// Adds the login user of the instance's image, if no user is known.
    pub(super) async fn with_user(self, cx: &Context, instance: &Instance) -> Self {
        let user = match &self.user {
            Some(user) => user.clone(),
            None => Users::of(cx, std::slice::from_ref(instance))
                .await
                .of_one(instance),
        };
        Self {
            user: Some(user),
            ..self
        }
    }
}

/// The login users of images, by image id.
pub(super) struct Users(Vec<(String, String)>);

impl Users {
    /// Looks up the images of these instances. Does not fail: a login as another
    /// user has an error of its own.
    pub(super) async fn of(cx: &Context, instances: &[Instance]) -> Self {
        let mut images: Vec<String> = instances.iter().map(|i| i.image.clone()).collect();
        images.retain(|id| !id.is_empty());
        images.sort_unstable();
        images.dedup();
        if images.is_empty() {
            return Self(Vec::new());
        }
        let ask = async { cx.clients.ec2().await?.login_users(&images).await };
        Self(ask.await.unwrap_or_else(|error| {
            cx.report.debug(error.to_string());
            Vec::new()
        }))
    }

    /// Returns the user of an instance.
    pub(super) fn of_one(&self, instance: &Instance) -> String {
        let known = self.0.iter().find(|(image, _)| *image == instance.image);
        known.map_or_else(ec2_user, |(_, user)| user.clone())
    }
}

/// Masks the secrets of a host and of its jump hosts. A playbook can pass a map
/// that it wrote itself, whose secrets `host` has not masked.
pub(super) fn mask_secrets(cx: &Context, host: &Host) {
    for host in successors(Some(host), |host| host.via.as_deref()) {
        let secrets = host.passphrase.iter().chain(&host.password);
        let secrets = secrets.chain(&host.sudo_password);
        secrets.for_each(|secret| cx.report.mask().add(&secret.0));
    }
}

/// Returns whether a value is a map that `host` returned.
pub(super) fn is_host(value: &Dynamic) -> bool {
    ResultKind::of(value) == Some(ResultKind::Host)
}

/// Does the work for one server, or for each of an array at the same time.
/// Returns one result or an array of results in the same order.
pub(super) async fn each<T: Serialize>(
    cx: &Context,
    servers: &Dynamic,
    work: impl AsyncFn(ServerRef) -> Result<T>,
) -> Result<Value> {
    let json = |value: T| {
        serde_json::to_value(value)
            .map_err(|e| Error::internal(format!("cannot convert the result: {e}")))
    };
    let Some(list) = servers.read_lock::<rhai::Array>() else {
        return json(work(ServerRef::from_value(cx, servers)?).await?);
    };
    let list = list.iter().map(|server| ServerRef::from_value(cx, server));
    let list = list.collect::<Result<Vec<_>>>()?;
    let done = join_all(list.into_iter().map(async |server| work(server).await)).await;
    done.into_iter()
        .map(|result| result.and_then(json))
        .collect::<Result<Vec<_>>>()
        .map(Value::Array)
}

/// Returns the id of a server, or the ids of an array of servers.
pub(super) fn ids(cx: &Context, servers: &Dynamic) -> Result<Vec<String>> {
    match servers.read_lock::<rhai::Array>() {
        None => Ok(vec![ServerRef::from_value(cx, servers)?.id]),
        Some(list) => {
            let ids = list
                .iter()
                .map(|server| Ok(ServerRef::from_value(cx, server)?.id));
            ids.collect()
        }
    }
}

/// Returns EC2's description of an instance. Retries within the retry window if
/// this run has just launched the instance, because EC2 may not know it yet.
pub(super) async fn described(cx: &Context, id: &str) -> Result<Instance> {
    let ec2 = cx.clients.ec2().await?;
    let ask = async || ec2.instance(id).await;
    let seen = match cx.ledger.live_row(ResourceKind::Instance, id) {
        Some(row) => cx.seen(&row, ask).await?,
        None => ask().await?,
    };
    seen.ok_or_else(|| no_instance(id))
}

/// Returns how to reach an instance.
pub(super) fn instance_host(server: &ServerRef, instance: &Instance) -> Result<Host> {
    let known = server.host.as_ref();
    if let Some(host) = known.filter(|host| host.ssm.is_some()) {
        return Ok(host.clone());
    }
    let through = known.is_some_and(|host| host.via.is_some());
    // A jump host reaches the instance at its private address.
    let addresses = if through {
        [&instance.private_ip, &instance.public_ip]
    } else {
        [&instance.public_ip, &instance.private_ip]
    };
    let address = addresses.into_iter().flatten().next().ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("{} has no address yet", server.id),
        )
        .hint(
            not_running(instance)
                .unwrap_or_else(|| "call `server = wait_until_ready(server)` first".to_owned()),
        )
    })?;
    if let Some(host) = &server.host {
        return Ok(Host {
            address: address.clone(),
            ..host.clone()
        });
    }
    let name = [&instance.name, &server.name]
        .into_iter()
        .find(|name| !name.is_empty());
    Ok(Host {
        name: name.unwrap_or(&server.id).clone(),
        address: address.clone(),
        port: 22,
        user: server.user.clone().unwrap_or_else(ec2_user),
        key: server.key.clone(),
        trust: Trust::Instance(server.id.clone()),
        passphrase: None,
        password: None,
        sudo_password: None,
        via: None,
        ssm: None,
        configuration: Configuration::Open,
        settings: Arc::default(),
    })
}

/// Adds a hint to an ssh error if EC2's description of the instance or of a jump
/// host explains it: the instance does not run, or its address has changed.
pub(super) async fn explained(cx: &Context, host: &Host, error: Error) -> Error {
    if !matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout) {
        return error;
    }
    for on_the_way in successors(Some(host), |host| host.via.as_deref()) {
        if let Some(instance) = instance_of(cx, on_the_way).await
            && let Some(why) = explanation(on_the_way, &instance)
        {
            return error.hint(why);
        }
    }
    error
}

fn explanation(host: &Host, instance: &Instance) -> Option<String> {
    let stopped = not_running(instance);
    if host.ssm.is_some() {
        return stopped;
    }
    let addresses = [&instance.public_ip, &instance.private_ip];
    let mut addresses = addresses.into_iter().flatten();
    let current = addresses.clone().next();
    stopped.or_else(|| {
        let known = addresses.any(|address| *address == host.address);
        current.filter(|_| !known).map(|current| {
            format!(
                "{} now has the address {current}: pass the map that describe_instance returns, \
                 also as `via` of host()",
                named(instance)
            )
        })
    })
}

/// Returns why an instance cannot answer, and what to do.
pub(super) fn not_running(instance: &Instance) -> Option<String> {
    let id = named(instance);
    match instance.state {
        InstanceState::Stopped => Some(format!(
            "{id} is stopped; start_instance starts it and returns its new address"
        )),
        InstanceState::Stopping => Some(format!(
            "{id} is stopping; start_instance starts it again and returns its new address"
        )),
        InstanceState::ShuttingDown | InstanceState::Terminated => Some(format!(
            "{id} is terminated and cannot be started again; launch another instance"
        )),
        InstanceState::Pending | InstanceState::Running | InstanceState::Unknown => None,
    }
}

/// Formats `i-0abc (web)`.
fn named(instance: &Instance) -> String {
    match instance.name.as_str() {
        "" => instance.id.clone(),
        name => format!("{} ({name})", instance.id),
    }
}

/// Returns the error of a wait that cannot succeed, because a jump host does not
/// run or has another address.
pub(super) async fn stuck(cx: &Context, host: &Host, error: &Error) -> Option<Error> {
    for via in successors(host.via.as_deref(), |host| host.via.as_deref()) {
        if let Some(instance) = instance_of(cx, via).await
            && let Some(why) = explanation(via, &instance)
        {
            return Some(error.clone().hint(why));
        }
    }
    None
}

/// Returns EC2's description of the instance behind a host. Returns `None` if the
/// host is not an instance, or if EC2 does not answer in time.
async fn instance_of(cx: &Context, host: &Host) -> Option<Instance> {
    let Trust::Instance(id) = &host.trust else {
        return None;
    };
    let ask = async { cx.clients.ec2().await?.instance(id).await };
    let asked = tokio::time::timeout(EXPLAINS_WITHIN, ask).await;
    asked.ok()?.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_login_is_explained_by_the_state_or_the_address() {
        let server = ServerRef::by_id("i-0a".to_owned());
        let seen = |state: InstanceState, address: Option<&str>| Instance {
            id: "i-0a".to_owned(),
            state,
            public_ip: address.map(str::to_owned),
            private_ip: Some("10.0.0.7".to_owned()),
            ..Instance::default()
        };
        let host =
            instance_host(&server, &seen(InstanceState::Running, Some("203.0.113.7"))).unwrap();
        let explained = |state, address| explanation(&host, &seen(state, address));
        assert_eq!(explained(InstanceState::Running, Some("203.0.113.7")), None);
        let moved = explained(InstanceState::Running, Some("203.0.113.8")).unwrap();
        assert!(moved.contains("now has the address 203.0.113.8"), "{moved}");
        let stopped = explained(InstanceState::Stopped, None).unwrap();
        assert!(stopped.contains("start_instance starts it"), "{stopped}");
        let gone = explained(InstanceState::Terminated, None).unwrap();
        assert!(gone.contains("cannot be started again"), "{gone}");
    }

    #[test]
    fn a_jump_host_uses_the_private_address() {
        let seen = Instance {
            id: "i-0a".to_owned(),
            public_ip: Some("203.0.113.7".to_owned()),
            private_ip: Some("10.0.0.7".to_owned()),
            ..Instance::default()
        };
        let mut server = ServerRef::by_id("i-0a".to_owned());
        let mut host = instance_host(&server, &seen).unwrap();
        assert_eq!(host.address, "203.0.113.7");
        host.via = Some(Box::new(host.clone()));
        server.host = Some(host);
        assert_eq!(instance_host(&server, &seen).unwrap().address, "10.0.0.7");
    }
}
