//! Writing small objects, with conditions where the server honours them and without where it does not.

use aws_sdk_s3::{Client, operation::put_object::builders::PutObjectFluentBuilder, primitives::ByteStream};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use md5::{Digest, Md5};

use super::{
    Put, PutIf, Store, StoreError, StoreErrorKind,
    send::{Ask, Repeat},
    trouble::Trouble,
};
use crate::rows::ETag;

/// How a condition is put to this server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// In the request.
    Header,
    /// In the request, after a look: this server would make an object where there is none, or nobody has measured it.
    LookThenHeader,
    /// By reading, comparing, writing and reading back: one writer at a time.
    ByHand,
}

impl Store {
    /// Writes an object. A server whose abilities are not known gets the condition and is not trusted with it: it is
    /// looked first, as where there are none.
    ///
    /// # Errors
    /// What no condition explains. With a condition, an answer that was lost is [`Put::Uncertain`], not an error.
    pub async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        condition: PutIf<'_>,
        content_type: Option<&str>,
    ) -> Result<Put, StoreError> {
        if self.dry {
            return Ok(Put::Done(plain_etag(&bytes)));
        }
        let way = self.way(condition, self.abilities.map(|able| (able.create, able.replace)));
        if let Some(no) = self.look_before(key, condition, way).await? {
            return Ok(no);
        }
        if way != Way::ByHand {
            match self.put_once(key, bytes.clone(), condition, content_type).await {
                Err(error) if self.may_not_know(condition, &error) => {}
                put => return put,
            }
        }
        match self.put_once(key, bytes, PutIf::Any, content_type).await {
            Ok(put) => self.look_after(key, put, Way::ByHand).await,
            Err(error) if error.is_doubtful() => Ok(Put::Uncertain(error)),
            Err(error) => Err(error),
        }
    }

    /// Whether a server that nobody has measured may have refused the condition as such.
    fn may_not_know(&self, condition: PutIf<'_>, error: &StoreError) -> bool {
        self.abilities.is_none() && condition != PutIf::Any && error.is_of_what_was_asked()
    }

    /// How to put `condition` to a server that honours it for (new objects, replaced objects) or is not known yet.
    pub(super) fn way(&self, condition: PutIf<'_>, honours: Option<(bool, bool)>) -> Way {
        let needs_object = self.abilities.is_some_and(|able| able.replace_needs_object);
        match (condition, honours) {
            (PutIf::Any, _) | (PutIf::Absent, Some((true, _))) => Way::Header,
            (PutIf::Match(_), Some((_, true))) if needs_object => Way::Header,
            (PutIf::Match(_), Some((_, true))) | (_, None) => Way::LookThenHeader,
            (PutIf::Absent | PutIf::Match(_), Some(_)) => Way::ByHand,
        }
    }

    /// The look before a write whose condition the server does not keep; `Some`: it does not hold.
    pub(super) async fn look_before(
        &self,
        key: &str,
        condition: PutIf<'_>,
        way: Way,
    ) -> Result<Option<Put>, StoreError> {
        if way == Way::Header {
            return Ok(None);
        }
        let found = match self.head(key).await {
            // Without the right to list, what is not there is denied, too: then the condition alone has to do.
            Err(error) if error.kind == StoreErrorKind::Denied && self.abilities.is_none() => return Ok(None),
            // A name that cannot be: the answer to a HEAD has no words, that to the write says which it is.
            Err(error) if error.kind == StoreErrorKind::BadRequest && way == Way::LookThenHeader => return Ok(None),
            found => found?,
        };
        Ok(match (condition, found) {
            (PutIf::Absent, Some(_)) => Some(Put::Refused),
            (PutIf::Match(_), None) => Some(Put::Missing),
            (PutIf::Match(etag), Some(meta)) if meta.etag != *etag => Some(Put::Refused),
            _ => None,
        })
    }

    /// The look after a write that had no condition: is it still ours?
    pub(super) async fn look_after(&self, key: &str, put: Put, way: Way) -> Result<Put, StoreError> {
        let (Way::ByHand, Put::Done(etag)) = (way, &put) else {
            return Ok(put);
        };
        Ok(match self.head(key).await? {
            Some(meta) if meta.etag == *etag => put,
            _ => Put::Refused,
        })
    }

    pub(super) async fn put_once(
        &self,
        key: &str,
        bytes: Bytes,
        condition: PutIf<'_>,
        content_type: Option<&str>,
    ) -> Result<Put, StoreError> {
        let repeat = if condition == PutIf::Any { Repeat::Freely } else { Repeat::OnlyIfNotDone };
        let ask = Ask::new("PutObject", key).bytes(bytes.len() as u64).repeat(repeat);
        let ask = ask.conditional(condition != PutIf::Any);
        loop {
            let md5 = self.md5_wanted().then(|| STANDARD.encode(Md5::digest(&bytes)));
            let (bytes, md5) = (&bytes, &md5);
            let result = self
                .send(ask, |client| async move {
                    let request = conditions(self.put_request(&client, key), condition)
                        .set_content_type(content_type.map(str::to_owned))
                        .set_content_md5(md5.clone())
                        .content_length(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
                        .body(ByteStream::from(bytes.clone()));
                    let request = request.customize();
                    let request =
                        if self.line.recipe.unsigned_payload { request.disable_payload_signing() } else { request };
                    Ok(request.send().await?.e_tag)
                })
                .await;
            return match result {
                Ok(Some(etag)) => Ok(Put::Done(ETag::new(etag))),
                Ok(None) => match self.head(key).await? {
                    Some(meta) => Ok(Put::Done(meta.etag)),
                    None => Ok(Put::Refused),
                },
                Err(trouble) if md5.is_none() && self.wants_md5(&trouble) => continue,
                Err(trouble) => self.judge(ask, condition, &trouble),
            };
        }
    }

    fn put_request(&self, client: &Client, key: &str) -> PutObjectFluentBuilder {
        client.put_object().bucket(&self.line.bucket).key(self.full(key))
    }

    /// What a failed write with `condition` means.
    pub(super) fn judge(&self, ask: Ask<'_>, condition: PutIf<'_>, trouble: &Trouble) -> Result<Put, StoreError> {
        if condition == PutIf::Any {
            return Err(self.error(ask, trouble));
        }
        let answer = match (trouble.status(), trouble.code()) {
            (Some(412), _) | (Some(409), None | Some("ConditionalRequestConflict" | "OperationAborted")) => {
                Put::Refused
            }
            (Some(404), None | Some("NoSuchKey" | "NotFound")) if matches!(condition, PutIf::Match(_)) => Put::Missing,
            _ if trouble.maybe_done => return Ok(Put::Uncertain(self.error(ask, trouble))),
            _ => return Err(self.error(ask, trouble)),
        };
        // After a doubtful attempt a conflict may be with ourselves.
        Ok(if trouble.maybe_done { Put::Uncertain(self.error(ask, trouble)) } else { answer })
    }

    /// A bucket with object lock wants a checksum with every write; that is learnt from its first answer.
    pub(super) fn wants_md5(&self, trouble: &Trouble) -> bool {
        let wants = trouble.wants_checksum();
        if wants {
            self.line.md5_wanted.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        wants
    }

    pub(super) fn md5_wanted(&self) -> bool {
        self.line.md5_wanted.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn conditions(request: PutObjectFluentBuilder, condition: PutIf<'_>) -> PutObjectFluentBuilder {
    match condition {
        PutIf::Absent => request.if_none_match("*"),
        PutIf::Match(etag) => request.if_match(etag.as_str()),
        PutIf::Any => request,
    }
}

/// The ETag that a plain PUT of `bytes` has on most servers: the quoted MD5. An object with this ETag holds these
/// bytes; one with another may hold them too.
#[must_use]
pub fn plain_etag(bytes: &[u8]) -> ETag {
    let mut hasher = PlainEtag::default();
    hasher.update(bytes);
    hasher.finish()
}

/// [`plain_etag`] of bytes that come in parts.
#[derive(Clone, Default, Debug)]
pub struct PlainEtag(Md5);

impl PlainEtag {
    /// Takes in the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The ETag of all parts so far.
    #[must_use]
    pub fn finish(self) -> ETag {
        let digits: String = self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        ETag::new(format!("\"{digits}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_a_plain_put_is_its_quoted_md5() {
        assert_eq!(plain_etag(b"hello").as_str(), "\"5d41402abc4b2a76b9719d911017c592\"");
    }
}
