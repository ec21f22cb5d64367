//! Block Public Access of the whole account, which the control plane of S3 serves
//! at another host than the buckets.

use aws_sdk_s3::types::PublicAccessBlockConfiguration;

use super::aws::Aws;
use super::aws_error::{Code, aws_error, code};
use crate::error::Result;

/// The path of the setting.
const PATH: &str = "/v20180820/configuration/publicAccessBlock";

impl Aws {
    /// Returns whether the account forbids public objects in all its buckets.
    ///
    /// Throws `denied` if the caller may not read the setting.
    pub(super) async fn account_blocks_public(&self, account: &str) -> Result<bool> {
        let region = self.region().await?;
        let endpoint = self.endpoint_of_s3().unwrap_or_else(|| {
            let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://{account}.s3-control.{region}.amazonaws.com{suffix}")
        });
        let config = self.s3().await?.config().to_builder();
        let client = aws_sdk_s3::Client::from_conf(
            config
                .endpoint_url(&endpoint)
                .use_fips(false)
                .use_dual_stack(false)
                .force_path_style(true)
                .build(),
        );
        let url = format!("{}{PATH}", endpoint.trim_end_matches('/'));
        let account = account.to_owned();
        // The bucket's operation has the same answer. Only its place differs.
        let request = client.get_public_access_block().bucket("account");
        let request = request.customize().mutate_request(move |request| {
            // The URL is valid: the endpoint was already used.
            let _set = request.set_uri(url.clone());
            let headers = request.headers_mut();
            headers.insert("x-amz-account-id", account.clone());
        });
        match request.send().await {
            Ok(answer) => Ok(answer
                .public_access_block_configuration()
                .is_some_and(blocks)),
            Err(e) => match code(&e) {
                Code::NoSuchPublicAccessBlockConfiguration => Ok(false),
                _ => Err(aws_error("read the account's Block Public Access", &e)),
            },
        }
    }
}

/// Returns whether a bucket policy could not make an object public.
fn blocks(settings: &PublicAccessBlockConfiguration) -> bool {
    settings.block_public_policy() == Some(true) || settings.restrict_public_buckets() == Some(true)
}
