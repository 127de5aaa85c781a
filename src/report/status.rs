//! `status`: what a commit would send, and what it would not.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Conflict, bytes, counted};

/// What happened to a path since the base.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content is another.
    Modified,
    /// It is gone.
    Deleted,
    /// Its mode or owner is another, its content is not.
    Metadata,
}

impl ChangeKind {
    pub(super) const fn sign(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Modified => 'M',
            Self::Deleted => 'D',
            Self::Metadata => 'm',
        }
    }
}

/// One path that a commit would send.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The path.
    pub path: String,
    /// What happened to it.
    pub change: ChangeKind,
    /// Its size now; of a deleted one before.
    pub size: u64,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}  {}", self.change.sign(), self.path, bytes(self.size))
    }
}

/// What one ignore rule keeps out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ignored {
    /// The pattern.
    pub rule: String,
    /// Its file and line, or `built-in`.
    pub source: String,
    /// Files kept out, as far as they were counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What `status --json` prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The workspace's URL.
    pub workspace: Option<String>,
    /// The directory.
    pub directory: String,
    /// Whether the workspace exists in the bucket; null where the bucket was not asked.
    pub exists: Option<bool>,
    /// Files that a commit would store.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Whether a restore into this directory has succeeded.
    pub ready: bool,
    /// The base snapshot.
    pub snapshot: Option<String>,
    /// When that one was committed.
    pub last_commit: Option<String>,
    /// What a commit would send.
    pub changes: Vec<Change>,
    /// What is not stored, by rule.
    pub ignored: Vec<Ignored>,
    /// Copies that a merge left.
    pub conflicts: Vec<Conflict>,
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workspace = self.workspace.as_deref().unwrap_or("none");
        let exists = if self.exists == Some(false) { " (does not exist yet)" } else { "" };
        writeln!(out, "workspace  {workspace}{exists}")?;
        let ready = if self.ready { "" } else { " (not restored: nothing of it is committed)" };
        writeln!(out, "directory  {}{ready}", self.directory)?;
        let (files, dirs) = (counted(self.files, "file", "files"), counted(self.dirs, "directory", "directories"));
        writeln!(out, "stored     {files}, {dirs}, {}", bytes(self.bytes))?;
        let snapshot = self.snapshot.as_deref().unwrap_or(if self.ready { "the live tree" } else { "none" });
        match &self.last_commit {
            Some(time) => writeln!(out, "base       {snapshot}, committed {time}")?,
            None => writeln!(out, "base       {snapshot}")?,
        }
        if self.changes.is_empty() {
            writeln!(out, "\nNothing to commit.")?;
        } else {
            writeln!(out, "\nA commit would send:")?;
            for change in &self.changes {
                writeln!(out, "  {change}")?;
            }
        }
        if !self.ignored.is_empty() {
            writeln!(out, "\nNot stored:")?;
            for rule in &self.ignored {
                let files = counted(rule.files, "file", "files");
                writeln!(out, "  {} ({}): {files}, {}", rule.rule, rule.source, bytes(rule.bytes))?;
            }
        }
        if !self.conflicts.is_empty() {
            writeln!(out, "\nConflicts:")?;
            for conflict in &self.conflicts {
                writeln!(out, "  {}: the other content is in {}", conflict.path, conflict.copy)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            workspace: Some("s3://b/u/w".to_owned()),
            directory: "/workspace".to_owned(),
            exists: Some(true),
            files: 1204,
            dirs: 1,
            bytes: 98_000_000,
            ready: true,
            snapshot: None,
            last_commit: None,
            changes: vec![
                Change { path: "a".to_owned(), change: ChangeKind::Added, size: 5 },
                Change { path: "b".to_owned(), change: ChangeKind::Metadata, size: 1500 },
            ],
            ignored: vec![Ignored {
                rule: "node_modules/".to_owned(),
                source: "built-in".to_owned(),
                files: 3,
                bytes: 4,
            }],
            conflicts: Vec::new(),
        }
    }

    #[test]
    fn its_json_has_every_key_of_the_contract() {
        assert_eq!(
            serde_json::to_string(&status()).unwrap(),
            "{\"workspace\":\"s3://b/u/w\",\"directory\":\"/workspace\",\"exists\":true,\"files\":1204,\"dirs\":1,\
             \"bytes\":98000000,\"ready\":true,\"snapshot\":null,\"last_commit\":null,\
             \"changes\":[{\"path\":\"a\",\"change\":\"added\",\"size\":5},\
             {\"path\":\"b\",\"change\":\"metadata\",\"size\":1500}],\
             \"ignored\":[{\"rule\":\"node_modules/\",\"source\":\"built-in\",\"files\":3,\"bytes\":4}],\
             \"conflicts\":[]}"
        );
    }

    #[test]
    fn people_read_it_in_four_lines_and_lists() {
        assert_eq!(
            status().to_string(),
            "workspace  s3://b/u/w\ndirectory  /workspace\nstored     1,204 files, 1 directory, 98 MB\nbase       the live tree\n\n\
             A commit would send:\n  A a  5 B\n  m b  1.5 kB\n\nNot stored:\n  node_modules/ (built-in): 3 files, 4 B\n"
        );
    }
}
