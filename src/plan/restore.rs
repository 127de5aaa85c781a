//! What a pull writes, as steps in the order of their fields.

use super::{Copy, Source};
use crate::rows::{RelPath, Row, Rows};

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
pub fn restore_plan(
    _wanted: &Rows,
    _local: &Rows,
    _origin: Option<&Rows>,
    _options: &RestoreOptions<'_>,
) -> RestorePlan {
    RestorePlan::default()
}
