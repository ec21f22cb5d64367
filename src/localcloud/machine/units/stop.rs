//! Stops a service: runs its commands, then signals the remaining processes.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::super::journal::INFO;
use super::definition::{Definition, KillMode};
use super::processes::{is_alive, send};
use super::service::Service;
use super::state::Active;

impl Service {
    /// Stops the service. The caller holds the lock `turn`.
    pub(super) async fn stop_in_turn(&self, definition: &Rc<Definition>) {
        let before = self.state();
        self.0.state.borrow_mut().turn += 1;
        let is_down = matches!(before.active, Active::Inactive | Active::Failed);
        if is_down && before.family.members().is_empty() {
            return;
        }
        self.set(Active::Deactivating, "stop");
        self.report(INFO, &format!("Stopping {}...", definition.title));
        let commands = self.run_all(definition, &definition.stop);
        match timeout(definition.stop_patience, commands).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.note(&failure.reason),
            Err(_) => self.note("the stop commands timed out"),
        }
        self.kill_rest(definition).await;
        self.run_post(definition).await;
        self.end(None);
        self.report(INFO, &format!("Stopped {}.", definition.title));
    }

    /// Ends the remaining processes, at first with the service's kill signal.
    pub(super) async fn kill_rest(&self, definition: &Definition) {
        let family = self.state().family;
        match (definition.kill_mode, family.main) {
            (KillMode::None, _) => return,
            (KillMode::ControlGroup, _) => family.signal(definition.kill_signal),
            (KillMode::Mixed | KillMode::Process, Some(main)) => send(main, definition.kill_signal),
            (KillMode::Mixed | KillMode::Process, None) => {}
        }
        let only_main = definition.kill_mode == KillMode::Process;
        let gone = async {
            loop {
                let next = self.0.reaper.next_end();
                let left = if only_main {
                    family.main.is_some_and(is_alive)
                } else {
                    !family.members().is_empty()
                };
                if !left {
                    return;
                }
                next.await;
            }
        };
        if timeout(definition.stop_patience, gone).await.is_err() {
            self.note("it did not end after the kill signal and is killed");
            if only_main {
                family
                    .main
                    .into_iter()
                    .for_each(|main| send(main, Signal::SIGKILL));
            } else {
                family.signal(Signal::SIGKILL);
            }
        }
    }

    /// Cleans up after any end of the service.
    pub(super) async fn run_post(&self, definition: &Definition) {
        let commands = self.run_all(definition, &definition.stop_post);
        if timeout(definition.stop_patience, commands).await.is_err() {
            self.note("the commands after the stop timed out");
        }
        for own in &definition.directories {
            if own.base == "/run" {
                // Other processes may have removed the directory already.
                let _ = fs::remove_dir_all(Path::new(own.base).join(&own.name));
            }
        }
    }
}
