//! merge3: three tables in, one table out in which no content is lost.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::copies::{self, Place};
use crate::rows::{Kind, Pieces, RelPath, Row, Rows};

/// The most copies one path gets where a history holds what gets none.
pub const COPIES_LIMIT: usize = 8;

/// What both sides started from.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// The rows the directory took in, proven to be an ancestor of theirs.
    Known(&'a Rows),
    /// Nothing is known: equal is equal, different is kept twice, nothing is deleted.
    None,
    /// The rows the directory took in, but from a snapshot older than the lineage reaches: they prove that a row was
    /// not edited here, and nothing else.
    Older(&'a Rows),
}

/// Whose content a copy holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The other side's, `name.theirs-…`.
    Theirs,
    /// This directory's, `name.ours-…`.
    Ours,
}

/// A content that moved aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The path it wanted.
    pub path: RelPath,
    /// The path it got.
    pub copy: RelPath,
    /// Whose it is.
    pub whose: Whose,
    /// Its row as that side has it at `path`, with the ETag, so that the content can be fetched. (The row of the
    /// copy in [`Merged::rows`] has an ETag only if theirs has the copy already.)
    pub row: Row,
}

/// The merged table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Merged {
    /// R: with a row for every parent, and nothing below a file or symlink. An ETag is theirs' of the same path and
    /// content: what has none is not in the live tree yet. Places of pieces are theirs', too: those that only ours or
    /// the base know may be swept already.
    pub rows: Rows,
    /// What moved aside, in path order; also where the copy was there before.
    pub copies: Vec<Copy>,
    /// Paths whose other content got no copy, because the path has [`COPIES_LIMIT`] of them. It stays in history.
    pub overflow: Vec<RelPath>,
}

impl Merged {
    /// Leaves out what `theirs` does not have, but for copies: those are all that is left of the other side.
    pub fn leave_out_ours(&mut self, theirs: &Rows) {
        let copies = self.copies.iter().map(|copy| &copy.copy);
        let kept: BTreeSet<RelPath> = copies.flat_map(|copy| copy.ancestors().chain([copy.clone()])).collect();
        self.rows.retain(|path, _| theirs.contains_key(path) || kept.contains(path));
        // A directory that was made in the place of their file has nothing in it any more.
        let files = theirs.iter().filter(|(_, row)| row.kind != Kind::Dir);
        for (path, row) in files.filter(|(path, _)| !kept.contains(*path)) {
            if self.rows.get(path).is_some_and(|ours| ours.kind == Kind::Dir) {
                self.rows.insert(path.clone(), row.clone());
            }
        }
    }
}

/// Merges what this directory has (`ours`) with what the workspace has (`theirs`).
///
/// Path by path: changed on one side, that side is taken; changed alike, done; changed differently, ours stays and
/// theirs goes beside it; change against delete, the change wins. Content, mode and owner merge each by itself: a mode
/// never makes a copy, and a time is never a change. A file where the other side has a directory moves aside. Where the
/// other side has met our content already and kept it in a copy, the conflict is settled: theirs has the name. Total
/// for any three tables; merging the result again changes nothing.
#[must_use]
pub fn merge3(base: Base<'_>, ours: &Rows, theirs: &Rows) -> Merged {
    merge_within(COPIES_LIMIT, base, ours, theirs)
}

/// [`merge3`] for a plain workspace. It has no history: each content gets its copy, however many there are.
#[must_use]
pub fn merge3_plain(base: Base<'_>, ours: &Rows, theirs: &Rows) -> Merged {
    merge_within(usize::MAX, base, ours, theirs)
}

fn merge_within(most_copies: usize, base: Base<'_>, ours: &Rows, theirs: &Rows) -> Merged {
    let (known, older) = match base {
        Base::Known(rows) => (Some(rows), None),
        Base::None => (None, None),
        Base::Older(rows) => (None, Some(rows)),
    };
    let mut merged = Merged::default();
    let mut aside: BTreeSet<(RelPath, Side)> = BTreeSet::new();
    // From which side the content at a path came, where it could have to move.
    let mut origin: BTreeMap<RelPath, Side> = BTreeMap::new();
    // The copies that the other side made of our contents.
    let mut settled: BTreeMap<RelPath, RelPath> = BTreeMap::new();
    for path in ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path))) {
        let mut sides = Sides {
            base: known.and_then(|rows| rows.get(path)),
            older: older.and_then(|rows| rows.get(path)),
            ours: ours.get(path),
            theirs: theirs.get(path),
            settled: false,
        };
        if let Some(copy) = sides.settled_by(path, theirs, known.or(older)) {
            settled.insert(path.clone(), copy);
            sides.settled = true;
        }
        let Some(decision) = sides.decide() else { continue };
        if decision.row.kind != Kind::Dir {
            origin.insert(path.clone(), decision.from);
        }
        merged.rows.insert(path.clone(), decision.row);
        aside.extend(decision.aside.map(|side| (path.clone(), side)));
    }
    for (path, owner) in directories_needed(&merged.rows) {
        if merged.rows.get(&path).is_some_and(|row| row.kind == Kind::Dir) {
            continue;
        }
        let known_dir = [Some(theirs), Some(ours), known, older]
            .into_iter()
            .flatten()
            .find_map(|rows| rows.get(&path).filter(|row| row.kind == Kind::Dir));
        let dir = known_dir.map_or_else(
            || Row { uid: owner.0, gid: owner.1, ..Row::dir(0o755) },
            |row| Row { etag: None, ..row.clone() },
        );
        // A file where the result has something below moves aside.
        if merged.rows.insert(path.clone(), dir).is_some() {
            let side = origin.get(&path).copied().unwrap_or(Side::Ours);
            aside.insert((path, side));
        }
    }
    for (path, side) in aside {
        let (whose, row) = match side {
            Side::Theirs => (Whose::Theirs, theirs.get(&path)),
            Side::Ours => (Whose::Ours, ours.get(&path)),
        };
        let Some(row) = row else { continue };
        let met = settled
            .get(&path)
            .filter(|copy| side == Side::Ours && merged.rows.get(*copy).is_some_and(|there| there.same_content(row)));
        let place = match met {
            Some(copy) => Place::Exists(copy.clone()),
            None => copies::place(&merged.rows, &[ours, theirs], &path, row, whose, most_copies),
        };
        let copy = match place {
            Place::Exists(copy) => copy,
            Place::Free(copy) => {
                let etag =
                    theirs.get(&copy).filter(|there| there.same_content(row)).and_then(|there| there.etag.clone());
                let pieces = match side {
                    Side::Theirs => row.pieces.clone(),
                    Side::Ours => row.pieces.without_places(),
                };
                merged.rows.insert(copy.clone(), Row { etag, pieces, link: None, ..row.clone() });
                copy
            }
            Place::Full => {
                merged.overflow.push(path);
                continue;
            }
        };
        merged.copies.push(Copy { path, copy, whose, row: row.clone() });
    }
    merged
}

/// A side of the merge. Ours sorts first: it gets its place first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Side {
    Ours,
    Theirs,
}

/// One path in all tables.
struct Sides<'a> {
    base: Option<&'a Row>,
    older: Option<&'a Row>,
    ours: Option<&'a Row>,
    theirs: Option<&'a Row>,
    /// Whether theirs has a copy of our content, which the base does not know.
    settled: bool,
}

/// What becomes of one path, seen by itself.
struct Decision {
    row: Row,
    from: Side,
    aside: Option<Side>,
}

impl Sides<'_> {
    /// The copy in which the other side keeps what is ours, since the base: it met ours when both committed at once.
    fn settled_by(&self, path: &RelPath, theirs: &Rows, base: Option<&Rows>) -> Option<RelPath> {
        let (ours, there) = self.ours.zip(self.theirs)?;
        if ours.same_content(there) || ours.kind == Kind::Dir || there.kind == Kind::Dir {
            return None;
        }
        let copy = copies::kept(theirs, path, ours)?;
        let is_old = base.and_then(|rows| rows.get(&copy)).is_some_and(|row| row.same_content(ours));
        (!is_old).then_some(copy)
    }

    /// `None`: the path is gone.
    fn decide(&self) -> Option<Decision> {
        let unchanged = |row: &Row| self.base.is_some_and(|base| base.same_content(row));
        let deleted = |row: &Row| self.base.is_some_and(|base| base.same(row));
        match (self.ours, self.theirs) {
            (None, None) => None,
            (Some(ours), None) => (!deleted(ours)).then(|| self.take(Side::Ours, ours, None)),
            (None, Some(theirs)) => (!deleted(theirs)).then(|| self.take(Side::Theirs, theirs, None)),
            (Some(ours), Some(theirs)) => Some(if ours.same_content(theirs) || unchanged(theirs) {
                self.take(Side::Ours, ours, None)
            } else if unchanged(ours) {
                self.take(Side::Theirs, theirs, None)
            } else if theirs.kind == Kind::Dir || self.settled || ours.kind != Kind::Dir && self.is_old(ours) {
                self.take(Side::Theirs, theirs, Some(Side::Ours))
            } else {
                self.take(Side::Ours, ours, Some(Side::Theirs))
            }),
        }
    }

    /// Whether ours is what the directory once took in: not edited here.
    fn is_old(&self, ours: &Row) -> bool {
        self.older.is_some_and(|older| older.same_content(ours))
    }

    /// Where the content lies, by the one side whose packs are known to be there.
    fn pieces(&self, content: &Row) -> Pieces {
        match self.theirs.filter(|theirs| theirs.same_content(content)) {
            Some(theirs) if theirs.pieces != Pieces::None => theirs.pieces.clone(),
            _ => content.pieces.without_places(),
        }
    }

    /// The row with the content of one side, and mode and owner merged each by itself.
    fn take(&self, from: Side, content: &Row, aside: Option<Side>) -> Decision {
        // A symlink's mode says nothing about a file's.
        let alike = |row: &&Row| row.kind == content.kind;
        let base = self.base.or(self.older).filter(alike);
        let (ours, theirs) = (self.ours.filter(alike), self.theirs.filter(alike));
        let mut row = content.clone();
        row.etag = self.theirs.filter(|theirs| theirs.same_content(content)).and_then(|theirs| theirs.etag.clone());
        row.pieces = self.pieces(content);
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            row.mode = pick(base.map(|row| row.mode), ours.mode, theirs.mode);
            (row.uid, row.gid) =
                pick(base.map(|row| (row.uid, row.gid)), (ours.uid, ours.gid), (theirs.uid, theirs.gid));
            if ours.same_content(theirs) {
                row.mtime_ns = pick(base.map(|row| row.mtime_ns), ours.mtime_ns, theirs.mtime_ns);
            }
        }
        Decision { row, from, aside }
    }
}

/// Changed on one side: that one; on both, or nothing known: ours.
fn pick<T: PartialEq>(base: Option<T>, ours: T, theirs: T) -> T {
    if base.is_some_and(|base| base == ours) { theirs } else { ours }
}

/// Every directory that the paths of `rows` lie in, with the owner of the first path found there.
fn directories_needed(rows: &Rows) -> BTreeMap<RelPath, (u32, u32)> {
    let mut needed = BTreeMap::new();
    for (path, row) in rows {
        for parent in path.ancestors() {
            match needed.entry(parent) {
                Entry::Vacant(place) => place.insert((row.uid, row.gid)),
                // Its own parents are there too.
                Entry::Occupied(_) => break,
            };
        }
    }
    needed
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
