//! Places at which the tests end the program as a power cut would.
//!
//! Without the feature `crash-points`, which only the tests turn on, there is
//! nothing here. With it, `AUTORUN_CRASH_LOG` is a file that gets the name of
//! every place reached, and `AUTORUN_CRASH_AT` the number of the place at which
//! the program is killed.

/// Marks a place. Whatever was done before it must survive a kill, and nothing
/// after it has happened.
#[cfg(not(feature = "crash-points"))]
pub fn reached(_place: &str) {}

#[cfg(feature = "crash-points")]
pub use points::reached;

#[cfg(feature = "crash-points")]
mod points {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::{LazyLock, Mutex, PoisonError};

    struct Points {
        seen: u64,
        last: Option<u64>,
        log: Option<File>,
    }

    static POINTS: LazyLock<Mutex<Points>> = LazyLock::new(|| {
        let log = std::env::var_os("AUTORUN_CRASH_LOG");
        let last = std::env::var("AUTORUN_CRASH_AT").ok();
        Mutex::new(Points {
            seen: 0,
            last: last.and_then(|last| last.parse().ok()),
            log: log.and_then(|path| OpenOptions::new().append(true).create(true).open(path).ok()),
        })
    });

    /// Marks a place, and ends the program if it is the one to end at.
    pub fn reached(place: &str) {
        let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
        points.seen += 1;
        if let Some(log) = &mut points.log {
            drop(writeln!(log, "{place}"));
        }
        if points.last == Some(points.seen) {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            // The lock is held, so that no other thread goes further.
            loop {
                std::thread::park();
            }
        }
    }
}
