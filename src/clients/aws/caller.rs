//! Who sends the requests: the account id, and whether the account has enabled the
//! region at all.

use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::types::{self, Filter};

use super::Aws;
use crate::account::region_not_enabled;
use crate::aws_error::{Code, aws_error, code};
use crate::calls::Service;
use crate::error::Result;
use crate::signed::global;

/// The timeout of each query here.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The status of a region that the account has to enable first.
const NOT_OPTED_IN: &str = "not-opted-in";

impl Aws {
    /// Returns the account id, or an empty string if it is not known.
    ///
    /// Throws the same kinds as [`Self::ec2`], but does not fail if STS does
    /// not answer: no operation depends on the account id.
    pub(crate) async fn account(&self) -> Result<String> {
        match self.caller().await? {
            Ok(account) => Ok(account),
            Err(error) => {
                self.report.debug(error.to_string());
                Ok(String::new())
            }
        }
    }

    /// Returns the account id, or the error of STS. The id is empty if it cannot be
    /// known.
    ///
    /// Throws the same kinds as [`Self::ec2`].
    pub(crate) async fn caller(&self) -> Result<Result<String>> {
        let config = &self.config().await?.sdk;
        let endpoint = &self.options.endpoints.sts;
        // AWS's STS knows nothing about the account behind another endpoint.
        let elsewhere = self.options.endpoints.ec2.is_some() || self.options.endpoints.s3.is_some();
        if endpoint.is_none() && elsewhere {
            return Ok(Ok(String::new()));
        }
        let mut sts = aws_sdk_sts::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
        if endpoint.is_some() {
            sts = sts.use_fips(false).use_dual_stack(false);
        }
        sts.set_endpoint_url(endpoint.clone());
        let mut sts = sts.interceptor(self.attempts(endpoint.as_ref()));
        if let Some(recorder) = self.options.listeners.interceptor(Service::Sts) {
            sts = sts.interceptor(recorder);
        }
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        match sts.get_caller_identity().send().await {
            Ok(answer) => Ok(Ok(answer.account().unwrap_or_default().to_owned())),
            Err(e) => {
                if code(&e) == Code::InvalidClientTokenId {
                    self.look_up_region(config).await;
                    self.check_enabled()?;
                }
                Ok(Err(aws_error("get the account id", &e)))
            }
        }
    }

    /// Fails if it is known that the account has not enabled the region.
    pub(super) fn check_enabled(&self) -> Result<()> {
        self.not_enabled
            .get()
            .map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Finds out whether the account has enabled the region. In a region that is not
    /// enabled, AWS knows no access key of the account, so another one is asked.
    async fn look_up_region(&self, config: &SdkConfig) {
        let Some(region) = config.region().map(Region::as_ref) else {
            return;
        };
        let other = global(region).region;
        if region == other {
            return;
        }
        let endpoint = &self.options.endpoints.ec2;
        let mut ec2 = aws_sdk_ec2::config::Builder::from(config)
            .region(Region::new(other))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
        if endpoint.is_some() {
            ec2 = ec2.use_fips(false).use_dual_stack(false);
        }
        ec2.set_endpoint_url(endpoint.clone());
        let ec2 = ec2.interceptor(self.attempts(endpoint.as_ref()));
        let name = Filter::builder().name("region-name").values(region).build();
        let request = aws_sdk_ec2::Client::from_conf(ec2.build()).describe_regions();
        let answer = match request.all_regions(true).filters(name).send().await {
            Ok(answer) => answer,
            Err(e) => {
                let error = aws_error(&format!("look up the region in {other}"), &e);
                return self.report.debug(error.to_string());
            }
        };
        let regions = answer.regions().iter();
        let mut statuses = regions.filter_map(types::Region::opt_in_status);
        if statuses.any(|status| status == NOT_OPTED_IN) {
            // Only the first of several callers sets it.
            let _ = self.not_enabled.set(region_not_enabled(region));
        }
    }
}
