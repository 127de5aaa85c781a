//! Listing, page by page. Keys are decoded where the answer says that they are encoded, and nothing relies on their
//! order unless the probe saw it.

use std::{collections::BTreeSet, time::SystemTime};

use aws_sdk_s3::{
    operation::list_objects_v2::ListObjectsV2Output,
    types::{EncodingType, Object},
};
use futures_util::future::{join_all, try_join_all};
use percent_encoding::percent_decode_str;
use tokio::sync::oneshot;

use super::{
    Listed, Store, StoreError,
    read::time,
    send::Ask,
    trouble::{Cause, Trouble},
};
use crate::rows::ETag;

/// stopover's own keys.
const OWN: &str = ".stopover/";
/// A value behind every key that stopover itself writes: there a listing goes on that has no use for them.
const PAST_OWN: &str = ".stopover/~";
/// Parts of one listing at once, where the settings allow it.
const PARTS: usize = 8;

/// A listing on its way.
#[derive(Debug)]
pub struct Lister {
    store: Store,
    /// Below the store's prefix, what all keys begin with.
    start: String,
    skip_own: bool,
    next: Next,
    tokens: Tokens,
    /// The last key of the last page.
    last: Option<String>,
    /// The last key that is asked for.
    until: Option<String>,
}

/// Where the pages of one listing went on. A server that goes on from the same place again would never come to an end.
#[derive(Debug, Default)]
struct Tokens(BTreeSet<String>);

/// How the next page is asked for.
#[derive(Debug)]
enum Next {
    /// From the beginning.
    First,
    /// Where the last page ended.
    Token(String),
    /// Behind this key, below the store's prefix.
    After(String),
    /// There is none.
    End,
}

impl Store {
    /// The live tree: every key but those below `.stopover/`.
    #[must_use]
    pub fn list_live(&self) -> Lister {
        Lister { skip_own: true, ..self.list("") }
    }

    /// All of the live tree. What of it is not listed yet when `cuts` come (keys, ascending, about a page apart) is
    /// listed in several parts at once, on a server whose listings are known to begin behind any key and to be in order.
    ///
    /// # Errors
    /// The listing failed.
    pub async fn list_live_in_parts(
        &self,
        mut cuts: oneshot::Receiver<Vec<String>>,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut lister = self.list_live();
        let mut keys = Vec::new();
        while let Some(page) = lister.next_page().await? {
            keys.extend(page);
            let Ok(mut cuts) = cuts.try_recv() else { continue };
            // Where the order was measured, it was so with ASCII: what comes after such a key does in any order.
            cuts.retain(|cut| cut.is_ascii() && lister.last.as_ref().is_none_or(|last| cut > last));
            if cuts.is_empty() || !self.may_start_anywhere() || matches!(lister.next, Next::End) {
                continue;
            }
            let most = PARTS.min(self.widths().0).saturating_sub(1).max(1);
            let cuts: Vec<String> = cuts.iter().step_by(cuts.len().div_ceil(most)).cloned().collect();
            let ends = cuts[1..].iter().cloned().map(Some).chain([None]);
            let parts = cuts.iter().zip(ends).map(|(after, until)| Lister {
                next: Next::After(after.clone()),
                until,
                ..self.list_live()
            });
            let parts: Vec<Lister> = parts.collect();
            lister.until = cuts.into_iter().next();
            let parts = try_join_all([lister].into_iter().chain(parts).map(Lister::all)).await?;
            keys.extend(parts.into_iter().flatten());
            return Ok(keys);
        }
        Ok(keys)
    }

    /// Every key that begins with `start`, which is part of a key below the store's prefix.
    #[must_use]
    pub fn list(&self, start: &str) -> Lister {
        Lister {
            store: self.clone(),
            start: start.to_owned(),
            skip_own: false,
            next: Next::First,
            tokens: Tokens::default(),
            last: None,
            until: None,
        }
    }

    /// The first segments of the keys that have more than one, sorted: the workspaces of a store.
    ///
    /// # Errors
    /// The listing failed.
    pub async fn list_prefixes(&self) -> Result<Vec<String>, StoreError> {
        let (mut names, mut next, mut tokens) = (BTreeSet::new(), Next::First, Tokens::default());
        loop {
            let page = self.page("", &next, Some("/")).await?;
            let encoded = is_encoded(&page, self.encodes());
            for prefix in page.common_prefixes.iter().flatten().filter_map(|prefix| prefix.prefix.as_deref()) {
                let prefix = decode(prefix, encoded);
                if let Some(name) = prefix.strip_prefix(&*self.prefix).and_then(|name| name.strip_suffix('/')) {
                    names.insert(name.to_owned());
                }
            }
            match self.next_of(&page, &mut tokens)? {
                Some(token) => next = Next::Token(token),
                None => return Ok(names.into_iter().collect()),
            }
        }
    }

    /// Where the next page begins, if there is one.
    fn next_of(&self, page: &ListObjectsV2Output, tokens: &mut Tokens) -> Result<Option<String>, StoreError> {
        let Some(token) = page.next_continuation_token.as_ref().filter(|_| page.is_truncated == Some(true)) else {
            return Ok(None);
        };
        if !tokens.0.insert(token.clone()) {
            let why = "its pages go on from the same place again and again: it would never end";
            return Err(self.error(Ask::of_all("ListObjectsV2"), &Trouble::new(Cause::Wrong(why.to_owned()))));
        }
        Ok(Some(token.clone()))
    }

    async fn page(&self, start: &str, next: &Next, delimiter: Option<&str>) -> Result<ListObjectsV2Output, StoreError> {
        let ask = Ask::of_all("ListObjectsV2");
        let result = self
            .send(ask, |client| async move {
                let request = client
                    .list_objects_v2()
                    .bucket(&self.line.bucket)
                    .prefix(self.full(start))
                    .encoding_type(EncodingType::Url)
                    .set_delimiter(delimiter.map(str::to_owned));
                let request = match next {
                    Next::First | Next::End => request,
                    Next::Token(token) => request.continuation_token(token),
                    Next::After(key) => request.start_after(self.full(key)),
                };
                let page = request.send().await?;
                if page.is_truncated == Some(true) && page.next_continuation_token.is_none() {
                    return Err(Trouble::broken("it says that there is more, but not where"));
                }
                Ok(page)
            })
            .await;
        result.map_err(|trouble| self.error(ask, &trouble))
    }

    /// Whether a listing that begins behind any key has all that comes after it.
    fn may_start_anywhere(&self) -> bool {
        self.abilities.is_some_and(|able| able.start_after && able.ordered)
    }

    /// Whether this server encodes keys where it says so; unknown before the probe.
    fn encodes(&self) -> Option<bool> {
        self.abilities.map(|able| able.url_encoding)
    }
}

impl Lister {
    /// The next page, of up to 1,000 keys in no promised order; `None` after the last. A page may be empty.
    ///
    /// # Errors
    /// The listing failed: what came before it is no whole listing.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Listed>>, StoreError> {
        if matches!(self.next, Next::End) {
            return Ok(None);
        }
        let page = self.store.page(&self.start, &self.next, None).await?;
        let encoded = is_encoded(&page, self.store.encodes());
        let token = self.store.next_of(&page, &mut self.tokens)?;
        let mut last = None;
        let mut is_over = false;
        let mut entries = Vec::new();
        for object in page.contents.unwrap_or_default() {
            let entry = self.store.entry(object, encoded)?;
            last = Some(entry.key.clone());
            if self.until.as_ref().is_some_and(|until| entry.key > *until) {
                is_over = true;
                continue;
            }
            // The empty key is the marker of the prefix itself.
            if !(entry.key.is_empty() || self.skip_own && entry.key.starts_with(OWN)) {
                entries.push(entry);
            }
        }
        self.next = match token.filter(|_| !is_over) {
            None => Next::End,
            Some(token) => match &last {
                // Hundreds of pages of stopover's own objects are passed over, where that is sure to lose nothing.
                Some(last)
                    if self.skip_own
                        && last.starts_with(OWN)
                        && **last < *PAST_OWN
                        && self.store.may_start_anywhere() =>
                {
                    Next::After(PAST_OWN.to_owned())
                }
                _ => Next::Token(token),
            },
        };
        if last.is_some() {
            self.last = last;
        }
        self.store.with_etags(entries).await.map(Some)
    }

    /// All pages.
    ///
    /// # Errors
    /// As [`Lister::next_page`].
    pub async fn all(mut self) -> Result<Vec<Listed>, StoreError> {
        let mut keys = Vec::new();
        while let Some(page) = self.next_page().await? {
            keys.extend(page);
        }
        Ok(keys)
    }
}

/// A line of a listing.
struct Entry {
    key: String,
    etag: Option<String>,
    size: u64,
    last_modified: Option<SystemTime>,
}

impl Store {
    fn entry(&self, object: Object, encoded: bool) -> Result<Entry, StoreError> {
        let broken = |why: &str| self.error(Ask::of_all("ListObjectsV2"), &Trouble::broken(why));
        let key = decode(&object.key.ok_or_else(|| broken("an entry without key"))?, encoded);
        let Some(key) = key.strip_prefix(&*self.prefix).map(str::to_owned) else {
            return Err(broken("it names a key outside the prefix"));
        };
        let size = object.size.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| broken("an entry without size"))?;
        Ok(Entry { key, etag: object.e_tag.map(quoted), size, last_modified: object.last_modified.and_then(time) })
    }

    /// The entries with their versions. A server whose listings have none is asked for each object; what is gone by
    /// then was never listed.
    async fn with_etags(&self, entries: Vec<Entry>) -> Result<Vec<Listed>, StoreError> {
        let complete = entries.into_iter().map(|Entry { key, etag, size, last_modified }| async move {
            match etag {
                Some(etag) => Ok(Some(Listed { key, etag: ETag::new(etag), size, last_modified })),
                None => Ok(self.head(&key).await?.map(|meta| Listed {
                    key,
                    etag: meta.etag,
                    size: meta.size,
                    last_modified: meta.last_modified,
                })),
            }
        });
        let complete: Vec<Result<_, StoreError>> = join_all(complete).await;
        complete.into_iter().filter_map(Result::transpose).collect()
    }
}

/// Whether the keys of a page are encoded: it must say so, and the server must be one that does what it says. Before
/// that is known, one key that cannot be the result of encoding is proof that none is.
fn is_encoded(page: &ListObjectsV2Output, does: Option<bool>) -> bool {
    let says = page.encoding_type == Some(EncodingType::Url);
    let keys = page.contents.iter().flatten().filter_map(|object| object.key.as_deref());
    let prefixes = page.common_prefixes.iter().flatten().filter_map(|prefix| prefix.prefix.as_deref());
    says && does.unwrap_or(true) && keys.chain(prefixes).all(looks_encoded)
}

/// Printable ASCII without spaces, each `%` before two hex digits.
pub(super) fn looks_encoded(key: &str) -> bool {
    let bytes = key.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_graphic(),
    })
}

/// A key as it is. Some servers write a space as `+`, all of them a plus as `%2B`.
fn decode(key: &str, encoded: bool) -> String {
    if !encoded {
        return key.to_owned();
    }
    let spaced = key.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map_or_else(|_| key.to_owned(), std::borrow::Cow::into_owned)
}

/// A version as every other answer names it: rclone leaves the quotes out of its listings.
fn quoted(etag: String) -> String {
    if etag.ends_with('"') { etag } else { format!("\"{etag}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_space_are_read() {
        assert_eq!(decode("a+b%20c%2Bd%25", true), "a b c+d%");
        assert_eq!(decode("a+b%20c", false), "a+b%20c");
    }

    #[test]
    fn a_raw_key_is_seen_by_what_encoding_cannot_leave() {
        for key in ["a b", "ä", "100%", "%zz", "a\nb"] {
            assert!(!looks_encoded(key), "{key}");
        }
        assert!(looks_encoded("a+b%20c/d.txt"));
    }

    #[test]
    fn a_version_has_quotes_in_listings_too() {
        for (listed, version) in [("0ab", "\"0ab\""), ("\"0ab\"", "\"0ab\""), ("W/\"0ab\"", "W/\"0ab\"")] {
            assert_eq!(quoted(listed.to_owned()), version);
        }
    }
}
