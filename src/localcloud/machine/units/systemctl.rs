//! The command `systemctl`.

use super::super::init::control::Reply;
use super::arguments::Call;
use super::loader::Found;
use super::manager::{Manager, Refusal, Target};
use super::state::Active;
use super::wording::{NOT_INSTALLABLE, denied, lines_of, out, refused};

impl Manager {
    /// Runs a call of `systemctl` by this user.
    pub(in super::super) async fn systemctl(&self, args: &[String], uid: u32) -> Reply {
        let call = Call::parse(args);
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
                | "list-dependencies"
                | "list-timers"
                | "list-sockets"
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
            "enable" | "reenable" | "preset" | "disable" | "mask" | "unmask" | "revert" => {
                self.change_files(call).await
            }
            "is-active" => self.is_active(call),
            "is-failed" => self.is_failed(call),
            "is-enabled" => self.is_enabled(call),
            "is-system-running" => out("running\n"),
            "status" => self.status(call),
            "show" => self.show(call),
            "cat" => self.cat(call),
            "kill" => self.kill(call),
            "list-units" => self.list_units(call),
            "list-unit-files" => self.list_unit_files(call),
            "get-default" => out("multi-user.target\n"),
            "version" => out("systemd 252 (stand-in of autorun)\n"),
            "reset-failed" => {
                self.reset_failed(call);
                Reply::default()
            }
            "daemon-reload" | "daemon-reexec" | "set-default" | "preset-all"
            | "import-environment" | "set-environment" | "unset-environment"
            | "show-environment" | "list-timers" | "list-sockets" | "list-dependencies"
            | "log-level" | "set-property" => Reply::default(),
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
        for unit in &call.units {
            let one = self.change_file(&call.verb, unit);
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
        for unit in &call.units {
            if let Err(refusal) = self.run_job(verb, unit).await {
                let one = refused(verb, unit, &refusal);
                reply.err += &one.err;
                reply.code = one.code;
            }
        }
        reply
    }

    fn change_file(&self, verb: &str, name: &str) -> Reply {
        let loader = self.loader();
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
            ("mask", _) => loader.mask(name),
            ("unmask" | "revert", _) => loader.unmask(name),
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
                err: lines_of(lines),
                ..Reply::default()
            },
            Err(error) => Reply::failure(format!("Failed to {verb} unit: {error}"), 1),
        }
    }

    fn kill(&self, call: &Call) -> Reply {
        for name in &call.units {
            if let Ok(Target::Service(_, service, _)) = self.target(name) {
                service
                    .state()
                    .family
                    .signal(nix::sys::signal::Signal::SIGTERM);
            }
        }
        Reply::default()
    }

    fn reset_failed(&self, call: &Call) {
        for (name, service) in self.services() {
            if call.units.is_empty() || call.units.contains(&name) {
                service.reset();
            }
        }
    }
}
