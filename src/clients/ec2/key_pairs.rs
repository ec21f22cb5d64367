//! Key pairs.

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::ResourceType;

use super::Ec2;
use super::tags::{marks, tag_specification};
use crate::aws_error::{Code, aws_error, code};
use crate::error::Result;
use crate::marks::{Marks, Tags};

impl Ec2<'_> {
    /// Imports a public key. Returns the key pair's id.
    ///
    /// Throws `already_exists`.
    pub async fn import_key_pair(&self, name: &str, public: &str, tags: &Tags) -> Result<String> {
        let answer = self
            .client
            .import_key_pair()
            .key_name(name)
            .public_key_material(Blob::new(public.as_bytes()))
            .tag_specifications(tag_specification(ResourceType::KeyPair, tags))
            .send()
            .await
            .map_err(|e| aws_error(&format!("import key pair `{name}`"), &e))?;
        Ok(answer.key_pair_id().unwrap_or_default().to_owned())
    }

    /// Deletes a key pair. Deleting one that does not exist is not an error.
    pub async fn delete_key_pair(&self, name: &str) -> Result<()> {
        self.client
            .delete_key_pair()
            .key_name(name)
            .send()
            .await
            .map_err(|e| aws_error(&format!("delete key pair `{name}`"), &e))?;
        Ok(())
    }

    /// Returns the marks of a key pair, or `None` if it does not exist.
    pub async fn key_pair_marks(&self, name: &str) -> Result<Option<Marks>> {
        match self
            .client
            .describe_key_pairs()
            .key_names(name)
            .send()
            .await
        {
            Ok(answer) => Ok(answer.key_pairs().first().map(|k| marks(k.tags()))),
            Err(e) if code(&e) == Code::InvalidKeyPairNotFound => Ok(None),
            Err(e) => Err(aws_error(&format!("look up key pair `{name}`"), &e)),
        }
    }

    /// Returns the id of a key pair, for example `key-0abc`.
    pub async fn key_pair_id(&self, name: &str) -> Result<String> {
        let answer = self
            .client
            .describe_key_pairs()
            .key_names(name)
            .send()
            .await
            .map_err(|e| aws_error(&format!("look up key pair `{name}`"), &e))?;
        let first = answer.key_pairs().first().and_then(|k| k.key_pair_id());
        Ok(first.unwrap_or_default().to_owned())
    }
}
