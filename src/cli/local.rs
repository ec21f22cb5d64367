//! `--local`: finds or starts the local cloud, and reports how a run on it
//! differs from a run on AWS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use autorun_localcloud::daemon;
use autorun_localcloud::faults::Settings;
use autorun_localcloud::home::{self, Access, Home};
use reqwest::Method;
use serde_json::Value;

use crate::clients::calls::Listeners;
use crate::clients::{AccountOptions, AwsOptions, Endpoints, Fence, Network, StaticKey, http};
use crate::report::{Reporter, text};

use super::output::{complain, fitted};
use super::settings::data_dir;
use super::sudo::{self, Sudo};

/// Timeout of a request to the local cloud's own API.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// What a command needs from the local cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloudNeed {
    /// Buckets, and EC2 resources other than instances.
    Records,
    /// Instances that boot.
    Instances,
}

/// A local cloud that is running.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) access: Access,
    /// The response of its status request.
    pub(super) status: Value,
    pub(super) home: Home,
}

impl Cloud {
    /// Finds a running local cloud that this user has access to.
    pub(super) async fn find() -> anyhow::Result<Option<Self>> {
        for home in homes()? {
            if let Some(cloud) = Self::at(home).await? {
                return Ok(Some(cloud));
            }
        }
        Ok(None)
    }

    /// Returns the local cloud of a home, if it is running and this user has
    /// access.
    pub(super) async fn at(home: Home) -> anyhow::Result<Option<Self>> {
        let (uid, _) = home::user();
        if let Some(warning) = home.check_access(uid)? {
            complain(&fitted(&format!("warning: {warning}")));
        }
        match home.access(uid) {
            // Checked first, because the network is removed with the process: a
            // connection could hang instead of being refused.
            Ok(access) if !home::is_running(access.pid) => Ok(None),
            Ok(access) => {
                let status = control(&access, Method::GET, "status", None, None).await;
                let status = status.ok().filter(|status| status["pid"] == access.pid);
                Ok(status.map(|status| Self {
                    access,
                    status,
                    home,
                }))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => {
                let file = home.access_file(uid);
                bail!("cannot read {}: {e}", file.display());
            }
        }
    }

    /// Returns the local cloud with the state directory that a run recorded.
    /// Starts it if it is down, through sudo if it belongs to root.
    pub(super) async fn with_state(state: &str, sudo: Sudo) -> anyhow::Result<Self> {
        let home = Home::of_state(Path::new(state));
        if let Some(cloud) = Self::at(home.clone()).await? {
            return Ok(cloud);
        }
        if home::user().0 == 0 || !home.is_of_root() {
            return Self::start(home).await;
        }
        sudo::start_cloud(sudo)?;
        Self::at(home).await?.with_context(|| no_response(state))
    }

    /// Finds or starts a local cloud that meets the need. Returns true if it
    /// started one.
    pub(super) async fn find_or_start(need: CloudNeed, sudo: Sudo) -> anyhow::Result<(Self, bool)> {
        let found = Self::find().await?;
        let mut homes = homes()?;
        // The last home is the user's own; for root, it is root's.
        let own = homes
            .pop()
            .context("there is no directory for a local cloud")?;
        let is_root = home::user().0 == 0;
        let through_sudo = need == CloudNeed::Instances && !is_root && cfg!(target_os = "linux");
        let (cloud, started) = match found {
            None if through_sudo => (Self::of_root(sudo).await?, true),
            // Root's cloud can start beside the user's, because it has its own
            // home. With a single home (AUTORUN_CLOUD_HOME) it cannot.
            Some(cloud) if through_sudo && !cloud.boots() && !homes.is_empty() => {
                drop(cloud);
                (Self::of_root(sudo).await?, true)
            }
            Some(cloud) => (cloud, false),
            None => (Self::start(own).await?, true),
        };
        if need == CloudNeed::Instances && !cloud.boots() {
            let why = cloud.status["cannot_boot"].as_str().unwrap_or_default();
            let hint = if through_sudo {
                "\nhint: stop it with `autorun cloud down` first"
            } else {
                ""
            };
            bail!("nothing was created: the playbook launches instances, and {why}{hint}");
        }
        Ok((cloud, started))
    }

    /// Starts root's local cloud through sudo.
    async fn of_root(sudo: Sudo) -> anyhow::Result<Self> {
        sudo::start_cloud(sudo)?;
        let found = Self::find().await?;
        found.with_context(|| no_response("root"))
    }

    /// Returns whether it can launch instances.
    pub(super) fn boots(&self) -> bool {
        self.status["boots"] == true
    }

    async fn start(home: Home) -> anyhow::Result<Self> {
        let (uid, gid) = home::user();
        let mut grants = vec![(uid, gid)];
        grants.extend(sudo_user());
        let repaired = daemon::start(&home, &grants).map_err(|why| anyhow!("{why}"))?;
        for repair in repaired {
            complain(&fitted(&format!("warning: {repair}")));
        }
        let log = home.log();
        Self::at(home).await?.with_context(|| {
            format!(
                "the local cloud started but does not respond; its log is {}",
                log.display()
            )
        })
    }

    /// Sends a request to the local cloud's own API, which is not part of AWS.
    pub(super) async fn ask(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        control(&self.access, method, path, None, None).await
    }

    /// Returns the client options for this local cloud.
    pub(super) fn aws_options(&self, region: Option<String>) -> AwsOptions {
        let endpoint = &self.access.endpoint;
        AwsOptions {
            account: AccountOptions::default(),
            region: Some(region.unwrap_or_else(|| self.access.region.clone())),
            endpoints: Endpoints {
                ec2: Some(endpoint.clone()),
                s3: Some(endpoint.clone()),
                sts: Some(endpoint.clone()),
                check_ip: Some(format!("{endpoint}/_autorun/checkip")),
            },
            app_name: None,
            local_cloud: true,
            confined: false,
            read_only: false,
            local_network: self.status["subnet"].as_str().and_then(Network::parse),
            consistency: self.status["consistency_seconds"]
                .as_f64()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            listeners: Listeners::default(),
            fence: Fence::default(),
            lender: None,
            key: Some(StaticKey {
                access_key_id: self.access.access_key_id.clone(),
                secret_access_key: self.access.secret_access_key.clone(),
            }),
        }
    }

    /// Adds resources of the user's account to the cloud of a rehearsal.
    pub(super) async fn lend(&self, region: &str, resources: &[Value]) -> anyhow::Result<()> {
        let body = serde_json::json!({ "region": region, "resources": resources });
        control(&self.access, Method::PUT, "lent", None, Some(body)).await?;
        Ok(())
    }

    /// Injects faults into the requests of a run, or of all runs without their own.
    pub(super) async fn set_faults(
        &self,
        run: Option<&str>,
        settings: &Settings,
    ) -> anyhow::Result<()> {
        let body = serde_json::to_value(settings)?;
        control(&self.access, Method::PUT, "faults", run, Some(body)).await?;
        Ok(())
    }

    /// Removes the faults of a run.
    pub(super) async fn forget_faults(&self, run: &str) {
        // A failure is harmless: faults affect only their own run.
        let _ = control(&self.access, Method::DELETE, "faults", Some(run), None).await;
    }

    /// Reports the endpoint and how the local cloud differs from AWS.
    pub(super) fn introduce(&self, started: bool, report: &Reporter) {
        let endpoint = &self.access.endpoint;
        let now = if started { " (just started)" } else { "" };
        report.info(format!("using the local cloud at {endpoint}{now}"));
        if self.status["faults"] == true {
            report.info("it has faults for all runs, until it stops");
        }
        if !self.boots() {
            let why = self.status["cannot_boot"].as_str().unwrap_or_default();
            report.warn(why);
            return;
        }
        let system = self.status["system"].as_str().unwrap_or("another system");
        let held = match self.status["held_packages"].as_u64() {
            Some(0) | None => String::new(),
            Some(count) => format!(
                "; they keep this machine's outdated versions of {}",
                text::count(usize::try_from(count).unwrap_or_default(), "package")
            ),
        };
        report.info(format!(
            "instances run {system} here, whatever the image{held}"
        ));
        let unlimited = self.status["unlimited"].as_array();
        let names: Vec<_> = unlimited
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !names.is_empty() {
            report.warn(format!(
                "instances can use all of this machine's {}: the control groups that would limit \
                 it are not mounted (see `autorun cloud doctor`)",
                names.join(" and ")
            ));
        }
    }
}

fn no_response(owner: &str) -> String {
    format!("the local cloud of {owner} was started but does not respond")
}

/// Returns the homes in which to look for a local cloud. A new one starts in the
/// last home.
pub(super) fn homes() -> anyhow::Result<Vec<Home>> {
    if let Some(directory) = std::env::var_os("AUTORUN_CLOUD_HOME").filter(|d| !d.is_empty()) {
        return Ok(vec![Home::below(&PathBuf::from(directory))]);
    }
    if home::user().0 == 0 {
        return Ok(vec![Home::of_root()]);
    }
    Ok(vec![
        Home::of_root(),
        Home::below(&data_dir()?.join("cloud")),
    ])
}

/// Returns the uid and gid of the user who called sudo.
pub(super) fn sudo_user() -> Option<(u32, u32)> {
    if home::user().0 != 0 {
        return None;
    }
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let user: (u32, u32) = (number("SUDO_UID")?, number("SUDO_GID")?);
    (user.0 != 0).then_some(user)
}

/// Sends a request to the local cloud's own API.
async fn control(
    access: &Access,
    method: Method,
    path: &str,
    run: Option<&str>,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    // A proxy cannot reach the local cloud. Its URLs are http, so a machine
    // without CA certificates can use it too.
    let client = http::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(ANSWERS_WITHIN)
        .build()?;
    let url = format!("{}/_autorun/{path}", access.endpoint);
    let mut request = client
        .request(method, url)
        .header("x-autorun-token", &access.token);
    if let Some(run) = run {
        request = request.header("user-agent", format!("app/autorun-{run}"));
    }
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("the local cloud refused the request: {}", text.trim_end());
    }
    Ok(serde_json::from_str(&text)?)
}
