//! Output of programs without a terminal: `/dev/console` goes to the console,
//! `/dev/log` and the sockets of systemd's journal to the journal.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use super::super::super::files;
use super::super::journal::{INFO, Journal, Source, split_priority};
use super::super::units::Manager;
use super::console::Console;

const SYSLOG: &str = "/run/systemd/journal/dev-log";
const NATIVE: &str = "/run/systemd/journal/socket";
const STREAMS: &str = "/run/systemd/journal/stdout";
const LOG: &str = "/var/log/messages";

/// The maximum number of programs such as `systemd-cat` at a time.
const MOST_STREAMS: usize = 128;

/// The priority of syslog messages that do not have one.
const NOTICE: u8 = 5;

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

/// Copies `/dev/log` to the journal and to a file until the machine ends.
pub(super) async fn syslog(journal: Journal, units: Manager) -> io::Result<()> {
    let socket = for_all_users(UnixDatagram::bind(SYSLOG)?, SYSLOG)?;
    let mut file: Option<File> = None;
    let mut buffer = vec![0; 8192];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let (priority, text) = split_priority(text.trim_end_matches(['\0', '\n']));
        file = file.or_else(|| files::append(LOG, 0o640).ok());
        // A message that cannot be written is lost; the next one may succeed.
        let line = format!("{}\n", text.replace('\n', "\\n"));
        file = file.filter(|mut file| file.write_all(line.as_bytes()).is_ok());
        let (mut source, message) = split_tag(text);
        source.unit = source.pid.and_then(|pid| units.unit_of(pid));
        journal.write(&source, priority.unwrap_or(NOTICE), message);
        tokio::task::yield_now().await;
    }
}

/// Copies messages of systemd's own protocol until the machine ends.
pub(super) async fn native(journal: Journal, units: Manager) -> io::Result<()> {
    let socket = for_all_users(UnixDatagram::bind(NATIVE)?, NATIVE)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let mut source = Source::default();
        let (mut priority, mut message) = (INFO, None);
        for (key, value) in fields(&buffer[..length]) {
            match key.as_str() {
                "MESSAGE" => message = Some(value),
                "PRIORITY" => priority = value.parse().ok().filter(|n| *n < 8).unwrap_or(INFO),
                "SYSLOG_IDENTIFIER" => source.identifier = value,
                "SYSLOG_PID" => source.pid = value.parse().ok(),
                _ => {}
            }
        }
        source.unit = source.pid.and_then(|pid| units.unit_of(pid));
        if let Some(message) = message {
            journal.write(&source, priority, &message);
        }
        tokio::task::yield_now().await;
    }
}

/// Serves programs such as `systemd-cat`, which write lines to the journal.
pub(super) async fn streams(journal: Journal) -> io::Result<()> {
    let listener = for_all_users(UnixListener::bind(STREAMS)?, STREAMS)?;
    let places = Arc::new(Semaphore::new(MOST_STREAMS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let (stream, _) = listener.accept().await?;
        let journal = journal.clone();
        spawn_local(async move {
            if let Err(error) = journal_of(stream, &journal).await {
                log::debug!("cannot read a stream for the journal: {error}");
            }
            drop(place);
        });
    }
}

/// Reads the header of a stream, then its lines.
async fn journal_of(stream: UnixStream, journal: &Journal) -> io::Result<()> {
    let pid = stream.peer_cred()?.pid();
    let mut reader = BufReader::new(stream);
    // Name, unit, priority, whether lines have priorities, three targets.
    let mut header: [String; 7] = Default::default();
    for line in &mut header {
        (&mut reader).take(1024).read_line(line).await?;
    }
    let [identifier, unit, priority, ..] = header;
    let source = Source {
        identifier: identifier.trim().to_owned(),
        pid,
        unit: Some(unit.trim().to_owned()).filter(|unit| !unit.is_empty()),
    };
    let priority = priority.trim().parse().ok().filter(|number| *number < 8);
    journal
        .copy(&source, priority.unwrap_or(INFO), reader)
        .await
}

fn for_all_users<T>(socket: T, path: &str) -> io::Result<T> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// Splits the time and the program's name from a message such as `Jan  1
/// 00:00:00 cron[7]: hi`.
fn split_tag(text: &str) -> (Source, &str) {
    let has_time = text.is_char_boundary(16) && text.get(6..7) == Some(" ");
    let text = if has_time {
        text.get(16..).unwrap_or(text)
    } else {
        text
    };
    let Some((tag, message)) = text.split_once(": ") else {
        return (Source::default(), text);
    };
    let (name, pid) = match tag.strip_suffix(']').and_then(|tag| tag.split_once('[')) {
        Some((name, pid)) => (name, pid.parse().ok()),
        None => (tag, None),
    };
    if name.contains(char::is_whitespace) {
        return (Source::default(), text);
    }
    let source = Source {
        identifier: name.to_owned(),
        pid,
        unit: None,
    };
    (source, message)
}

/// Returns the fields of a message: lines `KEY=value`, or `KEY`, a length in 8
/// bytes and a value that may contain line breaks.
fn fields(mut data: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = Vec::new();
    while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&data[..end], &data[end + 1..]);
        data = rest;
        if let Some(at) = line.iter().position(|byte| *byte == b'=') {
            fields.push((text(&line[..at]), text(&line[at + 1..])));
            continue;
        }
        let Some((length, rest)) = rest.split_first_chunk::<8>() else {
            break;
        };
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some(value) = rest.get(..length) else {
            break;
        };
        fields.push((text(line), text(value)));
        data = rest.get(length + 1..).unwrap_or_default();
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_messages_have_a_time_and_a_tag() {
        let split = |text| {
            let (source, message) = split_tag(text);
            (source.identifier, source.pid, message)
        };
        let name = |name: &str| name.to_owned();
        let expected = (name("cron"), Some(7), "hi: there");
        assert_eq!(split("Jan  1 00:00:00 cron[7]: hi: there"), expected);
        assert_eq!(split("me: hi"), (name("me"), None, "hi"));
        assert_eq!(
            split("no tag here: hi"),
            (name(""), None, "no tag here: hi")
        );
        assert_eq!(split("ääääääääää"), (name(""), None, "ääääääääää"));
    }

    #[test]
    fn native_messages_have_fields() {
        let mut data = b"PRIORITY=3\nMESSAGE\n".to_vec();
        data.extend(7_u64.to_le_bytes());
        data.extend(b"one\ntwo\nA=b=c\n");
        let expected = [("PRIORITY", "3"), ("MESSAGE", "one\ntwo"), ("A", "b=c")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(fields(&data), expected);
        assert_eq!(fields(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff"), []);
        assert_eq!(fields(b"x"), []);
    }
}
