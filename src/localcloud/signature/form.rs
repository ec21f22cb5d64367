//! Verifies the signature of a form of a browser, which covers the form's policy.
//! The policy says which fields the form may have.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::http::request::Parts;
use jiff::Timestamp;

use super::chain::{ALGORITHM, same, sign_sha1};
use super::claim::credential;
use super::version_4::instant;
use super::{Chain, Fault, Flaw, Keys, Place, Scope, Signed, UNSIGNED};
use crate::query::Query;

/// The signature in the fields of a form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FormSignature<'a> {
    Version2 {
        access_key_id: &'a str,
        signature: &'a str,
    },
    Version4 {
        algorithm: &'a str,
        credential: &'a str,
        date: &'a str,
        signature: &'a str,
    },
}

/// Verifies the signature of a policy, which is the text of the form's field. The
/// headers contain the token of temporary credentials.
pub(crate) fn verify(
    parts: &Parts,
    policy: &str,
    presented: &FormSignature<'_>,
    keys: &Keys,
    now: Timestamp,
) -> Result<Signed, Fault> {
    let flawed = |flaw| Fault::Malformed(Place::Form, flaw);
    let keys_of = |id: &str| keys.of_request(parts, &Query::default(), id, now);
    let (scope, version, time, session, matches) = match *presented {
        FormSignature::Version2 {
            access_key_id,
            signature,
        } => {
            let (session, keys) = keys_of(access_key_id)?;
            let mac = sign_sha1(&keys.secret_access_key, policy.as_bytes());
            let matches = same(&BASE64_STANDARD.encode(mac), signature);
            (["us-east-1", "s3"], "AWS", None, session, matches)
        }
        FormSignature::Version4 {
            algorithm,
            credential: text,
            date,
            signature,
        } => {
            if algorithm != ALGORITHM {
                return Err(flawed(Flaw::Algorithm));
            }
            let (id, scope) = credential(text).ok_or_else(|| flawed(Flaw::Credential))?;
            if scope.service != "s3" {
                return Err(flawed(Flaw::Service(scope.service.to_owned())));
            }
            let time = instant(date).ok_or_else(|| flawed(Flaw::Date))?;
            if !date.starts_with(scope.day) {
                let asked = date[..8].to_owned();
                return Err(Fault::OtherDay(Place::Form, scope.day.to_owned(), asked));
            }
            let (session, keys) = keys_of(id)?;
            let parts = [scope.day, scope.region, scope.service];
            let chain = Chain::new(&keys.secret_access_key, date, parts);
            let matches = chain.policy(policy, signature);
            let scope = [scope.region, scope.service];
            (scope, ALGORITHM, Some(time), session, matches)
        }
    };
    if !matches {
        return Err(Fault::Mismatch);
    }
    let [region, service] = scope.map(str::to_owned);
    Ok(Signed {
        scope: Scope { region, service },
        place: Place::Form,
        version,
        time,
        covers_type: true,
        payload: UNSIGNED.to_owned(),
        session,
        chain: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS's documentation of POST uploads.
    const SIGNATURE: &str = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
    const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request";
    const POLICY: &str = concat!(
        "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6",
        "IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRo",
        "IiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAg",
        "IHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5h",
        "bWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwg",
        "IiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUx",
        "MjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0s",
        "DQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16",
        "LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3",
        "czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwN",
        "CiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9",
    );

    fn outcome(policy: &str, presented: &FormSignature<'_>) -> Result<Signed, Fault> {
        let keys = Keys {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        };
        let request = hyper::Request::post("/b").body(()).unwrap();
        let now = "2015-12-29T00:00:00Z".parse().unwrap();
        verify(&request.into_parts().0, policy, presented, &keys, now)
    }

    fn version_4<'a>(credential: &'a str, signature: &'a str) -> FormSignature<'a> {
        FormSignature::Version4 {
            algorithm: ALGORITHM,
            credential,
            date: "20151229T000000Z",
            signature,
        }
    }

    #[test]
    fn the_example_of_the_documentation_verifies() {
        let signed = outcome(POLICY, &version_4(CREDENTIAL, SIGNATURE)).unwrap();
        assert_eq!(signed.scope.region, "us-east-1");
        let other = outcome(&POLICY[4..], &version_4(CREDENTIAL, SIGNATURE));
        assert_eq!(other.unwrap_err(), Fault::Mismatch);
    }

    #[test]
    fn a_form_names_its_key_and_its_day() {
        let fault = |credential: &str| outcome(POLICY, &version_4(credential, "x")).unwrap_err();
        assert_eq!(
            fault(&CREDENTIAL.replace("AKIA", "AKIB")),
            Fault::UnknownKey
        );
        assert_eq!(
            fault(&CREDENTIAL.replace("1229", "1228")),
            Fault::OtherDay(Place::Form, "20151228".into(), "20151229".into())
        );
        assert_eq!(fault("x"), Fault::Malformed(Place::Form, Flaw::Credential));
    }

    #[test]
    fn version_2_signs_the_policy_with_sha1() {
        let presented = |signature| FormSignature::Version2 {
            access_key_id: "AKIAIOSFODNN7EXAMPLE",
            signature,
        };
        let made = sign_sha1("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", b"e30=");
        let made = BASE64_STANDARD.encode(made);
        assert_eq!(outcome("e30=", &presented(&made)).unwrap().version, "AWS");
        assert_eq!(
            outcome("e31=", &presented(&made)).unwrap_err(),
            Fault::Mismatch
        );
    }
}
