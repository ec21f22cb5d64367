//! The reasons for which a signature is refused. Each service has its own error
//! codes and messages for them.

/// The place of a signature in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the header `Authorization`.
    Header,
    /// In the query of a presigned URL.
    Query,
    /// In the fields of a browser's form.
    Form,
}

/// The reason for which a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request contains more than one signature.
    Several,
    /// The service does not accept this kind of signature.
    Scheme {
        /// Whether it is a signature of version 2.
        version_2: bool,
    },
    /// The signature cannot be parsed.
    Malformed(Place, Flaw),
    /// The request does not contain the time of its signature.
    NoDate,
    /// The request does not declare how its body is signed.
    NoPayload,
    /// The access key is not the key of this local cloud.
    UnknownKey,
    /// The request contains a session token that the local cloud did not issue,
    /// or that belongs to another key.
    Token,
    /// The session token has expired.
    TokenExpired,
    /// The date of the request is not on the day of the scope. Contains the day of
    /// the scope and that of the request.
    OtherDay(Place, String, String),
    /// The request was signed too long ago or in the future. Contains its date.
    Skewed(String),
    /// A presigned URL has expired.
    Expired,
    /// Headers that must be signed are not signed. Contains their names.
    Unsigned(Vec<String>),
    /// Version 2 does not cover this parameter of the query.
    Uncovered(String),
    /// The signature is not the signature of this request.
    Mismatch,
}

/// The part of a signature that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A part is missing.
    Missing(&'static str),
    /// A part is unknown or repeated.
    Field(String),
    /// `X-Amz-Algorithm` is not the algorithm of version 4.
    Algorithm,
    /// The credential does not have its five parts.
    Credential,
    /// The credential is for another service.
    Service(String),
    /// The date does not have the form `20130524T000000Z`.
    Date,
    /// The expiry time in a URL of version 2 is not a number of seconds.
    Epoch,
    /// The lifetime of a presigned URL is not a number of seconds.
    Expires,
    /// The lifetime of a presigned URL is negative.
    ExpiresNegative,
    /// The lifetime of a presigned URL is longer than a week.
    ExpiresTooLong,
    /// The list of signed headers is not in canonical form.
    SignedHeaders,
}
