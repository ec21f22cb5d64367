//! Networks of a run: a VPC with a public and a private half.
//!
//! A network has several parts, each with a row in the ledger. An interrupted
//! attempt leaves some of them; the next one finds them and adds the others.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_public;
use super::network::late_or;
use crate::clients::ec2::{Ec2, NetworkPart, NewPart};
use crate::clients::marks::Tags;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{NewResource, Step};
use crate::script::{Named, ResultKind, integer};
use crate::teardown::kind_of;

/// The largest and the smallest network, as prefix lengths. AWS accepts subnets
/// down to /28, and a network has 16 blocks for subnets.
const PREFIXES: std::ops::RangeInclusive<u8> = 16..=24;

/// The number of blocks for subnets in each half of a network.
const BLOCKS: usize = 8;

/// How often a create request is sent again after a lost answer.
const MOST_REPEATED: u32 = 3;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateNetwork {
    /// CIDR block of the VPC, from /16 to /24. Choose one that does not overlap
    /// with networks that this one will be connected to.
    #[serde(default = "block")]
    cidr: String,
    /// Number of availability zones, at most 8. Each one has a public and a
    /// private subnet.
    #[serde(default = "integer::<1>")]
    zones: i64,
    /// Create a NAT gateway, through which instances in the private subnets reach
    /// the internet. AWS charges for it by the hour and by the gigabyte, and for its
    /// Elastic IP address.
    #[serde(default)]
    nat: bool,
    /// Additional tags.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

fn block() -> String {
    "10.0.0.0/16".to_owned()
}

/// The map of a network.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Network {
    /// "network".
    kind: ResultKind,
    /// Name of the network.
    name: String,
    /// Id of the VPC, such as `vpc-0abc`.
    pub(super) vpc_id: String,
    /// CIDR block of the VPC.
    cidr: String,
    /// Id of the public subnet in the first zone. Instances in it get public
    /// addresses.
    public_subnet: String,
    /// Id of the private subnet in the first zone. Instances in it have no public
    /// addresses, and reach the internet only with `nat`.
    private_subnet: String,
    /// Ids of the public subnets, one in each zone.
    public_subnets: Vec<String>,
    /// Ids of the private subnets, one in each zone.
    private_subnets: Vec<String>,
    /// Names of the availability zones.
    zones: Vec<String>,
    /// Id of the NAT gateway, such as `nat-0abc`; `()` without `nat`.
    nat_gateway: Option<String>,
    /// The address from which servers on the internet see connections of the
    /// private instances; `()` without `nat`.
    nat_ip: Option<String>,
}

/// A network as an option of other functions.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NetworkMap {
    pub(super) vpc_id: String,
}

impl Named for NetworkMap {
    const EXPECTED: &'static str =
        "an id like \"vpc-0abc\", or the map that create_network returned";
}

pub(super) async fn create_network(
    cx: &Context,
    step: &mut Step,
    name: &str,
    options: CreateNetwork,
) -> Result<Network> {
    let cidr = cidr(&options.cidr)?;
    let count = usize::try_from(options.zones).unwrap_or(0);
    if !(1..=BLOCKS).contains(&count) {
        let message = format!("option `zones`: it must be from 1 to {BLOCKS}");
        return Err(Error::invalid(message));
    }
    if name.is_empty() {
        return Err(Error::invalid("the name of a network is empty"));
    }
    check_public(cx, "the name of a network", name)?;
    cx.report.mask().keep_out_of_tags(&options.tags)?;
    let recorded = step.recorded::<Network>()?;
    if let Some(recorded) = &recorded
        && step.removal_began()
    {
        step.replay();
        return Ok(recorded.clone());
    }
    let ec2 = cx.clients.ec2().await?;
    let zones = match &recorded {
        Some(recorded) => recorded.zones.clone(),
        None => zones(&ec2, count).await?,
    };
    if recorded.is_none() {
        step.begin_unwritten();
    }
    let mut parts = Parts {
        cx,
        step,
        ec2,
        tags: &options.tags,
        created: false,
    };
    let network = parts.all(name, cidr, zones, options.nat).await?;
    if !parts.created && recorded.is_some() {
        step.replay();
        return Ok(network);
    }
    cx.report.info(format!(
        "created network {} ({name}) of {cidr}, with a public and a private half",
        network.vpc_id
    ));
    Ok(network)
}

/// Parses the CIDR block of a network.
pub(super) fn cidr(text: &str) -> Result<Ipv4Net> {
    let fault = |why: &str| {
        Error::invalid(format!("option `cidr`: `{text}` {why}"))
            .hint("pass a private IPv4 network from /16 to /24, such as \"10.0.0.0/16\"")
    };
    let net: Ipv4Net = text.parse().map_err(|_| fault("is not a CIDR block"))?;
    if net.trunc() != net {
        return Err(fault("is not the first address of its network"));
    }
    if !PREFIXES.contains(&net.prefix_len()) {
        return Err(fault("is too large or too small"));
    }
    if !net.network().is_private() {
        return Err(fault("is not a private network"));
    }
    Ok(net)
}

/// Returns the first availability zones of the region.
async fn zones(ec2: &Ec2<'_>, count: usize) -> Result<Vec<String>> {
    let mut zones = ec2.zones().await?;
    zones.sort_unstable();
    if zones.len() < count {
        let message = format!(
            "option `zones`: {} has {} availability zones only",
            ec2.region(),
            zones.len()
        );
        return Err(Error::invalid(message));
    }
    zones.truncate(count);
    Ok(zones)
}

/// Returns the CIDR blocks of the public and the private subnets.
fn halves(cidr: Ipv4Net) -> Result<(Vec<Ipv4Net>, Vec<Ipv4Net>)> {
    let blocks = cidr.subnets(cidr.prefix_len() + 4);
    let blocks = blocks.map_err(|e| Error::internal(format!("cannot divide {cidr}: {e}")))?;
    let mut public: Vec<Ipv4Net> = blocks.collect();
    let private = public.split_off(BLOCKS);
    Ok((public, private))
}

/// The parts of a network, found again or created.
pub(super) struct Parts<'a> {
    pub(super) cx: &'a Context,
    pub(super) step: &'a mut Step,
    pub(super) ec2: Ec2<'a>,
    tags: &'a BTreeMap<String, String>,
    /// Whether this attempt has created a part.
    pub(super) created: bool,
}

impl Parts<'_> {
    async fn all(
        &mut self,
        name: &str,
        cidr: Ipv4Net,
        zones: Vec<String>,
        nat: bool,
    ) -> Result<Network> {
        let block = cidr.to_string();
        let vpc = self.part(name, &NewPart::Vpc { cidr: &block }).await?;
        let gateway = self.part(name, &NewPart::InternetGateway).await?;
        let (public, private) = halves(cidr)?;
        let mut public_subnets = Vec::new();
        let mut private_subnets = Vec::new();
        for (zone, (public, private)) in zones.iter().zip(public.iter().zip(&private)) {
            for (half, cidr, ids) in [
                ("public", public, &mut public_subnets),
                ("private", private, &mut private_subnets),
            ] {
                let new = NewPart::Subnet {
                    vpc: &vpc,
                    cidr: &cidr.to_string(),
                    zone,
                };
                ids.push(self.part(&format!("{name}-{half}-{zone}"), &new).await?);
            }
        }
        // Without a NAT gateway, private subnets use the main table of the VPC,
        // which has no route to the internet.
        let table = format!("{name}-public");
        let table = self
            .part(&table, &NewPart::RouteTable { vpc: &vpc })
            .await?;
        if self.created || self.step.recorded::<Network>()?.is_none() {
            self.connect(&vpc, &gateway, &table, &public_subnets)
                .await?;
        }
        let first = |ids: &[String]| ids.first().cloned().unwrap_or_default();
        let nat = if nat {
            let subnet = first(&public_subnets);
            Some(self.nat(name, &vpc, &subnet, &private_subnets).await?)
        } else {
            None
        };
        let (nat_gateway, nat_ip) = nat.unzip();
        Ok(Network {
            kind: ResultKind::Network,
            name: name.to_owned(),
            vpc_id: vpc,
            cidr: block,
            public_subnet: first(&public_subnets),
            private_subnet: first(&private_subnets),
            public_subnets,
            private_subnets,
            zones,
            nat_gateway,
            nat_ip,
        })
    }

    /// Routes the public subnets to the internet. All of these requests can be
    /// repeated.
    async fn connect(
        &self,
        vpc: &str,
        gateway: &str,
        table: &str,
        public: &[String],
    ) -> Result<()> {
        let ec2 = self.ec2;
        self.known(async || ec2.attach_internet_gateway(gateway, vpc).await)
            .await?;
        self.known(async || ec2.route_to_internet(table, gateway).await)
            .await?;
        for subnet in public {
            self.known(async || ec2.associate_route_table(table, subnet).await)
                .await?;
            self.known(async || ec2.map_public_ip_on_launch(subnet).await)
                .await?;
        }
        Ok(())
    }

    /// Sends a request about new parts. Retries while EC2 does not know them.
    pub(super) async fn known(&self, request: impl AsyncFn() -> Result<()>) -> Result<()> {
        let what = "EC2 to know the parts of the network".to_owned();
        let mut pace = self.cx.pace(what, self.cx.clients.consistency());
        loop {
            match request().await {
                Err(error) if error.kind == ErrorKind::NotFound => {
                    let paused = pace.pause("not known yet").await;
                    paused.map_err(|late| late_or(late, error))?;
                }
                done => return done,
            }
        }
    }

    /// Returns the id of a part: the one that an earlier attempt created, or a new
    /// one.
    pub(super) async fn part(&mut self, name: &str, new: &NewPart<'_>) -> Result<String> {
        let (cx, ec2, part) = (self.cx, self.ec2, new.part());
        let kind = kind_of(part);
        let earlier = self.step.live(kind);
        for row in earlier.into_iter().filter(|row| row.name == name) {
            let id = row.id.clone().unwrap_or_default();
            let ask = async || Ok(ec2.has_network_part(part, &id).await?.then_some(()));
            if cx.seen(&row, ask).await?.is_some() {
                return Ok(id);
            }
            cx.report.warn(format!(
                "{} {id} no longer exists; creating a new one",
                kind.words()
            ));
            cx.ledger.is_gone(&row);
        }
        let intent = self.step.intend_one(NewResource::new(kind, name))?;
        self.created = true;
        let tags = cx.tags(name, intent.token(), self.tags);
        let known = if intent.is_retried() {
            self.find(part, intent.token()).await
        } else {
            Ok(None)
        };
        let made = match known {
            Ok(Some(id)) => Ok(id),
            Ok(None) => self.create(new, intent.token(), &tags).await,
            Err(error) => Err(error.after_another()),
        };
        match made {
            Ok(id) => {
                intent.created(&id);
                Ok(id)
            }
            Err(error) => {
                intent.abandoned(&error);
                Err(error)
            }
        }
    }

    /// Creates a part. The request has no client token: after a lost answer, the
    /// part is looked for by its tag before the request is sent again.
    async fn create(&self, new: &NewPart<'_>, row: &str, tags: &Tags) -> Result<String> {
        let what = "EC2 to create a part of the network".to_owned();
        let window = self.cx.clients.consistency().max(Duration::from_secs(20));
        let mut pace = self.cx.pace(what, window);
        let mut repeated = 0;
        loop {
            let error = match self.ec2.create_network_part(new, tags).await {
                Ok(id) => return Ok(id),
                Err(error) => error,
            };
            match error.kind {
                // EC2 may not know the VPC yet.
                ErrorKind::NotFound | ErrorKind::Throttled => {}
                _ if error.proves_no_effect() => return Err(error),
                ErrorKind::Cancelled => return Err(error),
                _ => {
                    let found = self.find(new.part(), row).await;
                    match found.map_err(Error::after_another)? {
                        Some(id) => return Ok(id),
                        None if repeated == MOST_REPEATED => return Err(error),
                        None => repeated += 1,
                    }
                }
            }
            let paused = pace.pause("not created yet").await;
            paused.map_err(|late| late_or(late, error))?;
        }
    }

    /// Finds the part of a row, within the time in which EC2 may not show it yet.
    async fn find(&self, part: NetworkPart, row: &str) -> Result<Option<String>> {
        let ask = async || {
            Ok(self
                .ec2
                .network_parts_of(part, row)
                .await?
                .into_iter()
                .next())
        };
        self.cx.find_created("a part of the network", ask).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_a_network_do_not_overlap() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let (public, private) = halves(net("10.0.0.0/16")).unwrap();
        assert_eq!((public.len(), private.len()), (BLOCKS, BLOCKS));
        assert_eq!(public[1], net("10.0.16.0/20"));
        assert_eq!(private[0], net("10.0.128.0/20"));
        // The smallest subnets of AWS.
        assert_eq!(
            halves(net("10.0.0.0/24")).unwrap().1[7],
            net("10.0.0.240/28")
        );
    }

    #[test]
    fn only_private_networks_of_the_right_size_are_accepted() {
        for good in ["10.0.0.0/16", "172.16.4.0/22", "192.168.7.0/24"] {
            assert_eq!(cidr(good).unwrap().to_string(), good);
        }
        for bad in [
            "10.0.0.0/15",
            "10.0.0.0/25",
            "10.0.0.1/16",
            "8.8.8.0/24",
            "10.0.0.0",
            "a",
        ] {
            assert!(cidr(bad).is_err(), "{bad}");
        }
    }
}
