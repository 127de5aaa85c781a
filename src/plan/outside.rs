//! What others did to the live tree: the objects that no snapshot explains, and the ones that are missing.
//!
//! An object that is as mirrored, or that a recent snapshot explains, says nothing: head's row counts. That one is
//! missing says next to nothing either: only a HEAD proves it, and never for most of the objects at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Base, Content, Explained, Held, ImportOptions, Merged, Object, Refusal, RefusedKey, Unread, copies::has_below,
    imports::read_key, merge3,
};
use crate::rows::{ETag, Hash, Kind, RelPath, Row, Rows};

/// Contents that were read, each of the version it is true for.
pub type Contents = BTreeMap<RelPath, (ETag, Hash)>;

/// What a listing says beside what the snapshots know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outside {
    /// Objects that are certainly edits of others, but for the content: it is known where [`Outside::read`] has none.
    pub edits: Rows,
    /// Edits whose content need not be known for the merge: their rows in [`Outside::edits`] are placeholders.
    pub unread: BTreeMap<RelPath, Unread>,
    /// Objects that must be read before anything can be said of them; with that the listing is looked at anew.
    pub read: BTreeMap<RelPath, Unread>,
    /// Mirrored files that the listing lacks and whose rows nobody changed since: a HEAD that says 404 makes an
    /// outside delete of one. What a HEAD finds after all is added to the listing.
    pub missing: BTreeMap<RelPath, ETag>,
    /// Missing ones of which no delete can come, because it is being changed or was refused before: for the summary.
    pub unproven: BTreeSet<RelPath>,
    /// Keys that are not taken.
    pub refused: Vec<RefusedKey>,
    /// Paths that the rules ignore and nobody vouches for.
    pub ignored: Vec<RelPath>,
    /// Empty objects that stand for directories, all of them: the next mirror notes them.
    pub markers: BTreeMap<RelPath, ETag>,
}

impl Outside {
    /// Files that lie where others have a directory, unless something explains them.
    pub fn in_the_way(&self) -> impl Iterator<Item = RelPath> {
        let refused = self.refused.iter().filter(|refused| refused.reason == Refusal::AlsoDirectory);
        refused.filter_map(|refused| RelPath::from_text(&refused.key).ok())
    }
}

/// Compares a listing of the live tree with head's rows and what explains it. `recent` of `explained` is taken to be
/// all there is: with `complete` unset (a tree of them could not be read) nothing counts as missing. `ignored` is asked
/// about keys that neither head nor the mirror vouches for.
#[must_use]
pub fn outside(
    listing: &[Object],
    head: &Rows,
    explained: &Explained<'_>,
    complete: bool,
    contents: &Contents,
    ignored: impl Fn(&RelPath, Kind) -> bool,
    options: ImportOptions,
) -> Outside {
    let mut found = Outside::default();
    let mut files: BTreeMap<RelPath, &Object> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    for object in listing {
        match read_key(object) {
            Ok(None) => {}
            Ok(Some((path, Kind::File))) => {
                listed.insert(path.clone());
                let vouched = Content::at(head, &path).is_some() || explained.mirror.rows.contains_key(&path);
                if !vouched && ignored(&path, Kind::File) {
                    found.ignored.push(path);
                } else {
                    files.insert(path, object);
                }
            }
            Ok(Some((path, kind))) => {
                let vouched = head.contains_key(&path) || explained.mirror.markers.contains_key(&path);
                if !vouched && ignored(&path, kind) {
                    found.ignored.push(path);
                    continue;
                }
                if !explained.mirror.markers.contains_key(&path) && !head.contains_key(&path) {
                    let owner = options.owner;
                    let row = Row { uid: owner.0, gid: owner.1, mtime_ns: object.last_modified_ns, ..Row::dir(0o755) };
                    found.edits.insert(path.clone(), row);
                }
                found.markers.insert(path, object.etag.clone());
            }
            Err(reason) => found.refused.push(RefusedKey { key: object.key.clone(), reason }),
        }
    }
    let mut met = Vec::new();
    let mut directories: BTreeSet<RelPath> = BTreeSet::new();
    for (path, object) in files {
        let as_mirrored = |held: &Held| held.etag == object.etag && held.content.size == object.size;
        let mut is_ours = explained.mirror.rows.get(&path).is_some_and(as_mirrored);
        let mut about = None;
        if !is_ours {
            let known = explained.known(head, &path);
            let read = contents.get(&path).filter(|(etag, _)| *etag == object.etag).map(|(_, hash)| *hash);
            let hash = read.or_else(|| explained.held(&path, &object.etag, object.size));
            let content = hash.map(|hash| Content { hash, size: object.size });
            is_ours = content.is_some_and(|content| known.contains(&content));
            about = Some((hash, known));
        }
        // What is left of a file that head has no more stands in nobody's way.
        if !is_ours || Content::at(head, &path).is_some() {
            directories.extend(path.ancestors());
        }
        if let Some((hash, known)) = about.filter(|_| !is_ours) {
            met.push((path, object, hash, known));
        }
    }
    let is_dir = |path: &RelPath| head.get(path).is_some_and(|row| row.kind == Kind::Dir);
    let marked = found.markers.keys().filter(|path| is_dir(path) || found.edits.contains_key(*path));
    directories.extend(marked.cloned());
    for (path, object, hash, known) in met {
        let may_be_known = hash.is_none() && known.iter().any(|known| known.size == object.size);
        if directories.contains(&path) && !may_be_known {
            // There is no directory entry for it.
            found.refused.push(RefusedKey { key: object.key.clone(), reason: Refusal::AlsoDirectory });
            continue;
        }
        let owner =
            head.get(&path).filter(|row| row.kind == Kind::File).map_or(options.owner, |row| (row.uid, row.gid));
        let unread = Unread { etag: object.etag.clone(), size: object.size, mtime_ns: object.last_modified_ns, owner };
        match hash {
            Some(hash) => {
                found.edits.insert(path.clone(), edit(&unread, hash, head.get(&path)));
            }
            None if may_be_known || may_meet(head, explained, &path) => {
                found.read.insert(path, unread);
            }
            None => {
                found.edits.insert(path.clone(), unread.placeholder());
                found.unread.insert(path, unread);
            }
        }
    }
    for (path, held) in explained.mirror.rows.iter().filter(|(path, _)| !listed.contains(*path)) {
        let unchanged = |rows: &Rows| Content::at(rows, path) == Some(held.content);
        if complete
            && explained.mirrored(path).is_some()
            && unchanged(head)
            && explained.recent.iter().all(|rows| unchanged(rows))
        {
            found.missing.insert(path.clone(), held.etag.clone());
        } else if head.contains_key(path) {
            found.unproven.insert(path.clone());
        }
    }
    found
}

/// Whether the merge could need the content: there is something at, above or below the path that it may meet.
fn may_meet(head: &Rows, explained: &Explained<'_>, path: &RelPath) -> bool {
    head.contains_key(path)
        || explained.mirror.rows.contains_key(path)
        || has_below(head, path)
        || path.ancestors().any(|up| head.get(&up).is_some_and(|row| row.kind != Kind::Dir))
}

/// The row of an edit: an object has no mode, so the file keeps the one it has.
fn edit(unread: &Unread, hash: Hash, head: Option<&Row>) -> Row {
    let row = unread.row(hash);
    match head.filter(|head| head.kind == Kind::File) {
        Some(head) => Row { mode: head.mode, ..row },
        None => row,
    }
}

/// What a restore should make of a snapshot and the edits of others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Head's rows, merged with the edits and deletes that count.
    pub merged: Merged,
    /// Outside deletes that count.
    pub deleted: BTreeSet<RelPath>,
    /// Outside deletes that do not, with the version the mirror has: to be kept in the local state, so that the next
    /// catch-up writes them again.
    pub refused: BTreeMap<RelPath, ETag>,
}

/// Merges head's rows with what [`outside`] found. `gone` are those of its missing ones of which a HEAD said 404; they
/// count if they are, with those that were refused before and are missing still, at most half of what is mirrored, or
/// with `accept_deletes`.
#[must_use]
pub fn wanted(
    head: &Rows,
    found: &Outside,
    explained: &Explained<'_>,
    gone: &BTreeSet<RelPath>,
    accept_deletes: bool,
) -> Wanted {
    let confirmed: BTreeMap<RelPath, ETag> = found
        .missing
        .iter()
        .filter(|(path, _)| gone.contains(*path))
        .map(|(path, etag)| (path.clone(), etag.clone()))
        .collect();
    // Whoever deletes most of it does so one object after the other, while pulls come by.
    let refused_before = explained.refused.iter().filter(|(path, etag)| {
        found.unproven.contains(*path) && explained.mirror.rows.get(*path).is_some_and(|held| held.etag == **etag)
    });
    let missing = confirmed.len() + refused_before.count();
    let accepted = accept_deletes || missing <= explained.mirror.rows.len() / 2;
    let (deleted, refused) =
        if accepted { (confirmed.into_keys().collect(), BTreeMap::new()) } else { (BTreeSet::new(), confirmed) };
    let (mut base, mut theirs) = (head.clone(), head.clone());
    for (path, row) in &found.edits {
        theirs.insert(path.clone(), row.clone());
        match explained.mirror.rows.get(path) {
            // What a mirror says is content; mode and owner nobody outside can have changed.
            Some(held) if row.kind == Kind::File => {
                let like = head.get(path).filter(|row| row.kind == Kind::File).unwrap_or(row);
                let (hash, size) = (held.content.hash, held.content.size);
                base.insert(path.clone(), Row { hash, size, etag: Some(held.etag.clone()), ..like.clone() });
            }
            _ if row.kind == Kind::File => {
                base.remove(path);
            }
            _ => {}
        }
    }
    for path in &deleted {
        theirs.remove(path);
    }
    // A copy of what others wrote is made of their object; nothing of head has one.
    let merged = merge3(Base::Known(&base), head, &theirs);
    Wanted { merged, deleted, refused }
}

#[cfg(test)]
#[path = "outside_tests.rs"]
mod tests;
