//! The remote side: one prefix of one bucket on an S3 server. Conditions, probe, retries, keys.
//!
//! It knows the network and no policy: what to write, and what an answer means for a workspace, is decided above. No
//! call leaves the prefix, there are no calls about the bucket itself, and a refusal (403) is never "absent".
//! This room alone names `aws_sdk_s3`; it knows nothing of the local directory.

mod abilities;
mod error;
mod words;

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

pub use self::{
    abilities::Abilities,
    error::{StoreError, StoreErrorKind},
    words::{Counters, Deleted, Fetched, GetIf, Got, Listed, Meta, Object, Put, PutIf, Sink, Source, Span},
};
use crate::{config::Access, rows::ETag};

/// One prefix of one bucket; cheap to clone. All keys are relative to the prefix.
#[derive(Clone, Debug)]
pub struct Store {
    prefix: Arc<str>,
    abilities: Option<Abilities>,
}

/// The body of an object as it arrives. A broken answer is taken up where it broke off, for the same version only.
#[derive(Debug)]
pub struct Reader {
    meta: Meta,
}

/// What [`Store::open`] found.
#[derive(Debug)]
pub enum Opened {
    /// The object, its bytes on the way.
    Found(Reader),
    /// There is none.
    Absent,
    /// It is not the version asked for.
    Moved,
}

/// A listing on its way, page by page.
#[derive(Debug)]
pub struct Lister {
    done: bool,
}

fn later(op: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, op, "not built yet")
}

#[allow(clippy::unused_async, unused_variables, missing_docs, clippy::missing_errors_doc)]
impl Store {
    /// Makes a client for `prefix` of `bucket`; nothing is sent. An empty prefix is the whole bucket.
    pub async fn connect(access: &Access, bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        Err(later("connect"))
    }
    /// The same bucket, a prefix below this one.
    pub fn below(&self, prefix: &str) -> Self {
        self.clone()
    }
    pub fn with_abilities(mut self, abilities: Abilities) -> Self {
        self.abilities = Some(abilities);
        self
    }
    pub fn abilities(&self) -> Option<Abilities> {
        self.abilities
    }
    /// Whole object in memory, at most 128 MiB.
    pub async fn get(&self, key: &str, condition: GetIf<'_>) -> Result<Got, StoreError> {
        Err(later("GetObject"))
    }
    /// Streaming.
    pub async fn open(&self, key: &str, span: Option<Span>, version: Option<&ETag>) -> Result<Opened, StoreError> {
        Err(later("GetObject"))
    }
    /// All bytes of `size` and version `etag` (as listed) into `sink`, in parallel ranges if large.
    pub async fn fetch(&self, key: &str, etag: &ETag, size: u64, sink: Arc<dyn Sink>) -> Result<Fetched, StoreError> {
        Err(later("GetObject"))
    }
    pub async fn head(&self, key: &str) -> Result<Option<Meta>, StoreError> {
        Err(later("HeadObject"))
    }
    pub async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        condition: PutIf<'_>,
        content_type: Option<&str>,
    ) -> Result<Put, StoreError> {
        Err(later("PutObject"))
    }
    pub async fn put_file(
        &self,
        key: &str,
        source: impl Source,
        size: u64,
        condition: PutIf<'_>,
        content_type: Option<&str>,
    ) -> Result<Put, StoreError> {
        Err(later("PutObject"))
    }
    /// With a version: only that one (by condition, or HEAD, compare and DELETE at once where there is none).
    pub async fn delete(&self, key: &str, version: Option<&ETag>) -> Result<Deleted, StoreError> {
        Err(later("DeleteObject"))
    }
    /// Every key of the prefix but those below `.stopover/`.
    pub fn list_live(&self) -> Lister {
        Lister { done: false }
    }
    /// Every key that begins with `start` (for `.stopover/`, or "" for all).
    pub fn list(&self, start: &str) -> Lister {
        Lister { done: false }
    }
    /// The names of the "directories" directly below the prefix, without slash.
    pub async fn list_prefixes(&self) -> Result<Vec<String>, StoreError> {
        Err(later("ListObjectsV2"))
    }
    /// Measures what the server honours; writes and removes a few objects below `.stopover/probe-…`. Known on AWS.
    pub async fn probe(&self) -> Result<Abilities, StoreError> {
        Err(later("probe"))
    }
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
    /// The server's clock now: its last `Date` plus the time since.
    pub fn server_now(&self) -> Option<SystemTime> {
        None
    }
    /// How far our clock is ahead of the server's, in seconds.
    pub fn clock_skew(&self) -> Option<i64> {
        None
    }
    /// What a lifecycle rule will do to objects here (`x-amz-expiration`), if an answer said so.
    pub fn expiration(&self) -> Option<String> {
        None
    }
    /// The bucket's region, if it was found to be another than the one that was set.
    pub fn moved_region(&self) -> Option<String> {
        None
    }
    /// `s3://BUCKET/PREFIX` without trailing slash.
    pub fn url(&self) -> String {
        String::new()
    }
}

#[allow(clippy::unused_async, missing_docs, clippy::missing_errors_doc)]
impl Reader {
    pub fn meta(&self) -> &Meta {
        &self.meta
    }
    /// The next bytes; `None` after the last.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        Err(later("GetObject"))
    }
}

#[allow(clippy::unused_async, clippy::missing_errors_doc)]
impl Lister {
    /// The next page (up to 1,000 keys, in no promised order); `None` after the last.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Listed>>, StoreError> {
        self.done = true;
        Err(later("ListObjectsV2"))
    }
}

/// The `Content-Type` of a file by its path and its first 8 KiB.
#[must_use]
pub fn content_type(_path: &str, _first: &[u8]) -> String {
    "application/octet-stream".to_owned()
}
