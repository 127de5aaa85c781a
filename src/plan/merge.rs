//! merge3: three tables in, one table out in which no content is lost.

use crate::rows::{RelPath, Row, Rows};

/// The most copies one path gets.
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
    /// content: what has none is not in the live tree yet.
    pub rows: Rows,
    /// What moved aside, in path order; also where the copy was there before.
    pub copies: Vec<Copy>,
    /// Paths whose other content got no copy, because the path has [`COPIES_LIMIT`] of them. It stays in history.
    pub overflow: Vec<RelPath>,
}

/// Merges what this directory has (`ours`) with what the workspace has (`theirs`).
#[must_use]
pub fn merge3(_base: Base<'_>, _ours: &Rows, _theirs: &Rows) -> Merged {
    Merged::default()
}
