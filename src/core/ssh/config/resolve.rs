//! Applies OpenSSH's configuration to a host.

use std::sync::Arc;

use super::{Question, Settings, SshConfig};
use crate::error::{Error, Result};
use crate::ssh::address::Address;
use crate::ssh::host::{Configuration, Host, Trust};

/// The most jump hosts on the way to a host.
const MOST_JUMPS: usize = 16;

impl SshConfig {
    /// Returns a host with the settings of the configuration: the address, user
    /// and port that the playbook does not name, and the jump hosts.
    ///
    /// Throws the errors of `ask`, and `invalid_option` if the jump hosts form a
    /// loop.
    pub(in crate::ssh) async fn apply(&self, mut host: Host) -> Result<Host> {
        let Configuration::Of(question) = host.configuration.clone() else {
            return Ok(host);
        };
        let settings = self.ask(&question).await?;
        if let Some(address) = &settings.host_name {
            host.address.clone_from(address);
        }
        if let Some(user) = &settings.user {
            host.user.clone_from(user);
        }
        host.port = settings.port.unwrap_or(host.port);
        if let Some(jump) = &settings.proxy_jump
            && host.via.is_none()
        {
            host.via = self.jumps(jump, &question, &mut Vec::new()).await?;
        }
        if *settings == Settings::default() {
            host.configuration = Configuration::Open;
        }
        host.settings = settings;
        Ok(host)
    }

    /// Returns the jump host that the configuration has for the address of an
    /// instance.
    pub(in crate::ssh) async fn jump_to(&self, question: &Question) -> Result<Option<Box<Host>>> {
        let settings = self.ask(question).await?;
        match &settings.proxy_jump {
            Some(jump) => self.jumps(jump, question, &mut Vec::new()).await,
            None => Ok(None),
        }
    }

    /// Fills in the settings of a host that a playbook passes, and of its jump
    /// hosts. Everything else was applied by `apply`.
    pub(in crate::ssh) async fn remember(&self, host: &mut Host) -> Result<()> {
        if let Configuration::Of(question) = &host.configuration {
            host.settings = self.ask(question).await?;
        }
        if let Some(via) = &mut host.via {
            Box::pin(self.remember(via)).await?;
        }
        Ok(())
    }

    /// Builds the jump hosts of `ProxyJump`, such as `a,admin@b:2222`. As in
    /// OpenSSH, the first one may have jump hosts of its own.
    async fn jumps(
        &self,
        list: &str,
        to: &Question,
        seen: &mut Vec<String>,
    ) -> Result<Option<Box<Host>>> {
        let failed = |error: Error| {
            error.while_doing(&format!("ProxyJump `{list}` in the ssh configuration"))
        };
        let mut via: Option<Box<Host>> = None;
        for text in list.split(',') {
            let address = Address::parse(&without_brackets(text.trim())).map_err(failed)?;
            seen.push(address.host.clone());
            if seen.len() > MOST_JUMPS {
                let first = &seen[..3];
                return Err(Error::invalid(format!(
                    "the jump hosts of {} in the ssh configuration form a loop: {}, ..",
                    to.name,
                    first.join(", ")
                ))
                .hint("exclude the jump host from the pattern: `Host * !JUMP_HOST`"));
            }
            let question = Question {
                name: address.host.clone(),
                user: address.user,
                port: address.port,
                file: to.file.clone(),
                via: via.is_some(),
            };
            let settings = self.ask(&question).await.map_err(failed)?;
            if let (None, Some(more)) = (&via, &settings.proxy_jump) {
                via = Box::pin(self.jumps(more, &question, seen)).await?;
            }
            via = Some(Box::new(self.jump_host(question, settings, via)?));
        }
        Ok(via)
    }

    fn jump_host(
        &self,
        question: Question,
        settings: Arc<Settings>,
        via: Option<Box<Host>>,
    ) -> Result<Host> {
        let user = question.user.as_ref().or(settings.user.as_ref());
        let user = user.or(self.local.user.as_ref()).ok_or_else(|| {
            Error::invalid(format!(
                "cannot determine the user name for the jump host {}",
                question.name
            ))
            .hint("write it as USER@HOST in ProxyJump")
        })?;
        Ok(Host {
            name: question.name.clone(),
            address: settings
                .host_name
                .clone()
                .unwrap_or_else(|| question.name.clone()),
            port: question.port.or(settings.port).unwrap_or(22),
            user: user.clone(),
            key: None,
            trust: Trust::KnownHosts,
            passphrase: None,
            password: None,
            sudo_password: None,
            via,
            ssm: None,
            configuration: Configuration::Of(question),
            settings,
        })
    }
}

/// Removes brackets around a name or an IPv4 address: `ssh -G` prints them around
/// every host that has a port.
fn without_brackets(jump: &str) -> String {
    let hidden = || {
        let (login, rest) = jump.split_once('[')?;
        let (host, port) = rest.split_once(']')?;
        (!host.contains(':')).then(|| format!("{login}{host}{port}"))
    };
    hidden().unwrap_or_else(|| jump.to_owned())
}

impl Settings {
    /// Returns the options that autorun does not use, although they may be
    /// needed to log in.
    pub(in crate::ssh) fn unused(&self) -> &[&'static str] {
        &self.unused
    }

    /// Returns whether the configuration names the jump host or the proxy.
    pub(in crate::ssh) fn have_a_way(&self) -> bool {
        self.proxy_jump.is_some() || self.proxy_command.is_some()
    }
}
