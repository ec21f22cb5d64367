//! The background process, from its start to its end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::hosting::{self, Hosting};
use super::keys::{keys, random_hex};
use super::lifetime::{self, Arguments};
use super::network_record::NetworkRecord;
use super::sockets::{free_port, listen};
use super::status::{ACCOUNT, facts, status};
use crate::ec2::{self, Ec2};
use crate::faults::Plans;
use crate::home::{Access, Home};
use crate::logbook;
use crate::mutations::Mutations;
use crate::s3::{self, S3};
use crate::server::{self, Front};
use crate::visitors::Visitors;

/// Runs the background process with the arguments that [`Arguments::read`]
/// describes.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let Some(arguments) = Arguments::read(arguments) else {
        return ExitCode::from(2);
    };
    let home = Home::of_state(&arguments.state);
    if let Err(error) = logbook::start(&home.log()) {
        report(&json!({ "error": format!("cannot open the local cloud's log: {error}") }));
        return ExitCode::FAILURE;
    }
    // A panic in one task must not end the instances. It is only logged.
    std::panic::set_hook(Box::new(|panic| {
        log::error!("internal error of autorun: {panic}");
    }));
    let served = tokio::runtime::Runtime::new()
        .map_err(|e| format!("cannot start the runtime: {e}"))
        .and_then(|runtime| runtime.block_on(run(&home, &arguments)));
    if arguments.for_caller {
        lifetime::remove(&home);
    }
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log::error!("{why}");
            report(&json!({ "error": why }));
            ExitCode::FAILURE
        }
    }
}

/// Prints one line for the process that started this one.
fn report(line: &Value) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

async fn run(home: &Home, arguments: &Arguments) -> Result<(), String> {
    let lock = lock(home)?;
    let io = |action: &str| {
        let action = action.to_owned();
        move |e: io::Error| format!("{action}: {e}")
    };
    let keys = keys(home).map_err(io("cannot create the access key"))?;
    let end = CancellationToken::new();
    if arguments.for_caller {
        lifetime::end_with_caller(&end).map_err(io("cannot watch the caller"))?;
    }
    let previous = NetworkRecord::read(home);
    let port = free_port(previous.port.unwrap_or(PORT)).map_err(io("no port is free"))?;
    let packages = arguments.packages.clone();
    let packages = packages.unwrap_or_else(|| home.packages());
    let hosting = hosting::begin(home, &previous, port, packages).await?;
    let host = hosting.as_ref();
    let address = host.map_or(Ipv4Addr::LOCALHOST, Hosting::gateway);
    let subnet = host.map(Hosting::subnet);
    NetworkRecord {
        port: Some(port),
        subnet: subnet.map(|net| net.to_string()).or(previous.subnet),
    }
    .write(home)
    .map_err(io("cannot write the local cloud's state"))?;
    let listener = listen(SocketAddr::from((address, port)))
        .map_err(io(&format!("cannot listen on {address}:{port}")))?;
    let endpoint = format!("http://{address}:{port}");
    if let Some(host) = host {
        host.until_ready().await?;
    }
    let status = status(&endpoint, host);
    let plans = Arc::new(Plans::default());
    let s3 = S3::open(s3::Settings {
        dir: home.state.join("s3"),
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.clone(),
        account: ACCOUNT.to_owned(),
    })
    .map_err(io("cannot open the buckets"))?;
    let facts = facts(host, &keys, arguments.for_caller);
    let store = ec2::Store::open(facts, home.state.join("ec2.json"))
        .map_err(io("cannot open EC2's state"))?;
    let store = Arc::new(store);
    let machines = hosting.map(|hosting| hosting.hand_over(&store));
    let outputs = Arc::new(s3.clone());
    let ec2 = Ec2::new(store, plans.clone(), machines, Some(outputs));
    let access = Access {
        endpoint,
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.clone(),
        token: random_hex(16),
        region: REGION.to_owned(),
        pid: std::process::id(),
    };
    raise_descriptors();
    let front = Arc::new(Front {
        ec2: ec2.clone(),
        s3,
        plans,
        keys,
        token: access.token.clone(),
        hosts: hosts(address, port),
        status,
        visitors: Visitors::new(home.clone()),
        mutations: Mutations::default(),
        end: end.clone(),
    });
    for (uid, gid) in &arguments.grants {
        home.grant(*uid, *gid, &access)
            .map_err(io("cannot write the access file"))?;
    }
    watch_signals(&end).map_err(io("cannot watch for signals"))?;
    report(&json!({ "ready": access.endpoint }));
    detach();
    log::info!("serving at {}", access.endpoint);
    server::serve(front, listener).await;
    log::info!("ending");
    drop(home.revoke_all());
    // Nothing that a rehearsal's machines would still write is needed.
    ec2.shut_down(arguments.for_caller).await;
    drop(lock);
    Ok(())
}

/// Closes the pipe to the process that started this one, which reads it to its
/// end.
fn detach() {
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _gone = nix::unistd::dup2_stdout(null);
    }
}

fn lock(home: &Home) -> Result<Flock<File>, String> {
    let path = home.state.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| "another local cloud uses this state directory or is just starting".to_owned())
}

/// Raises the limit of file descriptors, which connections need. Called late,
/// so that the instances do not inherit the new limit.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = soft.max(hard.min(DESCRIPTORS));
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        log::warn!("cannot raise the limit of file descriptors: {error}");
    }
}

/// The wanted limit of file descriptors; a lower hard limit wins.
const DESCRIPTORS: u64 = 16_384;

fn watch_signals(end: &CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let end = end.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
        end.cancel();
    });
    Ok(())
}

fn hosts(address: Ipv4Addr, port: u16) -> Vec<String> {
    let mut hosts = vec![format!("{address}:{port}")];
    if address.is_loopback() {
        hosts.push(format!("localhost:{port}"));
    }
    hosts
}

/// The region for clients that do not name one.
const REGION: &str = "us-east-1";

/// The port to try first.
const PORT: u16 = 4577;
