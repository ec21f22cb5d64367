//! Runs the commands of a service: user, directory, environment.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::super::super::accounts;
use super::super::init::spawn::{Child, Identity, Spawn};
use super::super::journal::{INFO, Journal, Source};
use super::definition::Definition;
use super::exec::Exec;
use super::service::Service;
use super::state::{Failure, is_success};

/// The priority of warnings.
const WARNING: u8 = 4;

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
        let (reader, writer) = Journal::pipe().map_err(Failure::resources)?;
        let child = Spawn::new(&argv.program)
            .arg0(&argv.arg0)
            .args(&argv.args)
            .environment(&environment)
            .directory(directory)
            .identity(identity)
            .umask(definition.umask)
            .output(writer)
            .and_then(|spawn| spawn.start(&self.0.reaper))
            .map_err(|error| Failure {
                result: "exit-code",
                reason: format!("cannot run {}: {error}", argv.program),
            })?;
        self.0.state.borrow_mut().family.started.insert(child.pid);
        let program = Path::new(&argv.program).file_name().unwrap_or_default();
        let identifier = definition.identifier.clone();
        let source = Source {
            identifier: identifier.unwrap_or_else(|| program.to_string_lossy().into_owned()),
            pid: Some(child.pid),
            unit: Some(self.0.name.clone()),
        };
        self.0.journal.follow(source, INFO, reader);
        Ok(child)
    }

    fn variables(
        &self,
        definition: &Definition,
        more: &[(&str, &str)],
    ) -> io::Result<BTreeMap<String, String>> {
        let state = self.state();
        let mut given = definition.given.clone();
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

    /// Writes a warning about the service to the journal.
    pub(super) fn note(&self, text: &str) {
        self.report(WARNING, &format!("{}: {text}", self.0.name));
    }

    /// Writes a message about the service to the journal.
    pub(super) fn report(&self, priority: u8, text: &str) {
        self.0.journal.of_init(&self.0.name, priority, text);
    }
}
