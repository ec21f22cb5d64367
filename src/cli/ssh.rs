//! `autorun ssh`: starts the system's ssh with the run's private key and the
//! recorded host key. On a machine without the private key, the user's own key logs in,
//! through EC2 Instance Connect.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::args::{SshArgs, Via};
use super::output::{complain, fitted};
use super::own_key::OwnKey;
use super::settings::{local, shown};
use super::shared::shared_store;
#[cfg(feature = "local-cloud")]
use super::sudo::Sudo;
use super::target::CloudTarget;
use crate::clients::ssh::{Configuration, Host, Trust};
use crate::clients::{AwsOptions, Clients};
use crate::error::{Error, ErrorKind, Result, exit};
use crate::ledger::{Resource, ResourceKind, Run, State, StepResult, Store};
use crate::primitives::{WayTo, pin_before_login};
use crate::report::{Output, Reporter, Settings};

/// How long the host may take to send its host key.
const ANSWER: Duration = Duration::from_secs(15);

pub(super) fn ssh(arguments: &SshArgs) -> anyhow::Result<u8> {
    let store = shared_store(&arguments.ledger, "", None)?;
    let (run, instance) = find(&store, &arguments.target).map_err(|e| shown(&e))?;
    let (user, key) = login(&store, &run, &instance).map_err(|e| shown(&e))?;
    let own = own_key(&user, key.as_deref()).map_err(|e| shown(&e))?;
    let key = match &own {
        Some(own) => own.file.clone(),
        None => key,
    };
    let report = quiet(&run)?;
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let target = runtime.block_on(CloudTarget::from_run(
        &run,
        None,
        #[cfg(feature = "local-cloud")]
        Sudo::Ask,
    ))?;
    let id = instance
        .id
        .clone()
        .context("the ledger has no ID of the instance")?;
    let variables = variables_of(&target.aws);
    let stop = CancellationToken::new();
    let clients = Clients::new(target.aws, local()?, report.clone(), stop);
    let way = async {
        Ok(match arguments.via {
            None => (address(&clients, &id).await?, None),
            Some(Via::Ssm) => (id.clone(), Some(clients.ssm_target(&id).await?)),
        })
    };
    let (address, ssm) = runtime.block_on(way).map_err(|e: Error| shown(&e))?;
    let host = Host {
        name: instance.name.clone(),
        address,
        port: 22,
        user,
        key,
        trust: Trust::Instance(id.clone()),
        passphrase: None,
        password: None,
        sudo_password: None,
        via: None,
        ssm,
        configuration: Configuration::Open,
        settings: Arc::default(),
    };
    let known_hosts = runtime.block_on(async {
        let way = WayTo {
            clients: &clients,
            report: &report,
        };
        pin_before_login(way, &host, &id).await?;
        let known_hosts = clients.ssh().known_hosts_of(&host, ANSWER).await;
        clients.close().await;
        if let Some(own) = &own {
            // Last, because the instance accepts the key only for a minute.
            clients
                .send_public_key(&id, &host.user, &own.public)
                .await?;
        }
        known_hosts
    });
    let known_hosts = known_hosts.map_err(|e| shown(&e))?;
    let mut command = Command::new("ssh");
    let option = |name: &str, value: &str| format!("-o{name}={value}");
    // Only the host key that autorun recorded is valid, not one of the user's or
    // the system's known_hosts.
    command
        .arg(option(
            "UserKnownHostsFile",
            &known_hosts.display().to_string(),
        ))
        .arg(option("GlobalKnownHostsFile", "/dev/null"))
        .arg(option("StrictHostKeyChecking", "yes"));
    if let Some(key) = &host.key {
        command
            .arg("-i")
            .arg(key)
            .arg(option("IdentitiesOnly", "yes"));
    }
    if let Some(target) = &host.ssm {
        command
            .arg(option("ProxyCommand", &target.proxy_command()))
            .envs(variables);
    }
    command.arg(host.login()).arg("--").args(&arguments.command);
    // ssh replaces this process, so its exit status is the one that callers see.
    let error = command.exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        bail!("`ssh` is not installed\nhint: install the package openssh-client");
    }
    Err(error).context("cannot start ssh")?;
    Ok(exit::USAGE)
}

/// Finds an instance that is up: the only one of a run, or one by name or ID.
fn find(store: &Store, target: &str) -> Result<(Run, Resource)> {
    let up = |run: &Run| -> Result<Vec<Resource>> {
        let mut rows = store.resources(&run.id)?;
        rows.retain(|row| row.kind == ResourceKind::Instance && row.state == State::Live);
        Ok(rows)
    };
    let mut found = Vec::new();
    let mut ambiguous = None;
    match store.find(target) {
        Ok(run) => {
            found.extend(up(&run)?.into_iter().map(|row| (run.clone(), row)));
            if found.is_empty() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("run {} has no instance that is up", run.id),
                )
                .hint(format!("`autorun show {}` lists what it created", run.id)));
            }
        }
        Err(error) => {
            ambiguous = (error.kind == ErrorKind::InvalidOption).then_some(error);
            for run in store.runs()?.into_iter().filter(|run| run.up > 0) {
                let named = up(&run)?.into_iter();
                let named =
                    named.filter(|row| row.name == target || row.id.as_deref() == Some(target));
                found.extend(named.map(|row| (run.clone(), row)));
            }
        }
    }
    if found.len() > 1 {
        let ids: Vec<&str> = found
            .iter()
            .filter_map(|(_, row)| row.id.as_deref())
            .collect();
        return Err(
            Error::invalid(format!("`{target}` matches {} instances", found.len()))
                .hint(format!("name one of {}", ids.join(", "))),
        );
    }
    found.pop().ok_or_else(|| {
        ambiguous.unwrap_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("`{target}` is neither a run nor an instance that is up"),
            )
            .hint("`autorun runs` lists the runs, `autorun show RUN` what a run created")
        })
    })
}

/// Returns the user and the private key file that the launch recorded.
fn login(store: &Store, run: &Run, instance: &Resource) -> Result<(String, Option<PathBuf>)> {
    let steps = store.steps(&run.id)?;
    let made_it = steps.iter().filter(|step| step.key == instance.step);
    for step in made_it {
        if let Some(StepResult::Unreadable { why, .. }) = &step.result {
            return Err(Error::internal(format!(
                "cannot read the recorded result of {} ({}): {why}",
                step.function, step.place
            ))
            .hint(
                "restore the ledger from a backup: the result has the user and the key for the \
                 login",
            ));
        }
    }
    let results = steps
        .iter()
        .filter_map(|step| step.result.as_ref()?.value());
    let servers = results.flat_map(|result| match result {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    });
    let mut of_this = servers.filter(|server| server["id"].as_str() == instance.id.as_deref());
    let server = of_this.next().cloned().unwrap_or_default();
    let user = server["user"].as_str().unwrap_or("ec2-user").to_owned();
    Ok((user, server["key"].as_str().map(PathBuf::from)))
}

/// Returns the variables with which the AWS CLI reaches the local cloud; none for AWS.
fn variables_of(options: &AwsOptions) -> Vec<(&'static str, String)> {
    let (Some(key), Some(url)) = (&options.key, &options.endpoints.ec2) else {
        return Vec::new();
    };
    vec![
        ("AWS_ENDPOINT_URL", url.clone()),
        ("AWS_ACCESS_KEY_ID", key.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", key.secret_access_key.clone()),
    ]
}

/// Returns the user's own key if the private key is not on this machine: a shared ledger
/// does not have it.
fn own_key(user: &str, key: Option<&Path>) -> Result<Option<OwnKey>> {
    let Some(missing) = key.filter(|key| !key.exists()) else {
        return Ok(None);
    };
    let own = OwnKey::find(missing, user, dirs::home_dir().as_deref())?;
    complain(&fitted(&format!(
        "the private key of the instance is not on this machine: logging in with your own key \
         ({}) through EC2 Instance Connect",
        own.place()
    )));
    Ok(Some(own))
}

/// Returns the current address, which may have changed since the launch.
async fn address(clients: &Clients, id: &str) -> Result<String> {
    let seen = clients.ec2().await?.instances(&[id.to_owned()]).await?;
    let instance = &seen[0];
    let address = instance
        .public_ip
        .clone()
        .or_else(|| instance.private_ip.clone());
    address.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("{id} is {} and has no address", instance.state),
        )
    })
}

/// Creates a reporter that shows only warnings: the terminal belongs to ssh.
fn quiet(run: &Run) -> anyhow::Result<Reporter> {
    let settings = Settings {
        output: Output::Human,
        console: log::LevelFilter::Warn,
        file: None,
        file_level: log::LevelFilter::Off,
        color: false,
        terminal: false,
    };
    Reporter::new(&run.id, settings).map_err(|e| shown(&e))
}
