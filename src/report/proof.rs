//! The one line a restore ends with, which can be checked; and what a commit says.

use super::{LiveTreeState, Receipt, bytes, counted, seconds};

/// What a restore can prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof<'a> {
    /// Every file was checked against the hashes of this snapshot.
    Snapshot(&'a str),
    /// A plain workspace: lengths and offered checksums were checked.
    Import,
}

/// `restored snapshot 41 (10,214 files, 98 MB, tree 0123abcd) in 0.8 s, every file verified`.
#[must_use]
pub fn proof_line(proof: Proof<'_>, files: u64, size: u64, tree: &str, took: f64) -> String {
    let (files, size, took) = (counted(files, "file", "files"), bytes(size), seconds(took));
    let tree = &tree[..tree.floor_char_boundary(8)];
    match proof {
        Proof::Snapshot(id) => {
            format!("restored snapshot {} ({files}, {size}, tree {tree}) in {took}, every file verified", number_of(id))
        }
        Proof::Import => {
            format!("imported {files}, {size} (tree {tree}) in {took}, every length and offered checksum checked")
        }
    }
}

/// The number of a snapshot: its sequence, without the zeros and the random rest.
fn number_of(id: &str) -> &str {
    let sequence = id.split('-').next().unwrap_or(id);
    let number = sequence.trim_start_matches('0');
    if number.is_empty() { sequence } else { number }
}

impl Receipt {
    /// The same of a dry run: what a commit would do.
    #[must_use]
    pub fn planned_line(&self) -> String {
        if self.files_changed == 0 && self.files_deleted == 0 {
            return "nothing to commit".to_owned();
        }
        let changed = counted(self.files_changed, "file changed", "files changed");
        let mut line = format!("would commit {changed}, {} deleted; nothing was sent", self.files_deleted);
        for (count, what) in [(self.not_stored.len(), "not stored"), (self.conflicts.len(), "kept twice")] {
            if count > 0 {
                line.push_str(&format!(", {what}: {}", counted(count as u64, "file", "files")));
            }
        }
        line
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        if let Some(error) = &self.error {
            return format!("commit failed: {error}");
        }
        let what = if self.files_changed == 0 && self.files_deleted == 0 {
            "nothing to commit".to_owned()
        } else {
            let changed = counted(self.files_changed, "file changed", "files changed");
            format!("committed {changed}, {} deleted, {} sent", self.files_deleted, bytes(self.bytes_sent))
        };
        let snapshot = self.snapshot.as_deref().map_or(String::new(), |id| format!(", snapshot {}", number_of(id)));
        let mut line = format!(
            "{what} in {} ({}{snapshot})",
            seconds(self.seconds),
            counted(self.requests, "request", "requests"),
        );
        if !self.durable {
            line.push_str(", NOT durable");
        }
        let (not_stored, not_deleted) = (self.not_stored.len() as u64, self.not_deleted.len() as u64);
        for (count, what) in [(not_stored, "not stored"), (not_deleted, "not deleted")] {
            if count > 0 {
                line.push_str(&format!(", {what}: {}", counted(count, "file", "files")));
            }
        }
        if !self.conflicts.is_empty() {
            line.push_str(&format!(", {}", counted(self.conflicts.len() as u64, "conflict", "conflicts")));
        }
        if self.live_tree == LiveTreeState::Behind {
            line.push_str(", live tree behind");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_ends_with_its_proof() {
        assert_eq!(
            proof_line(Proof::Snapshot("0000000041-0123456789ab"), 10_214, 98_000_000, "0123abcdef", 0.82),
            "restored snapshot 41 (10,214 files, 98 MB, tree 0123abcd) in 0.8 s, every file verified"
        );
        assert_eq!(
            proof_line(Proof::Import, 10_214, 98_000_000, "0123abcdef", 0.82),
            "imported 10,214 files, 98 MB (tree 0123abcd) in 0.8 s, every length and offered checksum checked"
        );
    }

    #[test]
    fn a_commit_says_what_is_missing() {
        let receipt = Receipt {
            snapshot: Some("0000000007-0123456789ab".to_owned()),
            durable: true,
            partial: false,
            quiet: true,
            files_changed: 3,
            files_deleted: 1,
            bytes_sent: 1500,
            requests: 9,
            seconds: 0.42,
            live_tree: LiveTreeState::Current,
            not_stored: Vec::new(),
            not_deleted: Vec::new(),
            conflicts: Vec::new(),
            omitted: 0,
            error: None,
        };
        assert_eq!(
            receipt.line(),
            "committed 3 files changed, 1 deleted, 1.5 kB sent in 0.4 s (9 requests, snapshot 7)"
        );
        let failed = Receipt { error: Some("no route".to_owned()), ..receipt.clone() };
        assert_eq!(failed.line(), "commit failed: no route");
        let nothing = Receipt { files_changed: 0, files_deleted: 0, durable: false, ..receipt };
        assert_eq!(nothing.line(), "nothing to commit in 0.4 s (9 requests, snapshot 7), NOT durable");
    }
}
