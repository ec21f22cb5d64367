//! The programs of the init system: each sends its arguments to init and prints
//! init's reply.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::super::disk::standins::CLOUD_INIT;
use super::super::dmi;
use super::control::{Reply, Request, SOCKET};
use super::distribution;

/// Runs one of the programs. Returns `None` for other names.
pub(in super::super) fn run(tool: &str, args: Vec<String>) -> Option<ExitCode> {
    match tool {
        "dmidecode" => Some(finish(&dmi::dmidecode(&args))),
        "runlevel" => Some(print("N 5\n", 0)),
        "systemctl" | "cloud-init" | "shutdown" | "reboot" | "poweroff" | "halt" => {
            let is_cloud_init = tool == "cloud-init";
            let tool = tool.to_owned();
            Some(
                match call(&Request {
                    tool,
                    args: args.clone(),
                }) {
                    // The real program has replaced this one meanwhile.
                    Ok(_) if is_cloud_init && distribution::is_installed() => {
                        let error = Command::new(CLOUD_INIT).args(args).exec();
                        finish(&Reply::failure(format!("cloud-init: {error}"), 1))
                    }
                    Ok(reply) => finish(&reply),
                    Err(error) => finish(&Reply::failure(
                        format!("cannot reach the init process of this machine: {error}"),
                        1,
                    )),
                },
            )
        }
        _ => None,
    }
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
