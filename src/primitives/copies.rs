//! Files and directories to hosts and back, over ssh.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::hosts::{Targets, on_each, target};
use super::{check_public, file_state, seconds};
use crate::clients::ssh::paths::{self, Looked, Tar};
use crate::clients::ssh::{self, Command, Finished, Host, Sink, Stdin};
use crate::clients::tree::{self, Entry, Kind, LeftOut, Stage, Unpacked};
use crate::context::Context;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::text;
use crate::script::{self, Outcome};

#[export_module]
pub mod api {
    /// Copies a local file or directory to a host, or to each of an array of
    /// hosts at once.
    ///
    /// `target` is a path there; a relative one starts at the home directory.
    /// In a directory a file keeps its name, and it appears under that name only
    /// when it is complete: its size is compared there first. Gives a map with
    /// `path`, `size` and `seconds`.
    ///
    /// A directory becomes `target` itself, or goes into `target` when that ends
    /// in `/`. It is unpacked under a hidden name and then moved: in one go when
    /// nothing is there, else file by file, and other files that are there stay.
    /// Links are copied as links; sockets and devices are passed over, and the
    /// log says so. The host needs tar. The map has `files`, too.
    ///
    /// - `mode` (string): permissions of a file, as "0644"; by default those of
    ///   the local one.
    /// - `delete` (bool, false): a directory takes the place of the one that is
    ///   there, with all that it holds.
    /// - `sudo` (bool, false): write as root.
    /// - `timeout` (seconds).
    ///
    /// Throws `not_found` when the local file does not exist, `command_failed`
    /// when the target cannot be written, `quota_exceeded` when the disk there is
    /// full, `timeout`, `unreachable`, `denied`, `host_key_changed`.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// scp(web, "assets/check_webserver.py", "check_webserver.py");
    /// scp(web, "userdata", "scripts");
    /// ```
    #[rhai_fn(name = "scp", return_raw)]
    pub fn scp_with(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let state = file_state(&call, &source);
        let arguments = [
            &server,
            &state,
            &source.clone().into(),
            &target.clone().into(),
            &options.clone().into(),
        ];
        script::effect(&call, &arguments, async |cx, step| {
            let options = script::options(options)?;
            super::scp(cx, step, &server, &source, &target, options).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn scp(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
    ) -> Outcome<Dynamic> {
        scp_with(call, server, source, target, Map::new())
    }

    /// Copies a file or directory of a host to this machine.
    ///
    /// `source` is a path there: a directory when it ends in `/`, else a file. The
    /// host decides on contents only: if it has the other thing, nothing is
    /// copied.
    ///
    /// `target` is a path here: in a directory a file keeps its name. It appears
    /// under that name only when it is complete; what was there is replaced. A
    /// directory becomes `target` itself, or goes into `target` when that ends in
    /// `/`; other files that are there stay, and directories that are there keep
    /// their permissions. Nothing of it becomes setuid, and nothing gets outside
    /// of `target`: links that lead out of the directory are left out, as are
    /// devices and pipes, and the log says so. Gives a map with `path`, `size` and
    /// `seconds`, of a directory with `files`, too.
    ///
    /// - `delete` (bool, false): a directory takes the place of the one that is
    ///   here, with all that it holds.
    /// - `sudo` (bool, false): read as root.
    /// - `timeout` (seconds).
    ///
    /// Throws `command_failed` when it cannot be read there, is of the other kind,
    /// or when the host sends something else; `not_found` when it is not there or
    /// the target's directory is not here, `quota_exceeded` when the disk here is
    /// full, `timeout`, `unreachable`, `denied`, `host_key_changed`.
    ///
    /// ```rhai
    /// let web = host("192.0.2.10");
    /// scp_from(web, "/etc/hostname", "/tmp/hostname");
    /// scp_from(web, "/etc/skel/", "/tmp/skel");
    /// ```
    #[rhai_fn(name = "scp_from", return_raw)]
    pub fn scp_from_with(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            let options = script::options(options)?;
            super::scp_from(cx, &server, &source, &target, &options).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn scp_from(
        call: NativeCallContext,
        server: Dynamic,
        source: ImmutableString,
        target: ImmutableString,
    ) -> Outcome<Dynamic> {
        scp_from_with(call, server, source, target, Map::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scp {
    mode: Option<String>,
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    sudo: bool,
    timeout: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScpFrom {
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    sudo: bool,
    timeout: Option<f64>,
}

impl ScpFrom {
    fn timeout(&self) -> Result<Option<Duration>> {
        self.timeout.map(|t| seconds("timeout", t)).transpose()
    }
}

/// The system's own limit.
const LONGEST_PATH: usize = 4096;

/// What both give.
#[derive(Debug, Serialize)]
struct Copied {
    path: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    seconds: f64,
}

/// What is copied to hosts.
struct Source {
    /// As the playbook names it.
    shown: String,
    path: PathBuf,
    size: u64,
    content: Content,
}

enum Content {
    /// A file with these permissions.
    File(u32),
    Directory(Arc<Vec<Entry>>),
}

impl Source {
    fn of(cx: &Context, source: &str, options: &Scp) -> Result<Self> {
        let path = cx.clients.local.expand(Path::new(source));
        let about = fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?;
        if about.is_dir() {
            if options.mode.is_some() {
                return Err(Error::invalid("option `mode`: it is for files")
                    .hint("a directory keeps the permissions that it has here"));
            }
            return Self::directory(cx, source, path);
        }
        if !about.is_file() {
            return Err(Error::invalid(format!(
                "`{source}` is neither a file nor a directory"
            )));
        }
        if options.delete {
            return Err(
                Error::invalid("option `delete`: it is for directories").hint("leave it out")
            );
        }
        let (_, about) = tree::open_file(&path).map_err(|e| Error::io("read", &path, &e))?;
        let mode = match &options.mode {
            Some(text) => mode(text)?,
            // Not what would make it root's own program with `sudo`.
            None => about.permissions().mode() & 0o777,
        };
        Ok(Self {
            shown: source.to_owned(),
            size: about.len(),
            content: Content::File(mode),
            path,
        })
    }

    fn directory(cx: &Context, source: &str, path: PathBuf) -> Result<Self> {
        let (odd, entries): (Vec<Entry>, Vec<Entry>) = tree::walk(&path)?
            .into_iter()
            .partition(|entry| entry.kind == Kind::Other);
        if !odd.is_empty() {
            let odd = odd.iter().map(|entry| entry.path.display().to_string());
            cx.report.warn(format!(
                "passed over, as they are no files: {}",
                text::some_of(odd, 5)
            ));
        }
        let files = entries.iter().filter(|entry| entry.kind == Kind::File);
        Ok(Self {
            shown: source.to_owned(),
            size: files.map(Entry::size).sum(),
            content: Content::Directory(Arc::new(entries)),
            path,
        })
    }

    fn name(&self) -> String {
        let whole = fs::canonicalize(&self.path);
        let path = self.path.file_name().map(Path::new);
        let path = path.or(whole.as_deref().ok()).unwrap_or(&self.path);
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

async fn scp(
    cx: &Context,
    step: &mut Step,
    servers: &Dynamic,
    source: &str,
    to: &str,
    options: Scp,
) -> Result<Value> {
    if to.is_empty() || to.contains('\0') {
        return Err(Error::invalid("argument `target`: it must name a path"));
    }
    // The name goes with the target, in the command that takes the copy there.
    check_public(cx, "argument `source`", source)?;
    check_public(cx, "argument `target`", to)?;
    if let Some(timeout) = options.timeout {
        seconds("timeout", timeout)?;
    }
    let source = Source::of(cx, source, &options)?;
    if let Some(recorded) = step.recorded::<Value>()? {
        step.replay();
        return Ok(recorded);
    }
    let targets = Targets::of(cx, servers).await?;
    step.begin()?;
    crash::reached("before a copy");
    let done = on_each(cx, targets, async |cx, host| {
        copy_to(cx, host, &source, to, &options).await
    });
    let done = done.await;
    crash::reached("after a copy");
    done
}

/// Copies to one host.
async fn copy_to(
    cx: &Context,
    host: Host,
    source: &Source,
    to: &str,
    options: &Scp,
) -> Result<Copied> {
    let started = Instant::now();
    let sent = match &source.content {
        Content::File(mode) => send_file(cx, &host, source, *mode, to, options).await,
        Content::Directory(entries) => {
            send_directory(cx, &host, source, entries, to, options).await
        }
    };
    let finished = sent.map_err(|e| in_time(e, &format!("copy `{}`", source.shown)))?;
    if finished.status != 0 {
        return Err(not_copied(&host, source, to, &finished, options.sudo));
    }
    let path = said_path(&host, &finished.stdout)?;
    let files = match &source.content {
        Content::File(_) => None,
        Content::Directory(entries) => {
            Some(entries.iter().filter(|e| e.kind == Kind::File).count())
        }
    };
    let copied = Copied {
        path,
        size: source.size,
        files,
        seconds: started.elapsed().as_secs_f64(),
    };
    let from = (source.shown.as_str(), "");
    say_copied(cx, from, (&host.name, &copied.path), &copied);
    Ok(copied)
}

/// Where a host says that it put something: a path, and nothing else.
fn said_path(host: &Host, said: &[u8]) -> Result<String> {
    let path = std::str::from_utf8(said).ok();
    let path = path.filter(|path| !path.is_empty() && path.len() <= LONGEST_PATH);
    path.map(str::to_owned).ok_or_else(|| {
        Error::new(
            ErrorKind::CommandFailed,
            format!("{} does not say where it put what it got", host.name),
        )
        .hint("look there whether it is whole, and copy it again")
    })
}

/// The end of what a host said, without the shell's `sh: 5: `: nobody has seen
/// that program.
fn said_there(finished: &Finished) -> String {
    let plain = |line: &str| {
        let rest = line.strip_prefix("sh: ").unwrap_or(line);
        match rest.split_once(": ") {
            Some((number, rest)) if number.chars().all(|c| c.is_ascii_digit()) => rest.to_owned(),
            _ => rest.to_owned(),
        }
    };
    let said = ssh::tail(&finished.stderr, 3);
    said.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// What did not finish: a person asked for no command.
fn in_time(error: Error, attempt: &str) -> Error {
    match error.kind {
        ErrorKind::Timeout => error.while_doing(attempt),
        _ => error,
    }
}

/// `copied site to web:/srv/site (12 files, 3.4 MiB in 0.5 s)`.
fn say_copied(cx: &Context, from: (&str, &str), to: (&str, &str), copied: &Copied) {
    let place = |(first, second): (&str, &str)| match second {
        "" => first.to_owned(),
        _ => format!("{first}:{second}"),
    };
    let files = copied
        .files
        .map_or_else(String::new, |n| format!("{}, ", text::count(n, "file")));
    cx.report.info(format!(
        "copied {} to {} ({files}{} in {})",
        place(from),
        place(to),
        text::bytes(copied.size),
        text::duration(Duration::from_secs_f64(copied.seconds))
    ));
}

async fn send_file(
    cx: &Context,
    host: &Host,
    source: &Source,
    mode: u32,
    to: &str,
    options: &Scp,
) -> Result<Finished> {
    let unreadable = |e: std::io::Error| Error::io("read", &source.path, &e);
    let (file, _) = tree::open_file(&source.path).map_err(unreadable)?;
    let meter = cx.report.meter(&source.shown, source.size);
    let command = Command {
        command: paths::copy(&source.name(), to, source.size, mode),
        // A file that became shorter ends here; the size check there tells.
        stdin: Stdin::Reader(Box::new(meter.reading(file.take(source.size)))),
        sudo: options.sudo,
        timeout: options.timeout.map(|t| seconds("timeout", t)).transpose()?,
        ..Command::default()
    };
    cx.clients.ssh().run(host, command, &cx.report).await
}

async fn send_directory(
    cx: &Context,
    host: &Host,
    source: &Source,
    entries: &Arc<Vec<Entry>>,
    to: &str,
    options: &Scp,
) -> Result<Finished> {
    let timeout = options.timeout.map(|t| seconds("timeout", t)).transpose()?;
    let tar = tar_of(cx, host, timeout).await?;
    let (reader, writer) =
        std::io::pipe().map_err(|e| Error::internal(format!("cannot make a pipe: {e}")))?;
    let (directory, entries) = (source.path.clone(), Arc::clone(entries));
    let packing = tokio::task::spawn_blocking(move || {
        let writer = std::io::BufWriter::with_capacity(1 << 16, writer);
        tree::pack(&directory, &entries, tar == Tar::Gnu, writer)
    });
    let meter = cx.report.meter(&source.shown, source.size);
    let command = Command {
        command: paths::make_tree(&source.name(), to, options.delete),
        stdin: Stdin::Reader(Box::new(meter.reading(reader))),
        sudo: options.sudo,
        timeout,
        ..Command::default()
    };
    let finished = cx.clients.ssh().run(host, command, &cx.report).await?;
    let packed = packing
        .await
        .unwrap_or_else(|_| Err(Error::internal("packing stopped unexpectedly")));
    // A host that stopped reading has said why; else what went wrong here is why
    // it did not get all.
    match said_why(&finished) {
        true => Ok(finished),
        false => packed.map(|()| finished),
    }
}

/// Whether a host says of itself why it did not take a directory.
fn said_why(finished: &Finished) -> bool {
    let said = String::from_utf8_lossy(&finished.stderr);
    finished.status != 0 && !said.contains("did not arrive whole") && !said.contains("EOF")
}

async fn tar_of(cx: &Context, host: &Host, timeout: Option<Duration>) -> Result<Tar> {
    let finished = ask(cx, host, Tar::COMMAND.to_owned(), false, timeout).await?;
    Tar::of(&String::from_utf8_lossy(&finished.stdout)).ok_or_else(|| no_tar(host))
}

fn no_tar(host: &Host) -> Error {
    Error::new(
        ErrorKind::CommandFailed,
        format!(
            "{} has no tar, with which directories are copied",
            host.name
        ),
    )
    .hint("install tar there, or copy the files one by one")
}

/// Runs a small command whose output is only for us.
async fn ask(
    cx: &Context,
    host: &Host,
    command: String,
    sudo: bool,
    timeout: Option<Duration>,
) -> Result<Finished> {
    let command = Command {
        command,
        sudo,
        timeout,
        ..Command::default()
    };
    cx.clients.ssh().run(host, command, &cx.report).await
}

/// Permissions as `chmod` takes them: octal digits.
pub(super) fn mode(text: &str) -> Result<u32> {
    Some(text)
        .filter(|mode| mode.chars().all(|c| c.is_digit(8)))
        .and_then(|mode| u32::from_str_radix(mode, 8).ok())
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| Error::invalid(format!("option `mode`: `{text}` is not octal, as \"0644\"")))
}

fn not_copied(host: &Host, source: &Source, to: &str, finished: &Finished, sudo: bool) -> Error {
    let source = &source.shown;
    let said = said_there(finished);
    let kind = if said.contains("No space left") || said.contains("quota exceeded") {
        ErrorKind::QuotaExceeded
    } else {
        ErrorKind::CommandFailed
    };
    // Of the name that a copy has until it is whole, nobody wants to hear.
    let reason = match said.rsplit_once(": ") {
        Some((of, reason)) if of.contains(".autorun-") => reason,
        _ => &said,
    };
    let error = Error::new(
        kind,
        format!("cannot copy `{source}` to {}:{to}: {reason}", host.name),
    )
    .detail(serde_json::json!({
        "status": finished.status, "stdout": "", "stderr": said,
    }));
    if kind == ErrorKind::QuotaExceeded {
        return error.hint("make room there: ssh_exec(server, \"df -h\") shows its disks");
    }
    if said.contains("Permission denied") {
        return error.hint("pass `sudo: true`, or a target that the user may write");
    }
    if said.contains("is not replaced") {
        return error.hint("leave `delete` out, or name a directory of its own");
    }
    if said.contains("directory there") || said.contains("is no directory") {
        return error.hint("move it away there, or copy to another target");
    }
    if said.contains("No such file or directory")
        || said.contains("nonexistent")
        || said.contains("does not exist")
    {
        return match to.rsplit_once('/') {
            Some((directory, _)) if !directory.is_empty() && sudo => error.hint(format!(
                "make the directory first: ssh_exec(server, \"mkdir -p {}\", #{{ sudo: true }})",
                shell_words::quote(directory)
            )),
            Some((directory, _)) if !directory.is_empty() => error.hint(format!(
                "make the directory first: ssh_exec(server, \"mkdir -p {}\")",
                shell_words::quote(directory)
            )),
            _ => error,
        };
    }
    error
}

async fn scp_from(
    cx: &Context,
    server: &Dynamic,
    source: &str,
    to: &str,
    options: &ScpFrom,
) -> Result<Copied> {
    let timeout = options.timeout()?;
    for (name, path) in [("source", source), ("target", to)] {
        if path.is_empty() || path.contains('\0') {
            return Err(Error::invalid(format!(
                "argument `{name}`: it must name a path"
            )));
        }
    }
    check_public(cx, "argument `source`", source)?;
    check_public(cx, "argument `target`", to)?;
    if server.is_array() {
        return Err(
            Error::invalid("argument `server`: it is one host, not an array")
                .hint("call scp_from for each of them, with a target of its own"),
        );
    }
    let place = cx.clients.local.expand(Path::new(to));
    let wants_directory = options.delete || source.ends_with('/');
    let inside = to.ends_with('/') || (!wants_directory && place.is_dir());
    let path = match inside {
        true => place.join(own_name(source)?),
        false => place,
    };
    let host = target(cx, server).await?;
    let started = Instant::now();
    // The slash is for us: what it stands behind may be a file there.
    let asked = match source.trim_end_matches('/') {
        "" => "/",
        plain => plain,
    };
    let looked = ask(cx, &host, paths::look(asked), options.sudo, timeout).await?;
    if looked.status != 0 {
        return Err(not_given(&host, source, &looked));
    }
    let said = String::from_utf8_lossy(&looked.stdout).into_owned();
    let looked = Looked::of(&said).ok_or_else(|| {
        Error::new(
            ErrorKind::CommandFailed,
            format!(
                "{} does not say what `{source}` is: {}",
                host.name,
                ssh::tail(said.as_bytes(), 1)
            ),
        )
    })?;
    let from = From {
        host: &host,
        source,
        sudo: options.sudo,
        timeout,
    };
    let (size, files) = match looked {
        Looked::File(size, mode) if !wants_directory => {
            get_file(cx, &from, source, size, mode, &path).await?;
            (size, None)
        }
        Looked::Directory(tar) if wants_directory => {
            let tar = tar.ok_or_else(|| no_tar(&host))?;
            let got = get_directory(cx, &from, tar, &path, options.delete).await?;
            (got.size, Some(got.files))
        }
        Looked::File(..) if options.delete => {
            return Err(
                Error::invalid("option `delete`: it is for directories").hint("leave it out")
            );
        }
        Looked::File(..) => return Err(other_kind(&host, source, "a file")),
        Looked::Directory(_) => return Err(other_kind(&host, source, "a directory")),
    };
    let copied = Copied {
        path: path.display().to_string(),
        size,
        files,
        seconds: started.elapsed().as_secs_f64(),
    };
    say_copied(cx, (&host.name, source), (&copied.path, ""), &copied);
    Ok(copied)
}

/// The last part of a path, under which it is stored here: never a name that the
/// host chooses.
fn own_name(source: &str) -> Result<&OsStr> {
    let name = Path::new(source).file_name();
    name.filter(|_| source != "~" && source != "~/")
        .ok_or_else(|| {
            Error::invalid(format!(
                "argument `source`: `{source}` has no name of its own"
            ))
            .hint("name the target itself, without a `/` at its end")
        })
}

/// A directory where a file was asked for, or the other way round.
fn other_kind(host: &Host, source: &str, what: &str) -> Error {
    let error = Error::new(
        ErrorKind::CommandFailed,
        format!("cannot copy {}:{source}: it is {what} there", host.name),
    );
    let plain = source.trim_end_matches('/');
    match source.ends_with('/') {
        true => error.hint(format!("a file is named without the `/`: \"{plain}\"")),
        false => error.hint(format!("a directory is named with a `/`: \"{plain}/\"")),
    }
}

/// What is copied from a host, and how.
struct From<'a> {
    host: &'a Host,
    source: &'a str,
    sudo: bool,
    timeout: Option<Duration>,
}

impl From<'_> {
    /// Runs a command there whose output goes into a file or a pipe.
    async fn pour(
        &self,
        cx: &Context,
        command: String,
        into: Box<dyn Write + Send>,
    ) -> Result<Finished> {
        let command = Command {
            command,
            sudo: self.sudo,
            timeout: self.timeout,
            stdout: Some(Sink(into)),
            ..Command::default()
        };
        let ran = cx.clients.ssh().run(self.host, command, &cx.report).await;
        ran.map_err(|e| in_time(e, &format!("copy `{}`", self.source)))
    }
}

/// Copies a file here; it appears under its name when it is whole.
async fn get_file(
    cx: &Context,
    from: &From<'_>,
    source: &str,
    size: u64,
    mode: u32,
    path: &Path,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", path, &e);
    let file = tempfile::Builder::new()
        .prefix(".autorun-")
        .tempfile_in(folder_of(path)?)
        .map_err(failed)?;
    let meter = cx.report.meter(source, size);
    let writer = AtMost {
        to: meter.writing(file.reopen().map_err(failed)?),
        left: size,
    };
    let command = paths::give_file(source, size);
    let finished = from.pour(cx, command, Box::new(writer)).await?;
    if finished.status != 0 {
        return Err(not_given(from.host, source, &finished));
    }
    let got = file.as_file().metadata().map_err(failed)?.len();
    if got != size {
        return Err(Error::new(
            ErrorKind::CommandFailed,
            format!(
                "{} gave {got} of {size} bytes of `{source}`",
                from.host.name
            ),
        )
        .hint("was it changed meanwhile? copy it again"));
    }
    let permissions = fs::Permissions::from_mode(mode);
    file.as_file()
        .set_permissions(permissions)
        .map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// Takes as many bytes as were announced.
struct AtMost<W> {
    to: W,
    left: u64,
}

impl<W: Write> Write for AtMost<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(std::io::Error::other("it is more than was announced"));
        }
        let written = self.to.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Reads until Ctrl-C, so that what is unpacked does not outlive the call.
struct UntilCancelled<R> {
    from: R,
    cancel: CancellationToken,
}

impl<R: Read> Read for UntilCancelled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.cancel.is_cancelled() {
            true => Err(std::io::Error::other("interrupted")),
            false => self.from.read(buffer),
        }
    }
}

/// The directory that a path is to be in.
fn folder_of(path: &Path) -> Result<&Path> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(Error::new(
            ErrorKind::NotFound,
            format!("the directory `{}` does not exist here", folder.display()),
        )
        .hint(format!(
            "make it first: `mkdir -p {}`",
            shell_words::quote(&folder.to_string_lossy())
        ))),
    }
}

async fn get_directory(
    cx: &Context,
    from: &From<'_>,
    tar: Tar,
    path: &Path,
    replace: bool,
) -> Result<Unpacked> {
    if replace {
        is_replaceable(cx, path)?;
    }
    // On the same file system: inside a directory that stays, else beside it.
    let folder = match path.is_dir() && !replace {
        true => path,
        false => folder_of(path)?,
    };
    let stage = Stage::within(folder).map_err(|e| Error::io("write", path, &e))?;
    let stage = Arc::new(stage);
    let got = async {
        let tree = stage.path().join("tree");
        fs::create_dir(&tree).map_err(|e| Error::io("write", path, &e))?;
        let got = get_tar(cx, from, tar, &stage, &tree).await?;
        tree::settle(&tree, path, replace, &got.modes)?;
        Ok(got)
    };
    let got = got.await;
    if let Err(error) = stage.clear() {
        cx.report.warn(format!("{error}"));
    }
    got
}

/// Nobody means to replace the directory that is worked in, or a home directory.
fn is_replaceable(cx: &Context, path: &Path) -> Result<()> {
    let Ok(path) = fs::canonicalize(path) else {
        return Ok(());
    };
    let here = std::env::current_dir().ok();
    let home = cx.clients.local.home.clone();
    let kept = [here, home].into_iter().flatten();
    let mut kept = kept.filter_map(|kept| fs::canonicalize(kept).ok());
    match kept.any(|kept| kept.starts_with(&path)) {
        true => Err(Error::invalid(format!(
            "`{}` is not replaced: the home or the current directory is in it",
            path.display()
        ))
        .hint("leave `delete` out, or name a directory of its own")),
        false => Ok(()),
    }
}

async fn get_tar(
    cx: &Context,
    from: &From<'_>,
    tar: Tar,
    stage: &Arc<Stage>,
    tree: &Path,
) -> Result<Unpacked> {
    let (reader, writer) =
        std::io::pipe().map_err(|e| Error::internal(format!("cannot make a pipe: {e}")))?;
    let (into, stage) = (tree.to_owned(), Arc::clone(stage));
    let reader = UntilCancelled {
        from: reader,
        cancel: cx.cancel.clone(),
    };
    let unpacking = tokio::task::spawn_blocking(move || {
        let unpacked = tree::unpack(reader, &into);
        // It is there for as long as something is unpacked into it.
        drop(stage);
        unpacked
    });
    let command = paths::give_tree(from.source);
    let finished = from.pour(cx, command, Box::new(writer)).await;
    let unpacked = unpacking
        .await
        .unwrap_or_else(|_| Err(Error::internal("unpacking stopped unexpectedly")));
    // What stopped the reading here ended the host's writing, too.
    if let (Err(error), Err(here)) = (&finished, &unpacked)
        && error.message.contains("cannot write here")
    {
        return Err(here.clone());
    }
    let finished = finished?;
    // 1 is GNU tar's word for a file that changed while it was read, and what
    // came is in order; others mean any failure by it.
    let changed = tar == Tar::Gnu && finished.status == 1;
    if finished.status != 0 && !changed {
        return Err(not_given(from.host, from.source, &finished));
    }
    let unpacked = unpacked?;
    if finished.status == 1 {
        cx.report.warn(format!(
            "{}: {}",
            from.host.name,
            ssh::tail(&finished.stderr, 3)
        ));
    }
    let LeftOut { count, names } = &unpacked.left_out;
    if *count > 0 {
        let more = match count - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        cx.report.warn(format!(
            "left out, as they are neither files nor links within the directory: {}{more}",
            names.join(", ")
        ));
    }
    Ok(unpacked)
}

/// What a host has said of a source that it does not give.
fn not_given(host: &Host, source: &str, finished: &Finished) -> Error {
    let said = said_there(finished);
    let kind = match said.contains("No such file or directory") {
        true => ErrorKind::NotFound,
        false => ErrorKind::CommandFailed,
    };
    let error = Error::new(kind, format!("cannot copy {}:{source}: {said}", host.name)).detail(
        serde_json::json!({
            "status": finished.status, "stdout": "", "stderr": said,
        }),
    );
    if said.contains("Permission denied") {
        return error.hint("pass `sudo: true`, or log in as a user who may read it");
    }
    match kind {
        ErrorKind::NotFound => error.hint(format!(
            "a path that does not begin with / starts at the home directory of {}",
            host.user
        )),
        _ => error,
    }
}
