//! The channels of a connection.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use nix::pty::Winsize;
use russh::server::Msg;
use russh::{ChannelId, ChannelWriteHalf, Sig};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::intake::{Gate, Intake};
use super::process::Process;
use super::signals;
use super::terminal::{self, Terminal};

/// The maximum size of all variables that a client sets, in bytes.
const MAX_VARIABLES: usize = 64 * 1024;

/// The open channels.
pub(super) struct Channels {
    gate: Arc<Gate>,
    open: HashMap<ChannelId, Open>,
}

/// An open channel. Dropping it signals its task that the client is gone.
struct Open {
    ends: Ends,
    _close: DropGuard,
    state: State,
}

/// The state that a channel and its task share.
#[derive(Clone)]
pub(super) struct Ends {
    /// The data that the client sends.
    pub(super) intake: Arc<Intake>,
    /// Cancelled when the client closes the channel or is gone, and when the task
    /// ends.
    pub(super) closed: CancellationToken,
}

enum State {
    Forwarded,
    Preparing(Preparation),
    Running(Running),
}

/// A session whose client has not requested a program yet.
pub(super) struct Preparation {
    pub(super) channel: ChannelWriteHalf<Msg>,
    pub(super) terminal: Option<terminal::Request>,
    pub(super) variables: Vec<(String, String)>,
}

/// A session with a started program.
pub(super) struct Running {
    pub(super) process: Arc<Process>,
    pub(super) terminal: Option<Arc<Terminal>>,
}

impl Channels {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self {
            gate,
            open: HashMap::new(),
        }
    }

    pub(super) fn sessions(&self) -> usize {
        let counts = |open: &&Open| {
            !matches!(open.state, State::Forwarded) && !open.ends.closed.is_cancelled()
        };
        self.open.values().filter(counts).count()
    }

    pub(super) fn add_session(&mut self, channel: ChannelWriteHalf<Msg>) {
        let preparation = Preparation {
            channel,
            terminal: None,
            variables: Vec::new(),
        };
        let id = preparation.channel.id();
        self.add(id, State::Preparing(preparation));
    }

    pub(super) fn add_forwarded(&mut self, channel: ChannelId) -> Ends {
        self.add(channel, State::Forwarded)
    }

    fn add(&mut self, channel: ChannelId, state: State) -> Ends {
        // russh does not report when a client confirms that a channel is closed
        // that was closed from this side.
        self.open.retain(|_, open| !open.ends.closed.is_cancelled());
        let closed = CancellationToken::new();
        let ends = Ends {
            intake: Arc::new(Intake::new(Arc::clone(&self.gate))),
            closed: closed.clone(),
        };
        let open = Open {
            ends: ends.clone(),
            _close: closed.drop_guard(),
            state,
        };
        self.open.insert(channel, open);
        ends
    }

    pub(super) fn data(&self, channel: ChannelId, data: &[u8]) -> io::Result<()> {
        match self.open.get(&channel) {
            Some(open) => open.ends.intake.push(data).inspect_err(|e| {
                log::warn!("ssh: cannot store the data of a client: {e}");
            }),
            None => Ok(()),
        }
    }

    pub(super) fn eof(&self, channel: ChannelId) {
        if let Some(open) = self.open.get(&channel) {
            open.ends.intake.end();
        }
    }

    pub(super) fn close(&mut self, channel: ChannelId) {
        self.open.remove(&channel);
    }

    pub(super) fn preparation(&mut self, channel: ChannelId) -> Option<&mut Preparation> {
        match &mut self.open.get_mut(&channel)?.state {
            State::Preparing(preparation) => Some(preparation),
            State::Running(_) | State::Forwarded => None,
        }
    }

    /// Marks the session as running. Returns what its task needs.
    pub(super) fn run(
        &mut self,
        channel: ChannelId,
        running: Running,
    ) -> Option<(ChannelWriteHalf<Msg>, Ends)> {
        let open = self.open.get_mut(&channel)?;
        match std::mem::replace(&mut open.state, State::Running(running)) {
            State::Preparing(preparation) => Some((preparation.channel, open.ends.clone())),
            State::Running(_) | State::Forwarded => None,
        }
    }

    fn running(&self, channel: ChannelId) -> Option<&Running> {
        match &self.open.get(&channel)?.state {
            State::Running(running) => Some(running),
            State::Preparing(_) | State::Forwarded => None,
        }
    }

    pub(super) fn resize(&self, channel: ChannelId, size: Winsize) -> Option<()> {
        let terminal = self.running(channel)?.terminal.as_ref()?;
        terminal
            .resize(size)
            .inspect_err(|e| log::debug!("ssh: cannot resize a terminal: {e}"))
            .ok()
    }

    pub(super) fn signal(&self, channel: ChannelId, signal: &Sig) -> Option<()> {
        let running = self.running(channel)?;
        running.process.signal(signals::requested(signal)?);
        Some(())
    }
}

impl Preparation {
    /// Sets a variable. As in the sshd_config of most distributions, only variables
    /// of the locale are accepted.
    pub(super) fn set_variable(&mut self, name: &str, value: &str) -> Option<()> {
        let size: usize = self.variables.iter().map(|(n, v)| n.len() + v.len()).sum();
        let fits = size + name.len() + value.len() <= MAX_VARIABLES;
        let allowed = name == "LANG" || name.starts_with("LC_");
        if !fits || !allowed || name.contains(['=', '\0']) || value.contains('\0') {
            return None;
        }
        self.variables.push((name.to_owned(), value.to_owned()));
        Some(())
    }

    pub(super) fn set_terminal(&mut self, request: terminal::Request) -> Option<()> {
        if self.terminal.is_some() || request.term.contains('\0') {
            return None;
        }
        self.terminal = Some(request);
        Some(())
    }
}
