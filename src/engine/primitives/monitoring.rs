//! Monitoring of a server: availability, latency, and load of the host.

use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hosts::target;
use super::rehearsed::{is_outside, is_url_outside};
use super::servers::explained;
use crate::clients::http::without_password;
use crate::clients::ssh::{self, Command, Program};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, text};
use crate::script::{self, Declared, Outcome, Seconds, Shape, integer, seconds};

#[export_module(manifest)]
pub mod api {
    /// Requests a URL once and returns the outcome.
    ///
    /// A server that does not answer, or answers with another status, is not an
    /// error: `ok` in the map is false and `error` has the reason.
    ///
    /// Throws `invalid_option` if `url` is not a valid URL.
    ///
    /// ```rhai
    /// let sample = probe("http://192.0.2.10/", #{ timeout: 5 });
    /// if !sample.ok { log_warn(sample.error); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn probe(call: NativeCallContext, url: ImmutableString, options: Map) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::probe(cx, &url, script::options(&call, options)?).await
        })
    }

    /// Measures the load of a Linux host over ssh.
    ///
    /// It measures the CPU, the memory, the disk and the load average. `server`
    /// is a map that `launch_instance` or `host` returned, or an address.
    /// Nothing is installed on the host.
    ///
    /// Throws:
    ///
    /// - `command_failed` if the host does not run Linux;
    /// - `unreachable` if there is no connection;
    /// - `timeout` if the measurement takes longer than 30 seconds;
    /// - `denied` if the login is refused;
    /// - `host_key_changed` if the host key is not the known one.
    ///
    /// ```rhai
    /// let host = host_metrics(host("192.0.2.10"));
    /// print(`${host.cpu} % cpu, ${host.disk} % of the disk`);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn host_metrics(call: NativeCallContext, server: Dynamic) -> Outcome<Dynamic> {
        script::run(&call, async |cx| super::host_metrics(cx, &server).await)
    }

    /// Prints a line for the newest sample.
    ///
    /// `samples` is an array of maps that `probe` returned, oldest first. You
    /// can add keys to a sample: `host` (the map that `host_metrics` returned),
    /// `check` (bool: whether a check of your own succeeded), `state` (string:
    /// the state of the instance) and `note` (string). On a terminal, a graph
    /// of the last latencies stays below the log. The line is printed on
    /// stdout. With `--output json`, it is an event `sample` with all keys of
    /// the sample.
    ///
    /// Throws `invalid_option` if the array is empty or a sample lacks a key.
    ///
    /// ```rhai
    /// let sample = probe("http://192.0.2.10/", #{ timeout: 5 });
    /// sample.check = true;
    /// show_samples([sample]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn show_samples(call: NativeCallContext, samples: Array) -> Outcome<Dynamic> {
        script::run_quietly(&call, |cx| super::show_samples(cx, samples))
    }

    /// Computes availability and latencies from samples.
    ///
    /// `samples` is an array of maps with `ok` and `seconds`, as `probe`
    /// returns them. Latencies are in seconds and only count the samples that
    /// are `ok`; they are `()` if no sample is.
    ///
    /// Throws `invalid_option` if the array is empty or a sample lacks a key.
    ///
    /// ```rhai
    /// let samples = [#{ ok: true, seconds: 0.2 }, #{ ok: false, seconds: 1.0 }];
    /// assert(summary(samples).availability == 50.0);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn summary(call: NativeCallContext, samples: Array) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| {
            let samples: Vec<Sample> = script::argument("samples", &samples.into())?;
            super::summary(&samples)
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("probe")
        .options::<Probe>()
        .returns::<Probed>(Shape::One),
    Declared::of("host_metrics").returns::<Metrics>(Shape::One),
    Declared::of("summary").returns::<Summary>(Shape::One),
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {
    /// Limit for the whole request.
    #[serde(default = "seconds::<10>")]
    timeout: Seconds,
    /// The status that counts as `ok`.
    #[serde(default = "integer::<200>")]
    status: i64,
    /// Text that the body must contain to be `ok`.
    contains: Option<String>,
}

/// The map that `probe` returns.
#[derive(Debug, Serialize, JsonSchema)]
struct Probed {
    /// Time of the request in UTC.
    time: String,
    /// The requested URL.
    url: String,
    /// Whether the answer has the expected status and text.
    ok: bool,
    /// HTTP status; `()` without an answer.
    status: Option<i64>,
    /// Seconds from the request to the end of the answer.
    seconds: f64,
    /// The reason for the failure; `()` if `ok` is true.
    error: Option<String>,
}

/// The keys of a sample that `summary` uses.
#[derive(Debug, Deserialize)]
struct Sample {
    ok: bool,
    seconds: f64,
}

/// The keys of a sample that `show_samples` prints.
#[derive(Debug, Deserialize)]
struct Newest {
    ok: bool,
    seconds: Seconds,
    time: String,
    status: Option<i64>,
    error: Option<String>,
    host: Option<Metrics>,
    check: Option<bool>,
    state: Option<String>,
    note: Option<String>,
}

/// How many samples a graph shows.
const GRAPH: usize = 32;

/// The map that `summary` returns.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Summary {
    /// Number of samples.
    samples: usize,
    /// Number of samples that are not `ok`.
    failures: usize,
    /// Percentage of samples that are `ok`.
    availability: f64,
    /// Median latency.
    p50: Option<f64>,
    /// 95th percentile of the latencies.
    p95: Option<f64>,
    /// 99th percentile of the latencies.
    p99: Option<f64>,
    /// The shortest latency.
    least: Option<f64>,
    /// The longest latency.
    most: Option<f64>,
}

/// The map that `host_metrics` returns.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Metrics {
    /// CPU usage in percent, measured over 0.2 seconds.
    cpu: f64,
    /// Used memory in percent.
    memory: f64,
    /// Used space in percent of the file system at `/`.
    disk: f64,
    /// Load average of the last minute.
    load: f64,
    /// Size of the memory in bytes.
    memory_total: i64,
    /// Size of the file system at `/` in bytes.
    disk_total: i64,
    /// Seconds since the host booted.
    uptime: f64,
}

async fn probe(cx: &Context, url: &str, options: Probe) -> Result<Probed> {
    let timeout = options.timeout.duration();
    let time = jiff::Timestamp::now().to_string();
    if is_url_outside(cx, url) {
        cx.assume(
            format!("GET {}", without_password(url)),
            "the expected answer",
        );
        return Ok(Probed {
            time,
            url: url.to_owned(),
            ok: true,
            status: Some(options.status),
            seconds: 0.0,
            error: None,
        });
    }
    let started = Instant::now();
    let answer = cx.clients.http().get(url, timeout).await;
    let seconds = started.elapsed().as_secs_f64();
    let (status, error) = match answer {
        Ok(answer) if answer.status != options.status => (
            Some(answer.status),
            Some(format!(
                "HTTP {} instead of {}",
                answer.status, options.status
            )),
        ),
        Ok(answer) => {
            let missing = options.contains.filter(|text| !answer.body.contains(text));
            let error = missing.map(|text| format!("the answer does not contain `{text}`"));
            (Some(answer.status), error)
        }
        Err(error) if matches!(error.kind, ErrorKind::InvalidOption | ErrorKind::Cancelled) => {
            return Err(error);
        }
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Probed {
        time,
        url: url.to_owned(),
        ok: error.is_none(),
        status,
        seconds,
        error,
    })
}

/// Reads everything in one command. The CPU counters are read twice, because
/// usage is their difference.
const MEASURE: &str = "\
head -n 1 /proc/stat && sleep 0.2 && head -n 1 /proc/stat && \
cat /proc/loadavg /proc/uptime && \
grep -E '^(MemTotal|MemAvailable):' /proc/meminfo && df -Pk / | tail -n 1";

async fn host_metrics(cx: &Context, server: &Dynamic) -> Result<Metrics> {
    let host = target(cx, server).await?;
    if is_outside(cx, &host) {
        cx.assume(format!("measure {}", host.name), "an idle host");
        return Ok(Metrics::default());
    }
    let command = Command {
        program: Program::Own(MEASURE.to_owned()),
        timeout: Some(Duration::from_secs(30)),
        ..Command::default()
    };
    let finished = match cx.clients.ssh().run(&host, command, &cx.report).await {
        Err(error) => return Err(explained(cx, &host, error).await),
        Ok(finished) => finished,
    };
    let output = String::from_utf8_lossy(&finished.stdout);
    metrics(&output).ok_or_else(|| {
        Error::new(
            ErrorKind::CommandFailed,
            format!(
                "cannot measure {}: {}",
                host.name,
                ssh::tail(&finished.stderr, 3)
            ),
        )
        .hint("host_metrics needs a Linux host, because it reads /proc")
    })
}

/// Parses the output of [`MEASURE`].
fn metrics(output: &str) -> Option<Metrics> {
    let mut lines = output.lines();
    let mut next = || -> Option<Vec<&str>> { Some(lines.next()?.split_whitespace().collect()) };
    let (before, after) = (next()?, next()?);
    let (load, uptime) = (next()?, next()?);
    let (total, available) = (next()?, next()?);
    let disk = next()?;
    let number = |words: &[&str], at: usize| words.get(at)?.parse::<f64>().ok();
    let counters = |words: &[&str]| -> Option<(f64, f64)> {
        let all: Vec<f64> = words
            .get(1..)?
            .iter()
            .filter_map(|n| n.parse().ok())
            .collect();
        // The idle time includes the time waiting for a disk. The columns after
        // the first eight (guests) are contained in them.
        let idle = all.get(3)? + all.get(4)?;
        Some((all.iter().take(8).sum(), idle))
    };
    let ((all, idle), (all_later, idle_later)) = (counters(&before)?, counters(&after)?);
    let passed = all_later - all;
    let busy = if passed > 0.0 {
        100.0 * (1.0 - (idle_later - idle) / passed)
    } else {
        0.0
    };
    let (memory, free) = (number(&total, 1)?, number(&available, 1)?);
    let (blocks, used) = (number(&disk, 1)?, number(&disk, 2)?);
    #[expect(clippy::cast_possible_truncation, reason = "sizes of disks fit")]
    let bytes = |kib: f64| (kib * 1024.0) as i64;
    let tenth = |n: f64| (n * 10.0).round() / 10.0;
    Some(Metrics {
        cpu: tenth(busy.clamp(0.0, 100.0)),
        memory: tenth(100.0 * (memory - free) / memory),
        disk: tenth(100.0 * used / blocks),
        load: number(&load, 0)?,
        memory_total: bytes(memory),
        disk_total: bytes(blocks),
        uptime: number(&uptime, 0)?,
    })
}

fn show_samples(cx: &Context, mut samples: Array) -> Result<()> {
    let last = samples.split_off(samples.len().saturating_sub(GRAPH));
    let newest = last
        .last()
        .ok_or_else(|| Error::invalid("argument `samples`: the array is empty"))?;
    let sample = script::to_json(newest)?;
    let newest: Newest = script::argument("samples", newest)?;
    let latencies = last
        .iter()
        .map(|sample| {
            let sample: Sample = script::argument("samples", sample)?;
            Ok(sample.ok.then_some(sample.seconds))
        })
        .collect::<Result<Vec<_>>>()?;
    cx.report.report(&Event::Sampled {
        sample,
        line: line(&newest),
        latencies,
    });
    Ok(())
}

/// Formats `02:40:00Z 200 in 12 ms, check ok, cpu 3 %, mem 20 %, disk 11 %, ..`.
/// Figures are rounded to keep most lines within 80 columns.
fn line(newest: &Newest) -> String {
    let time = newest.time.split('T').nth(1).unwrap_or(&newest.time);
    let time = time.split(['.', 'Z']).next().unwrap_or(time);
    let took = text::duration(newest.seconds.duration());
    let answer = match (newest.ok, newest.status, &newest.error) {
        (true, Some(status), _) => format!("{status} in {took}"),
        (true, None, _) => format!("ok in {took}"),
        (false, _, Some(error)) => format!("down: {error}"),
        (false, _, None) => "down".to_owned(),
    };
    let mut parts = vec![answer];
    if let Some(check) = newest.check {
        let verdict = if check { "ok" } else { "failed" };
        parts.push(format!("check {verdict}"));
    }
    if let Some(host) = &newest.host {
        parts.push(format!(
            "cpu {:.0} %, mem {:.0} %, disk {:.0} %, load {:.1}",
            host.cpu, host.memory, host.disk, host.load
        ));
    }
    parts.extend(newest.state.clone());
    parts.extend(newest.note.clone());
    format!("{time}Z {}", parts.join(", "))
}

fn summary(samples: &[Sample]) -> Result<Summary> {
    if samples.is_empty() {
        return Err(Error::invalid("argument `samples`: the array is empty"));
    }
    let mut latencies: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.ok)
        .map(|sample| sample.seconds)
        .collect();
    latencies.sort_by(f64::total_cmp);
    // Nearest-rank percentile: the smallest latency that at least so many percent
    // of the latencies do not exceed.
    let percentile = |percent: usize| {
        let rank = (latencies.len() * percent).div_ceil(100);
        latencies.get(rank.saturating_sub(1)).copied()
    };
    #[expect(clippy::cast_precision_loss, reason = "numbers of samples are small")]
    let availability = 100.0 * latencies.len() as f64 / samples.len() as f64;
    Ok(Summary {
        samples: samples.len(),
        failures: samples.len() - latencies.len(),
        availability,
        p50: percentile(50),
        p95: percentile(95),
        p99: percentile(99),
        least: latencies.first().copied(),
        most: latencies.last().copied(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_host_is_measured() {
        let output = "\
cpu  100 0 100 700 100 0 0 0 0 0
cpu  110 0 110 770 110 0 0 0 0 0
0.50 0.40 0.30 1/200 4711
12345.67 99999.99
MemTotal:        1000000 kB
MemAvailable:     250000 kB
/dev/vda1  2000000 500000 1500000 25% /
";
        let seen = metrics(output).unwrap();
        assert!((seen.cpu - 20.0).abs() < 0.01, "{seen:?}");
        assert!((seen.memory - 75.0).abs() < 0.01, "{seen:?}");
        assert!((seen.disk - 25.0).abs() < 0.01, "{seen:?}");
        assert_eq!(
            (seen.memory_total, seen.disk_total),
            (1_024_000_000, 2_048_000_000)
        );
        assert!(metrics("no Linux at all").is_none());
    }

    #[test]
    fn percentiles_ignore_failed_samples() {
        let sample = |ok, seconds| Sample { ok, seconds };
        let mut samples: Vec<Sample> = (1..=100)
            .map(|n| sample(true, f64::from(n) / 100.0))
            .collect();
        samples.push(sample(false, 30.0));
        let seen = summary(&samples).unwrap();
        assert_eq!((seen.samples, seen.failures), (101, 1));
        assert_eq!(
            (seen.p50, seen.p95, seen.p99),
            (Some(0.5), Some(0.95), Some(0.99))
        );
        assert_eq!((seen.least, seen.most), (Some(0.01), Some(1.0)));
        let none = summary(&[sample(false, 1.0)]).unwrap();
        assert_eq!((none.availability.to_bits(), none.p50), (0, None));
        assert!(summary(&[]).is_err());
    }
}
