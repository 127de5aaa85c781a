//! What the objects of a live tree say about a workspace.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::presence::TreeRows;
use crate::rows::{ETag, Hash, Kind, PathError, RelPath, Removed, Row, Rows};

/// An object of a LIST.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its key, less the workspace's prefix.
    pub key: String,
    /// Its version.
    pub etag: ETag,
    /// Its bytes.
    pub size: u64,
    /// When it was written, nanoseconds since 1970.
    pub last_modified_ns: i64,
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no path of a workspace.
    #[error("{0}")]
    Path(PathError),
    /// It ends in a slash, yet has a body.
    #[error("it ends in \"/\" but is not empty")]
    DirectoryWithBody,
    /// Other keys lie below it.
    #[error("it is also a directory of other keys")]
    AlsoDirectory,
    /// It is, or lies in, the state directory, or is a file in its way.
    #[error("it is stopover's own state directory, or lies in it (STOPOVER_STATE)")]
    State,
}

/// A key that is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedKey {
    /// The key, less the workspace's prefix.
    pub key: String,
    /// Why.
    pub reason: Refusal,
}

/// An object whose content no row tells: its hash is known when it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// The object's version, for GET If-Match.
    pub etag: ETag,
    /// Its bytes.
    pub size: u64,
    /// When it was written.
    pub mtime_ns: i64,
    /// The owner it gets.
    pub owner: (u32, u32),
}

/// What an import should know besides keys and tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImportOptions<'a> {
    /// The owner, as user and group, of what no row knows.
    pub owner: (u32, u32),
    /// The state directory, where it lies in the workspace under a name of its own.
    pub state: Option<&'a RelPath>,
}

/// What the live tree holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Import {
    /// Paths whose row is known: directories, symlinks, and files whose object is still the one the tree's row is
    /// true for.
    pub rows: Rows,
    /// Files whose content must be read first.
    pub unread: BTreeMap<RelPath, Unread>,
    /// Files of the tree whose object the LIST lacks: no proof that it is gone, a HEAD is. Objects that a HEAD finds
    /// after all are added to the listing, and the import is made anew.
    pub missing: Rows,
    /// Keys that are not taken.
    pub refused: Vec<RefusedKey>,
    /// Paths that the rules ignore.
    pub ignored: Vec<RelPath>,
    /// Objects that a tombstone hides: their delete was not allowed.
    pub hidden: BTreeMap<RelPath, ETag>,
    /// Empty objects that stand for a directory and that a tombstone hides: they are nobody's to delete.
    pub hidden_markers: BTreeMap<RelPath, ETag>,
    /// Empty objects that stand for a directory. If the directory is removed, a tombstone keeps it from coming back.
    pub markers: BTreeMap<RelPath, ETag>,
}

/// Reads a listing, joined with the rows of the plain head's tree, if there is one.
///
/// A tree's row of a file counts only if the object has its ETag still; directories and symlinks come from the tree,
/// unless an object says otherwise. `ignored` is asked about keys that no row of the tree vouches for: what stopover
/// stored stays stored until it is removed.
#[must_use]
pub fn import(
    objects: &[Object],
    tree: Option<TreeRows<'_>>,
    ignored: impl Fn(&RelPath, Kind) -> bool,
    options: ImportOptions<'_>,
) -> Import {
    let mut import = Import::default();
    let is_state = |path: &RelPath, kind: Kind| {
        options
            .state
            .is_some_and(|state| path == state || path.is_below(state) || kind != Kind::Dir && state.is_below(path))
    };
    let mut elsewhere = BTreeSet::new();
    let none = (Rows::new(), Removed::new());
    let tree = tree.unwrap_or(TreeRows { rows: &none.0, removed: &none.1 });
    let mut files: BTreeMap<RelPath, &Object> = BTreeMap::new();
    let mut markers: BTreeMap<RelPath, &Object> = BTreeMap::new();
    for object in objects {
        match read_key(object) {
            Ok(None) => {}
            Ok(Some((path, kind))) if is_state(&path, kind) => {
                import.refused.push(RefusedKey { key: object.key.clone(), reason: Refusal::State });
                elsewhere.insert(path);
            }
            Ok(Some((path, kind))) => {
                let vouched = tree.rows.get(&path).is_some_and(|row| row.kind == kind);
                if tree.removed.get(&path) == Some(&Some(object.etag.clone())) {
                    let hidden = if kind == Kind::Dir { &mut import.hidden_markers } else { &mut import.hidden };
                    hidden.insert(path, object.etag.clone());
                } else if !vouched && ignored(&path, kind) {
                    import.ignored.push(path);
                } else if kind == Kind::File {
                    files.insert(path, object);
                } else {
                    markers.insert(path, object);
                }
            }
            Err(reason) => import.refused.push(RefusedKey { key: object.key.clone(), reason }),
        }
    }
    // Where the tree has something else by now the directory was removed, and its mark stays what it is: nobody's.
    markers.retain(|path, object| {
        let is_replaced = match tree.rows.get(path) {
            Some(row) if row.kind == Kind::File => files.contains_key(path),
            Some(row) => row.kind != Kind::Dir,
            None => false,
        };
        if is_replaced {
            import.hidden_markers.insert(path.clone(), object.etag.clone());
        }
        !is_replaced
    });
    let directories = directories_of(&files, &markers);
    elsewhere.extend(import.ignored.iter().chain(import.hidden.keys()).chain(import.hidden_markers.keys()).cloned());
    files.retain(|path, object| {
        let also = directories.contains_key(path);
        if also {
            import.refused.push(RefusedKey { key: object.key.clone(), reason: Refusal::AlsoDirectory });
            elsewhere.insert(path.clone());
        }
        !also
    });
    for (path, mtime_ns) in directories {
        let row = tree.rows.get(&path).filter(|row| row.kind == Kind::Dir).cloned();
        let new = || Row { mtime_ns, uid: options.owner.0, gid: options.owner.1, ..Row::dir(0o755) };
        import.rows.insert(path, row.unwrap_or_else(new));
    }
    for (path, object) in files {
        let row = tree
            .rows
            .get(&path)
            .filter(|row| row.kind == Kind::File && row.etag.as_ref() == Some(&object.etag) && row.size == object.size);
        if let Some(row) = row {
            import.rows.insert(path, row.clone());
        } else {
            let (etag, size, mtime_ns) = (object.etag.clone(), object.size, object.last_modified_ns);
            import.unread.insert(path, Unread { etag, size, mtime_ns, owner: options.owner });
        }
    }
    import.markers = markers.into_iter().map(|(path, object)| (path, object.etag.clone())).collect();
    import.take_from_tree(tree.rows, &elsewhere, is_state);
    import.ignored.sort();
    import.refused.sort_by(|a, b| a.key.cmp(&b.key));
    import
}

impl Import {
    /// Takes what another table knows of the very same versions (what the directory took in before): they need not be
    /// read.
    pub fn learn(&mut self, known: &Rows) {
        let rows = &mut self.rows;
        self.unread.retain(|path, unread| {
            let row = known.get(path).filter(|row| {
                row.kind == Kind::File && row.etag.as_ref() == Some(&unread.etag) && row.size == unread.size
            });
            rows.extend(row.map(|row| (path.clone(), row.clone())));
            row.is_none()
        });
    }

    /// Whether the content at `path` must be read before anything is planned: where the directory has a file that may
    /// be the same, or has taken in one, a merge needs the hash. Elsewhere [`Unread::placeholder`] will do.
    #[must_use]
    pub fn must_be_read(&self, path: &RelPath, local: &Rows, origin: Option<&Rows>) -> bool {
        let may_meet = |row: &Row| {
            origin.is_some()
                || row.kind == Kind::File && self.unread.get(path).is_some_and(|unread| unread.size == row.size)
        };
        self.unread.contains_key(path)
            && (local.get(path).is_some_and(may_meet) || origin.is_some_and(|origin| origin.contains_key(path)))
    }

    /// What the LIST cannot hold, and what it lacks; `elsewhere` is listed, but not taken. Path order takes a directory before what lies in it.
    fn take_from_tree(
        &mut self,
        tree: &Rows,
        elsewhere: &BTreeSet<RelPath>,
        is_state: impl Fn(&RelPath, Kind) -> bool,
    ) {
        for (path, row) in tree.iter().filter(|(path, row)| !is_state(path, row.kind)) {
            if self.rows.contains_key(path) || self.unread.contains_key(path) {
                continue;
            }
            if row.kind == Kind::File {
                if !elsewhere.contains(path) {
                    self.missing.insert(path.clone(), row.clone());
                }
                continue;
            }
            let is_file = |up: &RelPath| {
                self.unread.contains_key(up) || self.rows.get(up).is_some_and(|row| row.kind != Kind::Dir)
            };
            if !path.ancestors().any(|up| is_file(&up)) {
                self.rows.insert(path.clone(), row.clone());
            }
        }
    }
}

/// What an object is; nothing for the marker of the workspace itself.
pub(super) fn read_key(object: &Object) -> Result<Option<(RelPath, Kind)>, Refusal> {
    let (text, kind) = object.key.strip_suffix('/').map_or((&*object.key, Kind::File), |text| (text, Kind::Dir));
    if text.is_empty() && object.size == 0 && kind == Kind::File {
        return Ok(None);
    }
    let path = RelPath::from_text(text).map_err(Refusal::Path)?;
    if kind == Kind::Dir && object.size > 0 {
        return Err(Refusal::DirectoryWithBody);
    }
    Ok(Some((path, kind)))
}

/// Every directory that keys lie in or stand for, with the newest time of what was written in it.
fn directories_of(files: &BTreeMap<RelPath, &Object>, markers: &BTreeMap<RelPath, &Object>) -> BTreeMap<RelPath, i64> {
    let mut directories: BTreeMap<RelPath, i64> = BTreeMap::new();
    let mut found = |path: RelPath, time: i64| match directories.entry(path) {
        Entry::Vacant(place) => {
            place.insert(time);
            true
        }
        Entry::Occupied(mut place) => {
            let newer = time > *place.get();
            if newer {
                place.insert(time);
            }
            newer
        }
    };
    for (path, object) in markers {
        found(path.clone(), object.last_modified_ns);
    }
    for (path, object) in files.iter().chain(markers) {
        for up in path.ancestors() {
            // What lies above has been told as new a time already.
            if !found(up, object.last_modified_ns) {
                break;
            }
        }
    }
    directories
}

impl Unread {
    /// A row for planning while the content is not known: like no other content, and gone when it was read.
    #[must_use]
    pub fn placeholder(&self) -> Row {
        self.row(Hash::of(format!("unread {}", self.etag.as_str()).as_bytes()))
    }

    /// The row, now that the content was read.
    #[must_use]
    pub fn row(&self, hash: Hash) -> Row {
        Row {
            uid: self.owner.0,
            gid: self.owner.1,
            mtime_ns: self.mtime_ns,
            etag: Some(self.etag.clone()),
            ..Row::file(hash, self.size, 0o644)
        }
    }
}

#[cfg(test)]
#[path = "imports_tests.rs"]
mod tests;
