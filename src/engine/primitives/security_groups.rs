//! Security groups: which addresses may connect to instances.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network::{WithDefaultVpc, late_or};
use super::networks::NetworkMap;
use super::{check_public, release};
use crate::clients::ec2::{Created, Ec2, Ingress, Marked};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Intent, NewResource, Remover, ResourceKind, State, Step};
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

/// The port of ssh, which by default is opened only to this machine.
const SSH_PORT: u16 = 22;

#[export_module(manifest)]
pub mod api {
    /// Creates a security group and adds its ingress rules.
    ///
    /// Without `ingress`, only ssh (port 22) is open, and only to the public
    /// address of this machine.
    ///
    /// Throws:
    ///
    /// - `already_exists` if the VPC has a group with this name;
    /// - `invalid_option` if a rule is wrong or the region has no default VPC;
    /// - `not_found` if the VPC or a group in a rule does not exist;
    /// - `quota_exceeded` if a quota of the account is reached;
    /// - `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let group = create_security_group("web-" + run_id(), #{
    ///     ingress: [#{ port: 22, from: my_ip() }, #{ port: 80 }],
    /// });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_security_group(
        call: NativeCallContext,
        name: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&name.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::create_security_group(cx, step, &name, script::options(&call, options)?).await
        })
    }

    /// Opens a port in a security group.
    ///
    /// Returns true if the rule is new, and false if the port was already open.
    /// `group` is a map that `create_security_group` returned, or a group id.
    /// If this run did not create the group, `autorun destroy` closes the port
    /// again.
    ///
    /// Throws:
    ///
    /// - `not_found` if the group does not exist;
    /// - `invalid_option` if the rule is wrong;
    /// - `quota_exceeded` if the group has too many rules;
    /// - `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let group = create_security_group("web-" + run_id());
    /// open_port(group, #{ port: 443 });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn open_port(call: NativeCallContext, group: Dynamic, rule: Map) -> Outcome<Dynamic> {
        let arguments = [&group, &rule.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::open_port(cx, step, &group, script::options(&call, rule)?).await
        })
    }

    /// Closes a port in a security group.
    ///
    /// Returns true if the port was open, and false if it was already closed.
    /// `group` is a map that `create_security_group` returned, or a group id.
    /// The rule to remove is the one with the same ports, protocol and source.
    ///
    /// Throws `not_found` if the group does not exist, `invalid_option` if the
    /// rule is wrong, and `denied` if AWS refuses the request.
    ///
    /// ```rhai
    /// let group = create_security_group("web-" + run_id());
    /// open_port(group, #{ port: 443 });
    /// close_port(group, #{ port: 443 });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn close_port(call: NativeCallContext, group: Dynamic, rule: Map) -> Outcome<Dynamic> {
        let arguments = [&group, &rule.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::close_port(cx, step, &group, script::options(&call, rule)?).await
        })
    }

    /// Deletes a security group.
    ///
    /// This function waits until no instance and no rule uses the group.
    /// `group` is a map that `create_security_group` returned, or a group id.
    /// Deleting a group that does not exist is not an error.
    ///
    /// Throws `timeout` if the group is still in use after 10 minutes, and
    /// `denied` if autorun did not create it.
    ///
    /// ```rhai
    /// let group = create_security_group("web-" + run_id());
    /// delete_security_group(group);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn delete_security_group(call: NativeCallContext, group: Dynamic) -> Outcome<Dynamic> {
        script::effect(&call, &[&group], async |cx, step| {
            let id = super::group_id(&group)?;
            release(cx, step, ResourceKind::SecurityGroup, &id).await
        })
    }

    /// Returns the public IP address of this machine.
    ///
    /// The address is queried from the check-ip service of AWS.
    ///
    /// Throws `unreachable` if the service cannot be reached or does not answer
    /// with an address, and `timeout` if it does not answer within 10 seconds.
    ///
    /// ```rhai
    /// log_info("this machine is " + my_ip());
    /// ```
    #[rhai_fn(return_raw)]
    pub fn my_ip(call: NativeCallContext) -> Outcome<Dynamic> {
        script::run(&call, async |cx| super::my_ip(cx).await)
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("create_security_group")
        .options::<CreateSecurityGroup>()
        .returns::<SecurityGroup>(Shape::One),
    Declared::of("open_port").takes::<Rule>("rule"),
    Declared::of("close_port").takes::<Rule>("rule"),
];

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateSecurityGroup {
    /// Rules for incoming connections. The default is port 22 from the public
    /// address of this machine.
    ingress: Option<Vec<Rule>>,
    /// Description of the group in the AWS console.
    description: Option<String>,
    /// Id of the VPC. The default is the default VPC of the region.
    vpc: Option<String>,
    /// In place of `vpc`: a map that `create_network` returned.
    network: Option<NameOr<NetworkMap>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// The port, or the first port of a range.
    port: u16,
    /// The last port of a range.
    to_port: Option<u16>,
    /// Source of the connections: an address or a network, such as `my_ip()`,
    /// "203.0.113.0/24" or "0.0.0.0/0"; or a group id or a map that
    /// `create_security_group` returned, for the instances in that group. The
    /// default is every address, but for port 22 only the public address of
    /// this machine.
    from: Option<NameOr<SourceGroup>>,
    /// `tcp` or `udp`.
    #[serde(default = "tcp")]
    protocol: String,
    /// Description of the rule in the AWS console.
    description: Option<String>,
}

fn tcp() -> String {
    "tcp".to_owned()
}

/// The map of a security group.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct SecurityGroup {
    /// "security_group".
    kind: ResultKind,
    /// Id of the group, such as `sg-0abc`.
    id: String,
    /// Name of the group.
    name: String,
}

/// A security group as an argument or option: an id, or a map that
/// `create_security_group` returned.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "NameOr<GroupMap>")]
pub(super) struct GroupRef(String);

#[derive(Clone, Debug, Deserialize)]
struct GroupMap {
    id: String,
}

impl Named for GroupMap {
    const EXPECTED: &'static str =
        "an id like \"sg-0abc\", or the map that create_security_group returned";
}

/// A group whose instances may connect.
#[derive(Clone, Debug, Deserialize)]
struct SourceGroup {
    id: String,
}

impl Named for SourceGroup {
    const EXPECTED: &'static str =
        "an address, a network, or the map that create_security_group returned";
}

impl From<NameOr<GroupMap>> for GroupRef {
    fn from(given: NameOr<GroupMap>) -> Self {
        match given {
            NameOr::Name(id) => Self(id),
            NameOr::Map(group) => Self(group.id),
        }
    }
}

const GROUP_HINT: &str =
    "pass the map that create_security_group returned, or an id like \"sg-0abc\"";

impl GroupRef {
    fn of(argument: &str, value: &Dynamic) -> Result<Self> {
        script::argument(argument, value).map_err(|error| error.hint(GROUP_HINT))
    }

    /// Returns the id. `what` names the argument in the error.
    pub(super) fn id(self, what: &str) -> Result<String> {
        if self.0.starts_with("sg-") {
            return Ok(self.0);
        }
        let message = format!("{what}: `{}` is not a security group id", self.0);
        Err(Error::invalid(message).hint(GROUP_HINT))
    }
}

/// Returns the id of the group in the argument `group`.
fn group_id(value: &Dynamic) -> Result<String> {
    GroupRef::of("group", value)?.id("argument `group`")
}

async fn create_security_group(
    cx: &Context,
    step: &mut Step,
    name: &str,
    options: CreateSecurityGroup,
) -> Result<SecurityGroup> {
    let ssh = Rule {
        port: SSH_PORT,
        to_port: None,
        from: None,
        protocol: tcp(),
        description: None,
    };
    let vpc = match (options.vpc, options.network) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "the options `vpc` and `network` exclude each other",
            ));
        }
        (vpc, None) => vpc,
        (None, Some(NameOr::Name(id))) => Some(id),
        (None, Some(NameOr::Map(network))) => Some(network.vpc_id),
    };
    let mut rules = Vec::new();
    for rule in options.ingress.unwrap_or_else(|| vec![ssh]) {
        rules.push(ingress(cx, rule).await?);
    }
    check_public(cx, "the name of a security group", name)?;
    if let Some(description) = &options.description {
        check_public(cx, "the description of a security group", description)?;
    }
    let description = options
        .description
        .unwrap_or_else(|| format!("made by autorun, run {}", cx.ledger.run()));
    let ec2 = cx.clients.ec2().await?;
    let existing = created_before(cx, step, &ec2).await?;
    if let Some(recorded) = step.recorded::<SecurityGroup>()?
        && (step.was_undone() || existing.is_some())
    {
        step.replay();
        return Ok(recorded);
    }
    let id = if let Some(id) = existing {
        // An interrupted attempt may not have added the rules.
        step.begin_unwritten();
        id
    } else {
        let intent = step.intend_one(NewResource::new(ResourceKind::SecurityGroup, name))?;
        match create(cx, &ec2, &intent, name, &description, vpc.as_deref()).await {
            Ok(id) => {
                intent.created(&id);
                id
            }
            Err(error) => {
                intent.abandoned(&error);
                return Err(error);
            }
        }
    };
    if !rules.is_empty() {
        ec2.authorize(&id, &rules).await?;
    }
    let open: Vec<String> = rules
        .iter()
        .map(|rule| {
            if rule.port == rule.to_port {
                format!("{} for {}", rule.port, rule.from)
            } else {
                format!("{}-{} for {}", rule.port, rule.to_port, rule.from)
            }
        })
        .collect();
    let open = if open.is_empty() {
        "nothing".to_owned()
    } else {
        open.join(", ")
    };
    cx.report.info(format!(
        "created security group {id} ({name}), open: {open}"
    ));
    Ok(SecurityGroup {
        kind: ResultKind::SecurityGroup,
        id,
        name: name.to_owned(),
    })
}

async fn open_port(cx: &Context, step: &mut Step, group: &Dynamic, rule: Rule) -> Result<bool> {
    let group = group_id(group)?;
    let rule = ingress(cx, rule).await?;
    let ec2 = cx.clients.ec2().await?;
    let id = rule.ledger_id(&group);
    if let Some(recorded) = step.recorded::<bool>()? {
        let closed_by_playbook = cx
            .ledger
            .was_removed_by_playbook(ResourceKind::Ingress, &id);
        if closed_by_playbook || ec2.is_open(&group, &rule).await? {
            step.replay();
            return Ok(recorded);
        }
        for row in step.live(ResourceKind::Ingress) {
            cx.ledger.is_gone(&row);
        }
    }
    let retried = step.made().iter().any(|row| row.state == State::Intended);
    if !retried && ec2.is_open(&group, &rule).await? {
        cx.report.info(format!("{id} is already open"));
        return Ok(false);
    }
    let goes_with_group = cx.ledger.made(ResourceKind::SecurityGroup, &group)
        // A rule that names another group prevents the deletion of that group, so
        // it needs a row of its own.
        && rule.from_group().is_none();
    let intent = if goes_with_group {
        step.begin()?;
        None
    } else {
        let wanted = NewResource::with_id(ResourceKind::Ingress, &id, &id);
        Some(step.intend_one(wanted)?)
    };
    let opened = ec2.open(&group, &rule).await;
    match (&opened, intent) {
        // The port was closed before the request. If AWS answers that it is open,
        // the request was sent twice because its first answer was lost.
        (Ok(_), Some(intent)) => intent.created(&id),
        (Err(error), Some(intent)) => intent.abandoned(error),
        (_, None) => {}
    }
    opened?;
    cx.report.info(format!("opened {id}"));
    Ok(true)
}

async fn close_port(cx: &Context, step: &mut Step, group: &Dynamic, rule: Rule) -> Result<bool> {
    let group = group_id(group)?;
    let rule = ingress(cx, rule).await?;
    if let Some(recorded) = step.recorded::<bool>()? {
        step.replay();
        return Ok(recorded);
    }
    step.begin()?;
    let closed = cx.clients.ec2().await?.close(&group, &rule).await?;
    let id = rule.ledger_id(&group);
    if let Some(row) = cx.ledger.live_row(ResourceKind::Ingress, &id) {
        cx.ledger.removed_with(&row, Remover::Playbook);
    }
    cx.report.info(if closed {
        format!("closed {id}")
    } else {
        format!("{id} is already closed")
    });
    Ok(closed)
}

/// Returns the id of the group that an earlier attempt created, if it still exists.
async fn created_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Option<String>> {
    for row in step.live(ResourceKind::SecurityGroup) {
        let id = row.id.as_deref().unwrap_or_default();
        let ask = async || ec2.security_group_marks(id).await;
        if cx.seen(&row, ask).await?.is_some() {
            return Ok(Some(id.to_owned()));
        }
        cx.ledger.is_gone(&row);
    }
    Ok(None)
}

/// Creates the group. If the answer to an earlier request was lost, finds the group
/// that this intent has already created.
async fn create(
    cx: &Context,
    ec2: &Ec2<'_>,
    intent: &Intent,
    name: &str,
    description: &str,
    vpc: Option<&str>,
) -> Result<String> {
    let tags = cx.tags(name, intent.token(), &BTreeMap::new());
    let mut network = WithDefaultVpc::default();
    // EC2 may not know a VPC that this run has just created.
    let fresh = vpc.is_some_and(|vpc| cx.ledger.made(ResourceKind::Vpc, vpc));
    let what = "EC2 to know the VPC".to_owned();
    let mut pace = cx.pace(what, cx.clients.consistency());
    let created = loop {
        let created = ec2.create_security_group(name, description, vpc, &tags);
        match created.await {
            Ok(Created::Group(id)) => break Ok(id),
            Ok(Created::NoDefaultVpc(error)) => network.wait(cx, error).await?,
            Err(error) if fresh && error.kind == ErrorKind::NotFound => {
                let paused = pace.pause("not known yet").await;
                paused.map_err(|late| late_or(late, error))?;
            }
            Err(error) => break Err(error),
        }
    };
    match created {
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            let what = format!("security group {name} to be visible");
            let mut pace = cx.pace(what, cx.clients.consistency());
            loop {
                let named = ec2.security_groups_named(name).await;
                let named = named.map_err(Error::after_another)?;
                let ours = |group: &&Marked| group.marks.row.as_deref() == Some(intent.token());
                if let Some(group) = named.iter().find(ours) {
                    return Ok(group.id.clone());
                }
                // A group that was created elsewhere has the name. An old group is
                // visible immediately.
                if !named.is_empty() || !pace.pause_until_end("not visible yet").await? {
                    return Err(error);
                }
            }
        }
        made => made,
    }
}

/// Converts a rule for EC2. A rule that includes the ssh port is never opened to
/// every address by default.
async fn ingress(cx: &Context, rule: Rule) -> Result<Ingress> {
    if let Some(description) = &rule.description {
        check_public(cx, "the description of a rule", description)?;
    }
    let to_port = rule.to_port.unwrap_or(rule.port);
    if to_port < rule.port {
        return Err(Error::invalid(format!(
            "`to_port` {to_port} is less than `port` {}",
            rule.port
        )));
    }
    if !["tcp", "udp"].contains(&rule.protocol.as_str()) {
        return Err(
            Error::invalid(format!("unknown protocol `{}`", rule.protocol))
                .hint("use `tcp` or `udp`"),
        );
    }
    let from = match rule.from {
        Some(from) => source(from)?,
        None if (rule.port..=to_port).contains(&SSH_PORT) => network(&my_ip(cx).await?)?,
        None => "0.0.0.0/0".to_owned(),
    };
    Ok(Ingress {
        protocol: rule.protocol,
        port: rule.port.into(),
        to_port: to_port.into(),
        from,
        description: rule.description,
    })
}

/// Checks the text of a rule's source: a network, an address or a group id.
pub(super) fn check_source(text: &str) -> Result<()> {
    source(NameOr::Name(text.to_owned())).map(drop)
}

/// Returns the source of a rule: a network or a group id.
fn source(from: NameOr<SourceGroup>) -> Result<String> {
    let id = match from {
        NameOr::Name(text) if !text.starts_with("sg-") => return network(&text),
        NameOr::Name(id) => id,
        NameOr::Map(group) => group.id,
    };
    GroupRef(id)
        .id("option `from`")
        .map_err(|error| error.hint(format!("pass {}", SourceGroup::EXPECTED)))
}

/// Converts an address or a network to a network.
fn network(from: &str) -> Result<String> {
    let fault = || {
        Error::invalid(format!("`{from}` is neither an address nor a network")).hint(
            "write it like \"203.0.113.7\", \"203.0.113.0/24\" or \"0.0.0.0/0\", or pass a group",
        )
    };
    let (address, bits) = match from.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| fault())?)),
        None => (from, None),
    };
    let most = match address.parse::<IpAddr>().map_err(|_| fault())? {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    match bits {
        Some(bits) if bits > most => Err(fault()),
        bits => Ok(format!("{address}/{}", bits.unwrap_or(most))),
    }
}

async fn my_ip(cx: &Context) -> Result<String> {
    let url = cx.clients.check_ip()?;
    let answer = cx.clients.http().get(url, Duration::from_secs(10)).await?;
    let address = answer.body.trim();
    match address.parse::<IpAddr>() {
        Ok(_) if answer.status == 200 => Ok(address.to_owned()),
        _ => Err(Error::new(
            ErrorKind::Unreachable,
            format!(
                "{url} did not answer with an address, but with HTTP {}",
                answer.status
            ),
        )
        .hint("pass the address yourself, for example `from: \"203.0.113.7\"`")),
    }
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn addresses_become_networks() {
        assert_eq!(network("203.0.113.7").unwrap(), "203.0.113.7/32");
        assert_eq!(network("2001:db8::1").unwrap(), "2001:db8::1/128");
        assert_eq!(network("10.0.0.0/8").unwrap(), "10.0.0.0/8");
        for bad in ["everyone", "10.0.0.0/33", "10.0.0/8", ""] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
