//! Copying files and directories from this machine to hosts.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::Dynamic;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::super::check_public;
use super::super::hosts::{Targets, on_each};
use super::super::rehearsed::{self, is_outside};
use super::errors::{in_time, not_copied};
use super::{Copied, Scp, log_copied, query};
use crate::clients::ssh::copy_programs::{self, Tar};
use crate::clients::ssh::{
    Command, FileUpload, Finished, Host, Program, Ran, Stdin, TreeUpload, Upload,
};
use crate::clients::tree::{self, Entry, Kind, NotPacked};
use crate::context::Context;
use crate::crash;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Step;
use crate::report::text;
use crate::script::Seconds;

/// `PATH_MAX` of Linux.
const LONGEST_PATH: usize = 4096;

/// A file or directory to copy to hosts.
struct Source {
    /// The path as the playbook wrote it.
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
    fn open(cx: &Context, source: &str, options: &Scp) -> Result<Self> {
        let path = rehearsed::source(cx, source);
        let about = fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?;
        if about.is_dir() {
            if options.mode.is_some() {
                return Err(Error::invalid("option `mode`: it is only for files")
                    .hint("omit it: a directory keeps the permissions of its files"));
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
                Error::invalid("option `delete`: it is only for directories").hint("omit it"),
            );
        }
        let (_, about) = tree::open_file(&path).map_err(|e| Error::io("read", &path, &e))?;
        let mode = match &options.mode {
            Some(text) => mode(text)?,
            // Without setuid and setgid: with `sudo`, root owns the copy.
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
                "skipped (not regular files): {}",
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

    fn file(&self) -> Result<File> {
        let unreadable = |e: std::io::Error| Error::io("read", &self.path, &e);
        let (file, _) = tree::open_file(&self.path).map_err(unreadable)?;
        Ok(file)
    }

    /// Opens the file. The size check on the host detects a file that has
    /// become shorter.
    fn content(&self, cx: &Context) -> Result<Box<dyn Read + Send>> {
        let meter = cx.report.meter(&self.shown, self.size);
        Ok(Box::new(meter.reading(self.file()?.take(self.size))))
    }

    /// Returns the number of files in a directory.
    fn files(&self) -> Option<usize> {
        match &self.content {
            Content::File(_) => None,
            Content::Directory(entries) => {
                Some(entries.iter().filter(|e| e.kind == Kind::File).count())
            }
        }
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

pub(super) async fn scp(
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
    // The file name is part of a command line on the host, which its users can read.
    check_public(cx, "argument `source`", source)?;
    check_public(cx, "argument `target`", to)?;
    let source = Source::open(cx, source, &options)?;
    if let Some(recorded) = step.recorded::<Value>()? {
        step.replay();
        return Ok(recorded);
    }
    let targets = Targets::resolve(cx, servers).await?;
    step.begin()?;
    crash::reached("before a copy");
    cx.ledger.may_act()?;
    let done = on_each(cx, targets, options.fanout(), async |cx, host| {
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
    if is_outside(cx, &host) {
        cx.assume_success(format!("copy {} to {}:{to}", source.shown, host.name));
        return Ok(Copied {
            path: to.to_owned(),
            size: source.size,
            files: source.files(),
            seconds: 0.0,
        });
    }
    let sent = match &source.content {
        Content::File(mode) => send_file(cx, &host, source, *mode, to, options).await,
        Content::Directory(entries) => {
            send_directory(cx, &host, source, entries, to, options).await
        }
    };
    let finished = sent.map_err(|e| in_time(e, &format!("copy `{}`", source.shown)))?;
    if finished.status != 0 {
        let source = &source.shown;
        return Err(not_copied(&host, source, to, &finished, options.sudo));
    }
    let path = printed_path(&host, &finished.stdout)?;
    let copied = Copied {
        path,
        size: source.size,
        files: source.files(),
        seconds: started.elapsed().as_secs_f64(),
    };
    let from = (source.shown.as_str(), "");
    log_copied(cx, from, (&host.name, &copied.path), &copied);
    Ok(copied)
}

/// Returns the path of the copy that the host printed.
fn printed_path(host: &Host, output: &[u8]) -> Result<String> {
    let path = std::str::from_utf8(output).ok();
    let path = path.filter(|path| !path.is_empty() && path.len() <= LONGEST_PATH);
    path.map(str::to_owned).ok_or_else(|| {
        Error::new(
            ErrorKind::CommandFailed,
            format!("{} did not report the path of the copy", host.name),
        )
        .hint("check the copy on the host, and copy it again")
    })
}

async fn send_file(
    cx: &Context,
    host: &Host,
    source: &Source,
    mode: u32,
    to: &str,
    options: &Scp,
) -> Result<Finished> {
    let timeout = options.timeout.map(Seconds::duration);
    let upload = FileUpload {
        name: source.name(),
        target: to.to_owned(),
        mode,
        file: source.file()?,
        size: source.size,
        meter: cx.report.meter(&source.shown, source.size),
        sudo: options.sudo,
        timeout,
    };
    let ran = cx.clients.ssh().put_file(host, upload, &cx.report).await?;
    let reason = match ran {
        Ran::Finished(finished) => return Ok(finished),
        Ran::Refused(reason) => reason,
    };
    let upload = Upload {
        name: source.name(),
        target: to.to_owned(),
        size: source.size,
        mode,
        content: source.content(cx)?,
    };
    let put = cx.clients.ssh().put_over_sftp(host, upload, timeout);
    put.await?.ok_or(reason)
}

async fn send_directory(
    cx: &Context,
    host: &Host,
    source: &Source,
    entries: &Arc<Vec<Entry>>,
    to: &str,
    options: &Scp,
) -> Result<Finished> {
    let timeout = options.timeout.map(Seconds::duration);
    // Only GNU tar leaves out the holes of files. To ask for it costs a round trip
    // or two, and few directories have such files.
    let sparse = entries.iter().any(Entry::has_holes)
        && has_gnu_tar(cx, host, options.sudo, timeout).await?;
    let stream = pack(cx, source, entries, sparse)?;
    let program = copy_programs::receive_tree(&source.name(), to, options.delete);
    let command = Command {
        program: Program::Own(program),
        stdin: Stdin::Reader(stream.reader),
        sudo: options.sudo,
        timeout,
        ..Command::default()
    };
    let ran = cx.clients.ssh().try_run(host, command, &cx.report).await?;
    let no_shell = match ran {
        Ran::Finished(finished) => return packed(stream.packing, finished).await,
        Ran::Refused(reason) => reason,
    };
    let stream = pack(cx, source, entries, false)?;
    let upload = TreeUpload {
        name: source.name(),
        target: to.to_owned(),
        replace: options.delete,
        stream: stream.reader,
    };
    let put = cx.clients.ssh().put_tree_over_sftp(host, upload, timeout);
    packed(stream.packing, put.await?.ok_or(no_shell)?).await
}

/// A directory as a stream, which a thread writes.
struct Stream {
    reader: Box<dyn Read + Send>,
    packing: JoinHandle<std::result::Result<(), NotPacked>>,
}

fn pack(cx: &Context, source: &Source, entries: &Arc<Vec<Entry>>, sparse: bool) -> Result<Stream> {
    let (reader, writer) =
        std::io::pipe().map_err(|e| Error::internal(format!("cannot create a pipe: {e}")))?;
    let (directory, entries) = (source.path.clone(), Arc::clone(entries));
    let packing = tokio::task::spawn_blocking(move || {
        let writer = std::io::BufWriter::with_capacity(1 << 16, writer);
        tree::pack(&directory, &entries, sparse, writer)
    });
    let meter = cx.report.meter(&source.shown, source.size);
    Ok(Stream {
        reader: Box::new(meter.reading(reader)),
        packing,
    })
}

/// Returns the result of the host, unless the directory could not be read.
async fn packed(
    packing: JoinHandle<std::result::Result<(), NotPacked>>,
    finished: Finished,
) -> Result<Finished> {
    let packed = packing
        .await
        .map_err(|_| Error::internal("packing stopped unexpectedly"))?;
    match packed {
        Ok(()) => Ok(finished),
        // The host stopped reading; its status has the reason.
        Err(NotPacked::Refused(_)) if finished.status != 0 => Ok(finished),
        // Reading the local files failed, so the host received an incomplete archive.
        Err(error) => Err(error.into()),
    }
}

async fn has_gnu_tar(
    cx: &Context,
    host: &Host,
    sudo: bool,
    timeout: Option<Duration>,
) -> Result<bool> {
    Ok(
        match query(cx, host, Tar::COMMAND.to_owned(), sudo, timeout).await? {
            Ran::Finished(finished) => {
                Tar::parse(&String::from_utf8_lossy(&finished.stdout)) == Some(Tar::Gnu)
            }
            Ran::Refused(_) => false,
        },
    )
}

/// Parses permissions as octal digits.
pub(in crate::primitives) fn mode(text: &str) -> Result<u32> {
    Some(text)
        .filter(|mode| mode.chars().all(|c| c.is_digit(8)))
        .and_then(|mode| u32::from_str_radix(mode, 8).ok())
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| {
            Error::invalid(format!(
                "option `mode`: `{text}` is not an octal mode like \"0644\""
            ))
        })
}
