//! The programs of the init system. Those that need the service manager send their
//! arguments to init and print its reply.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::super::disk::standins::CLOUD_INIT;
use super::super::volumes;
use super::super::{dmi, tools};
use super::control::{Reply, Request, SET_NAME, SOCKET, VOLUMES};
use super::distribution;

/// Runs one of the programs. Returns `None` for other names.
pub(in super::super) fn run(tool: &str, args: Vec<String>) -> Option<ExitCode> {
    match tool {
        "dmidecode" => Some(finish(&dmi::dmidecode(&args))),
        "cloud-init" => Some(finish(&cloud_init(args))),
        "systemctl" | "shutdown" | "reboot" | "poweroff" | "halt" | "init" | "telinit" => {
            Some(finish(&ask(tool, args)))
        }
        other => tools::run(other, &args).map(|reply| finish(&reply)),
    }
}

fn cloud_init(args: Vec<String>) -> Reply {
    let reply = ask("cloud-init", args.clone());
    if !distribution::is_installed() {
        return reply;
    }
    // The real program has replaced this one meanwhile.
    let error = Command::new(CLOUD_INIT).args(args).exec();
    Reply::failure(format!("cloud-init: {error}"), 1)
}

/// Sets the host name of the kernel. Only root may.
pub(in super::super) fn set_kernel_name(name: &str) -> Reply {
    ask(SET_NAME, vec![name.to_owned()])
}

/// Asks for volumes. Only root may do more than list them.
pub(in super::super) fn ask_for_volumes(request: &volumes::Request) -> volumes::Answer {
    let text = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let reply = ask(VOLUMES, vec![text]);
    if reply.code != 0 {
        return Err(reply.err.trim_end().to_owned());
    }
    serde_json::from_str(&reply.out).map_err(|error| error.to_string())?
}

fn ask(tool: &str, args: Vec<String>) -> Reply {
    let tool = tool.to_owned();
    call(&Request { tool, args }).unwrap_or_else(|error| {
        let message = format!("cannot reach the init process of this machine: {error}");
        Reply::failure(message, 1)
    })
}

fn call(request: &Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(SOCKET)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

fn finish(reply: &Reply) -> ExitCode {
    // The other end may be closed, which is not an error here.
    let _ = io::stderr().write_all(reply.err.as_bytes());
    print(&reply.out, reply.code)
}

fn print(text: &str, code: u8) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}
