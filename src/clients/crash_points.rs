//! Crash points around each AWS request.

use aws_sdk_ec2::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;

use crate::crash;

/// Marks crash points before a request is sent, after its effect but before its
/// answer is read, and after its answer is read.
#[derive(Debug)]
pub(super) struct CrashPoints;

type Done = Result<(), BoxError>;

impl Intercept for CrashPoints {
    fn name(&self) -> &'static str {
        "CrashPoints"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Done {
        crash::reached("before a request");
        Ok(())
    }

    fn read_after_transmit(
        &self,
        _: &aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Done {
        crash::reached("before an answer");
        Ok(())
    }

    fn read_after_execution(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Done {
        crash::reached("after an answer");
        Ok(())
    }
}
