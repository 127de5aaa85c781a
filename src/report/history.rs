//! What the commands of a workspace's history print: `snapshots`, `diff`, `tag`, `prune`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChangeKind, LONGEST_LIST, Refused, bytes, counted, grouped, seconds};

/// One kept snapshot: a line of `snapshots --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotItem {
    /// Its id.
    pub id: String,
    /// When it was committed.
    pub time: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that differ from the snapshot before.
    pub changed: u64,
    /// Who committed it.
    pub writer: String,
    /// Names users gave it.
    pub tags: Vec<String>,
    /// No process of the app lived during its scan.
    pub quiet: bool,
    /// Some scanned contents are not in it.
    pub partial: bool,
}

/// The items as a table for people.
#[must_use]
pub fn snapshot_table(items: &[SnapshotItem]) -> String {
    const COLUMNS: usize = 7;
    let header = ["SNAPSHOT", "TIME", "FILES", "SIZE", "CHANGED", "WRITER", "NOTES"].map(str::to_owned);
    let rows = items.iter().map(|item| {
        let words = [(item.quiet, "quiet"), (item.partial, "partial")].into_iter().filter(|(is, _)| *is);
        let notes: Vec<&str> = item.tags.iter().map(String::as_str).chain(words.map(|(_, word)| word)).collect();
        [
            item.id.clone(),
            item.time.clone(),
            grouped(item.files),
            bytes(item.bytes),
            grouped(item.changed),
            item.writer.clone(),
            notes.join(", "),
        ]
    });
    let cells: Vec<[String; COLUMNS]> = std::iter::once(header).chain(rows).collect();
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut table = String::new();
    for [id, time, files, size, changed, writer, notes] in &cells {
        let line = format!(
            "{id:<0$}  {time:<1$}  {files:>2$}  {size:>3$}  {changed:>4$}  {writer:<5$}  {notes}",
            widths[0], widths[1], widths[2], widths[3], widths[4], widths[5]
        );
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// A path in which two snapshots differ: a line of `diff --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathChange {
    /// The path.
    pub path: String,
    /// How it differs.
    pub change: ChangeKind,
}

impl fmt::Display for PathChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\t{}", self.change.sign(), self.path)
    }
}

/// What became of a tag: `tag --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tagged {
    /// The tag.
    pub tag: String,
    /// The snapshot that has it now; null where it was removed.
    pub snapshot: Option<String>,
    /// The snapshot that had it before; null where none had.
    pub before: Option<String>,
}

impl fmt::Display for Tagged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = &self.tag;
        match (&self.snapshot, &self.before) {
            (Some(now), Some(before)) if now == before => write!(out, "{tag} is {now} already"),
            (Some(now), Some(before)) => write!(out, "{tag} is {now} (it was {before})"),
            (Some(now), None) => write!(out, "{tag} is {now}"),
            (None, Some(before)) => write!(out, "{tag} is no tag any more (it was {before})"),
            (None, None) => write!(out, "{tag} is no tag"),
        }
    }
}

/// What a prune did, or would do: `prune --json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// The workspace's URL.
    pub workspace: String,
    /// Snapshots that history keeps.
    pub kept: u64,
    /// Snapshots that history does not keep any more, by `STOPOVER_KEEP_*`.
    pub forgotten: u64,
    /// Objects that nothing could reach, deleted.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that nothing can reach, left because they are younger than a day.
    pub young: u64,
    /// Uploads in parts that were begun more than a day ago and never ended, given up.
    #[serde(default)]
    pub uploads: u64,
    /// Snapshots that no history holds, left because they may be another's commit that was overwritten.
    pub strays: Vec<String>,
    /// Whether it was only looked.
    pub dry_run: bool,
}

impl fmt::Display for Pruned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (swept, forgot) = if self.dry_run { ("would sweep", "forget") } else { ("swept", "forgot") };
        write!(out, "{swept} {} ({})", counted(self.objects, "object", "objects"), bytes(self.bytes))?;
        if self.forgotten > 0 {
            write!(out, ", {forgot} {}", counted(self.forgotten, "snapshot", "snapshots"))?;
        }
        write!(out, "; {} kept", counted(self.kept, "snapshot is", "snapshots are"))?;
        if self.young > 0 {
            let young = counted(self.young, "object is", "objects are");
            write!(out, ", {young} younger than a day and left for the next prune")?;
        }
        if self.uploads > 0 {
            let gave_up = if self.dry_run { "would give up" } else { "gave up" };
            let uploads = counted(self.uploads, "upload in parts that was", "uploads in parts that were");
            write!(out, "; {gave_up} {uploads} never ended")?;
        }
        Ok(())
    }
}

/// What was brought back of a snapshot: `restore --json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rewound {
    /// The snapshot.
    pub snapshot: String,
    /// The snapshot of what was there before; null where it went to a place of its own.
    pub before: Option<String>,
    /// The snapshot of what is there now; null where it went to a place of its own.
    pub after: Option<String>,
    /// Files and links that were written, or whose mode, owner or time was set.
    pub files: u64,
    /// Files and links that were removed.
    pub removed: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Requests, retries included, without those of the two commits.
    pub requests: u64,
    /// Wall time, without the two commits.
    pub seconds: f64,
    /// Paths that are not as the snapshot has them.
    pub refused: Vec<Refused>,
    /// Entries cut from the list above.
    #[serde(default)]
    pub omitted: u64,
    /// Whether it was only looked.
    pub dry_run: bool,
    /// For people: the line that can be checked.
    #[serde(skip)]
    pub proof: Option<String>,
}

impl Rewound {
    /// With a list that a script can bear.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.omitted += self.refused.len().saturating_sub(LONGEST_LIST) as u64;
        self.refused.truncate(LONGEST_LIST);
        self
    }
}

impl fmt::Display for Rewound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(proof) = &self.proof {
            return out.write_str(proof);
        }
        let (done, remove) = if self.dry_run { ("would bring back", "remove") } else { ("brought back", "removed") };
        write!(out, "{done} {} of snapshot {}", counted(self.files, "file", "files"), self.snapshot)?;
        write!(out, " ({}), {remove} {}", bytes(self.bytes), grouped(self.removed))?;
        if !self.dry_run {
            write!(out, " in {}", seconds(self.seconds))?;
        }
        match &self.before {
            Some(before) => write!(out, "; what was here before is snapshot {before}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_a_table_or_a_line_of_json_each() {
        let item = SnapshotItem {
            id: "0000000041-ab00010203ff".to_owned(),
            time: "2026-01-02T03:04:05.000Z".to_owned(),
            files: 12_345,
            bytes: 98_000_000,
            changed: 7,
            writer: "web:1".to_owned(),
            tags: vec!["good".to_owned()],
            quiet: true,
            partial: false,
        };
        assert_eq!(
            serde_json::to_string(&item).unwrap(),
            "{\"id\":\"0000000041-ab00010203ff\",\"time\":\"2026-01-02T03:04:05.000Z\",\"files\":12345,\
             \"bytes\":98000000,\"changed\":7,\"writer\":\"web:1\",\"tags\":[\"good\"],\"quiet\":true,\"partial\":false}"
        );
        assert_eq!(
            snapshot_table(&[item]),
            "SNAPSHOT                 TIME                       FILES   SIZE  CHANGED  WRITER  NOTES\n\
             0000000041-ab00010203ff  2026-01-02T03:04:05.000Z  12,345  98 MB        7  web:1   good, quiet\n"
        );
    }

    #[test]
    fn a_difference_reads_like_gits() {
        let change = PathChange { path: "src/a.rs".to_owned(), change: ChangeKind::Modified };
        assert_eq!(change.to_string(), "M\tsrc/a.rs");
        assert_eq!(serde_json::to_string(&change).unwrap(), "{\"path\":\"src/a.rs\",\"change\":\"modified\"}");
    }

    #[test]
    fn a_prune_says_what_went_and_why_something_stayed() {
        let pruned = Pruned { kept: 288, forgotten: 1, objects: 12, bytes: 34_000_000, young: 2, ..Pruned::default() };
        assert_eq!(
            pruned.to_string(),
            "swept 12 objects (34 MB), forgot 1 snapshot; 288 snapshots are kept, 2 objects are younger than a day and \
             left for the next prune"
        );
        let nothing = Pruned { kept: 1, dry_run: true, ..Pruned::default() };
        assert_eq!(nothing.to_string(), "would sweep 0 objects (0 B); 1 snapshot is kept");
    }

    #[test]
    fn a_tag_says_where_it_was() {
        let tagged = |snapshot: Option<&str>, before: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            Tagged { tag: "good".to_owned(), snapshot: own(snapshot), before: own(before) }.to_string()
        };
        assert_eq!(tagged(Some("2"), None), "good is 2");
        assert_eq!(tagged(Some("2"), Some("1")), "good is 2 (it was 1)");
        assert_eq!(tagged(Some("2"), Some("2")), "good is 2 already");
        assert_eq!(tagged(None, Some("2")), "good is no tag any more (it was 2)");
    }
}
