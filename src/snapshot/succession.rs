//! The heads of a live workspace that follow one another: commit, prune, tag. (`head` has those of a plain one, and the
//! tombstone.)

use super::{
    HEAD_FORMAT, HISTORY_LIMIT, Head, HeadState, HistoryEntry, SnapshotId, Written,
    head::{BYTES_LIMIT, TAGS_LIMIT, TEXT_LIMIT, short},
};

/// How much of what a reader takes the history may fill.
const HISTORY_BYTES: usize = BYTES_LIMIT / 4 * 3;
/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = 400;
/// What JSON makes of a byte, at worst.
const ESCAPED: usize = 6;

/// What history notes of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Files in it.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that differ from the snapshot before.
    pub changed: u64,
    /// No process of the app lived during its scan.
    pub quiet: bool,
    /// Some scanned contents are not in it.
    pub partial: bool,
}

/// Why a snapshot cannot have a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// It is no name.
    #[error("{0:?} is no tag: it begins with a letter, has no blanks, and is at most 255 bytes long")]
    NoName(String),
    /// There is no such snapshot any more, or never was.
    #[error("snapshot {0} is not kept")]
    NotKept(SnapshotId),
    /// Enough is enough.
    #[error("snapshot {0} has {TAGS_LIMIT} tags already")]
    TooMany(SnapshotId),
    /// Tagged snapshots are never forgotten, and new ones need their place.
    #[error("the history is full of tags: remove one first")]
    Full,
}

/// The longest tag, in bytes.
const TAG_BYTES: usize = 255;
const _: () = assert!(TAG_BYTES <= TEXT_LIMIT);

impl Head {
    /// The head of a commit that makes the workspace live or finds it so, over whatever was there: nothing, a plain
    /// head, a live one, a tombstone. `id` is `SnapshotId::new(old.next_seq(), …)`, 1 over nothing.
    ///
    /// `mirror` is the newest one known to exist; an older one than before is not named. `gc_random` is used where a
    /// new life begins. Retention is the caller's, by [`Head::keep`].
    #[must_use]
    pub fn live_over(
        old: Option<&Self>,
        id: SnapshotId,
        mirror: Option<SnapshotId>,
        counts: Counts,
        gc_random: [u8; 6],
        written: Written,
    ) -> Self {
        let mut head = match old {
            None => Self::first_plain(id, gc_random, written),
            Some(head) if head.state == HeadState::Deleted => head.reborn_plain(id, gc_random, written),
            Some(head) => head.next(id, written),
        };
        head.state = HeadState::Live;
        head.mirror = head.mirror.into_iter().chain(mirror).max_by_key(SnapshotId::seq);
        head.history.push(HistoryEntry {
            snapshot: id,
            time: head.time,
            tags: Vec::new(),
            files: counts.files,
            bytes: counts.bytes,
            changed: counts.changed,
            writer: head.writer.clone(),
            quiet: counts.quiet,
            partial: counts.partial,
        });
        head.fit_history();
        head
    }

    /// The same head with a `gc` one higher, so that what was uploaded before and is not named does not count: the
    /// write between the LIST of a prune and its deletions.
    #[must_use]
    pub fn pruned(&self, gc_random: [u8; 6], written: Written) -> Self {
        Self { gc: self.gc.next(gc_random), ..self.rewritten(written) }
    }

    /// The same head, where a kept snapshot has this tag. A tag is on one snapshot: it leaves the one that had it.
    ///
    /// # Errors
    /// What is wrong with the tag, or that the snapshot is not kept.
    pub fn tagged(&self, snapshot: &SnapshotId, tag: &str, written: Written) -> Result<Self, TagError> {
        // So that it is never taken for an id, a number or a time.
        let is_name = tag.starts_with(char::is_alphabetic)
            && tag.len() <= TAG_BYTES
            && !tag.contains(|character: char| character.is_control() || character.is_whitespace());
        if !is_name {
            return Err(TagError::NoName(tag.to_owned()));
        }
        let mut head = self.untagged(tag, written);
        let entry = head.history.iter_mut().find(|entry| entry.snapshot == *snapshot);
        let entry = entry.ok_or(TagError::NotKept(*snapshot))?;
        if entry.tags.len() >= TAGS_LIMIT {
            return Err(TagError::TooMany(*snapshot));
        }
        entry.tags.push(tag.to_owned());
        let tagged = || head.history.iter().filter(|entry| !entry.tags.is_empty());
        if tagged().count() > HISTORY_LIMIT / 2 || tagged().map(length).sum::<usize>() > HISTORY_BYTES / 2 {
            return Err(TagError::Full);
        }
        Ok(head)
    }

    /// The same head, where no snapshot has this tag.
    #[must_use]
    pub fn untagged(&self, tag: &str, written: Written) -> Self {
        let mut head = self.rewritten(written);
        for entry in &mut head.history {
            entry.tags.retain(|other| other != tag);
        }
        head
    }

    /// The kept snapshot with this tag.
    #[must_use]
    pub fn tag(&self, tag: &str) -> Option<&HistoryEntry> {
        self.history.iter().find(|entry| entry.tags.iter().any(|other| other == tag))
    }

    /// Forgets the kept snapshots that `keep` does not want; the present one stays.
    pub fn keep(&mut self, mut keep: impl FnMut(&HistoryEntry) -> bool) {
        let present = self.snapshot;
        self.history.retain(|entry| Some(entry.snapshot) == present || keep(entry));
    }

    fn rewritten(&self, written: Written) -> Self {
        Self {
            format: HEAD_FORMAT,
            write_id: written.write_id,
            writer: short(written.writer),
            time: written.time,
            ..self.clone()
        }
    }

    /// Keeps the history within what readers take, by forgetting the oldest without tags: a full history never stops a
    /// commit. (Nothing else goes before its time: those with tags fill half of it at most, and thousands of commits in
    /// one hour are what it takes to lose one of that hour.)
    fn fit_history(&mut self) {
        let mut bytes: usize = self.history.iter().map(length).sum();
        let mut entries = self.history.len();
        let full = |entries: usize, bytes: usize| entries > HISTORY_LIMIT || bytes > HISTORY_BYTES;
        if !full(entries, bytes) {
            return;
        }
        self.history.retain(|entry| {
            let stays = !full(entries, bytes) || !entry.tags.is_empty();
            if !stays {
                bytes -= length(entry);
                entries -= 1;
            }
            stays
        });
    }
}

/// What an entry takes in head.json, at most.
fn length(entry: &HistoryEntry) -> usize {
    let texts = entry.tags.iter().chain([&entry.writer]).map(|text| text.len() * ESCAPED + 16);
    ENTRY_BYTES + texts.sum::<usize>()
}

#[cfg(test)]
#[path = "succession_tests.rs"]
mod tests;
