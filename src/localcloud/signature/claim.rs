//! Parses the signature that a request presents in its header or query.

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use super::chain::{ALGORITHM, TERMINATOR};
use super::fault::{Fault, Flaw, Place};
use crate::query::Query;

/// AWS's limit of the lifetime of a presigned URL.
const MAX_EXPIRY_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The signature that a request presents.
pub(super) enum Presented<'a> {
    /// A signature of version 2, in the query.
    Version2,
    Version4(Claim<'a>),
}

/// A signature of version 4.
pub(super) struct Claim<'a> {
    pub(super) place: Place,
    pub(super) access_key_id: &'a str,
    /// Day, region and service.
    pub(super) scope: Credential<'a>,
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: &'a str,
    /// When the request was signed, as written in the request.
    pub(super) date: Option<&'a str>,
    /// The lifetime of a presigned URL in seconds.
    pub(super) expires: Option<i64>,
}

/// The scope in a credential.
#[derive(Clone, Copy)]
pub(super) struct Credential<'a> {
    pub(super) day: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// Parses the signature of a request. Returns `None` if there is no signature.
/// Fails if there are several: as on AWS, a request has only one.
pub(super) fn read<'a>(parts: &'a Parts, query: &'a Query) -> Result<Option<Presented<'a>>, Fault> {
    let any_of = |names: &[&str]| {
        let known = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        query.pairs().any(|(name, _)| known(name))
    };
    let found = (
        parts.headers.contains_key(AUTHORIZATION),
        any_of(&["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"]),
        any_of(&["AWSAccessKeyId", "Signature"]),
    );
    match found {
        (false, false, false) => Ok(None),
        (true, false, false) => Ok(in_header(parts)?.map(Presented::Version4)),
        (false, true, false) => in_query(query).map(Presented::Version4).map(Some),
        (false, false, true) => Ok(Some(Presented::Version2)),
        _ => Err(Fault::Several),
    }
}

/// Parses the header `Authorization`.
pub(super) fn in_header(parts: &Parts) -> Result<Option<Claim<'_>>, Fault> {
    let Some(value) = parts.headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default();
    let (scheme, fields) = value.split_once(' ').unwrap_or((value, ""));
    if scheme != ALGORITHM {
        let version_2 = scheme == "AWS";
        return Err(Fault::Scheme { version_2 });
    }
    let flawed = |flaw| Fault::Malformed(Place::Header, flaw);
    let mut values = [
        ("Credential", None),
        ("SignedHeaders", None),
        ("Signature", None),
    ];
    for field in fields.split(',').map(str::trim) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, field @ None)) => *field = Some(value),
            _ if field.is_empty() => {}
            _ => return Err(flawed(Flaw::Field(name.to_owned()))),
        }
    }
    let field = |at: usize| {
        let (name, value) = values[at];
        value.ok_or_else(|| flawed(Flaw::Missing(name)))
    };
    let (access_key_id, scope) = credential(field(0)?).ok_or_else(|| flawed(Flaw::Credential))?;
    let date = parts.headers.get("x-amz-date");
    Ok(Some(Claim {
        place: Place::Header,
        access_key_id,
        scope,
        signed_headers: signed_headers(field(1)?).ok_or_else(|| flawed(Flaw::SignedHeaders))?,
        signature: field(2)?,
        date: date.map(|date| date.to_str().unwrap_or_default()),
        expires: None,
    }))
}

fn in_query(query: &Query) -> Result<Claim<'_>, Fault> {
    let flawed = |flaw| Fault::Malformed(Place::Query, flaw);
    let field = |name: &'static str| query.get(name).ok_or_else(|| flawed(Flaw::Missing(name)));
    if field("X-Amz-Algorithm")? != ALGORITHM {
        return Err(flawed(Flaw::Algorithm));
    }
    let (access_key_id, scope) =
        credential(field("X-Amz-Credential")?).ok_or_else(|| flawed(Flaw::Credential))?;
    let expires: i64 = field("X-Amz-Expires")?
        .parse()
        .map_err(|_| flawed(Flaw::Expires))?;
    if expires < 0 {
        return Err(flawed(Flaw::ExpiresNegative));
    }
    if expires > MAX_EXPIRY_SECONDS {
        return Err(flawed(Flaw::ExpiresTooLong));
    }
    let listed = field("X-Amz-SignedHeaders")?;
    Ok(Claim {
        place: Place::Query,
        access_key_id,
        scope,
        signed_headers: signed_headers(listed).ok_or_else(|| flawed(Flaw::SignedHeaders))?,
        signature: field("X-Amz-Signature")?,
        date: Some(field("X-Amz-Date")?),
        expires: Some(expires),
    })
}

/// Splits `KEY/day/region/service/aws4_request`.
pub(super) fn credential(text: &str) -> Option<(&str, Credential<'_>)> {
    let fields: Vec<&str> = text.split('/').collect();
    let [key, day, region, service, TERMINATOR] = fields[..] else {
        return None;
    };
    let is_day = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
    let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_valid = is_day && !region.is_empty() && region.bytes().all(is_region);
    is_valid.then_some((
        key,
        Credential {
            day,
            region,
            service,
        },
    ))
}

/// Parses the list of signed headers. The names must be in lower case, sorted
/// and unique.
fn signed_headers(list: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = list.split(';').collect();
    let lower = |name: &&str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
    let ordered = names.windows(2).all(|pair| pair[0] < pair[1]);
    (ordered && names.iter().all(lower)).then_some(names)
}
