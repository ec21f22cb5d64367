//! Points at which the tests kill the program, as a power cut would.
//!
//! Without the feature `crash-points`, which only the tests enable, [`reached`]
//! does nothing. With it, `AUTORUN_CRASH_LOG` names a file to which the name of
//! every point reached is appended, and `AUTORUN_CRASH_AT` is the number of the
//! point at which the program is killed. With `AUTORUN_CRASH_BY=STOP`, it is stopped
//! there instead, until it gets SIGCONT.

/// Marks a crash point. Everything done before it must survive a kill; nothing
/// after it has happened yet.
#[cfg(not(feature = "crash-points"))]
pub fn reached(_place: &str) {}

#[cfg(feature = "crash-points")]
pub use points::reached;

#[cfg(feature = "crash-points")]
mod points {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    struct Points {
        seen: u64,
        last: Option<u64>,
        signal: Signal,
        log: Option<File>,
    }

    static POINTS: LazyLock<Mutex<Points>> = LazyLock::new(|| {
        let log = std::env::var_os("AUTORUN_CRASH_LOG");
        let last = std::env::var("AUTORUN_CRASH_AT").ok();
        Mutex::new(Points {
            seen: 0,
            last: last.and_then(|last| last.parse().ok()),
            signal: match std::env::var("AUTORUN_CRASH_BY").as_deref() {
                Ok("STOP") => Signal::STOP,
                _ => Signal::KILL,
            },
            log: log.and_then(|path| OpenOptions::new().append(true).create(true).open(path).ok()),
        })
    });

    /// Marks a crash point, and kills the program if it is the selected one.
    pub fn reached(place: &str) {
        let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
        points.seen += 1;
        if let Some(log) = &mut points.log {
            drop(writeln!(log, "{place}"));
        }
        if points.last == Some(points.seen) {
            let _ = kill_process(getpid(), points.signal);
            if points.signal == Signal::STOP {
                return;
            }
            // This thread holds the lock, so no other thread gets past a crash
            // point.
            loop {
                std::thread::park();
            }
        }
    }
}
