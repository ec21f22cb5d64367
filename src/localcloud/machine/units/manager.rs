//! Manages all units of a machine: starts enabled units and their dependencies.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use futures_util::future::join_all;

use super::super::init::reaper::Reaper;
use super::super::journal::Journal;
use super::definition::Definition;
use super::enablement::Enabled;
use super::loader::{Found, Loader, Unit};
use super::service::Service;
use super::stages::{self, Stages};
use super::state::{Active, Failure};

/// Services that init provides itself or that a machine does not need. They are
/// always active.
const BUILT_IN: [&str; 5] = [
    "auditd.service",
    "dbus.service",
    "dbus-broker.service",
    "ssh.service",
    "sshd.service",
];

/// Targets that a machine has reached once it is up.
const REACHED: [&str; 10] = [
    "basic.target",
    "default.target",
    "graphical.target",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network.target",
    "nss-lookup.target",
    "sysinit.target",
    "time-sync.target",
];

/// The service manager.
#[derive(Clone)]
pub(in super::super) struct Manager(Rc<Inner>);

struct Inner {
    pub(super) loader: Loader,
    reaper: Reaper,
    journal: Journal,
    /// The variables of all services, which `set-environment` changes.
    environment: RefCell<Vec<(String, String)>>,
    services: RefCell<BTreeMap<String, Service>>,
    /// Units without any effect that were started.
    pretended: RefCell<BTreeSet<String>>,
    stages: Stages,
}

/// Why a unit cannot be started, stopped or reloaded.
#[derive(Debug)]
pub(super) enum Refusal {
    Missing,
    Masked,
    /// The unit has no reload command or is not active.
    NotApplicable,
    /// A dependency did not start.
    Dependency,
    Failed(Failure),
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A unit and the way to act on it.
pub(super) enum Target {
    /// A unit whose start and stop have no effect.
    Pretended(String),
    Service(Box<Unit>, Service, Rc<Definition>),
}

impl Manager {
    pub(in super::super) fn new(
        reaper: Reaper,
        journal: Journal,
        environment: Vec<(String, String)>,
    ) -> Self {
        Self(Rc::new(Inner {
            loader: Loader::default(),
            reaper,
            journal,
            environment: RefCell::new(environment),
            services: RefCell::default(),
            pretended: RefCell::default(),
            stages: Stages::default(),
        }))
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Returns the variables of all services.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        self.0.environment.borrow().clone()
    }

    /// Sets or removes a variable of the services that start from now on.
    pub(super) fn set_variable(&self, key: &str, value: Option<&str>) {
        let mut environment = self.0.environment.borrow_mut();
        environment.retain(|(known, _)| known != key);
        environment.extend(value.map(|value| (key.to_owned(), value.to_owned())));
    }

    pub(super) fn loader(&self) -> &Loader {
        &self.0.loader
    }

    /// How far the stages of cloud-init are.
    pub(in super::super) fn stages(&self) -> &Stages {
        &self.0.stages
    }

    /// Returns a unit's state. Returns `None` if the unit does not exist. The units
    /// of cloud-init are enabled without links, too: their stages run at each boot.
    pub(super) fn enablement(&self, name: &str) -> io::Result<Option<Enabled>> {
        let enabled = self.loader().is_enabled(name)?;
        Ok(match enabled {
            None | Some(Enabled::Disabled) if self.is_stage(name)? => Some(Enabled::Yes),
            enabled => enabled,
        })
    }

    /// Whether the unit exists and is one of cloud-init's. Without the package, the
    /// stand-in's units exist.
    pub(super) fn is_stage(&self, name: &str) -> io::Result<bool> {
        let is_file =
            |name| Ok::<_, io::Error>(matches!(self.loader().find(name)?, Found::Unit(_)));
        Ok(stages::is_unit(name)
            && (is_file(name)?
                || (stages::is_of_stand_in(name) && !is_file("cloud-final.service")?)))
    }

    /// Starts the enabled units one after the other.
    pub(in super::super) async fn start_enabled(&self) {
        let enabled = self.loader().enabled();
        for name in self.in_order(&enabled) {
            if let Err(refusal) = self.start(&name).await {
                log::warn!("cannot start {name} at boot: {refusal:?}");
            }
        }
    }

    /// Stops all services at once.
    pub(in super::super) async fn stop_all(&self) {
        let names: Vec<_> = self.0.services.borrow().keys().cloned().collect();
        let stops = names.iter().map(|name| self.stop(name));
        for (name, result) in names.iter().zip(join_all(stops).await) {
            if let Err(refusal) = result {
                log::debug!("cannot stop {name}: {refusal:?}");
            }
        }
    }

    /// Sorts units by `After=`, as far as it names other units of the list.
    fn in_order(&self, names: &[String]) -> Vec<String> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            self.place(name, names, &mut seen, &mut order);
        }
        order
    }

    fn place(
        &self,
        name: &str,
        names: &[String],
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        if let Ok(Found::Unit(unit)) = self.loader().find(name) {
            for before in unit.file.words("Unit", "After") {
                if names.contains(&before) {
                    self.place(&before, names, seen, order);
                }
            }
        }
        order.push(name.to_owned());
    }

    /// Finds a unit by its full name.
    pub(super) fn target(&self, name: &str) -> Result<Target, Refusal> {
        if is_always_active(name) {
            return Ok(Target::Pretended(name.to_owned()));
        }
        match self.loader().find(name)? {
            Found::Masked => Err(Refusal::Masked),
            _ if self.is_stage(name)? => Ok(Target::Pretended(name.to_owned())),
            Found::Missing if REACHED.contains(&name) => Ok(Target::Pretended(name.to_owned())),
            Found::Missing => Err(Refusal::Missing),
            Found::Unit(unit)
                if is_always_active(&unit.name) || !unit.name.ends_with(".service") =>
            {
                Ok(Target::Pretended(unit.name))
            }
            Found::Unit(unit) => {
                let definition = Rc::new(Definition::of(&unit, self.environment()));
                let service = self.service(&unit.name);
                Ok(Target::Service(Box::new(unit), service, definition))
            }
        }
    }

    /// Returns the active state and the sub state of a unit whose start and stop
    /// have no effect.
    pub(super) fn pretended_state(&self, name: &str) -> (Active, &'static str) {
        if let Some(state) = self.stages().state(name) {
            return state;
        }
        let is_active = is_always_active(name)
            || REACHED.contains(&name)
            || self.0.pretended.borrow().contains(name);
        if is_active {
            (Active::Running, "exited")
        } else {
            (Active::Inactive, "dead")
        }
    }

    fn service(&self, name: &str) -> Service {
        let mut services = self.0.services.borrow_mut();
        let make = || {
            let (reaper, journal) = (self.0.reaper.clone(), self.0.journal.clone());
            Service::new(name, reaper, journal)
        };
        services.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// Returns the unit that a process belongs to.
    pub(in super::super) fn unit_of(&self, pid: i32) -> Option<String> {
        let services = self.services();
        let mut its = services.iter().filter(|(_, service)| {
            let family = service.state().family;
            family.main == Some(pid) || family.has(pid)
        });
        its.next().map(|(name, _)| name.clone())
    }

    /// Returns the services that were ever started.
    pub(super) fn services(&self) -> Vec<(String, Service)> {
        let services = self.0.services.borrow();
        let pairs = services
            .iter()
            .map(|(name, service)| (name.clone(), service.clone()));
        pairs.collect()
    }

    /// Starts a unit and its dependencies.
    pub(super) async fn start(&self, name: &str) -> Result<(), Refusal> {
        self.start_with(name.to_owned(), BTreeSet::new()).await
    }

    fn start_with(
        &self,
        name: String,
        mut on_the_way: BTreeSet<String>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + '_>> {
        Box::pin(async move {
            // Units that depend on each other would recurse forever.
            if !on_the_way.insert(name.clone()) {
                return Ok(());
            }
            match self.target(&name)? {
                Target::Pretended(name) => {
                    self.0.pretended.borrow_mut().insert(name);
                    Ok(())
                }
                Target::Service(unit, service, definition) => {
                    self.start_needed(&unit, &on_the_way).await?;
                    service.start(&definition).await.map_err(Refusal::Failed)
                }
            }
        })
    }

    async fn start_needed(
        &self,
        unit: &Unit,
        on_the_way: &BTreeSet<String>,
    ) -> Result<(), Refusal> {
        for conflict in unit.file.words("Unit", "Conflicts") {
            if self.0.services.borrow().contains_key(&conflict) {
                self.stop(&conflict).await?;
            }
        }
        for (key, essential) in [("Wants", false), ("Requires", true), ("BindsTo", true)] {
            for needed in unit.file.words("Unit", key) {
                let result = self.start_with(needed, on_the_way.clone()).await;
                match result {
                    // A dependency without a unit file is ignored, even in
                    // `Requires=`: it may be one that instances do not need.
                    Ok(()) | Err(Refusal::Missing) => {}
                    Err(_) if essential => return Err(Refusal::Dependency),
                    Err(refusal) => log::debug!("{}: {refusal:?}", unit.name),
                }
            }
        }
        Ok(())
    }

    /// Stops a unit.
    pub(super) async fn stop(&self, name: &str) -> Result<(), Refusal> {
        match self.target(name) {
            Ok(Target::Pretended(name)) => {
                self.0.pretended.borrow_mut().remove(&name);
                Ok(())
            }
            Ok(Target::Service(_, service, definition)) => {
                service.stop(&definition).await;
                Ok(())
            }
            // A masked service may still run; a later stop after unmasking ends
            // it.
            Err(Refusal::Masked) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Stops and starts a unit.
    pub(super) async fn restart(&self, name: &str) -> Result<(), Refusal> {
        match self.target(name)? {
            Target::Pretended(_) => Ok(()),
            Target::Service(unit, service, definition) => {
                self.start_needed(&unit, &BTreeSet::from([unit.name.clone()]))
                    .await?;
                service.restart(&definition).await.map_err(Refusal::Failed)
            }
        }
    }

    /// Runs the reload commands of a unit.
    pub(super) async fn reload(&self, name: &str) -> Result<(), Refusal> {
        match self.target(name)? {
            Target::Pretended(_) => Ok(()),
            Target::Service(_, service, definition) => {
                let is_active = service.state().active == Active::Running;
                if definition.reload.is_empty() || !is_active {
                    return Err(Refusal::NotApplicable);
                }
                service.reload(&definition).await.map_err(Refusal::Failed)
            }
        }
    }

    /// Returns the active state of a unit.
    pub(super) fn active(&self, name: &str) -> Active {
        match self.target(name) {
            Ok(Target::Service(_, service, _)) => service.state().active,
            Ok(Target::Pretended(name)) => self.pretended_state(&name).0,
            _ => Active::Inactive,
        }
    }
}

/// Whether init does what this unit is for.
pub(in super::super) fn is_built_in(name: &str) -> bool {
    is_always_active(name) || stages::is_unit(name)
}

/// Whether init provides this service itself.
fn is_always_active(name: &str) -> bool {
    let of_systemd = name.starts_with("systemd-") && name.ends_with(".service");
    BUILT_IN.contains(&name) || of_systemd
}
