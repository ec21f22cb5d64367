//! Where there are no namespaces there are no machines: the same words as
//! `machine`, for records alone.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;

#[path = "machine/boot.rs"]
mod boot;

pub use boot::{Boot, Ending, Faults, Limits};

/// Something that the local cloud needs, and whether it is there.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// Whether instances need it.
    pub essential: bool,
    /// What works, or why not and what to do.
    pub detail: String,
}

/// What this computer lacks.
#[must_use]
pub fn checks(_base: &BaseSettings) -> Vec<Check> {
    vec![Check {
        name: "namespaces",
        ok: false,
        essential: true,
        detail: "instances are made of Linux namespaces, and this is not Linux".to_owned(),
    }]
}

/// Why there is no machine.
#[derive(Clone, Debug)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this computer cannot boot instances: it does not run Linux")
    }
}

impl std::error::Error for Error {}

/// What a runtime would be started with.
#[derive(Clone, Debug)]
pub struct RuntimeSettings {
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// The program itself.
    pub binary: PathBuf,
    /// The port of the API.
    pub endpoint_port: u16,
    /// The network used before.
    pub subnet: Option<Ipv4Net>,
    /// What the files of machines would be made of.
    pub base: BaseSettings,
}

/// What base layers would be made with.
#[derive(Clone, Debug)]
pub struct BaseSettings {
    /// Where they would be kept.
    pub directory: PathBuf,
    /// What is to be hidden.
    pub hidden: Vec<PathBuf>,
    /// Whether files would be copied.
    pub copy: bool,
}

/// What machines would run.
#[derive(Clone, Debug)]
pub struct System {
    /// Its name.
    pub name: String,
}

/// A port of a machine.
#[derive(Clone, Debug)]
pub struct Port {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Rules; any of them suffices.
    pub ingress: Vec<Ingress>,
}

/// One rule of a security group.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// What is let in.
    pub protocol: Protocol,
    /// First port.
    pub from_port: u16,
    /// Last port.
    pub to_port: u16,
    /// From where.
    pub source: Ipv4Net,
}

/// A protocol that a rule can name.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// All of them.
    All,
}

/// There is none.
#[derive(Debug)]
pub struct Runtime(Infallible);

/// There is none.
#[derive(Clone, Debug)]
pub struct Machine(Infallible);

#[expect(clippy::unused_async, reason = "as where there are machines")]
#[expect(missing_docs, reason = "as where there are machines")]
impl Runtime {
    pub async fn start(_settings: RuntimeSettings) -> Result<Self, Error> {
        Err(Error)
    }

    pub async fn until_ready(&self) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn subnet(&self) -> Ipv4Net {
        match self.0 {}
    }

    pub fn gateway(&self) -> Ipv4Addr {
        match self.0 {}
    }

    pub fn system(&self) -> System {
        match self.0 {}
    }

    pub fn unlimited(&self) -> Vec<&'static str> {
        match self.0 {}
    }

    /// There is none.
    pub fn held_packages(&self) -> Option<usize> {
        match self.0 {}
    }

    pub async fn listen_for_metadata(&self) -> Result<TcpListener, Error> {
        match self.0 {}
    }

    pub async fn boot(&self, _boot: Boot) -> Result<Machine, Error> {
        match self.0 {}
    }

    pub async fn set_firewall(&self, _ports: Vec<Port>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn console(&self, _id: &str) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    pub async fn remove_disk(&self, _id: &str) -> io::Result<()> {
        match self.0 {}
    }

    pub fn disks(&self) -> io::Result<Vec<String>> {
        match self.0 {}
    }

    pub async fn shutdown(&self) {
        match self.0 {}
    }
}

#[expect(clippy::unused_async, reason = "as where there are machines")]
#[expect(missing_docs, reason = "as where there are machines")]
impl Machine {
    pub fn take_proxy(&self) -> Option<TcpListener> {
        match self.0 {}
    }

    pub async fn stop(&self, _patience: Duration) {
        match self.0 {}
    }

    pub fn kill(&self) {
        match self.0 {}
    }

    pub async fn ended(&self) -> Ending {
        match self.0 {}
    }
}
