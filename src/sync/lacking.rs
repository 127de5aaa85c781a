//! What of a directory is not stored, and why: contents by their path, what waits for them, and names that are no paths.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::held_back;
use crate::{
    plan::Unstored,
    report::{NotStored, NotStoredReason},
    rows::RelPath,
    snapshot::Missing,
    worktree::Scan,
};

/// What is not stored of one scan.
pub(super) struct Lacking {
    not_stored: BTreeMap<RelPath, NotStoredReason>,
    /// What waits for something in `not_stored`, though its own content may be stored.
    held_back: BTreeMap<RelPath, NotStoredReason>,
    /// Names on the disk that are no paths, as people may read them.
    refused: Vec<String>,
}

impl Lacking {
    /// What the scan could not read.
    pub(super) fn of(scan: &Scan) -> Self {
        let unreadable = scan.unreadable.iter().map(|(path, _)| (path.clone(), NotStoredReason::Unreadable));
        let changing = scan.changing.iter().map(|path| (path.clone(), NotStoredReason::Changing));
        let refused = scan.refused.iter().map(|(name, _)| name.clone()).collect();
        Self { not_stored: unreadable.chain(changing).collect(), held_back: BTreeMap::new(), refused }
    }

    /// Takes in what was not stored. Says whether that is news.
    pub(super) fn add(&mut self, not_stored: &BTreeMap<RelPath, NotStoredReason>) -> bool {
        let before = self.not_stored.len();
        self.not_stored.extend(not_stored.iter().map(|(path, reason)| (path.clone(), *reason)));
        self.not_stored.len() > before
    }

    /// Notes what is `named` although its own content may be stored.
    pub(super) fn hold_back(&mut self, named: &BTreeMap<RelPath, Unstored>, gone: &BTreeSet<RelPath>) {
        self.held_back = held_back(named, &self.not_stored, gone);
    }

    /// Whose content is not stored.
    pub(super) fn paths(&self) -> BTreeSet<RelPath> {
        self.not_stored.keys().cloned().collect()
    }

    /// Whether everything is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.not_stored.is_empty() && self.held_back.is_empty() && self.refused.is_empty()
    }

    /// By name, for the tree.
    pub(super) fn names(&self) -> Missing {
        Missing::of(self.named().into_iter().map(|lost| lost.path))
    }

    /// By name, for the receipt.
    pub(super) fn named(&self) -> Vec<NotStored> {
        let refused = self.refused.iter().map(|name| (name.clone(), NotStoredReason::NameRefused));
        let paths = self.not_stored.iter().chain(&self.held_back).map(|(path, reason)| (path.to_string(), *reason));
        paths.chain(refused).map(|(path, reason)| NotStored { path, reason }).collect()
    }
}
