//! The connection of a client: its login and its channels.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::channels::{Channels, Running};
use super::intake::Gate;
use super::login::{self, User};
use super::process::{self, Addresses, Circumstances, Program};
use super::session::{self, Link};
use super::settings::Settings;
use super::transport::Transport;
use super::{forward, terminal};

/// How long a client may take to log in, as in OpenSSH.
const LOGIN_GRACE: Duration = Duration::from_secs(120);

/// The maximum number of sessions on a connection, as in OpenSSH.
const MAX_SESSIONS: usize = 10;

/// How long a connection is idle before the kernel probes whether the client still
/// exists.
const VANISHED: Duration = Duration::from_secs(60);

/// Serves a client until it disconnects.
pub(super) async fn serve(
    protocol: Arc<russh::server::Config>,
    settings: Arc<Settings>,
    stream: TcpStream,
    startup: OwnedSemaphorePermit,
) {
    let addresses = match prepare(&stream) {
        Ok(addresses) => addresses,
        Err(e) => {
            log::debug!("ssh: lost a client: {e}");
            return;
        }
    };
    let gate = Arc::new(Gate::default());
    let end = CancellationToken::new();
    let logged_in = CancellationToken::new();
    let transport = Transport::new(stream, Arc::clone(&gate), settings.drop_after, end.clone());
    let connection = Connection {
        settings,
        addresses,
        user: None,
        startup: Some(startup),
        logged_in: logged_in.clone(),
        channels: Channels::new(gate),
    };
    let grace = async {
        tokio::select! {
            () = logged_in.cancelled() => {}
            () = tokio::time::sleep(LOGIN_GRACE) => {
                log::warn!("ssh: login of {} timed out", addresses.client);
                end.cancel();
            }
        }
        std::future::pending::<()>().await;
    };
    let conversation = async {
        russh::server::run_stream(protocol, transport, connection)
            .await?
            .await
    };
    tokio::select! {
        result = conversation => if let Err(e) = result {
            log::debug!("ssh: the connection of {} ended: {e}", addresses.client);
        },
        () = grace => {}
    }
}

fn prepare(stream: &TcpStream) -> io::Result<Addresses> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, VANISHED)?;
    Ok(Addresses {
        client: stream.peer_addr()?,
        server: stream.local_addr()?,
    })
}

struct Connection {
    settings: Arc<Settings>,
    addresses: Addresses,
    /// The user who logged in.
    user: Option<User>,
    startup: Option<OwnedSemaphorePermit>,
    logged_in: CancellationToken,
    channels: Channels,
}

impl Connection {
    fn check(&self, name: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<User> {
        let client = self.addresses.client.ip().to_canonical();
        login::check(name, key, algorithm, client)
    }

    fn set_terminal(&mut self, channel: ChannelId, request: terminal::Request) -> Option<()> {
        if !self.user.as_ref()?.grant.terminal {
            return None;
        }
        self.channels.preparation(channel)?.set_terminal(request)
    }

    fn send_signal(&self, channel: ChannelId, signal: &Sig) -> Option<()> {
        if self.user.as_ref()?.grant.forced_command.is_some() {
            return None;
        }
        self.channels.signal(channel, signal)
    }

    /// Starts a program and the task that serves it.
    fn start(&mut self, id: ChannelId, program: &Program, session: &Session) -> Option<()> {
        let User { account, grant } = self.user.as_ref()?;
        let preparation = self.channels.preparation(id)?;
        let forced = grant.forced_command.as_deref();
        let variables = process::variables(
            account,
            self.addresses,
            &self.settings.environment,
            &preparation.variables,
            forced.and_then(|_| program.name()),
        );
        let circumstances = Circumstances {
            account,
            terminal: preparation.terminal.as_ref(),
            variables,
            reaper: &*self.settings.reaper,
        };
        let forced = forced.map(|command| Program::Command(command.as_bytes()));
        let started = process::start(forced.as_ref().unwrap_or(program), circumstances)
            .inspect_err(|e| log::warn!("ssh: cannot start a program of {}: {e}", account.name))
            .ok()?;
        let running = Running {
            process: Arc::clone(&started.process),
            terminal: started.streams.terminal(),
        };
        let (channel, ends) = self.channels.run(id, running)?;
        let link = Link {
            channel,
            handle: session.handle(),
            ends,
        };
        tokio::spawn(session::run(started, link));
        Some(())
    }
}

/// Answers a request on a channel.
fn answer(session: &mut Session, channel: ChannelId, done: Option<()>) -> Result<(), russh::Error> {
    match done {
        Some(()) => session.channel_success(channel),
        None => session.channel_failure(channel),
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        let user = self.check(user, offer.public_key, offer.algorithm);
        Ok(if user.is_some() {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        self.user = self.check(user, key.public_key, key.algorithm);
        Ok(if self.user.is_some() {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), russh::Error> {
        self.startup = None;
        self.logged_in.cancel();
        if let Some(User { account, .. }) = &self.user {
            let client = self.addresses.client;
            log::info!("ssh: {} logged in from {client}", account.name);
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.channels.sessions() >= MAX_SESSIONS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // `data` below receives the client's data. If it were read from the
        // channel, unread data would block the whole connection within russh.
        let (_, channel) = channel.split();
        self.channels.add_session(channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let allowed = |user: &User| user.grant.may_connect(host, port);
        if !self.user.as_ref().is_some_and(allowed) {
            let reason = ChannelOpenFailure::AdministrativelyProhibited;
            reply.reject(reason).await;
            return Ok(());
        }
        let Some(destinations) = forward::destinations(host, port) else {
            log::warn!("ssh: cannot forward to `{host}`: it is not an IP address");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        let ends = self.channels.add_forwarded(channel.id());
        tokio::spawn(forward::run(destinations, channel, reply, ends));
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(self.channels.data(channel, data)?)
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.eof(channel);
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.close(channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let request = terminal::Request {
            term: term.to_owned(),
            size: terminal::size(columns, rows, width, height),
            modes: modes.to_vec(),
        };
        let done = self.set_terminal(channel, request);
        answer(session, channel, done)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let done = self
            .channels
            .resize(channel, terminal::size(columns, rows, width, height));
        answer(session, channel, done)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let preparation = self.channels.preparation(channel);
        let done = preparation.and_then(|session| session.set_variable(name, value));
        answer(session, channel, done)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let done = self.start(channel, &Program::Shell, session);
        answer(session, channel, done)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let done = self.start(channel, &Program::Command(command), session);
        answer(session, channel, done)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let done = match name {
            "sftp" => {
                let server = self.settings.sftp_server.clone();
                self.start(channel, &Program::Sftp(&server), session)
            }
            _ => None,
        };
        answer(session, channel, done)
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let done = self.send_signal(channel, &signal);
        answer(session, channel, done)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }
}
