//! The content of the metadata service, as a tree of paths and values.

use super::instance::Metadata;

/// Pairs of path and value. A path that ends with `/` is the listing of a
/// directory that differs from the names of its entries.
pub(super) type Tree = Vec<(String, String)>;

/// Returns the value at a path, or the listing of the directory.
pub(super) fn read(tree: Tree, path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let directory = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut names: Vec<String> = Vec::new();
    for (at, value) in tree {
        if at == path || (at == directory && !directory.is_empty()) {
            return Some(value);
        }
        let Some(below) = at.strip_prefix(&directory) else {
            continue;
        };
        let name = match below.find('/') {
            Some(end) => &below[..=end],
            None => below,
        };
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| names.join("\n"))
}

/// Returns the content of `meta-data`.
pub(super) fn meta_data(of: &Metadata) -> Tree {
    let mut tree: Tree = Vec::new();
    let mut add = |path: &str, value: &str| tree.push((path.to_owned(), value.to_owned()));
    add("ami-id", &of.ami_id);
    add("ami-launch-index", &of.launch_index.to_string());
    add("ami-manifest-path", "(unknown)");
    add("block-device-mapping/ami", &of.root_device);
    for (number, device) in of.other_devices.iter().enumerate() {
        add(&format!("block-device-mapping/ebs{}", number + 1), device);
    }
    add("block-device-mapping/root", &of.root_device);
    add("events/maintenance/history", "[]");
    add("events/maintenance/scheduled", "[]");
    add("hibernation/configured", "false");
    add("hostname", &of.local_hostname);
    add("instance-action", "none");
    add("instance-id", &of.instance_id);
    let life_cycle = if of.spot { "spot" } else { "on-demand" };
    add("instance-life-cycle", life_cycle);
    add("instance-type", &of.instance_type);
    add("local-hostname", &of.local_hostname);
    add("local-ipv4", &of.local_ipv4);
    add("mac", &of.mac);
    add(
        "metrics/vhostmd",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    );
    add("placement/availability-zone", &of.availability_zone);
    add("placement/availability-zone-id", &of.availability_zone_id);
    add("placement/region", &of.region);
    add("profile", "default-hvm");
    add("reservation-id", &of.reservation_id);
    add("security-groups", &of.security_groups.join("\n"));
    add("services/domain", "amazonaws.com");
    add("services/partition", "aws");
    if let Some(name) = &of.public_hostname {
        add("public-hostname", name);
    }
    if let Some(address) = &of.public_ipv4 {
        add("public-ipv4", address);
    }
    if let Some((name, key)) = &of.key_name {
        add("public-keys/", &format!("0={name}"));
        add("public-keys/0/openssh-key", key);
    }
    if let Some((arn, id)) = &of.iam_profile {
        add("iam/info", &profile_info(of, arn, id));
    }
    if let Some((role, credentials)) = &of.role {
        let place = format!("iam/security-credentials/{role}");
        add(&place, &format!("{credentials:#}"));
    }
    if let Some(time) = &of.interruption {
        let action = serde_json::json!({ "action": "terminate", "time": time });
        add("spot/instance-action", &action.to_string());
        add("spot/termination-time", time);
    }
    if of.instance_metadata_tags {
        for (key, value) in &of.tags {
            add(&format!("tags/instance/{key}"), value);
        }
    }
    tree.extend(interface(of));
    tree
}

fn interface(of: &Metadata) -> Tree {
    let groups = of.security_groups.join("\n");
    let group_ids = of.security_group_ids.join("\n");
    let associations = of
        .public_ipv4
        .as_ref()
        .map(|address| format!("ipv4-associations/{address}"));
    let mut values = vec![
        ("device-number", "0"),
        ("interface-id", &of.interface_id),
        ("local-hostname", &of.local_hostname),
        ("local-ipv4s", &of.local_ipv4),
        ("mac", &of.mac),
        ("owner-id", &of.account),
        ("security-group-ids", &group_ids),
        ("security-groups", &groups),
        ("subnet-id", &of.subnet_id),
        ("subnet-ipv4-cidr-block", &of.subnet_cidr),
        ("vpc-id", &of.vpc_id),
        ("vpc-ipv4-cidr-block", &of.vpc_cidr),
        ("vpc-ipv4-cidr-blocks", &of.vpc_cidr),
    ];
    if let Some(path) = &associations {
        values.push((path, &of.local_ipv4));
    }
    if let Some(name) = &of.public_hostname {
        values.push(("public-hostname", name));
    }
    if let Some(address) = &of.public_ipv4 {
        values.push(("public-ipv4s", address));
    }
    let place = format!("network/interfaces/macs/{}/", of.mac);
    values
        .into_iter()
        .map(|(name, value)| (format!("{place}{name}"), value.to_owned()))
        .collect()
}

fn profile_info(of: &Metadata, arn: &str, id: &str) -> String {
    let info = serde_json::json!({
        "Code": "Success",
        "LastUpdated": of.pending_time,
        "InstanceProfileArn": arn,
        "InstanceProfileId": id,
    });
    format!("{info:#}")
}

/// Returns the content of `dynamic`.
pub(super) fn dynamic(of: &Metadata) -> Tree {
    let document = serde_json::json!({
        "accountId": of.account,
        "architecture": of.architecture,
        "availabilityZone": of.availability_zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": of.ami_id,
        "instanceId": of.instance_id,
        "instanceType": of.instance_type,
        "kernelId": null,
        "pendingTime": of.pending_time,
        "privateIp": of.local_ipv4,
        "ramdiskId": null,
        "region": of.region,
        "version": "2017-09-30",
    });
    let monitoring = if of.monitoring { "enabled" } else { "disabled" };
    [
        ("fws/instance-monitoring", monitoring.to_owned()),
        ("instance-identity/document", format!("{document:#}")),
    ]
    .map(|(path, value)| (path.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            instance_id: "i-1".into(),
            mac: "02:00:00:00:00:01".into(),
            launch_index: 2,
            root_device: "/dev/xvda".into(),
            other_devices: vec!["/dev/sdf".into()],
            local_ipv4: "10.0.0.5".into(),
            public_ipv4: Some("203.0.113.5".into()),
            key_name: Some(("shop".into(), "ssh-ed25519 AAAA shop".into())),
            tags: vec![("Name".into(), "web".into())],
            ..Metadata::default()
        }
    }

    #[test]
    fn directories_are_listed() {
        let list = |path: &str| read(meta_data(&metadata()), path);
        let top = list("").unwrap();
        assert!(top.contains("instance-id\n") && top.contains("\nplacement/\n"));
        assert_eq!(top.matches("placement/").count(), 1);
        assert_eq!(
            list("placement/").unwrap(),
            "availability-zone\navailability-zone-id\nregion"
        );
        assert_eq!(list("block-device-mapping/").unwrap(), "ami\nebs1\nroot");
        assert_eq!(list("block-device-mapping/ebs1").unwrap(), "/dev/sdf");
        assert_eq!(list("events/maintenance/scheduled").unwrap(), "[]");
        assert_eq!(list("ami-launch-index").unwrap(), "2");
        let place = "network/interfaces/macs/02:00:00:00:00:01/ipv4-associations";
        assert_eq!(list(place).unwrap(), "203.0.113.5");
        assert_eq!(list(&format!("{place}/203.0.113.5")).unwrap(), "10.0.0.5");
        assert_eq!(
            list("network/interfaces/macs").unwrap(),
            "02:00:00:00:00:01/"
        );
        assert_eq!(list("public-keys/").unwrap(), "0=shop");
        assert_eq!(list("public-keys/0/").unwrap(), "openssh-key");
    }

    #[test]
    fn missing_values_are_not_found() {
        let read = |path| read(meta_data(&metadata()), path);
        assert_eq!(read("instance-id").unwrap(), "i-1");
        assert_eq!(read("instance-id/").unwrap(), "i-1");
        for path in [
            "iam",
            "iam/security-credentials/",
            "tags",
            "instance",
            "spot/",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
        let shown = Metadata {
            instance_metadata_tags: true,
            ..metadata()
        };
        assert_eq!(
            super::read(meta_data(&shown), "tags/instance/Name").unwrap(),
            "web"
        );
    }
}
