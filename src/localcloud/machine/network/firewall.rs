//! Security groups, enforced by the `nft` program in the switch's namespace.
//!
//! As on AWS: what no rule lets in gets no answer. Connections that exist go on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipnet::Ipv4Net;

use super::super::system;
use super::switch::UPLINK;

/// What is let in to one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Rules; any of them suffices.
    pub ingress: Vec<Ingress>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// What is let in.
    pub protocol: Protocol,
    /// First port; for ICMP the type, 65535 for any.
    pub from_port: u16,
    /// Last port; for ICMP the code, 65535 for any.
    pub to_port: u16,
    /// From where.
    pub source: Ipv4Net,
}

/// A protocol that a rule can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// All of them, all ports.
    All,
}

/// What machines may always do.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Gateway {
    pub(in super::super) address: Ipv4Addr,
    /// The only port of the host that machines reach.
    pub(in super::super) port: u16,
}

/// Where `nft` is, if it is there.
pub(in super::super) fn program() -> Option<PathBuf> {
    system::program("nft")
}

/// Replaces all rules at once. Runs in the switch's namespace.
pub(in super::super) fn apply(nft: &Path, ruleset: &str) -> io::Result<()> {
    let mut child = Command::new(nft)
        .args(["-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(ruleset.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("no reason given");
    Err(io::Error::other(format!("nft refused the rules: {first}")))
}

/// The text of all rules.
pub(in super::super) fn ruleset(gateway: Gateway, ports: &[Port]) -> String {
    let mut chains = String::new();
    let mut doors = Vec::new();
    // Two ports with one address would be two verdicts for one key.
    let ports: BTreeMap<_, _> = ports.iter().map(|port| (port.address, port)).collect();
    for (number, port) in ports.values().enumerate() {
        doors.push(format!("{} : jump to{number}", port.address));
        // Formatting into a string cannot fail.
        let _ = writeln!(chains, "  chain to{number} {{");
        for rule in &port.ingress {
            let _ = writeln!(chains, "    {} accept", matching(rule));
        }
        chains += "  }\n";
    }
    let doors = match doors.is_empty() {
        true => String::new(),
        false => format!("    ip daddr vmap {{ {} }}\n", doors.join(", ")),
    };
    let Gateway { address, port } = gateway;
    format!(
        "table inet autorun\n\
         delete table inet autorun\n\
         table inet autorun {{\n\
         {chains}\
         \x20 chain forward {{\n\
         \x20   type filter hook forward priority filter; policy drop;\n\
         \x20   ct state established,related accept\n\
         \x20   oifname \"{UPLINK}\" ip daddr {address} tcp dport {port} accept\n\
         \x20   oifname \"{UPLINK}\" ip daddr {address} meta l4proto icmp accept\n\
         {doors}\
         \x20 }}\n\
         }}\n"
    )
}

fn matching(rule: &Ingress) -> String {
    let source = match rule.source.prefix_len() {
        0 => String::new(),
        _ => format!("ip saddr {} ", rule.source.trunc()),
    };
    let (from, to) = (rule.from_port, rule.to_port);
    let what = match rule.protocol {
        Protocol::Tcp => format!("tcp dport {from}-{to}"),
        Protocol::Udp => format!("udp dport {from}-{to}"),
        Protocol::Icmp if from > 255 => "meta l4proto icmp".to_owned(),
        Protocol::Icmp if to > 255 => format!("icmp type {from}"),
        Protocol::Icmp => format!("icmp type {from} icmp code {to}"),
        Protocol::All => return format!("{source}counter"),
    };
    format!("{source}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_chains() {
        let gateway = Gateway {
            address: Ipv4Addr::new(10, 77, 0, 1),
            port: 4566,
        };
        let rule = |protocol, from_port, to_port, source: &str| Ingress {
            protocol,
            from_port,
            to_port,
            source: source.parse().unwrap(),
        };
        let ports = [Port {
            address: Ipv4Addr::new(10, 77, 0, 5),
            ingress: vec![
                rule(Protocol::Tcp, 22, 22, "10.77.0.1/32"),
                rule(Protocol::Icmp, 65535, 65535, "0.0.0.0/0"),
                rule(Protocol::All, 0, 65535, "10.77.0.9/24"),
            ],
        }];
        let text = ruleset(gateway, &ports);
        assert!(text.contains("ip saddr 10.77.0.1/32 tcp dport 22-22 accept"));
        assert!(text.contains("    meta l4proto icmp accept\n"));
        assert!(text.contains("ip saddr 10.77.0.0/24 counter accept"));
        assert!(text.contains("ip daddr vmap { 10.77.0.5 : jump to0 }"));
        assert!(!ruleset(gateway, &[]).contains("vmap"));
    }
}
