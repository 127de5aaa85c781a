//! What a server honours, as measured.

use serde::{Deserialize, Serialize};

/// What a server honours: measured by [`super::Store::probe`], or known (AWS). Kept in the state directory between
/// runs, so unknown fields of a later version are ignored and missing ones are "no".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Abilities {
    /// PUT with If-None-Match:* makes a new object and refuses an existing one.
    pub create: bool,
    /// PUT with If-Match takes the right ETag and refuses a wrong one.
    pub replace: bool,
    /// PUT with If-Match on a key without object writes nothing.
    pub replace_needs_object: bool,
    /// CompleteMultipartUpload with If-None-Match:*, as `create`.
    pub complete_create: bool,
    /// CompleteMultipartUpload with If-Match, as `replace`.
    pub complete_replace: bool,
    /// `CompleteMultipartUpload` answers with the ETag that the object has from then on.
    pub complete_etag: bool,
    /// DELETE with If-Match takes the right ETag and refuses a wrong one.
    pub delete: bool,
    /// ListObjectsV2 starts after a value that is no key.
    pub start_after: bool,
    /// Listings came in order of the keys' bytes.
    pub ordered: bool,
    /// Listings that say `url` are encoded so (one server says it and sends raw keys).
    pub url_encoding: bool,
}

/// What of a server is measured: each costs requests, so a caller names what it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "a set")]
pub struct Probed {
    /// Conditions of PUT.
    pub puts: bool,
    /// Conditions of `CompleteMultipartUpload`.
    pub completes: bool,
    /// The condition of DELETE.
    pub deletes: bool,
    /// Order, start and encoding of listings.
    pub lists: bool,
}

impl Probed {
    /// Everything.
    pub const ALL: Self = Self { puts: true, completes: true, deletes: true, lists: true };

    /// What is in this one and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            puts: self.puts && !other.puts,
            completes: self.completes && !other.completes,
            deletes: self.deletes && !other.deletes,
            lists: self.lists && !other.lists,
        }
    }

    /// What is in one of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self {
            puts: self.puts || other.puts,
            completes: self.completes || other.completes,
            deletes: self.deletes || other.deletes,
            lists: self.lists || other.lists,
        }
    }
}

impl Abilities {
    /// AWS S3 (general purpose buckets), as documented since September 2025.
    pub const AWS: Self = Self {
        create: true,
        replace: true,
        replace_needs_object: true,
        complete_create: true,
        complete_replace: true,
        complete_etag: true,
        delete: true,
        start_after: true,
        ordered: true,
        url_encoding: true,
    };

    /// Whether several writers can meet at one object and only one wins.
    #[must_use]
    pub const fn conditional_puts(&self) -> bool {
        self.create && self.replace && self.replace_needs_object
    }
}
