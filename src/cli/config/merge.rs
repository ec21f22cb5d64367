//! Completes the arguments of a command with the settings of files.

use std::path::Path;

use anyhow::bail;

use super::environment::Environment;
use super::layers::FileSettings;
use super::user::{of_playbook, of_user};
use crate::cli::args::{OnError, ReportArgs, ResumeArgs, RunArgs, TargetArgs};
use crate::cli::notify::Webhook;

/// The settings of files that count for a command.
#[derive(Debug)]
pub(in crate::cli) struct Settings(FileSettings);

impl Settings {
    /// Reads the user's file, and the one beside the playbook.
    ///
    /// Fails if a file is not valid, or if another user could have written it.
    pub(in crate::cli) fn for_playbook(playbook: &Path) -> anyhow::Result<Self> {
        let (_, user) = of_user()?;
        let (_, beside) = of_playbook(playbook)?;
        Ok(Self(beside.over(user)))
    }

    /// Reads the user's file, for a command without a playbook.
    ///
    /// Fails like [`Self::for_playbook`].
    pub(in crate::cli) fn of_user() -> anyhow::Result<Self> {
        Ok(Self(of_user()?.1))
    }

    /// Completes the arguments of `autorun run`.
    pub(in crate::cli) fn complete_run(&self, run: &mut RunArgs) {
        let again = self.0.again.as_ref().is_some_and(|again| again.value);
        run.again |= again;
        self.complete_target(&mut run.target);
        self.complete_report(&mut run.report);
        let Self(files) = self;
        run.ttl = run.ttl.or(files.ttl.as_ref().map(|ttl| ttl.value));
        run.on_error = Some(self.on_error(run.on_error));
        // A later tag replaces an earlier one with the same key.
        let tags = files.tags.iter();
        let tags = tags.map(|(key, tag)| (key.clone(), tag.value.clone()));
        run.tag.splice(0..0, tags);
    }

    /// Completes the arguments of `autorun resume`. The target and the tags of
    /// the run are in the ledger.
    pub(in crate::cli) fn complete_resume(&self, resume: &mut ResumeArgs) {
        self.complete_report(&mut resume.report);
        resume.on_error = Some(self.on_error(resume.on_error));
    }

    /// Returns where the end of a run is posted: to the URL of the command line
    /// or the environment, else to that of the files.
    ///
    /// Fails if the URL is not valid.
    pub(in crate::cli) fn webhook(&self, given: Option<&str>) -> anyhow::Result<Option<Webhook>> {
        match given.filter(|url| !url.is_empty()) {
            None => Ok(self
                .0
                .notify
                .clone()
                .and_then(|set| set.value.into_option())),
            Some("none") => Ok(None),
            Some(url) => match Webhook::parse(url) {
                Ok(webhook) => Ok(Some(webhook)),
                Err(why) => bail!("the URL of --notify or AUTORUN_NOTIFY {why}"),
            },
        }
    }

    fn on_error(&self, given: Option<OnError>) -> OnError {
        let in_file = || self.0.on_error.as_ref().map(|on_error| on_error.value);
        given.or_else(in_file).unwrap_or(OnError::Keep)
    }

    /// Completes the options of the log.
    pub(in crate::cli) fn complete_report(&self, report: &mut ReportArgs) {
        let in_file = || Some(self.0.log_file.as_ref()?.value.clone());
        report.log_file = report.log_file.take().or_else(in_file);
    }

    /// Completes the account, the region and the endpoints. With `--local`,
    /// they do not count.
    pub(in crate::cli) fn complete_target(&self, target: &mut TargetArgs) {
        self.complete_target_in(target, &Environment::of_process());
    }

    fn complete_target_in(
        &self,
        target: &mut TargetArgs,
        environment: &Environment<impl Fn(&str) -> Option<String>>,
    ) {
        #[cfg(feature = "local-cloud")]
        if target.local {
            return;
        }
        let Self(files) = self;
        // A role belongs to the profile of its file or of one below it.
        let is_other = target.profile.is_some() || environment.profile().is_some();
        if target.role.is_none() && !is_other {
            target.role = files.role.as_ref().map(|role| role.value.clone());
        }
        if !is_other && environment.credentials().is_none() {
            target.profile = files.profile.as_ref().map(|profile| profile.value.clone());
        }
        if target.region.is_none() && environment.region().is_none() {
            target.region = files.region.as_ref().map(|region| region.value.clone());
        }
        if target.endpoint_url.is_empty() && environment.endpoint().is_none() {
            let urls = files.endpoint_url.as_ref();
            target.endpoint_url = urls.map_or_else(Vec::new, |urls| urls.value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::cli::config::layers::Set;
    use crate::error::Place;

    fn set(value: &str) -> Set<String> {
        Set {
            value: value.to_owned(),
            place: Place::default(),
        }
    }

    /// The profile, the role and the region of a call in an environment.
    fn target(call: &[&str], variables: &[(&str, &str)], files: &FileSettings) -> [String; 3] {
        let words = ["autorun", "run", "a.rhai"].iter().chain(call);
        let Command::Run(mut run) = Cli::parse_from(words).command else {
            panic!("not a run");
        };
        let environment = Environment(|name: &str| {
            let (_, value) = variables.iter().find(|(n, _)| *n == name)?;
            Some((*value).to_owned())
        });
        Settings(files.clone()).complete_target_in(&mut run.target, &environment);
        let TargetArgs {
            profile,
            role,
            region,
            ..
        } = run.target;
        [profile, role, region].map(Option::unwrap_or_default)
    }

    #[test]
    fn the_command_line_is_before_the_environment_and_this_before_files() {
        let user = FileSettings {
            profile: Some(set("mine")),
            role: Some(set("arn:mine")),
            region: Some(set("user")),
            ..FileSettings::default()
        };
        let beside = FileSettings {
            region: Some(set("beside")),
            ..FileSettings::default()
        };
        let both = beside.clone().over(user.clone());
        assert_eq!(target(&[], &[], &both), ["mine", "arn:mine", "beside"]);
        let call = ["--region", "call", "--role", "arn:call"];
        assert_eq!(target(&call, &[], &both), ["mine", "arn:call", "call"]);
        let env = [("AWS_DEFAULT_REGION", "env")];
        assert_eq!(target(&[], &env, &both), ["mine", "arn:mine", ""]);
        // Another profile is not the one that may assume the role.
        assert_eq!(target(&["--profile", "x"], &[], &both), ["x", "", "beside"]);
        assert_eq!(
            target(&[], &[("AWS_PROFILE", "x")], &both),
            ["", "", "beside"]
        );
        let keys = [("AWS_ACCESS_KEY_ID", "AKIA")];
        assert_eq!(target(&[], &keys, &both), ["", "arn:mine", "beside"]);
        let other = FileSettings {
            profile: Some(set("theirs")),
            ..FileSettings::default()
        };
        assert_eq!(target(&[], &[], &other.over(user)), ["theirs", "", "user"]);
        #[cfg(feature = "local-cloud")]
        assert_eq!(target(&["--local"], &[], &both), ["", "", ""]);
    }
}
