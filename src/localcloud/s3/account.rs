//! The settings of the account. On AWS they belong to S3 Control, a service with
//! the signatures of S3 and a host name of its own.

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Response, StatusCode};
use s3s::Body;

use super::backend::Backend;
use super::failure::{Result, access_denied, document_response, named};

/// The path of Block Public Access of the account.
pub(super) const PATH: &str = "/v20180820/configuration/publicAccessBlock";

/// The header that names the account, which only requests to S3 Control have.
pub(super) const HEADER: &str = "x-amz-account-id";

/// Returns Block Public Access of the account: all four settings are on, or
/// there are none.
pub(super) fn public_access_block(
    backend: &Backend,
    headers: &HeaderMap,
    on: bool,
) -> Result<Response<Body>> {
    let account = headers.get(HEADER).map(HeaderValue::as_bytes);
    if account != Some(backend.account.as_bytes()) {
        return Err(access_denied());
    }
    if !on {
        return Err(named(
            "NoSuchPublicAccessBlockConfiguration",
            StatusCode::NOT_FOUND,
            "The public access block configuration was not found",
        ));
    }
    let settings = [
        "BlockPublicAcls",
        "IgnorePublicAcls",
        "BlockPublicPolicy",
        "RestrictPublicBuckets",
    ];
    let settings = settings.map(|name| format!("<{name}>true</{name}>"));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PublicAccessBlockConfiguration \
         xmlns=\"http://awss3control.amazonaws.com/doc/2018-08-20/\">{}\
         </PublicAccessBlockConfiguration>",
        settings.concat()
    );
    Ok(document_response(body))
}
