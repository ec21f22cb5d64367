//! The background process: started by `autorun cloud up` or `--local`, it
//! outlives them, so that a server can still be looked at when the run ended.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use ipnet::Ipv4Net;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ec2::{Ec2, Facts};
use super::faults::Plans;
use super::home::{Access, Home, private_file};
use super::logbook;
use super::machine::{BaseSettings, Check, Runtime, RuntimeSettings};
use super::proxy::{self, Proxy};
use super::s3::{self, S3};
use super::server::{self, Front};
use super::signature::Keys;
use super::visitors::Visitors;

/// The name by which this program is the background process.
pub(crate) const NAME: &str = "autorun-cloud";

/// The account that everything belongs to.
const ACCOUNT: &str = "123456789012";

/// The region used when a client names none.
const REGION: &str = "us-east-1";

/// The port of the first choice.
const PORT: u16 = 4577;

/// Connections that wait to be accepted; the system may allow fewer.
const WAITING: u32 = 4096;

/// Descriptors for connections, where the system allows it.
const DESCRIPTORS: u64 = 16_384;

/// The base layers of instances, for all clouds of root's.
const BASES: &str = "/var/lib/autorun/base";

/// What an administrator decides about them.
const SETTINGS: &str = "/etc/autorun/cloud.toml";

/// Starts the background process of this home and waits until it serves.
///
/// `grants` are the users, as uid and gid, who get an access file. Gives what
/// was repaired of the state, in words.
///
/// # Errors
/// What kept it from starting, in words for the user.
pub fn start(home: &Home, grants: &[(u32, u32)]) -> Result<Vec<String>, String> {
    let failed = |what: &str, e: &io::Error| format!("{what}: {e}");
    let repaired = home
        .prepare()
        .map_err(|e| failed("cannot prepare the local cloud's state", &e))?;
    let binary = own_copy(home)
        .map_err(|e| failed("cannot copy this program into the local cloud's state", &e))?;
    let log =
        logbook::open(&home.log()).map_err(|e| failed("cannot open the local cloud's log", &e))?;
    let mut child = Command::new(binary)
        .arg0(NAME)
        .arg(&home.state)
        .args(grants.iter().map(|(uid, gid)| format!("{uid}:{gid}")))
        .current_dir("/")
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // A signal for this terminal's programs is none for it.
        .process_group(0)
        .spawn()
        .map_err(|e| failed("cannot start the local cloud", &e))?;
    let mut line = String::new();
    let out = child.stdout.take().map(BufReader::new);
    out.map(|mut out| out.read_line(&mut line));
    match serde_json::from_str::<Value>(&line) {
        Ok(said) if said["error"].is_null() => Ok(repaired),
        Ok(said) => Err(said["error"].as_str().unwrap_or_default().to_owned()),
        Err(_) => Err(format!(
            "the local cloud ended while it was starting; its log is {}",
            home.log().display()
        )),
    }
}

/// What the process gets to know of the user's environment: how to reach the
/// network, and how this program was called. Credentials, say, it does not.
fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let kept = |name: &str| {
        let lower = name.to_lowercase();
        ["path", "lang", "http_proxy", "https_proxy", "no_proxy"].contains(&&*lower)
    };
    let program = std::env::current_exe().ok().map(PathBuf::into_os_string);
    std::env::vars_os()
        .filter(move |(name, _)| name.to_str().is_some_and(kept))
        .chain(program.map(|program| ("AUTORUN_PROGRAM".into(), program)))
}

/// The binary goes with the process: an upgrade or removal of the program does
/// not pull it away from under running instances.
fn own_copy(home: &Home) -> io::Result<PathBuf> {
    let copy = home.state.join("autorun");
    let next = home.state.join(format!(".autorun.{}", std::process::id()));
    fs::copy(std::env::current_exe()?, &next)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    fs::rename(&next, &copy)?;
    Ok(copy)
}

/// The background process itself: `STATE [UID:GID]..`.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let Some(state) = arguments.first().map(PathBuf::from) else {
        return ExitCode::from(2);
    };
    let grants = arguments[1..].iter().filter_map(|argument| {
        let (uid, gid) = argument.to_str()?.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    });
    let home = Home::of_state(&state);
    if let Err(error) = logbook::start(&home.log()) {
        say(&json!({ "error": format!("cannot open the local cloud's log: {error}") }));
        return ExitCode::FAILURE;
    }
    // A failed task must not take the instances with it; it is in the log.
    std::panic::set_hook(Box::new(|panic| log::error!("fault of autorun: {panic}")));
    let served = tokio::runtime::Runtime::new()
        .map_err(|e| format!("cannot start the runtime: {e}"))
        .and_then(|runtime| runtime.block_on(run(&home, &grants.collect::<Vec<_>>())));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log::error!("{why}");
            say(&json!({ "error": why }));
            ExitCode::FAILURE
        }
    }
}

/// One line to whoever started the process, and no more.
fn say(line: &Value) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

async fn run(home: &Home, grants: &[(u32, u32)]) -> Result<(), String> {
    let lock = lock(home)?;
    let io = |what: &str| {
        let what = what.to_owned();
        move |e: io::Error| format!("{what}: {e}")
    };
    let keys = keys(home).map_err(io("cannot make the access key"))?;
    let end = CancellationToken::new();
    let before = Before::read(home);
    let port = free_port(before.port.unwrap_or(PORT)).map_err(io("no port is free"))?;
    let machines = begin_machines(home, &before, port).await?;
    let address = machines
        .as_ref()
        .map_or(Ipv4Addr::LOCALHOST, |begun| begun.runtime.gateway());
    let subnet = machines.as_ref().map(|begun| begun.runtime.subnet());
    Before {
        port: Some(port),
        subnet: subnet.map(|net| net.to_string()).or(before.subnet),
    }
    .write(home)
    .map_err(io("cannot write the local cloud's state"))?;
    let listener = listen(SocketAddr::from((address, port)))
        .map_err(io(&format!("cannot listen on {address}:{port}")))?;
    let endpoint = format!("http://{address}:{port}");
    if let Some(begun) = &machines {
        // Hiding what is private, and asking about packages once in 12 hours.
        let ready = begun.runtime.until_ready().await;
        ready.map_err(|e| e.to_string())?;
    }
    let status = status(&endpoint, machines.as_ref());
    let plans = Arc::new(Plans::default());
    let s3 = S3::open(s3::Settings {
        dir: home.state.join("s3"),
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.clone(),
        account: ACCOUNT.to_owned(),
    })
    .map_err(io("cannot open the buckets"))?;
    let facts = facts(machines.as_ref());
    let machines = machines.map(|begun| (begun.runtime, begun.proxy));
    let ec2 = Ec2::open(facts, home.state.join("ec2.json"), plans.clone(), machines)
        .map_err(io("cannot open EC2's state"))?;
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
        end: end.clone(),
    });
    for (uid, gid) in grants {
        home.grant(*uid, *gid, &access)
            .map_err(io("cannot write the access file"))?;
    }
    watch_signals(&end).map_err(io("cannot watch for signals"))?;
    say(&json!({ "ready": access.endpoint }));
    detach();
    log::info!("serving at {}", access.endpoint);
    server::serve(front, listener).await;
    log::info!("ending");
    drop(home.revoke_all());
    ec2.shut_down().await;
    drop(lock);
    Ok(())
}

/// Whoever started the process reads to the end of its output.
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
        .map_err(|_| "another local cloud is using this state, or just starting".to_owned())
}

/// Connections need descriptors. Only now: instances do not inherit the limit.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = soft.max(hard.min(DESCRIPTORS));
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        log::warn!("cannot have more descriptors: {error}");
    }
}

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

/// What the process before this one used: URLs hold while it can be had again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Before {
    port: Option<u16>,
    subnet: Option<String>,
}

impl Before {
    fn file(home: &Home) -> PathBuf {
        home.state.join("network.json")
    }

    fn read(home: &Home) -> Self {
        let text = fs::read(Self::file(home)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, home: &Home) -> io::Result<()> {
        fs::write(Self::file(home), serde_json::to_vec(self)?)
    }
}

/// Many may wait to be accepted: one that finds no room tries again a second
/// later.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// A port that nobody listens on, here or on all addresses.
fn free_port(wanted: u16) -> io::Result<u16> {
    let bound = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, wanted))
        .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    Ok(bound.local_addr()?.port())
}

struct Begun {
    runtime: Runtime,
    proxy: Proxy,
}

/// Prepares for machines, where there can be any.
async fn begin_machines(home: &Home, before: &Before, port: u16) -> Result<Option<Begun>, String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let runtime = Runtime::start(RuntimeSettings {
        state_dir: home.state.clone(),
        binary: home.state.join("autorun"),
        endpoint_port: port,
        subnet: before.subnet.as_deref().and_then(|net| net.parse().ok()),
        base: base_settings(Path::new(SETTINGS))?,
    })
    .await
    .map_err(|e| e.to_string())?;
    let proxy = Proxy::new(proxy_settings(&home.state))
        .map_err(|e| format!("cannot set up the instances' proxy: {e}"))?;
    Ok(Some(Begun { runtime, proxy }))
}

/// What this computer can do for instances.
///
/// # Errors
/// When the administrator's settings cannot be used, in words for the user.
pub fn checks() -> Result<Vec<Check>, String> {
    let settings = base_settings(Path::new(SETTINGS))?;
    Ok(super::machine::checks(&settings))
}

/// The administrator's file, or what is without it.
fn base_settings(path: &Path) -> Result<BaseSettings, String> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        /// Paths of this computer that instances must not see.
        hidden: Vec<PathBuf>,
        /// Whether files of packages are copied instead of linked.
        copy: bool,
    }
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|e| format!("cannot read {}: {e}", path.display()))?,
    };
    let settings: Settings =
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if let Some(relative) = settings.hidden.iter().find(|path| path.is_relative()) {
        return Err(format!(
            "{}: `hidden` has `{}`, which is not an absolute path",
            path.display(),
            relative.display()
        ));
    }
    Ok(BaseSettings {
        directory: BASES.into(),
        hidden: settings
            .hidden
            .iter()
            .flat_map(|path| names_of(path))
            .collect(),
        copy: settings.copy,
    })
}

fn proxy_settings(state: &Path) -> proxy::Settings {
    let variable = |name: &str| {
        let upper = name.to_uppercase();
        [name, &upper]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    proxy::Settings {
        cache_dir: state.join("packages"),
        cache_limit: proxy::CACHE_LIMIT,
        upstream: variable("http_proxy"),
        upstream_https: variable("https_proxy"),
        no_proxy: variable("no_proxy").unwrap_or_default(),
        package_sources: Proxy::package_sources_of_host(),
    }
}

fn facts(machines: Option<&Begun>) -> Facts {
    Facts {
        account: ACCOUNT.to_owned(),
        subnet: machines.map_or_else(no_subnet, |begun| begun.runtime.subnet()),
        system: machines.map_or_else(
            || "nothing: it cannot boot here".to_owned(),
            |begun| begun.runtime.system().name.clone(),
        ),
        cannot_boot: machines.is_none().then(cannot_boot),
    }
}

/// AWS's own default, for records of what cannot boot.
fn no_subnet() -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::new(172, 31, 0, 0), 24).unwrap_or_default()
}

/// Why there are no machines, and the whole command that changes it.
fn cannot_boot() -> String {
    if !cfg!(target_os = "linux") {
        return "this local cloud cannot boot instances: they are made of Linux namespaces, \
                and this is not Linux; buckets and objects work"
            .to_owned();
    }
    let program = std::env::var_os("AUTORUN_PROGRAM").map(PathBuf::from);
    let program = program.unwrap_or_else(|| "autorun".into());
    format!(
        "this local cloud cannot boot instances, for it was started without root, which \
         namespaces and mounts need; run once: sudo {} cloud up",
        program.display()
    )
}

/// What everybody may know, and how a rehearsal here differs from AWS.
fn status(endpoint: &str, machines: Option<&Begun>) -> Value {
    let Some(Begun { runtime, .. }) = machines else {
        return json!({
            "endpoint": endpoint,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "boots": false,
            "consistency_seconds": super::ec2::CONSISTENCY_SECONDS,
            "cannot_boot": cannot_boot(),
        });
    };
    let system = runtime.system();
    json!({
        "endpoint": endpoint,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "boots": true,
        "consistency_seconds": super::ec2::CONSISTENCY_SECONDS,
        "subnet": runtime.subnet().to_string(),
        "system": system.name,
        "held_packages": runtime.held_packages(),
        "unlimited": runtime.unlimited(),
    })
}

fn hosts(address: Ipv4Addr, port: u16) -> Vec<String> {
    let mut hosts = vec![format!("{address}:{port}")];
    if address.is_loopback() {
        hosts.push(format!("localhost:{port}"));
    }
    hosts
}

/// The access key: made once, the same ever after.
fn keys(home: &Home) -> io::Result<Keys> {
    #[derive(Serialize, Deserialize)]
    struct Kept {
        access_key_id: String,
        secret_access_key: String,
    }
    let file = home.key_file();
    let kept: Kept = match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let kept = Kept {
                access_key_id: format!("AKIALOCAL{}", random_hex(6).to_uppercase()),
                secret_access_key: random_hex(20),
            };
            private_file(&file)?.write_all(&serde_json::to_vec(&kept)?)?;
            kept
        }
        Err(e) => return Err(e),
    };
    Ok(Keys {
        access_key_id: kept.access_key_id,
        secret_access_key: kept.secret_access_key,
    })
}

fn random_hex(bytes: usize) -> String {
    hex::encode((0..bytes).map(|_| rand::random()).collect::<Vec<u8>>())
}

/// A path as it is written, and by the names without links that packages' files
/// are known by: its own and that of what it leads to.
fn names_of(path: &Path) -> Vec<PathBuf> {
    let own = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let mut names = vec![path.to_owned()];
    names.extend(own().into_iter().chain(path.canonicalize().ok()));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<BaseSettings, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cloud.toml");
        fs::write(&file, text).unwrap();
        base_settings(&file)
    }

    #[test]
    fn without_an_administrators_file_files_are_linked_and_none_is_hidden() {
        let without = base_settings(Path::new("/nowhere/cloud.toml")).unwrap();
        assert!(!without.copy && without.hidden.is_empty());
        let chosen = settings("copy = true\nhidden = [\"/etc/pip.conf\"]\n").unwrap();
        assert!(chosen.copy);
        assert_eq!(chosen.hidden[0], Path::new("/etc/pip.conf"));
    }

    #[test]
    fn a_path_through_links_hides_what_it_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        fs::create_dir(real.join("usr")).unwrap();
        fs::write(real.join("usr/token"), "").unwrap();
        std::os::unix::fs::symlink("usr", real.join("bin")).unwrap();
        std::os::unix::fs::symlink("token", real.join("usr/link")).unwrap();
        let hidden = names_of(&real.join("bin/link"));
        for name in ["bin/link", "usr/link", "usr/token"] {
            assert!(hidden.contains(&real.join(name)), "{hidden:?}");
        }
    }

    #[test]
    fn a_setting_that_would_hide_nothing_is_refused() {
        for (text, part) in [
            ("hiden = [\"/etc/x\"]", "hiden"),
            ("hidden = \"/etc/x\"", "hidden"),
            ("hidden = [\"etc/x\"]", "not an absolute path"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(
                error.contains(part) && error.contains("cloud.toml"),
                "{error}"
            );
        }
    }
}
