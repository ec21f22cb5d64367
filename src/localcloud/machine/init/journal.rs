//! Output of programs without a terminal: `/dev/console` goes to the console,
//! `/dev/log` to `/var/log/messages`.

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

/// Copies `/dev/console` until the machine ends.
pub(super) async fn console(console: Console) -> io::Result<()> {
    // Also open for writing, so that there is no end of file when the last
    // writer closes it.
    let mut fifo = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver("/dev/console")?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = fifo.read(&mut buffer).await?;
        console.write(&buffer[..length]);
        // Other tasks of the machine must run even during a flood of output.
        tokio::task::yield_now().await;
    }
}

/// Copies `/dev/log` until the machine ends.
pub(super) async fn log() -> io::Result<()> {
    let socket = UnixDatagram::bind(SOCKET)?;
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666))?;
    let mut file: Option<File> = None;
    let mut buffer = vec![0; 8192];
    loop {
        let length = socket.recv(&mut buffer).await?;
        file = file.or_else(|| files::append(LOG, 0o640).ok());
        // A message that cannot be written is lost; the next one may succeed.
        file = file.filter(|mut file| file.write_all(line(&buffer[..length]).as_bytes()).is_ok());
        tokio::task::yield_now().await;
    }
}

/// Returns the message as one line without its priority.
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
