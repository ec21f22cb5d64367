//! Authentication of requests to EC2, IAM, STS and Systems Manager, with the error
//! messages of these services. S3 has its own messages for the same faults.

use hyper::http::request::Parts;
use jiff::{SignedDuration, Timestamp};

use super::connect::SERVICE as CONNECT;
use super::refusal::{Refusal, Result};
use crate::query::Query;
use crate::signature::{self, Fault, Flaw, Keys, Service, Signed, Validity};

/// Verifies a request to a service, including its whole body.
pub(crate) fn authenticate(
    service: &str,
    (parts, query, body): (&Parts, &Query, &[u8]),
    keys: &Keys,
    validity: Validity<'_>,
) -> Result<Signed> {
    match signature::verify(parts, query, Service::Query { body }, keys, validity) {
        Ok(Some(signed)) => Ok(signed),
        Ok(None) => Err(Refusal::new(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        )
        .status(403)),
        Err(fault) => Err(own_words(service, &fault, validity.now)
            .unwrap_or_else(|| refusal(fault, validity.now))),
    }
}

/// Returns the error of a service that does not have EC2's error for a fault.
fn own_words(service: &str, fault: &Fault, now: Timestamp) -> Option<Refusal> {
    let (code, message) = match (service, fault) {
        ("iam" | "sts", Fault::UnknownKey | Fault::Token) => (
            "InvalidClientTokenId",
            "The security token included in the request is invalid.".to_owned(),
        ),
        ("iam" | "sts", Fault::TokenExpired) => (
            "ExpiredToken",
            "The security token included in the request is expired".to_owned(),
        ),
        ("iam" | "sts", Fault::Skewed(date)) => ("SignatureDoesNotMatch", skewed(date, now)),
        ("ssm" | CONNECT, Fault::UnknownKey | Fault::Token) => (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.".to_owned(),
        ),
        ("ssm" | CONNECT, Fault::TokenExpired) => (
            "ExpiredTokenException",
            "The security token included in the request is expired".to_owned(),
        ),
        ("ssm" | CONNECT, Fault::Skewed(date)) => ("InvalidSignatureException", skewed(date, now)),
        _ => return None,
    };
    let status = if matches!(service, "ssm" | CONNECT) {
        400
    } else {
        403
    };
    Some(Refusal::new(code, message).status(status))
}

/// Returns the message about a clock that is off, in the form of dates in signatures.
fn skewed(date: &str, now: Timestamp) -> String {
    let at = |time: Timestamp| time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let minutes = 15;
    let tolerance = SignedDuration::from_mins(minutes);
    if date > at(now).as_str() {
        let latest = at(now + tolerance);
        return format!(
            "Signature not yet current: {date} is still later than {latest} ({} + {minutes} min.)",
            at(now)
        );
    }
    let earliest = at(now - tolerance);
    format!(
        "Signature expired: {date} is now earlier than {earliest} ({} - {minutes} min.)",
        at(now)
    )
}

fn refusal(fault: Fault, now: Timestamp) -> Refusal {
    match fault {
        Fault::UnknownKey | Fault::Token => Refusal::new(
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        )
        .status(401),
        Fault::TokenExpired => Refusal::new("RequestExpired", "Request has expired."),
        Fault::Skewed(date) => Refusal::new(
            "RequestExpired",
            format!("Request has expired. Timestamp date is {date}. Current date is {now}"),
        ),
        Fault::OtherDay(_, day, _) => mismatch(&format!(
            "Credential date {day} is not the date of the request"
        )),
        Fault::Malformed(_, Flaw::Service(name)) => mismatch(&format!(
            "Credential should be scoped to ec2, iam, sts or ssm, not {name}"
        )),
        Fault::Unsigned(names) => {
            mismatch(&format!("Headers must be signed: {}", names.join(", ")))
        }
        Fault::Mismatch => mismatch(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
        ),
        Fault::Malformed(_, Flaw::Field(name)) => Refusal::new(
            "IncompleteSignature",
            format!("Authorization header contains an unknown or repeated '{name}' parameter"),
        )
        .status(403),
        Fault::Malformed(_, flaw) => incomplete(&part(&flaw)),
        Fault::NoDate => incomplete("'X-Amz-Date' header"),
        Fault::Several => incomplete("exactly one signature"),
        Fault::Scheme { .. } | Fault::NoPayload | Fault::Expired | Fault::Uncovered(_) => {
            incomplete("'AWS4-HMAC-SHA256'")
        }
    }
}

fn mismatch(message: &str) -> Refusal {
    Refusal::new("SignatureDoesNotMatch", message).status(403)
}

fn incomplete(what: &str) -> Refusal {
    Refusal::new(
        "IncompleteSignature",
        format!("Authorization header requires existence of {what}"),
    )
    .status(403)
}

/// Returns the part that a flawed header lacks.
fn part(flaw: &Flaw) -> String {
    match flaw {
        Flaw::Missing(name) => format!("'{name}' parameter"),
        Flaw::SignedHeaders => "a canonical 'SignedHeaders' parameter".to_owned(),
        Flaw::Date => "a valid 'X-Amz-Date' header".to_owned(),
        _ => "a complete 'Credential' parameter".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    #[test]
    fn every_fault_has_the_code_of_aws() {
        let now = Timestamp::UNIX_EPOCH;
        for (fault, code) in [
            (Fault::UnknownKey, "AuthFailure"),
            (Fault::TokenExpired, "RequestExpired"),
            (Fault::Skewed("x".into()), "RequestExpired"),
            (
                Fault::Unsigned(vec!["host".into()]),
                "SignatureDoesNotMatch",
            ),
            (Fault::NoDate, "IncompleteSignature"),
            (Fault::Several, "IncompleteSignature"),
            (Fault::Scheme { version_2: true }, "IncompleteSignature"),
            (Fault::Mismatch, "SignatureDoesNotMatch"),
        ] {
            assert_eq!(refusal(fault.clone(), now).code, code, "{fault:?}");
        }
    }

    #[test]
    fn other_services_have_codes_of_their_own() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let skewed = Fault::Skewed("19700101T000000Z".into());
        for (service, fault, code) in [
            ("sts", Fault::UnknownKey, "InvalidClientTokenId"),
            ("iam", Fault::TokenExpired, "ExpiredToken"),
            ("ssm", Fault::TokenExpired, "ExpiredTokenException"),
            ("sts", skewed.clone(), "SignatureDoesNotMatch"),
        ] {
            let refusal = own_words(service, &fault, now).unwrap();
            assert_eq!(refusal.code, code, "{service}");
        }
        assert_eq!(own_words("ec2", &skewed, now), None);
        assert_eq!(
            own_words("sts", &skewed, now).unwrap().message,
            "Signature expired: 19700101T000000Z is now earlier than 19700101T004500Z \
             (19700101T010000Z - 15 min.)"
        );
    }

    #[test]
    fn a_request_without_a_signature_has_its_own_code() {
        let parts = hyper::Request::post("/").body(()).unwrap().into_parts().0;
        let keys = Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: SECRET.into(),
        };
        let query = Query::default();
        let validity = Validity {
            now: Timestamp::now(),
            is_expired: false,
            disabled_regions: &[],
        };
        let request = (&parts, &query, &b""[..]);
        let refusal = authenticate("ec2", request, &keys, validity).unwrap_err();
        assert_eq!(refusal.code, "MissingAuthenticationToken");
    }
}
