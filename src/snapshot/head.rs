//! head.json: the only root of what lies below `.stopover/`.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{FormatError, Gc, SnapshotId, WriteId, id::MAX_SEQ};

/// The newest format of head.json this version reads, and the one it writes.
pub const HEAD_FORMAT: u64 = 1;
/// How many snapshots the lineage goes back.
pub const LINEAGE_LIMIT: usize = 256;
/// How many kept snapshots a head may name.
pub const HISTORY_LIMIT: usize = 10_000;
/// The largest head.json that is read: more than [`HISTORY_LIMIT`] entries of usual length.
pub(super) const BYTES_LIMIT: usize = 8 << 20;
/// The longest text inside (writer, one tag).
pub(super) const TEXT_LIMIT: usize = 1024;
/// The most tags of one snapshot.
pub(super) const TAGS_LIMIT: usize = 100;
const WHAT: &str = "head.json";

/// Which authority a workspace has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadState {
    /// The live tree is the authority; the snapshot's tree says what plain objects cannot.
    Plain,
    /// The snapshot is the authority.
    Live,
    /// The workspace was deleted: a tombstone.
    Deleted,
}

/// One snapshot that is kept for users.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// When it was committed, by the server's clock.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: Timestamp,
    /// Names users gave it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Files in it.
    #[serde(default)]
    pub files: u64,
    /// Bytes of them.
    #[serde(default)]
    pub bytes: u64,
    /// Files that differ from the snapshot before.
    #[serde(default)]
    pub changed: u64,
    /// Who committed it.
    #[serde(default)]
    pub writer: String,
    /// No process of the app lived during its scan.
    #[serde(default)]
    pub quiet: bool,
    /// Some scanned contents are not in it.
    #[serde(default)]
    pub partial: bool,
}

/// The content of head.json.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The number of the format.
    pub format: u64,
    /// Which authority the workspace has.
    pub state: HeadState,
    /// The first snapshot since the workspace was created.
    pub birth: SnapshotId,
    /// The number of the last commit; grows by one for each.
    pub seq: u64,
    /// The present snapshot; none in a tombstone.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// The snapshot whose mirror is the newest known.
    #[serde(default)]
    pub mirror: Option<SnapshotId>,
    /// Raised by prune and delete, so that uploads from before do not count.
    pub gc: Gc,
    /// Tells this write from every other.
    pub write_id: WriteId,
    /// Who wrote it.
    #[serde(default)]
    pub writer: String,
    /// When, by the server's clock.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: Timestamp,
    /// The last snapshots, oldest first, the present one last: the proof that a snapshot is an ancestor.
    #[serde(default)]
    pub lineage: Vec<SnapshotId>,
    /// The snapshots that are kept for users.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
}

/// What every write of a head brings along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// New for each write.
    pub write_id: WriteId,
    /// Who writes (host and process, for people).
    pub writer: String,
    /// The server's time.
    pub time: Timestamp,
}

impl Head {
    /// The first head of a workspace that never had one. `id` is `SnapshotId::new(1, …)`.
    #[must_use]
    pub fn first_plain(id: SnapshotId, gc_random: [u8; 6], written: Written) -> Self {
        Self {
            format: HEAD_FORMAT,
            state: HeadState::Plain,
            birth: id,
            seq: id.seq(),
            snapshot: Some(id),
            mirror: None,
            gc: Gc::first(gc_random),
            write_id: written.write_id,
            writer: short(written.writer),
            time: written.time,
            lineage: vec![id],
            history: Vec::new(),
        }
    }

    /// The first head of a new workspace where this tombstone lies: a new birth, an empty past, `gc` one higher.
    /// Numbers go on, so that snapshots of both lives sort by age.
    #[must_use]
    pub fn reborn_plain(&self, id: SnapshotId, gc_random: [u8; 6], written: Written) -> Self {
        Self { gc: self.gc.next(gc_random), ..Self::first_plain(id, gc_random, written) }
    }

    /// The head of the next commit: `id` is `SnapshotId::new(head.next_seq(), …)`. State, birth, mirror, `gc` and
    /// history stay.
    #[must_use]
    pub fn next(&self, id: SnapshotId, written: Written) -> Self {
        let lineage = lineage_with(&self.lineage, id, LINEAGE_LIMIT);
        Self {
            format: HEAD_FORMAT,
            seq: id.seq(),
            snapshot: Some(id),
            write_id: written.write_id,
            writer: short(written.writer),
            time: written.time,
            lineage,
            ..self.clone()
        }
    }

    /// The tombstone of this workspace: deleted, `gc` one higher, nothing named any more. The lineage stays, so that
    /// a commit whose reply was lost still finds itself.
    #[must_use]
    pub fn tombstone(&self, gc_random: [u8; 6], written: Written) -> Self {
        Self {
            format: HEAD_FORMAT,
            state: HeadState::Deleted,
            snapshot: None,
            mirror: None,
            gc: self.gc.next(gc_random),
            write_id: written.write_id,
            writer: short(written.writer),
            time: written.time,
            history: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether `id` is kept, and what is known of it.
    #[must_use]
    pub fn entry(&self, id: &SnapshotId) -> Option<&HistoryEntry> {
        self.history.iter().find(|entry| entry.snapshot == *id)
    }

    /// The number of the next commit.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.seq.saturating_add(1)
    }

    /// Whether `id` is an ancestor, as far as the lineage reaches.
    #[must_use]
    pub fn has_in_lineage(&self, id: &SnapshotId) -> bool {
        self.lineage.contains(id)
    }

    /// Whether `id` is an ancestor or a kept snapshot: a merge base that counts.
    #[must_use]
    pub fn knows(&self, id: &SnapshotId) -> bool {
        self.has_in_lineage(id) || self.history.iter().any(|entry| entry.snapshot == *id)
    }

    /// The bytes of head.json.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serializing plain data into memory has no way to fail; an empty body would be refused by every reader.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads head.json.
    ///
    /// # Errors
    /// [`FormatError::Newer`] for a later format, else what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > BYTES_LIMIT {
            return Err(FormatError::TooLarge { what: WHAT, limit: BYTES_LIMIT as u64, unit: "bytes" });
        }
        // The number first: a later format may have any other shape.
        let Number { format } = serde_json::from_slice(bytes).map_err(|error| malformed_json(&error))?;
        if format > HEAD_FORMAT {
            return Err(FormatError::Newer { what: WHAT, format, known: HEAD_FORMAT });
        }
        let head: Self = serde_json::from_slice(bytes).map_err(|error| malformed_json(&error))?;
        head.agrees()?;
        Ok(head)
    }

    /// Whether every reader will take this head; to be asked before it is written, for a head nobody can read would
    /// close the workspace.
    ///
    /// # Errors
    /// What a reader would say.
    pub fn check(&self) -> Result<(), FormatError> {
        self.agrees()?;
        if self.encode().len() > BYTES_LIMIT {
            return Err(FormatError::TooLarge { what: WHAT, limit: BYTES_LIMIT as u64, unit: "bytes" });
        }
        Ok(())
    }

    /// Whether it is within its limits and does not contradict itself.
    fn agrees(&self) -> Result<(), FormatError> {
        let wrong = |why: &str| Err(FormatError::Malformed { what: WHAT, line: 1, why: why.to_owned() });
        if self.format == 0 {
            return wrong("format 0 was never used");
        }
        if self.seq >= MAX_SEQ {
            return wrong("seq leaves no room for a next one");
        }
        if self.lineage.len() > LINEAGE_LIMIT {
            return Err(FormatError::TooLarge {
                what: "the lineage of head.json",
                limit: LINEAGE_LIMIT as u64,
                unit: "ids",
            });
        }
        if self.history.len() > HISTORY_LIMIT {
            return Err(FormatError::TooLarge {
                what: "the history of head.json",
                limit: HISTORY_LIMIT as u64,
                unit: "entries",
            });
        }
        let texts = self.history.iter().flat_map(|entry| entry.tags.iter().chain([&entry.writer]));
        if texts.chain([&self.writer]).any(|text| text.len() > TEXT_LIMIT)
            || self.history.iter().any(|entry| entry.tags.len() > TAGS_LIMIT)
        {
            return Err(FormatError::TooLarge { what: "a text in head.json", limit: TEXT_LIMIT as u64, unit: "bytes" });
        }
        if !self.lineage.is_sorted_by(|a, b| a.seq() < b.seq()) {
            return wrong("the numbers in the lineage do not grow");
        }
        if !self.history.is_sorted_by(|a, b| a.snapshot.seq() < b.snapshot.seq()) {
            return wrong("the numbers in the history do not grow");
        }
        let named = self
            .history
            .iter()
            .map(|entry| &entry.snapshot)
            .chain(&self.mirror)
            .chain(self.lineage.last())
            .chain([&self.birth]);
        if named.into_iter().any(|id| id.seq() > self.seq) {
            return wrong("it names what is younger than itself");
        }
        match (self.state, self.snapshot) {
            (HeadState::Deleted, Some(_)) => wrong("a deleted workspace names a snapshot"),
            (HeadState::Deleted, None) => Ok(()),
            (_, None) => wrong("it names no snapshot"),
            (_, Some(id)) if id.seq() != self.seq || self.lineage.last() != Some(&id) => {
                wrong("its snapshot is not the last of its lineage")
            }
            (_, Some(_)) => Ok(()),
        }
    }
}

/// The lineage with one more, cut to its last `limit`.
#[must_use]
pub fn lineage_with<I: Clone>(lineage: &[I], id: I, limit: usize) -> Vec<I> {
    let mut lineage = lineage.to_vec();
    lineage.push(id);
    lineage.drain(..lineage.len().saturating_sub(limit.max(1)));
    lineage
}

/// A writer's name, cut to what readers take.
pub(super) fn short(mut writer: String) -> String {
    writer.truncate(writer.floor_char_boundary(TEXT_LIMIT));
    writer
}

/// The one key every format has.
#[derive(Deserialize)]
struct Number {
    format: u64,
}

fn malformed_json(error: &serde_json::Error) -> FormatError {
    FormatError::Malformed { what: WHAT, line: error.line() as u64, why: error.to_string() }
}

pub(super) fn write_time<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

pub(super) fn read_time<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    // Milliseconds are what is written.
    let time: Option<Timestamp> = text.parse().ok();
    time.and_then(|time| Timestamp::from_millisecond(time.as_millisecond()).ok())
        .ok_or_else(|| D::Error::custom("a time is not RFC 3339"))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
