//! What can go wrong between us and a server, and the sentence a user reads: what happened, to what, what to do.
//!
//! No secret is ever part of it, nor the query of a signed URL: of what a server or the SDK says only the code is
//! taken, and for requests that we did not foresee its message, cut and without URLs.

use std::fmt;

/// What kind of failure it is: what the caller may decide on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum StoreErrorKind {
    /// These credentials are known, but may not do this (403). Never taken for "absent".
    Denied,
    /// There is no such bucket.
    NoBucket,
    /// The bucket lives in another region, and following it did not help.
    WrongRegion,
    /// No connection: refused, no such name, no route, TLS.
    Unreachable,
    /// No credentials were found, or the server does not take them.
    Credentials,
    /// The clocks are too far apart for signatures.
    ClockSkew,
    /// The server asks for less, still after all retries (503, 429).
    Throttled,
    /// The server failed, still after all retries (5xx).
    Server,
    /// No answer in time.
    TimedOut,
    /// The answer broke off or is not what its length, range or checksum says.
    BrokenAnswer,
    /// The object became another version while it was read.
    Moved,
    /// The server does not take such a key: too long, or a name it cannot hold.
    NameRefused,
    /// The object is larger than the server, or the reader, takes.
    TooLarge,
    /// The server has no room left.
    Full,
    /// The server does not know this operation or header (501).
    Unsupported,
    /// The server finds the request wrong (400 and others).
    BadRequest,
    /// The local bytes could not be read, or are not those that were meant.
    Source,
    /// The local side could not take the bytes.
    Sink,
    /// The settings do not make a client.
    Settings,
}

/// A failed operation on the store.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    /// What kind it is.
    pub kind: StoreErrorKind,
    /// The operation, by its name in S3's documentation.
    pub op: &'static str,
    /// The key, complete.
    pub key: Option<String>,
    /// The server's code or the status, where there was an answer.
    pub code: Option<String>,
    /// The whole sentence.
    text: String,
}

impl StoreError {
    /// Nobody knows whether the request was carried out.
    pub(super) fn is_doubtful(&self) -> bool {
        use StoreErrorKind::{BrokenAnswer, Server, Throttled, TimedOut, Unreachable};
        matches!(self.kind, BrokenAnswer | Server | Throttled | TimedOut | Unreachable)
    }

    /// The server does not know the operation, or one of its headers.
    pub(super) fn is_of_what_was_asked(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unsupported | StoreErrorKind::BadRequest)
    }

    /// An error with its sentence.
    pub(super) fn new(kind: StoreErrorKind, op: &'static str, text: impl Into<String>) -> Self {
        Self { kind, op, key: None, code: None, text: text.into() }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}({})", self.kind, self.text)
    }
}
