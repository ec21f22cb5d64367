//! Snapshots of the disks of instances, which `CreateImage` makes.

use super::call::{Call, Effect};
use super::filters::{Filtered, Filters, page};
use super::ids::SNAPSHOT;
use super::params::Part;
use super::refusal::{Refusal, Result};
use super::state::{Saving, Snapshot, Tags};
use super::tags;
use super::xml::Xml;
use crate::clock::iso;

/// A snapshot with its owner, the account.
struct Owned {
    own: Snapshot,
    owner: String,
}

impl Owned {
    fn progress(&self) -> &'static str {
        match self.own.saving {
            Saving::Done => "100%",
            Saving::Pending | Saving::Failed => "0%",
        }
    }

    fn state(&self) -> &'static str {
        match self.own.saving {
            Saving::Pending => "pending",
            Saving::Done => "completed",
            Saving::Failed => "error",
        }
    }

    fn write(&self, xml: &mut Xml) {
        let own = &self.own;
        xml.text("snapshotId", &own.id);
        xml.text("volumeId", &own.volume);
        xml.text("status", self.state());
        xml.text("startTime", iso(own.started));
        if own.saving == Saving::Done {
            xml.text("completionTime", iso(own.started));
        }
        xml.text("progress", self.progress());
        xml.text("ownerId", &self.owner);
        xml.text("volumeSize", own.size);
        xml.text("description", &own.description);
        xml.text("encrypted", own.encrypted);
        xml.text("storageTier", "standard");
        if !own.tags.is_empty() {
            tags::write(xml, &own.tags);
        }
    }
}

impl Filtered for Owned {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "snapshot-id" => self.own.id.clone(),
            "volume-id" => self.own.volume.clone(),
            "volume-size" => self.own.size.to_string(),
            "status" => self.state().to_owned(),
            "progress" => self.progress().to_owned(),
            "start-time" => iso(self.own.started),
            "description" => self.own.description.clone(),
            "encrypted" => self.own.encrypted.to_string(),
            "owner-id" => self.owner.clone(),
            "owner-alias" => return Some(Vec::new()),
            "storage-tier" => "standard".to_owned(),
            _ => return None,
        };
        Some(vec![one])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.own.tags)
    }
}

fn find(call: &mut Call<'_>, id: &str) -> Result<Snapshot> {
    SNAPSHOT.check(id)?;
    let found = call.region().snapshots.get(id).cloned();
    found.ok_or_else(|| SNAPSHOT.not_found(&[id]))
}

pub(super) fn describe_snapshots(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let owner = call.facts.account.clone();
    let ids = request.list("SnapshotId");
    let mut snapshots: Vec<Snapshot> = if ids.is_empty() {
        call.region().snapshots.values().cloned().collect()
    } else {
        ids.iter().map(|id| find(call, id)).collect::<Result<_>>()?
    };
    // The snapshots of the account are the only ones.
    for name in ["Owner", "RestorableBy"] {
        let owners = request.list(name);
        let all = owners.is_empty() || owners.iter().any(|o| *o == "self" || *o == owner);
        snapshots.retain(|_| all);
    }
    snapshots.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    let with_owner = |own| Owned {
        own,
        owner: owner.clone(),
    };
    let found = snapshots.into_iter().map(with_owner).collect();
    let (found, next) = page(request, Filters::of(request)?.keep(found)?, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.list("snapshotSet", found, |xml, snapshot| snapshot.write(xml));
    xml.option("nextToken", next);
    Ok(xml)
}

pub(super) fn delete_snapshot(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let snapshot = find(call, request.required("SnapshotId")?)?;
    call.read_all()?;
    let mut images = call.region().images.values();
    if let Some(image) = images.find(|image| image.snapshot == snapshot.id) {
        return Err(Refusal::new(
            "InvalidSnapshot.InUse",
            format!(
                "The snapshot {} is currently in use by {}",
                snapshot.id, image.id
            ),
        ));
    }
    call.region().snapshots.remove(&snapshot.id);
    call.effects.push(Effect::RemoveSnapshot(snapshot.id));
    Ok(Xml::done())
}
