//! The isolation of VPCs in the local cloud: what reaches an instance in a private
//! subnet, and what leaves it. As in `walls_network`, the tests play root in the
//! instances' network namespaces.

use std::process::Command;

use crate::local_cloud::{becomes_true, python, succeeds};
use crate::support::cloud::LocalCloud;
use crate::walls_network::Place;

/// Creates two networks with the same CIDR block, each with a public and a private
/// instance, and an instance in the default VPC. All their ports are open.
const PLAYBOOK: &str = r#"
let key = create_key_pair("walls");
let all = #{ port: 1, to_port: 65535, from: "0.0.0.0/0" };
let open = [all, all + #{ protocol: "udp" }];
for name in ["one", "two"] {
    let network = create_network(name);
    let group = create_security_group(name, #{ network: network, ingress: open });
    let options = #{ key_pair: key, security_groups: [group] };
    let front = wait_until_ready(launch_instance(options + #{ subnet: network.public_subnet }));
    let back = launch_instance(options + #{ subnet: network.private_subnet });
    let back = wait_until_ready(host(back, #{ via: front }));
    assert(ssh_exec(back, "hostname -I").stdout.contains(back.private_ip));
    print(front.public_ip);
    print(front.private_ip);
    print(back.private_ip);
}
let group = create_security_group("default-vpc", #{ ingress: open });
print(launch_instance(#{ security_groups: [group] }).public_ip);
"#;

/// Requests a page through the proxy in the instance. Prints the answer.
const BROWSE: &str = r"
import urllib.request, urllib.error
proxy = urllib.request.ProxyHandler({'http': 'http://127.0.0.1:3128'})
try:
    print(urllib.request.build_opener(proxy).open('http://192.0.2.1/', timeout=5).read())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print(error)
";

/// The public and the private instance of a network.
struct Network {
    front: Place,
    front_private: String,
    back: Place,
}

impl Network {
    fn of(cloud: &LocalCloud, lines: &[&str]) -> Self {
        let [front, front_private, back] = lines else {
            panic!("{lines:?}")
        };
        Self {
            front: Place::of_instance(cloud, front),
            front_private: (*front_private).to_owned(),
            back: Place::of_instance(cloud, back),
        }
    }
}

pub(crate) fn offline(place: &Place) -> bool {
    let answer = succeeds(&mut place.python(BROWSE, &[]));
    answer.starts_with("403 this instance does not reach the internet")
}

#[test]
fn a_private_subnet_is_reached_only_from_its_own_vpc() {
    let cloud = LocalCloud::start();
    let ended = cloud.autorun().playbook(PLAYBOOK).run().exits(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let one = Network::of(&cloud, &lines[..3]);
    let two = Network::of(&cloud, &lines[3..6]);
    let default = Place::of_instance(&cloud, lines[6]);
    let _one = one.back.serve("one", "80", "80");
    let _two = two.back.serve("two", "80", "80");
    let _front = one.front.serve("front", "80", "80");
    let reached = |from: &Place, to: &str| {
        let answers = ["tcp", "udp"].map(|how| from.ask(how, to, 80));
        assert_eq!(answers[0], answers[1], "to {to}");
        answers[0].clone()
    };

    // Each VPC has its own network.
    let back = one.back.address.as_str();
    assert_eq!(reached(&one.front, back).as_deref(), Some("one"));
    let front = one.front_private.as_str();
    assert_eq!(reached(&one.back, front).as_deref(), Some("front"));
    let other = two.back.address.as_str();
    assert_eq!(reached(&two.front, other).as_deref(), Some("two"));

    // Root in other instances adds routes, which do not help.
    let route = ["route", "add", "default", "via", "169.254.1.1"];
    for place in [&two.front, &two.back, &one.back, &default] {
        succeeds(place.command("ip").args(route));
    }
    for place in [&two.front, &two.back, &default] {
        assert_eq!(reached(place, back), None, "from {}", place.address);
        assert_eq!(reached(place, front), None, "from {}", place.address);
    }
    assert_eq!(reached(&one.back, other), None);
    // It does not reach the internet either: public addresses, this machine.
    let public = one.front.address.as_str();
    assert_eq!(reached(&default, public).as_deref(), Some("front"));
    for target in [&two.front.address, &default.address] {
        assert_eq!(reached(&one.back, target), None);
    }
    let env = cloud.env();
    let endpoint = env.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL");
    let endpoint = endpoint.unwrap().1.trim_start_matches("http://");
    let (gateway, port) = endpoint.split_once(':').unwrap();
    let connect = "import socket, sys; \
                   socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)";
    let connects = |place: &Place| {
        let mut python = place.python(connect, &[gateway, port]);
        python.output().unwrap().status.success()
    };
    assert!(connects(&one.front) && !connects(&one.back));
    assert!(offline(&one.back) && !offline(&one.front));

    // This machine does not reach it, even with a route.
    let host = Place::host(gateway);
    assert_eq!(reached(&host, public).as_deref(), Some("front"));
    assert_eq!(reached(&host, back), None);
    let shown = succeeds(Command::new("ip").args(["-o", "address", "show", "to", gateway]));
    let interface = shown.split_whitespace().nth(1).unwrap();
    let route = [back, "dev", interface, "src", gateway];
    succeeds(Command::new("ip").args(["route", "add"]).args(route));
    let through = reached(&host, back);
    succeeds(Command::new("ip").args(["route", "del"]).args(route));
    assert_eq!(through, None);
    spoofing(&one, &two);
    routes(&cloud, &one, &host);
}

/// An instance cannot send packets from addresses of other instances.
fn spoofing(one: &Network, two: &Network) {
    for address in [&one.front_private, &one.front.address, &one.back.address] {
        let claim = ["address", "add", address.as_str(), "dev", "eth0"];
        succeeds(two.back.command("ip").args(claim));
        for (how, to, port) in [
            ("tcp", one.back.address.as_str(), 80),
            ("udp", one.back.address.as_str(), 80),
            ("tcp", "169.254.169.254", 80),
        ] {
            // An instance answers itself at an address that it claims.
            if to != address {
                let answer = two.back.ask_from(address, how, to, port);
                assert_eq!(answer, None, "{how} from {address} to {to}");
            }
        }
        let give_up = ["address", "del", address.as_str(), "dev", "eth0"];
        succeeds(two.back.command("ip").args(give_up));
    }
    let own = two.back.address.as_str();
    let metadata = two.back.ask_from(own, "tcp", "169.254.169.254", 80);
    assert!(metadata.unwrap().starts_with("HTTP/"));
}

/// Changes of a route table take effect on running instances.
fn routes(cloud: &LocalCloud, one: &Network, host: &Place) {
    let call = |call: &str| {
        let text = format!(
            r#"
            import boto3
            ec2 = boto3.client("ec2")
            def by(name, value): return [dict(Name=name, Values=[value])]
            vpc = ec2.describe_vpcs(Filters=by("tag:Name", "one"))["Vpcs"][0]["VpcId"]
            table = ec2.describe_route_tables(Filters=by("vpc-id", vpc) + by("tag:Name", "one-public"))["RouteTables"][0]["RouteTableId"]
            gateway = ec2.describe_internet_gateways(Filters=by("attachment.vpc-id", vpc))["InternetGateways"][0]["InternetGatewayId"]
            {call}
            "#
        );
        python(cloud, &text);
    };
    let front = one.front.address.as_str();
    let reaches = || host.ask("tcp", front, 80).is_some();
    assert!(reaches());
    call("ec2.delete_route(RouteTableId=table, DestinationCidrBlock='0.0.0.0/0')");
    becomes_true("the public instance is unreachable", || !reaches());
    assert!(offline(&one.front));
    // Inside the VPC nothing has changed.
    let private = one.front_private.as_str();
    assert_eq!(one.back.ask("tcp", private, 80).as_deref(), Some("front"));
    call(
        "ec2.create_route(RouteTableId=table, DestinationCidrBlock='0.0.0.0/0', GatewayId=gateway)",
    );
    becomes_true("the public instance is reachable", reaches);
    assert!(!offline(&one.front));
}
