//! The receipt of a commit and the report of a restore.

use serde::{Deserialize, Serialize};

use super::rounded;

/// How far the live tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveTreeState {
    /// It is what the snapshot says.
    Current,
    /// The next commit goes on with it.
    Behind,
    /// There is none.
    Off,
}

/// Why a file's scanned content is not in the committed tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotStoredReason {
    /// It could not be read.
    Unreadable,
    /// It changed each time it was read.
    Changing,
    /// Time ran out.
    Deadline,
    /// The server does not take such a key.
    NameRefused,
    /// It is larger than the server takes.
    TooLarge,
    /// The server denied it.
    Denied,
    /// The rules ignore it by now, or what it belongs to, and the workspace has it as it was before that.
    Ignored,
}

/// A file that is not in the committed tree as it was scanned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotStored {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: NotStoredReason,
}

/// A removed file whose object could not be deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotDeleted {
    /// Its path.
    pub path: String,
    /// Why: `denied`; `deadline`, not reached in time; `partial`, a tree that lacks contents deletes nothing.
    pub reason: String,
}

/// A path that two sides changed differently.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// The path, which has our content.
    pub path: String,
    /// The copy, which has theirs.
    pub copy: String,
}

/// A key that a restore does not take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The key below the workspace.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// What a commit did. Lists hold at most 1,000 entries, `omitted` counts the rest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The snapshot; null where none was made and none is known.
    pub snapshot: Option<String>,
    /// Whether what was scanned is safe now.
    pub durable: bool,
    /// Whether some scanned contents are not in the tree.
    pub partial: bool,
    /// Whether no process of the app lived during the scan.
    pub quiet: bool,
    /// Files added or modified.
    pub files_changed: u64,
    /// Files removed.
    pub files_deleted: u64,
    /// Bytes of request bodies.
    pub bytes_sent: u64,
    /// Requests, retries included.
    pub requests: u64,
    /// Wall time.
    pub seconds: f64,
    /// The live tree.
    pub live_tree: LiveTreeState,
    /// What is not stored.
    pub not_stored: Vec<NotStored>,
    /// What is not deleted.
    pub not_deleted: Vec<NotDeleted>,
    /// Conflicts of this commit.
    pub conflicts: Vec<Conflict>,
    /// Entries cut from the lists above.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
    /// What failed, in words; null where nothing did.
    pub error: Option<String>,
}

/// What a restore did: `restore` of the summary.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// The snapshot; null for a workspace without one.
    pub snapshot: Option<String>,
    /// Files of the workspace.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests, retries included.
    pub requests: u64,
    /// Wall time.
    pub seconds: f64,
    /// Keys not taken.
    pub refused: Vec<Refused>,
    /// Files that the container which made the snapshot had and could not store.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Entries cut from the lists above.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

/// The most entries a list of a receipt has.
pub const LONGEST_LIST: usize = 1000;
/// The most bytes of JSON a list of a receipt has: three of them stay below what PID 1 keeps of a receipt.
const LARGEST_LIST: usize = 256 << 10;

impl Receipt {
    /// Of a commit that came to nothing.
    #[must_use]
    pub fn failed(error: &impl ToString) -> Self {
        Self {
            snapshot: None,
            durable: false,
            partial: false,
            quiet: false,
            files_changed: 0,
            files_deleted: 0,
            bytes_sent: 0,
            requests: 0,
            seconds: 0.0,
            live_tree: LiveTreeState::Behind,
            not_stored: Vec::new(),
            not_deleted: Vec::new(),
            conflicts: Vec::new(),
            omitted: 0,
            error: Some(error.to_string()),
        }
    }

    /// Names what was not deleted; each with whether it was counted as a deleted file, which it is none of.
    pub fn add_not_deleted(&mut self, left: impl IntoIterator<Item = (NotDeleted, bool)>) {
        for (left, was_counted) in left {
            self.files_deleted = self.files_deleted.saturating_sub(u64::from(was_counted));
            self.not_deleted.push(left);
        }
    }

    /// Whether all that was scanned is safe. What the rules ignore is not scanned.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let is_stored = self.not_stored.iter().all(|file| file.reason == NotStoredReason::Ignored);
        self.durable && !self.partial && is_stored && self.error.is_none()
    }

    /// The same as it is written: lists of [`LONGEST_LIST`] entries at most, the rest counted in `omitted`.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.omitted += cut(&mut self.not_stored) + cut(&mut self.not_deleted) + cut(&mut self.conflicts);
        self.seconds = rounded(self.seconds);
        self
    }
}

impl Restored {
    /// The same as it is written: lists of [`LONGEST_LIST`] entries at most, the rest counted in `omitted`.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.omitted += cut(&mut self.refused) + cut(&mut self.missing);
        self.seconds = rounded(self.seconds);
        self
    }
}

fn cut<T: Serialize>(list: &mut Vec<T>) -> u64 {
    let mut bytes = 0;
    let kept = list
        .iter()
        .take(LONGEST_LIST)
        .take_while(|entry| {
            bytes += serde_json::to_string(entry).map_or(LARGEST_LIST, |text| text.len() + 1);
            bytes <= LARGEST_LIST
        })
        .count();
    let over = list.len() - kept;
    list.truncate(kept);
    over as u64
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            snapshot: None,
            durable: true,
            partial: false,
            quiet: true,
            files_changed: 2,
            files_deleted: 1,
            bytes_sent: 4096,
            requests: 7,
            seconds: 0.25,
            live_tree: LiveTreeState::Current,
            not_stored: vec![NotStored { path: "a".to_owned(), reason: NotStoredReason::NameRefused }],
            not_deleted: vec![NotDeleted { path: "b".to_owned(), reason: "denied".to_owned() }],
            conflicts: vec![Conflict { path: "c".to_owned(), copy: "c.theirs-0123abcd".to_owned() }],
            omitted: 0,
            error: None,
        }
    }

    #[test]
    fn a_receipt_has_every_key_of_the_contract() {
        assert_eq!(
            serde_json::to_string(&receipt()).unwrap(),
            "{\"snapshot\":null,\"durable\":true,\"partial\":false,\"quiet\":true,\"files_changed\":2,\
             \"files_deleted\":1,\"bytes_sent\":4096,\"requests\":7,\"seconds\":0.25,\"live_tree\":\"current\",\
             \"not_stored\":[{\"path\":\"a\",\"reason\":\"name-refused\"}],\
             \"not_deleted\":[{\"path\":\"b\",\"reason\":\"denied\"}],\
             \"conflicts\":[{\"path\":\"c\",\"copy\":\"c.theirs-0123abcd\"}],\"error\":null}"
        );
    }

    #[test]
    fn the_reasons_are_the_words_of_the_contract() {
        use NotStoredReason::{Changing, Deadline, Denied, Ignored, NameRefused, TooLarge, Unreadable};
        let words = [Unreadable, Changing, Deadline, NameRefused, TooLarge, Denied, Ignored]
            .map(|reason| serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned());
        assert_eq!(words, ["unreadable", "changing", "deadline", "name-refused", "too-large", "denied", "ignored"]);
    }

    #[test]
    fn what_the_rules_ignore_is_named_and_nothing_is_amiss() {
        let of = |reason| Receipt { not_stored: vec![NotStored { path: "a".to_owned(), reason }], ..receipt() };
        assert!(of(NotStoredReason::Ignored).is_whole() && !of(NotStoredReason::Unreadable).is_whole());
        assert!(!Receipt { partial: true, ..of(NotStoredReason::Ignored) }.is_whole());
    }

    #[test]
    fn a_restore_has_every_key_of_the_contract() {
        let refused = vec![Refused { key: "a//b".to_owned(), reason: "it has an empty segment".to_owned() }];
        let missing = vec!["c".to_owned()];
        let restored =
            Restored { snapshot: None, files: 1, bytes: 2, requests: 3, seconds: 0.5, refused, missing, omitted: 0 };
        assert_eq!(
            serde_json::to_string(&restored).unwrap(),
            "{\"snapshot\":null,\"files\":1,\"bytes\":2,\"requests\":3,\"seconds\":0.5,\
             \"refused\":[{\"key\":\"a//b\",\"reason\":\"it has an empty segment\"}],\"missing\":[\"c\"]}"
        );
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let mut long = receipt();
        long.not_stored = vec![long.not_stored[0].clone(); 1500];
        long.not_deleted = vec![long.not_deleted[0].clone(); 1001];
        let cut = long.bounded();
        assert_eq!((cut.not_stored.len(), cut.not_deleted.len(), cut.omitted), (1000, 1000, 501));
        assert_eq!(serde_json::to_value(cut.clone()).unwrap()["omitted"], 501);
        assert_eq!(cut.clone().bounded(), cut);

        let path = "\u{1}".repeat(4000);
        let mut large = receipt();
        large.not_stored = vec![NotStored { path: path.clone(), reason: NotStoredReason::Denied }; 900];
        large.conflicts = vec![Conflict { path: path.clone(), copy: path }; 900];
        let cut = large.bounded();
        assert!(serde_json::to_vec(&cut).unwrap().len() < 1 << 20);
        assert_eq!(cut.omitted, 1800 - (cut.not_stored.len() + cut.conflicts.len()) as u64);
    }
}
