//! Who may connect to instances.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_public, release};
use crate::clients::ec2::{Ec2, Ingress, Marked};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Intent, NewResource, Remover, ResourceKind, State, Step};
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

/// Where ssh listens: opened to the caller alone unless told otherwise.
const SSH_PORT: u16 = 22;

#[export_module]
pub mod api {
    /// Creates a security group and opens the ports given.
    ///
    /// Without `ingress` only ssh is open, and only for this machine's own
    /// public address.
    ///
    /// Throws `already_exists`, `invalid_option`, `denied`.
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
            super::create_security_group(cx, step, &name, script::options(options)?).await
        })
    }

    /// Opens a port of a security group; one that is open is no error.
    ///
    /// `group` is what `create_security_group` gave, or an id. `rule` is as in
    /// its `ingress`: ssh is opened to this machine's own address unless `from`
    /// says otherwise, other ports to everyone. Gives whether it was closed
    /// before. In a group that the run did not make, `autorun destroy` closes it
    /// again.
    ///
    /// Throws `not_found`, `invalid_option`, `denied`.
    ///
    /// ```rhai
    /// let group = create_security_group("web-" + run_id());
    /// open_port(group, #{ port: 443 });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn open_port(call: NativeCallContext, group: Dynamic, rule: Map) -> Outcome<Dynamic> {
        let arguments = [&group, &rule.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::open_port(cx, step, &group, script::options(rule)?).await
        })
    }

    /// Closes a port of a security group; one that is closed is no error.
    ///
    /// `group` and `rule` are as for `open_port`: a rule is told by its ports,
    /// its protocol and `from`. Gives whether it was open before.
    ///
    /// Throws `not_found`, `invalid_option`, `denied`.
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
            super::close_port(cx, step, &group, script::options(rule)?).await
        })
    }

    /// Deletes a security group, waiting until nothing uses it any more.
    ///
    /// `group` is what `create_security_group` gave, or an id. One that is gone
    /// is no error.
    ///
    /// Throws `timeout` when it stays in use, `denied` for a group that autorun
    /// did not make.
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

    /// Gives this machine's public address, as AWS's check-ip service sees it.
    ///
    /// Throws `unreachable`, `timeout`.
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
        .gives::<SecurityGroup>(Shape::One),
    Declared::of("open_port").takes::<Rule>("rule"),
    Declared::of("close_port").takes::<Rule>("rule"),
];

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateSecurityGroup {
    /// The rules.
    ingress: Option<Vec<Rule>>,
    /// Shown in the console.
    description: Option<String>,
    /// Id of the VPC; by default the region's default VPC.
    vpc: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// The port, or the first of a range.
    port: u16,
    /// The last port of a range.
    to_port: Option<u16>,
    /// An address or network, as `my_ip()`, "203.0.113.0/24" or "0.0.0.0/0"; or
    /// what `create_security_group` gave, or its id, for the instances in that
    /// group; by default everyone, but for port 22 this machine's address.
    from: Option<NameOr<SourceGroup>>,
    /// `tcp` or `udp`.
    #[serde(default = "tcp")]
    protocol: String,
    /// Shown in the console.
    description: Option<String>,
}

fn tcp() -> String {
    "tcp".to_owned()
}

/// A security group that EC2 knows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct SecurityGroup {
    /// "security_group".
    kind: ResultKind,
    /// AWS's id, as `sg-0abc`.
    id: String,
    /// Its name.
    name: String,
}

/// A security group as a playbook passes it on: an id, or what
/// `create_security_group` returned.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "NameOr<GroupMap>")]
pub(super) struct GroupRef(String);

#[derive(Clone, Debug, Deserialize)]
struct GroupMap {
    id: String,
}

impl Named for GroupMap {
    const EXPECTED: &'static str = "an id as \"sg-0abc\", or what create_security_group returned";
}

/// A group whose instances may connect.
#[derive(Clone, Debug, Deserialize)]
struct SourceGroup {
    id: String,
}

impl Named for SourceGroup {
    const EXPECTED: &'static str = "an address or network, or what create_security_group returned";
}

impl From<NameOr<GroupMap>> for GroupRef {
    fn from(given: NameOr<GroupMap>) -> Self {
        match given {
            NameOr::Name(id) => Self(id),
            NameOr::Map(group) => Self(group.id),
        }
    }
}

const GROUP_HINT: &str = "pass what create_security_group gave, or an id as \"sg-0abc\"";

impl GroupRef {
    fn of(argument: &str, value: &Dynamic) -> Result<Self> {
        script::argument(argument, value).map_err(|error| error.hint(GROUP_HINT))
    }

    /// Its id. `what` names it in the error.
    pub(super) fn id(self, what: &str) -> Result<String> {
        if self.0.starts_with("sg-") {
            return Ok(self.0);
        }
        let said = format!("{what}: `{}` is not a security group's id", self.0);
        Err(Error::invalid(said).hint(GROUP_HINT))
    }
}

/// The id of a group that is an argument.
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
    let there = made_before(cx, step, &ec2).await?;
    if let Some(recorded) = step.recorded::<SecurityGroup>()?
        && (step.was_undone() || there.is_some())
    {
        step.replay();
        return Ok(recorded);
    }
    let id = if let Some(id) = there {
        // Its rules may be missing.
        step.begin_unwritten();
        id
    } else {
        let intent = step.intend_one(NewResource::new(ResourceKind::SecurityGroup, name))?;
        let vpc = options.vpc.as_deref();
        match make(cx, &ec2, &intent, name, &description, vpc).await {
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
        cx.report.info(format!("{id} was open before"));
        return Ok(false);
    }
    let goes_with_group = cx.ledger.made(ResourceKind::SecurityGroup, &group)
        // A rule that names another group keeps that one from being deleted.
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
        // It was closed a moment ago: if it is open now, a lost answer did it.
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
        format!("{id} was closed before")
    });
    Ok(closed)
}

/// The group that an earlier attempt made and that is still there.
async fn made_before(cx: &Context, step: &Step, ec2: &Ec2<'_>) -> Result<Option<String>> {
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

/// Makes the group, or finds the one that this intent has made already: its
/// answer was lost.
async fn make(
    cx: &Context,
    ec2: &Ec2<'_>,
    intent: &Intent,
    name: &str,
    description: &str,
    vpc: Option<&str>,
) -> Result<String> {
    let tags = cx.tags(name, intent.token(), &BTreeMap::new());
    match ec2
        .create_security_group(name, description, vpc, &tags)
        .await
    {
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            let what = format!("security group {name} to show");
            let mut pace = cx.pace(what, cx.clients.consistency());
            loop {
                let named = ec2.security_groups_named(name).await;
                let named = named.map_err(Error::after_another)?;
                let ours = |group: &&Marked| group.marks.row.as_deref() == Some(intent.token());
                if let Some(group) = named.iter().find(ours) {
                    return Ok(group.id.clone());
                }
                // Somebody else's shows as well, and at once if it is old.
                if !named.is_empty() || pace.left().is_zero() {
                    return Err(error);
                }
                pace.pause("not visible yet").await?;
            }
        }
        made => made,
    }
}

/// A rule as EC2 wants it; ssh is never opened to everyone by omission.
async fn ingress(cx: &Context, rule: Rule) -> Result<Ingress> {
    if let Some(description) = &rule.description {
        check_public(cx, "the description of a rule", description)?;
    }
    let to_port = rule.to_port.unwrap_or(rule.port);
    if to_port < rule.port {
        return Err(Error::invalid(format!(
            "`to_port` {to_port} is below `port` {}",
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

/// Who may connect: a network, or a group's id.
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

/// An address or network as a network.
fn network(from: &str) -> Result<String> {
    let fault = || {
        Error::invalid(format!("`{from}` is neither an address nor a network")).hint(
            "write it as \"203.0.113.7\", \"203.0.113.0/24\" or \"0.0.0.0/0\", or pass a group",
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
                "{url} did not answer with an address but with HTTP {}",
                answer.status
            ),
        )
        .hint("pass the address yourself, as `from: \"203.0.113.7\"`")),
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
