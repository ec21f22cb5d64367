//! Dry runs: EC2 says whether it would perform a request, and changes nothing.

use aws_smithy_types::body::SdkBody;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Ec2;
use crate::aws_error::{Code, aws_error_of, code};
use crate::error::{Error, Result};

/// The version of EC2's API.
const VERSION: &str = "2016-11-15";

impl Ec2<'_> {
    /// Asks whether EC2 would perform a request with these parameters.
    ///
    /// Throws the error with which EC2 would refuse it.
    pub async fn dry_run(&self, action: &str, parameters: &[(String, String)]) -> Result<()> {
        if self.answers_dry_run(action, parameters).await? {
            return Ok(());
        }
        Err(Error::internal(format!(
            "the server has performed {action} although a dry run was requested"
        )))
    }

    /// Returns whether the server knows dry runs. One that does not would perform
    /// the request.
    pub async fn knows_dry_runs(&self) -> Result<bool> {
        self.answers_dry_run("DescribeRegions", &[]).await
    }

    async fn answers_dry_run(&self, action: &str, parameters: &[(String, String)]) -> Result<bool> {
        let form = form(action, parameters);
        // The SDK has no request with any action, so the body of another one is
        // replaced before it is signed.
        let request = self.client.describe_regions().customize();
        let request = request.mutate_request(move |request| {
            let length = form.len().to_string();
            request.headers_mut().insert("content-length", length);
            *request.body_mut() = SdkBody::from(form.clone());
        });
        match request.send().await {
            Ok(_) => Ok(false),
            Err(e) if code(&e) == Code::DryRunOperation => Ok(true),
            Err(e) => Err(aws_error_of(action, &format!("call {action}"), &e)),
        }
    }
}

/// Returns the form of a dry run.
fn form(action: &str, parameters: &[(String, String)]) -> String {
    let fixed = ["Action", "Version", "DryRun"];
    let own = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| !fixed.contains(name));
    let all = [("Action", action), ("Version", VERSION), ("DryRun", "true")];
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = all
        .into_iter()
        .chain(own)
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_request_becomes_a_dry_run() {
        let recorded = [
            ("Action", "RunInstances"),
            ("DryRun", "false"),
            ("UserData", "a+b=&DryRun=false"),
        ];
        let recorded = recorded.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            form("RunInstances", &recorded),
            "Action=RunInstances&Version=2016%2D11%2D15&DryRun=true\
             &UserData=a%2Bb%3D%26DryRun%3Dfalse"
        );
    }
}
