//! EC2 instances: launching, waiting, terminating.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::cloud_init;
use super::fleet_launch::{FleetLaunch, Recorded, delete_template};
use super::images::{latest_amazon_linux, x86_64};
use super::key_pairs::KeyPairRef;
use super::launch_volumes::{self, Volume, volumes};
use super::launches::run_instances;
use super::readiness::{WaitOptions, WaitUntilReady, ready, running, start_again};
use super::security_groups::GroupRef;
use super::servers::{Server, ServerRef, each, ec2_user};
use super::{teardown, ttl};
use crate::clients::ec2::{Credits, Ec2, Image, Instance, LONGEST_USER_DATA, Launch, MOST_CHOICES};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Intent, NewResource, ResourceKind, Step, now};
use crate::script::{self, Consistent, Declared, NameOr, Outcome, Shape, yes};

/// How long `launch_instance` waits: the default of `wait_until_running`.
const RUNS_WITHIN: Duration = Duration::from_secs(300);

/// Limit of autorun for one call. A larger number is most likely a mistake.
const MOST_AT_ONCE: i32 = 500;

#[export_module(manifest)]
pub mod api {
    /// Launches an instance and waits until it is running.
    ///
    /// A running instance may still be booting: call `wait_until_ready` before
    /// you log in. The instance requires IMDSv2, and its root volume is
    /// encrypted.
    ///
    /// With `types` or `subnets`, EC2 chooses among several instance types and
    /// subnets, and launches where it has capacity. If it cannot launch as many
    /// instances as `at_least` demands, those that it launched are terminated, and
    /// the error says for each type and zone what it lacks.
    ///
    /// Throws:
    ///
    /// - `quota_exceeded` if a quota of the account is reached or AWS has no
    ///   capacity;
    /// - `invalid_option` if an option is wrong;
    /// - `not_found` if the image, key pair, security group or subnet does not
    ///   exist;
    /// - `denied` if AWS refuses the request;
    /// - `timeout` if the instance is not running after 5 minutes;
    /// - `internal` if the instance terminates instead.
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
            super::launch_instance(cx, step, script::options(&call, options)?).await
        })
    }

    /// Waits until an instance is running.
    ///
    /// `server` is a map that `launch_instance` returned, an array of such
    /// maps, or an instance id. The returned map has the addresses of the
    /// instance.
    ///
    /// Throws:
    ///
    /// - `timeout` if the instance is not running in time;
    /// - `not_found` if the instance does not exist;
    /// - `quota_exceeded`, without waiting further, if AWS has no capacity for
    ///   the instance;
    /// - `internal`, without waiting further, if the instance stops or
    ///   terminates instead.
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
            let options: WaitOptions = script::options(&call, options)?;
            let timeout = options.timeout.duration();
            super::each(cx, &server, async |server| {
                super::running(cx, server, timeout).await
            })
            .await
        })
    }

    /// Waits until an instance is ready for use.
    ///
    /// An instance is ready when it is running, a login over ssh succeeds, and
    /// its user data has finished without an error. The returned map has its
    /// addresses.
    ///
    /// On Nitro types, the ssh host key is compared with the keys that cloud-init
    /// writes to the console. A difference is an error. In detail:
    ///
    /// - Nitro types (`t3` and newer): AWS shows the console at any time. The
    ///   function waits until the console shows the keys, and `host_key` in the
    ///   map is "verified".
    /// - Images that write no keys to the console: pass
    ///   `host_key: "first_use"`. The first key that the instance offers is
    ///   accepted and logged, and `host_key` in the map is "unverified".
    /// - Other types (`t2`): AWS shows the console only minutes later. The
    ///   first key is accepted and logged in the same way, without an option.
    ///
    /// `server` is a map that `launch_instance` returned, an array of such
    /// maps, or an instance id. It can also be a map that `host` returned for
    /// an instance; then the jump host, the passphrase and the other settings
    /// in it are used, and the returned map keeps them.
    ///
    /// Throws:
    ///
    /// - `command_failed` if the user data failed (the message has the end of
    ///   its log) or if the image has no cloud-init;
    /// - `host_key_changed` if the console shows other keys;
    /// - `timeout` if the instance is not ready in time;
    /// - `denied` if the login is refused for more than 30 seconds.
    ///
    /// ```rhai
    /// let name = "web-" + run_id();
    /// let key = create_key_pair(name);
    /// // Allows ssh from your public address only:
    /// let group = create_security_group(name);
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
            let options: WaitUntilReady = script::options(&call, options)?;
            super::each(cx, &server, async |server| {
                super::ready(cx, server, &options).await
            })
            .await
        })
    }

    /// Terminates an instance and waits until it has ended.
    ///
    /// `server` is a map that `launch_instance` returned, an array of such
    /// maps, or an instance id. Terminating an instance that no longer exists
    /// is not an error.
    ///
    /// Throws `denied` if autorun did not launch the instance, and `timeout` if
    /// it is not terminated after 10 minutes.
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
        .consistent_options::<LaunchInstance>()
        .returns::<Server>(Shape::ManyWith("count")),
    Declared::of("wait_until_running")
        .options::<WaitOptions>()
        .returns::<Server>(Shape::LikeArgument),
    Declared::of("wait_until_ready")
        .options::<WaitUntilReady>()
        .returns::<Server>(Shape::LikeArgument),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LaunchInstance {
    /// Tag `Name` of the instance, and its name in the log. The default is
    /// "autorun-" and the run id.
    name: Option<String>,
    /// Instance type. The default is a micro type that is free-tier eligible in
    /// the region and fits the architecture of the image: for `x86_64`
    /// `t3.micro`, or `t2.micro` where `t3.micro` is not eligible; for `arm64`,
    /// `t4g.micro`.
    #[serde(rename = "type")]
    instance_type: Option<String>,
    /// Instance types, in place of `type`. EC2 launches those for which it has
    /// capacity: of the first one as many as it can, then of the next. It chooses
    /// spot instances by their price and by how rarely they are interrupted.
    #[serde(default, deserialize_with = "not_empty")]
    types: Vec<String>,
    /// Launch spot instances. They cost less, and EC2 terminates them when it
    /// needs their capacity; `interruption_notice` returns its notice, which comes
    /// two minutes before. A spot instance cannot be stopped.
    #[serde(default)]
    spot: bool,
    /// An AMI id or a map that `latest_image` returned. The default is the image
    /// that `latest_amazon_linux()` returns.
    image: Option<NameOr<Image>>,
    /// A name or a map that `create_key_pair` returned. Without a key pair, no
    /// login over ssh is possible unless the image or the user data allows one.
    key_pair: Option<KeyPairRef>,
    /// Ids or maps that `create_security_group` returned. The default is the
    /// default security group of the VPC.
    #[serde(default)]
    security_groups: Vec<GroupRef>,
    /// User data for the first boot, at most 16384 bytes: a script that begins with
    /// `#!`, a text that begins with `#cloud-config`, or another form that
    /// cloud-init reads, such as a MIME message. A text that cloud-init would
    /// ignore is refused.
    user_data: Option<String>,
    /// Id of the subnet, such as `public_subnet` or `private_subnet` of
    /// `create_network`. The default is a subnet of the default VPC.
    subnet: Option<String>,
    /// Ids of subnets, in place of `subnet`. EC2 launches in those in whose zones it
    /// has capacity. The default with `types` are the default subnets of all zones.
    #[serde(default, deserialize_with = "not_empty")]
    subnets: Vec<String>,
    /// Whether the instance gets a public IPv4 address. The default is the
    /// setting of the subnet.
    public_ip: Option<bool>,
    /// Size of the root volume in GiB. The default is the size in the image.
    volume_size: Option<i32>,
    /// Volumes in addition to the root volume. They are encrypted. They are deleted
    /// with the instance, unless `delete_on_termination` is false.
    #[serde(default)]
    volumes: Vec<Volume>,
    /// Name of an IAM instance profile.
    iam_profile: Option<String>,
    /// `standard` or `unlimited`: what a burstable instance (t2, t3, t3a, t4g)
    /// does when it has used up its CPU credits. With `standard`, the default,
    /// it slows down to its baseline, and new t3, t3a and t4g instances begin
    /// without credits. With `unlimited`, which is EC2's own default for t3, t3a
    /// and t4g, it continues at full speed, and AWS charges for the surplus,
    /// also in the free tier. If only some of `types` are burstable, EC2's own
    /// defaults apply, unless you omit the others.
    credits: Option<Credits>,
    /// Number of identical instances to launch, at most 500. Several are
    /// numbered: the name `web` becomes `web-1`, `web-2` and so on.
    count: Option<i32>,
    /// The smallest number of instances with which a launch with `types` or
    /// `subnets` succeeds. The returned array then has fewer than `count`. The
    /// default is `count`.
    at_least: Option<i32>,
    /// The user that `ssh_exec` and `scp` log in as. The default is the user of
    /// the image, such as `ubuntu` or `admin`, or `ec2-user` if the publisher of
    /// the image is not known.
    user: Option<String>,
    /// Additional tags.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Wait until the instance is running. With false, return as soon as EC2
    /// accepts the launch.
    #[serde(default = "yes")]
    wait: bool,
}

impl LaunchInstance {
    /// Whether EC2 has a choice, which takes a fleet.
    fn is_fleet(&self) -> bool {
        !self.types.is_empty() || !self.subnets.is_empty()
    }
}

async fn launch_instance(cx: &Context, step: &mut Step, options: LaunchInstance) -> Result<Value> {
    check(cx, &options)?;
    let key_pair = options.key_pair.clone();
    if let Some(recorded) = step.recorded::<Value>()?
        // A volume may outlive its instance.
        && step.was_undone_for(ResourceKind::Instance)
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
    let count = match step.recorded::<Value>()? {
        // A launch with `at_least` may have returned fewer.
        Some(Value::Array(recorded)) => recorded.len(),
        _ => usize::try_from(options.count.unwrap_or(1)).unwrap_or(1),
    };
    let mut launched = launched_before(cx, step, &ec2).await?;
    let missing = count.saturating_sub(launched.len());
    for instance in &launched {
        if !cx.ledger.is_stopped_later(&instance.id) {
            let what = format!("instance {} to start", instance.id);
            start_again(cx, instance, &mut cx.pace(what, RUNS_WITHIN)).await?;
        }
    }
    let image = image(cx, &ec2, &options, missing > 0).await?;
    let user = options.user.clone();
    let user = user
        .or_else(|| image.as_ref().map(|image| image.user.clone()))
        .unwrap_or_else(ec2_user);
    if let Some(image) = image.filter(|_| missing > 0) {
        let plan = Plan {
            options: &options,
            image,
            key_pair: key_pair.as_ref().map(|k| k.name.clone()),
            security_groups,
            count: missing,
        };
        launched.extend(plan.launch(cx, step, &ec2).await?);
        launch_volumes::record(cx, step, &ec2, &launched).await?;
    } else if step.recorded::<Value>()?.is_some() {
        step.replay();
    } else {
        // An earlier attempt launched all instances, but its wait failed, or it ended
        // before it deleted the launch template.
        step.begin_unwritten();
        delete_template(cx, step).await;
        launch_volumes::record(cx, step, &ec2, &launched).await?;
    }
    let key = key_pair.and_then(|k| k.private_key);
    let names: Vec<(String, String)> = launched
        .iter()
        .map(|instance| (instance.id.clone(), instance.name.clone()))
        .collect();
    let described = launched.into_iter().map(|instance| async {
        let server = ServerRef {
            user: Some(user.clone()),
            key: key.clone(),
            ..ServerRef::by_id(instance.id.clone())
        };
        if options.wait {
            running(cx, server, RUNS_WITHIN).await
        } else {
            Ok(server.with(cx, instance).await)
        }
    });
    let mut servers = join_all(described)
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    if count > 1 {
        // EC2 may not show the numbered names yet.
        for server in &mut servers {
            if let Some((_, name)) = names.iter().find(|(id, _)| *id == server.instance.id) {
                server.instance.name.clone_from(name);
            }
        }
    }
    let shown = match options.count {
        Some(_) => serde_json::to_value(servers),
        None => serde_json::to_value(servers.into_iter().next()),
    };
    shown.map_err(|e| Error::internal(format!("cannot convert the instance: {e}")))
}

/// Returns the instances that an earlier attempt of this step launched, according
/// to the ledger, and that still exist.
async fn launched_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Vec<Instance>> {
    let mut existing = Vec::new();
    for row in step.live(ResourceKind::Instance) {
        let id = row.id.clone().unwrap_or_default();
        let ask = async || ec2.instance(&id).await;
        match cx.seen(&row, ask).await? {
            Some(mut instance) if !has_ended(&instance) => {
                instance.name.clone_from(&row.name);
                existing.push(instance);
            }
            _ => {
                cx.report.warn(format!(
                    "instance {id} no longer exists; launching a new instance"
                ));
                cx.ledger.is_gone(&row);
            }
        }
    }
    Ok(existing)
}

fn has_ended(instance: &Instance) -> bool {
    instance.state.has_ended()
}

/// A launch whose options have been checked.
struct Plan<'a> {
    options: &'a LaunchInstance,
    image: Image,
    key_pair: Option<String>,
    security_groups: Vec<String>,
    count: usize,
}

impl Plan<'_> {
    /// Records the instances in the ledger, then sends one launch request.
    async fn launch(self, cx: &Context, step: &mut Step, ec2: &Ec2<'_>) -> Result<Vec<Instance>> {
        let options = self.options;
        let instance_type = match options.types.first().or(options.instance_type.as_ref()) {
            Some(instance_type) => instance_type.clone(),
            None => ec2.free_tier_type(&self.image.architecture).await?,
        };
        let types = match options.types.as_slice() {
            [] => vec![instance_type.clone()],
            types => types.to_vec(),
        };
        let credits = credits_of(options.credits, &types)?;
        let at_least = self.at_least();
        let name = options
            .name
            .clone()
            .unwrap_or_else(|| format!("autorun-{}", cx.ledger.run()));
        let names = self.names(step, &name);
        let (intents, launched) = intend(step, ec2, &names).await?;
        let volumes = volumes(&options.volumes)?;
        let kept = launch_volumes::intend(step, &names, &volumes)?;
        let token = intents
            .first()
            .map(|i| i.token().to_owned())
            .unwrap_or_default();
        let launch = Launch {
            tags: cx.tags(&name, &token, &options.tags),
            token,
            image: self.image,
            instance_type,
            count: i32::try_from(self.count).unwrap_or(i32::MAX),
            key_pair: self.key_pair,
            security_groups: self.security_groups,
            subnet: options.subnet.clone(),
            public_ip: options.public_ip,
            volume_size: options.volume_size,
            volumes,
            iam_profile: options.iam_profile.clone(),
            credits,
            user_data: match cx.ttl {
                Some(ttl) => Some(ttl::user_data(
                    options.user_data.as_deref(),
                    step.intended(),
                    ttl,
                )?),
                None => options.user_data.clone(),
            },
            ends_itself: cx.ttl.is_some(),
            spot: options.spot,
        };
        let recorded = Recorded {
            names,
            intents,
            kept,
        };
        let launched = if options.is_fleet() {
            let subnets = options.subnet.iter().chain(&options.subnets);
            let subnets: Vec<String> = subnets.cloned().collect();
            let fleet = FleetLaunch {
                name: &name,
                launch: &launch,
                types: &types,
                subnets: &subnets,
                at_least,
            };
            fleet.launch(cx, step, recorded, launched).await?
        } else {
            let launched = if launched.is_empty() {
                run_instances(cx, ec2, &launch).await
            } else {
                Ok(launched)
            };
            recorded.note(cx, launched)?
        };
        if options.count.is_some_and(|count| count > 1) {
            number(cx, ec2, &launched).await?;
        }
        Ok(launched)
    }

    /// Returns how many of the missing instances must be launched.
    fn at_least(&self) -> usize {
        let options = self.options;
        let wanted = options.count.unwrap_or(1);
        let spare = wanted - options.at_least.unwrap_or(wanted);
        self.count
            .saturating_sub(usize::try_from(spare).unwrap_or(0))
    }

    /// Returns the names of the instances: several are numbered, as `web-1`. The
    /// numbers of instances that exist already are taken.
    fn names(&self, step: &Step, name: &str) -> Vec<String> {
        match self.options.count {
            Some(count @ 2..) => {
                let taken = step.live(ResourceKind::Instance);
                (1..=count)
                    .map(|number| format!("{name}-{number}"))
                    .filter(|name| taken.iter().all(|row| row.name != *name))
                    .take(self.count)
                    .collect()
            }
            _ => vec![name.to_owned(); self.count],
        }
    }
}

/// Tags each instance with its numbered name: one launch request has only one `Name`
/// tag for all.
async fn number(cx: &Context, ec2: &Ec2<'_>, launched: &[Instance]) -> Result<()> {
    let tagged = launched.iter().map(|instance| async {
        let tags = vec![("Name".to_owned(), instance.name.clone())];
        match ec2.tag(&instance.id, &tags).await {
            Err(error) if error.kind == ErrorKind::Denied => {
                cx.report.warn(format!(
                    "the `Name` tag of {} is not numbered: {error}",
                    instance.id
                ));
                Ok(())
            }
            done => done,
        }
    });
    join_all(tagged).await.into_iter().collect()
}

/// Records the launch in the ledger. If an earlier attempt has launched instances
/// with the same token, finds and returns them instead.
async fn intend(
    step: &mut Step,
    ec2: &Ec2<'_>,
    names: &[String],
) -> Result<(Vec<Intent>, Vec<Instance>)> {
    let new = |name: &String| NewResource::new(ResourceKind::Instance, name);
    let wanted: Vec<NewResource> = names.iter().map(new).collect();
    let intents = step.intend(&wanted)?;
    let Some(first) = intents.first().filter(|intent| intent.is_retried()) else {
        return Ok((intents, Vec::new()));
    };
    let mut launched = ec2.launched(first.token()).await?;
    let ended = launched.iter().filter(|i| has_ended(i)).count();
    if ended == 0 || ended < launched.len() {
        launched.retain(|instance| !has_ended(instance));
        launched.truncate(names.len());
        return Ok((intents, launched));
    }
    // EC2 does not launch again for the token of instances that have ended, so
    // the launch needs a new token.
    for intent in intents {
        intent.not_created();
    }
    Ok((step.intend(&wanted)?, Vec::new()))
}

/// Checks before the first request for options that AWS would refuse and for likely
/// mistakes.
fn check(cx: &Context, options: &LaunchInstance) -> Result<()> {
    options.check_together()?;
    if options.volume_size.is_some_and(|size| size < 1) {
        return Err(Error::invalid(
            "option `volume_size`: it must be at least 1 GiB",
        ));
    }
    volumes(&options.volumes)?;
    if let Some(instance_type) = &options.instance_type {
        credits(options.credits, instance_type)?;
    }
    credits_of(options.credits, &options.types)?;
    if let Some(ttl) = cx.ttl {
        ttl::user_data(options.user_data.as_deref(), now(), ttl)?;
    }
    cx.report.mask().keep_out_of_tags(&options.tags)?;
    let Some(user_data) = &options.user_data else {
        return Ok(());
    };
    for warning in check_user_data(user_data)? {
        cx.report.warn(warning);
    }
    if cx.report.mask().finds_in(user_data) || cx.report.mask().apply(user_data) != *user_data {
        cx.report.warn(
            "the user data contains a secret: every program on the instance can read it from \
             the metadata service, and so can every user who may call \
             DescribeInstanceAttribute; to avoid this, pass the secret later with scp, or with \
             `env` or `stdin` of ssh_exec",
        );
    }
    Ok(())
}

impl Consistent for LaunchInstance {
    fn check_together(&self) -> Result<()> {
        if self
            .count
            .is_some_and(|count| !(1..=MOST_AT_ONCE).contains(&count))
        {
            return Err(Error::invalid(format!(
                "option `count`: it must be from 1 to {MOST_AT_ONCE}"
            )));
        }
        check_choices(self)
    }
}

/// Reads an array that has an effect, and so is empty by mistake.
fn not_empty<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<String>, D::Error> {
    let all = Vec::deserialize(from)?;
    if all.is_empty() {
        return Err(D::Error::custom("expected at least one"));
    }
    Ok(all)
}

/// Checks the options of which some exclude others.
fn check_choices(options: &LaunchInstance) -> Result<()> {
    let both = |one: &str, other: &str| {
        Err(Error::invalid(format!(
            "options `{one}` and `{other}`: pass only one of them"
        )))
    };
    if options.instance_type.is_some() && !options.types.is_empty() {
        return both("type", "types");
    }
    if options.subnet.is_some() && !options.subnets.is_empty() {
        return both("subnet", "subnets");
    }
    for (name, values) in [("types", &options.types), ("subnets", &options.subnets)] {
        let twice = (1..values.len()).find(|at| values[..*at].contains(&values[*at]));
        if let Some(at) = twice {
            let value = &values[at];
            return Err(Error::invalid(format!(
                "option `{name}`: `{value}` is listed twice"
            )));
        }
    }
    let choices = options.types.len().max(1) * options.subnets.len().max(1);
    if choices > MOST_CHOICES {
        return Err(Error::invalid(format!(
            "options `types` and `subnets`: they have {choices} combinations, but EC2 accepts at \
             most {MOST_CHOICES}"
        )));
    }
    let Some(at_least) = options.at_least else {
        return Ok(());
    };
    let count = options.count.unwrap_or(1);
    if !(1..=count).contains(&at_least) {
        return Err(Error::invalid(format!(
            "option `at_least`: it must be from 1 to `count`, which is {count}"
        )));
    }
    if !options.is_fleet() {
        return Err(Error::invalid(
            "option `at_least`: EC2 launches all instances or none without `types`",
        )
        .hint("pass `types` or `subnets`"));
    }
    Ok(())
}

/// Checks user data. Returns warnings about parts that cloud-init ignores.
///
/// Throws `invalid_option` if it is too long, or if cloud-init would not run it.
pub(super) fn check_user_data(user_data: &str) -> Result<Vec<String>> {
    if user_data.len() > LONGEST_USER_DATA {
        return Err(Error::invalid(format!(
            "option `user_data`: it has {} bytes, but EC2 accepts at most {LONGEST_USER_DATA}",
            user_data.len()
        ))
        .hint("use a short script that fetches the rest, or copy the rest with scp later"));
    }
    if user_data.is_empty() {
        return Err(Error::invalid("option `user_data`: it is empty")
            .hint("omit it, or pass a script that begins with #!/bin/sh"));
    }
    cloud_init::check(user_data)
}

/// Returns the image of a launch. If nothing has to be launched, only the login
/// user is needed: the image may be gone, and the default image need not be looked
/// up.
async fn image(
    cx: &Context,
    ec2: &Ec2<'_>,
    options: &LaunchInstance,
    needed: bool,
) -> Result<Option<Image>> {
    match &options.image {
        None if needed => Ok(Some(latest_amazon_linux(cx, &x86_64()).await?.image)),
        None => Ok(None),
        Some(NameOr::Map(image)) => Ok(Some(image.clone())),
        Some(NameOr::Name(_)) if !needed && options.user.is_some() => Ok(None),
        Some(NameOr::Name(id)) => match ec2.image(id).await {
            Err(error) if error.kind == ErrorKind::NotFound && !needed => Ok(None),
            image => image.map(Some),
        },
    }
}

/// Returns the credit option of a launch of several types. A launch template has one
/// option for all of them, so types without credits exclude it.
fn credits_of(wanted: Option<Credits>, types: &[String]) -> Result<Option<Credits>> {
    let mut all = Vec::new();
    for instance_type in types {
        all.push(credits(wanted, instance_type)?);
    }
    Ok(if all.contains(&None) {
        None
    } else {
        all.first().copied().flatten()
    })
}

/// Returns the credit option of a launch. Only burstable types have CPU credits;
/// their names begin with `t` and the number of their generation, from 2.
fn credits(wanted: Option<Credits>, instance_type: &str) -> Result<Option<Credits>> {
    let generation = instance_type
        .strip_prefix('t')
        .and_then(|rest| rest.bytes().next());
    let burstable = generation.is_some_and(|digit| (b'2'..=b'9').contains(&digit));
    match wanted {
        Some(_) if !burstable => Err(Error::invalid(format!(
            "option `credits`: {instance_type} has no CPU credits"
        ))
        .hint("omit it, or choose a burstable `type`: t2, t3, t3a or t4g")),
        _ => Ok(burstable.then_some(wanted.unwrap_or(Credits::Standard))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_burstable_types_have_credits() {
        for burstable in ["t2.micro", "t3.micro", "t3a.nano", "t4g.small"] {
            assert_eq!(credits(None, burstable).unwrap(), Some(Credits::Standard));
            let unlimited = Some(Credits::Unlimited);
            assert_eq!(credits(unlimited, burstable).unwrap(), unlimited);
        }
        for other in ["m5.large", "trn1.2xlarge", "t1.micro", "c7i-flex.large", ""] {
            assert_eq!(credits(None, other).unwrap(), None, "{other}");
            assert!(credits(Some(Credits::Standard), other).is_err(), "{other}");
        }
    }

    #[test]
    fn types_without_credits_exclude_the_option() {
        let of = |types: &[&str]| {
            let types: Vec<String> = types.iter().map(|name| (*name).to_owned()).collect();
            credits_of(None, &types).unwrap()
        };
        assert_eq!(of(&["t3.micro", "t4g.nano"]), Some(Credits::Standard));
        assert_eq!(of(&["t3.micro", "m5.large"]), None);
        assert_eq!(of(&[]), None);
    }
}
