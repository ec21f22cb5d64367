//! Ends a request that could change something, before it is sent, if another machine has
//! taken the run over: a process that was stopped, or a laptop that slept, continues where
//! it was, which may be right before a request.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_sdk_ec2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;

use super::read_only::{changes_nothing, looks};
use crate::error::Result;

type Check = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// Whether the run may still change something. It may until a check is set. Cheap to clone.
#[derive(Clone, Default)]
pub struct Fence(Arc<OnceLock<Check>>);

impl Fence {
    /// Sets the check, which is only once possible.
    pub fn set(&self, check: impl Fn() -> Result<()> + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(check));
    }

    fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |check| check())
    }

    /// Checks whether an operation of a service without an SDK may be sent.
    pub(super) fn check_operation(&self, operation: &str) -> Result<()> {
        if looks(operation) {
            return Ok(());
        }
        self.check()
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence(set: {})", self.0.get().is_some())
    }
}

impl Intercept for Fence {
    fn name(&self) -> &'static str {
        "Fence"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let request = context.request();
        let body = request.body().bytes().unwrap_or_default();
        if !changes_nothing(request.method(), body) {
            self.check()?;
        }
        Ok(())
    }
}
