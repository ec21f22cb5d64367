//! Compares the rules with those that `nft` creates, by listing both with
//! `nft`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::*;

const GATEWAY: Gateway = Gateway {
    address: Ipv4Addr::new(10, 77, 0, 1),
    port: 4566,
};

fn rule(protocol: Protocol, from_port: u16, to_port: u16, source: &str) -> Ingress {
    Ingress {
        protocol,
        from_port,
        to_port,
        source: source.parse().unwrap(),
    }
}

fn port(last: u8, ingress: Vec<Ingress>) -> Port {
    Port {
        address: Ipv4Addr::new(10, 77, 0, last),
        network: None,
        ingress,
        elastic: None,
        nat: None,
    }
}

/// Runs `work` in a new network namespace. Returns `None` without root;
/// `tests/run` runs all tests as root.
fn in_a_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    Some(std::thread::scope(|scope| scope.spawn(run).join().unwrap()))
}

fn nft(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

/// Lists all rules with `nft`, as text and as JSON. The JSON leaves out
/// handles, which differ between runs.
fn listed() -> (String, serde_json::Value) {
    let mut json = serde_json::from_str(&nft(&["-j", "list", "ruleset"], "")).unwrap();
    without_handles(&mut json);
    (nft(&["list", "ruleset"], ""), json)
}

fn without_handles(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.remove("handle");
            map.values_mut().for_each(without_handles);
        }
        serde_json::Value::Array(all) => all.iter_mut().for_each(without_handles),
        _ => {}
    }
}

/// Asserts that `nft` with `text` and `own` create the same rules.
fn same_as(text: &str, own: impl FnOnce() + Send) {
    let by_nft = in_a_namespace(|| {
        nft(&["-f", "-"], text);
        listed()
    });
    let by_us = in_a_namespace(|| {
        own();
        listed()
    });
    let (Some((by_nft, json_by_nft)), Some((by_us, json_by_us))) = (by_nft, by_us) else {
        return;
    };
    assert_eq!(by_nft, by_us);
    assert_eq!(json_by_nft, json_by_us);
}

#[test]
fn groups_equal_the_rules_that_nft_creates() {
    let text = r#"table inet autorun {
        chain to0 {
            ip saddr 10.77.0.1/32 tcp dport 22-22 accept
            udp dport 53-100 accept
            ip saddr 10.64.0.0/11 tcp dport 0-65535 accept
        }
        chain to1 {
            meta l4proto icmp accept
            icmp type 8 accept
            icmp type 3 icmp code 4 accept
            ip saddr 10.77.0.0/24 icmp type 8 icmp code 0 accept
        }
        chain to2 {
            ip saddr 10.77.0.0/24 counter accept
            counter accept
            ip saddr 128.0.0.0/1 meta l4proto icmp accept
        }
        chain to3 {
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            oifname "host" ip daddr 10.77.0.1 tcp dport 4566 accept
            oifname "host" ip daddr 10.77.0.1 meta l4proto icmp accept
            ip daddr vmap { 10.77.0.5 : jump to0, 10.77.0.6 : jump to1,
                            10.77.0.7 : jump to2, 10.77.0.8 : jump to3 }
        }
    }"#;
    let ports = [
        port(
            7,
            vec![
                rule(Protocol::All, 0, 65535, "10.77.0.9/24"),
                rule(Protocol::All, 0, 65535, "0.0.0.0/0"),
                rule(Protocol::Icmp, 65535, 65535, "200.1.1.1/1"),
            ],
        ),
        port(
            5,
            vec![
                rule(Protocol::Tcp, 22, 22, "10.77.0.1/32"),
                rule(Protocol::Udp, 53, 100, "0.0.0.0/0"),
                rule(Protocol::Tcp, 0, 65535, "10.64.3.0/11"),
            ],
        ),
        port(8, Vec::new()),
        port(
            6,
            vec![
                rule(Protocol::Icmp, 65535, 65535, "0.0.0.0/0"),
                rule(Protocol::Icmp, 8, 65535, "0.0.0.0/0"),
                rule(Protocol::Icmp, 3, 4, "0.0.0.0/0"),
                rule(Protocol::Icmp, 8, 0, "10.77.0.0/24"),
            ],
        ),
    ];
    same_as(text, || {
        let kernel = Kernel::open().unwrap();
        // The second call replaces the rules of the first.
        for ports in [&ports[..2], &ports[..]] {
            rules::groups(GATEWAY, ports).commit(&kernel).unwrap();
        }
    });
}

#[test]
fn elastic_ip_addresses_equal_the_rules_that_nft_creates() {
    let text = r#"table inet autorun {
        chain to0 {
        }
        chain to1 {
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            oifname "host" ip daddr 10.77.0.1 tcp dport 4566 accept
            oifname "host" ip daddr 10.77.0.1 meta l4proto icmp accept
            ip daddr vmap { 10.77.0.5 : jump to0, 10.77.0.6 : jump to1 }
        }
        chain arriving {
            type nat hook prerouting priority dstnat; policy accept;
            ip daddr 10.77.0.9 dnat ip to 10.77.0.6
        }
        chain leaving {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr 10.77.0.6 ip daddr 10.77.0.6 snat ip to 10.77.0.9
        }
    }"#;
    let mut second = port(6, Vec::new());
    second.elastic = Some(Ipv4Addr::new(10, 77, 0, 9));
    let ports = [port(5, Vec::new()), second];
    same_as(text, || {
        let kernel = Kernel::open().unwrap();
        rules::groups(GATEWAY, &ports).commit(&kernel).unwrap();
    });
}

/// The address behind a NAT gateway may send packets anywhere, with another source.
/// Packets to it are confined to its network.
#[test]
fn packets_to_a_nat_gateway_leave_the_network_with_its_address() {
    let text = r#"table inet autorun {
        chain to0 {
        }
        chain to1 {
        }
        chain to2 {
        }
        chain from0 {
            ip daddr vmap { 10.77.0.6 : jump to1, 10.77.0.7 : jump to2 }
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            ip saddr vmap { 10.77.0.6 : goto from0 }
            oifname "host" ip daddr 10.77.0.1 tcp dport 4566 accept
            oifname "host" ip daddr 10.77.0.1 meta l4proto icmp accept
            ip daddr vmap { 10.77.0.5 : jump to0 }
        }
        chain arriving {
            type nat hook prerouting priority dstnat; policy accept;
        }
        chain leaving {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr 10.77.0.7 snat ip to 10.77.0.9
        }
    }"#;
    let confined = |last| Port {
        network: Some(0),
        ..port(last, Vec::new())
    };
    let behind = Port {
        nat: Some(Ipv4Addr::new(10, 77, 0, 9)),
        ..confined(7)
    };
    let ports = [port(5, Vec::new()), confined(6), behind];
    same_as(text, || {
        let kernel = Kernel::open().unwrap();
        rules::groups(GATEWAY, &ports).commit(&kernel).unwrap();
    });
}

#[test]
fn without_machines_there_is_no_map() {
    let text = r#"table inet autorun {
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            oifname "host" ip daddr 10.77.0.1 tcp dport 4566 accept
            oifname "host" ip daddr 10.77.0.1 meta l4proto icmp accept
        }
    }"#;
    same_as(text, || {
        let kernel = Kernel::open().unwrap();
        rules::groups(GATEWAY, &[]).commit(&kernel).unwrap();
    });
}

#[test]
fn addresses_of_a_network_are_confined_to_it() {
    let text = r#"table inet autorun {
        chain to0 {
        }
        chain to1 {
        }
        chain to2 {
        }
        chain to3 {
            udp dport 53-53 accept
        }
        chain from0 {
            ip daddr vmap { 10.77.0.6 : jump to1, 10.77.0.8 : jump to3 }
        }
        chain from3 {
            ip daddr vmap { 10.77.0.7 : jump to2 }
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            ip saddr vmap { 10.77.0.6 : goto from0, 10.77.0.7 : goto from3,
                            10.77.0.8 : goto from0 }
            oifname "host" ip daddr 10.77.0.1 tcp dport 4566 accept
            oifname "host" ip daddr 10.77.0.1 meta l4proto icmp accept
            ip daddr vmap { 10.77.0.5 : jump to0 }
        }
    }"#;
    let confined = |last, network, ingress| Port {
        network: Some(network),
        ..port(last, ingress)
    };
    let ports = [
        confined(8, 0, vec![rule(Protocol::Udp, 53, 53, "0.0.0.0/0")]),
        confined(7, 3, Vec::new()),
        confined(6, 0, Vec::new()),
        port(5, Vec::new()),
    ];
    same_as(text, || {
        let kernel = Kernel::open().unwrap();
        rules::groups(GATEWAY, &ports).commit(&kernel).unwrap();
    });
}

#[test]
fn walls_equal_the_rules_that_nft_creates() {
    let text = "table inet autorun_walls {
        set cables {
            type iface_index . ipv4_addr
            elements = { 1 . 10.77.0.5 }
        }
        chain prerouting {
            type filter hook prerouting priority raw; policy drop;
            meta iif . ip saddr @cables accept
        }
        chain input {
            type filter hook input priority filter; policy drop;
            ct state established,related accept
            ip daddr 169.254.169.254 tcp dport 80 accept
            ip daddr 169.254.169.254 meta l4proto icmp accept
        }
        chain output {
            type filter hook output priority filter; policy drop;
            ct state established,related accept
        }
    }";
    same_as(text, || {
        let firewall = Firewall::raise().unwrap();
        let cable = |last| Cable {
            index: 1,
            address: Ipv4Addr::new(10, 77, 0, last),
        };
        for last in [5, 6] {
            firewall.admit(cable(last)).unwrap();
        }
        firewall.dismiss(cable(6)).unwrap();
    });
}

#[test]
fn more_rules_than_a_socket_buffers_by_default_are_loaded() {
    let ingress: Vec<Ingress> = (0..60)
        .map(|from| rule(Protocol::Tcp, from, from, "10.77.0.0/24"))
        .collect();
    let ports: Vec<Port> = (2..=254).map(|last| port(last, ingress.clone())).collect();
    let listed = in_a_namespace(|| {
        let kernel = Kernel::open().unwrap();
        rules::groups(GATEWAY, &ports).commit(&kernel).unwrap();
        nft(&["list", "table", "inet", "autorun"], "")
    });
    let Some(listed) = listed else { return };
    assert_eq!(listed.matches("ip saddr 10.77.0.0/24").count(), 253 * 60);
    assert_eq!(listed.matches(": jump to").count(), 253);
}

#[test]
fn a_rejected_batch_changes_nothing_and_reports_why() {
    let rejected = in_a_namespace(|| {
        let kernel = Kernel::open().unwrap();
        rules::groups(GATEWAY, &[]).commit(&kernel).unwrap();
        let before = listed();
        // Without the walls, the set of veth pairs does not exist.
        let error = rules::admitted((1, GATEWAY.address)).commit(&kernel);
        let mut batch = rules::groups(GATEWAY, &[port(5, Vec::new())]);
        batch.add_rule("autorun", "nowhere", &[]);
        let second = batch.commit(&kernel).unwrap_err().to_string();
        assert_eq!(listed(), before);
        // The answers to the next batch do not include those to the rejected
        // one.
        rules::groups(GATEWAY, &[]).commit(&kernel).unwrap();
        (error.unwrap_err().to_string(), second)
    });
    let Some((set, rule)) = rejected else { return };
    assert_eq!(
        set,
        "the kernel rejected a set: No such file or directory (os error 2)"
    );
    assert_eq!(
        rule,
        "the kernel rejected a rule: No such file or directory (os error 2)"
    );
}

#[test]
fn the_probe_succeeds_where_rules_work() {
    assert!(in_a_namespace(probe).is_none_or(|probed| probed.is_ok()));
}
