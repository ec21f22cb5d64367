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

#[export_module(manifest)]
pub mod api {
    /// Creates an ssh key pair and imports it into EC2.
    ///
    /// The key pair (ed25519) is generated on this machine, and only the public
    /// key is sent to AWS. The private key is written to a new file with mode
    /// 0600; an existing file is never overwritten. A missing directory is
    /// created.
    ///
    /// Throws `already_exists` if EC2 has a key pair with this name or the file
    /// already exists, `invalid_option` if the name is not valid, and `denied`
    /// if the file cannot be written or AWS refuses the request.
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
            super::create_key_pair(cx, step, &name, script::options(&call, options)?).await
        })
    }

    /// Imports an existing ssh key into EC2.
    ///
    /// `file` is the path of a private or a public key file on this machine.
    /// Only the public key is sent to AWS. EC2 accepts ed25519 and RSA keys.
    ///
    /// Throws:
    ///
    /// - `already_exists` if EC2 has a key pair with this name;
    /// - `not_found` if the file does not exist;
    /// - `denied` if the file cannot be read or AWS refuses the request;
    /// - `invalid_option` if the file is not an ssh key or EC2 does not accept
    ///   the type of the key.
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

    /// Deletes a key pair from EC2.
    ///
    /// `key_pair` is a map that `create_key_pair` returned, or a name. With a
    /// map, the private key file is deleted too if this run created it.
    /// Deleting a key pair that does not exist is not an error.
    ///
    /// Throws `denied` if autorun did not create or import the key pair.
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
        .returns::<KeyPair>(Shape::One),
    Declared::of("import_key_pair").returns::<KeyPair>(Shape::One),
];

/// The map of a key pair in EC2.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct KeyPair {
    /// "key_pair".
    kind: ResultKind,
    /// Name of the key pair in EC2.
    name: String,
    /// Id of the key pair, such as `key-0abc`.
    id: String,
    /// Fingerprint of the public key, such as "SHA256:...".
    fingerprint: String,
    /// Path of the private key file; `()` if it is not known.
    private_key: Option<PathBuf>,
}

/// A key pair as an argument or option: a name, or a map that `create_key_pair`
/// returned.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "NameOr<KnownKeyPair>")]
pub(super) struct KeyPairRef {
    /// Name in EC2.
    pub(super) name: String,
    /// Path of the private key file, if known.
    pub(super) private_key: Option<PathBuf>,
}

#[derive(Deserialize)]
struct KnownKeyPair {
    name: String,
    #[serde(default)]
    private_key: Option<PathBuf>,
}

impl Named for KnownKeyPair {
    const EXPECTED: &'static str = "a name, or the map that create_key_pair returned";
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
    /// Path of the private key file to write. The default is a file in the data
    /// directory of autorun.
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
        .map_or_else(default, |path| cx.clients.local.output(&path));
    if let Some(recorded) = step.recorded::<KeyPair>()? {
        if step.was_undone()
            || (key_of(step, &path).is_some() && still_exists(cx, step, name).await?)
        {
            step.replay();
            return Ok(recorded);
        }
        check_is_here(cx, step, &path)?;
        forget_gone(cx, step, &path).await?;
    }
    // Set up the client before the key is written: a missing region or credential
    // must not leave a key file behind.
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
        return Err(Error::internal(
            "the ledger returned no intent for the key pair",
        ));
    };
    let public = match (known, file) {
        (Some(public), _) => public,
        (None, None) => {
            return Err(Error::internal(
                "the ledger returned no intent for the key file",
            ));
        }
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
    // An earlier attempt may have imported the key, so keep its file.
    let first = !pair.is_retried();
    let imported = import(cx, pair, name, &public, Some(path)).await;
    if first && imported.as_ref().is_err_and(Error::proves_no_effect) {
        // A key that EC2 does not have is useless.
        teardown(cx).release(ResourceKind::KeyFile, &id).await?;
    }
    imported
}

/// Returns the public key of the key file that this step created, if the file
/// exists.
fn key_of(step: &Step, path: &Path) -> Option<PublicKey> {
    let rows = step.live(ResourceKind::KeyFile);
    rows.iter().find_map(|row| ours(path, &row.row))
}

/// Returns the public key of a key file whose comment contains this row.
fn ours(path: &Path, row: &str) -> Option<PublicKey> {
    let comment = keys::comment(path).ok()??;
    let ours = comment.split(' ').any(|word| word == row);
    ours.then(|| keys::read(path).ok())
        .flatten()
        .map(|key| key.public)
}

/// Checks that the private key of a shared run is on this machine. Another key would not
/// fit the instances that the run has launched.
fn check_is_here(cx: &Context, step: &Step, path: &Path) -> Result<()> {
    let is_recorded = !step.live(ResourceKind::KeyFile).is_empty();
    if !cx.ledger.is_shared() || !is_recorded || key_of(step, path).is_some() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!(
            "the private key `{}` is not on this machine, and a shared ledger has no private keys",
            path.display()
        ),
    )
    .hint("resume the run on the machine that created the key, or copy the file from there"))
}

/// Returns whether EC2 still has the key pair that this step created.
async fn still_exists(cx: &Context, step: &Step, name: &str) -> Result<bool> {
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

/// Marks the missing parts of a recorded key pair in the ledger. If the key file is
/// missing, deletes the key pair from EC2 too, because it is useless without it.
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
        if step.was_undone() || still_exists(cx, step, name).await? {
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
            Error::invalid(format!("EC2 accepts ed25519 and RSA keys, not {other}"))
                .hint("create another key with `ssh-keygen -t ed25519`"),
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
        // The key pair may come from this request, if its answer was lost and it
        // was sent again, or from an earlier attempt.
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

/// Checks EC2's rules for the name, and that the key file stays in its directory.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 255 || !name.is_ascii() || name.contains('/') {
        return Err(
            Error::invalid(format!("`{name}` is not a valid key pair name"))
                .hint("use 1 to 255 ASCII characters without slashes"),
        );
    }
    Ok(())
}
