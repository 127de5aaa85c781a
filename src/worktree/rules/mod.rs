//! What is not stored, and which rule says so.

use super::Directory;
use crate::rows::{Kind, RelPath};

/// What decides beside the ignore files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuleOptions {
    /// Store `.git` (`--git include`).
    pub git: bool,
    /// More patterns (`STOPOVER_IGNORE`), one each, as at the end of the top `.stopoverignore`.
    pub extra: Vec<String>,
}

/// Whether a path is stored, and by which rule not (or nevertheless).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Stored or not.
    pub stored: bool,
    /// The pattern as written; none where no rule matches.
    pub rule: Option<String>,
    /// The file it stands in, `built-in`, `STOPOVER_IGNORE` or `STOPOVER_GIT`.
    pub source: Option<String>,
    /// Its line there.
    pub line: Option<u64>,
}

/// Rules over a list of paths that need not be on the disk.
#[derive(Debug)]
pub struct Rules {}

/// Whether [`Rules::from_files`] wants to be given this path: an ignore file (with its content), or one of the
/// manifests whose presence makes `vendor/` a directory of dependencies (content unread: give it empty).
#[must_use]
pub fn is_rule_input(path: &RelPath) -> Option<bool> {
    let _ = path;
    todo!()
}

impl Rules {
    /// Reads the rules of a listing: of each path for which [`is_rule_input`] says `Some(content wanted)`.
    pub fn from_files(files: impl IntoIterator<Item = (RelPath, Vec<u8>)>, options: &RuleOptions) -> Self {
        let _ = (files.into_iter().count(), options);
        todo!()
    }

    /// Whether `path` is stored.
    #[must_use]
    pub fn verdict(&self, path: &RelPath, kind: Kind) -> Verdict {
        let _ = (path, kind);
        todo!()
    }
}

/// Whether `path` is stored, whether or not it is there, by the ignore files on the disk.
#[must_use]
pub fn explain(dir: &Directory, path: &RelPath, options: &RuleOptions) -> Verdict {
    let _ = (dir, path, options);
    todo!()
}
