//! `RunInstances`: creates instances, once for each client token.

use super::addresses::{free_address, free_private_address};
use super::call::{Call, Effect};
use super::capacity::{self, Pool};
use super::ids::new_id;
use super::instance_answer::write_instance;
use super::instance_types::instance_type;
use super::launch_request::{Launch, read};
use super::launch_templates::{self, with_template};
use super::params::Part;
use super::records;
use super::refusal::{Refusal, Result};
use super::spot::Spot;
use super::state::{Attachment, Instance, InstanceProfile, Phase, Saving, Token, Volume};
use super::volumes::{check_quota, fill};
use super::xml::Xml;

/// The quota of vCPUs. AWS begins with 5 and raises the quota with an account's
/// use. A rehearsal must not depend on this, so it is that of an account in use;
/// `vcpus` of `--faults` sets another one.
const VCPUS: u32 = 1024;

pub(super) fn run_instances(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let token = token(request)?;
    let same = call.params.canonical_without("ClientToken");
    if let Some(known) = token
        .as_ref()
        .and_then(|t| call.region().tokens.get(t))
        .cloned()
    {
        if known.request == same {
            return Ok(reservation(call, &known.reservation));
        }
        return Err(Refusal::new(
            "IdempotentParameterMismatch",
            "The parameters of this request do not match those of the first request with this \
             client token",
        ));
    }
    let launch = match with_template(call, request)? {
        None => {
            let launch = read(call, request, token)?;
            call.read_all()?;
            launch
        }
        Some((template, params)) => {
            let mut launch = read(call, &params.all(), token)?;
            params.none_left()?;
            let version = launch_templates::VERSION;
            for (key, value) in [("id", &*template), ("version", version)] {
                let key = format!("aws:ec2launchtemplate:{key}");
                launch.tags.insert(key, value.to_owned());
            }
            launch
        }
    };
    if let Some(why) = &call.facts.cannot_boot {
        return Err(Refusal::new("OperationNotPermitted", why.clone()));
    }
    let count = match room(call, &launch, launch.max_count) {
        (count, Some(refusal)) if count < launch.min_count => return Err(refusal),
        (count, _) => count,
    };
    if launch.spot {
        *call.state.has_spot_role.get_mut() = true;
    }
    let id = new_id("r");
    begin(call, &launch, (&id, count), &mut Vec::new())?;
    if let Some(token) = launch.token {
        let known = Token {
            request: same,
            reservation: id.clone(),
        };
        call.region().tokens.insert(token, known);
    }
    Ok(reservation(call, &id))
}

pub(super) fn token(request: &Part<'_>) -> Result<Option<String>> {
    let Some(token) = request.text("ClientToken") else {
        return Ok(None);
    };
    if token.len() > 64 || !token.is_ascii() {
        return Err(Refusal::value(
            "ClientToken",
            token,
            "At most 64 ASCII characters.",
        ));
    }
    Ok(Some(token.to_owned()))
}

/// Launches so many instances, if there is room for all of them, else as many as there
/// is room for. Adds their ids to `ids`, and fails if there are fewer.
pub(super) fn launch_some(
    call: &mut Call<'_>,
    launch: &Launch,
    wanted: u32,
    ids: &mut Vec<String>,
) -> Result<()> {
    let (count, refusal) = room(call, launch, wanted);
    if count > 0 {
        begin(call, launch, (&new_id("r"), count), ids)?;
    }
    refusal.map_or(Ok(()), Err)
}

/// Creates so many instances of a reservation. Adds their ids to `ids`. If it fails,
/// the instances before stay.
fn begin(
    call: &mut Call<'_>,
    launch: &Launch,
    (reservation, count): (&str, u32),
    ids: &mut Vec<String>,
) -> Result<()> {
    check_quota(call, launch.volumes.iter().map(|mapping| &mapping.spec))?;
    call.effects.push(Effect::Groups);
    for index in 0..count {
        let instance = instance(call, launch, reservation, index)?;
        ids.push(instance.id.clone());
        call.effects.push(Effect::Boot(instance.id.clone()));
        let instances = &mut call.region().instances;
        instances.insert(instance.id.clone(), instance);
    }
    Ok(())
}

/// Returns how many of so many instances of the launch fit into the vCPU quota and
/// into AWS's capacity, and why not all of them do.
fn room(call: &mut Call<'_>, launch: &Launch, wanted: u32) -> (u32, Option<Refusal>) {
    let (quota, refusal) = quota_left(call, launch);
    let pool = Pool {
        instance_type: launch.instance_type.name,
        zone: &launch.subnet.zone,
        spot: launch.spot,
    };
    let capacity = capacity::left(call, pool);
    match quota.min(capacity) {
        least if least >= wanted => (wanted, None),
        least if least == capacity => (least, Some(capacity::insufficient(call, pool))),
        least => (least, Some(refusal)),
    }
}

/// Returns how many instances of the launch fit into the vCPU quota, and the error
/// about those that do not.
fn quota_left(call: &mut Call<'_>, launch: &Launch) -> (u32, Refusal) {
    let quota = call.account.vcpus.unwrap_or(VCPUS);
    let in_use: u32 = call
        .region()
        .instances
        .values()
        .filter(|instance| instance.phase.is_up())
        .filter_map(|instance| instance_type(&instance.instance_type))
        .map(|known| known.vcpus)
        .sum();
    let room = quota.saturating_sub(in_use) / launch.instance_type.vcpus;
    let refusal = Refusal::new(
        "VcpuLimitExceeded",
        format!(
            "You have requested more vCPU capacity than your current vCPU limit of {quota} allows \
             for the instance bucket that the specified instance type belongs to. Please visit \
             http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit."
        ),
    );
    (room, refusal)
}

fn instance(
    call: &mut Call<'_>,
    launch: &Launch,
    reservation: &str,
    index: u32,
) -> Result<Instance> {
    let id = new_id("i");
    let root = &launch.image.snapshot();
    let root = call.region().snapshots.get(root);
    let disk = root.and_then(|snapshot| snapshot.disk.clone());
    let shared = call.facts.subnet;
    let subnet = &launch.subnet;
    let address = match launch.address {
        Some(address) => address,
        None => free_private_address(call.state, shared, subnet)?,
    };
    let outside = if call.region().networks.is_default(&subnet.vpc) {
        None
    } else {
        Some(free_address(call.state, shared)?)
    };
    // After the addresses, of which there may be none left.
    let attachments = create_volumes(call, launch, &id);
    // Only a lent key pair can lack its public key. A login is not possible then.
    let is_record = (launch.key.as_ref()).is_some_and(|pair| pair.public_key.is_empty());
    let known = call.region().instances.len();
    Ok(Instance {
        id,
        reservation: reservation.to_owned(),
        launch_index: index,
        phase: Phase::Pending,
        since: call.now,
        reason: None,
        transition: String::new(),
        instance_type: launch.instance_type.name.to_owned(),
        image: launch.image.id.clone(),
        snapshot: disk,
        user: launch.image.user(),
        architecture: launch.image.architecture.to_owned(),
        address,
        public: launch.public,
        elastic_ip: is_record.then(|| records::address(known)),
        outside,
        vpc: subnet.vpc.clone(),
        subnet: subnet.id.clone(),
        zone: subnet.zone.clone(),
        key_name: launch.key.as_ref().map(|pair| pair.name.clone()),
        authorized_keys: launch
            .key
            .iter()
            .map(|pair| pair.public_key.clone())
            .collect(),
        groups: launch.groups.clone(),
        user_data: launch.user_data.clone(),
        tags: launch.tags.clone(),
        created: call.now,
        launched: call.now,
        token: launch.token.clone(),
        on_shutdown: launch.on_shutdown,
        protected: launch.protected,
        metadata: launch.metadata.clone(),
        options: launch.options.clone(),
        root_device: launch.image.root_device().to_owned(),
        attachments,
        interface: new_id("eni"),
        // Each instance has an association of its own.
        iam_profile: launch.iam_profile.clone().map(|profile| InstanceProfile {
            association: new_id("iip-assoc"),
            ..profile
        }),
        cpu_credits: launch.cpu_credits.clone(),
        spot: launch.spot.then(Spot::new),
        run: call.run.map(str::to_owned),
        is_record,
    })
}

/// Creates the volumes of an instance.
fn create_volumes(call: &mut Call<'_>, launch: &Launch, instance: &str) -> Vec<Attachment> {
    let mut attachments = Vec::new();
    for mapping in &launch.volumes {
        let mut volume = Volume {
            id: new_id("vol"),
            spec: mapping.spec.clone(),
            zone: launch.subnet.zone.clone(),
            tags: launch.volume_tags.clone(),
            created: call.now,
            instance: Some(instance.to_owned()),
            token: None,
            modified: None,
            auto_enable_io: false,
            filling: Saving::Done,
        };
        fill(call, &mut volume);
        attachments.push(Attachment {
            volume: volume.id.clone(),
            device: mapping.device.clone(),
            delete_on_termination: mapping.delete_on_termination,
            since: call.now,
            detaching: false,
        });
        call.region().volumes.insert(volume.id.clone(), volume);
    }
    attachments
}

/// Returns the answer to a launch. A repeated request with the same client token
/// has the same answer.
fn reservation(call: &mut Call<'_>, id: &str) -> Xml {
    let mut launched: Vec<Instance> = call.region().instances.find(id).cloned().collect();
    launched.sort_by_key(|instance| instance.launch_index);
    let mut xml = Xml::default();
    xml.text("reservationId", id);
    xml.text("ownerId", &call.facts.account);
    xml.texts("groupSet", [] as [&str; 0]);
    xml.list("instancesSet", launched, |xml, instance| {
        write_instance(xml, call, &instance);
    });
    xml
}
