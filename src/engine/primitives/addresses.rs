//! Elastic IP addresses: public addresses that stay when instances come and go.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::network::late_or;
use super::readiness::running;
use super::release;
use super::servers::{Server, ServerRef, described};
use crate::clients::ec2::{Address, Associated, Ec2, Instance, InstanceState};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, ResourceKind, Step};
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

/// How long `elastic_ip` waits for a pending instance: the default of
/// `wait_until_running`.
const RUNS_WITHIN: Duration = Duration::from_secs(300);

/// The shortest time for which an association is tried. The retry window of an
/// endpoint may be shorter than one request.
const AT_LEAST: Duration = Duration::from_secs(10);

#[export_module(manifest)]
pub mod api {
    /// Associates an Elastic IP address with an instance.
    ///
    /// An Elastic IP address belongs to the account until it is released. The
    /// instance keeps it when it is stopped and started, and the address can be
    /// moved to another instance: pass it as `address`. New connections then
    /// reach the other instance within seconds.
    ///
    /// `server` is a map that `launch_instance` returned, or an instance id. The
    /// function waits until the instance is running, and returns its map with
    /// the new address. The instance loses the public address that it had before.
    /// The ssh host key of the instance stays known.
    ///
    /// AWS charges for an address by the hour, whether an instance has it or
    /// not. `destroy` releases the addresses that the run allocated;
    /// `release_elastic_ip` releases one earlier.
    ///
    /// Throws:
    ///
    /// - `quota_exceeded` if the account has no more addresses in the region;
    /// - `not_found` if the instance or the address does not exist;
    /// - `invalid_option` if an option is wrong or the instance is terminated;
    /// - `denied` if AWS refuses the request;
    /// - `timeout` if the instance is not running after 5 minutes.
    ///
    /// ```rhai
    /// let blue = elastic_ip(launch_instance(#{ name: "blue" }));
    /// print(blue.public_ip);
    /// let green = launch_instance(#{ name: "green" });
    /// // Move the address:
    /// green = elastic_ip(green, #{ address: blue });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn elastic_ip(call: NativeCallContext, server: Dynamic, options: Map) -> Outcome<Dynamic> {
        let arguments = [&server, &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            let server = ServerRef::from_value(cx, &server)?;
            super::elastic_ip(cx, step, server, options).await
        })
    }

    /// Returns the one Elastic IP address of the account that matches, or `()`.
    ///
    /// The address must match all given options, of which one is required. A
    /// second run of a playbook can use this function to find the address that
    /// the first run allocated, and the instance that has it.
    ///
    /// Throws `invalid_option` if several addresses match, and `denied` if AWS
    /// refuses the request.
    ///
    /// ```rhai
    /// let address = find_elastic_ip(#{ tags: #{ service: "shop" } });
    /// if address != () {
    ///     print(`${address.public_ip} ${address.instance_id}`);
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn find_elastic_ip(call: NativeCallContext, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::find_elastic_ip(cx, script::options(&call, options)?).await
        })
    }

    /// Releases an Elastic IP address.
    ///
    /// `address` is a map that `elastic_ip` returned, the IPv4 address, or an
    /// allocation id such as "eipalloc-0abc". An instance that has the address
    /// loses it first. Releasing an address that does not exist is not an error.
    ///
    /// Throws `denied` if autorun did not allocate it.
    ///
    /// ```rhai
    /// let server = elastic_ip(launch_instance(#{ name: "web" }));
    /// release_elastic_ip(server);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn release_elastic_ip(call: NativeCallContext, address: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&address], async |cx, step| {
            let address: AddressRef = script::argument("address", &address)?;
            super::release_elastic_ip(cx, step, address).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("elastic_ip")
        .options::<ElasticIpOptions>()
        .returns::<ElasticIp>(Shape::One),
    Declared::of("find_elastic_ip")
        .options::<FindElasticIp>()
        .returns::<FoundElasticIp>(Shape::Maybe),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ElasticIpOptions {
    /// The Elastic IP address to move: a map that `elastic_ip` or
    /// `find_elastic_ip` returned, the IPv4 address, or an allocation id. By default a new address is allocated.
    address: Option<AddressRef>,
    /// Additional tags of a new address.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FindElasticIp {
    /// Tag `Name` of the address. `elastic_ip` sets it to the name of the
    /// instance for which it allocates the address.
    name: Option<String>,
    /// Tags that the address must have.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// The map of an Elastic IP address.
#[derive(Debug, Serialize, JsonSchema)]
struct FoundElasticIp {
    /// "elastic_ip".
    kind: ResultKind,
    /// The allocation id, such as `eipalloc-0abc`.
    allocation_id: String,
    /// The IPv4 address.
    public_ip: String,
    /// Id of the instance that has the address; `()` if none has it.
    instance_id: Option<String>,
    /// All tags of the address.
    tags: BTreeMap<String, String>,
}

/// The map of an instance with an Elastic IP address.
#[derive(Debug, Serialize, JsonSchema)]
struct ElasticIp {
    #[serde(flatten)]
    server: Server,
    /// The allocation id of the Elastic IP address, such as `eipalloc-0abc`.
    allocation_id: String,
}

/// An Elastic IP address as an argument or option.
type AddressRef = NameOr<Allocated>;

#[derive(Clone, Debug, Deserialize)]
struct Allocated {
    allocation_id: String,
}

impl Named for Allocated {
    const EXPECTED: &'static str = "an IPv4 address, an allocation id like \"eipalloc-0abc\", or \
                                    the map that elastic_ip or find_elastic_ip returned";
}

/// An address, by what the playbook knows of it.
enum Known {
    Id(String),
    At(Ipv4Addr),
}

impl Known {
    /// Checks the address without a request. `what` names the argument in the
    /// error.
    fn of(given: AddressRef, what: &str) -> Result<Self> {
        let text = match given {
            NameOr::Map(map) => return Ok(Self::Id(map.allocation_id)),
            NameOr::Name(text) => text,
        };
        if text.starts_with("eipalloc-") {
            return Ok(Self::Id(text));
        }
        text.parse().map(Self::At).map_err(|_| {
            Error::invalid(format!("{what}: `{text}` is not an Elastic IP address"))
                .hint(format!("pass {}", Allocated::EXPECTED))
        })
    }

    async fn find(&self, ec2: &Ec2<'_>) -> Result<Option<Address>> {
        match self {
            Self::Id(id) => ec2.address(id).await,
            Self::At(ip) => ec2.address_at(&ip.to_string()).await,
        }
    }

    fn missing(&self, region: &str) -> Error {
        let name = match self {
            Self::Id(id) => id.clone(),
            Self::At(ip) => ip.to_string(),
        };
        let message = format!("`{name}` is not an Elastic IP address of this account in {region}");
        Error::new(ErrorKind::NotFound, message).hint(
            "`aws ec2 describe-addresses` lists the Elastic IP addresses of a region; other \
             public addresses cannot be moved",
        )
    }
}

async fn elastic_ip(
    cx: &Context,
    step: &mut Step,
    server: ServerRef,
    options: ElasticIpOptions,
) -> Result<Value> {
    cx.report.mask().keep_out_of_tags(&options.tags)?;
    let moved = options
        .address
        .map(|given| Known::of(given, "option `address`"));
    let moved = moved.transpose()?;
    if moved.is_some() && !options.tags.is_empty() {
        return Err(Error::invalid(
            "option `tags`: they are for a new address, and `address` names one",
        )
        .hint("pass either `tags` or `address`"));
    }
    let ec2 = cx.clients.ec2().await?;
    let own = allocated_before(cx, step, &ec2).await?;
    if let Some(recorded) = step.recorded::<Value>()?
        && (own.is_some() || moved.is_some() || step.was_undone())
    {
        step.replay();
        return Ok(recorded);
    }
    let mut instance = described(cx, &server.id).await?;
    if instance.state == InstanceState::Pending {
        instance = running(cx, server.clone(), RUNS_WITHIN).await?.instance;
    }
    let address = match (moved, own) {
        (Some(known), _) => {
            let found = known.find(&ec2).await?;
            let found = found.ok_or_else(|| known.missing(ec2.region()))?;
            step.begin()?;
            found
        }
        (None, Some(own)) => {
            // An interrupted attempt may not have associated it.
            step.begin_unwritten();
            own
        }
        (None, None) => allocate(cx, step, &ec2, &instance, &options.tags).await?,
    };
    let instance = associate(cx, &ec2, &address, &instance.id).await?;
    cx.report.info(format!(
        "{} has the Elastic IP address {} ({})",
        instance.id, address.public_ip, address.allocation_id
    ));
    let given = ElasticIp {
        server: server.with(cx, instance).await,
        allocation_id: address.allocation_id,
    };
    serde_json::to_value(given)
        .map_err(|e| Error::internal(format!("cannot convert the instance: {e}")))
}

/// Returns the address that an earlier attempt of this step allocated, if it still
/// exists.
async fn allocated_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Option<Address>> {
    for row in step.live(ResourceKind::ElasticIp) {
        let id = row.id.as_deref().unwrap_or_default();
        let ask = async || ec2.address(id).await;
        if let Some(address) = cx.seen(&row, ask).await? {
            return Ok(Some(address));
        }
        cx.ledger.is_gone(&row);
    }
    Ok(None)
}

/// Allocates an address with the name of the instance. If the answer to an earlier
/// request was lost, finds the address that this step has already allocated.
async fn allocate(
    cx: &Context,
    step: &mut Step,
    ec2: &Ec2<'_>,
    instance: &Instance,
    tags: &BTreeMap<String, String>,
) -> Result<Address> {
    let name = match instance.name.as_str() {
        "" => instance.id.as_str(),
        name => name,
    };
    let intent = step.intend_one(NewResource::new(ResourceKind::ElasticIp, name))?;
    // AWS has no client token for addresses, so the tag must find it.
    let of_row = async || ec2.address_of(intent.token()).await;
    if intent.is_retried()
        && let Some(address) = cx
            .find_created(&format!("Elastic IP address {name}"), of_row)
            .await?
    {
        intent.created(&address.allocation_id);
        return Ok(address);
    }
    let tags = cx.tags(name, intent.token(), tags);
    match ec2.allocate_address(&tags).await {
        Ok(address) => {
            intent.created(&address.allocation_id);
            cx.report.info(format!(
                "allocated the Elastic IP address {} ({})",
                address.public_ip, address.allocation_id
            ));
            Ok(address)
        }
        Err(error) => {
            intent.abandoned(&error);
            Err(error)
        }
    }
}

/// Associates the address, and waits until EC2 shows it as the instance's. EC2 may
/// not know a new address for a moment.
async fn associate(
    cx: &Context,
    ec2: &Ec2<'_>,
    address: &Address,
    instance: &str,
) -> Result<Instance> {
    let what = format!("{instance} to have the address {}", address.public_ip);
    let mut pace = cx.pace(what, cx.clients.consistency().max(AT_LEAST));
    while let Associated::NotNow(error) = ec2
        .associate_address(&address.allocation_id, instance)
        .await?
    {
        if error_is_final(cx, instance).await? {
            return Err(error);
        }
        let paused = pace.pause("not known yet").await;
        paused.map_err(|late| late_or(late, error))?;
    }
    loop {
        let seen = described(cx, instance).await?;
        if seen.public_ip.as_ref() == Some(&address.public_ip) {
            return Ok(seen);
        }
        pace.pause("not visible yet").await?;
    }
}

/// Whether the instance can no longer have an address.
async fn error_is_final(cx: &Context, instance: &str) -> Result<bool> {
    Ok(described(cx, instance).await?.state.has_ended())
}

async fn find_elastic_ip(cx: &Context, wanted: FindElasticIp) -> Result<Option<FoundElasticIp>> {
    let name = wanted.name.map(|name| ("Name".to_owned(), name));
    let tags: Vec<_> = wanted.tags.into_iter().chain(name).collect();
    if tags.is_empty() {
        return Err(Error::invalid("option `tags`: it is missing")
            .hint("pass `tags` or `name` to select one address"));
    }
    let mut found = cx.clients.ec2().await?.tagged_addresses(&tags).await?;
    if found.len() > 1 {
        let ids: Vec<_> = found.iter().map(|a| a.allocation_id.as_str()).collect();
        return Err(
            Error::invalid(format!("{} Elastic IP addresses match", found.len()))
                .hint(format!("narrow the filter: {}", ids.join(", "))),
        );
    }
    Ok(found.pop().map(|address| FoundElasticIp {
        kind: ResultKind::ElasticIp,
        allocation_id: address.allocation_id,
        public_ip: address.public_ip,
        instance_id: address.instance_id,
        tags: address.tags,
    }))
}

async fn release_elastic_ip(cx: &Context, step: &mut Step, address: AddressRef) -> Result<()> {
    let known = Known::of(address, "argument `address`")?;
    if step.recorded::<Value>()?.is_some() {
        step.replay();
        return Ok(());
    }
    let id = match known {
        Known::Id(id) => id,
        Known::At(_) => match known.find(&cx.clients.ec2().await?).await? {
            Some(found) => found.allocation_id,
            None => return Ok(()),
        },
    };
    release(cx, step, ResourceKind::ElasticIp, &id).await
}
