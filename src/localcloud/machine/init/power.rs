//! Shutdown: `shutdown` with its times, `poweroff`, `reboot`, `halt`.

use std::time::Duration;

use super::super::super::files;
use super::super::boot::Ending;

/// The request of one of these programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// End the machine after a delay.
    End(Ending, Delay),
    /// Cancel the planned shutdown.
    Cancel,
    /// Only warn users, which has no effect here.
    Warn,
}

/// The time of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delay {
    Now,
    After(Duration),
    /// The next time that the machine's clock shows this hour and minute.
    At(i8, i8),
}

impl Delay {
    /// Returns the time left.
    pub(super) fn left(self) -> Duration {
        match self {
            Self::Now => Duration::ZERO,
            Self::After(duration) => duration,
            Self::At(hour, minute) => until(&files::now(), hour, minute),
        }
    }
}

/// Parses the arguments of `shutdown`.
pub(super) fn shutdown(args: &[String]) -> Result<Request, String> {
    let mut ending = Ending::PowerOff;
    let mut request = None;
    let mut when = None;
    for arg in args {
        match arg.as_str() {
            "-h" | "-P" | "-H" | "--poweroff" | "--halt" => ending = Ending::PowerOff,
            "-r" | "--reboot" => ending = Ending::Reboot,
            "-c" | "--cancel" => request = Some(Request::Cancel),
            "-k" => request = Some(Request::Warn),
            "-f" | "-F" | "-n" | "--no-wall" | "--show" => {}
            option if option.starts_with('-') => {
                return Err(format!("shutdown: unrecognized option '{option}'"));
            }
            // The arguments after the time are a message for users.
            time if when.is_none() => when = Some(delay(time)?),
            _ => {}
        }
    }
    let minute = Delay::After(Duration::from_secs(60));
    Ok(request.unwrap_or(Request::End(ending, when.unwrap_or(minute))))
}

fn delay(text: &str) -> Result<Delay, String> {
    let wrong = || format!("Failed to parse time specification: {text}");
    if text == "now" {
        return Ok(Delay::Now);
    }
    if let Some((hour, minute)) = text.split_once(':') {
        let time = (hour.parse(), minute.parse());
        return match time {
            (Ok(hour @ 0..24), Ok(minute @ 0..60)) => Ok(Delay::At(hour, minute)),
            _ => Err(wrong()),
        };
    }
    let minutes: u32 = text.trim_start_matches('+').parse().map_err(|_| wrong())?;
    match minutes {
        0 => Ok(Delay::Now),
        minutes => Ok(Delay::After(Duration::from_secs(60 * u64::from(minutes)))),
    }
}

fn until(now: &jiff::Zoned, hour: i8, minute: i8) -> Duration {
    let today = now
        .with()
        .hour(hour)
        .minute(minute)
        .second(0)
        .subsec_nanosecond(0);
    let Ok(then) = today.build() else {
        return Duration::ZERO;
    };
    let then = if then > *now {
        then
    } else {
        then.tomorrow().unwrap_or(then)
    };
    Duration::try_from(now.duration_until(&then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Request, String> {
        let args: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        shutdown(&args)
    }

    #[test]
    fn shutdown_understands_its_times() {
        let minutes = |n: u64| Delay::After(Duration::from_secs(60 * n));
        let end = |ending, delay| Ok(Request::End(ending, delay));
        assert_eq!(asked("-h now"), end(Ending::PowerOff, Delay::Now));
        assert_eq!(asked("-r +5 see you"), end(Ending::Reboot, minutes(5)));
        assert_eq!(asked("-r 23:05"), end(Ending::Reboot, Delay::At(23, 5)));
        assert_eq!(asked(""), end(Ending::PowerOff, minutes(1)));
        assert_eq!(asked("-c"), Ok(Request::Cancel));
        assert!(asked("-h 25:00").is_err());
        assert!(asked("--nonsense now").is_err());
    }

    #[test]
    fn a_time_that_has_passed_is_tomorrows() {
        let now = jiff::civil::date(2026, 3, 1).at(12, 0, 30, 0);
        let now = now.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        assert_eq!(until(&now, 12, 1), Duration::from_secs(30));
        assert_eq!(until(&now, 12, 0), Duration::from_secs(24 * 3600 - 30));
    }
}
