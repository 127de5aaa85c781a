//! Measures what a server honours, by its behaviour and with a positive control: a server that refuses everything
//! passes no test that only looks for refusals.
//!
//! The probe's names lie below `.stopover/`, are drawn at random and never used again, and are removed afterwards.

use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;

use super::{
    Abilities, Deleted, Probed, Put, PutIf, Store, StoreError, StoreErrorKind, list::looks_encoded, send::Ask,
};
use crate::rows::ETag;

/// How often it is measured where the server fails meanwhile.
const ROUNDS: u32 = 4;
/// A key that no encoding leaves as it is.
const ODD: &str = "a b+%41";

impl Store {
    /// What this server is known to honour without a measurement: AWS, except its directory buckets.
    #[must_use]
    pub fn known_abilities(&self) -> Option<Abilities> {
        (self.line.recipe.aws && !self.line.bucket.ends_with("--x-s3")).then_some(Abilities::AWS)
    }

    /// Measures all that this server honours, if it is not known: some 40 small requests, four at a time. A dry run
    /// sends none and takes the server for one that honours nothing.
    ///
    /// # Errors
    /// A request failed for another reason than the one that is measured: denied, unreachable, no answer.
    pub async fn probe(&self) -> Result<Abilities, StoreError> {
        Box::pin(self.probe_some(Probed::ALL, Abilities::default())).await
    }

    /// Measures only `what`; the rest stays as `known` says.
    ///
    /// # Errors
    /// As [`Store::probe`].
    pub async fn probe_some(&self, what: Probed, known: Abilities) -> Result<Abilities, StoreError> {
        if let Some(known) = self.known_abilities() {
            return Ok(known);
        }
        if self.dry {
            return Ok(Abilities::default());
        }
        // A conditional write that met a 500 is not repeated, for nobody knows what it did. A whole new round, under
        // new names, may be: rclone fails a PUT while the folder's last other object is being deleted.
        for _ in 1..ROUNDS {
            match Box::pin(self.probe_once(what, known)).await {
                Err(error) if error.kind == StoreErrorKind::Server => tracing::debug!("measured again: {error}"),
                done => return done,
            }
        }
        Box::pin(self.probe_once(what, known)).await
    }

    async fn probe_once(&self, what: Probed, known: Abilities) -> Result<Abilities, StoreError> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|error| {
            StoreError::new(StoreErrorKind::Settings, "probe", format!("no random numbers: {error}"))
        })?;
        let base = format!(".stopover/probe-{:016x}", u64::from_le_bytes(bytes));
        let name = |part: &str| format!("{base}-{part}");
        let (puts, missing, parts, gone) = (name("put"), name("missing"), name("parts"), name("delete"));
        let folder = name("list/");
        let listed = [name("list/c"), name("list/b"), name(&format!("list/{ODD}"))];
        // Each is large, and lies on the heap.
        let (put, completes, delete, list) = tokio::join!(
            only(what.puts, Box::pin(self.probe_puts(&puts, &missing))),
            only(what.completes, Box::pin(self.probe_completes(&parts))),
            only(what.deletes, Box::pin(self.probe_delete(&gone))),
            only(what.lists, Box::pin(self.probe_list(&folder, &listed))),
        );
        let used = [
            (what.puts, vec![puts, missing]),
            (what.completes, vec![parts]),
            (what.deletes, vec![gone]),
            (what.lists, listed.to_vec()),
        ];
        self.clean(used.into_iter().filter(|(used, _)| *used).flat_map(|(_, names)| names).collect()).await;
        let mut able = known;
        if let Some(found) = put? {
            (able.create, able.replace, able.replace_needs_object) = found;
        }
        if let Some(found) = completes? {
            (able.complete_create, able.complete_replace, able.complete_etag) = found;
        }
        if let Some(found) = delete? {
            able.delete = found;
        }
        if let Some(found) = list? {
            (able.start_after, able.ordered, able.url_encoding) = found;
        }
        Ok(able)
    }

    /// (create, replace, replace needs an object).
    async fn probe_puts(&self, key: &str, missing: &str) -> Result<(bool, bool, bool), StoreError> {
        let put = |key, text: &'static str, condition| self.put_once(key, Bytes::from(text), condition, None);
        let made = took(put(key, "1", PutIf::Absent).await)?;
        let create = made.is_some() && took(put(key, "2", PutIf::Absent).await)?.is_none();
        let Some(old) = took(put(key, "3", PutIf::Any).await)? else {
            return Ok((create, false, false));
        };
        let new = took(put(key, "4", PutIf::Match(&old)).await)?;
        let replace = new.is_some() && took(put(key, "5", PutIf::Match(&old)).await)?.is_none();
        let made = took(put(missing, "6", PutIf::Match(&old)).await)?.is_some();
        let needs_object = !self.is_there(missing).await?.unwrap_or(made);
        Ok((create, replace, needs_object))
    }

    /// (create, replace, the answer's ETag is the object's) at the end of an upload in parts.
    async fn probe_completes(&self, key: &str) -> Result<(bool, bool, bool), StoreError> {
        let put = |text: &'static str, condition| self.put_parts_once(key, Bytes::from(text), condition);
        let made = took(put("1", PutIf::Absent).await)?;
        let create = made.is_some() && took(put("2", PutIf::Absent).await)?.is_none();
        let Some(told) = took(put("3", PutIf::Any).await)? else {
            return Ok((create, false, false));
        };
        let Some(old) = self.head(key).await?.map(|meta| meta.etag) else {
            return Ok((create, false, false));
        };
        let new = took(put("4", PutIf::Match(&old)).await)?;
        let replace = new.is_some() && took(put("5", PutIf::Match(&old)).await)?.is_none();
        Ok((create, replace, told == old))
    }

    async fn probe_delete(&self, key: &str) -> Result<bool, StoreError> {
        let Some(old) = took(self.put_once(key, Bytes::from_static(b"1"), PutIf::Any, None).await)? else {
            return Ok(false);
        };
        let Some(new) = took(self.put_once(key, Bytes::from_static(b"2"), PutIf::Any, None).await)? else {
            return Ok(false);
        };
        let wrong = refusable(self.delete_once(key, Some(&old)).await)?;
        if matches!(wrong, Some(Deleted::Denied(_))) || self.is_there(key).await? != Some(true) {
            return Ok(false);
        }
        let right = refusable(self.delete_once(key, Some(&new)).await)?;
        // It could be looked at while it was there.
        Ok(matches!(right, Some(Deleted::Done)) && self.is_there(key).await? != Some(true))
    }

    /// Whether there is an object; `None` where one may not ask: without the right to list, what is not there is denied.
    async fn is_there(&self, key: &str) -> Result<Option<bool>, StoreError> {
        match self.head(key).await {
            Err(error) if error.kind == StoreErrorKind::Denied => Ok(None),
            found => Ok(Some(found?.is_some())),
        }
    }

    /// (start-after takes what is no key, ordered, encoding is what it says).
    async fn probe_list(&self, start: &str, keys: &[String]) -> Result<(bool, bool, bool), StoreError> {
        let mut made = Vec::new();
        for key in keys {
            if took(self.put_once(key, Bytes::from_static(b"1"), PutIf::Any, None).await)?.is_some() {
                made.push(self.full(key));
            }
        }
        made.sort();
        let Some((says, all)) = self.raw_list(start, None).await? else {
            return Ok((false, false, false));
        };
        let raw = |key: &String| made.contains(key);
        // Raw keys where it says "url": this server does not encode. Nothing odd was taken: nothing is proven.
        let odd = made.iter().any(|key| key.ends_with(ODD));
        let url_encoding = odd && says && all.iter().all(|key| looks_encoded(key)) && !all.iter().all(raw);
        let plain: Vec<&str> = all.iter().filter_map(|key| key.rsplit('/').next()).collect();
        let ordered = plain.len() == made.len() && plain.iter().rev().take(2).eq(["c", "b"].iter());
        let after = self.raw_list(start, Some(&format!("{start}bb"))).await?;
        let only_c = after.is_some_and(|(_, keys)| keys.len() == 1 && keys[0].ends_with("/c"));
        Ok((only_c, ordered, url_encoding))
    }

    /// Whether it says that keys are encoded, and the keys as they came; `None` where listing is denied.
    async fn raw_list(&self, start: &str, after: Option<&str>) -> Result<Option<(bool, Vec<String>)>, StoreError> {
        let ask = Ask::of_all("ListObjectsV2");
        let result = self
            .send(ask, |client| async move {
                let request = client
                    .list_objects_v2()
                    .bucket(&self.line.bucket)
                    .prefix(self.full(start))
                    .encoding_type(EncodingType::Url)
                    .set_start_after(after.map(|after| self.full(after)));
                Ok(request.send().await?)
            })
            .await;
        match result {
            Ok(page) => {
                let keys = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
                Ok(Some((page.encoding_type == Some(EncodingType::Url), keys.collect())))
            }
            Err(trouble) => match self.error(ask, &trouble) {
                error if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Unsupported) => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Removes the probe's objects; what cannot be removed is left to prune.
    async fn clean(&self, names: Vec<String>) {
        let all = names.iter().map(|name| self.delete_once(name, None));
        for result in futures_util::future::join_all(all).await {
            match result {
                Ok(Deleted::Denied(error)) | Err(error) => tracing::debug!("a probe's object stays: {error}"),
                Ok(_) => {}
            }
        }
    }
}

/// What `measure` finds, if it is wanted; else nothing is sent.
async fn only<T>(wanted: bool, measure: impl Future<Output = Result<T, StoreError>>) -> Result<Option<T>, StoreError> {
    if wanted { measure.await.map(Some) } else { Ok(None) }
}

/// The version that a write made; `None` where the server refused it, in whatever way it has to refuse a condition.
fn took(put: Result<Put, StoreError>) -> Result<Option<ETag>, StoreError> {
    Ok(match put {
        Ok(Put::Done(etag)) => Some(etag),
        Ok(Put::Refused | Put::Missing) => None,
        Ok(Put::Uncertain(error)) => return Err(error),
        Err(error) => refusable(Err(error))?,
    })
}

/// A server that does not know a header says 501 or 400; one that has no such name says so too.
fn refusable<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) => match error.kind {
            StoreErrorKind::Unsupported | StoreErrorKind::BadRequest | StoreErrorKind::NameRefused => Ok(None),
            _ => Err(error),
        },
    }
}
