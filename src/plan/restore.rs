//! What a pull writes, as steps in the order of their fields.

use std::collections::{BTreeMap, BTreeSet};

use super::{Copy, Source, Whose, copies::below, manifests::is_manifest};
use crate::rows::{Kind, RelPath, Row, Rows};

/// Whom files should belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Owners {
    /// To whom their rows say (`--owner keep`).
    #[default]
    Keep,
    /// All to one user and group (`run-user`).
    Are(u32, u32),
    /// To whomever they do (`none`).
    Ignore,
}

/// What else a restore should know.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions<'a> {
    /// `--delete`: local paths that are not wanted are removed, known or not.
    pub delete: bool,
    /// Paths that a restore which did not end may have made: what is there and not wanted any more moves aside.
    pub abandoned: Option<&'a BTreeSet<RelPath>>,
    /// Whom files should belong to.
    pub owners: Owners,
    /// The copies of the merge that `wanted` is the result of.
    pub copies: &'a [Copy],
}

/// Makes room at a path, before anything is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Clear {
    /// Rename the local file or symlink, which is a local edit, to the name of its copy.
    Rename {
        /// Where it is.
        from: RelPath,
        /// Where it goes; nothing is there.
        to: RelPath,
        /// What it is.
        expected: Row,
    },
    /// Move the local file, symlink or whole directory to `.stopover/aside/`, and name it to the user.
    MoveAside {
        /// Where it is.
        path: RelPath,
        /// What it is.
        expected: Row,
    },
    /// Remove the local file or symlink.
    Remove {
        /// Where it is.
        path: RelPath,
        /// What it is.
        expected: Row,
    },
    /// Remove the local directory; if something is left in it that no row knows, move it aside.
    RemoveDir {
        /// Where it is.
        path: RelPath,
    },
}

/// Writes one file or symlink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Where.
    pub path: RelPath,
    /// What.
    pub row: Row,
    /// What lies there now (after `clear`): nothing, or this local row. Anything else is left alone and named.
    pub expected: Option<Row>,
    /// Where the content is.
    pub from: Source,
    /// This file may be made as a hard link to that path, which is wanted with the same content and metadata.
    pub link: Option<RelPath>,
}

/// Sets mode, owner and time of what is there with the right content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Where.
    pub path: RelPath,
    /// What it should be.
    pub row: Row,
    /// What it is now; for a directory nothing, if the restore makes it.
    pub expected: Option<Row>,
}

/// What a restore does: field after field, each in its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RestorePlan {
    /// Room is made.
    pub clear: Vec<Clear>,
    /// Directories that are not there, parents first.
    pub make_dirs: Vec<(RelPath, Row)>,
    /// Files, in path order; those with a `link` after all others. They may be written at once.
    pub fetch: Vec<Fetch>,
    /// Files and symlinks that only need mode, owner or time.
    pub meta: Vec<Meta>,
    /// Symlinks, when all files are there.
    pub symlinks: Vec<Fetch>,
    /// What is not wanted any more: files and symlinks, then directories, deepest first. A directory that is not
    /// empty stays.
    pub remove: Vec<(RelPath, Row)>,
    /// Mode, owner and time of directories, deepest first, at the very end.
    pub dir_meta: Vec<Meta>,
    /// Local edits in the place of something unwanted: they stay, and are named.
    pub kept: Vec<RelPath>,
}

/// Plans a restore of `wanted` over `local`.
///
/// `origin` is what the directory took in, only if it is `ready`: then `wanted` is the result of a merge with `local`,
/// and what `origin` has and `wanted` lacks is removed. Without it a local file that differs moves aside.
/// `local` must have a row for every path of `wanted` that is on the disk, ignored or not.
#[must_use]
pub fn restore_plan(wanted: &Rows, local: &Rows, origin: Option<&Rows>, options: &RestoreOptions<'_>) -> RestorePlan {
    let copies =
        options.copies.iter().filter(|copy| copy.whose == Whose::Ours).map(|copy| (&copy.path, copy)).collect();
    let (now, kept, plan) = (local.clone(), BTreeSet::new(), RestorePlan::default());
    let mut planner = Planner { wanted, local, origin, options, copies, now, kept, plan };
    planner.make_copies();
    planner.make_room();
    planner.clear_abandoned();
    planner.write();
    planner.remove();
    planner.set_dirs();
    planner.plan.kept = planner.kept.into_iter().collect();
    planner.plan
}

struct Planner<'a> {
    wanted: &'a Rows,
    local: &'a Rows,
    origin: Option<&'a Rows>,
    options: &'a RestoreOptions<'a>,
    /// Copies of local contents, by the path that they leave.
    copies: BTreeMap<&'a RelPath, &'a Copy>,
    /// What lies in the directory after the steps so far.
    now: Rows,
    /// Local edits that nothing may replace.
    kept: BTreeSet<RelPath>,
    plan: RestorePlan,
}

impl Planner<'_> {
    /// Local contents whose name something else takes go to the name of their copy.
    fn make_copies(&mut self) {
        for copy in self.copies.values() {
            let Some(row) = self.now.get(&copy.path).filter(|row| row.same_content(&copy.row)).cloned() else {
                continue;
            };
            match self.now.get(&copy.copy) {
                Some(there) if there.same_content(&row) => continue,
                Some(there) if there.kind == Kind::Dir || !self.unedited(&copy.copy) => continue,
                Some(there) => self.plan.clear.push(Clear::Remove { path: copy.copy.clone(), expected: there.clone() }),
                None => {}
            }
            self.now.remove(&copy.path);
            self.now.insert(copy.copy.clone(), row.clone());
            self.plan.clear.push(Clear::Rename { from: copy.path.clone(), to: copy.copy.clone(), expected: row });
        }
    }

    /// What stands where something else is wanted is removed, moved aside, or kept with all that it hides.
    fn make_room(&mut self) {
        for (path, row) in self.wanted {
            let Some(there) = self.now.get(path).filter(|there| !there.same_content(row)).cloned() else { continue };
            let from_dir = there.kind == Kind::Dir;
            if self.is_kept(path) {
                continue;
            }
            if self.origin.is_none() {
                self.plan.clear.push(Clear::MoveAside { path: path.clone(), expected: there });
                self.forget(path);
            } else if from_dir && below(&self.now, path).all(|(at, row)| row.kind == Kind::Dir || self.removable(at)) {
                // Deepest first: a directory comes before what lies in it.
                for (at, row) in below(&self.now, path).collect::<Vec<_>>().into_iter().rev() {
                    self.plan.clear.push(match row.kind {
                        Kind::Dir => Clear::RemoveDir { path: at.clone() },
                        _ => Clear::Remove { path: at.clone(), expected: row.clone() },
                    });
                }
                self.plan.clear.push(Clear::RemoveDir { path: path.clone() });
                self.forget(path);
            } else if from_dir || !self.replaceable(path, &there) {
                self.kept.insert(path.clone());
            } else if row.kind == Kind::Dir {
                self.plan.clear.push(Clear::Remove { path: path.clone(), expected: there });
                self.forget(path);
            }
        }
    }

    /// What an earlier restore left and nobody has any more: nobody made it here, so nobody may store it.
    fn clear_abandoned(&mut self) {
        let Some(abandoned) = self.options.abandoned.filter(|_| self.origin.is_none()) else { return };
        let unwanted: Vec<RelPath> = self.now.keys().filter(|path| !self.wanted.contains_key(*path)).cloned().collect();
        for path in unwanted.into_iter().filter(|path| abandoned.contains(path)) {
            let Some(row) = self.now.get(&path).filter(|row| row.kind != Kind::Dir).cloned() else { continue };
            self.plan.clear.push(Clear::MoveAside { path: path.clone(), expected: row });
            self.now.remove(&path);
        }
    }

    fn write(&mut self) {
        let copies: BTreeMap<&RelPath, &Copy> = self.options.copies.iter().map(|copy| (&copy.copy, copy)).collect();
        for (path, row) in self.wanted {
            if self.is_kept(path) {
                continue;
            }
            let there = self.now.get(path);
            if let Some(there) = there.filter(|there| there.same_content(row)) {
                if row.kind != Kind::Dir && !self.fits(row, there) {
                    self.plan.meta.push(Meta { path: path.clone(), row: row.clone(), expected: Some(there.clone()) });
                }
                continue;
            }
            let copy = copies.get(path).filter(|copy| copy.row.same_content(row));
            let from = match copy {
                Some(copy) if copy.whose == Whose::Ours => Source::Local(copy.path.clone()),
                Some(copy) if row.etag.is_none() => {
                    Source::Object { path: copy.path.clone(), etag: copy.row.etag.clone() }
                }
                _ => Source::Object { path: path.clone(), etag: row.etag.clone() },
            };
            let link = row.link.as_ref().filter(|first| copy.is_none() && self.can_link(first, row)).cloned();
            let fetch = Fetch { path: path.clone(), row: row.clone(), expected: there.cloned(), from, link };
            match row.kind {
                Kind::Dir => self.plan.make_dirs.push((path.clone(), row.clone())),
                Kind::File => self.plan.fetch.push(fetch),
                Kind::Symlink => self.plan.symlinks.push(fetch),
            }
        }
        // What package managers read comes first, other names of a file that is fetched last.
        self.plan.fetch.sort_by_key(|fetch| (fetch.link.is_some(), !is_manifest(&fetch.path)));
    }

    /// What is not wanted: only what the directory took in, unless everything should go.
    fn remove(&mut self) {
        let unwanted = self.now.iter().filter(|(path, _)| !self.wanted.contains_key(*path) && !self.is_kept(path));
        let (dirs, files): (Vec<_>, Vec<_>) = unwanted.partition(|(_, row)| row.kind == Kind::Dir);
        let known = |path: &RelPath| self.origin.is_some_and(|origin| origin.contains_key(path));
        let mut kept = Vec::new();
        let mut remove = Vec::new();
        for (path, row) in files {
            if self.removable(path) {
                remove.push((path.clone(), row.clone()));
            } else if known(path) {
                kept.push(path.clone());
            }
        }
        let left = |path: &RelPath| self.options.abandoned.is_some_and(|abandoned| abandoned.contains(path));
        let dirs = dirs.into_iter().rev().filter(|(path, _)| self.options.delete || known(path) || left(path));
        remove.extend(dirs.map(|(path, row)| (path.clone(), row.clone())));
        self.plan.remove = remove;
        self.kept.extend(kept);
    }

    /// Directories at the very end: what is written in one moves its time, and its mode may forbid writing.
    fn set_dirs(&mut self) {
        let mut touched: BTreeSet<RelPath> = BTreeSet::new();
        for step in &self.plan.clear {
            match step {
                Clear::Rename { from, to, .. } => touched.extend([from.parent(), to.parent()].into_iter().flatten()),
                Clear::MoveAside { path, .. } | Clear::Remove { path, .. } | Clear::RemoveDir { path } => {
                    touched.extend(path.parent());
                }
            }
        }
        touched.extend(self.plan.make_dirs.iter().chain(&self.plan.remove).filter_map(|(path, _)| path.parent()));
        touched.extend(self.plan.fetch.iter().chain(&self.plan.symlinks).filter_map(|fetch| fetch.path.parent()));
        let dirs = self.wanted.iter().rev().filter(|(path, row)| row.kind == Kind::Dir && !self.is_kept(path));
        self.plan.dir_meta = dirs
            .map(|(path, row)| Meta {
                path: path.clone(),
                row: row.clone(),
                expected: self.now.get(path).filter(|there| there.kind == Kind::Dir).cloned(),
            })
            .filter(|meta| {
                touched.contains(&meta.path) || meta.expected.as_ref().is_none_or(|there| !self.fits(&meta.row, there))
            })
            .collect();
    }

    /// Whether what lies at `path` is what the directory took in.
    fn unedited(&self, path: &RelPath) -> bool {
        let known = self.origin.and_then(|origin| origin.get(path));
        known.zip(self.local.get(path)).is_some_and(|(known, there)| known.same_content(there))
    }

    fn removable(&self, path: &RelPath) -> bool {
        self.options.delete || self.unedited(path)
    }

    /// Whether the local content at `path` is not needed there: it lies at its copy already, or is no edit.
    fn replaceable(&self, path: &RelPath, there: &Row) -> bool {
        match self.copies.get(path).filter(|copy| copy.row.same_content(there)) {
            Some(copy) => self.now.get(&copy.copy).is_some_and(|copied| copied.same_content(there)),
            None => self.unedited(path),
        }
    }

    /// Whether `path` is kept, or lies below what is.
    fn is_kept(&self, path: &RelPath) -> bool {
        !self.kept.is_empty() && (self.kept.contains(path) || path.ancestors().any(|up| self.kept.contains(&up)))
    }

    fn forget(&mut self, path: &RelPath) {
        for at in below(&self.now, path).map(|(at, _)| at.clone()).collect::<Vec<_>>() {
            self.now.remove(&at);
        }
        self.now.remove(path);
    }

    /// Whether mode, owner and time are right. A symlink's mode and time are left alone.
    fn fits(&self, row: &Row, there: &Row) -> bool {
        let owner = match self.options.owners {
            Owners::Keep => (row.uid, row.gid) == (there.uid, there.gid),
            Owners::Are(uid, gid) => (uid, gid) == (there.uid, there.gid),
            Owners::Ignore => true,
        };
        owner && (row.kind == Kind::Symlink || (row.mode, row.mtime_ns) == (there.mode, there.mtime_ns))
    }

    /// Names of one file share all there is to it.
    fn can_link(&self, first: &RelPath, row: &Row) -> bool {
        let alike = |other: &Row| {
            other.link.is_none() && other.kind == Kind::File && other.same(row) && other.mtime_ns == row.mtime_ns
        };
        self.wanted.get(first).is_some_and(alike) && !self.is_kept(first)
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
