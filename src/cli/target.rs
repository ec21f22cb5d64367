//! The target of a run: AWS, the local cloud, or other endpoints.

use anyhow::bail;

use super::args::TargetArgs;
use super::confirm;
use super::inputs::process_environment;
#[cfg(feature = "local-cloud")]
use super::local::{Cloud, CloudNeed};
use super::settings::shown;
#[cfg(feature = "local-cloud")]
use super::sudo::Sudo;
use crate::clients::calls::Listeners;
use crate::clients::{
    AccountOptions, AwsOptions, Clients, Endpoints, Environment, Fence, check_role_arn,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Run, Target};
#[cfg(feature = "local-cloud")]
use crate::report::Reporter;

/// The variable with the URL that answers with the caller's public address.
const CHECK_IP: &str = "AWS_ENDPOINT_URL_CHECKIP";

/// A target: the options for its clients, and what the ledger records of it.
#[derive(Debug)]
pub(super) struct CloudTarget {
    pub(super) aws: AwsOptions,
    pub(super) recorded: Target,
    #[cfg(feature = "local-cloud")]
    pub(super) cloud: Option<Cloud>,
}

impl CloudTarget {
    /// Determines the target of a new run from the arguments and the environment.
    pub(super) async fn from_arguments(
        arguments: &TargetArgs,
        run: &str,
        #[cfg(feature = "local-cloud")] report: Option<&Reporter>,
        #[cfg(feature = "local-cloud")] need: CloudNeed,
    ) -> anyhow::Result<Self> {
        #[cfg(feature = "local-cloud")]
        if arguments.local {
            let sudo = Sudo::from_flag(arguments.sudo);
            let (cloud, started) = Cloud::find_or_start(need, sudo).await?;
            if let Some(report) = report {
                cloud.introduce(started, report);
            }
            return Ok(Self::on_local_cloud(cloud, arguments.region.clone(), run));
        }
        Self::not_local(arguments, run)
    }

    /// Determines a target other than the local cloud.
    fn not_local(arguments: &TargetArgs, run: &str) -> anyhow::Result<Self> {
        check_role(arguments)?;
        let endpoints = endpoints(arguments)?;
        Ok(Self::at_endpoints(
            Target {
                local_cloud: None,
                ec2: endpoints.ec2,
                s3: endpoints.s3,
                sts: endpoints.sts,
                profile: arguments.profile.clone(),
                role: arguments.role.clone(),
                region: arguments.region.clone(),
                account: String::new(),
            },
            endpoints.check_ip,
            run,
        ))
    }

    /// Determines the target of a recorded run.
    ///
    /// Fails if the arguments contradict the record.
    pub(super) async fn from_run(
        run: &Run,
        arguments: Option<&TargetArgs>,
        #[cfg(feature = "local-cloud")] sudo: Sudo,
    ) -> anyhow::Result<Self> {
        let target = &run.about.target;
        if let Some(arguments) = arguments {
            refuse_other(run, arguments)?;
            check_role(arguments)?;
        }
        if let Some(state) = &target.local_cloud {
            #[cfg(feature = "local-cloud")]
            {
                let cloud = Cloud::with_state(state, sudo).await?;
                return Ok(Self::on_local_cloud(cloud, target.region.clone(), &run.id));
            }
            #[cfg(not(feature = "local-cloud"))]
            bail!(
                "run {} is on the local cloud in {state}, and this autorun was built without the \
                 local cloud",
                run.id
            );
        }
        let check_ip = from_environment(CHECK_IP);
        let mut target = target.clone();
        if let Some(profile) = arguments.and_then(|a| a.profile.clone()) {
            target.profile = Some(profile);
        }
        if let Some(role) = arguments.and_then(|a| a.role.clone()) {
            target.role = Some(role);
        }
        Ok(Self::at_endpoints(target, check_ip, &run.id))
    }

    fn at_endpoints(target: Target, check_ip: Option<String>, run: &str) -> Self {
        Self {
            aws: AwsOptions {
                account: account(target.profile.clone(), target.role.clone()),
                region: target.region.clone(),
                endpoints: Endpoints {
                    ec2: target.ec2.clone(),
                    s3: target.s3.clone(),
                    sts: target.sts.clone(),
                    check_ip,
                },
                key: None,
                local_cloud: false,
                local_network: None,
                confined: false,
                read_only: false,
                app_name: Some(format!("autorun-{run}")),
                consistency: None,
                listeners: Listeners::default(),
                fence: Fence::default(),
                lender: None,
            },
            recorded: target,
            #[cfg(feature = "local-cloud")]
            cloud: None,
        }
    }

    #[cfg(feature = "local-cloud")]
    fn on_local_cloud(cloud: Cloud, region: Option<String>, run: &str) -> Self {
        let aws = AwsOptions {
            app_name: Some(format!("autorun-{run}")),
            ..cloud.aws_options(region)
        };
        Self {
            recorded: Target {
                local_cloud: Some(cloud.home.state.display().to_string()),
                region: aws.region.clone(),
                ..Target::default()
            },
            aws,
            cloud: Some(cloud),
        }
    }
}

/// Returns the options for clients outside of a run.
pub(super) fn options(arguments: &TargetArgs) -> anyhow::Result<AwsOptions> {
    Ok(CloudTarget::not_local(arguments, "ledger")?.aws)
}

/// Returns the region that the arguments, the environment or the profile name,
/// without a request.
#[cfg(feature = "local-cloud")]
pub(super) fn region(arguments: &TargetArgs) -> Option<String> {
    let configured = || account(arguments.profile.clone(), None).region();
    arguments.region.clone().or_else(configured)
}

/// Checks that the profile that the arguments name exists.
#[cfg(feature = "local-cloud")]
pub(super) fn check_profile(arguments: &TargetArgs) -> anyhow::Result<()> {
    let checked = account(arguments.profile.clone(), None).check_profile();
    checked.map_err(|e| shown(&e))
}

/// Checks the form of the role's ARN.
fn check_role(arguments: &TargetArgs) -> anyhow::Result<()> {
    let checked = arguments.role.as_deref().map_or(Ok(()), check_role_arn);
    checked.map_err(|e| shown(&e.while_doing("`--role`")))
}

/// Checks that the credentials belong to the account of the run.
pub(super) async fn check_account(clients: &Clients, run: &Run) -> Result<()> {
    let wanted = &run.about.target;
    if wanted.account.is_empty() {
        return Ok(());
    }
    let (_, account) = clients.identity().await?;
    if account == wanted.account {
        return Ok(());
    }
    if account.is_empty() {
        return Err(Error::new(
            ErrorKind::Unreachable,
            format!(
                "cannot verify that the credentials belong to account {}, where run {} is",
                wanted.account, run.id
            ),
        )
        .hint("check that `aws sts get-caller-identity` works; -v shows why the request failed"));
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "the credentials belong to account {account}, but run {} is in {}",
            run.id, wanted.account
        ),
    )
    .hint("pass a `--profile` of that account"))
}

/// Checks that the flags do not name another target than the run's.
fn refuse_other(run: &Run, arguments: &TargetArgs) -> anyhow::Result<()> {
    let target = &run.about.target;
    let refuse = |what: &str, given: &str| {
        bail!(
            "run {} is on {}, not {what} {given}\nhint: omit the flag: the ledger has the target \
             of the run",
            run.id,
            target.words()
        )
    };
    #[cfg(feature = "local-cloud")]
    if arguments.local && target.local_cloud.is_none() {
        return refuse("on", "the local cloud");
    }
    if let Some(region) = &arguments.region
        && target.region.as_ref().is_some_and(|r| r != region)
    {
        return refuse("in region", region);
    }
    let given = endpoints_given(arguments)?;
    for (given, own) in [
        (&given.ec2, &target.ec2),
        (&given.s3, &target.s3),
        (&given.sts, &target.sts),
    ] {
        if let Some(url) = given
            && own.as_ref() != Some(url)
        {
            return refuse("at", url);
        }
    }
    Ok(())
}

fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|url| !url.is_empty())
}

/// Returns the profile, the role, and what the environment says about them.
fn account(profile: Option<String>, role: Option<String>) -> AccountOptions {
    AccountOptions {
        profile,
        role,
        environment: Environment::new(process_environment()),
        ask_code: Some(confirm::ask_code),
    }
}

/// Returns the endpoints: flags have precedence over the environment, and the
/// environment over the profile.
fn endpoints(arguments: &TargetArgs) -> anyhow::Result<Endpoints> {
    let given = endpoints_given(arguments)?;
    let configured = account(arguments.profile.clone(), None).endpoints();
    let elsewhere = given.ec2.is_some() || given.s3.is_some();
    Ok(Endpoints {
        ec2: given.ec2.or(configured.ec2),
        s3: given.s3.or(configured.s3),
        sts: given.sts.or(configured.sts.filter(|_| !elsewhere)),
        check_ip: given.check_ip.or_else(|| from_environment(CHECK_IP)),
    })
}

pub(super) fn endpoints_given(arguments: &TargetArgs) -> anyhow::Result<Endpoints> {
    let mut endpoints = Endpoints::default();
    for given in &arguments.endpoint_url {
        let (service, url) = match given.split_once('=') {
            Some((service, url)) if !service.contains(':') => (service, url),
            _ => ("", given.as_str()),
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("`--endpoint-url {given}`: the URL must begin with http:// or https://");
        }
        let url = Some(url.to_owned());
        match service {
            "" => (endpoints.ec2, endpoints.s3) = (url.clone(), url),
            "ec2" => endpoints.ec2 = url,
            "s3" => endpoints.s3 = url,
            "sts" => endpoints.sts = url,
            "checkip" => endpoints.check_ip = url,
            other => bail!(
                "`--endpoint-url {given}`: unknown service `{other}`\nhint: use ec2, s3, sts or \
                 checkip"
            ),
        }
    }
    Ok(endpoints)
}
