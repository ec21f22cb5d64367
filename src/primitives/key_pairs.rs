//! ssh key pairs for EC2.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ssh_key::{Algorithm, PublicKey};

use super::{file_state, release, teardown};
use crate::clients::keys;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Intent, NewResource, ResourceKind, Step};
use crate::script::{self, Declared, NameOr, Named, Outcome, ResultKind, Shape};

#[export_module]
pub mod api {
    /// Makes an ed25519 key pair here and imports its public half into EC2.
    ///
    /// The private key never leaves this machine: it goes into a file with mode
    /// 0600 and is never overwritten.
    ///
    /// Throws `already_exists` when EC2 has the name or the file is there.
    ///
    /// ```rhai
    /// let key = create_key_pair("web-" + run_id());
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create_key_pair(
        call: NativeCallContext,
        name: ImmutableString,
        options: Map,
    ) -> Outcome<Dynamic> {
        let arguments = [&name.clone().into(), &options.clone().into()];
        script::effect(&call, &arguments, async |cx, step| {
            super::create_key_pair(cx, step, &name, script::options(options)?).await
        })
    }

    /// Imports the public half of an ssh key of yours into EC2.
    ///
    /// `file` is a private key, whose public half alone is sent, or a public
    /// one.
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
        let state = file_state(&call, &file);
        let arguments = [&name.clone().into(), &file.clone().into(), &state];
        script::effect(&call, &arguments, async |cx, step| {
            super::import_key_pair(cx, step, &name, &file).await
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
        script::effect(&call, &[&key_pair], async |cx, step| {
            super::delete_key_pair(cx, step, script::argument("key_pair", &key_pair)?).await
        })
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared::of("create_key_pair")
        .options::<CreateKeyPair>()
        .gives::<KeyPair>(Shape::One),
    Declared::of("import_key_pair").gives::<KeyPair>(Shape::One),
];

/// A key pair that EC2 knows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct KeyPair {
    /// "key_pair".
    kind: ResultKind,
    /// Name in EC2.
    name: String,
    /// AWS's id, as `key-0abc`.
    id: String,
    /// Fingerprint of the public half, as "SHA256:...".
    fingerprint: String,
    /// Path of the private key's file; `()` when it is not known.
    private_key: Option<PathBuf>,
}

/// A key pair as a playbook passes it on: a name, or what `create_key_pair`
/// returned.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "NameOr<KnownKeyPair>")]
pub(super) struct KeyPairRef {
    /// Name in EC2.
    pub(super) name: String,
    /// The private key's file, if known.
    pub(super) private_key: Option<PathBuf>,
}

#[derive(Deserialize)]
struct KnownKeyPair {
    name: String,
    #[serde(default)]
    private_key: Option<PathBuf>,
}

impl Named for KnownKeyPair {
    const EXPECTED: &'static str = "a name, or what create_key_pair returned";
}

impl From<NameOr<KnownKeyPair>> for KeyPairRef {
    fn from(given: NameOr<KnownKeyPair>) -> Self {
        match given {
            NameOr::Name(name) => Self {
                name,
                private_key: None,
            },
            NameOr::Map(known) => Self {
                name: known.name,
                private_key: known.private_key,
            },
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateKeyPair {
    /// Where the private key goes; by default a file under the data directory.
    path: Option<PathBuf>,
}

async fn create_key_pair(
    cx: &Context,
    step: &mut Step,
    name: &str,
    options: CreateKeyPair,
) -> Result<KeyPair> {
    check_name(name)?;
    let default = || cx.clients.local.data_dir.join("keys").join(name);
    let path = options
        .path
        .map_or_else(default, |path| cx.clients.local.expand(&path));
    if let Some(recorded) = step.recorded::<KeyPair>()? {
        if step.was_undone() || (key_of(step, &path).is_some() && is_there(cx, step, name).await?) {
            step.replay();
            return Ok(recorded);
        }
        forget_gone(cx, step, &path).await?;
    }
    // Asked first: a missing region or credential must not leave a key behind.
    cx.clients.ec2().await?;
    let id = path.display().to_string();
    let mut wanted = vec![NewResource::with_id(ResourceKind::KeyPair, name, name)];
    let known = key_of(step, &path);
    if known.is_none() {
        wanted.push(NewResource::with_id(ResourceKind::KeyFile, name, &id));
    }
    let mut intents = step.intend(&wanted)?;
    let file = known.is_none().then(|| intents.pop()).flatten();
    let Some(pair) = intents.pop() else {
        return Err(Error::internal("two intents were asked for"));
    };
    let public = match (known, file) {
        (Some(public), _) => public,
        (None, None) => return Err(Error::internal("a key file was asked for")),
        (None, Some(intent)) => {
            let made = match intent
                .is_retried()
                .then(|| ours(&path, intent.token()))
                .flatten()
            {
                Some(public) => Ok(public),
                None => keys::create(&path, name, intent.token()),
            };
            match made {
                Ok(public) => {
                    intent.created(&id);
                    public
                }
                Err(error) => {
                    intent.abandoned(&error);
                    pair.not_created();
                    return Err(error);
                }
            }
        }
    };
    // An earlier attempt may have imported it.
    let first = !pair.is_retried();
    let imported = import(cx, pair, name, &public, Some(path)).await;
    if first && imported.as_ref().is_err_and(Error::proves_no_effect) {
        // A key that EC2 does not know is of no use.
        teardown(cx).release(ResourceKind::KeyFile, &id).await?;
    }
    imported
}

/// The public half of the key file that this step made, if it is there.
fn key_of(step: &Step, path: &Path) -> Option<PublicKey> {
    let rows = step.live(ResourceKind::KeyFile);
    rows.iter().find_map(|row| ours(path, &row.row))
}

/// The public half of a key file with this row in its comment.
fn ours(path: &Path, row: &str) -> Option<PublicKey> {
    let comment = keys::comment(path).ok()??;
    let ours = comment.split(' ').any(|word| word == row);
    ours.then(|| keys::read(path).ok())
        .flatten()
        .map(|key| key.public)
}

/// Whether EC2 still has the key pair that this step made.
async fn is_there(cx: &Context, step: &Step, name: &str) -> Result<bool> {
    let ec2 = cx.clients.ec2().await?;
    for row in step.live(ResourceKind::KeyPair) {
        let ask = async || ec2.key_pair_marks(name).await;
        let marks = cx.seen(&row, ask).await?;
        if marks.is_some_and(|marks| marks.run.as_deref() == Some(cx.ledger.run())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Of a recorded key pair, notes what is gone. A half without the other is of
/// no use, so EC2's goes with the file.
async fn forget_gone(cx: &Context, step: &Step, path: &Path) -> Result<()> {
    let name = step.live(ResourceKind::KeyPair);
    if key_of(step, path).is_none() {
        for row in &name {
            teardown(cx)
                .release(ResourceKind::KeyPair, &row.name)
                .await?;
        }
        for row in step.live(ResourceKind::KeyFile) {
            cx.ledger.is_gone(&row);
        }
    }
    for row in step.live(ResourceKind::KeyPair) {
        cx.ledger.is_gone(&row);
    }
    Ok(())
}

async fn import_key_pair(cx: &Context, step: &mut Step, name: &str, file: &str) -> Result<KeyPair> {
    check_name(name)?;
    let path = cx.clients.local.expand(Path::new(file));
    let key = keys::read(&path)?;
    if let Some(recorded) = step.recorded::<KeyPair>()? {
        if step.was_undone() || is_there(cx, step, name).await? {
            step.replay();
            return Ok(recorded);
        }
        for row in step.live(ResourceKind::KeyPair) {
            cx.ledger.is_gone(&row);
        }
    }
    check_algorithm(&key.public)?;
    cx.clients.ec2().await?;
    let intent = step.intend_one(NewResource::with_id(ResourceKind::KeyPair, name, name))?;
    import(cx, intent, name, &key.public, key.private.then_some(path)).await
}

fn check_algorithm(public: &PublicKey) -> Result<()> {
    match public.algorithm() {
        Algorithm::Ed25519 | Algorithm::Rsa { .. } => Ok(()),
        other => Err(
            Error::invalid(format!("EC2 takes ed25519 and RSA keys, not {other}"))
                .hint("`ssh-keygen -t ed25519` makes one that fits"),
        ),
    }
}

async fn import(
    cx: &Context,
    intent: Intent,
    name: &str,
    public: &PublicKey,
    private_key: Option<PathBuf>,
) -> Result<KeyPair> {
    let text = public
        .to_openssh()
        .map_err(|e| Error::internal(format!("cannot write the public key: {e}")))?;
    let ec2 = cx.clients.ec2().await?;
    let tags = cx.tags(name, intent.token(), &BTreeMap::new());
    let id = match ec2.import_key_pair(name, &text, &tags).await {
        // This request once before, its answer lost; or an earlier attempt.
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            match ec2.key_pair_marks(name).await {
                Ok(Some(marks)) if marks.row.as_deref() == Some(intent.token()) => {
                    let id = ec2.key_pair_id(name).await;
                    id.map_err(Error::after_another)
                }
                _ => Err(error),
            }
        }
        imported => imported,
    };
    match id {
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
                kind: ResultKind::KeyPair,
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

async fn delete_key_pair(cx: &Context, step: &mut Step, key_pair: KeyPairRef) -> Result<()> {
    release(cx, step, ResourceKind::KeyPair, &key_pair.name).await?;
    if let Some(path) = key_pair.private_key.map(|path| path.display().to_string())
        && cx.ledger.made(ResourceKind::KeyFile, &path)
    {
        release(cx, step, ResourceKind::KeyFile, &path).await?;
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
