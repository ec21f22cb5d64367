//! Runs the commands of a service: user, directory, environment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::super::super::accounts;
use super::super::super::files;
use super::super::init::spawn::{Child, Identity, Spawn};
use super::definition::Definition;
use super::exec::Exec;
use super::service::Service;
use super::state::{Failure, is_success};

impl Service {
    /// Runs commands one after the other until one fails.
    pub(super) async fn run_all(
        &self,
        definition: &Definition,
        commands: &[Exec],
    ) -> Result<(), Failure> {
        for exec in commands {
            self.run(definition, exec).await?;
        }
        Ok(())
    }

    /// Runs a command until it ends.
    pub(super) async fn run(&self, definition: &Definition, exec: &Exec) -> Result<(), Failure> {
        let result = match self.spawn(definition, exec, &[]) {
            Ok(child) => {
                let status = child.exited.await.map_err(Failure::resources)?;
                self.0.state.borrow_mut().status = Some(status);
                if is_success(definition, status) {
                    Ok(())
                } else {
                    Err(Failure::of_status("a command failed", status))
                }
            }
            Err(failure) => Err(failure),
        };
        if exec.may_fail { Ok(()) } else { result }
    }

    /// Starts a command.
    pub(super) fn spawn(
        &self,
        definition: &Definition,
        exec: &Exec,
        more: &[(&str, &str)],
    ) -> Result<Child, Failure> {
        let variables = self
            .variables(definition, more)
            .map_err(Failure::resources)?;
        let argv = exec.argv(&variables);
        let identity = match &definition.user {
            Some(user) if !exec.as_root => {
                let identity = Identity::find(user, definition.group.as_deref());
                Some(identity.map_err(Failure::resources)?)
            }
            _ => None,
        };
        let directory = definition.directory.trim_start_matches('-');
        let directory = match directory {
            "~" => variables.get("HOME").map_or("/", String::as_str),
            directory
                if !Path::new(directory).is_dir() && definition.directory.starts_with('-') =>
            {
                "/"
            }
            directory => directory,
        };
        let environment: Vec<_> = variables.clone().into_iter().collect();
        let log = self.open_log().map_err(Failure::resources)?;
        let child = Spawn::new(&argv.program)
            .arg0(&argv.arg0)
            .args(&argv.args)
            .environment(&environment)
            .directory(directory)
            .identity(identity)
            .umask(definition.umask)
            .output(log)
            .and_then(|spawn| spawn.start(&self.0.reaper))
            .map_err(|error| Failure {
                result: "exit-code",
                reason: format!("cannot run {}: {error}", argv.program),
            })?;
        self.0.state.borrow_mut().family.started.insert(child.pid);
        Ok(child)
    }

    fn variables(
        &self,
        definition: &Definition,
        more: &[(&str, &str)],
    ) -> io::Result<BTreeMap<String, String>> {
        let state = self.state();
        let mut given = self.0.environment.clone();
        let mut add = |key: &str, value: String| given.push((key.to_owned(), value));
        add("INVOCATION_ID", state.family.invocation);
        if let Some(main) = state.family.main {
            add("MAINPID", main.to_string());
        }
        if let Some(user) = &definition.user
            && let Some(found) = accounts::find(user)
        {
            add("HOME", found.home.to_string_lossy().into_owned());
            add("SHELL", found.shell.to_string_lossy().into_owned());
            add("USER", user.clone());
            add("LOGNAME", user.clone());
        }
        for own in &definition.directories {
            add(own.variable, format!("{}/{}", own.base, own.name));
        }
        for (key, value) in more {
            add(key, (*value).to_owned());
        }
        definition.variables(&given)
    }

    /// Returns the path of the service's log.
    pub(super) fn log(&self) -> String {
        log_of(&self.0.name)
    }

    fn open_log(&self) -> io::Result<OwnedFd> {
        fs::create_dir_all("/var/log/units")?;
        Ok(files::append(self.log(), 0o640)?.into())
    }

    /// Writes a line to the service's log.
    pub(super) fn note(&self, text: &str) {
        use io::Write as _;
        if let Ok(log) = self.open_log() {
            // If the log cannot be written, the service's state still shows the
            // failure.
            let _ = writeln!(fs::File::from(log), "{}: {text}", self.0.name);
        }
    }
}

/// Returns the path of a unit's log.
fn log_of(unit: &str) -> String {
    let stem = unit.strip_suffix(".service").unwrap_or(unit);
    format!("/var/log/units/{stem}.log")
}
