//! Why a signature is not believed. Each service has words of its own for it.

/// Where a signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the header `Authorization`.
    Header,
    /// In the query: a presigned address.
    Query,
}

/// What is wrong with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is more than one.
    Several,
    /// It is of a kind that is not taken here.
    Scheme {
        /// It is one of version 2.
        version_2: bool,
    },
    /// It cannot be read.
    Malformed(Place, Flaw),
    /// The request does not say when it was signed.
    NoDate,
    /// The request does not say how its body is signed.
    NoPayload,
    /// Another access key.
    UnknownKey,
    /// A session token; there are none here.
    Token,
    /// Signed on another day than its scope says; the day.
    OtherDay(String),
    /// Signed too long ago, or in the future.
    Skewed(String),
    /// A presigned address whose time is over.
    Expired,
    /// Headers that decide about the request and are not signed.
    Unsigned(Vec<String>),
    /// A parameter of the query that decides and that version 2 does not cover.
    Uncovered(String),
    /// Another signature than the one for this request.
    Mismatch,
}

/// What cannot be read about a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A part of it is not there.
    Missing(&'static str),
    /// It has a part that does not belong there, or one twice.
    Field(String),
    /// `X-Amz-Algorithm` is another one.
    Algorithm,
    /// The credential does not have its five parts.
    Credential,
    /// The credential is for another service.
    Service(String),
    /// The date is not in the one form that there is.
    Date,
    /// The end of an address of version 2 is no number of seconds.
    Epoch,
    /// The life of a presigned address is no number of seconds.
    Expires,
    /// It is negative.
    ExpiresNegative,
    /// It is longer than a week.
    ExpiresTooLong,
    /// The list of signed headers is not in canonical form.
    SignedHeaders,
}
