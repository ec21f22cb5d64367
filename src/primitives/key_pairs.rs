//! ssh key pairs for EC2.

use std::path::{Path, PathBuf};

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde::{Deserialize, Serialize};

use crate::clients::keys;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ledger::ResourceKind;
use crate::script::{self, Outcome};
use crate::teardown;

#[export_module]
pub mod api {
    /// Makes an ed25519 key pair here and imports its public half into EC2.
    ///
    /// The private key never leaves this machine: it goes into a file with mode
    /// 0600 and is never overwritten. Gives a map with `name`, `id`,
    /// `fingerprint` and `private_key`, the file's path.
    ///
    /// - `path` (string): where the private key goes; by default a file under
    ///   the data directory.
    ///
    /// Throws `already_exists` when EC2 has the name or the file is there.
    ///
    /// ```rhai
    /// let key = create_key_pair("web-" + run_id());
    /// ```
    #[rhai_fn(name = "create_key_pair", return_raw)]
    pub fn create_key_pair_with(
        call: NativeCallContext,
        name: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::create_key_pair(cx, &name, script::options(options)?).await
        })
    }

    #[rhai_fn(return_raw)]
    pub fn create_key_pair(call: NativeCallContext, name: ImmutableString) -> Outcome<Dynamic> {
        create_key_pair_with(call, name, Map::new())
    }

    /// Imports the public half of an ssh key of yours into EC2.
    ///
    /// `file` is a private key, whose public half alone is sent, or a public
    /// one. Gives the same map as `create_key_pair`; `private_key` is `()` when
    /// `file` is a public key.
    ///
    /// Throws `already_exists`, `not_found`, `invalid_option` for what is no key.
    ///
    /// ```rhai
    /// let key = import_key_pair("web-" + run_id(), "~/.ssh/id_ed25519");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn import_key_pair(
        call: NativeCallContext,
        name: ImmutableString,
        file: ImmutableString,
    ) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::import_key_pair(cx, &name, &file).await
        })
    }

    /// Deletes a key pair from EC2, and its private key file if this run made it.
    ///
    /// `key_pair` is what `create_key_pair` gave, or a name. One that is gone
    /// is no error.
    ///
    /// Throws `denied` for a key pair that autorun did not make.
    ///
    /// ```rhai
    /// let key = create_key_pair("web-" + run_id());
    /// delete_key_pair(key);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn delete_key_pair(call: NativeCallContext, key_pair: Dynamic) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::delete_key_pair(cx, KeyPairRef::of("key_pair", &key_pair)?).await
        })
    }
}

/// A key pair that EC2 knows.
#[derive(Debug, Serialize)]
struct KeyPair {
    name: String,
    id: String,
    fingerprint: String,
    private_key: Option<PathBuf>,
}

/// A key pair as a playbook passes it on.
#[derive(Debug, Deserialize)]
pub(super) struct KeyPairRef {
    /// Name in EC2.
    pub(super) name: String,
    /// The private key's file, if known.
    #[serde(default)]
    pub(super) private_key: Option<PathBuf>,
}

impl KeyPairRef {
    /// From a name or from what `create_key_pair` gave.
    pub(super) fn of(argument: &str, value: &Dynamic) -> Result<Self> {
        match value.clone().into_immutable_string() {
            Ok(name) => Ok(Self {
                name: name.into(),
                private_key: None,
            }),
            Err(_) => script::argument(argument, value),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateKeyPair {
    path: Option<PathBuf>,
}

async fn create_key_pair(cx: &Context, name: &str, options: CreateKeyPair) -> Result<KeyPair> {
    check_name(name)?;
    let default = || cx.clients.local.data_dir.join("keys").join(name);
    let path = options
        .path
        .map_or_else(default, |path| cx.clients.local.expand(&path));
    // Asked first: a missing region or credential must not leave a key behind.
    cx.clients.ec2().await?;
    let intent = cx.ledger.intend(ResourceKind::KeyFile, name);
    let public = match keys::create(&path, name) {
        Ok(public) => {
            intent.created(&path.display().to_string());
            public
        }
        Err(error) => {
            intent.abandoned(&error);
            return Err(error);
        }
    };
    let imported = import(cx, name, &public, Some(path.clone())).await;
    if imported.as_ref().is_err_and(|e| e.kind.proves_no_effect()) {
        // A key that EC2 does not know is of no use.
        let id = path.display().to_string();
        teardown::release(
            &cx.clients,
            &cx.ledger,
            &cx.report,
            ResourceKind::KeyFile,
            &id,
        )
        .await?;
    }
    imported
}

async fn import_key_pair(cx: &Context, name: &str, file: &str) -> Result<KeyPair> {
    check_name(name)?;
    let path = cx.clients.local.expand(Path::new(file));
    let key = keys::read(&path)?;
    import(cx, name, &key.public, key.private.then_some(path)).await
}

async fn import(
    cx: &Context,
    name: &str,
    public: &ssh_key::PublicKey,
    private_key: Option<PathBuf>,
) -> Result<KeyPair> {
    if !matches!(
        public.algorithm(),
        ssh_key::Algorithm::Ed25519 | ssh_key::Algorithm::Rsa { .. }
    ) {
        return Err(Error::invalid(format!(
            "EC2 takes ed25519 and RSA keys, not {}",
            public.algorithm()
        ))
        .hint("`ssh-keygen -t ed25519` makes one that fits"));
    }
    let text = public
        .to_openssh()
        .map_err(|e| Error::internal(format!("cannot write the public key: {e}")))?;
    let ec2 = cx.clients.ec2().await?;
    let intent = cx.ledger.intend(ResourceKind::KeyPair, name);
    let tags = cx.tags(name, intent.token(), &std::collections::BTreeMap::new());
    match ec2.import_key_pair(name, &text, &tags).await {
        Ok(id) => {
            intent.created(name);
            let at = private_key
                .as_ref()
                .map(|p| format!(", private key in {}", p.display()));
            cx.report.info(format!(
                "imported key pair {name}{}",
                at.unwrap_or_default()
            ));
            let fingerprint = keys::fingerprint(public);
            Ok(KeyPair {
                name: name.to_owned(),
                id,
                fingerprint,
                private_key,
            })
        }
        Err(error) => {
            intent.abandoned(&error);
            Err(error)
        }
    }
}

async fn delete_key_pair(cx: &Context, key_pair: KeyPairRef) -> Result<()> {
    let release = async |kind, id: &str| {
        teardown::release(&cx.clients, &cx.ledger, &cx.report, kind, id).await
    };
    release(ResourceKind::KeyPair, &key_pair.name).await?;
    if let Some(path) = key_pair.private_key.map(|path| path.display().to_string())
        && cx.ledger.made(ResourceKind::KeyFile, &path)
    {
        release(ResourceKind::KeyFile, &path).await?;
    }
    Ok(())
}

/// EC2's rule, and none that would leave the key directory.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 255 || !name.is_ascii() || name.contains('/') {
        return Err(Error::invalid(format!("`{name}` cannot name a key pair"))
            .hint("use 1 to 255 ASCII characters without slashes"));
    }
    Ok(())
}
