//! Counts the requests that ask for a change, so that a test can show that a command
//! asks for none.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::Method;

/// The number of requests that would change something, also of those that are refused.
/// A dry run is no such request.
#[derive(Debug, Default)]
pub(crate) struct Mutations(AtomicU64);

impl Mutations {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a request to EC2, IAM, STS or Systems Manager. AWS names the operations
    /// that only read `Describe..`, `Get..` or `List..`.
    pub(crate) fn note_query(&self, operation: &str, form: &[u8]) {
        let reads = ["Describe", "Get", "List"];
        let mut fields = form_urlencoded::parse(form);
        let mut is_dry = || fields.any(|(name, value)| name == "DryRun" && value == "true");
        if !reads.iter().any(|verb| operation.starts_with(verb)) && !is_dry() {
            self.add();
        }
    }

    /// Counts a request to S3.
    pub(crate) fn note_object(&self, method: &Method) {
        if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            self.add();
        }
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dry_runs_and_queries_are_not_counted() {
        let mutations = Mutations::default();
        mutations.note_query("RunInstances", b"Action=RunInstances&DryRun=true");
        mutations.note_query("DescribeVpcs", b"Action=DescribeVpcs");
        mutations.note_query("ListRoles", b"Action=ListRoles");
        mutations.note_object(&Method::HEAD);
        assert_eq!(mutations.count(), 0);
        mutations.note_query("RunInstances", b"Action=RunInstances&DryRun=false");
        mutations.note_object(&Method::PUT);
        assert_eq!(mutations.count(), 2);
    }
}
