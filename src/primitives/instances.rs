//! EC2 instances: launch, wait, terminate.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::images::{LatestAmazonLinux, latest_amazon_linux};
use super::key_pairs::KeyPairRef;
use super::readiness::{WaitOptions, WaitUntilReady, ready, running, start_again};
use super::security_groups::GroupRef;
use super::servers::{Server, ServerRef, each, ec2_user};
use super::{teardown, ttl};
use crate::clients::ec2::{Ec2, Image, Instance, LONGEST_USER_DATA, Launch, Launched};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Intent, NewResource, ResourceKind, Step, now};
use crate::script::{self, Declared, NameOr, Outcome, Shape, yes};

/// How long `launch_instance` waits: the default of `wait_until_running`.
const RUNS_WITHIN: Duration = Duration::from_secs(300);

/// More than anybody means by one call.
const MOST_AT_ONCE: i32 = 500;

#[export_module]
pub mod api {
    /// Launches an instance and waits until it is running.
    ///
    /// The instance requires IMDSv2 and its root volume is encrypted.
    ///
    /// Throws `quota_exceeded` when the account or AWS has no room,
    /// `invalid_option`, `denied`, `not_found`, `timeout`.
    ///
    /// ```rhai
    /// let key = create_key_pair("web-" + run_id());
    /// let server = launch_instance(#{ name: "web", key_pair: key });
    /// print(server.public_ip);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn launch_instance(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        let arguments = [&options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::launch_instance(cx, step, script::options(options)?).await
        })
    }

    /// Waits until an instance is running, and gives its map anew, with its
    /// addresses.
    ///
    /// `server` is what `launch_instance` gave, an array of such, or an id.
    ///
    /// Throws `timeout`; at once when the instance ends instead.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web", wait: false });
    /// server = wait_until_running(server);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn wait_until_running(
        call: NativeCallContext,
        server: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options: WaitOptions = script::options(options)?;
            let timeout = options.timeout.duration();
            super::each(cx, &server, async |server| {
                super::running(cx, server, timeout).await
            })
            .await
        })
    }

    /// Waits until an instance can be worked with, and gives its map anew.
    ///
    /// Ready means: it is running, ssh answers, and its user data has finished
    /// and succeeded. The host key is compared with those that cloud-init wrote
    /// to the console; another one there is an error. The console of Nitro types
    /// (`t3` and newer) can be read at any time, so it is waited for; an image
    /// that writes no keys there needs `host_key: "first_use"`. Of other types
    /// (`t2`) AWS shows it minutes later: the key that they offer first is
    /// accepted and logged, and `host_key` in the map is "unverified" instead of
    /// "verified".
    ///
    /// `server` is what `launch_instance` gave, an array of such, or an id. What
    /// `host` made of it is reached in the way said there, through a jump host or
    /// with a passphrase, and so is the map that is given for it.
    ///
    /// Throws `command_failed` with the end of the log when the user data
    /// failed, `host_key_changed`, `timeout`, `denied` when the login is
    /// refused.
    ///
    /// ```rhai
    /// let name = "web-" + run_id();
    /// let key = create_key_pair(name);
    /// let group = create_security_group(name); // ssh, from here alone
    /// let options = #{ key_pair: key, security_groups: [group], wait: false };
    /// let server = wait_until_ready(launch_instance(options));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn wait_until_ready(
        call: NativeCallContext,
        server: Dynamic,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options: WaitUntilReady = script::options(options)?;
            super::each(cx, &server, async |server| {
                super::ready(cx, server, &options).await
            })
            .await
        })
    }

    /// Terminates an instance and waits until it is gone.
    ///
    /// `server` is what `launch_instance` gave, an array of such, or an id. One
    /// that is gone is no error.
    ///
    /// Throws `denied` for an instance that autorun did not make.
    ///
    /// ```rhai
    /// let server = launch_instance(#{ name: "web" });
    /// terminate_instance(server);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn terminate_instance(call: NativeCallContext, server: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&server], async |cx, step| {
            if step.recorded::<Value>()?.is_some() {
                step.replay();
                return Ok(Value::Null);
            }
            step.begin_unwritten();
            super::each(cx, &server, async |server| {
                let teardown = teardown(cx);
                teardown.release(ResourceKind::Instance, &server.id).await
            })
            .await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("launch_instance")
        .options::<LaunchInstance>()
        .gives::<Server>(Shape::ManyWith("count")),
    Declared::of("wait_until_running")
        .options::<WaitOptions>()
        .gives::<Server>(Shape::LikeArgument),
    Declared::of("wait_until_ready")
        .options::<WaitUntilReady>()
        .gives::<Server>(Shape::LikeArgument),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LaunchInstance {
    /// Tag `Name`, and the name in the log; by default "autorun-" and the run's
    /// id.
    name: Option<String>,
    /// By default the micro type that is free-tier eligible for the image's
    /// architecture: `t3.micro`, else `t2.micro`.
    #[serde(rename = "type")]
    instance_type: Option<String>,
    /// An AMI's id or what `latest_amazon_linux` gave, which is also the
    /// default.
    image: Option<NameOr<Image>>,
    /// A name or what `create_key_pair` gave.
    key_pair: Option<KeyPairRef>,
    /// Ids or what `create_security_group` gave.
    #[serde(default)]
    security_groups: Vec<GroupRef>,
    /// Script or cloud-config for the first boot, at most 16384 bytes.
    user_data: Option<String>,
    /// Id; by default one of the default VPC.
    subnet: Option<String>,
    /// By default as the subnet says.
    public_ip: Option<bool>,
    /// GiB of the root volume.
    volume_size: Option<i32>,
    /// Name of an IAM instance profile.
    iam_profile: Option<String>,
    /// How many, all the same; at most 500.
    count: Option<i32>,
    /// Who `ssh_exec` and `scp` log in as.
    #[serde(default = "ec2_user")]
    user: String,
    /// Further tags.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// False returns as soon as EC2 accepts the launch.
    #[serde(default = "yes")]
    wait: bool,
}

async fn launch_instance(cx: &Context, step: &mut Step, options: LaunchInstance) -> Result<Value> {
    check(cx, &options)?;
    let key_pair = options.key_pair.clone();
    if let Some(recorded) = step.recorded::<Value>()?
        && step.was_undone()
    {
        step.replay();
        return Ok(recorded);
    }
    let security_groups = options
        .security_groups
        .iter()
        .map(|group| group.clone().id("option `security_groups`"))
        .collect::<Result<Vec<_>>>()?;
    let ec2 = cx.clients.ec2().await?;
    let count = usize::try_from(options.count.unwrap_or(1)).unwrap_or(1);
    let mut launched = launched_before(cx, step, &ec2).await?;
    let missing = count.saturating_sub(launched.len());
    for instance in &launched {
        if !cx.ledger.is_stopped_later(&instance.id) {
            let what = format!("instance {} to start", instance.id);
            start_again(cx, instance, &mut cx.pace(what, RUNS_WITHIN)).await?;
        }
    }
    if missing > 0 {
        let plan = Plan {
            options: &options,
            key_pair: key_pair.as_ref().map(|k| k.name.clone()),
            security_groups,
            count: missing,
        };
        launched.extend(plan.launch(cx, step, &ec2).await?);
    } else if step.recorded::<Value>()?.is_some() {
        step.replay();
    } else {
        // Launched for certain, but the wait for it failed.
        step.begin_unwritten();
    }
    let key = key_pair.and_then(|k| k.private_key);
    let described = launched.into_iter().map(|instance| async {
        let server = ServerRef {
            user: options.user.clone(),
            key: key.clone(),
            ..ServerRef::by_id(instance.id.clone())
        };
        if options.wait {
            running(cx, server, RUNS_WITHIN).await
        } else {
            Ok(server.with(cx, instance))
        }
    });
    let servers = join_all(described)
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let shown = match options.count {
        Some(_) => serde_json::to_value(servers),
        None => serde_json::to_value(servers.into_iter().next()),
    };
    shown.map_err(|e| Error::internal(format!("cannot show the instance: {e}")))
}

/// Instances that an earlier attempt of this step launched for certain, and that
/// are still there.
async fn launched_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Vec<Instance>> {
    let mut there = Vec::new();
    for row in step.live(ResourceKind::Instance) {
        let id = row.id.clone().unwrap_or_default();
        let ask = async || ec2.instance(&id).await;
        match cx.seen(&row, ask).await? {
            Some(instance) if !has_ended(&instance) => there.push(instance),
            _ => {
                cx.report
                    .warn(format!("instance {id} is gone; another is launched"));
                cx.ledger.is_gone(&row);
            }
        }
    }
    Ok(there)
}

fn has_ended(instance: &Instance) -> bool {
    instance.state.has_ended()
}

/// A launch whose options have been checked.
struct Plan<'a> {
    options: &'a LaunchInstance,
    key_pair: Option<String>,
    security_groups: Vec<String>,
    count: usize,
}

impl Plan<'_> {
    /// Writes the instances down, then asks for them once.
    async fn launch(self, cx: &Context, step: &mut Step, ec2: &Ec2<'_>) -> Result<Vec<Instance>> {
        let options = self.options;
        let image = match &options.image {
            None => newest(cx).await?,
            Some(NameOr::Name(id)) => ec2.image(id).await?,
            Some(NameOr::Map(image)) => image.clone(),
        };
        let instance_type = match &options.instance_type {
            Some(instance_type) => instance_type.clone(),
            None => ec2.free_tier_type(&image.architecture).await?,
        };
        let name = options
            .name
            .clone()
            .unwrap_or_else(|| format!("autorun-{}", cx.ledger.run()));
        let (intents, launched) = intend(step, ec2, &name, self.count).await?;
        let token = intents
            .first()
            .map(|i| i.token().to_owned())
            .unwrap_or_default();
        let launch = Launch {
            tags: cx.tags(&name, &token, &options.tags),
            token,
            image,
            instance_type,
            count: i32::try_from(self.count).unwrap_or(i32::MAX),
            key_pair: self.key_pair,
            security_groups: self.security_groups,
            subnet: options.subnet.clone(),
            public_ip: options.public_ip,
            volume_size: options.volume_size,
            iam_profile: options.iam_profile.clone(),
            user_data: match cx.ttl {
                Some(ttl) => Some(ttl::user_data(
                    options.user_data.as_deref(),
                    step.intended(),
                    ttl,
                )?),
                None => options.user_data.clone(),
            },
            ends_itself: cx.ttl.is_some(),
        };
        let launched = if launched.is_empty() {
            run_instances(cx, ec2, &launch).await
        } else {
            Ok(launched)
        };
        let launched = match launched {
            Ok(launched) => launched,
            Err(error) => {
                for intent in intents {
                    intent.abandoned(&error);
                }
                return Err(error);
            }
        };
        for (intent, instance) in intents.into_iter().zip(&launched) {
            intent.created(&instance.id);
            cx.report.info(format!(
                "launched {} ({}, {}), name {name}",
                instance.id, instance.instance_type, instance.image
            ));
        }
        Ok(launched)
    }
}

/// Writes the launch down. What an earlier attempt with the same token has
/// launched is found here, and not asked for again.
async fn intend(
    step: &mut Step,
    ec2: &Ec2<'_>,
    name: &str,
    count: usize,
) -> Result<(Vec<Intent>, Vec<Instance>)> {
    let wanted = vec![NewResource::new(ResourceKind::Instance, name); count];
    let intents = step.intend(&wanted)?;
    let Some(first) = intents.first().filter(|intent| intent.is_retried()) else {
        return Ok((intents, Vec::new()));
    };
    let mut launched = ec2.launched(first.token()).await?;
    let ended = launched.iter().filter(|i| has_ended(i)).count();
    if ended == 0 || ended < launched.len() {
        launched.retain(|instance| !has_ended(instance));
        launched.truncate(count);
        return Ok((intents, launched));
    }
    // Launched and ended since: the token is used up.
    for intent in intents {
        intent.not_created();
    }
    Ok((step.intend(&wanted)?, Vec::new()))
}

/// What AWS would refuse, and what nobody means, before the first request.
fn check(cx: &Context, options: &LaunchInstance) -> Result<()> {
    if options
        .count
        .is_some_and(|count| !(1..=MOST_AT_ONCE).contains(&count))
    {
        return Err(Error::invalid(format!(
            "option `count`: it must be from 1 to {MOST_AT_ONCE}"
        )));
    }
    if options.volume_size.is_some_and(|size| size < 1) {
        return Err(Error::invalid(
            "option `volume_size`: it must be 1 GiB or more",
        ));
    }
    if let Some(ttl) = cx.ttl {
        ttl::user_data(options.user_data.as_deref(), now(), ttl)?;
    }
    cx.report.mask().keep_out_of_tags(&options.tags)?;
    let Some(user_data) = &options.user_data else {
        return Ok(());
    };
    if user_data.len() > LONGEST_USER_DATA {
        return Err(Error::invalid(format!(
            "option `user_data`: it has {} bytes, EC2 takes {LONGEST_USER_DATA}",
            user_data.len()
        ))
        .hint("let a short script fetch the rest, or copy it with scp when the host is ready"));
    }
    if user_data.is_empty() {
        return Err(Error::invalid("option `user_data`: it is empty")
            .hint("leave it out, or pass a script that begins with #!/bin/sh"));
    }
    if !["#", "Content-Type:", "MIME-Version:"]
        .iter()
        .any(|start| user_data.starts_with(start))
    {
        return Err(Error::invalid(
            "option `user_data`: it begins neither with `#!` nor with `#cloud-config`",
        )
        .hint("a script's first line is #!/bin/sh; a file is read by read_file or render"));
    }
    if cx.report.mask().finds_in(user_data) || cx.report.mask().apply(user_data) != *user_data {
        cx.report.warn(
            "the user data holds a secret: every program on the instance can read it from the \
             metadata service, and whoever may call DescribeInstanceAttribute; scp and ssh_exec \
             with `env` or `stdin` keep it from them",
        );
    }
    Ok(())
}

/// The image that is launched by default.
async fn newest(cx: &Context) -> Result<Image> {
    let found = latest_amazon_linux(cx, LatestAmazonLinux::default()).await?;
    Ok(found.image)
}

/// `RunInstances`, asked again while EC2 does not yet know the key pair or
/// group that was made a moment ago.
async fn run_instances(cx: &Context, ec2: &Ec2<'_>, launch: &Launch) -> Result<Vec<Instance>> {
    let what = "EC2 to know the key pair and the security groups".to_owned();
    let mut pace = cx.pace(what, cx.clients.consistency());
    let fresh = launch
        .key_pair
        .iter()
        .any(|k| cx.ledger.made(ResourceKind::KeyPair, k))
        || launch
            .security_groups
            .iter()
            .any(|g| cx.ledger.made(ResourceKind::SecurityGroup, g));
    loop {
        match ec2.launch(launch).await? {
            // This token has launched, with another image or type: an earlier
            // attempt did, and EC2 will show it.
            Launched::Before(error) => {
                let launched = ec2.launched(&launch.token).await;
                let launched = launched.map_err(Error::after_another)?;
                if !launched.is_empty() {
                    return Ok(launched);
                }
                let pause = pace.pause("launched before, not visible yet").await;
                pause.map_err(|late| match late.kind {
                    ErrorKind::Timeout => error,
                    _ => late,
                })?;
            }
            Launched::UnknownParts(_) if fresh => pace.pause("not visible yet").await?,
            Launched::UnknownParts(error) => return Err(error),
            Launched::Instances(instances) => return Ok(instances),
        }
    }
}
