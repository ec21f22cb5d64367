//! What `ssh -G` prints, as settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tokens::Tokens;
use super::{AddressFamily, IdentityAgent, Question, Settings};
use crate::error::{Error, Result};
use crate::local::Local;

/// The printed values by keyword, in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines(BTreeMap<String, Vec<String>>);

/// Options that may be needed to log in or change the result of a command, and that
/// autorun does not use.
const NOT_USED: [&str; 21] = [
    "BindAddress",
    "BindInterface",
    "Ciphers",
    "ForwardAgent",
    "HostbasedAuthentication",
    "HostKeyAlgorithms",
    "KexAlgorithms",
    "KnownHostsCommand",
    "MACs",
    "PermitLocalCommand",
    "PKCS11Provider",
    "PreferredAuthentications",
    "PubkeyAcceptedAlgorithms",
    "PubkeyAuthentication",
    "RefuseConnection",
    "RemoteCommand",
    "RemoteForward",
    "RequestTTY",
    "RequiredRSASize",
    "SessionType",
    "SetEnv",
];

/// The variables that the configuration of many distributions sends.
const OF_DISTRIBUTIONS: [&str; 6] = [
    "LANG",
    "LANGUAGE",
    "LC_",
    "COLORTERM",
    "NO_COLOR",
    "XMODIFIERS",
];

impl Lines {
    pub(super) fn parse(printed: &str) -> Self {
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in printed.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            let values = lines.entry(keyword.to_ascii_lowercase()).or_default();
            values.push(value.to_owned());
        }
        Self(lines)
    }

    fn all(&self, keyword: &str) -> &[String] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    fn one(&self, keyword: &str) -> Option<&str> {
        self.all(keyword).first().map(String::as_str)
    }
}

/// Returns the settings that differ from the defaults, which ssh prints too.
///
/// Throws `invalid_option` if a value cannot be used.
pub(super) fn settings(
    question: &Question,
    printed: &Lines,
    defaults: &Lines,
    local: &Local,
) -> Result<Settings> {
    let changed = |keyword: &str| printed.all(keyword) != defaults.all(keyword);
    let one = |keyword: &str| printed.one(keyword).filter(|_| changed(keyword));
    let is_set = |text: &&str| !text.eq_ignore_ascii_case("none");
    let host_name = printed.one("hostname").unwrap_or(&question.name);
    let port = one("port").and_then(|port| port.parse().ok());
    let user = one("user").map(str::to_owned);
    let alias = one("hostkeyalias").map(str::to_owned);
    let login = question.user.clone().or_else(|| user.clone());
    let tokens = Tokens {
        address: host_name.to_owned(),
        name: question.name.clone(),
        port: question.port.or(port).unwrap_or(22),
        user: login.or_else(|| local.user.clone()).unwrap_or_default(),
        key_alias: alias.clone().unwrap_or_else(|| question.name.clone()),
        home: local.home.as_deref().map_or_else(String::new, shown),
        local_user: local.user.clone().unwrap_or_default(),
    };
    let path = |text: &str| Ok::<_, Error>(local.expand(Path::new(&tokens.expand(text, true)?)));
    let paths = |keyword: &str| {
        let all = printed.all(keyword).iter().map(String::as_str);
        all.filter(is_set).map(path).collect::<Result<Vec<_>>>()
    };
    let known_hosts = |keyword: &str| {
        let files = one(keyword).map(|files| match files {
            "none" => Vec::new(),
            files => split(files),
        });
        files.map(|files| files.iter().map(|file| local.expand(file)).collect())
    };
    if one("proxyusefdpass") == Some("yes") && one("proxycommand").is_some() {
        return Err(Error::invalid(format!(
            "the ssh configuration of {} has ProxyUseFdpass, which autorun does not support",
            question.name
        ))
        .hint("use a ProxyCommand that passes the data on, or pass `via` to host()"));
    }
    let asked = Settings {
        host_name: Some(host_name.to_owned())
            .filter(|name| !name.eq_ignore_ascii_case(&question.name)),
        user: user.filter(|_| question.user.is_none()),
        port: port.filter(|_| question.port.is_none()),
        proxy_jump: one("proxyjump").filter(is_set).map(str::to_owned),
        proxy_command: one("proxycommand").filter(is_set).map(str::to_owned),
        identity_files: changed("identityfile")
            .then(|| paths("identityfile"))
            .transpose()?,
        certificate_files: paths("certificatefile")?,
        identities_only: one("identitiesonly") == Some("yes"),
        identity_agent: one("identityagent")
            .map(|agent| identity_agent(agent, &path))
            .transpose()?
            .flatten(),
        known_hosts: known_hosts("userknownhostsfile"),
        system_known_hosts: known_hosts("globalknownhostsfile"),
        host_key_alias: alias,
        accepts_unknown: one("stricthostkeychecking")
            .filter(|value| !matches!(*value, "true" | "yes" | "ask"))
            .map(|value| match value {
                "false" | "off" => "no".to_owned(),
                other => other.to_owned(),
            }),
        connect_timeout: one("connecttimeout")
            .and_then(|seconds| seconds.parse().ok())
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        address_family: one("addressfamily").and_then(|family| match family {
            "inet" => Some(AddressFamily::Inet),
            "inet6" => Some(AddressFamily::Inet6),
            _ => None,
        }),
        revoked_host_keys: one("revokedhostkeys")
            .filter(is_set)
            .map(path)
            .transpose()?,
        unused: NOT_USED
            .into_iter()
            .filter(|name| changed(&name.to_ascii_lowercase()))
            .chain(sends_variables(printed).then_some("SendEnv"))
            .collect(),
    };
    Ok(if question.via {
        Settings {
            proxy_jump: None,
            proxy_command: None,
            ..asked
        }
    } else {
        asked
    })
}

/// Returns whether `SendEnv` names variables that a person chose.
fn sends_variables(printed: &Lines) -> bool {
    let mut names = printed.all("sendenv").iter();
    names.any(|name| !OF_DISTRIBUTIONS.iter().any(|usual| name.starts_with(usual)))
}

/// Returns the agent that `IdentityAgent` names; `None` means the usual one.
fn identity_agent(
    text: &str,
    path: &impl Fn(&str) -> Result<PathBuf>,
) -> Result<Option<IdentityAgent>> {
    let of_variable = |name: &str| {
        let socket = std::env::var_os(name).filter(|socket| !socket.is_empty());
        Ok(Some(socket.map_or(IdentityAgent::None, |socket| {
            IdentityAgent::Socket(socket.into())
        })))
    };
    match text {
        "none" => Ok(Some(IdentityAgent::None)),
        "SSH_AUTH_SOCK" => Ok(None),
        text => match text.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => of_variable(name),
            _ => path(text).map(|path| Some(IdentityAgent::Socket(path))),
        },
    }
}

/// Splits the list of `known_hosts` files. ssh prints no quotes, so a path with
/// spaces is recognized by the file that exists.
fn split(files: &str) -> Vec<PathBuf> {
    let words: Vec<&str> = files.split(' ').collect();
    let mut paths = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let joined = |end: usize| PathBuf::from(words[at..end].join(" "));
        let end = (at + 1..=words.len())
            .rev()
            .find(|end| joined(*end).exists())
            .unwrap_or(at + 1);
        paths.push(joined(end));
        at = end;
    }
    paths
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_differ_from_the_defaults_count() {
        let defaults = Lines::parse(
            "user me\nhostname x\nport 22\nidentityfile ~/.ssh/id_rsa\nidentitiesonly no\n\
             stricthostkeychecking ask\nconnecttimeout none\n\
             userknownhostsfile /h/.ssh/known_hosts /h/.ssh/known_hosts2\n",
        );
        let question = Question {
            name: "Web".to_owned(),
            user: None,
            port: None,
            file: None,
            via: false,
        };
        let local = Local {
            home: Some("/h".into()),
            ..Local::default()
        };
        let of = |changes: &str| {
            let mut lines = Lines::parse(changes);
            for (keyword, values) in &defaults.0 {
                let given = lines.0.entry(keyword.clone());
                given.or_insert_with(|| values.clone());
            }
            settings(&question, &lines, &defaults, &local).unwrap()
        };
        // ssh prints a name in lower case.
        assert_eq!(of("hostname web"), Settings::default());
        let all = of(
            "hostname 10.0.0.7\nuser admin\nport 2222\nidentityfile ~/keys/%h-%n\n\
                      identityfile none\nidentityagent none\nproxyjump bastion\n\
                      stricthostkeychecking false\nconnecttimeout 7\n\
                      userknownhostsfile none\nkexalgorithms x\nsetenv A=b\n\
                      sendenv LANG\nsendenv LC_*\naddressfamily inet6\n\
                      revokedhostkeys ~/revoked",
        );
        assert_eq!(all.host_name.as_deref(), Some("10.0.0.7"));
        assert_eq!((all.user.as_deref(), all.port), (Some("admin"), Some(2222)));
        assert_eq!(
            all.identity_files,
            Some(vec![PathBuf::from("/h/keys/10.0.0.7-Web")])
        );
        assert_eq!(all.identity_agent, Some(IdentityAgent::None));
        assert_eq!(all.known_hosts, Some(Vec::new()));
        assert_eq!(all.accepts_unknown.as_deref(), Some("no"));
        assert_eq!(all.connect_timeout, Some(Duration::from_secs(7)));
        assert_eq!(all.unused, ["KexAlgorithms", "SetEnv"]);
        assert_eq!(of("sendenv LANG\nsendenv TOKEN").unused, ["SendEnv"]);
        assert_eq!(all.address_family, Some(AddressFamily::Inet6));
        assert_eq!(all.revoked_host_keys, Some(PathBuf::from("/h/revoked")));
    }

    #[test]
    fn paths_with_spaces_are_recognized_by_the_files_that_exist() {
        let dir = tempfile::tempdir().unwrap();
        let spaced = dir.path().join("a b");
        std::fs::write(&spaced, "").unwrap();
        let text = format!("/nosuch {} /last", spaced.display());
        assert_eq!(
            split(&text),
            [PathBuf::from("/nosuch"), spaced, PathBuf::from("/last")]
        );
    }
}
