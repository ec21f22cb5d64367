//! The checksums of requests to servers other than AWS's.
//!
//! The SDK adds a checksum to every upload, at its end. Many servers store that
//! as a part of the object or refuse it, so they get checksums only where the
//! protocol requires them, unless the user's configuration decides.

use aws_config::SdkConfig;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_types::service_config::ServiceConfigKey;

/// Sends and expects checksums only if an operation requires them, unless the
/// environment or the profile has a setting of its own.
pub(super) fn only_if_required(config: &SdkConfig, mut s3: Builder) -> Builder {
    let keys = [
        "request_checksum_calculation",
        "response_checksum_validation",
    ];
    let [request, response] = keys.map(|key| is_set(config, key));
    if !request {
        s3 = s3.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    }
    if !response {
        s3 = s3.response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    s3
}

/// Returns whether the environment (`AWS_` and the key in capitals) or the
/// profile has a setting.
fn is_set(config: &SdkConfig, profile: &str) -> bool {
    let env = format!("AWS_{}", profile.to_ascii_uppercase());
    let key = ServiceConfigKey::builder()
        .service_id("s3")
        .env(&env)
        .profile(profile)
        .build();
    match (config.service_config(), key) {
        (Some(settings), Ok(key)) => settings.load_config(key).is_some(),
        _ => false,
    }
}
