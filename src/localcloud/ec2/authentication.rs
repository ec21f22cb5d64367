//! Authentication of requests to EC2 and STS, with the error messages of these
//! services. S3 has its own messages for the same faults.

use hyper::http::request::Parts;
use jiff::Timestamp;

use super::refusal::{Refusal, Result};
use crate::query::Query;
use crate::signature::{self, Fault, Flaw, Keys, Service, Signed};

/// Verifies a request, including its whole body.
pub(crate) fn authenticate(
    parts: &Parts,
    query: &Query,
    body: &[u8],
    keys: &Keys,
    now: Timestamp,
) -> Result<Signed> {
    match signature::verify(parts, query, Service::Query { body }, keys, now) {
        Ok(Some(signed)) => Ok(signed),
        Ok(None) => Err(Refusal::new(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        )
        .status(403)),
        Err(fault) => Err(refusal(fault, now)),
    }
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
    fn a_request_without_a_signature_has_its_own_code() {
        let parts = hyper::Request::post("/").body(()).unwrap().into_parts().0;
        let keys = Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: SECRET.into(),
        };
        let query = Query::default();
        let refusal = authenticate(&parts, &query, b"", &keys, Timestamp::now()).unwrap_err();
        assert_eq!(refusal.code, "MissingAuthenticationToken");
    }
}
