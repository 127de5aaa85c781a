//! What a pull says of the edits of others.

use super::Live;
use crate::{
    report::counted,
    rows::{Kind, RelPath},
};

/// How many paths a line names.
const NAMED: usize = 10;

impl Live {
    /// Says what others did, and what comes of it.
    pub(in super::super) fn tell(&self) {
        let edits = self.outside.edits.iter().filter(|(_, row)| row.kind == Kind::File).map(|(path, _)| path);
        if let Some((count, names)) = named(edits, "edit", "edits") {
            tracing::info!("{count} of others in the live tree, merged and stored by the next commit: {names}");
        }
        if let Some((count, names)) = named(self.wanted.deleted.iter(), "file", "files") {
            tracing::info!("{count} deleted from the live tree by others: {names}");
        }
        for path in &self.wanted.merged.overflow {
            tracing::warn!("{path} has too many copies already: what others wrote there stays in the live tree alone");
        }
        if let Some((count, names)) = named(self.refused_deletes().keys(), "file", "files") {
            tracing::warn!(
                "{count} missing in the live tree, too many to be taken for deleted: nothing is deleted, and the next \
                 commit writes them there again. If they were deleted on purpose: `stopover pull --accept-deletes`. \
                 Missing: {names}"
            );
        }
    }
}

/// How many of them, and the first by name.
fn named<'a>(paths: impl Iterator<Item = &'a RelPath>, one: &str, many: &str) -> Option<(String, String)> {
    let paths: Vec<&RelPath> = paths.collect();
    let mut names: Vec<String> = paths.iter().take(NAMED).map(ToString::to_string).collect();
    if paths.len() > NAMED {
        names.push(format!("and {} more", paths.len() - NAMED));
    }
    (!paths.is_empty()).then(|| (counted(paths.len() as u64, one, many), names.join(", ")))
}
