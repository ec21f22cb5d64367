//! `autorun cloud`: the local cloud's background process.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use autorun_localcloud::home;
use reqwest::Method;

use super::args::CloudCommand;
use super::faults::read_faults;
use super::local::{Cloud, CloudNeed, sudo_user};
use super::output::{answer, complain};
use super::sudo::Sudo;
use crate::error::exit;
use crate::report::text;

/// How long the instances may take to shut down.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn cloud(command: &CloudCommand) -> anyhow::Result<u8> {
    if matches!(command, CloudCommand::Doctor) {
        return doctor();
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        match command {
            CloudCommand::Up { faults } => up(faults.as_deref()).await,
            CloudCommand::Down => down().await,
            CloudCommand::Status => status().await,
            CloudCommand::Env => env().await,
            CloudCommand::Doctor => Ok(exit::DONE),
        }
    })
}

async fn up(faults: Option<&Path>) -> anyhow::Result<u8> {
    let faults = faults.map(read_faults).transpose()?;
    let (cloud, started) = Cloud::find_or_start(CloudNeed::Records, Sudo::Ask).await?;
    // The user who called sudo can then use the local cloud without sudo.
    let user = sudo_user();
    if let (Some((uid, gid)), false) = (user, started) {
        cloud
            .home
            .grant(uid, gid, &cloud.access)
            .context("cannot write the access file")?;
    }
    if let Some(faults) = &faults {
        cloud.set_faults(None, faults).await?;
    }
    let mut out = format!(
        "the local cloud is {} at {}\n",
        if started { "up" } else { "already up" },
        cloud.access.endpoint
    );
    let (uid, _) = user.unwrap_or_else(home::user);
    let file = cloud.home.access_file(uid);
    let _ = writeln!(out, "access key: {}", file.display());
    if cloud.status["boots"] == true {
        out.push_str("  it gives access to the instances: protect it like a password\n");
    } else if let Some(why) = cloud.status["cannot_boot"].as_str() {
        let _ = writeln!(out, "{why}");
    }
    answer(&out);
    Ok(exit::DONE)
}

async fn down() -> anyhow::Result<u8> {
    let Some(cloud) = Cloud::find().await? else {
        answer("no local cloud is up\n");
        return Ok(exit::DONE);
    };
    cloud.ask(Method::POST, "down").await?;
    let began = Instant::now();
    let mut pause = Duration::from_millis(10);
    while home::is_running(cloud.access.pid) {
        if began.elapsed() > ENDS_WITHIN {
            let log = cloud.home.log();
            bail!(
                "the local cloud (process {}) does not stop; its log is {}",
                cloud.access.pid,
                log.display()
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
    answer("the local cloud is down; buckets and disks stay\n");
    Ok(exit::DONE)
}

async fn status() -> anyhow::Result<u8> {
    let Some(cloud) = Cloud::find().await? else {
        complain("no local cloud is up\nhint: `autorun cloud up` starts one");
        return Ok(exit::FAILED);
    };
    let known = &cloud.status;
    let mut out = format!(
        "endpoint   {}\nprocess    {}\nlog        {}\n",
        cloud.access.endpoint,
        cloud.access.pid,
        cloud.home.log().display()
    );
    if known["boots"] == true {
        let _ = writeln!(
            out,
            "system     {}",
            known["system"].as_str().unwrap_or("?")
        );
        let _ = writeln!(
            out,
            "network    {}",
            known["subnet"].as_str().unwrap_or("?")
        );
    } else {
        let _ = writeln!(
            out,
            "instances  none: {}",
            known["cannot_boot"].as_str().unwrap_or("?")
        );
    }
    let listed = cloud.ask(Method::GET, "instances").await?;
    for instance in listed.as_array().into_iter().flatten() {
        let word = |name: &str| instance[name].as_str().unwrap_or("-").to_owned();
        let _ = writeln!(
            out,
            "{:<19} {:<10} {:<15} {:<12} {}",
            word("id"),
            word("state"),
            word("address"),
            word("region"),
            word("name")
        );
    }
    answer(&out);
    Ok(exit::DONE)
}

/// Prints shell commands that set the variables of the AWS CLI and boto3.
async fn env() -> anyhow::Result<u8> {
    let Some(cloud) = Cloud::find().await? else {
        bail!("no local cloud is up\nhint: `autorun cloud up` starts one");
    };
    let access = &cloud.access;
    let host = access.endpoint.trim_start_matches("http://");
    let host = host.split(':').next().unwrap_or(host);
    let check_ip = format!("{}/_autorun/checkip", access.endpoint);
    let exports = [
        ("AWS_ENDPOINT_URL", access.endpoint.as_str()),
        ("AWS_ENDPOINT_URL_CHECKIP", &check_ip),
        ("AWS_ACCESS_KEY_ID", &access.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &access.secret_access_key),
        ("AWS_REGION", &access.region),
        ("AWS_DEFAULT_REGION", &access.region),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        // A proxy cannot reach the local cloud.
        ("NO_PROXY", host),
    ];
    let mut out = String::from("unset AWS_PROFILE AWS_SESSION_TOKEN\n");
    for (name, value) in exports {
        let _ = writeln!(out, "export {name}={}", shell_words::quote(value));
    }
    answer(&out);
    Ok(exit::DONE)
}

fn doctor() -> anyhow::Result<u8> {
    let mut out = String::new();
    let mut able = true;
    for check in autorun_localcloud::checks().map_err(anyhow::Error::msg)? {
        let word = match (check.ok, check.essential) {
            (true, _) => "ok",
            (false, true) => "no",
            (false, false) => "--",
        };
        able &= check.ok || !check.essential;
        let line = format!("{word:<3} {:<12} {}", check.name, check.detail);
        out.push_str(&text::wrap(&line, 16));
        out.push('\n');
    }
    out.push_str("ok  buckets      S3 and EC2 without instances have no requirements\n");
    if !able {
        out.push_str("\ninstances cannot boot on this machine: see the lines with `no`\n");
    }
    answer(&out);
    Ok(exit::DONE)
}
