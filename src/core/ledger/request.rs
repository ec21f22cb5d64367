//! Requests to AWS, recorded so that `autorun policy` knows what a run needs. They
//! have no influence on a resumed run and cause no commit: the next commit writes
//! them.

use std::fmt::Debug;

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::resource::ResourceKind;
use super::store::Store;
use crate::error::Result;

/// The distinct requests of a run that differ in nothing a policy depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The service, as in the names of IAM actions, such as `ec2`.
    pub service: String,
    /// The operation, such as `RunInstances`.
    pub operation: String,
    /// The resources and tags in it, as JSON, without any contents.
    pub about: String,
    /// The function of the playbook that caused it, such as `launch_instance`.
    pub function: String,
    /// The place of that call, such as `web.rhai:12`; empty if there is none.
    pub place: String,
}

/// Knows the requests of this process.
pub trait Requests: Debug + Send + Sync {
    /// Returns the requests since the last call.
    fn take(&self) -> Vec<Request>;
}

/// Inserts a request, unless an equal one is recorded.
pub(super) fn write_request(
    tx: &Transaction,
    run: &str,
    request: &Request,
) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT OR IGNORE INTO request (run, service, operation, about, function, place) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert.execute(params![
        run,
        request.service,
        request.operation,
        request.about,
        request.function,
        request.place,
    ])?;
    Ok(())
}

impl Store {
    /// Returns the distinct requests of a run.
    pub fn requests(&self, run: &str) -> Result<Vec<Request>> {
        self.read(|db| {
            let mut query = db.prepare(
                "SELECT service, operation, about, function, place FROM request \
                 WHERE run = ?1 ORDER BY service, operation, about, function, place",
            )?;
            let rows = query.query_map([run], |row| {
                Ok(Request {
                    service: row.get(0)?,
                    operation: row.get(1)?,
                    about: row.get(2)?,
                    function: row.get(3)?,
                    place: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Returns whether a run of this ledger created the resource.
    pub fn created(&self, kind: ResourceKind, id: &str) -> Result<bool> {
        self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM resource WHERE kind = ?1 AND id = ?2)",
            )?;
            query.query_row([kind.as_str(), id], |row| row.get(0))
        })
    }
}
