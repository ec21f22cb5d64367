//! Copying files and directories from a host to this machine.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::Dynamic;
use tokio_util::sync::CancellationToken;

use super::super::check_public;
use super::super::hosts::target;
use super::super::rehearsed::{self, is_outside};
use super::errors::{in_time, no_tar, not_sent, other_kind};
use super::{Copied, ScpFrom, log_copied, query};
use crate::clients::ssh::copy_programs::{self, Looked, Tar};
use crate::clients::ssh::{self, Command, Finished, Host, Program, Ran, Sink};
use crate::clients::tree::{self, LeftOut, NotUnpacked, Stage, Unpacked};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::script::Seconds;

pub(super) async fn scp_from(
    cx: &Context,
    server: &Dynamic,
    source: &str,
    to: &str,
    options: &ScpFrom,
) -> Result<Copied> {
    let timeout = options.timeout.map(Seconds::duration);
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
            Error::invalid("argument `server`: expected one host, got an array")
                .hint("call scp_from for each host, with a different target"),
        );
    }
    let place = cx.clients.local.expand(Path::new(to));
    let wants_directory = options.delete || source.ends_with('/');
    let inside = to.ends_with('/') || (!wants_directory && place.is_dir());
    let path = if inside {
        place.join(own_name(source)?)
    } else {
        place
    };
    let host = target(cx, server).await?;
    let shown = path;
    let path = rehearsed::output(cx, &shown);
    rehearsed::not_written(cx, &shown);
    if is_outside(cx, &host) {
        return assumed(cx, &host, source, &shown, &path, wants_directory);
    }
    let started = Instant::now();
    // The slash only means that the playbook expects a directory. Query the path
    // without it, because `file/` would be an error of its own on the host.
    let plain = match source.trim_end_matches('/') {
        "" => "/",
        plain => plain,
    };
    let mut from = RemoteSource {
        host: &host,
        source,
        sudo: options.sudo,
        timeout,
        no_shell: None,
    };
    let looked = from.look(cx, plain).await?;
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
                Error::invalid("option `delete`: it is only for directories").hint("omit it"),
            );
        }
        Looked::File(..) => return Err(other_kind(&host, source, "a file")),
        Looked::Directory(_) => return Err(other_kind(&host, source, "a directory")),
    };
    let copied = Copied {
        path: shown.display().to_string(),
        size,
        files,
        seconds: started.elapsed().as_secs_f64(),
    };
    log_copied(cx, (&host.name, source), (&copied.path, ""), &copied);
    Ok(copied)
}

/// Assumes in a rehearsal that a host has an empty file or directory.
fn assumed(
    cx: &Context,
    host: &Host,
    source: &str,
    shown: &Path,
    path: &Path,
    is_directory: bool,
) -> Result<Copied> {
    let made = if is_directory {
        fs::create_dir_all(path)
    } else {
        fs::write(path, "")
    };
    made.map_err(|e| Error::io("write", shown, &e))?;
    cx.assume(
        format!("copy {}:{source} to {}", host.name, shown.display()),
        if is_directory {
            "an empty directory"
        } else {
            "an empty file"
        },
    );
    Ok(Copied {
        path: shown.display().to_string(),
        size: 0,
        files: is_directory.then_some(0),
        seconds: 0.0,
    })
}

/// Returns the last part of a path, which becomes the name of the copy. The name
/// comes from the playbook, never from the host.
fn own_name(source: &str) -> Result<&OsStr> {
    let name = Path::new(source).file_name();
    // `~user` is a directory whose name only the host knows.
    let is_home = source.starts_with('~') && !source.trim_end_matches('/').contains('/');
    name.filter(|_| !is_home).ok_or_else(|| {
        Error::invalid(format!(
            "argument `source`: the path `{source}` has no file name"
        ))
        .hint("pass the full path of the copy as `target`, without a `/` at the end")
    })
}

/// A file or directory on a host, and how to read it.
struct RemoteSource<'a> {
    host: &'a Host,
    source: &'a str,
    sudo: bool,
    timeout: Option<Duration>,
    /// Why the host runs no commands; then sftp is used.
    no_shell: Option<Error>,
}

impl RemoteSource<'_> {
    /// Returns what the path on the host is.
    async fn look(&mut self, cx: &Context, path: &str) -> Result<Looked> {
        let program = copy_programs::look(path);
        let looked = match query(cx, self.host, program, self.sudo, self.timeout).await? {
            Ran::Finished(finished) => finished,
            Ran::Refused(reason) => {
                let look = cx
                    .clients
                    .ssh()
                    .look_over_sftp(self.host, path, self.timeout);
                let Some(looked) = look.await? else {
                    return Err(reason);
                };
                self.no_shell = Some(reason);
                return match looked {
                    Ok(Some((size, mode))) => Ok(Looked::File(size, mode)),
                    // With sftp, this machine packs the directory.
                    Ok(None) => Ok(Looked::Directory(Some(Tar::Other))),
                    Err(finished) => Err(not_sent(self.host, self.source, &finished)),
                };
            }
        };
        if looked.status != 0 {
            return Err(not_sent(self.host, self.source, &looked));
        }
        let output = String::from_utf8_lossy(&looked.stdout);
        Looked::parse(&output).ok_or_else(|| {
            Error::new(
                ErrorKind::CommandFailed,
                format!(
                    "unexpected answer from {} about `{}`: {}",
                    self.host.name,
                    self.source,
                    ssh::tail(output.as_bytes(), 1)
                ),
            )
        })
    }

    /// Writes a file of the host to `into`.
    async fn file(&self, cx: &Context, size: u64, into: Box<dyn Write + Send>) -> Result<Finished> {
        let Some(reason) = &self.no_shell else {
            let program = copy_programs::send_file(self.source, size);
            return self.stream(cx, program, into).await;
        };
        let ssh = cx.clients.ssh();
        let got = ssh.get_over_sftp(self.host, self.source, Sink(into), self.timeout);
        got.await?.ok_or_else(|| reason.clone())
    }

    /// Writes a directory of the host to `into`, as a tar stream.
    async fn tree(&self, cx: &Context, into: Box<dyn Write + Send>) -> Result<Finished> {
        let Some(reason) = &self.no_shell else {
            let program = copy_programs::send_tree(self.source);
            return self.stream(cx, program, into).await;
        };
        let ssh = cx.clients.ssh();
        let got = ssh.get_tree_over_sftp(self.host, self.source, Sink(into), self.timeout);
        got.await?.ok_or_else(|| reason.clone())
    }

    /// Runs a command on the host and writes its output to a file or a pipe.
    async fn stream(
        &self,
        cx: &Context,
        command: String,
        into: Box<dyn Write + Send>,
    ) -> Result<Finished> {
        let command = Command {
            program: Program::Own(command),
            sudo: self.sudo,
            timeout: self.timeout,
            stdout: Some(Sink(into)),
            ..Command::default()
        };
        let ran = cx.clients.ssh().run(self.host, command, &cx.report).await;
        ran.map_err(|e| in_time(e, &format!("copy `{}`", self.source)))
    }
}

/// Copies a file to this machine. It is renamed to its final name when it is
/// complete.
async fn get_file(
    cx: &Context,
    from: &RemoteSource<'_>,
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
    let finished = from.file(cx, size, Box::new(writer)).await?;
    if finished.status != 0 {
        return Err(not_sent(from.host, source, &finished));
    }
    let got = file.as_file().metadata().map_err(failed)?.len();
    if got != size {
        return Err(Error::new(
            ErrorKind::CommandFailed,
            format!(
                "{} sent {got} of {size} bytes of `{source}`",
                from.host.name
            ),
        )
        .hint("copy it again: the file may have changed during the copy"));
    }
    let permissions = fs::Permissions::from_mode(mode);
    file.as_file()
        .set_permissions(permissions)
        .map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// A writer that fails if the host sends more bytes than it announced.
struct AtMost<W> {
    to: W,
    left: u64,
}

impl<W: Write> Write for AtMost<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(std::io::Error::other(
                "the host sends more bytes than announced",
            ));
        }
        let written = self.to.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// A reader that fails after Ctrl-C, so that the unpacking ends with the call.
struct UntilCancelled<R> {
    from: R,
    cancel: CancellationToken,
}

impl<R: Read> Read for UntilCancelled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancel.is_cancelled() {
            Err(std::io::Error::other("interrupted"))
        } else {
            self.from.read(buffer)
        }
    }
}

/// Returns the directory of a path. Fails with [`ErrorKind::NotFound`] if it does
/// not exist.
fn folder_of(path: &Path) -> Result<&Path> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "the directory `{}` does not exist on this machine",
                folder.display()
            ),
        )
        .hint(format!(
            "create it first: `mkdir -p {}`",
            shell_words::quote(&folder.to_string_lossy())
        )))
    }
}

async fn get_directory(
    cx: &Context,
    from: &RemoteSource<'_>,
    tar: Tar,
    path: &Path,
    replace: bool,
) -> Result<Unpacked> {
    if replace {
        check_replaceable(cx, path)?;
    }
    // Unpack on the same file system as the target, so that files can be renamed:
    // inside a directory that is kept, else beside it.
    let folder = if path.is_dir() && !replace {
        path
    } else {
        folder_of(path)?
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

/// Refuses to replace a directory that contains the current or the home directory.
fn check_replaceable(cx: &Context, path: &Path) -> Result<()> {
    let Ok(path) = fs::canonicalize(path) else {
        return Ok(());
    };
    let here = std::env::current_dir().ok();
    let home = cx.clients.local.home.clone();
    let kept = [here, home].into_iter().flatten();
    let mut kept = kept.filter_map(|kept| fs::canonicalize(kept).ok());
    if kept.any(|kept| kept.starts_with(&path)) {
        Err(Error::invalid(format!(
            "cannot replace `{}`: it contains the home or the current directory",
            path.display()
        ))
        .hint("omit `delete`, or choose a directory that can be replaced"))
    } else {
        Ok(())
    }
}

async fn get_tar(
    cx: &Context,
    from: &RemoteSource<'_>,
    tar: Tar,
    stage: &Arc<Stage>,
    tree: &Path,
) -> Result<Unpacked> {
    let (reader, writer) =
        std::io::pipe().map_err(|e| Error::internal(format!("cannot create a pipe: {e}")))?;
    let (into, stage) = (tree.to_owned(), Arc::clone(stage));
    let reader = UntilCancelled {
        from: reader,
        cancel: cx.cancel.clone(),
    };
    let unpacking = tokio::task::spawn_blocking(move || {
        let unpacked = tree::unpack(reader, &into);
        // The stage must exist until the unpacking ends.
        drop(stage);
        unpacked
    });
    let finished = from.tree(cx, Box::new(writer)).await;
    let unpacked = unpacking
        .await
        .map_err(|_| Error::internal("unpacking stopped unexpectedly"))?;
    // If this machine stopped reading, the command on the host failed as well. The
    // reason is the error here.
    if let Err(NotUnpacked::Refused(error)) = unpacked {
        return Err(error);
    }
    let finished = finished?;
    // GNU tar ends with 1 if a file changed while it was read; the archive is still
    // valid. Other implementations of tar end with 1 on any failure.
    let changed = tar == Tar::Gnu && finished.status == 1;
    if finished.status != 0 && !changed {
        return Err(not_sent(from.host, from.source, &finished));
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
            "skipped because they are neither files nor links within the directory: {}{more}",
            names.join(", ")
        ));
    }
    Ok(unpacked)
}
