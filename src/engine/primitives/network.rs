//! Networks: the default VPC, which launches and security groups use if the
//! playbook names no other one. `networks` has those of a run.

use std::io::{IsTerminal as _, Write as _};

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::network_removal;
use super::networks::{self, CreateNetwork, Network};
use crate::clients::Pace;
use crate::clients::ec2::Ec2;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::script::{self, Declared, Outcome, Shape};

#[export_module(manifest)]
pub mod api {
    /// Creates the default VPC of the region, if it is missing.
    ///
    /// `launch_instance` and `create_security_group` use the default VPC if the
    /// playbook names no `subnet` and no `vpc`. Many organizations delete it.
    /// AWS creates it with one subnet in each availability zone and an internet
    /// gateway; it costs nothing. If the default VPC exists but has no default
    /// subnet, the subnets are created. If nothing is missing, nothing changes.
    ///
    /// The default VPC belongs to the account, not to the run: others may use
    /// it too. So `destroy` does not delete it.
    ///
    /// Throws `denied` if AWS refuses a request, and `quota_exceeded` if the
    /// region has too many VPCs.
    ///
    /// ```rhai
    /// let network = create_default_vpc();
    /// log_info(`${network.id} has ${network.subnets.len} default subnets`);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_default_vpc(call: NativeCallContext) -> Outcome<Dynamic> {
        script::effect(&call, &[], async |cx, step| {
            if let Some(recorded) = step.recorded::<DefaultVpc>()? {
                step.replay();
                return Ok(recorded);
            }
            step.begin()?;
            super::create_default_vpc(cx).await
        })
    }

    /// Creates a network with a public and a private half.
    ///
    /// The network is a VPC of its own. Instances in its public subnet have
    /// public addresses and reach the internet. Instances in its private subnet
    /// have only private addresses: no connection from the internet reaches
    /// them. Reach them through an instance in the public subnet, with `via` of
    /// `host`.
    ///
    /// Private instances do not reach the internet, so they can install nothing:
    /// copy what they need with `scp`, or launch them from an image that has it.
    /// With the option `nat`, they reach the internet through a NAT gateway in
    /// the first zone, and are still not reached from it. The function waits
    /// until the NAT gateway is available, for a minute or two.
    ///
    /// AWS does not charge for a network without a NAT gateway. Its parts are a
    /// VPC, an internet gateway, a route table, and two subnets in each
    /// availability zone. A NAT gateway costs about 0.05 USD per hour, as long as
    /// it exists, and as much per gigabyte; its Elastic IP address costs 0.005
    /// USD per hour. `delete_network` deletes all parts, and `destroy` deletes
    /// them after the instances and security groups in them.
    ///
    /// Throws:
    ///
    /// - `invalid_option` if an option is wrong;
    /// - `quota_exceeded` if the region has too many VPCs, by default 5, or
    ///   too many Elastic IP addresses, by default 5;
    /// - `denied` if AWS refuses a request;
    /// - `timeout` if the NAT gateway is not available after 10 minutes.
    ///
    /// ```rhai
    /// let network = create_network("shop-" + run_id());
    /// let name = "database-" + run_id();
    /// let group = create_security_group(name, #{
    ///     network: network,
    ///     ingress: [#{ port: 5432, from: network.cidr }],
    /// });
    /// let options = #{ subnet: network.private_subnet, security_groups: [group] };
    /// let database = launch_instance(options);
    /// assert(database.public_ip == ());
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_network(
        call: NativeCallContext,
        name: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&name.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(&call, options)?;
            networks::create_network(cx, step, &name, options).await
        })
    }

    /// Deletes a network that `create_network` created, with all of its parts.
    ///
    /// `network` is a map that `create_network` returned, or the id of its VPC.
    /// Terminate the instances and delete the security groups in it first. If the
    /// network has a NAT gateway, the function waits until it is deleted, for a
    /// minute or two, and releases its address. Deleting a network that does not
    /// exist is not an error.
    ///
    /// Throws:
    ///
    /// - `invalid_option` if something else is in the network: the message
    ///   names it;
    /// - `denied` if autorun did not create the network, or AWS refuses a request;
    /// - `timeout` if a part is still in use after 10 minutes.
    ///
    /// ```rhai
    /// let network = create_network("shop-" + run_id());
    /// delete_network(network);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn delete_network(call: NativeCallContext, network: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&network], async |cx, step| {
            let network = script::argument("network", &network)?;
            network_removal::delete_network(cx, step, network).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("create_default_vpc").returns::<DefaultVpc>(Shape::One),
    Declared::of("create_network")
        .options::<CreateNetwork>()
        .returns::<Network>(Shape::One),
];

/// The map of the default VPC.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct DefaultVpc {
    /// Id of the VPC, such as `vpc-0abc`.
    id: String,
    /// Ids of the default subnets, at most one in each availability zone.
    subnets: Vec<String>,
    /// Whether this call created the VPC or a subnet.
    created: bool,
}

async fn create_default_vpc(cx: &Context) -> Result<DefaultVpc> {
    let ec2 = cx.clients.ec2().await?;
    let region = ec2.region();
    let existing = ec2.default_vpc().await?;
    let is_new = existing.is_none();
    let id = if let Some(id) = existing {
        id
    } else {
        ec2.create_default_vpc().await?;
        let mut pace = cx.pace(
            "the default VPC to appear".to_owned(),
            cx.clients.consistency(),
        );
        loop {
            if let Some(id) = ec2.default_vpc().await? {
                break id;
            }
            pace.pause("not visible yet").await?;
        }
    };
    let mut subnets = ec2.default_subnets(&id).await?;
    let created = is_new || subnets.is_empty();
    if subnets.is_empty() {
        subnets = default_subnets(cx, &ec2, &id, is_new).await?;
    }
    cx.report.info(match (is_new, created) {
        (true, _) => format!("created the default VPC {id} of {region}; destroy keeps it"),
        (false, true) => format!("created default subnets in {id}; destroy keeps them"),
        (false, false) => format!("the default VPC of {region} is {id}"),
    });
    Ok(DefaultVpc {
        id,
        subnets,
        created,
    })
}

/// Waits for the default subnets. AWS creates those of a new VPC itself; for an old
/// VPC, they are created here, in every zone that can have one.
async fn default_subnets(
    cx: &Context,
    ec2: &Ec2<'_>,
    vpc: &str,
    is_new: bool,
) -> Result<Vec<String>> {
    if !is_new {
        let mut created = false;
        let mut refused = None;
        for zone in ec2.zones().await? {
            match ec2.create_default_subnet(&zone).await {
                Ok(()) => created = true,
                // Some zones are not for new accounts.
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused.filter(|_| !created) {
            return Err(error);
        }
    }
    let what = format!("the default subnets of {vpc} to appear");
    let mut pace = cx.pace(what, cx.clients.consistency());
    loop {
        let subnets = ec2.default_subnets(vpc).await?;
        if !subnets.is_empty() {
            return Ok(subnets);
        }
        pace.pause("not visible yet").await?;
    }
}

/// Allows one question at a time: branches of `parallel` need the same VPC.
static ASKING: Mutex<()> = Mutex::const_new(());

/// The repetition of a request that failed because there is no default VPC, or no
/// default subnet.
#[derive(Default)]
pub(super) struct WithDefaultVpc(Option<Pace>);

impl WithDefaultVpc {
    /// Makes sure that the region has a default VPC with a subnet, and waits until
    /// the next attempt is due: EC2 may still refuse the request for a moment.
    /// `error` is the refusal.
    pub(super) async fn wait(&mut self, cx: &Context, error: Error) -> Result<()> {
        if self.0.is_none() {
            provide(cx, &error).await?;
        }
        let pace = self.0.get_or_insert_with(|| {
            let what = "EC2 to know the default VPC".to_owned();
            cx.pace(what, cx.clients.consistency())
        });
        let paused = pace.pause("not known yet").await;
        paused.map_err(|late| late_or(late, error))
    }
}

/// Creates what is missing, if the user at the terminal agrees.
async fn provide(cx: &Context, error: &Error) -> Result<()> {
    let _one = ASKING.lock().await;
    let ec2 = cx.clients.ec2().await?;
    if let Ok(Some(vpc)) = ec2.default_vpc().await
        && let Ok(subnets) = ec2.default_subnets(&vpc).await
        && !subnets.is_empty()
    {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(error.clone());
    }
    cx.report.info(format!(
        "{} has no default VPC, or no default subnet; creating it costs nothing, and destroy \
         keeps it, because others may use it",
        ec2.region()
    ));
    if !agrees(cx, "create it? [y/N]").await? {
        return Err(error.clone());
    }
    create_default_vpc(cx).await.map(drop)
}

/// Returns the error of the last attempt in place of that of the wait's end.
pub(super) fn late_or(late: Error, error: Error) -> Error {
    match late.kind {
        ErrorKind::Timeout => error,
        _ => late,
    }
}

/// Asks a yes/no question on the terminal.
async fn agrees(cx: &Context, question: &'static str) -> Result<bool> {
    let _free = cx.report.hold();
    let read = tokio::task::spawn_blocking(move || {
        write!(std::io::stderr(), "{question} ")?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        () = cx.cancel.cancelled() => return Err(Error::cancelled()),
        line = read => line.ok().and_then(std::io::Result::ok).unwrap_or_default(),
    };
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}
