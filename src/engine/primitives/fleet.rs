//! Existing instances: finding, describing, stopping, starting and tagging them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::host_map::KnownHost;
use super::readiness::{WaitOptions, left_stopped, request_start, running};
use super::reboots;
use super::rehearsed::lacks_machines;
use super::servers::{Server, ServerRef, Users, described, each, ids, is_host};
use crate::clients::ec2::{Instance, InstanceState, TypeInfo};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;
use crate::script::{self, Declared, NameOr, Named, Outcome, Shape};

#[export_module(manifest)]
pub mod api {
    /// Returns the current description of an instance.
    ///
    /// `server` is a map that `launch_instance` returned, an array of such
    /// maps, or an instance id.
    ///
    /// Throws `not_found` if the instance does not exist, and `denied` if AWS
    /// refuses the request.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web", wait: false });
    /// print(describe_instance(server).state);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn describe_instance(call: NativeCallContext, server: Dynamic) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            each(cx, &server, async |server| {
                super::describe(cx, server).await
            })
            .await
        })
    }

    /// Returns the instances that match all given options.
    ///
    /// The instance that was launched first is the first in the array.
    /// Terminated instances are listed only if `states` contains their state.
    ///
    /// Throws `denied` if AWS refuses the request, and `invalid_option` if a
    /// state is unknown.
    ///
    /// ```rhai
    /// for server in list_instances(#{ tags: #{ team: "web" } }) {
    ///     print(`${server.id} ${server.state}`);
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn list_instances(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::list_instances(cx, script::options(&call, options)?).await
        })
    }

    /// Returns the one instance that matches, or `()`.
    ///
    /// The instance must match all given options. A second run of a playbook
    /// can use this function to find an instance that the first run launched,
    /// instead of launching another one.
    ///
    /// Throws `invalid_option` if several instances match or a state is
    /// unknown, and `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let server = find_instance(#{ name: "shop" });
    /// if server == () {
    ///     server = launch_instance(#{ name: "shop" });
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn find_instance(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::find_instance(cx, script::options(&call, options)?).await
        })
    }

    /// Stops an instance and waits until it has stopped.
    ///
    /// The disk of a stopped instance is kept. Stopping a stopped instance is
    /// not an error.
    ///
    /// `server` is a map that `launch_instance` returned, an array of such
    /// maps, or an instance id.
    ///
    /// Throws `timeout` if the instance has not stopped in time, `not_found` if
    /// it does not exist or is terminated, and `denied` if AWS refuses the
    /// request.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web" });
    /// server = stop_instance(server);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn stop_instance(
        call: NativeCallContext,
        server: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::effect(
            &call,
            &[&server, &options.clone().into()],
            async |cx, step| {
                let options: WaitOptions = script::options(&call, options)?;
                let timeout = options.timeout.duration();
                if let Some(recorded) = step.recorded::<Value>()? {
                    step.replay();
                    return each(cx, &server, async |server| {
                        cx.ledger.replayed_stop(&server.id);
                        Ok(super::recorded_with_host(&recorded, server))
                    })
                    .await;
                }
                for id in ids(cx, &server)? {
                    cx.ledger.note_stop(&id);
                }
                step.begin()?;
                each(cx, &server, async |server| {
                    super::stop(cx, server, timeout).await
                })
                .await
            },
        )
    }

    /// Starts an instance and waits until it is running.
    ///
    /// Use the returned map, because AWS assigns a new public address. Call
    /// `wait_until_ready` before you log in. Starting a running instance is not
    /// an error.
    ///
    /// `server` is a map that `launch_instance` returned, an array of such
    /// maps, or an instance id.
    ///
    /// Throws `timeout` if the instance is not running in time, `not_found` if
    /// it does not exist, and `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web" });
    /// stop_instance(server);
    /// server = start_instance(server);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn start_instance(
        call: NativeCallContext,
        server: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::effect(
            &call,
            &[&server, &options.clone().into()],
            async |cx, step| {
                let options: WaitOptions = script::options(&call, options)?;
                let timeout = options.timeout.duration();
                // Also a replayed step queries the address, which may have
                // changed since.
                let recorded = step.recorded::<Value>()?.is_some();
                if !recorded {
                    for id in ids(cx, &server)? {
                        cx.ledger.note_start(&id);
                    }
                    step.begin()?;
                }
                each(cx, &server, async |server| {
                    if recorded && cx.ledger.replayed_start(&server.id) {
                        super::left_stopped(cx, server).await
                    } else {
                        super::start(cx, server, timeout).await
                    }
                })
                .await
            },
        )
    }

    /// Reboots an instance.
    ///
    /// This function returns as soon as EC2 has accepted the request. `server`
    /// is a map that `launch_instance` returned, an array of such maps, or an
    /// instance id. A following `wait_until_ready` or `wait_for_ssh` waits for
    /// the new boot.
    ///
    /// Throws `not_found` if the instance does not exist, and `denied` if AWS
    /// refuses the request.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web" });
    /// reboot_instance(server);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn reboot_instance(call: NativeCallContext, server: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&server], async |cx, step| {
            if step.recorded::<Value>()?.is_some() {
                step.replay();
                return Ok(Value::Null);
            }
            step.begin()?;
            each(cx, &server, async |server| super::reboot(cx, server).await).await?;
            Ok(Value::Null)
        })
    }

    /// Returns the console output of an instance as text.
    ///
    /// `server` is a map that `launch_instance` returned, or an instance id.
    /// For Nitro types (t3, t4g and newer) AWS returns the current output. For
    /// other types it returns the output from a few minutes after the last
    /// start or stop.
    ///
    /// Throws `not_found` if the instance does not exist, and `denied` if AWS
    /// refuses the request.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web" });
    /// print(console_output(server));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn console_output(call: NativeCallContext, server: Dynamic) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let server = ServerRef::from_value(cx, &server)?;
            if lacks_machines(cx) {
                cx.assume(format!("read the console of {}", server.id), "no text");
                return Ok(String::new());
            }
            let console = cx.clients.ec2().await?.console(&server.id).await?;
            Ok(cx.report.mask().apply(&console.text))
        })
    }

    /// Sets tags on an instance or another EC2 resource.
    ///
    /// `resource` is a map that `launch_instance` or `create_security_group`
    /// returned, or an id like "vol-0abc". Other tags of the resource are kept.
    ///
    /// Throws `invalid_option` if a key is empty or begins with `aws:` or
    /// `autorun:`, or if a tag contains a secret; `not_found` if the resource
    /// does not exist; `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web", wait: false });
    /// tag(server, #{ team: "web" });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn tag(call: NativeCallContext, resource: Dynamic, tags: Map) -> Outcome<Dynamic> {
        script::effect(
            &call,
            &[&resource, &tags.clone().into()],
            async |cx, step| super::tag(cx, step, &resource, script::options(&call, tags)?).await,
        )
    }

    /// Returns the instance types of the region.
    ///
    /// The types are sorted by size, smallest first.
    ///
    /// Throws `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let small = instance_types(#{ free_tier: true, architecture: "x86_64" });
    /// print(small[0].name);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn instance_types(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::instance_types(cx, script::options(&call, options)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("describe_instance").returns::<Server>(Shape::LikeArgument),
    Declared::of("list_instances")
        .options::<ListInstances>()
        .returns::<Server>(Shape::Many),
    Declared::of("find_instance")
        .options::<ListInstances>()
        .returns::<Server>(Shape::Maybe),
    Declared::of("stop_instance")
        .options::<WaitOptions>()
        .returns::<Server>(Shape::LikeArgument),
    Declared::of("start_instance")
        .options::<WaitOptions>()
        .returns::<Server>(Shape::LikeArgument),
    Declared::of("tag").takes::<BTreeMap<String, String>>("tags"),
    Declared::of("instance_types")
        .options::<InstanceTypes>()
        .returns::<TypeInfo>(Shape::Many),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListInstances {
    /// Value of the tag `Name`. `*` matches any text.
    name: Option<String>,
    /// Tags that the instance must have.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// States that the instance may have. The default is `pending`, `running`,
    /// `stopping` and `stopped`.
    states: Option<Vec<String>>,
    /// Id of the autorun run that launched the instance.
    run: Option<String>,
    /// The user that `ssh_exec` and `scp` log in as. The default is the user of
    /// the instance's image, or `ec2-user` if the publisher of the image is not
    /// known.
    user: Option<String>,
    /// Path of the private key file for the login. The default is the file that
    /// `create_key_pair` wrote on this machine for the key pair of the
    /// instance.
    key: Option<std::path::PathBuf>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InstanceTypes {
    /// With true, list only types that are free-tier eligible; with false, only
    /// the others.
    free_tier: Option<bool>,
    /// List only types with this architecture: `x86_64` or `arm64`.
    architecture: Option<String>,
}

async fn describe(cx: &Context, server: ServerRef) -> Result<Server> {
    let instance = described(cx, &server.id).await?;
    let key = server.key.clone().or_else(|| local_key_file(cx, &instance));
    Ok(ServerRef { key, ..server }.with(cx, instance).await)
}

async fn list_instances(cx: &Context, wanted: ListInstances) -> Result<Vec<Server>> {
    let mut filters = Vec::new();
    let names = InstanceState::ALL.map(InstanceState::as_str);
    let states = match &wanted.states {
        None => {
            let mut states = InstanceState::ALL.to_vec();
            states.retain(|state| !state.has_ended());
            states.iter().map(ToString::to_string).collect()
        }
        Some(states) => {
            if let Some(unknown) = states.iter().find(|s| !names.contains(&s.as_str())) {
                let error = Error::invalid(format!("option `states`: unknown state `{unknown}`"));
                return Err(error.hint(format!("valid states: {}", names.join(", "))));
            }
            states.clone()
        }
    };
    filters.push(("instance-state-name".to_owned(), states));
    if let Some(name) = &wanted.name {
        filters.push(("tag:Name".to_owned(), vec![name.clone()]));
    }
    if let Some(run) = &wanted.run {
        filters.push((
            format!("tag:{}", crate::clients::marks::RUN_TAG),
            vec![run.clone()],
        ));
    }
    for (key, value) in &wanted.tags {
        filters.push((format!("tag:{key}"), vec![value.clone()]));
    }
    let found = cx.clients.ec2().await?.find_instances(&filters).await?;
    let users = match wanted.user {
        Some(_) => Users::of(cx, &[]).await,
        None => Users::of(cx, &found).await,
    };
    let servers = found.into_iter().map(async |instance| {
        let key = wanted
            .key
            .as_ref()
            .map(|key| cx.clients.local.expand(key))
            .or_else(|| local_key_file(cx, &instance));
        let server = ServerRef {
            user: wanted
                .user
                .clone()
                .or_else(|| Some(users.of_one(&instance))),
            key,
            ..ServerRef::by_id(instance.id.clone())
        };
        server.with(cx, instance).await
    });
    Ok(join_all(servers).await)
}

/// Returns the private key file that `create_key_pair` wrote under the name of the
/// key pair, if it exists.
fn local_key_file(cx: &Context, instance: &Instance) -> Option<std::path::PathBuf> {
    let name = instance
        .key_pair
        .as_ref()
        .filter(|name| !name.contains('/'))?;
    let file = cx.clients.local.data_dir.join("keys").join(name);
    file.is_file().then_some(file)
}

async fn find_instance(cx: &Context, wanted: ListInstances) -> Result<Option<Server>> {
    let mut found = list_instances(cx, wanted).await?;
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().map(|s| s.instance.id.as_str()).collect();
        return Err(
            Error::invalid(format!("{} match", text::count(found.len(), "instance"))).hint(
                format!(
                    "narrow the filter, or use list_instances: {}",
                    ids.join(", ")
                ),
            ),
        );
    }
    Ok(found.pop())
}

async fn stop(cx: &Context, server: ServerRef, timeout: Duration) -> Result<Server> {
    let ec2 = cx.clients.ec2().await?;
    ec2.stop(&server.id).await?;
    let mut pace = cx.pace(format!("instance {} to stop", server.id), timeout);
    loop {
        let mut seen = ec2.instances(std::slice::from_ref(&server.id)).await?;
        let instance = seen.swap_remove(0);
        match instance.state {
            InstanceState::Stopped => {
                cx.report.info(format!(
                    "{} has stopped after {}",
                    instance.id,
                    text::duration(pace.elapsed())
                ));
                return Ok(server.with(cx, instance).await);
            }
            InstanceState::Stopping | InstanceState::Running => {
                pace.pause(instance.state.as_str()).await?;
            }
            state => {
                let message = format!("{} is {state} instead of stopped", instance.id);
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
    }
}

/// Returns the recorded result for a server, with the `host` map from the argument:
/// the ledger does not store secrets, so the recorded one lacks them.
fn recorded_with_host(recorded: &Value, server: ServerRef) -> Value {
    let mut kept = match recorded {
        Value::Array(all) => all.iter().find(|kept| kept["id"] == server.id.as_str()),
        one => Some(one),
    }
    .cloned()
    .unwrap_or_default();
    if let Some(host) = server.host {
        kept["host"] = serde_json::to_value(KnownHost::from(host)).unwrap_or_default();
    }
    kept
}

async fn start(cx: &Context, server: ServerRef, timeout: Duration) -> Result<Server> {
    let mut pace = cx.pace(format!("instance {} to start", server.id), timeout);
    request_start(cx, &server.id, &mut pace).await?;
    running(cx, server, pace.left()).await
}

async fn reboot(cx: &Context, server: ServerRef) -> Result<()> {
    reboots::before_reboot(cx, &server, "reboot_instance").await?;
    cx.clients.ec2().await?.reboot(&server.id).await?;
    cx.report.info(format!("{} reboots", server.id));
    Ok(())
}

/// An EC2 resource that has an id.
#[derive(Deserialize)]
struct Identified {
    id: String,
}

impl Named for Identified {
    const EXPECTED: &'static str =
        "an id, or the map that launch_instance or create_security_group returned";
}

async fn tag(
    cx: &Context,
    step: &mut crate::ledger::Step,
    resource: &Dynamic,
    tags: BTreeMap<String, String>,
) -> Result<()> {
    let id = if is_host(resource) {
        ServerRef::from_value(cx, resource)?.id
    } else {
        match script::argument("resource", resource)? {
            NameOr::Name(id) | NameOr::Map(Identified { id }) => id,
        }
    };
    for key in tags.keys() {
        if key.is_empty() || ["aws:", "autorun:"].iter().any(|own| key.starts_with(own)) {
            return Err(Error::invalid(format!("`{key}` is not a valid tag key"))
                .hint("use another key: keys that begin with aws: or autorun: are reserved"));
        }
    }
    cx.report.mask().keep_out_of_tags(&tags)?;
    if step.recorded::<Value>()?.is_some() {
        step.replay();
        return Ok(());
    }
    if id.starts_with("i-") {
        described(cx, &id).await?;
    }
    step.begin()?;
    let tags: Vec<(String, String)> = tags.into_iter().collect();
    cx.clients.ec2().await?.tag(&id, &tags).await?;
    cx.report.info(format!("tagged {id}"));
    Ok(())
}

async fn instance_types(cx: &Context, options: InstanceTypes) -> Result<Vec<TypeInfo>> {
    let mut filters = BTreeMap::new();
    if let Some(free) = options.free_tier {
        filters.insert("free-tier-eligible".to_owned(), free.to_string());
    }
    if let Some(architecture) = options.architecture {
        filters.insert(
            "processor-info.supported-architecture".to_owned(),
            architecture,
        );
    }
    cx.clients.ec2().await?.types(&filters).await
}
