//! The isolation of the local cloud's network: what security groups allow, what
//! they deny, and what root inside an instance can send despite them.
//!
//! The tests play root in the instance's network namespace with more rights than
//! it has: they can change all network settings of the kernel.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::local_cloud::{becomes_true, children, descendants, python, succeeds};
use crate::support::cloud::LocalCloud;

/// Responds with its name on all the given ports of TCP and UDP.
const SERVE: &str = r"
import socket, sys, threading
name = sys.argv[1].encode()
def bound(kind, port):
    server = socket.socket(socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('0.0.0.0', int(port)))
    if kind == socket.SOCK_STREAM: server.listen()
    return server
def begin(work, argument):
    threading.Thread(target=work, args=[argument], daemon=True).start()
def datagrams(server):
    while True: server.sendto(name, server.recvfrom(100)[1])
def streams(server):
    while True: begin(echo, server.accept()[0])
def echo(stream):
    try:
        stream.sendall(name)
        while data := stream.recv(100): stream.sendall(data)
    except ConnectionError: pass
for port in sys.argv[2].split(','): begin(streams, bound(socket.SOCK_STREAM, port))
for port in sys.argv[3].split(','): begin(datagrams, bound(socket.SOCK_DGRAM, port))
print('listening', flush=True)
sys.stdin.read()
";

/// Prints the response. Arguments: `tcp`, `udp` or `icmp`, an address, a port, and
/// the source address or an empty string.
const ASK: &str = r"
import socket, sys, struct
how, to, port, source = sys.argv[1:]
kinds = {'tcp': (socket.SOCK_STREAM, 0), 'udp': (socket.SOCK_DGRAM, 0), 'icmp': (socket.SOCK_RAW, 1)}
asking = socket.socket(socket.AF_INET, *kinds[how])
asking.settimeout(1)
asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
if source: asking.bind((source, 0))
asking.connect((to, int(port)))
if how == 'icmp':
    head = struct.pack('!BBHHH', 8, 0, 0xf7fe, 0, 1)
    asking.send(head)
    while asking.recv(1000)[20]: pass
    print('echo')
else:
    if how == 'udp' or to == '169.254.169.254': asking.send(b'GET / HTTP/1.0\r\n\r\n')
    print(asking.recv(100).decode())
";

/// A network namespace, and what a test can do in it.
pub(crate) struct Place {
    pid: u32,
    pub(crate) address: String,
}

impl Place {
    /// This machine, at an address.
    pub(crate) fn host(address: &str) -> Self {
        Self {
            pid: std::process::id(),
            address: address.to_owned(),
        }
    }

    /// The instance with this address.
    pub(crate) fn of_instance(cloud: &LocalCloud, address: &str) -> Self {
        let is_own = |pid: &u32| {
            let routes = fs::read_to_string(format!("/proc/{pid}/net/fib_trie"));
            let routes = routes.unwrap_or_default();
            let mut lines = routes.lines().map(str::trim_start);
            let wanted = format!("|-- {address}");
            std::iter::from_fn(|| {
                lines
                    .find(|line| *line == wanted)
                    .and_then(|_| lines.next())
            })
            .any(|line| line == "/32 host LOCAL")
        };
        Self {
            pid: descendants(cloud.pid()).into_iter().find(is_own).unwrap(),
            address: address.to_owned(),
        }
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid))
            .arg(program);
        command
    }

    pub(crate) fn python(&self, text: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("python3");
        command.args(["-c", text]).args(arguments);
        command
    }

    /// Sends a request and returns the response, if any.
    pub(crate) fn ask_from(&self, source: &str, how: &str, to: &str, port: u16) -> Option<String> {
        let arguments = [how, to, &port.to_string(), source];
        let output = self.python(ASK, &arguments).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| answer.trim().to_owned())
    }

    pub(crate) fn ask(&self, how: &str, to: &str, port: u16) -> Option<String> {
        self.ask_from("", how, to, port)
    }

    pub(crate) fn serve(&self, name: &str, tcp: &str, udp: &str) -> Server {
        self.begin(SERVE, &[name, tcp, udp])
    }

    /// Runs a program until the test ends. It prints `listening` when it listens.
    pub(crate) fn begin(&self, program: &str, arguments: &[&str]) -> Server {
        let mut serving = self.python(program, arguments);
        serving.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = serving.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        let server = Server { stdin, child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        server
    }
}

/// A program that ends with the test.
pub(crate) struct Server {
    stdin: Option<ChildStdin>,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A cloud with two instances, whose security groups are `outer` and `inner`.
struct Two {
    cloud: LocalCloud,
    gateway: String,
    endpoint: u16,
    host: Place,
    switch: Place,
    outer: Place,
    inner: Place,
}

impl Two {
    fn launch(cloud: LocalCloud) -> Self {
        let playbook = r#"
            let key = create_key_pair("walls");
            for name in ["outer", "inner"] {
                let group = create_security_group(name);
                let options = #{ key_pair: key, security_groups: [group] };
                print(wait_until_ready(launch_instance(options)).public_ip);
            }
        "#;
        let ended = cloud.autorun().playbook(playbook).run().exits(0);
        let addresses: Vec<&str> = ended.stdout.lines().collect();
        let [outer, inner] = addresses[..] else {
            panic!("{}", ended.stdout)
        };
        let env = cloud.env();
        let endpoint = env.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL");
        let endpoint = endpoint.unwrap().1.trim_start_matches("http://").to_owned();
        let (gateway, port) = endpoint.split_once(':').unwrap();
        let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        let own = network(std::process::id());
        let mut of_cloud = children(cloud.pid()).into_iter();
        let switch = of_cloud.find(|pid| network(*pid) != own).unwrap();
        Self {
            host: Place::host(gateway),
            switch: Place {
                pid: switch,
                address: "169.254.1.1".to_owned(),
            },
            outer: Place::of_instance(&cloud, outer),
            inner: Place::of_instance(&cloud, inner),
            gateway: gateway.to_owned(),
            endpoint: port.parse().unwrap(),
            cloud,
        }
    }

    /// Changes the rules of `inner` with a boto3 call.
    fn change(&self, call: &str, rules: &str) {
        let text = format!(
            r#"
            import boto3
            ec2 = boto3.client("ec2")
            ids = {{g["GroupName"]: g["GroupId"] for g in ec2.describe_security_groups()["SecurityGroups"]}}
            def cidr(protocol, first, last, net): return dict(IpProtocol=protocol, FromPort=first, ToPort=last, IpRanges=[dict(CidrIp=net)])
            def group(protocol, first, last, name): return dict(IpProtocol=protocol, FromPort=first, ToPort=last, UserIdGroupPairs=[dict(GroupId=ids[name])])
            ec2.{call}_security_group_ingress(GroupId=ids["inner"], IpPermissions=[{rules}])
            "#
        );
        python(&self.cloud, &text);
    }
}

/// The networks of the lower and the upper half of an instance's /24.
fn halves(address: &str) -> [String; 2] {
    let [a, b, c, _] = address.parse::<Ipv4Addr>().unwrap().octets();
    [0, 128].map(|last| format!("{a}.{b}.{c}.{last}/25"))
}

#[test]
fn groups_allow_what_their_rules_allow_and_nothing_else() {
    groups_are_enforced(&Two::launch(LocalCloud::start()));
}

#[test]
fn groups_need_no_external_program() {
    let hidden = "mount --bind /dev/null \"$(command -v nft)\"";
    let two = Two::launch(LocalCloud::start_after(hidden));
    groups_are_enforced(&two);
    the_host_is_not_reachable(&two);
}

fn groups_are_enforced(two: &Two) {
    let (inner, outer, host) = (&two.inner, &two.outer, &two.host);
    let _server = inner.serve("inner", "80,81,82,83,84,5000", "80,5000,5001,5002");
    let asks = |place: &Place, how: &str, port| place.ask(how, &inner.address, port);
    let reaches = |place, how, port| asks(place, how, port).as_deref() == Some("inner");
    // Not even ssh, which is only for the host.
    for place in [outer, host] {
        assert!(!reaches(place, "tcp", 80) && !reaches(place, "udp", 5000));
        assert_eq!(asks(place, "icmp", 0), None);
    }
    let [lower, upper] = halves(&inner.address);
    let rules = format!(
        "cidr('tcp', 80, 80, '0.0.0.0/0'), cidr('udp', 5000, 5001, '0.0.0.0/0'), \
         cidr('icmp', -1, -1, '{outer}/32'), cidr('icmp', 13, -1, '{host}/32'), \
         cidr('tcp', 82, 82, '{upper}'), \
         cidr('tcp', 83, 83, '{lower}'), group('tcp', 84, 84, 'outer')",
        outer = outer.address,
        host = two.gateway,
    );
    two.change("authorize", &rules);
    becomes_true("a port is opened", || reaches(host, "tcp", 80));
    let rows = [
        // Protocol, port, whether the other instance reaches it, whether the host
        // reaches it.
        ("tcp", 80, true, true),
        ("tcp", 81, false, false),
        ("tcp", 5000, false, false),
        ("udp", 80, false, false),
        ("udp", 5000, true, true),
        ("udp", 5001, true, true),
        ("udp", 5002, false, false),
        ("tcp", 82, false, false),
        ("tcp", 83, true, true),
        ("tcp", 84, true, false),
    ];
    for (how, port, by_outer, by_host) in rows {
        assert_eq!(reaches(outer, how, port), by_outer, "{how} {port}");
        assert_eq!(reaches(host, how, port), by_host, "{how} {port}");
    }
    assert_eq!(asks(outer, "icmp", 0).as_deref(), Some("echo"));
    assert_eq!(asks(host, "icmp", 0), None);
    // The groups of one instance do not apply to the other.
    assert_eq!(inner.ask("icmp", &outer.address, 0), None);

    // An established connection outlives the rule that allowed it.
    let mut stream = TcpStream::connect(format!("{}:80", inner.address)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    two.change("revoke", &rules);
    becomes_true("a port is closed", || !reaches(host, "tcp", 80));
    stream.write_all(b"still").unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"still");
    let everything = format!(
        "cidr('-1', -1, -1, '{}/32'), cidr('icmp', 8, -1, '{}/32')",
        outer.address, two.gateway,
    );
    two.change("authorize", &everything);
    becomes_true("everything is opened", || reaches(outer, "tcp", 81));
    for place in [outer, host] {
        assert_eq!(asks(place, "icmp", 0).as_deref(), Some("echo"));
    }
    assert!(reaches(outer, "udp", 5002));
    assert!(!reaches(host, "tcp", 81) && !reaches(host, "udp", 5002));
}

/// Services of the host, on all addresses and on the gateway's.
fn the_host_is_not_reachable(two: &Two) {
    let (outer, gateway) = (&two.outer, two.gateway.as_str());
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let at_gateway = TcpListener::bind((gateway, 0)).unwrap();
    let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
    for listener in [&everywhere, &at_gateway] {
        listener.set_nonblocking(true).unwrap();
    }
    datagrams.set_nonblocking(true).unwrap();
    let udp = datagrams.local_addr().unwrap().port();
    // Any other address of the host is behind a default route.
    let route = ["route", "add", "default", "via", "169.254.1.1"];
    succeeds(outer.command("ip").args(route));
    let broadcast = halves(gateway)[1].replace(".128/25", ".255");
    for target in [
        gateway,
        "192.0.2.1",
        "255.255.255.255",
        "224.0.0.1",
        &broadcast,
    ] {
        for listener in [&everywhere, &at_gateway] {
            let port = listener.local_addr().unwrap().port();
            assert_eq!(outer.ask("tcp", target, port), None, "{target}");
            assert!(listener.accept().is_err(), "{target}");
        }
        assert_eq!(outer.ask("udp", target, udp), None, "{target}");
        assert!(datagrams.recv(&mut [0; 100]).is_err(), "{target}");
    }
    succeeds(outer.command("ip").args(["route", "del", "default"]));
    // The cloud itself and the metadata service respond.
    let endpoint = (gateway, two.endpoint);
    let connected = outer.python(
        "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)",
        &[endpoint.0, &endpoint.1.to_string()],
    );
    succeeds(&mut { connected });
    assert_eq!(outer.ask("icmp", gateway, 0).as_deref(), Some("echo"));
}

#[test]
fn the_host_and_the_switch_serve_only_the_cloud() {
    let two = Two::launch(LocalCloud::start());
    the_host_is_not_reachable(&two);
    let (outer, switch) = (&two.outer, &two.switch);
    let _server = switch.serve("switch", "8080", "8080");
    for address in ["169.254.1.1", "169.254.169.254"] {
        for how in ["tcp", "udp"] {
            assert_eq!(outer.ask(how, address, 8080), None, "{how} {address}");
        }
    }
    let metadata = outer.ask("tcp", "169.254.169.254", 80);
    assert!(metadata.unwrap().starts_with("HTTP/"));
    let echo = outer.ask("icmp", "169.254.169.254", 0);
    assert_eq!(echo.as_deref(), Some("echo"));
    assert_eq!(outer.ask("icmp", "169.254.1.1", 0), None);
    // The network has no IPv6.
    let addresses = fs::read_to_string(format!("/proc/{}/net/if_inet6", switch.pid));
    assert_eq!(addresses.unwrap_or_default(), "");
}

#[test]
fn an_instance_cannot_impersonate_another() {
    let two = Two::launch(LocalCloud::start());
    let (outer, inner, switch) = (&two.outer, &two.inner, &two.switch);
    // Disable the kernel's own source check, so that the test sees that of the
    // firewall.
    let off = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done";
    succeeds(switch.command("sh").args(["-c", off]));
    let own = &outer.address;
    let counters = format!(
        "table ip seen {{ chain input {{ type filter hook prerouting priority -150; \
         ip saddr {own} counter; ip saddr {other} counter; ip saddr {host} counter; \
         ip saddr 10.255.255.77 counter\n}}\n}}",
        other = inner.address,
        host = two.gateway,
    );
    succeeds(switch.command("nft").arg(counters));
    let claimed = [inner.address.as_str(), &two.gateway, "10.255.255.77"];
    for address in claimed {
        succeeds(
            outer
                .command("ip")
                .args(["address", "add", address, "dev", "eth0"]),
        );
        for how in ["tcp", "udp", "icmp"] {
            let asked = outer.ask_from(address, how, "169.254.169.254", 80);
            assert_eq!(asked, None, "{how} from {address}");
        }
    }
    outer.ask_from(own, "icmp", "169.254.169.254", 0).unwrap();
    let seen = succeeds(switch.command("nft").args(["list", "table", "ip", "seen"]));
    let counted = |address: &str| {
        let line = seen
            .lines()
            .find(|line| line.contains(&format!("saddr {address} ")));
        !line.unwrap().contains("packets 0 ")
    };
    assert!(counted(own), "{seen}");
    for address in claimed {
        assert!(!counted(address), "{address}\n{seen}");
    }
    // False ARP messages change nothing either: each link has its own neighbour
    // table.
    let claim = r"
import socket, sys
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(('eth0', 0x806))
own = raw.getsockname()[4]
for address in sys.argv[1:]:
    address = socket.inet_aton(address)
    for kind in b'\1', b'\2':
        raw.send(b'\xff' * 6 + own + b'\x08\x06\0\1\x08\0\6\4\0' + kind + own + address + b'\xff' * 6 + address)
";
    let rule = "cidr('tcp', 80, 80, '0.0.0.0/0')";
    two.change("authorize", rule);
    let _inner = inner.serve("inner", "80", "5000");
    let _outer = outer.serve("outer", "80", "5000");
    succeeds(&mut outer.python(claim, &[&inner.address, &two.gateway, "169.254.1.1"]));
    becomes_true("the port is opened", || {
        two.host.ask("tcp", &inner.address, 80).is_some()
    });
    let answer = two.host.ask("tcp", &inner.address, 80);
    assert_eq!(answer.as_deref(), Some("inner"));
}
