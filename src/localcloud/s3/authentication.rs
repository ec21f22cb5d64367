//! Authentication of requests to S3, with the error messages of S3.

use hyper::StatusCode;
use hyper::http::request::Parts;
use jiff::Timestamp;
use s3s::{S3Error, S3ErrorCode};

use super::failure::{
    Naming as _, Result, access_denied, bad_argument, fail, invalid_argument, invalid_request,
    named,
};
use crate::query::Query;
use crate::signature::{
    self, Explanation, Fault, Flaw, FormSignature, Keys, Place, Service, Signed, Validity,
};

/// Verifies the signature of a request. Returns `None` if the request is not
/// signed.
pub(super) fn authenticate(
    parts: &Parts,
    query: &Query,
    keys: &Keys,
    validity: Validity<'_>,
) -> Result<Option<Signed>> {
    signature::verify(parts, query, Service::S3, keys, validity).map_err(|fault| {
        let explanation = signature::explain(parts, query).unwrap_or_default();
        describe(refusal(fault.clone()), &fault, &explanation, validity.now)
    })
}

/// Verifies the signature of a form's policy.
pub(super) fn authenticate_form(
    parts: &Parts,
    policy: &str,
    presented: &FormSignature<'_>,
    keys: &Keys,
    now: Timestamp,
) -> Result<Signed> {
    signature::verify_form(parts, policy, presented, keys, now).map_err(refusal)
}

/// Adds to an error what S3 tells about the signature.
fn describe(error: S3Error, fault: &Fault, about: &Explanation, now: Timestamp) -> S3Error {
    let iso = |time: Timestamp| format!("{time:.0}");
    let end = about.end.and_then(|end| Timestamp::from_second(end).ok());
    match fault {
        Fault::UnknownKey => error.naming("AWSAccessKeyId", &about.access_key_id),
        Fault::Unsigned(names) => error.naming("HeadersNotSigned", names.join(", ")),
        Fault::Skewed(date) => error
            .naming("RequestTime", date)
            .naming("ServerTime", iso(now))
            .naming("MaxAllowedSkewMilliseconds", "900000"),
        Fault::Expired => {
            let error = match about.lifetime {
                Some(seconds) => error.naming("X-Amz-Expires", seconds.to_string()),
                None => error,
            };
            error
                .naming("Expires", end.map(iso).unwrap_or_default())
                .naming("ServerTime", iso(now))
        }
        Fault::Mismatch => {
            let error = error
                .naming("AWSAccessKeyId", &about.access_key_id)
                .naming("StringToSign", &about.string_to_sign)
                .naming("SignatureProvided", &about.signature)
                .naming("StringToSignBytes", octets(&about.string_to_sign));
            match &about.canonical_request {
                Some(request) => error
                    .naming("CanonicalRequest", request)
                    .naming("CanonicalRequestBytes", octets(request)),
                None => error,
            }
        }
        _ => error,
    }
}

/// Returns the bytes of a text in hexadecimal, as S3 shows them.
fn octets(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

fn refusal(fault: Fault) -> S3Error {
    let denied = |message: String| fail(S3ErrorCode::AccessDenied, message);
    match fault {
        Fault::Several => invalid_argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
        ),
        Fault::Scheme { version_2: true } => invalid_request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
        Fault::Scheme { version_2: false } => invalid_argument("Unsupported Authorization Type"),
        Fault::Malformed(Place::Header, flaw) => malformed_header(&flaw),
        Fault::Malformed(Place::Query, flaw) => malformed_query(&flaw),
        Fault::Malformed(Place::Form, flaw) => malformed_form(&flaw),
        Fault::NoDate => {
            denied("AWS authentication requires a valid Date or x-amz-date header".to_owned())
        }
        Fault::NoPayload => {
            invalid_request("Missing required header for this request: x-amz-content-sha256")
        }
        Fault::UnknownKey => fail(
            S3ErrorCode::InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
        Fault::Token => fail(
            S3ErrorCode::InvalidToken,
            "The provided token is malformed or otherwise invalid.",
        ),
        Fault::TokenExpired => fail(S3ErrorCode::ExpiredToken, "The provided token has expired."),
        Fault::OtherDay(Place::Header, ..) => named(
            "AuthorizationHeaderMalformed",
            StatusCode::BAD_REQUEST,
            "The authorization header is malformed; Invalid credential date. Date is not the same as X-Amz-Date.",
        ),
        Fault::OtherDay(Place::Form, day, asked) => bad_argument(
            "X-Amz-Date",
            &asked,
            format!(
                "Invalid credential date \"{day}\". This date is not the same as X-Amz-Date: \"{asked}\"."
            ),
        ),
        Fault::OtherDay(Place::Query, day, asked) => named(
            "AuthorizationQueryParametersError",
            StatusCode::BAD_REQUEST,
            format!(
                "Invalid credential date \"{day}\". This date is not the same as X-Amz-Date: \"{asked}\"."
            ),
        ),
        Fault::Skewed(_) => fail(
            S3ErrorCode::RequestTimeTooSkewed,
            "The difference between the request time and the current time is too large.",
        ),
        Fault::Expired => denied("Request has expired".to_owned()),
        Fault::Unsigned(_) => {
            denied("There were headers present in the request which were not signed".to_owned())
        }
        Fault::Uncovered(name) => denied(format!(
            "A signature of version 2 does not cover the query parameter {name}. Please use AWS4-HMAC-SHA256."
        )),
        Fault::Mismatch => fail(
            S3ErrorCode::SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        ),
    }
}

fn malformed_header(flaw: &Flaw) -> S3Error {
    let reason = match flaw {
        Flaw::Missing(name) => format!(
            "the authorization header requires three components: Credential, SignedHeaders, and Signature; {name} is missing."
        ),
        Flaw::Field(name) => format!("the component \"{name}\" is unknown or repeated."),
        Flaw::Credential => CREDENTIAL.to_owned(),
        Flaw::Service(name) => other_service(name),
        Flaw::SignedHeaders => SIGNED_HEADERS.to_owned(),
        Flaw::Date
        | Flaw::Epoch
        | Flaw::Algorithm
        | Flaw::Expires
        | Flaw::ExpiresNegative
        | Flaw::ExpiresTooLong => {
            return fail(
                S3ErrorCode::AccessDenied,
                "AWS authentication requires a valid Date or x-amz-date header",
            );
        }
    };
    named(
        "AuthorizationHeaderMalformed",
        StatusCode::BAD_REQUEST,
        format!("The authorization header is malformed; {reason}"),
    )
}

fn malformed_query(flaw: &Flaw) -> S3Error {
    let message = match flaw {
        Flaw::Missing("AWSAccessKeyId" | "Signature" | "Expires") => {
            return fail(
                S3ErrorCode::AccessDenied,
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            );
        }
        Flaw::Epoch => {
            return fail(
                S3ErrorCode::AccessDenied,
                "Invalid date (should be seconds since epoch): Expires",
            );
        }
        Flaw::Field(_) => return access_denied(),
        Flaw::Missing(_) => {
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.".to_owned()
        }
        Flaw::Algorithm => "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"".to_owned(),
        Flaw::Credential => format!("Error parsing the X-Amz-Credential parameter; {CREDENTIAL}"),
        Flaw::Service(name) => {
            format!("Error parsing the X-Amz-Credential parameter; {}", other_service(name))
        }
        Flaw::Date => {
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"".to_owned()
        }
        Flaw::Expires => "X-Amz-Expires should be a number".to_owned(),
        Flaw::ExpiresNegative => "X-Amz-Expires must be non-negative".to_owned(),
        Flaw::ExpiresTooLong => "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds".to_owned(),
        Flaw::SignedHeaders => format!("Error parsing the X-Amz-SignedHeaders parameter; {SIGNED_HEADERS}"),
    };
    named(
        "AuthorizationQueryParametersError",
        StatusCode::BAD_REQUEST,
        message,
    )
}

fn malformed_form(flaw: &Flaw) -> S3Error {
    let (field, message) = match flaw {
        Flaw::Algorithm => (
            "X-Amz-Algorithm",
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"".to_owned(),
        ),
        Flaw::Service(name) => (
            "X-Amz-Credential",
            format!(
                "Error parsing the X-Amz-Credential parameter; {}",
                other_service(name)
            ),
        ),
        Flaw::Date => (
            "X-Amz-Date",
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"".to_owned(),
        ),
        _ => (
            "X-Amz-Credential",
            format!("Error parsing the X-Amz-Credential parameter; {CREDENTIAL}"),
        ),
    };
    bad_argument(field, "", message)
}

const CREDENTIAL: &str =
    "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".";
const SIGNED_HEADERS: &str =
    "the SignedHeaders are mal-formed; expecting lower-case names in ascending order.";

fn other_service(name: &str) -> String {
    format!("incorrect service \"{name}\". This endpoint belongs to \"s3\".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_the_code_of_aws() {
        let malformed = |place, flaw| Fault::Malformed(place, flaw);
        let (header, query) = (Place::Header, Place::Query);
        for (fault, code) in [
            (Fault::Several, "InvalidArgument"),
            (Fault::Scheme { version_2: true }, "InvalidRequest"),
            (Fault::Scheme { version_2: false }, "InvalidArgument"),
            (
                malformed(header, Flaw::Credential),
                "AuthorizationHeaderMalformed",
            ),
            (malformed(header, Flaw::Date), "AccessDenied"),
            (
                malformed(query, Flaw::Date),
                "AuthorizationQueryParametersError",
            ),
            (
                malformed(query, Flaw::Missing("X-Amz-Date")),
                "AuthorizationQueryParametersError",
            ),
            (malformed(query, Flaw::Missing("Expires")), "AccessDenied"),
            (Fault::UnknownKey, "InvalidAccessKeyId"),
            (Fault::Token, "InvalidToken"),
            (Fault::TokenExpired, "ExpiredToken"),
            (
                Fault::OtherDay(header, "1".into(), "2".into()),
                "AuthorizationHeaderMalformed",
            ),
            (
                Fault::OtherDay(query, "1".into(), "2".into()),
                "AuthorizationQueryParametersError",
            ),
            (Fault::Skewed("1".into()), "RequestTimeTooSkewed"),
            (Fault::Expired, "AccessDenied"),
            (Fault::Unsigned(vec!["x-amz-acl".into()]), "AccessDenied"),
            (Fault::Mismatch, "SignatureDoesNotMatch"),
        ] {
            assert_eq!(refusal(fault.clone()).code().as_str(), code, "{fault:?}");
        }
    }
}
