//! Instances on their way through a playbook: what it sees, what it passes on,
//! and how to reach them.

use std::path::PathBuf;

use futures_util::future::join_all;
use rhai::Dynamic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clients::ec2::{Instance, no_instance};
use crate::clients::ssh::{Host, Trust};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ResourceKind;
use crate::script;

/// The user of Amazon Linux images.
const AMAZON_LINUX_USER: &str = "ec2-user";

/// The default of `user`.
pub(super) fn ec2_user() -> String {
    AMAZON_LINUX_USER.to_owned()
}

/// An instance as a playbook sees it: EC2's description and how to log in.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Server {
    #[serde(flatten)]
    pub(super) instance: Instance,
    user: String,
    key: Option<PathBuf>,
}

/// An instance as a playbook passes it on.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServerRef {
    /// AWS's id.
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default = "ec2_user")]
    pub(super) user: String,
    #[serde(default)]
    pub(super) key: Option<PathBuf>,
    #[serde(default)]
    pub(super) public_ip: Option<String>,
    #[serde(default)]
    pub(super) private_ip: Option<String>,
}

impl ServerRef {
    /// From an id or from what `launch_instance` gave.
    pub(super) fn of(value: &Dynamic) -> Result<Self> {
        let server = match value.clone().into_immutable_string() {
            Ok(id) => Self::by_id(id.into()),
            Err(_) => script::argument("server", value)?,
        };
        if !server.id.starts_with("i-") {
            return Err(
                Error::invalid(format!("`{}` is not an instance's id", server.id))
                    .hint("pass what launch_instance gave, or an id as \"i-0abc\""),
            );
        }
        Ok(server)
    }

    pub(super) fn by_id(id: String) -> Self {
        Self {
            id,
            name: String::new(),
            user: ec2_user(),
            key: None,
            public_ip: None,
            private_ip: None,
        }
    }

    pub(super) fn with(self, instance: Instance) -> Server {
        Server {
            instance,
            user: self.user,
            key: self.key,
        }
    }
}

/// Does the work for one server or for each of an array, all at once, and
/// gives the results in the same shape.
pub(super) async fn each<T: Serialize>(
    servers: &Dynamic,
    work: impl AsyncFn(ServerRef) -> Result<T>,
) -> Result<Value> {
    let json = |value: T| {
        serde_json::to_value(value).map_err(|e| Error::internal(format!("cannot show it: {e}")))
    };
    let Some(list) = servers.read_lock::<rhai::Array>() else {
        return json(work(ServerRef::of(servers)?).await?);
    };
    let list = list.iter().map(ServerRef::of).collect::<Result<Vec<_>>>()?;
    let done = join_all(list.into_iter().map(async |server| work(server).await)).await;
    done.into_iter()
        .map(|result| result.and_then(json))
        .collect::<Result<Vec<_>>>()
        .map(Value::Array)
}

/// What EC2 says of an instance. Of one that this run launched a moment ago it
/// may deny that it exists.
pub(super) async fn described(cx: &Context, id: &str) -> Result<Instance> {
    let ec2 = cx.clients.ec2().await?;
    let ask = async || ec2.instance(id).await;
    let seen = match cx.ledger.live_row(ResourceKind::Instance, id) {
        Some(row) => cx.seen(&row, ask).await?,
        None => ask().await?,
    };
    seen.ok_or_else(|| no_instance(id))
}

/// How to reach an instance.
pub(super) fn instance_host(server: &ServerRef, instance: &Instance) -> Result<Host> {
    let address = instance
        .public_ip
        .as_ref()
        .or(instance.private_ip.as_ref())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("{} has no address yet", server.id),
            )
            .hint("call `server = wait_until_ready(server)` first")
        })?;
    let name = [&instance.name, &server.name]
        .into_iter()
        .find(|name| !name.is_empty());
    Ok(Host {
        name: name.unwrap_or(&server.id).clone(),
        address: address.clone(),
        port: 22,
        user: server.user.clone(),
        key: server.key.clone(),
        trust: Trust::Instance(server.id.clone()),
        passphrase: None,
        sudo_password: None,
        via: None,
    })
}
