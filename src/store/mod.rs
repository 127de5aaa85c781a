//! The remote side: one prefix of one bucket on an S3 server. Conditions, probe, retries, keys.
//!
//! It knows the network and no policy: what to write, and what an answer means for a workspace, is decided above. No
//! call leaves the prefix, there are no calls about the bucket itself, and a refusal (403) is never "absent".
//! This room alone names `aws_sdk_s3`; it knows nothing of the local directory.

mod abilities;
mod client;
mod content_type;
mod delete;
mod error;
mod gate;
mod list;
mod multipart;
mod probe;
mod read;
mod refusal;
mod roots;
mod send;
mod sentence;
mod trouble;
mod width;
mod wire;
mod words;
mod write;

use std::{sync::Arc, time::SystemTime};

pub use self::{
    abilities::{Abilities, Probed},
    content_type::{SAMPLE, content_type},
    error::{StoreError, StoreErrorKind},
    list::Lister,
    multipart::Unfinished,
    read::{MAX_WHOLE, Opened, Reader},
    words::{Counters, Deleted, Fetched, GetIf, Got, Listed, Meta, Object, Put, PutIf, Ranged, Sink, Source, Span},
    write::{PlainEtag, plain_etag},
};
use self::{client::Recipe, send::Line, wire::Wire};
use crate::config::Access;

/// One prefix of one bucket; cheap to clone. All keys are relative to the prefix.
#[derive(Clone, Debug)]
pub struct Store {
    line: Arc<Line>,
    /// Empty, or ends in a slash.
    prefix: Arc<str>,
    abilities: Option<Abilities>,
    /// Writes are not sent.
    dry: bool,
}

impl Store {
    /// Makes a client for `prefix` of `bucket` (an empty one is the whole bucket). Nothing is sent to the server yet.
    ///
    /// # Errors
    /// The settings make no client.
    pub async fn connect(access: &Access, bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        client::check_bucket(bucket)?;
        let wire = Arc::new(Wire::default());
        let recipe = Recipe::new(access, Arc::clone(&wire)).await?;
        let widths = access.concurrency.unwrap_or_else(width::from_this_machine);
        let line = Arc::new(Line::new(bucket, recipe, wire, widths));
        let store = Self { line, prefix: slashed(prefix).into(), abilities: None, dry: false };
        let abilities = store.known_abilities();
        Ok(Self { abilities, ..store })
    }

    /// The same bucket by the same connection, at `prefix` below this one.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Self {
        Self { prefix: format!("{}{}", self.prefix, slashed(prefix)).into(), ..self.clone() }
    }

    /// This store, for a server that honours `abilities`.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Self {
        Self { abilities: Some(abilities), ..self }
    }

    /// This store, for a run that only shows what it would do: reads are sent, writes and deletes are not and "succeed".
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self { dry: true, ..self }
    }

    /// What the server honours, where it is known.
    #[must_use]
    pub fn abilities(&self) -> Option<Abilities> {
        self.abilities
    }

    /// `s3://BUCKET/PREFIX`, without slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.line.bucket, self.prefix).trim_end_matches('/').to_owned()
    }

    /// What was sent and received so far by all stores of this connection.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.line.wire.counters()
    }

    /// The server's clock now: its last `Date` and the time since. `None` before the first answer.
    #[must_use]
    pub fn server_now(&self) -> Option<SystemTime> {
        self.line.wire.server_now()
    }

    /// Seconds that our clock is ahead of the server's at its last answer; negative: behind.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        self.line.wire.skew()
    }

    /// What a lifecycle rule will do to objects here (`x-amz-expiration`), if an answer said so: it will eat the
    /// workspace.
    #[must_use]
    pub fn expiration(&self) -> Option<String> {
        self.line.wire.expiration()
    }

    /// Such a rule was said before: it is not said again.
    pub fn has_said_expiration(&self, rule: String) {
        self.line.wire.has_said_expiration(rule);
    }

    /// How the server encrypts what is written here (`aws:kms`, `AES256`), if an answer said so.
    #[must_use]
    pub fn encryption(&self) -> Option<String> {
        self.line.wire.encryption()
    }

    /// How objects here are kept from being deleted for a while (object lock), if an answer said so, or the bucket
    /// wanted a checksum with a write, as those with object lock do.
    #[must_use]
    pub fn object_lock(&self) -> Option<String> {
        let wanted = self.md5_wanted().then(|| "every write needs a checksum".to_owned());
        self.line.wire.object_lock().or(wanted)
    }

    /// The bucket's region, where it was found to be another than the one that is set.
    #[must_use]
    pub fn moved_region(&self) -> Option<String> {
        self.line.moved_region()
    }

    /// The endpoint, as a user would name it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.line.recipe.place(&self.line.region())
    }

    /// What tells this server from others: its URL. AWS is one place (in each of its partitions): there a bucket's name
    /// is nobody else's, whatever the endpoint.
    #[must_use]
    pub fn server(&self) -> String {
        if self.line.recipe.aws {
            let region = self.line.region();
            let partition = ["cn", "us-gov", "us-iso"].into_iter().find(|start| region.starts_with(start));
            return partition.map_or_else(|| "AWS".to_owned(), |partition| format!("AWS ({partition})"));
        }
        let url = self.endpoint();
        let end = url.find("://").map_or(0, |at| at + 3);
        let end = url[end..].find('/').map_or(url.len(), |at| at + end);
        format!("{}{}", url[..end].to_ascii_lowercase(), url[end..].trim_end_matches('/'))
    }

    /// Requests that go down and up at once, at most.
    #[must_use]
    pub fn widths(&self) -> (usize, usize) {
        (self.line.down.most(), self.line.up.most())
    }

    /// The complete key.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

/// `a/b` as `a/b/`; nothing stays nothing. A prefix `foo` must not match `foo-bar`.
fn slashed(prefix: &str) -> String {
    let bare = prefix.trim_matches('/');
    if bare.is_empty() { String::new() } else { format!("{bare}/") }
}

#[cfg(test)]
mod tests {
    use super::slashed;

    #[test]
    fn a_prefix_ends_in_one_slash_or_is_empty() {
        for (given, prefix) in [("", ""), ("/", ""), ("a", "a/"), ("/a/b/", "a/b/")] {
            assert_eq!(slashed(given), prefix);
        }
    }
}
