//! Writing files: small ones in one request, large ones in parts, whose condition stands on the last request. What is
//! given up, by an error or because the caller went away, is aborted, so that no parts stay behind to be paid for.

mod layout;
mod patch;
mod unfinished;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_s3::{
    config::http::HttpResponse,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use md5::{Digest, Md5};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

pub(super) use self::patch::Copies;
pub use self::unfinished::Unfinished;
use super::{
    Put, PutIf, Ranged, Source, Span, Store, StoreError, StoreErrorKind,
    send::{Ask, Repeat},
    trouble::{Cause, Trouble},
    write::Way,
};
use crate::rows::ETag;

/// Up to this size a file is one request; also the size of most parts.
pub(super) const PART: u64 = 8 * 1024 * 1024;
/// S3 takes no more parts than this.
const MOST_PARTS: u64 = 10_000;
/// Bytes of files that may lie in memory at once, waiting to be sent, in KiB.
pub(super) const ROOM_KIB: u32 = 64 * 1024;

/// Aborts on their way.
#[derive(Debug, Default)]
pub(super) struct Aborts(Mutex<Vec<JoinHandle<()>>>);

/// An upload in parts that is not complete: aborted when dropped.
struct Upload<'a> {
    store: &'a Store,
    key: &'a str,
    id: String,
    over: bool,
}

/// A part on its way.
struct Part {
    number: i32,
    bytes: Bytes,
    /// Its place in memory.
    _room: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// Writes a file of `size` bytes from `source`, in parts if it is large. The bytes become visible only after
    /// [`Source::seal`] has found them right.
    ///
    /// # Errors
    /// As [`Store::put`]; what the source says is of kind [`StoreErrorKind::Source`].
    pub async fn put_file(
        &self,
        key: &str,
        source: impl Source,
        size: u64,
        condition: PutIf<'_>,
        content_type: Option<&str>,
    ) -> Result<Put, StoreError> {
        let mut reading = Reading::of(self, key, source);
        if size <= PART {
            let _room = self.room(size).await;
            let bytes = reading.take(size).await?;
            reading.seal().await?;
            return self.put(key, bytes, condition, content_type).await;
        }
        if self.dry {
            return Ok(Put::Done(ETag::new("\"dry-run\"")));
        }
        let way = self.way(condition, self.abilities.map(|able| (able.complete_create, able.complete_replace)));
        if let Some(no) = self.look_before(key, condition, way).await? {
            return Ok(no);
        }
        let upload = self.begin(key, content_type).await?;
        let (length, mut at) = (part_length(size), 0);
        let spans = std::iter::from_fn(|| {
            let span = at..size.min(at + length);
            at = span.end;
            (!span.is_empty()).then_some(span)
        });
        let parts = match upload.send_parts((1..).zip(spans), InOrder(&mut reading)).await {
            Ok(parts) => reading.seal().await.map(|()| parts),
            Err(error) => Err(error),
        };
        self.finish(upload, parts, size, condition, way).await
    }

    /// Completes an upload with these parts, or ends it.
    async fn finish(
        &self,
        mut upload: Upload<'_>,
        parts: Result<Vec<CompletedPart>, StoreError>,
        size: u64,
        condition: PutIf<'_>,
        way: Way,
    ) -> Result<Put, StoreError> {
        let key = upload.key;
        // The parts may have taken long.
        let parts = match (parts, self.look_before(key, condition, way).await) {
            (Ok(parts), Ok(None)) => Ok(parts),
            (Ok(_), Ok(Some(no))) => {
                upload.end().await;
                return Ok(no);
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let put = match parts {
            Ok(parts) => {
                let put = upload.complete(parts, if way == Way::ByHand { PutIf::Any } else { condition }).await;
                upload.over = matches!(put, Ok(Put::Done(_)));
                put
            }
            Err(error) => Err(error),
        };
        upload.end().await;
        match put? {
            Put::Done(etag) => self.look_after_parts(key, etag, size, way).await,
            put => Ok(put),
        }
    }

    /// Which version an upload in parts made. Where Complete does not say it, the object that lies there now is taken for
    /// it if it is as long.
    async fn look_after_parts(&self, key: &str, etag: ETag, size: u64, way: Way) -> Result<Put, StoreError> {
        if self.abilities.is_none_or(|able| able.complete_etag) {
            return self.look_after(key, Put::Done(etag), way).await;
        }
        Ok(match self.head(key).await? {
            Some(meta) if meta.etag == etag || meta.size == size => Put::Done(meta.etag),
            _ => Put::Refused,
        })
    }

    /// A small object by way of one part: how the probe finds out what Complete honours.
    pub(super) async fn put_parts_once(
        &self,
        key: &str,
        bytes: Bytes,
        condition: PutIf<'_>,
    ) -> Result<Put, StoreError> {
        let mut upload = self.begin(key, None).await?;
        let room = self.room(bytes.len() as u64).await;
        let put = match upload.send_part(Part { number: 1, bytes, _room: room }).await {
            Ok(part) => upload.complete(vec![part], condition).await,
            Err(error) => Err(error),
        };
        upload.over = matches!(put, Ok(Put::Done(_)));
        upload.end().await;
        put
    }

    /// Waits until what was given up is aborted, at most so long: for the end of a process.
    pub async fn settle(&self, most: Duration) {
        let pending = std::mem::take(&mut *self.line.aborts.0.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            for abort in pending {
                drop(abort.await);
            }
        };
        drop(tokio::time::timeout(most, all).await);
    }

    /// A place in memory for so many bytes.
    async fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(ROOM_KIB).min(ROOM_KIB);
        std::sync::Arc::clone(&self.line.room).acquire_many_owned(kib).await.ok()
    }

    async fn begin<'a>(&'a self, key: &'a str, content_type: Option<&str>) -> Result<Upload<'a>, StoreError> {
        let ask = Ask::new("CreateMultipartUpload", key);
        let result = self
            .send(ask, |client| async move {
                let request = client.create_multipart_upload().bucket(&self.line.bucket).key(self.full(key));
                match request.set_content_type(content_type.map(str::to_owned)).send().await {
                    Ok(output) => output.upload_id.ok_or_else(|| Trouble::broken("it has no upload id")),
                    Err(error) => match error.raw_response().and_then(upload_id_in) {
                        Some(id) => Ok(id),
                        None => Err(error.into()),
                    },
                }
            })
            .await;
        let id = result.map_err(|trouble| self.error(ask, &trouble))?;
        Ok(Upload { store: self, key, id, over: false })
    }

    async fn abort(&self, key: &str, id: &str) {
        let ask = Ask::new("AbortMultipartUpload", key);
        let result = self
            .send(ask, |client| async move {
                let request = client.abort_multipart_upload().bucket(&self.line.bucket);
                Ok(request.key(self.full(key)).upload_id(id).send().await.map(drop)?)
            })
            .await;
        if let Err(trouble) = result
            && trouble.status() != Some(404)
        {
            tracing::warn!("parts stay behind: {}", self.error(ask, &trouble));
        }
    }
}

impl Upload<'_> {
    /// Reads the parts in order and sends them side by side.
    async fn send_parts(
        &self,
        parts: impl Iterator<Item = (i32, Span)> + Send,
        mut from: impl Parts + Send,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let mut parts = parts.peekable();
        let mut sent = FuturesUnordered::new();
        let mut done = Vec::new();
        while let Some((number, span)) = parts.peek().cloned() {
            let room = tokio::select! {
                // First what frees a place: with many waiting for room nobody else would.
                biased;
                Some(part) = sent.next(), if !sent.is_empty() => {
                    done.push(part?);
                    continue;
                }
                room = self.store.room(span.end - span.start) => room,
            };
            parts.next();
            let part = Part { number, bytes: from.part(span).await?, _room: room };
            sent.push(self.send_part(part));
        }
        while let Some(part) = sent.next().await {
            done.push(part?);
        }
        done.sort_by_key(CompletedPart::part_number);
        Ok(done)
    }

    async fn send_part(&self, part: Part) -> Result<CompletedPart, StoreError> {
        let store = self.store;
        let ask = Ask::new("UploadPart", self.key).bytes(part.bytes.len() as u64);
        loop {
            let md5 = store.md5_wanted().then(|| STANDARD.encode(Md5::digest(&part.bytes)));
            let (part, md5) = (&part, &md5);
            let result = store
                .send(ask, |client| async move {
                    let request = client
                        .upload_part()
                        .bucket(&store.line.bucket)
                        .key(store.full(self.key))
                        .upload_id(&self.id)
                        .part_number(part.number)
                        .set_content_md5(md5.clone())
                        .content_length(i64::try_from(part.bytes.len()).unwrap_or(i64::MAX))
                        .body(ByteStream::from(part.bytes.clone()))
                        .customize();
                    let unsigned = store.line.recipe.unsigned_payload;
                    let request = if unsigned { request.disable_payload_signing() } else { request };
                    Ok(request.send().await?)
                })
                .await;
            return match result {
                // The checksums that the SDK computed are part of the list where it did.
                Ok(output) => Ok(CompletedPart::builder()
                    .part_number(part.number)
                    .set_e_tag(output.e_tag)
                    .set_checksum_crc32(output.checksum_crc32)
                    .set_checksum_crc32_c(output.checksum_crc32_c)
                    .set_checksum_crc64_nvme(output.checksum_crc64_nvme)
                    .set_checksum_sha1(output.checksum_sha1)
                    .set_checksum_sha256(output.checksum_sha256)
                    .build()),
                Err(trouble) if md5.is_none() && store.wants_md5(&trouble) => continue,
                Err(trouble) => Err(store.error(ask, &trouble)),
            };
        }
    }

    /// Makes the object visible, if the condition holds. Without one it is not repeated either: the second would find
    /// no upload.
    async fn complete(&self, parts: Vec<CompletedPart>, condition: PutIf<'_>) -> Result<Put, StoreError> {
        let store = self.store;
        let ask = Ask::new("CompleteMultipartUpload", self.key).repeat(Repeat::OnlyIfNotDone);
        let ask = ask.conditional(condition != PutIf::Any);
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let list = &list;
        let result = store
            .send(ask, |client| async move {
                let request = client
                    .complete_multipart_upload()
                    .bucket(&store.line.bucket)
                    .key(store.full(self.key))
                    .upload_id(&self.id)
                    .multipart_upload(list.clone());
                let request = match condition {
                    PutIf::Absent => request.if_none_match("*"),
                    PutIf::Match(etag) => request.if_match(etag.as_str()),
                    PutIf::Any => request,
                };
                Ok(request.send().await?.e_tag)
            })
            .await;
        match result {
            Ok(Some(etag)) => Ok(Put::Done(ETag::new(etag))),
            Ok(None) => match store.head(self.key).await? {
                Some(meta) => Ok(Put::Done(meta.etag)),
                None => Ok(Put::Refused),
            },
            Err(trouble) if trouble.maybe_done && condition == PutIf::Any => {
                Ok(Put::Uncertain(store.error(ask, &trouble)))
            }
            Err(trouble) => store.judge(ask, condition, &trouble),
        }
    }

    /// Aborts what is not complete. After a doubtful answer too: what did not happen until now must not happen later.
    async fn end(mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.store.abort(self.key, &self.id).await;
        }
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (store, key, id) = (self.store.clone(), self.key.to_owned(), std::mem::take(&mut self.id));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let aborts = &self.store.line.aborts;
            let abort = runtime.spawn(async move { store.abort(&key, &id).await });
            aborts.0.lock().unwrap_or_else(PoisonError::into_inner).push(abort);
        }
    }
}

/// A source that is read on threads that may block.
struct Reading<'a, S> {
    source: Option<S>,
    key: &'a str,
    store: &'a Store,
}

/// What the parts of an upload are read from.
trait Parts {
    /// The bytes of `span`.
    fn part(&mut self, span: Span) -> impl Future<Output = Result<Bytes, StoreError>> + Send;
}

/// Read from front to back: each part begins where the last one ended.
struct InOrder<'r, 'a, S>(&'r mut Reading<'a, S>);

impl<S: Source> Parts for InOrder<'_, '_, S> {
    async fn part(&mut self, span: Span) -> Result<Bytes, StoreError> {
        self.0.take(span.end - span.start).await
    }
}

/// Read where it is wanted.
struct Anywhere<'r, 'a, S>(&'r mut Reading<'a, S>);

impl<S: Ranged> Parts for Anywhere<'_, '_, S> {
    async fn part(&mut self, span: Span) -> Result<Bytes, StoreError> {
        self.0.read(span).await
    }
}

impl<S: Source> Reading<'_, S> {
    async fn take(&mut self, length: u64) -> Result<Bytes, StoreError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = self.with(move |source| source.take(length)).await?;
        self.all(bytes, length)
    }

    async fn seal(&mut self) -> Result<(), StoreError> {
        self.with(Source::seal).await
    }
}

impl<S: Ranged> Reading<'_, S> {
    async fn read(&mut self, span: Span) -> Result<Bytes, StoreError> {
        let length = usize::try_from(span.end - span.start).unwrap_or(usize::MAX);
        let bytes = self.with(move |source| source.read(span)).await?;
        self.all(bytes, length)
    }

    async fn go_on(&mut self) -> Result<(), StoreError> {
        self.with(Ranged::go_on).await
    }
}

impl<'a, S: Send + 'static> Reading<'a, S> {
    fn of(store: &'a Store, key: &'a str, source: S) -> Self {
        Self { source: Some(source), key, store }
    }

    fn all(&self, bytes: Bytes, length: usize) -> Result<Bytes, StoreError> {
        if bytes.len() == length { Ok(bytes) } else { Err(self.error("the file became shorter while it was read")) }
    }

    async fn with<T: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut S) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(mut source) = self.source.take() else {
            return Err(self.error("an earlier read was given up"));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = call(&mut source);
            (source, result)
        });
        let (source, result) = done.await.map_err(|error| self.error(&error.to_string()))?;
        self.source = Some(source);
        result.map_err(|error| self.error(&error.to_string()))
    }

    fn error(&self, why: &str) -> StoreError {
        let trouble = Trouble::new(Cause::Local(why.to_owned()));
        let error = self.store.error(Ask::new("PutObject", self.key), &trouble);
        debug_assert_eq!(error.kind, StoreErrorKind::Source);
        error
    }
}

/// The upload's id in an answer that succeeded and that the SDK cannot read: rclone's has another root element.
fn upload_id_in(raw: &HttpResponse) -> Option<String> {
    let text = std::str::from_utf8(raw.body().bytes()?).ok().filter(|_| raw.status().is_success())?;
    let id = text.split_once("<UploadId>")?.1.split_once("</UploadId>")?.0;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (!id.is_empty() && id.len() <= 1024 && id.bytes().all(is_plain)).then(|| id.to_owned())
}

/// Parts of 8 MiB, larger only where 10,000 of them do not reach.
fn part_length(size: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    size.div_ceil(MOST_PARTS).div_ceil(MIB).saturating_mul(MIB).max(PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_needs_more_parts_than_s3_takes() {
        assert_eq!(part_length(PART + 1), PART);
        for size in [PART * MOST_PARTS, PART * MOST_PARTS + 1, 5 << 40] {
            assert!(size.div_ceil(part_length(size)) <= MOST_PARTS, "{size}");
        }
    }
}
