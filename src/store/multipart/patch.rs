//! Writing a large file of which the object that it replaces has most already: those ranges are copied by the server,
//! from the object itself and only as long as it is the version that is known; the rest goes up.
//!
//! What comes of it must be the file to the last byte, so a server is not taken at its word: by the first copy it has to
//! show that it looks at the version and copies the range. One that does not, or refuses, gets the file whole, and is
//! not asked again.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use aws_sdk_s3::types::CompletedPart;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Anywhere, PART, Reading, Upload,
    layout::{Place, layout},
};
use crate::{
    rows::ETag,
    store::{
        Put, PutIf, Ranged, Span, Store, StoreError,
        send::Ask,
        trouble::{Cause, Trouble},
        write::PlainEtag,
    },
};

/// Copies at once.
const WIDTH: usize = 8;
/// How often a copy is asked for that fails on the server's side: the file can go up instead.
const TRIES: u32 = 3;
/// Bytes that a server copies in the time in which one would be sent, at least.
const COPIED_PER_SENT: u64 = 32;
/// What no object's version is.
const NOBODYS: &str = "\"00000000000000000000000000000000\"";
/// What stays as it is in the name of the object that is copied.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is known of copies on this server.
#[derive(Debug, Default)]
pub(in super::super) struct Copies(Mutex<Option<bool>>);

impl Copies {
    fn work(&self) -> Option<bool> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, work: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    }
}

/// Why ranges were not copied.
enum Not {
    /// The server does not, or not so.
    Here(String),
    /// What was to be read could not be.
    Read(StoreError),
}

impl Store {
    /// Writes a large file of `size` bytes over version `old` of its object, which has the bytes of `same` in the same
    /// places: ascending ranges that begin and end at multiples of `step` or at the end of the file. None: it does not
    /// go this way here, or not for so little, and nothing was written.
    ///
    /// # Errors
    /// As [`Store::put_file`].
    pub async fn patch_file(
        &self,
        key: &str,
        source: impl Ranged,
        (size, step): (u64, u64),
        (old, same): (&ETag, &[Span]),
        content_type: Option<&str>,
    ) -> Result<Option<Put>, StoreError> {
        if self.dry || self.line.copies.work() == Some(false) {
            return Ok(None);
        }
        let Some(places) = layout(size, step, same) else { return Ok(None) };
        let condition = PutIf::Match(old);
        let way = self.way(condition, self.abilities.map(|able| (able.complete_create, able.complete_replace)));
        if let Some(no) = self.look_before(key, condition, way).await? {
            return Ok(Some(no));
        }
        let mut reading = Reading::of(self, key, source);
        let upload = self.begin(key, content_type).await?;
        let (copied, rest): (Vec<_>, Vec<_>) = (1..).zip(places).partition(|(_, place)| place.copied);
        let copied = match upload.copy_all(&copied, old, &mut reading).await {
            Ok(copied) => copied,
            Err(Not::Read(error)) => {
                upload.end().await;
                return Err(error);
            }
            Err(Not::Here(why)) => {
                upload.end().await;
                return self.judge_copy(key, old, &why).await;
            }
        };
        let rest = rest.into_iter().map(|(number, place)| (number, place.span));
        let parts = match upload.send_parts(rest, Anywhere(&mut reading)).await {
            Ok(sent) => reading.go_on().await.map(|()| {
                let mut all = [copied, sent].concat();
                all.sort_by_key(CompletedPart::part_number);
                all
            }),
            Err(error) => Err(error),
        };
        self.finish(upload, parts, size, condition, way).await.map(Some)
    }

    /// What it means that the ranges of version `old` were not copied: it may not be there any more.
    async fn judge_copy(&self, key: &str, old: &ETag, why: &str) -> Result<Option<Put>, StoreError> {
        Ok(match self.head(key).await? {
            None => Some(Put::Missing),
            Some(meta) if meta.etag != *old => Some(Put::Refused),
            Some(_) => {
                tracing::debug!("{key} goes up whole, as large files do here from now on: {why}");
                self.line.copies.note(false);
                None
            }
        })
    }
}

impl Upload<'_> {
    /// Copies these parts from version `old` of the object.
    async fn copy_all<S: Ranged>(
        &self,
        places: &[(i32, Place)],
        old: &ETag,
        reading: &mut Reading<'_, S>,
    ) -> Result<Vec<CompletedPart>, Not> {
        let copies = &self.store.line.copies;
        let is_known = self.store.known_abilities().is_some() || copies.work() == Some(true);
        let (mut done, mut left) = (Vec::with_capacity(places.len()), places);
        if !is_known && let [(number, first), rest @ ..] = places {
            done.push(self.try_out(*number, &first.span, old, reading).await?);
            copies.note(true);
            left = rest;
        }
        // Some of them take their time, and each run begins with a look whether they are still wanted.
        for run in left.chunks(WIDTH) {
            reading.go_on().await.map_err(Not::Read)?;
            let parts = run.iter().map(|(number, place)| self.copy(*number, &place.span, old));
            let parts: Result<Vec<_>, Trouble> = stream::iter(parts).buffered(WIDTH).try_collect().await;
            done.extend(parts.map_err(|trouble| self.no_copy(&trouble))?);
        }
        Ok(done)
    }

    /// The first copy on a server that nothing is known of: it must refuse another version, and the part must have the
    /// MD5 of the range.
    async fn try_out<S: Ranged>(
        &self,
        number: i32,
        span: &Span,
        old: &ETag,
        reading: &mut Reading<'_, S>,
    ) -> Result<CompletedPart, Not> {
        match self.copy(number, span, &ETag::new(NOBODYS)).await {
            Err(trouble) if trouble.status() == Some(412) => {}
            Err(trouble) => return Err(self.no_copy(&trouble)),
            Ok(_) => return Err(Not::Here("the server copies from any version of the object".to_owned())),
        }
        let part = self.copy(number, span, old).await.map_err(|trouble| self.no_copy(&trouble))?;
        let (mut md5, mut at) = (PlainEtag::default(), span.start);
        while at < span.end {
            let end = span.end.min(at + PART);
            let _room = self.store.room(end - at).await;
            md5.update(&reading.read(at..end).await.map_err(Not::Read)?);
            at = end;
        }
        if part.e_tag() == Some(md5.finish().as_str()) {
            Ok(part)
        } else {
            Err(Not::Here("nothing shows that the server copies the range that it is told".to_owned()))
        }
    }

    /// Copies one part.
    async fn copy(&self, number: i32, span: &Span, old: &ETag) -> Result<CompletedPart, Trouble> {
        let store = self.store;
        let ask = Ask::new("UploadPartCopy", self.key).bytes((span.end - span.start) / COPIED_PER_SENT);
        let source = copy_source(&store.line.bucket, &store.full(self.key));
        let (source, tries) = (&source, &AtomicU32::new(0));
        store
            .send(ask, |client| async move {
                let request = client
                    .upload_part_copy()
                    .bucket(&store.line.bucket)
                    .key(store.full(self.key))
                    .upload_id(&self.id)
                    .part_number(number)
                    .copy_source(source)
                    .copy_source_if_match(old.as_str())
                    .copy_source_range(format!("bytes={}-{}", span.start, span.end - 1));
                let answer = request.send().await.map_err(Trouble::from);
                let result = answer.map_err(|trouble| if_tried(trouble, tries))?.copy_part_result;
                // A server that does not know copies takes this for a part without bytes, and has no such answer.
                let none = || Trouble::new(Cause::Wrong("it does not say what was copied".to_owned()));
                let part = result.filter(|part| part.e_tag.is_some()).ok_or_else(none)?;
                Ok(CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(part.e_tag)
                    .set_checksum_crc32(part.checksum_crc32)
                    .set_checksum_crc32_c(part.checksum_crc32_c)
                    .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
                    .set_checksum_sha1(part.checksum_sha1)
                    .set_checksum_sha256(part.checksum_sha256)
                    .build())
            })
            .await
    }

    fn no_copy(&self, trouble: &Trouble) -> Not {
        Not::Here(self.store.error(Ask::new("UploadPartCopy", self.key), trouble).to_string())
    }
}

/// An object's name in the header of a copy.
fn copy_source(bucket: &str, key: &str) -> String {
    // Of an access point objects are named so.
    let between = if bucket.starts_with("arn:") { "/object/" } else { "/" };
    format!("{}{between}{}", utf8_percent_encode(bucket, PLAIN), utf8_percent_encode(key, PLAIN))
}

/// A failure on the server's side is taken for its last word sooner than elsewhere.
fn if_tried(trouble: Trouble, tries: &AtomicU32) -> Trouble {
    let is_last = tries.fetch_add(1, Relaxed) + 1 >= TRIES || matches!(trouble.cause, Cause::Broken(_));
    let is_over = is_last && trouble.is_passing() && !trouble.is_busy();
    if is_over { Trouble::new(Cause::Wrong(format!("{:?}", trouble.cause))) } else { trouble }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_bucket_and_encoded_key() {
        assert_eq!(copy_source("b-1", "p/\u{e4} b+%41?.db"), "b-1/p/%C3%A4%20b%2B%2541%3F.db");
        let point = "arn:aws:s3:eu-west-1:123:accesspoint/mine";
        assert_eq!(copy_source(point, "a/b"), "arn%3Aaws%3As3%3Aeu-west-1%3A123%3Aaccesspoint/mine/object/a/b");
    }

    #[test]
    fn a_server_that_fails_is_asked_for_a_copy_three_times_and_one_that_is_busy_as_ever() {
        use crate::store::trouble::Answer;

        let fails = |status| Trouble::new(Cause::Answer(Answer { status, ..Answer::default() }));
        let tries = AtomicU32::new(0);
        let passing: Vec<bool> = (0..4).map(|_| if_tried(fails(500), &tries).is_passing()).collect();
        assert_eq!(passing, [true, true, false, false]);
        assert!(if_tried(fails(503), &tries).is_passing());
        assert_eq!(if_tried(fails(412), &tries).status(), Some(412));
        assert!(!if_tried(Trouble::broken("no XML"), &AtomicU32::new(0)).is_passing());
    }
}
