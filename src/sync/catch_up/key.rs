//! One key of a catch-up: the request, and what to make of the answer. Decides nothing: `plan::met` does.

mod patch;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::SemaphorePermit};

use super::explained::{Known, Sent};
use crate::{
    plan::{Content, Ended, Held, Met, Request, Step, There, met},
    rows::{ETag, Hash, RelPath, Row, Rows},
    state::State,
    store::{Deleted, Meta, Opened, Put, PutIf, SAMPLE, Store, StoreError, StoreErrorKind, content_type},
    sync::{
        SyncError,
        contents::PackSource,
        import::hash_object,
        outgoing::{Body, Outgoing, WHOLE, read_file},
        packed::{Lost, Packs},
        room::Room,
        watch::{Watch, Watched},
    },
    worktree::Directory,
};

/// How often one object is tried while others keep changing it.
const TRIES: u32 = 6;
/// The pause before a second try of the same request; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// What all keys share.
pub(super) struct Key<'a> {
    pub(super) store: &'a Store,
    pub(super) dir: &'a Directory,
    pub(super) state: Option<&'a State>,
    pub(super) rows: &'a Rows,
    pub(super) known: &'a Known<'a>,
    pub(super) sent: Sent,
    pub(super) packs: Packs,
    pub(super) room: Room,
    pub(super) watch: Arc<Watch>,
}

/// What became of a key.
pub(super) enum Outcome {
    /// Its step is done.
    Ended(How),
    /// It is not, and why; the next catch-up tries again.
    Left(String),
    /// It was not tried, or given up: the caller stops.
    Not,
}

/// How a step ended.
pub(super) enum How {
    Done(Option<Held>),
    Outside,
    /// With the version that should be gone, and what it holds, where that is proven.
    Denied(ETag, Option<Held>),
    NameRefused,
    /// It should be gone, and nobody can look whether it is: why.
    Unseen(String),
}

impl From<How> for Ended {
    fn from(how: How) -> Self {
        match how {
            How::Done(held) => Self::Done(held),
            How::Outside | How::Unseen(_) => Self::Outside,
            How::Denied(_, held) => Self::Denied(held),
            How::NameRefused => Self::NameRefused,
        }
    }
}

/// A content that is ready to go, with its place in memory.
struct Ready<'r> {
    from: Origin,
    _place: Option<SemaphorePermit<'r>>,
}

enum Origin {
    /// The directory; or packs, whole in memory.
    Here(Box<Outgoing>),
    /// Packs, piece by piece, with this Content-Type.
    Packs(String),
}

/// What a request came to.
enum Answer {
    Ended(How),
    Left(String),
    Moved,
    /// The condition did not hold: look.
    Look,
    /// Nobody knows, for this reason: look.
    Lost(String),
}

impl Key<'_> {
    /// Does one step.
    pub(super) async fn run(&self, step: &Step) -> Result<Outcome, SyncError> {
        let mut content = None;
        let mut request = if self.looks_first(step) { Request::Look } else { step.request.clone() };
        let mut pause = PAUSE;
        let mut why = None;
        let mut sent = Vec::new();
        let (mut proven, mut denied) = (None::<Held>, None);
        for _ in 0..TRIES {
            if !self.watch.is_still().await? {
                return Ok(Outcome::Not);
            }
            let answer = match &request {
                Request::Put(expected) => self.put(step, expected.as_ref(), &mut content).await?,
                Request::Delete(etag) => {
                    let held = proven.as_ref().or(self.known.mirrored(&step.path)).filter(|held| held.etag == *etag);
                    match self.delete(&step.path, etag, held).await? {
                        // Who refuses does not say which version is there.
                        Answer::Ended(how @ How::Denied(..)) if proven.is_none() && self.may_be_newer(step) => {
                            denied = Some(how);
                            Answer::Look
                        }
                        answer => answer,
                    }
                }
                Request::Look => Answer::Look,
            };
            let is_look = request == Request::Look;
            if !is_look {
                sent.push(request.clone());
            }
            match answer {
                Answer::Ended(how) => return Ok(Outcome::Ended(how)),
                Answer::Left(why) => return Ok(Outcome::Left(why)),
                Answer::Moved => return Ok(Outcome::Not),
                Answer::Lost(error) => {
                    tracing::debug!("{error}");
                    why = Some(error);
                }
                Answer::Look => why = None,
            }
            // Whoever changed it may have committed.
            if !is_look && !self.watch.is_still_after(Instant::now()).await? {
                return Ok(Outcome::Not);
            }
            let next = match self.look(step, &mut content).await {
                Ok(Met::Done(held)) => return Ok(Outcome::Ended(How::Done(held))),
                Ok(Met::Outside) => return Ok(Outcome::Ended(How::Outside)),
                Ok(Met::Write(etag)) => Request::Put(etag),
                Ok(Met::Delete(held)) => Request::Delete(proven.insert(held).etag.clone()),
                // It keeps becoming another one.
                Ok(Met::Read) => Request::Look,
                Err(SyncError::Store(error))
                    if is_refusal(&error)
                        && let Some(how) = denied =>
                {
                    tracing::debug!("{error}");
                    return Ok(Outcome::Ended(how));
                }
                Err(SyncError::Store(error)) if is_refusal(&error) => match self.unseen(step, &sent, &error) {
                    Ok(request) => request,
                    Err(outcome) => return Ok(outcome),
                },
                Err(error) => return Err(error),
            };
            if next == request {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            request = next;
        }
        Ok(Outcome::Left(why.unwrap_or_else(|| "others keep changing it".to_owned())))
    }

    /// What to do where nobody can look: a refusal is never "absent". What is to be written is tried all the same, once
    /// with each condition, which lets nothing be overwritten.
    fn unseen(&self, step: &Step, sent: &[Request], error: &StoreError) -> Result<Request, Outcome> {
        if error.kind == StoreErrorKind::NameRefused {
            // There cannot be an object of such a name.
            let is_mirrored = self.known.mirrored(&step.path).is_some();
            let how = if step.wanted.is_some() { name_refused(error, is_mirrored) } else { How::Done(None) };
            return Err(Outcome::Ended(how));
        }
        if step.wanted.is_some() {
            let writes = [step.request.clone(), Request::Put(None)];
            let mut untried =
                writes.into_iter().filter(|write| matches!(write, Request::Put(_)) && !sent.contains(write));
            return untried.next().ok_or_else(|| Outcome::Left(error.to_string()));
        }
        // What the mirror has of it stays; and of what it never had, nothing was seen.
        let is_explained = sent.is_empty() || self.known.mirrored(&step.path).is_some();
        let why = error.to_string();
        Err(if is_explained { Outcome::Ended(How::Unseen(why)) } else { Outcome::Left(why) })
    }

    /// Whether a HEAD is cheaper than a content that would be refused: for it is large, or there is likely to be an
    /// object that the mirror does not know.
    fn looks_first(&self, step: &Step) -> bool {
        let (Request::Put(expected), Some(wanted)) = (&step.request, step.wanted) else { return false };
        wanted.size > WHOLE || self.sent.has(&step.path) || expected.is_none() && self.known.was_there(&step.path)
    }

    /// Whether a snapshot since the mirror may have put something else there.
    fn may_be_newer(&self, step: &Step) -> bool {
        let mirrored = self.known.mirrored(&step.path).map(|held| held.content);
        self.known.contents(&step.path).into_iter().any(|content| Some(content) != mirrored)
    }

    async fn put<'r>(
        &'r self,
        step: &Step,
        expected: Option<&ETag>,
        content: &mut Option<Ready<'r>>,
    ) -> Result<Answer, SyncError> {
        let (Some(row), Some(wanted)) = (self.rows.get(&step.path), step.wanted) else {
            return Ok(Answer::Left("it is no file".to_owned()));
        };
        let key = step.path.to_text();
        let condition = expected.map_or(PutIf::Absent, PutIf::Match);
        let mut from_disk = true;
        loop {
            let ready = match content.take() {
                Some(ready) => ready,
                None => match self.load(&step.path, row, from_disk).await? {
                    Ok(ready) => ready,
                    Err(why) => return Ok(Answer::Left(why)),
                },
            };
            // Reading may have taken its time.
            if !self.watch.is_still().await? {
                return Ok(Answer::Moved);
            }
            let is_file = matches!(&ready.from, Origin::Here(outgoing) if matches!(outgoing.body, Body::File(..)));
            let put = match self.patch(&step.path, &ready, row, condition).await {
                Ok(None) => self.send(&key, &ready, row, condition).await,
                Ok(Some(put)) => Ok(put),
                Err(error) => Err(error),
            };
            return Ok(match put {
                Ok(Put::Done(etag)) => {
                    let held = Held { etag, content: wanted };
                    self.sent.note(self.state, &step.path, &held);
                    Answer::Ended(How::Done(Some(held)))
                }
                Ok(Put::Refused | Put::Missing) => {
                    *content = Some(ready);
                    Answer::Look
                }
                Ok(Put::Uncertain(error)) => {
                    *content = Some(ready);
                    Answer::Lost(error.to_string())
                }
                Err(_) if self.watch.has_moved() => Answer::Moved,
                // It was written to since the scan: what the snapshot has of it is in the packs.
                Err(error) if error.kind == StoreErrorKind::Source && is_file => {
                    from_disk = false;
                    continue;
                }
                // Somebody, a rule of the bucket perhaps, has ended the upload.
                Err(error) if error.code.as_deref() == Some("NoSuchUpload") => Answer::Left(error.to_string()),
                Err(error) => match error.kind {
                    // Head was just written to this bucket: a 404 is about the key, and so is a 400. What a server says
                    // to a name that it cannot hold has no code that all agree on.
                    StoreErrorKind::NameRefused
                    | StoreErrorKind::TooLarge
                    | StoreErrorKind::BadRequest
                    | StoreErrorKind::NoBucket => Answer::Ended(name_refused(&error, expected.is_some())),
                    StoreErrorKind::Source | StoreErrorKind::Denied => Answer::Left(error.to_string()),
                    _ => return Err(error.into()),
                },
            });
        }
    }

    async fn send(&self, key: &str, ready: &Ready<'_>, row: &Row, condition: PutIf<'_>) -> Result<Put, StoreError> {
        let (runtime, watch) = (Handle::current(), Arc::clone(&self.watch));
        match &ready.from {
            Origin::Here(outgoing) => match &outgoing.body {
                Body::Whole(_) => outgoing.send(self.store, key, condition).await,
                Body::File(file, still) => {
                    let Some(source) = outgoing.source(file, *still) else { return Ok(Put::Refused) };
                    let source = Watched { source, watch, runtime };
                    self.store.put_file(key, source, row.size, condition, Some(&outgoing.kind)).await
                }
            },
            Origin::Packs(kind) => {
                let source = Watched { source: PackSource::new(self.store, row, Arc::default()), watch, runtime };
                self.store.put_file(key, source, row.size, condition, Some(kind)).await
            }
        }
    }

    /// The content of `row`: of the directory, if it is still the same there, else of the packs.
    async fn load(&self, path: &RelPath, row: &Row, from_disk: bool) -> Result<Result<Ready<'_>, String>, SyncError> {
        let place = if row.size <= WHOLE { self.room.take(row.size).await } else { None };
        if from_disk && let Some(outgoing) = self.on_disk(path, row).await? {
            return Ok(Ok(Ready { from: Origin::Here(Box::new(outgoing)), _place: place }));
        }
        let from = if row.size <= WHOLE {
            let content = self.packs.content(row).await;
            content.map(|bytes: Bytes| Origin::Here(Box::new(Outgoing::whole(path, row.clone(), bytes))))
        } else {
            let begin = self.packs.begin_of(row, SAMPLE).await;
            begin.map(|bytes| Origin::Packs(content_type(&path.to_text(), &bytes)))
        };
        match from {
            Ok(from) => Ok(Ok(Ready { from, _place: place })),
            Err(Lost::This(why)) => Ok(Err(why)),
            Err(Lost::All(error)) => Err(error),
        }
    }

    /// The file of the directory, if it still has this content; of a large one that is known when it has gone up.
    async fn on_disk(&self, path: &RelPath, row: &Row) -> Result<Option<Outgoing>, SyncError> {
        let read = read_file(self.dir, path, row).await?.ok();
        Ok(read.filter(|outgoing| outgoing.row.same_content(row)))
    }

    async fn delete(&self, path: &RelPath, etag: &ETag, held: Option<&Held>) -> Result<Answer, SyncError> {
        Ok(match self.store.delete(&path.to_text(), Some(etag)).await {
            Ok(Deleted::Done | Deleted::Absent) => Answer::Ended(How::Done(None)),
            Ok(Deleted::Refused) => Answer::Look,
            Ok(Deleted::Denied(error)) => {
                tracing::warn!("{error}");
                Answer::Ended(How::Denied(etag.clone(), held.cloned()))
            }
            // The look that goes before it was refused.
            Err(error) if is_refusal(&error) => Answer::Look,
            Err(error) => return Err(error.into()),
        })
    }

    /// What is known of the object. To a HEAD a server says no without words; a GET tells why.
    async fn meta(&self, path: &RelPath) -> Result<Option<Meta>, StoreError> {
        let key = path.to_text();
        match self.store.head(&key).await {
            Err(error) if error.kind == StoreErrorKind::BadRequest => match self.store.open(&key, None, None).await? {
                Opened::Found(reader) => Ok(Some(reader.meta().clone())),
                Opened::Absent | Opened::Moved => Ok(None),
            },
            found => found,
        }
    }

    /// Looks at the object, and reads it where nothing else says what it holds.
    async fn look<'r>(&'r self, step: &Step, content: &mut Option<Ready<'r>>) -> Result<Met, SyncError> {
        let mirrored = self.known.mirrored(&step.path);
        let known = self.known.contents(&step.path);
        let Some(meta) = self.meta(&step.path).await? else {
            return Ok(met(step, mirrored, &known, &There::Absent));
        };
        let hash = self.sent.held(&step.path, &meta.etag);
        let hash = hash.or_else(|| self.known.held(&step.path, &meta.etag, meta.size));
        let there = |hash| There::Object { etag: meta.etag.clone(), size: meta.size, hash };
        let found = met(step, mirrored, &known, &there(hash));
        if found != Met::Read {
            return Ok(found);
        }
        let hash = match self.proof(step, &meta, content).await? {
            Some(hash) => Some(hash),
            None => match hash_object(self.store, &step.path, &meta.etag).await {
                Ok(hash) => hash,
                Err(SyncError::Store(error)) if error.kind == StoreErrorKind::Moved => None,
                Err(error) => return Err(error),
            },
        };
        if let Some(hash) = hash {
            let content = Content { hash, size: meta.size };
            self.sent.note(None, &step.path, &Held { etag: meta.etag.clone(), content });
        }
        // Another version by now: look again.
        Ok(hash.map_or(Met::Read, |hash| met(step, mirrored, &known, &there(Some(hash)))))
    }

    /// The hash of the object's content, if its version is the MD5 of what is wanted and at hand.
    async fn proof<'r>(
        &'r self,
        step: &Step,
        meta: &Meta,
        content: &mut Option<Ready<'r>>,
    ) -> Result<Option<Hash>, SyncError> {
        let Some(wanted @ Content { size: 0..=WHOLE, .. }) = step.wanted.filter(|wanted| wanted.size == meta.size)
        else {
            return Ok(None);
        };
        if content.is_none()
            && is_md5(&meta.etag)
            && let Some(row) = self.rows.get(&step.path)
        {
            let place = self.room.take(row.size).await;
            let outgoing = self.on_disk(&step.path, row).await?;
            *content = outgoing.map(|outgoing| Ready { from: Origin::Here(Box::new(outgoing)), _place: place });
        }
        let is_at = matches!(content, Some(Ready { from: Origin::Here(outgoing), .. }) if outgoing.is_at(&meta.etag));
        Ok(is_at.then_some(wanted.hash))
    }
}

/// Whether the server refused to say what is there.
fn is_refusal(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::BadRequest | StoreErrorKind::NameRefused)
}

/// The server will not have such a key, or not this content.
fn name_refused(error: &StoreError, was_there: bool) -> How {
    let left = if was_there { "keeps its old plain object" } else { "has no plain object" };
    tracing::warn!("{error}; the file is in the snapshot and {left}");
    How::NameRefused
}

/// Whether an ETag can be an MD5: 32 hex digits.
fn is_md5(etag: &ETag) -> bool {
    let text = etag.as_str().trim_matches('"');
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
