//! `autorun run`: settles everything, then lets the playbook run.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use log::LevelFilter;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "local-cloud")]
use super::local::Cloud;
use super::variables::{self, Given};
use super::{LogLevel, Output, RunArgs};
use crate::clients::{AwsOptions, Clients, Endpoints, Local};
use crate::context::{Context, Parts};
use crate::error::{Error, ErrorKind, exit};
use crate::ledger::Ledger;
use crate::playbook::{Playbook, diagnostic};
use crate::report::{self, Event, Reporter, Settings, text};
use crate::script::Understood;

/// The engine's own thread: deep call chains end in an error, not in a crash.
const STACK: usize = 16 << 20;

/// After the first signal the playbook has this long to stop.
const STOPS_WITHIN: Duration = Duration::from_millis(900);

/// Letters and digits of run ids: none that look alike, and no vowels, so
/// that no words arise.
const ID_LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";

pub(super) fn run(arguments: &RunArgs) -> anyhow::Result<u8> {
    check_there(&arguments.playbook)?;
    let id = new_id();
    let mut aws = aws_options(arguments)?;
    aws.app_name = Some(format!("autorun-{id}"));
    #[cfg(feature = "local-cloud")]
    let faults = arguments.faults.as_deref().map(super::local::read_faults);
    #[cfg(feature = "local-cloud")]
    let faults = faults.transpose()?;
    let report = Reporter::new(&id, settings(arguments)).map_err(|e| shown(&e))?;
    let playbook = match Playbook::load(&arguments.playbook) {
        Ok(playbook) => playbook,
        Err(failed) => {
            for error in failed.errors {
                let rendered = diagnostic::render_error(&error, &failed.texts);
                report.report(&Event::RunFailed { error, rendered });
            }
            return Ok(exit::COMPILE);
        }
    };
    let Some(values) = settle(arguments, &playbook, &report)? else {
        return Ok(exit::USAGE);
    };

    let runtime = Runtime::new().context("cannot start the runtime")?;
    #[cfg(feature = "local-cloud")]
    let local_cloud = match arguments.local {
        true => {
            let (cloud, started) = runtime.block_on(Cloud::find_or_start())?;
            cloud.introduce(started, &report);
            if let Some(faults) = &faults {
                runtime.block_on(cloud.set_faults(&id, faults))?;
            }
            aws = AwsOptions {
                app_name: aws.app_name,
                ..cloud.aws_options(aws.region)
            };
            Some(cloud)
        }
        false => None,
    };
    let cancel = CancellationToken::new();
    let local = local()?;
    let clients = Clients::new(aws, local, report.clone(), cancel.clone());
    let cx = Context::new(
        Parts {
            runtime: runtime.handle().clone(),
            clients,
            ledger: Ledger::new(&id, report.clone()),
            variables: values,
            cancel: cancel.clone(),
            playbook: playbook.path().to_owned(),
        },
        report.clone(),
    );
    watch_signals(&runtime, &cancel, &report)?;
    let code = execute(&runtime, playbook, &cx)?;
    #[cfg(feature = "local-cloud")]
    if let (Some(cloud), Some(_)) = (&local_cloud, &faults) {
        runtime.block_on(cloud.forget_faults(&id));
    }
    // Nothing is waited for any more: what is under way is on record.
    runtime.shutdown_background();
    Ok(code)
}

/// A playbook that is not there is wrong usage, perhaps a misspelt command.
fn check_there(playbook: &Path) -> anyhow::Result<()> {
    let Err(error) = std::fs::metadata(playbook) else {
        return Ok(());
    };
    let mut error = Error::io("read playbook", playbook, &error);
    let word = playbook.to_string_lossy();
    if let Some(near) = text::nearest(&word, ["run", "docs", "cloud", "completions"]) {
        error = error.hint(format!("did you mean the command `{near}`?"));
    }
    Err(shown(&error))
}

/// Runs the playbook on a thread of its own and reports how it ended.
fn execute(runtime: &Runtime, playbook: Playbook, cx: &Context) -> anyhow::Result<u8> {
    let started = Instant::now();
    let texts = playbook.texts();
    let source = playbook.path().to_owned();
    cx.report.report(&Event::RunStarted {
        playbook: source.clone(),
    });
    let (ended, end) = oneshot::channel();
    let engine_cx = cx.clone();
    thread::Builder::new()
        .name("playbook".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| playbook.run(&engine_cx));
            // The receiver is gone only when the run was given up.
            drop(ended.send(std::panic::catch_unwind(run)));
        })
        .context("cannot start a thread")?;
    let result = await_end(runtime, end, cx);
    let stopped = cx.cancel.is_cancelled();
    let (outcome, code) = match result {
        Some(Ok(())) => ("done", exit::DONE),
        Some(Err(failed)) if !stopped || failed.error.kind != ErrorKind::Cancelled => {
            let rendered = diagnostic::render(&failed, &texts);
            cx.report.report(&Event::RunFailed {
                error: failed.error,
                rendered,
            });
            ("failed", exit::FAILED)
        }
        _ => ("interrupted", exit::INTERRUPTED),
    };
    cx.report.report(&Event::RunFinished {
        outcome,
        seconds: started.elapsed().as_secs_f64(),
        up: cx.ledger.live(),
        possibly_made: cx.ledger.possibly_made(),
    });
    Ok(code)
}

type End = thread::Result<std::result::Result<(), Understood>>;

/// The playbook's end; nothing when it did not stop in time after a signal.
fn await_end(
    runtime: &Runtime,
    end: oneshot::Receiver<End>,
    cx: &Context,
) -> Option<std::result::Result<(), Understood>> {
    let end = runtime.block_on(async {
        let mut end = end;
        tokio::select! {
            end = &mut end => return end.ok(),
            () = cx.cancel.cancelled() => {}
        }
        tokio::time::timeout(STOPS_WITHIN, end).await.ok()?.ok()
    })?;
    Some(end.unwrap_or_else(|panic| Err(internal(&*panic))))
}

fn internal(panic: &(dyn std::any::Any + Send)) -> Understood {
    let said = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "no reason given".to_owned());
    let error = Error::internal(format!("a fault of autorun itself: {said}"))
        .hint("please report it with the playbook that shows it");
    Understood {
        error,
        trail: Vec::new(),
    }
}

/// The first signal stops the playbook, the second ends the process at once.
fn watch_signals(
    runtime: &Runtime,
    cancel: &CancellationToken,
    report: &Reporter,
) -> anyhow::Result<()> {
    let _inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let (cancel, report) = (cancel.clone(), report.clone());
    runtime.spawn(async move {
        let mut next = async || {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
        };
        next().await;
        report.warn("stopping; a second signal ends the program at once");
        cancel.cancel();
        next().await;
        #[expect(clippy::exit, reason = "the user wants out at once")]
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    Ok(())
}

/// The values of the playbook's variables; nothing when there are faults,
/// which are then reported.
fn settle(
    arguments: &RunArgs,
    playbook: &Playbook,
    report: &Reporter,
) -> anyhow::Result<Option<std::collections::BTreeMap<String, serde_json::Value>>> {
    let mut files = Vec::new();
    for path in &arguments.vars {
        files.push((
            path.display().to_string(),
            variables::read_file(path).map_err(|e| shown(&e))?,
        ));
    }
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix("AUTORUN_VAR_")?.to_owned();
        Some((name, value.into_string().ok()?))
    });
    let given = Given {
        set: &arguments.set,
        files,
        environment: environment.collect(),
    };
    match variables::settle(&playbook.variables, &given, report.mask()) {
        Ok(settled) => {
            settled
                .warnings
                .into_iter()
                .for_each(|warning| report.warn(warning));
            Ok(Some(settled.values))
        }
        Err(faults) => {
            let texts = playbook.texts();
            for error in faults {
                let rendered = diagnostic::render_error(&error, &texts);
                report.report(&Event::RunFailed { error, rendered });
            }
            Ok(None)
        }
    }
}

fn settings(arguments: &RunArgs) -> Settings {
    let given = arguments.log_level.map(|level| match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    });
    let console = match (arguments.verbose, arguments.quiet) {
        (true, _) => LevelFilter::Debug,
        (_, true) => LevelFilter::Warn,
        _ => given.unwrap_or(LevelFilter::Info),
    };
    let terminal = std::io::stderr().is_terminal();
    // https://no-color.org: any value but the empty one.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Settings {
        output: match arguments.output {
            Output::Human => report::Output::Human,
            Output::Json => report::Output::Json,
        },
        console,
        file: arguments.log_file.clone(),
        file_level: given.unwrap_or(LevelFilter::Debug),
        color: terminal && !no_color,
        terminal,
    }
}

fn aws_options(arguments: &RunArgs) -> anyhow::Result<AwsOptions> {
    let from_environment = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
    let mut endpoints = Endpoints {
        ec2: from_environment("AWS_ENDPOINT_URL_EC2"),
        s3: from_environment("AWS_ENDPOINT_URL_S3"),
        check_ip: from_environment("AWS_ENDPOINT_URL_CHECKIP"),
    };
    for given in &arguments.endpoint_url {
        let (service, url) = match given.split_once('=') {
            Some((service, url)) if !service.contains(':') => (service, url),
            _ => ("", given.as_str()),
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("`--endpoint-url {given}`: a URL begins with http:// or https://");
        }
        let url = Some(url.to_owned());
        match service {
            "" => (endpoints.ec2, endpoints.s3) = (url.clone(), url),
            "ec2" => endpoints.ec2 = url,
            "s3" => endpoints.s3 = url,
            "checkip" => endpoints.check_ip = url,
            other => bail!(
                "`--endpoint-url {given}`: unknown service `{other}`\nhint: use ec2, s3 or checkip"
            ),
        }
    }
    Ok(AwsOptions {
        profile: arguments.profile.clone(),
        region: arguments.region.clone(),
        endpoints,
        ..AwsOptions::default()
    })
}

/// Where keys, pins and the own local cloud are kept.
pub(super) fn data_dir() -> anyhow::Result<PathBuf> {
    std::env::var_os("AUTORUN_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| dirs::data_dir().map(|dir| dir.join("autorun")))
        .context("no data directory is known\nhint: set HOME or AUTORUN_HOME")
}

fn local() -> anyhow::Result<Local> {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    Ok(Local {
        data_dir: data_dir()?,
        home: dirs::home_dir(),
        user,
    })
}

fn new_id() -> String {
    (0..7)
        .map(|_| char::from(ID_LETTERS[rand::random_range(0..ID_LETTERS.len())]))
        .collect()
}

/// An error of ours for the command line: message and hint.
pub(super) fn shown(error: &Error) -> anyhow::Error {
    match &error.hint {
        Some(hint) => anyhow::anyhow!("{error}\nhint: {hint}"),
        None => anyhow::anyhow!("{error}"),
    }
}
