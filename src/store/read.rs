//! Reading: whole objects, streams, and large objects in parallel ranges. Never more is believed than was asked for:
//! lengths, ranges, versions and offered checksums are checked.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    Client,
    config::ResponseChecksumValidation,
    operation::get_object::GetObjectOutput,
    primitives::{ByteStream, DateTime},
};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{
    Fetched, GetIf, Got, Meta, Object, Sink, Span, Store, StoreError, StoreErrorKind,
    send::{Ask, PATIENCE, in_time},
    trouble::{Cause, Trouble},
};
use crate::rows::ETag;

/// The largest object that [`Store::get`] takes into memory.
pub const MAX_WHOLE: u64 = 128 * 1024 * 1024;
/// Large objects are fetched in ranges of this size.
const RANGE: u64 = 8 * 1024 * 1024;
/// So much is gathered before it is handed to a sink.
const BATCH: usize = 1024 * 1024;
/// So often a stream that breaks without a byte of progress is taken up again.
const RESUMES: u32 = 6;

/// What one GET asks for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    key: &'a str,
    span: Option<(u64, u64)>,
    condition: GetIf<'a>,
}

/// What [`Store::open`] found.
#[derive(Debug)]
pub enum Opened {
    /// The object, its bytes on the way.
    Found(Box<Reader>),
    /// There is none.
    Absent,
    /// It is not the version asked for.
    Moved,
}

/// The body of an object as it arrives. A broken answer is taken up where it broke off, for the same version only.
#[derive(Debug)]
pub struct Reader {
    store: Store,
    key: String,
    meta: Meta,
    body: ByteStream,
    position: u64,
    end: u64,
    resumes: u32,
}

impl Store {
    /// A whole object in memory, at most [`MAX_WHOLE`] bytes.
    ///
    /// # Errors
    /// Everything but "absent", "not modified" and "moved"; a refusal (403) too.
    pub async fn get(&self, key: &str, condition: GetIf<'_>) -> Result<Got, StoreError> {
        let wanted = Wanted { key, span: None, condition };
        let ask = Ask::new("GetObject", key).streams();
        let result = self
            .send(ask, |client| async move {
                let output = self.ask_for(&client, wanted).await?;
                let (meta, size) = self.meta_of(&output, None)?;
                if size > MAX_WHOLE {
                    return Ok(Err(size));
                }
                let bytes = whole(output.body, size).await?;
                Ok(Ok(Object { bytes, meta }))
            })
            .await;
        match result {
            Ok(Ok(object)) => Ok(match condition {
                GetIf::Match(etag) if object.meta.etag != *etag => Got::Moved,
                // One server answers 200 all the same.
                GetIf::NoneMatch(etag) if object.meta.etag == *etag => Got::NotModified,
                _ => Got::Found(object),
            }),
            Ok(Err(size)) => Err(self.too_large(ask, size)),
            Err(trouble) => match trouble.status() {
                Some(304) => Ok(Got::NotModified),
                Some(412) => Ok(Got::Moved),
                Some(404) if is_absent(&trouble) => Ok(Got::Absent),
                _ => Err(self.error(ask, &trouble)),
            },
        }
    }

    /// An object as a stream, whole or a part of it, any version or only `version`.
    ///
    /// # Errors
    /// Everything but "absent" and "moved"; a refusal (403) too.
    pub async fn open(&self, key: &str, span: Option<Span>, version: Option<&ETag>) -> Result<Opened, StoreError> {
        let ask = Ask::new("GetObject", key).streams();
        if let Some(span) = &span
            && span.is_empty()
        {
            // HTTP has no word for an empty range.
            return Ok(match self.head(key).await? {
                None => Opened::Absent,
                Some(meta) if version.is_some_and(|version| *version != meta.etag) => Opened::Moved,
                Some(meta) => Opened::Found(self.reader(key, meta, ByteStream::default(), (span.start, span.start))),
            });
        }
        let range = span.map(|span| (span.start, span.end));
        let condition = version.map_or(GetIf::Always, GetIf::Match);
        let wanted = Wanted { key, span: range, condition };
        let result = self
            .send(ask, |client| async move {
                let output = self.ask_for(&client, wanted).await?;
                let (meta, length) = self.meta_of(&output, range)?;
                Ok((meta, length, output.body))
            })
            .await;
        match result {
            Ok((meta, ..)) if version.is_some_and(|version| *version != meta.etag) => Ok(Opened::Moved),
            Ok((meta, length, body)) => {
                let start = range.map_or(0, |(start, _)| start);
                Ok(Opened::Found(self.reader(key, meta, body, (start, start + length))))
            }
            Err(trouble) => match trouble.status() {
                Some(412) => Ok(Opened::Moved),
                Some(404) if is_absent(&trouble) => Ok(Opened::Absent),
                _ => Err(self.error(ask, &trouble)),
            },
        }
    }

    /// All bytes of version `etag`, `size` bytes as a listing said, into `sink`: in parallel ranges where they are
    /// many. The parts come in any order; only [`Fetched::Done`] means that all are right.
    ///
    /// # Errors
    /// Everything but "absent" and "moved"; what the sink says is of kind [`StoreErrorKind::Sink`].
    pub async fn fetch(&self, key: &str, etag: &ETag, size: u64, sink: Arc<dyn Sink>) -> Result<Fetched, StoreError> {
        if size <= RANGE {
            return self.fetch_part(key, etag, size, None, sink).await;
        }
        // One after the other they are put to work, so that a gate of width 2 does not hold 10,000 requests in memory.
        let most = self.line.down.most();
        let mut spans = (0..size.div_ceil(RANGE)).map(|n| (n * RANGE, ((n + 1) * RANGE).min(size)));
        let part = |span| self.fetch_part(key, etag, size, Some(span), Arc::clone(&sink));
        let mut running: FuturesUnordered<_> = spans.by_ref().take(most).map(part).collect();
        let mut last = Fetched::Absent;
        while let Some(done) = running.next().await {
            match done? {
                done @ Fetched::Done(_) => last = done,
                other => return Ok(other),
            }
            running.extend(spans.next().map(part));
        }
        Ok(last)
    }

    async fn fetch_part(
        &self,
        key: &str,
        etag: &ETag,
        size: u64,
        span: Option<(u64, u64)>,
        sink: Arc<dyn Sink>,
    ) -> Result<Fetched, StoreError> {
        let (start, end) = span.unwrap_or((0, size));
        let ask = Ask::new("GetObject", key).streams();
        let wanted = Wanted { key, span, condition: GetIf::Match(etag) };
        let sink = &sink;
        let result = self
            .send(ask, |client| async move {
                let output = self.ask_for(&client, wanted).await?;
                let (meta, length) = self.meta_of(&output, span)?;
                if meta.etag != *etag {
                    return Ok(None);
                }
                if length != end - start || meta.size != size {
                    let why = format!("the object has {} bytes where {size} were listed", meta.size);
                    return Err(Trouble::new(Cause::Wrong(why)));
                }
                pour(output.body, start, end, sink).await?;
                Ok(Some(meta))
            })
            .await;
        match result {
            Ok(Some(meta)) => Ok(Fetched::Done(meta)),
            Ok(None) => Ok(Fetched::Moved),
            Err(trouble) => match (&trouble.cause, trouble.status()) {
                // 416: it has become too short for the range.
                (_, Some(412 | 416)) => Ok(Fetched::Moved),
                (_, Some(404)) if is_absent(&trouble) => Ok(Fetched::Absent),
                (Cause::Local(_), _) => {
                    let mut error = self.error(ask, &trouble);
                    error.kind = StoreErrorKind::Sink;
                    Err(error)
                }
                _ => Err(self.error(ask, &trouble)),
            },
        }
    }

    /// What is known of an object; `None` if there is none. (A HEAD has no body: a bucket that does not exist says
    /// "absent" too. Whoever must know asks a listing.)
    ///
    /// # Errors
    /// Everything but "absent"; a refusal (403) too.
    pub async fn head(&self, key: &str) -> Result<Option<Meta>, StoreError> {
        let ask = Ask::new("HeadObject", key);
        let result = self
            .send(ask, |client| async move {
                let request = client.head_object().bucket(&self.line.bucket).key(self.full(key));
                let output = request.send().await?;
                let size = length(output.content_length)?;
                Ok(self.meta(output.e_tag, size, output.last_modified, output.content_type))
            })
            .await;
        match result {
            Ok(meta) => Ok(Some(meta?)),
            Err(trouble) if trouble.status() == Some(404) && is_absent(&trouble) => Ok(None),
            Err(trouble) => Err(self.error(ask, &trouble)),
        }
    }

    async fn ask_for(&self, client: &Client, wanted: Wanted<'_>) -> Result<GetObjectOutput, Trouble> {
        let mut request = client.get_object().bucket(&self.line.bucket).key(self.full(wanted.key));
        match wanted.condition {
            GetIf::Always => {}
            GetIf::Match(etag) => request = request.if_match(etag.as_str()),
            GetIf::NoneMatch(etag) => request = request.if_none_match(etag.as_str()),
        }
        let patience = self.patience(0);
        let Some((start, end)) = wanted.span else {
            return in_time(patience, async { Ok(request.send().await?) }).await;
        };
        // The checksum that is offered is that of the whole object.
        let no_checksum =
            aws_sdk_s3::config::Builder::new().response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let request = request.range(format!("bytes={start}-{}", end - 1)).customize().config_override(no_checksum);
        in_time(patience, async { Ok(request.send().await?) }).await
    }

    /// What is known of the object, and how many bytes come.
    fn meta_of(&self, output: &GetObjectOutput, span: Option<(u64, u64)>) -> Result<(Meta, u64), Trouble> {
        let length = length(output.content_length)?;
        let size = match (span, output.content_range.as_deref().and_then(content_range)) {
            (None, _) => length,
            (Some((start, end)), Some((first, last, size))) => {
                if first != start || last + 1 != end.min(size) || last + 1 - first != length {
                    return Err(Trouble::broken("it is another range"));
                }
                size
            }
            // The whole object where a part was asked for: right only if the part is the whole.
            (Some((0, end)), None) if end == length => length,
            (Some(_), None) => return Err(Trouble::broken("it has no range")),
        };
        let etag = output.e_tag.clone();
        let meta = self.meta(etag, size, output.last_modified, output.content_type.clone());
        Ok((meta.map_err(|_| Trouble::broken("it has no ETag"))?, length))
    }

    fn meta(
        &self,
        etag: Option<String>,
        size: u64,
        last_modified: Option<DateTime>,
        content_type: Option<String>,
    ) -> Result<Meta, StoreError> {
        let Some(etag) = etag else {
            let text = format!("{} gives objects no ETag: it cannot hold a workspace", self.url());
            return Err(StoreError::new(StoreErrorKind::Unsupported, "HeadObject", text));
        };
        Ok(Meta {
            etag: ETag::new(etag),
            size,
            last_modified: last_modified.and_then(time),
            content_type,
            date: self.server_now(),
        })
    }

    fn reader(&self, key: &str, meta: Meta, body: ByteStream, (position, end): (u64, u64)) -> Box<Reader> {
        Box::new(Reader { store: self.clone(), key: key.to_owned(), meta, body, position, end, resumes: 0 })
    }

    fn too_large(&self, ask: Ask<'_>, size: u64) -> StoreError {
        let key = ask.key.map(|key| self.full(key));
        let text = format!("{:?} has {size} bytes, more than {MAX_WHOLE}", key.clone().unwrap_or_default());
        let mut error = StoreError::new(StoreErrorKind::TooLarge, ask.op, text);
        error.key = key;
        error
    }
}

impl Reader {
    /// What is known of the object; `size` is that of the whole object.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The next bytes; `None` after the last, when their number and the offered checksum were right.
    ///
    /// # Errors
    /// The answer broke off and could not be taken up again, or its checksum is wrong, or the object has moved.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let why = match tokio::time::timeout(PATIENCE, self.body.next()).await {
                Ok(Some(Ok(chunk))) => {
                    self.position += chunk.len() as u64;
                    if self.position > self.end {
                        return Err(self.broken("more bytes came than were announced"));
                    }
                    self.resumes = 0;
                    return Ok(Some(chunk));
                }
                Ok(None) if self.position == self.end => return Ok(None),
                Ok(None) => "it breaks off".to_owned(),
                // All bytes are here and the stream still finds fault with them: the checksum.
                Ok(Some(Err(error))) if self.position == self.end => return Err(self.broken(&error.to_string())),
                Ok(Some(Err(error))) => error.to_string(),
                Err(_) => "no byte in time".to_owned(),
            };
            self.resumes += 1;
            if self.resumes > RESUMES {
                return Err(self.broken(&why));
            }
            tokio::time::sleep(Duration::from_millis(50 << self.resumes)).await;
            let rest = Some(self.position..self.end);
            match Box::pin(self.store.open(&self.key, rest, Some(&self.meta.etag))).await? {
                Opened::Found(reader) => self.body = reader.body,
                Opened::Absent | Opened::Moved => {
                    let text = format!("{:?} changed while it was read", self.store.full(&self.key));
                    let mut error = StoreError::new(StoreErrorKind::Moved, "GetObject", text);
                    error.key = Some(self.store.full(&self.key));
                    return Err(error);
                }
            }
        }
    }

    fn broken(&self, why: &str) -> StoreError {
        self.store.error(Ask::new("GetObject", &self.key), &Trouble::broken(why))
    }
}

/// The bytes of a body that must have `size`.
async fn whole(mut body: ByteStream, size: u64) -> Result<Bytes, Trouble> {
    // Grown by doubling it would take up to twice its size. What is announced is not believed at any price.
    let mut bytes = BytesMut::with_capacity(size.min(RANGE) as usize);
    while let Some(chunk) = next(&mut body).await? {
        if (bytes.len() + chunk.len()) as u64 > size {
            return Err(Trouble::broken("more bytes came than were announced"));
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() as u64 == size { Ok(bytes.freeze()) } else { Err(Trouble::broken("it breaks off")) }
}

/// Hands the bytes from `start` to `end` to the sink, in batches, on threads that may block.
async fn pour(mut body: ByteStream, start: u64, end: u64, sink: &Arc<dyn Sink>) -> Result<(), Trouble> {
    let mut position = start;
    let mut batch = BytesMut::new();
    loop {
        let chunk = next(&mut body).await?;
        let ends = chunk.is_none();
        batch.extend_from_slice(&chunk.unwrap_or_default());
        if position + batch.len() as u64 > end {
            return Err(Trouble::broken("more bytes came than were announced"));
        }
        if !batch.is_empty() && (ends || batch.len() >= BATCH) {
            let (part, at, sink) = (batch.split().freeze(), position, Arc::clone(sink));
            position += part.len() as u64;
            let written = tokio::task::spawn_blocking(move || sink.write_at(at, &part)).await;
            let local = |error: String| Trouble::new(Cause::Local(error));
            written.map_err(|error| local(error.to_string()))?.map_err(|error| local(error.to_string()))?;
        }
        if ends {
            return if position == end { Ok(()) } else { Err(Trouble::broken("it breaks off")) };
        }
    }
}

async fn next(body: &mut ByteStream) -> Result<Option<Bytes>, Trouble> {
    match tokio::time::timeout(PATIENCE, body.next()).await {
        Ok(Some(chunk)) => chunk.map(Some).map_err(|error| Trouble::broken(error.to_string())),
        Ok(None) => Ok(None),
        Err(_) => Err(Trouble::new(Cause::TimedOut)),
    }
}

/// The object is not there; a bucket that is not there, and an upload, are something else.
fn is_absent(trouble: &Trouble) -> bool {
    matches!(trouble.code(), None | Some("NoSuchKey" | "NotFound" | "NoSuchVersion"))
}

fn length(content_length: Option<i64>) -> Result<u64, Trouble> {
    content_length
        .and_then(|length| u64::try_from(length).ok())
        .ok_or_else(|| Trouble::broken("it does not say how long it is"))
}

/// `bytes 0-9/100`: first, last, size.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((first, last, size))
}

/// The SDK's time as the standard library's; what lies outside it is unknown.
pub(super) fn time(time: DateTime) -> Option<SystemTime> {
    SystemTime::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_taken_only_if_it_makes_sense() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0, 9, 100)));
        for text in ["bytes 9-0/100", "bytes 0-100/100", "bytes 0-9/*", "0-9/100", "bytes -1-9/100"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
