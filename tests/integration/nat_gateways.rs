//! NAT gateways of the local cloud: as boto3 sees them, and the packets that pass
//! through them.

use crate::local_cloud::{becomes_true, python, succeeds};
use crate::support::Lab;
use crate::support::cloud::LocalCloud;
use crate::walls_network::Place;
use crate::walls_vpc::offline;

#[test]
fn boto3_creates_and_deletes_nat_gateways() {
    let cloud = LocalCloud::start();
    let mut python = cloud.client(&Lab::python());
    succeeds(python.arg("tests/cloud/nat_gateways.py"));
}

/// Creates a network with a NAT gateway, with a public and two private instances, and
/// an instance in the default VPC that accepts only the address of the gateway.
const PLAYBOOK: &str = r#"
let key = create_key_pair("nat");
let network = create_network("out", #{ nat: true });
let all = #{ port: 1, to_port: 65535, from: "0.0.0.0/0" };
let open = [all, all + #{ protocol: "udp" }];
let group = create_security_group("out", #{ network: network, ingress: open });
let options = #{ key_pair: key, security_groups: [group] };
let front = wait_until_ready(launch_instance(options + #{ subnet: network.public_subnet }));
let back = launch_instance(options + #{ subnet: network.private_subnet });
let back = wait_until_ready(host(back, #{ via: front }));
let nat = #{ port: 80, from: network.nat_ip + "/32" };
let only_nat = [nat, nat + #{ protocol: "udp" }];
let strict = create_security_group("strict", #{ ingress: only_nat });
let peer = launch_instance(#{ security_groups: [strict] });
for line in [front.public_ip, back.private_ip, peer.public_ip, network.nat_ip] {
    print(line);
}
"#;

/// Responds with the address of the client, on a port of TCP and UDP.
const WHO: &str = r"
import socket, sys, threading
def bound(kind):
    server = socket.socket(socket.AF_INET, kind)
    server.bind(('0.0.0.0', int(sys.argv[1])))
    return server
udp, tcp = bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)
tcp.listen()
def datagrams():
    while True:
        client = udp.recvfrom(100)[1]
        udp.sendto(client[0].encode(), client)
def streams():
    while True:
        stream, client = tcp.accept()
        stream.sendall(client[0].encode())
        stream.close()
for work in (datagrams, streams): threading.Thread(target=work, daemon=True).start()
print('listening', flush=True)
sys.stdin.read()
";

const FETCH: &str = r"
import sys, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(direct.open(sys.argv[1], timeout=5).read().decode())
";

#[test]
fn private_instances_reach_the_outside_through_a_nat_gateway() {
    let cloud = LocalCloud::start();
    let ended = cloud.autorun().playbook(PLAYBOOK).run().exits(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [front, back, peer, nat_ip] = lines[..] else {
        panic!("{}", ended.stdout)
    };
    let [front, back, peer] = [front, back, peer].map(|at| Place::of_instance(&cloud, at));
    let _peer = peer.begin(WHO, &["80"]);
    let _back = back.begin(WHO, &["80"]);
    let reached = |from: &Place, to: &str| {
        let answers = ["tcp", "udp"].map(|how| from.ask(how, to, 80));
        assert_eq!(answers[0], answers[1], "to {to}");
        answers[0].clone()
    };

    // Outside, its address is the Elastic IP address of the gateway, also for the
    // rules of security groups.
    assert_eq!(reached(&back, &peer.address).as_deref(), Some(nat_ip));
    assert_eq!(reached(&front, &peer.address), None);
    assert!(!offline(&back));
    let env = cloud.env();
    let check_ip = env
        .iter()
        .find(|(name, _)| name == "AWS_ENDPOINT_URL_CHECKIP");
    let check_ip = check_ip.unwrap().1.as_str();
    let seen_as = |place: &Place| succeeds(&mut place.python(FETCH, &[check_ip]));
    assert_eq!(seen_as(&back).trim(), nat_ip);
    assert_eq!(seen_as(&front).trim(), front.address);
    // Inside the VPC, it has its own address.
    assert!(reached(&front, &back.address).is_some_and(|own| own.starts_with("10.0.")));

    // Nothing reaches it from outside: at its address, or at that of the gateway.
    let route = ["route", "add", "default", "via", "169.254.1.1"];
    succeeds(peer.command("ip").args(route));
    assert_eq!(reached(&peer, &back.address), None);
    assert_eq!(reached(&peer, nat_ip), None);
    let outside = succeeds(back.command("hostname").arg("-I"));
    for address in outside.split_whitespace() {
        assert_eq!(reached(&peer, address), None, "{address}");
    }

    // Without the route, or without the gateway, it does not reach the outside.
    let is_online = || reached(&back, &peer.address).is_some();
    for (end, begin) in [
        (
            "ec2.delete_route(**route)",
            "ec2.create_route(**route, NatGatewayId=nat)",
        ),
        ("ec2.delete_nat_gateway(NatGatewayId=nat)", ""),
    ] {
        call(&cloud, end);
        becomes_true("the private instance is offline", || !is_online());
        assert!(offline(&back));
        if !begin.is_empty() {
            call(&cloud, begin);
            becomes_true("the private instance is online", is_online);
            assert!(!offline(&back));
        }
    }
    assert!(reached(&front, &back.address).is_some());
}

/// Makes a call with boto3. `route` is the default route of the private half, `nat` the
/// NAT gateway.
fn call(cloud: &LocalCloud, call: &str) {
    let text = format!(
        r#"
        import boto3
        ec2 = boto3.client("ec2")
        nat = ec2.describe_nat_gateways()["NatGateways"][0]["NatGatewayId"]
        tables = ec2.describe_route_tables(Filters=[dict(Name="tag:Name", Values=["out-private"])])
        route = dict(RouteTableId=tables["RouteTables"][0]["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")
        {call}
        "#
    );
    python(cloud, &text);
}
