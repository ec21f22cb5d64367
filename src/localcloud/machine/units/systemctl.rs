//! The command `systemctl`.

use std::path::Path;

use super::super::init::control::Reply;
use super::super::tools::{VERSION, unsupported};
use super::arguments::Call;
use super::loader::{Found, Loader, file_name, full_name};
use super::manager::{Manager, Refusal, Target};
use super::processes::send;
use super::stages;
use super::state::Active;
use super::wording::{NOT_INSTALLABLE, denied, lines_of, out, refused};

/// Verbs of systemd that would have an effect, which they cannot have here, or
/// show what is not known here.
const UNSUPPORTED: [&str; 36] = [
    "add-requires",
    "add-wants",
    "bind",
    "cancel",
    "clean",
    "default",
    "edit",
    "emergency",
    "exit",
    "freeze",
    "help",
    "hibernate",
    "hybrid-sleep",
    "import-environment",
    "list-automounts",
    "list-dependencies",
    "list-machines",
    "list-paths",
    "list-sockets",
    "list-timers",
    "log-level",
    "log-target",
    "mount-image",
    "preset-all",
    "rescue",
    "revert",
    "service-log-level",
    "service-log-target",
    "service-watchdogs",
    "set-property",
    "sleep",
    "suspend",
    "suspend-then-hibernate",
    "switch-root",
    "thaw",
    "whoami",
];

impl Manager {
    /// Runs a call of `systemctl` by this user.
    pub(in super::super) async fn systemctl(&self, args: &[String], uid: u32) -> Reply {
        let call = match Call::parse(args) {
            Ok(call) => call,
            Err(reply) => return reply,
        };
        let changes = !matches!(
            call.verb.as_str(),
            "is-active"
                | "is-enabled"
                | "is-failed"
                | "is-system-running"
                | "status"
                | "show"
                | "list-units"
                | "list-unit-files"
                | "cat"
                | "get-default"
                | "version"
                | "list-jobs"
                | "show-environment"
        );
        if changes && uid != 0 {
            return denied(&call);
        }
        let mut reply = self.act(&call).await;
        if call.quiet {
            reply.out.clear();
        }
        reply
    }

    async fn act(&self, call: &Call) -> Reply {
        match call.verb.as_str() {
            "start"
            | "stop"
            | "restart"
            | "try-restart"
            | "condrestart"
            | "reload"
            | "force-reload"
            | "reload-or-restart"
            | "try-reload-or-restart"
            | "isolate" => self.run_jobs(call).await,
            "enable" | "reenable" | "preset" | "disable" | "mask" | "unmask" | "link" => {
                self.change_files(call).await
            }
            "is-active" => self.is_active(call),
            "is-failed" => self.is_failed(call),
            "is-enabled" => self.is_enabled(call),
            "is-system-running" => {
                if call.wait {
                    self.stages().ended().await;
                }
                self.system_state()
            }
            "status" => self.status(call),
            "show" => self.show(call),
            "cat" => self.cat(call),
            "kill" => self.kill(call),
            "list-units" => self.list_units(call),
            "list-unit-files" => self.list_unit_files(call),
            "get-default" => out(lines_of([self.loader().default_target()])),
            "set-default" => self.set_default(call),
            "set-environment" => self.set_environment(call),
            "unset-environment" => self.unset_environment(call),
            "show-environment" => out(lines_of(
                self.environment()
                    .iter()
                    .map(|(key, value)| format!("{key}={value}")),
            )),
            "list-jobs" => out("No jobs running.\n"),
            "version" => out(format!("systemd {VERSION}\n")),
            "reset-failed" => {
                self.reset_failed(call);
                Reply::default()
            }
            // Unit files are read whenever they are needed.
            "daemon-reload" | "daemon-reexec" => Reply::default(),
            verb if UNSUPPORTED.contains(&verb) => unsupported("systemctl", verb),
            verb => Reply::failure(format!("Unknown command verb '{verb}'."), 1),
        }
    }

    async fn run_jobs(&self, call: &Call) -> Reply {
        if call.units.is_empty() {
            return Reply::failure("Too few arguments.", 1);
        }
        if call.no_block {
            return self.queue(call);
        }
        let mut reply = Reply::default();
        for unit in &call.units {
            if let Err(refusal) = self.run_job(&call.verb, unit).await {
                let one = refused(&call.verb, unit, &refusal);
                reply.err += &one.err;
                reply.code = one.code;
            }
        }
        reply
    }

    /// Starts jobs without waiting for them.
    fn queue(&self, call: &Call) -> Reply {
        for unit in &call.units {
            if let Err(refusal) = self.target(unit) {
                return refused(&call.verb, unit, &refusal);
            }
        }
        for unit in call.units.clone() {
            let (manager, verb) = (self.clone(), call.verb.clone());
            tokio::task::spawn_local(async move {
                if let Err(refusal) = manager.run_job(&verb, &unit).await {
                    log::debug!("{verb} {unit}: {refusal:?}");
                }
            });
        }
        Reply::default()
    }

    async fn run_job(&self, verb: &str, unit: &str) -> Result<(), Refusal> {
        let is_active = self.active(unit) == Active::Running;
        match verb {
            "start" | "isolate" => self.start(unit).await,
            "stop" => self.stop(unit).await,
            "reload" => self.reload(unit).await,
            "try-restart" | "condrestart" | "try-reload-or-restart" | "force-reload"
                if !is_active =>
            {
                self.target(unit).map(drop)
            }
            "restart" | "try-restart" | "condrestart" => self.restart(unit).await,
            _ => match self.reload(unit).await {
                Err(Refusal::NotApplicable) => self.restart(unit).await,
                result => result,
            },
        }
    }

    async fn change_files(&self, call: &Call) -> Reply {
        let mut reply = Reply::default();
        let of_users = call.global.then(Loader::of_users);
        let loader = of_users.as_ref().unwrap_or(self.loader());
        for unit in &call.words {
            let one = change_file(loader, &call.verb, unit);
            reply.err += &one.err;
            if one.code != 0 {
                return Reply {
                    code: one.code,
                    ..reply
                };
            }
        }
        if call.quiet {
            reply.err.clear();
        }
        if !call.now {
            return reply;
        }
        let verb = match call.verb.as_str() {
            "enable" | "reenable" | "preset" => "start",
            _ => "stop",
        };
        for unit in call.words.iter().map(|word| unit_of(word)) {
            if let Err(refusal) = self.run_job(verb, &unit).await {
                let one = refused(verb, &unit, &refusal);
                reply.err += &one.err;
                reply.code = one.code;
            }
        }
        reply
    }

    fn kill(&self, call: &Call) -> Reply {
        if call.units.is_empty() {
            return Reply::failure("Too few arguments.", 1);
        }
        for name in &call.units {
            match self.target(name) {
                Ok(Target::Service(_, service, _)) => {
                    let family = service.state().family;
                    match family.main.filter(|_| call.only_main) {
                        Some(main) => send(main, call.signal),
                        None => family.signal(call.signal),
                    }
                }
                Ok(Target::Pretended(name)) => {
                    let message = format!(
                        "Failed to kill unit {name}: it is a part of the local cloud, or has no \
                         effect there (see `autorun docs local-cloud`)"
                    );
                    return Reply::failure(message, 1);
                }
                Err(_) => {
                    let message = format!("Failed to kill unit {name}: Unit {name} not loaded.");
                    return Reply::failure(message, 1);
                }
            }
        }
        Reply::default()
    }

    fn reset_failed(&self, call: &Call) {
        for name in stages::names() {
            if call.units.is_empty() || call.units.iter().any(|unit| unit == name) {
                self.stages().clear(name);
            }
        }
        for (name, service) in self.services() {
            if call.units.is_empty() || call.units.contains(&name) {
                service.reset();
            }
        }
    }

    fn set_default(&self, call: &Call) -> Reply {
        let [target] = &call.units[..] else {
            return Reply::failure("Too few arguments.", 1);
        };
        match self.loader().set_default(target) {
            Ok(lines) => Reply {
                err: lines_of(lines),
                ..Reply::default()
            },
            Err(error) => Reply::failure(format!("Failed to set default target: {error}"), 1),
        }
    }

    fn set_environment(&self, call: &Call) -> Reply {
        for word in &call.words {
            let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                let message = "Failed to set environment: Invalid environment assignments";
                return Reply::failure(message, 1);
            };
            self.set_variable(key, Some(value));
        }
        Reply::default()
    }

    fn unset_environment(&self, call: &Call) -> Reply {
        for key in &call.words {
            self.set_variable(key, None);
        }
        Reply::default()
    }
}

fn change_file(loader: &Loader, verb: &str, word: &str) -> Reply {
    // A path to a unit file is linked first.
    let linked = if word.contains('/') && matches!(verb, "enable" | "reenable" | "link") {
        match loader.link(Path::new(word)) {
            Ok(lines) => lines,
            Err(error) => return Reply::failure(format!("Failed to {verb} unit: {error}"), 1),
        }
    } else if verb == "link" {
        return Reply::failure("Failed to link unit: Invalid argument", 1);
    } else {
        Vec::new()
    };
    let name = &unit_of(word);
    let unit = match loader.find(name) {
        Ok(Found::Unit(unit)) => Some(unit),
        Ok(Found::Masked) if matches!(verb, "enable" | "reenable" | "preset") => {
            let message = format!("Failed to {verb} unit: Unit file {name} is masked.");
            return Reply::failure(message, 1);
        }
        Ok(_) => None,
        Err(error) => return Reply::failure(format!("Failed to {verb} unit: {error}"), 1),
    };
    let changes = match (verb, unit) {
        ("link", _) => Ok(Vec::new()),
        ("mask", _) => loader.mask(name),
        ("unmask", _) => loader.unmask(name),
        (_, None) => {
            let message = format!("Failed to {verb} unit: Unit file {name} does not exist.");
            return Reply::failure(message, 1);
        }
        ("disable", Some(unit)) => loader.disable(&unit),
        (_, Some(unit)) if !unit.file.has_section("Install") => {
            return Reply {
                err: NOT_INSTALLABLE.to_owned(),
                ..Reply::default()
            };
        }
        (_, Some(unit)) => loader.enable(&unit),
    };
    match changes {
        Ok(lines) => Reply {
            err: lines_of(linked.into_iter().chain(lines)),
            ..Reply::default()
        },
        Err(error) => Reply::failure(format!("Failed to {verb} unit: {error}"), 1),
    }
}

/// Returns the name of a unit that is given by its name or path.
fn unit_of(word: &str) -> String {
    full_name(&file_name(Path::new(word)))
}
