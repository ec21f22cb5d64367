//! Where programs without a terminal write to: `/dev/console`, which goes to the
//! console, and `/dev/log`, which goes to `/var/log/messages`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;

use tokio::io::AsyncReadExt;
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe;

use super::super::super::files;
use super::console::Console;

const SOCKET: &str = "/run/systemd/journal/dev-log";
const LOG: &str = "/var/log/messages";

/// Copies `/dev/console` for ever.
pub(super) async fn console(console: Console) -> io::Result<()> {
    // For reading and writing: so there is no end when the last writer goes.
    let mut fifo = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver("/dev/console")?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = fifo.read(&mut buffer).await?;
        console.write(&buffer[..length]);
        // A flood must leave time for the rest of the machine.
        tokio::task::yield_now().await;
    }
}

/// Copies `/dev/log` for ever.
pub(super) async fn log() -> io::Result<()> {
    let socket = UnixDatagram::bind(SOCKET)?;
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666))?;
    let mut file: Option<File> = None;
    let mut buffer = vec![0; 8192];
    loop {
        let length = socket.recv(&mut buffer).await?;
        file = file.or_else(|| files::append(LOG, 0o640).ok());
        // A message for which there is no place is lost; the next may have one.
        file = file.filter(|mut file| file.write_all(line(&buffer[..length]).as_bytes()).is_ok());
        tokio::task::yield_now().await;
    }
}

/// The message without its priority, as one line.
fn line(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let text = text.trim_end_matches(['\0', '\n']);
    let text = match text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((priority, rest)) if priority.parse::<u16>().is_ok() => rest,
        _ => text,
    };
    format!("{}\n", text.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn messages_become_lines() {
        assert_eq!(
            line(b"<13>Jan  1 00:00:00 me: hi\0"),
            "Jan  1 00:00:00 me: hi\n"
        );
        assert_eq!(line(b"a\nb"), "a\\nb\n");
    }
}
