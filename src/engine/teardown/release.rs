//! Releases one resource: checks who created it, updates the ledger, deletes
//! it.

use super::Teardown;
use super::delete::{delete, split_object};
use super::maker::{Maker, not_ours};
use crate::clients::s3::PoliciesBefore;
use crate::error::Result;
use crate::ledger::{Remover, Resource, ResourceKind};

impl Teardown<'_> {
    /// Removes a resource and waits until it is gone. The ledger durably
    /// records the intention before the deletion; its next commit records that
    /// the resource is gone.
    ///
    /// Throws `denied` if autorun did not create it, `timeout`.
    pub async fn release(&self, kind: ResourceKind, id: &str) -> Result<()> {
        let words = kind.words();
        let row = self.ledger.live_row(kind, id);
        match self.maker(kind, id, row.as_ref()).await? {
            Maker::Ours => {}
            Maker::Gone => {
                self.ledger.committed().await?;
                if let Some(release) = self.ledger.intend_release(kind, id, self.by) {
                    release.released();
                }
                self.forget(kind, id);
                self.report
                    .info(format!("{words} {id} does not exist; nothing to delete"));
                return Ok(());
            }
            Maker::Other => return Err(not_ours(kind, id, row.is_some())),
        }
        let release = self.ledger.intend_release(kind, id, self.by);
        self.ledger.committed().await?;
        if kind == ResourceKind::Bucket && self.by == Remover::User {
            let emptied = self.clients.s3().await?.empty_bucket(id).await;
            if let Err(error) = emptied {
                if let Some(release) = release {
                    release.abandoned();
                }
                return Err(error);
            }
        }
        let result = match &row {
            Some(row) if kind == ResourceKind::Object && self.by == Remover::User => {
                let (bucket, key) = split_object(id)?;
                let s3 = self.clients.s3().await?;
                s3.delete_own_versions(bucket, key, &row.row).await
            }
            _ => delete(self.clients, self.report, kind, id).await,
        };
        if result.is_ok()
            && let Some(row) = row.filter(|row| row.kind == ResourceKind::PublicAccess)
            && PoliciesBefore::parse(&row.name) == Some(PoliciesBefore::Blocked)
        {
            let (bucket, _) = split_object(id_of(&row))?;
            self.clients
                .s3()
                .await?
                .block_public_policies(bucket, true)
                .await?;
        }
        match (&result, release) {
            (Ok(()), Some(release)) => release.released(),
            (Err(_), Some(release)) => release.abandoned(),
            (_, None) => {}
        }
        result?;
        self.ledger.removed_for_other_runs(kind, id);
        self.forget(kind, id);
        self.report.info(format!("deleted {words} {id}"));
        Ok(())
    }

    /// Forgets everything that belonged to a removed resource.
    fn forget(&self, kind: ResourceKind, id: &str) {
        match kind {
            ResourceKind::Instance => self.clients.ssh().forget_pin(id),
            ResourceKind::Bucket => {
                self.removed_with(ResourceKind::Object, &format!("{id}/"));
                self.removed_with(ResourceKind::MultipartUpload, &format!("{id}/"));
            }
            ResourceKind::SecurityGroup => {
                self.removed_with(ResourceKind::Ingress, &format!("{id} "));
            }
            _ => {}
        }
    }

    /// Records resources of this kind whose id has this prefix as removed too.
    fn removed_with(&self, kind: ResourceKind, beginning: &str) {
        let inside = |id: &str| id.starts_with(beginning);
        for row in self.ledger.resources() {
            if row.kind == kind && row.id.as_deref().is_some_and(inside) {
                self.ledger.removed_with(&row, self.by);
            }
        }
    }
}

/// Returns the row's id in the cloud, or its name.
pub(super) fn id_of(row: &Resource) -> &str {
    row.id.as_deref().unwrap_or(&row.name)
}
