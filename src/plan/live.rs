//! The catch-up: making the live tree what R says, after the commit.
//!
//! A mirror says of each live object which version held which content. Those are facts, and they never get old: a
//! missing or an old mirror costs comparisons. What no snapshot explains is somebody's edit, and is left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Order, SMALL_FILE, copies, upload::delete_first};
use crate::rows::{ETag, Hash, Kind, RelPath, Row, Rows};

/// What an object holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Content {
    /// Its hash.
    pub hash: Hash,
    /// Its bytes.
    pub size: u64,
}

impl Content {
    /// The content of a regular file's row: only those are objects.
    #[must_use]
    pub fn of(row: &Row) -> Option<Self> {
        (row.kind == Kind::File).then_some(Self { hash: row.hash, size: row.size })
    }

    /// The content that `rows` want at `path`.
    #[must_use]
    pub fn at(rows: &Rows, path: &RelPath) -> Option<Self> {
        rows.get(path).and_then(Self::of)
    }
}

/// A version of an object, and what it held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The version.
    pub etag: ETag,
    /// What it held.
    pub content: Content,
}

/// The live tree as the last finished catch-up knew it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mirror {
    /// The objects.
    pub rows: BTreeMap<RelPath, Held>,
    /// Empty objects that stand for directories. Noted, never written or deleted.
    pub markers: BTreeMap<RelPath, ETag>,
}

/// What explains the objects of the live tree.
#[derive(Clone, Copy, Debug)]
pub struct Explained<'a> {
    /// The newest mirror that there is.
    pub mirror: &'a Mirror,
    /// The rows of the recent snapshots; the present one, which counts among them, may be left out.
    pub recent: &'a [&'a Rows],
    /// Outside deletes that were refused: the version that the mirror had of each.
    pub refused: &'a BTreeMap<RelPath, ETag>,
}

impl<'a> Explained<'a> {
    /// The mirror's row for a key, but for a delete that was refused.
    #[must_use]
    pub fn mirrored(&self, path: &RelPath) -> Option<&'a Held> {
        let held = self.mirror.rows.get(path)?;
        (self.refused.get(path) != Some(&held.etag)).then_some(held)
    }

    /// What this version held, by the rows of plain snapshots, which name the version that each is true for.
    #[must_use]
    pub fn held(&self, path: &RelPath, etag: &ETag, size: u64) -> Option<Hash> {
        let mut rows = self.recent.iter().filter_map(|rows| rows.get(path));
        rows.find(|row| row.kind == Kind::File && row.size == size && row.etag.as_ref() == Some(etag))
            .map(|row| row.hash)
    }

    /// Everything that stopover itself may have put at `path`, or has taken in: what the mirror has, the key's content
    /// in `present` and the recent snapshots, and its copies there.
    #[must_use]
    pub fn known(&self, present: &Rows, path: &RelPath) -> BTreeSet<Content> {
        let mut known: BTreeSet<Content> = self.mirror.rows.get(path).map(|held| held.content).into_iter().collect();
        for rows in std::iter::once(&present).chain(self.recent) {
            known.extend(Content::at(rows, path));
            known.extend(copies::all_kept(rows, path).filter_map(Content::of));
        }
        known
    }
}

/// What to ask for first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Write the wanted content: over this version, or where there is nothing.
    Put(Option<ETag>),
    /// Delete this version.
    Delete(ETag),
    /// HEAD: it should be as wanted already.
    Look,
}

/// One key of a catch-up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The key's path.
    pub path: RelPath,
    /// What it should hold; nothing: it should not be there.
    pub wanted: Option<Content>,
    /// The first request.
    pub request: Request,
}

/// The steps of a catch-up: one list after the other. Within one the order is advice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CatchUp {
    /// Deletes where a directory takes the place of a file, or a file that of a directory.
    pub first: Vec<Step>,
    /// Everything that is to be there.
    pub puts: Vec<Step>,
    /// All other deletes.
    pub last: Vec<Step>,
}

impl CatchUp {
    /// Whether the live tree is as it should be, as far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.puts.is_empty() && self.last.is_empty()
    }

    /// All steps, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.first.iter().chain(&self.puts).chain(&self.last)
    }
}

/// Plans the catch-up to `result`: every key where the mirror or a recent snapshot differs from it. `differing` are the
/// keys where a recent snapshot differs that is not whole in `explained`. A copy that is new was made of an object at
/// its first name, which no snapshot may ever have had there: that one is looked at, too.
#[must_use]
pub fn catch_up(result: &Rows, explained: &Explained<'_>, differing: &BTreeSet<RelPath>, order: Order) -> CatchUp {
    let mut plan = CatchUp::default();
    let tables = std::iter::once(result).chain(explained.recent.iter().copied());
    let files = tables.flat_map(|rows| rows.iter().filter(|(_, row)| row.kind == Kind::File).map(|(path, _)| path));
    let mirrored = &explained.mirror.rows;
    let new_copies = result.iter().filter(|(path, row)| row.kind == Kind::File && !mirrored.contains_key(*path));
    let taken_in: BTreeSet<RelPath> = new_copies.filter_map(|(path, row)| copies::original(path, row)).collect();
    let keys: BTreeSet<&RelPath> = files.chain(mirrored.keys()).chain(&taken_in).chain(differing).collect();
    for path in keys {
        let wanted = Content::at(result, path);
        let mirrored = explained.mirrored(path);
        let is_settled =
            !differing.contains(path) && explained.recent.iter().all(|rows| Content::at(rows, path) == wanted);
        let request = match (wanted, mirrored) {
            (Some(wanted), Some(held)) if held.content == wanted => {
                if is_settled {
                    continue;
                }
                Request::Look
            }
            (Some(_), held) => Request::Put(held.map(|held| held.etag.clone())),
            (None, Some(held)) => Request::Delete(held.etag.clone()),
            // A catch-up of a recent one may have put it there; a refused delete may have been put back.
            (None, None) => Request::Look,
        };
        let list = match delete_first(path, result) {
            None => &mut plan.puts,
            Some(true) => &mut plan.first,
            Some(false) => &mut plan.last,
        };
        list.push(Step { path: path.clone(), wanted, request });
    }
    if order == Order::NewestFirst {
        plan.puts.sort_by_cached_key(|step| {
            let row = result.get(&step.path);
            (row.is_some_and(|row| row.size > SMALL_FILE), std::cmp::Reverse(row.map(|row| row.mtime_ns)))
        });
    }
    plan
}

/// What lies at a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum There {
    /// A 404. (403 is never this.)
    Absent,
    /// An object.
    Object {
        /// Its version.
        etag: ETag,
        /// Its bytes.
        size: u64,
        /// The hash of its content, where that is proven: it was read with If-Match, or the ETag is the MD5 of known
        /// bytes.
        hash: Option<Hash>,
    },
}

/// What a key's object means for its step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Met {
    /// As wanted: this is the row of the new mirror.
    Done(Option<Held>),
    /// Write the wanted content, over this version or where there is nothing.
    Write(Option<ETag>),
    /// Delete this version, which holds this.
    Delete(Held),
    /// Read the object, and ask again.
    Read,
    /// Nobody of us put it there: leave it, and keep the old row of the mirror.
    Outside,
}

/// Decides what to do after a HEAD, or after a 404, 409 or 412 (and a fresh look at head, which must not have moved).
/// `known` is [`Explained::known`] of the key with the R that is caught up to.
#[must_use]
pub fn met(step: &Step, mirrored: Option<&Held>, known: &BTreeSet<Content>, there: &There) -> Met {
    let (etag, size, hash) = match there {
        There::Absent if step.wanted.is_some() => return Met::Write(None),
        There::Absent => return Met::Done(None),
        There::Object { etag, size, hash } => (etag, *size, *hash),
    };
    let mirrored = mirrored.filter(|held| held.etag == *etag && held.content.size == size).map(|held| held.content);
    let content = match hash.map(|hash| Content { hash, size }).or(mirrored) {
        Some(content) => content,
        None if step.wanted.iter().chain(known).any(|known| known.size == size) => return Met::Read,
        None => return Met::Outside,
    };
    if step.wanted == Some(content) {
        return Met::Done(Some(Held { etag: etag.clone(), content }));
    }
    if !known.contains(&content) {
        return Met::Outside;
    }
    match step.wanted {
        Some(_) => Met::Write(Some(etag.clone())),
        None => Met::Delete(Held { etag: etag.clone(), content }),
    }
}

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// As wanted; with the version that holds it, or without one.
    Done(Option<Held>),
    /// Somebody else's edit is there.
    Outside,
    /// These credentials may not delete it: the version that stays, and what it holds, where that is proven.
    Denied(Option<Held>),
    /// The server will not have such a key, or not this content: no new object is there, and the catch-up has finished
    /// all the same.
    NameRefused,
}

/// The mirror after a catch-up: `None` unless every step has ended. `markers` are the empty objects that a pull has
/// seen and that the mirror may not know yet.
#[must_use]
pub fn next_mirror(
    old: &Mirror,
    plan: &CatchUp,
    ended: &BTreeMap<RelPath, Ended>,
    markers: &BTreeMap<RelPath, ETag>,
) -> Option<Mirror> {
    let mut next = old.clone();
    for step in plan.steps() {
        match ended.get(&step.path)? {
            Ended::Done(Some(held)) => {
                next.rows.insert(step.path.clone(), held.clone());
            }
            Ended::Done(None) => {
                next.rows.remove(&step.path);
            }
            // It is explained from now on: else it would come back as an edit of somebody's.
            Ended::Denied(Some(held)) => {
                next.rows.insert(step.path.clone(), held.clone());
            }
            // A server that has an object there and takes no other still has that one.
            Ended::Outside | Ended::Denied(None) | Ended::NameRefused => {}
        }
    }
    next.markers.extend(markers.iter().map(|(path, etag)| (path.clone(), etag.clone())));
    Some(next)
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
