//! A service: its start, its supervision, its restarts.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::super::super::files;
use super::super::init::reaper::Reaper;
use super::super::init::spawn::Child;
use super::super::journal::{INFO, Journal};
use super::definition::{Definition, Kind, Restart};
use super::directories::make_directories;
use super::processes::{Family, is_alive};
use super::state::{Active, Failure, State, described, ended_by_usual_signal, is_success};

/// The maximum number of automatic starts within this time, as in systemd.
const START_LIMIT: (usize, Duration) = (5, Duration::from_secs(10));

/// The priority of a failed start.
const ERROR: u8 = 3;

/// A service that was requested at least once.
#[derive(Clone)]
pub(super) struct Service(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) name: String,
    pub(super) reaper: Reaper,
    pub(super) journal: Journal,
    pub(super) state: RefCell<State>,
    /// Allows only one change at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Service {
    pub(super) fn new(name: &str, reaper: Reaper, journal: Journal) -> Self {
        let state = State {
            active: Active::Inactive,
            sub: "dead",
            result: "success",
            status: None,
            since: files::now(),
            restarts: 0,
            family: Family::default(),
            turn: 0,
            starts: VecDeque::new(),
        };
        Self(Rc::new(Inner {
            name: name.to_owned(),
            reaper,
            journal,
            state: RefCell::new(state),
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    pub(super) fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// Starts the service unless it is running. Returns once it counts as
    /// started.
    pub(super) async fn start(&self, definition: &Rc<Definition>) -> Result<(), Failure> {
        let _turn = self.0.turn.lock().await;
        if matches!(self.state().active, Active::Running) {
            return Ok(());
        }
        self.0.state.borrow_mut().starts.clear();
        self.start_in_turn(definition).await
    }

    /// Stops the service and starts it again.
    pub(super) async fn restart(&self, definition: &Rc<Definition>) -> Result<(), Failure> {
        let _turn = self.0.turn.lock().await;
        self.stop_in_turn(definition).await;
        self.0.state.borrow_mut().starts.clear();
        self.start_in_turn(definition).await
    }

    /// Stops the service if it is running.
    pub(super) async fn stop(&self, definition: &Rc<Definition>) {
        let _turn = self.0.turn.lock().await;
        self.stop_in_turn(definition).await;
    }

    /// Runs the reload commands.
    pub(super) async fn reload(&self, definition: &Definition) -> Result<(), Failure> {
        let _turn = self.0.turn.lock().await;
        self.set(Active::Reloading, "reload");
        let result = self.run_all(definition, &definition.reload).await;
        self.set(Active::Running, "running");
        result
    }

    /// Clears a failure.
    pub(super) fn reset(&self) {
        if self.state().active == Active::Failed {
            self.set(Active::Inactive, "dead");
        }
    }

    pub(super) fn set(&self, active: Active, sub: &'static str) {
        let mut state = self.0.state.borrow_mut();
        if state.active != active {
            state.since = files::now();
        }
        state.active = active;
        state.sub = sub;
    }

    async fn start_in_turn(&self, definition: &Rc<Definition>) -> Result<(), Failure> {
        if definition.unmet_condition().is_some() {
            return Ok(());
        }
        self.begin();
        let (title, kind) = (&definition.title, definition.kind);
        if kind != Kind::Simple || !definition.start_pre.is_empty() {
            self.report(INFO, &format!("Starting {title}..."));
        }
        let patience = definition.start_patience;
        let started = timeout(patience, self.start_steps(definition)).await;
        let result = started.unwrap_or_else(|_| Err(Failure::timeout("the start")));
        if result.is_ok() {
            let done = if kind == Kind::Oneshot {
                "Finished"
            } else {
                "Started"
            };
            self.report(INFO, &format!("{done} {title}."));
        }
        if let Err(failure) = &result {
            self.note(&failure.reason);
            self.0.state.borrow_mut().turn += 1;
            self.kill_rest(definition).await;
            self.run_post(definition).await;
            self.end(Some(failure.result));
            self.report(ERROR, &format!("Failed to start {title}."));
        }
        result
    }

    fn begin(&self) {
        self.set(Active::Activating, "start");
        let mut state = self.0.state.borrow_mut();
        state.turn += 1;
        state.status = None;
        state.result = "success";
        state.starts.push_back(Instant::now());
        state.family = Family {
            invocation: format!("{:032x}", rand::random::<u128>()),
            ..Family::default()
        };
    }

    async fn start_steps(&self, definition: &Rc<Definition>) -> Result<(), Failure> {
        make_directories(definition)?;
        self.run_all(definition, &definition.start_pre).await?;
        match definition.kind {
            Kind::Oneshot => self.run_all(definition, &definition.start).await?,
            Kind::Simple => {
                let child = self.spawn_first(definition, &[])?;
                self.watch(definition, child);
            }
            Kind::Notify => self.start_notifying(definition).await?,
            Kind::Forking => self.start_forking(definition).await?,
        }
        self.run_all(definition, &definition.start_post).await?;
        match definition.kind {
            Kind::Oneshot if definition.remain_after_exit => self.set(Active::Running, "exited"),
            Kind::Oneshot => {
                self.run_post(definition).await;
                self.set(Active::Inactive, "dead");
            }
            _ if self.state().active == Active::Activating => self.set(Active::Running, "running"),
            // The service has already ended, and its watcher has set the state.
            _ => {}
        }
        Ok(())
    }

    /// Starts the service and waits until it reports that it is ready.
    async fn start_notifying(&self, definition: &Rc<Definition>) -> Result<(), Failure> {
        let directory = "/run/autorun/notify";
        fs::create_dir_all(directory).map_err(Failure::resources)?;
        let path = format!("{directory}/{}", self.0.name);
        // The socket of the previous start.
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).map_err(Failure::resources)?;
        let all_users = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&path, all_users).map_err(Failure::resources)?;
        let mut child = self.spawn_first(definition, &[("NOTIFY_SOCKET", &path)])?;
        let ready = tokio::select! {
            ready = self.until_ready(&socket) => ready.map_err(Failure::resources),
            status = &mut child.exited => {
                let status = status.map_err(Failure::resources)?;
                Err(Failure::of_status("it exited before it was ready", status))
            }
        };
        ready?;
        self.watch(definition, child);
        Ok(())
    }

    async fn until_ready(&self, socket: &UnixDatagram) -> io::Result<()> {
        let mut buffer = vec![0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let message = String::from_utf8_lossy(&buffer[..length]);
            if message.lines().any(|line| line == "READY=1") {
                return Ok(());
            }
        }
    }

    /// Starts a service whose first process ends once a child of it runs the
    /// service.
    async fn start_forking(&self, definition: &Rc<Definition>) -> Result<(), Failure> {
        for exec in &definition.start {
            self.run(definition, exec).await?;
        }
        let Some(main) = self.find_main(definition).await else {
            return if definition.remain_after_exit {
                Ok(())
            } else {
                Err(Failure::resources(
                    "no process of it is running after the start",
                ))
            };
        };
        self.0.state.borrow_mut().family.main = Some(main);
        let exited = self.0.reaper.exited(main);
        // The process may have ended before `exited` was called.
        if is_alive(main) {
            self.watch(definition, Child { pid: main, exited });
        }
        Ok(())
    }

    async fn find_main(&self, definition: &Definition) -> Option<i32> {
        const PAUSE: Duration = Duration::from_millis(10);
        let Some(file) = &definition.pid_file else {
            return self.state().family.members().into_iter().next();
        };
        loop {
            let text = files::read_text(file).unwrap_or_default();
            match text.trim().parse().ok().filter(|pid| is_alive(*pid)) {
                Some(pid) => return Some(pid),
                None if self.state().family.members().is_empty() => return None,
                // Daemons write the file shortly after their parent process has
                // ended.
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn spawn_first(
        &self,
        definition: &Definition,
        more: &[(&str, &str)],
    ) -> Result<Child, Failure> {
        let Some(exec) = definition.start.first() else {
            return Err(Failure::resources("it has no ExecStart="));
        };
        let child = self.spawn(definition, exec, more)?;
        self.0.state.borrow_mut().family.main = Some(child.pid);
        Ok(child)
    }

    /// Watches the main process, and handles its end.
    fn watch(&self, definition: &Rc<Definition>, child: Child) {
        let service = self.clone();
        let definition = Rc::clone(definition);
        let turn = self.0.state.borrow().turn;
        let exited: oneshot::Receiver<ExitStatus> = child.exited;
        spawn_local(async move {
            if let Ok(status) = exited.await {
                service.has_ended(definition, turn, status).await;
            }
        });
    }

    async fn has_ended(&self, definition: Rc<Definition>, turn: u64, status: ExitStatus) {
        let guard = self.0.turn.lock().await;
        if self.0.state.borrow().turn != turn {
            return;
        }
        if let Some(successor) = self.successor(&definition) {
            self.0.state.borrow_mut().family.main = Some(successor.pid);
            return self.watch(&definition, successor);
        }
        self.0.state.borrow_mut().status = Some(status);
        let success = is_success(&definition, status) || ended_by_usual_signal(status);
        let failure = Failure::of_status("it exited", status);
        if success && definition.remain_after_exit {
            return self.set(Active::Running, "exited");
        }
        if status.code() != Some(0) {
            self.note(&format!("Main process exited, {}", described(status)));
        }
        self.kill_rest(&definition).await;
        self.run_post(&definition).await;
        self.end((!success).then_some(failure.result));
        drop(guard);
        let again = match definition.restart {
            Restart::No => false,
            Restart::OnSuccess => success,
            Restart::OnFailure => !success,
            Restart::Always => true,
        };
        if again {
            // Boxed because of the recursion: a start watches, and the watcher
            // starts.
            Box::pin(self.start_again(definition, turn)).await;
        }
    }

    /// Returns the successor of a daemon that upgraded itself, which is in its
    /// PID file.
    fn successor(&self, definition: &Definition) -> Option<Child> {
        let text = files::read_text(definition.pid_file.as_ref()?).ok()?;
        let pid = text.trim().parse().ok().filter(|pid| is_alive(*pid))?;
        let exited = self.0.reaper.exited(pid);
        Some(Child { pid, exited })
    }

    async fn start_again(&self, definition: Rc<Definition>, turn: u64) {
        self.set(Active::Activating, "auto-restart");
        tokio::time::sleep(definition.restart_pause).await;
        let _turn = self.0.turn.lock().await;
        if self.0.state.borrow().turn != turn {
            return;
        }
        if self.has_hit_the_limit() {
            return self.end(Some("start-limit-hit"));
        }
        self.0.state.borrow_mut().restarts += 1;
        if let Err(failure) = self.start_in_turn(&definition).await {
            log::debug!("cannot restart {}: {}", self.0.name, failure.reason);
        }
    }

    fn has_hit_the_limit(&self) -> bool {
        let (most, within) = START_LIMIT;
        let mut state = self.0.state.borrow_mut();
        state.starts.retain(|start| start.elapsed() < within);
        state.starts.len() >= most
    }

    pub(super) fn end(&self, failure: Option<&'static str>) {
        match failure {
            Some(_) => self.set(Active::Failed, "failed"),
            None => self.set(Active::Inactive, "dead"),
        }
        match failure {
            Some(result) => self.note(&format!("Failed with result '{result}'.")),
            None => self.report(INFO, &format!("{}: Deactivated successfully.", self.0.name)),
        }
        let mut state = self.0.state.borrow_mut();
        state.result = failure.unwrap_or("success");
        state.family.main = None;
    }
}
