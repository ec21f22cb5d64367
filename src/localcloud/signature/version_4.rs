//! Verifies signatures of version 4: the signature, its time, and that it covers
//! the whole request.

use hyper::http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::chain::{ALGORITHM, digest};
use super::claim::Claim;
use super::{
    CONTENT_SHA256, Chain, Fault, Flaw, Keys, Place, Scope, Service, Signed, UNSIGNED, canonical,
    headers,
};
use crate::query::Query;

/// AWS's limit of the difference between the clocks of client and service.
const MAX_SKEW_SECONDS: i64 = 15 * 60;

/// Verifies a claim.
pub(super) fn verify(
    parts: &Parts,
    query: &Query,
    claim: &Claim<'_>,
    service: Service<'_>,
    keys: &Keys,
    now: Timestamp,
) -> Result<Signed, Fault> {
    let scope = claim.scope;
    if !service.is_named(scope.service) {
        let flaw = Flaw::Service(scope.service.to_owned());
        return Err(Fault::Malformed(claim.place, flaw));
    }
    if matches!(
        (service, claim.place),
        (Service::Query { .. }, Place::Query)
    ) {
        return Err(Fault::Scheme { version_2: false });
    }
    let (session, keys) = keys.of_request(parts, query, claim.access_key_id, now)?;
    let date = claim.date.ok_or(Fault::NoDate)?;
    let time = check_time(claim, date, now)?;
    let not_covered = headers::not_covered(&parts.headers, &claim.signed_headers, claim.place);
    if !not_covered.is_empty() {
        return Err(Fault::Unsigned(not_covered));
    }
    let payload = payload(parts, query, claim.place, service)?;
    let canonical = canonical::request(parts, query, &claim.signed_headers, &payload);
    let mut chain = Chain::new(
        &keys.secret_access_key,
        date,
        [scope.day, scope.region, scope.service],
    );
    // Without a signed header there is no canonical request to compare.
    let canonical = canonical.ok_or(Fault::Mismatch)?;
    if !chain.request(&canonical, claim.signature) {
        return Err(Fault::Mismatch);
    }
    Ok(Signed {
        scope: Scope {
            region: scope.region.to_owned(),
            service: scope.service.to_owned(),
        },
        place: claim.place,
        version: ALGORITHM,
        time: Some(time),
        covers_type: claim.place == Place::Query || claim.signed_headers.contains(&"content-type"),
        payload,
        session,
        chain: Some(chain),
    })
}

fn check_time(claim: &Claim<'_>, date: &str, now: Timestamp) -> Result<Timestamp, Fault> {
    let time = instant(date).ok_or(Fault::Malformed(claim.place, Flaw::Date))?;
    let age = now.as_second() - time.as_second();
    let skewed = || Fault::Skewed(date.to_owned());
    // AWS reports the time of a request before the day of its scope.
    if claim.expires.is_none() && age.abs() > MAX_SKEW_SECONDS {
        return Err(skewed());
    }
    let day = claim.scope.day;
    if !date.starts_with(day) {
        let asked = date[..8].to_owned();
        return Err(Fault::OtherDay(claim.place, day.to_owned(), asked));
    }
    match claim.expires {
        Some(expires) if age > expires => Err(Fault::Expired),
        Some(_) if age < -MAX_SKEW_SECONDS => Err(skewed()),
        _ => Ok(time),
    }
}

/// Parses a time of the form `20130524T000000Z`. `strptime` is more lenient than
/// AWS, so the length and the digits are checked, too.
pub(super) fn instant(date: &str) -> Option<Timestamp> {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let has_form = date.len() == 16 && digits(date.get(..8)?) && digits(date.get(9..15)?);
    let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .ok()
        .filter(|_| has_form)?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Returns the last line of the canonical request, which declares how the body
/// is signed.
pub(super) fn payload(
    parts: &Parts,
    query: &Query,
    place: Place,
    service: Service<'_>,
) -> Result<String, Fault> {
    let declared = parts.headers.get(CONTENT_SHA256);
    let declared = declared.map(|value| value.to_str().unwrap_or_default());
    match (service, place) {
        (Service::S3, Place::Header) => declared.map(str::to_owned).ok_or(Fault::NoPayload),
        (Service::S3, Place::Query | Place::Form) => {
            let in_query = query.get("X-Amz-Content-Sha256");
            if declared.is_some() && in_query.is_some() && declared != in_query {
                return Err(Fault::Mismatch);
            }
            Ok(declared.or(in_query).unwrap_or(UNSIGNED).to_owned())
        }
        (Service::Query { body }, _) => {
            let actual = digest(body);
            if declared.is_none_or(|declared| declared == actual) {
                Ok(actual)
            } else {
                Err(Fault::Mismatch)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::AUTHORIZATION;

    use super::super::{Validity, verify as verify_any};
    use super::*;

    /// The example of AWS's documentation: GET with a range.
    const SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
    const NOW: &str = "2013-05-24T00:00:00Z";

    fn keys() -> Keys {
        Keys {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        }
    }

    fn authorization(scope: &str, signature: &str) -> String {
        format!(
            "{ALGORITHM} Credential=AKIAIOSFODNN7EXAMPLE/{scope},SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature={signature}"
        )
    }

    fn example(scope: &str, signature: &str) -> Parts {
        let request = hyper::Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header(CONTENT_SHA256, EMPTY)
            .header("x-amz-date", "20130524T000000Z")
            .header(AUTHORIZATION, authorization(scope, signature));
        request.body(()).unwrap().into_parts().0
    }

    fn outcome(parts: &Parts, service: Service<'_>, now: &str) -> Result<Option<Signed>, Fault> {
        let query = Query::parse(parts.uri.query().unwrap_or_default()).unwrap();
        let validity = Validity {
            now: now.parse().unwrap(),
            is_expired: false,
            disabled_regions: &[],
        };
        verify_any(parts, &query, service, &keys(), validity)
    }

    fn fault(parts: &Parts, now: &str) -> Fault {
        outcome(parts, Service::S3, now).unwrap_err()
    }

    #[test]
    fn the_example_of_the_documentation_verifies_for_fifteen_minutes() {
        let parts = example(SCOPE, SIGNATURE);
        for now in [NOW, "2013-05-24T00:14:59Z", "2013-05-23T23:45:01Z"] {
            let signed = outcome(&parts, Service::S3, now).unwrap().unwrap();
            assert_eq!(signed.scope.region, "us-east-1");
            assert_eq!(signed.payload, EMPTY);
        }
        for now in ["2013-05-24T00:15:01Z", "2013-05-23T23:44:00Z"] {
            assert!(matches!(fault(&parts, now), Fault::Skewed(_)), "{now}");
        }
    }

    #[test]
    fn a_scope_must_match_the_request() {
        let flaw = |scope: &str| fault(&example(scope, SIGNATURE), NOW);
        let malformed = |flaw| Fault::Malformed(Place::Header, flaw);
        assert_eq!(flaw("20130524/eu-west-1/s3/aws4_request"), Fault::Mismatch);
        assert_eq!(
            flaw("20130523/us-east-1/s3/aws4_request"),
            Fault::OtherDay(Place::Header, "20130523".into(), "20130524".into())
        );
        assert_eq!(
            flaw("20130524/us-east-1/ec2/aws4_request"),
            malformed(Flaw::Service("ec2".into()))
        );
        for scope in [
            "20130524/us-east-1/s3/aws3_request",
            "20130524/us-east-1/s3",
            "20130524//s3/aws4_request",
            "20130524/US-EAST-1/s3/aws4_request",
            "2013052/us-east-1/s3/aws4_request",
            "20130524/us-east-1/s3/aws4_request/",
        ] {
            assert_eq!(flaw(scope), malformed(Flaw::Credential), "{scope}");
        }
    }

    #[test]
    fn the_header_is_parsed_strictly() {
        let with = |authorization: &str| {
            let mut parts = example(SCOPE, SIGNATURE);
            let value = authorization.parse().unwrap();
            parts.headers.insert(AUTHORIZATION, value);
            fault(&parts, NOW)
        };
        let right = authorization(SCOPE, SIGNATURE);
        let malformed = |flaw| Fault::Malformed(Place::Header, flaw);
        assert_eq!(
            with(&format!("{right},Signature={SIGNATURE}")),
            malformed(Flaw::Field("Signature".into()))
        );
        assert_eq!(
            with(&format!("{right},Expires=9")),
            malformed(Flaw::Field("Expires".into()))
        );
        assert_eq!(
            with(&right.replace("SignedHeaders", "signedheaders")),
            malformed(Flaw::Field("signedheaders".into()))
        );
        for list in ["range;host;x-amz-date", "Host;range", "host;host", "", ";"] {
            let other = right.replace("host;range;x-amz-content-sha256;x-amz-date", list);
            assert_eq!(with(&other), malformed(Flaw::SignedHeaders), "{list}");
        }
        assert_eq!(with("AWS AK:sig"), Fault::Scheme { version_2: true });
        for scheme in [
            "Basic x",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA512 Credential=x",
        ] {
            let fault = with(scheme);
            let refused = matches!(fault, Fault::Scheme { version_2: false })
                || fault == malformed(Flaw::Missing("Credential"));
            assert!(refused, "{scheme}: {fault:?}");
        }
        let upper = SIGNATURE.to_uppercase();
        assert_eq!(with(&authorization(SCOPE, &upper)), Fault::Mismatch);
    }

    #[test]
    fn every_deciding_header_is_signed_and_every_signed_header_exists() {
        for (name, value) in [
            ("x-amz-acl", "private"),
            ("content-md5", "x"),
            ("if-match", "x"),
        ] {
            let mut parts = example(SCOPE, SIGNATURE);
            parts.headers.insert(name, value.parse().unwrap());
            assert_eq!(fault(&parts, NOW), Fault::Unsigned(vec![name.to_owned()]));
        }
        let mut parts = example(SCOPE, SIGNATURE);
        parts.headers.remove("range");
        assert_eq!(fault(&parts, NOW), Fault::Mismatch);
        let mut parts = example(SCOPE, SIGNATURE);
        parts.headers.remove("x-amz-date");
        assert_eq!(fault(&parts, NOW), Fault::NoDate);
        let mut parts = example(SCOPE, SIGNATURE);
        parts.headers.remove(CONTENT_SHA256);
        assert_eq!(fault(&parts, NOW), Fault::NoPayload);
    }

    #[test]
    fn two_signatures_are_refused() {
        for query in [
            "X-Amz-Signature=0",
            "x-amz-credential=0",
            "AWSAccessKeyId=0",
            "Signature=0",
        ] {
            let mut parts = example(SCOPE, SIGNATURE);
            parts.uri = format!("/test.txt?{query}").parse().unwrap();
            assert_eq!(fault(&parts, NOW), Fault::Several, "{query}");
        }
        let mut parts = example(SCOPE, SIGNATURE);
        parts.headers.remove(AUTHORIZATION);
        assert!(outcome(&parts, Service::S3, NOW).unwrap().is_none());
    }

    fn presigned(change: impl Fn(&str) -> String) -> Parts {
        let uri = change(
            "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        );
        let request = hyper::Request::get(uri).header("host", "examplebucket.s3.amazonaws.com");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_presigned_url_verifies_until_it_expires() {
        let parts = presigned(str::to_owned);
        assert!(outcome(&parts, Service::S3, "2013-05-24T23:00:00Z").is_ok());
        assert_eq!(fault(&parts, "2013-05-25T00:00:01Z"), Fault::Expired);
        assert!(matches!(
            fault(&parts, "2013-05-23T23:44:00Z"),
            Fault::Skewed(_)
        ));
        let malformed = |flaw| Fault::Malformed(Place::Query, flaw);
        for (from, to, expected) in [
            ("=86400", "=86401", Fault::Mismatch),
            ("=86400", "=604801", malformed(Flaw::ExpiresTooLong)),
            ("=86400", "=-1", malformed(Flaw::ExpiresNegative)),
            ("=86400", "=1d", malformed(Flaw::Expires)),
            ("000000Z", "000000z", malformed(Flaw::Date)),
            ("T000000Z", "T00000Z", malformed(Flaw::Date)),
            ("HMAC-SHA256", "HMAC-SHA1", malformed(Flaw::Algorithm)),
            (
                "-Expires",
                "-expires",
                malformed(Flaw::Missing("X-Amz-Expires")),
            ),
            ("/test.txt", "/test.tx", Fault::Mismatch),
            ("&X-Amz-Date", "&a&X-Amz-Date", Fault::Mismatch),
            (
                "&X-Amz-Date",
                "&X-Amz-Security-Token=t&X-Amz-Date",
                Fault::Token,
            ),
        ] {
            let parts = presigned(|uri| uri.replacen(from, to, 1));
            assert_eq!(fault(&parts, NOW), expected, "{from} -> {to}");
        }
    }

    /// `get-vanilla-query-order-key-case` of AWS's published test suite.
    #[test]
    fn the_signature_of_a_query_request_covers_its_body() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let mut chain = Chain::new(
            secret,
            "20150830T123600Z",
            ["20150830", "us-east-1", "service"],
        );
        let request = hyper::Request::get("/?Param2=value2&Param1=value1")
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z");
        let parts = request.body(()).unwrap().into_parts().0;
        let query = Query::parse(parts.uri.query().unwrap()).unwrap();
        let payload = |body| {
            let service = Service::Query { body };
            payload(&parts, &query, Place::Header, service).unwrap()
        };
        let canonical = |payload: &str| {
            canonical::request(&parts, &query, &["host", "x-amz-date"], payload).unwrap()
        };
        let signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        assert!(chain.request(&canonical(&payload(b"")), signature));
        assert!(!chain.request(&canonical(&payload(b"x")), signature));
    }
}
