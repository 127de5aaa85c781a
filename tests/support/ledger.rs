//! Who wrote what, what was promised, and who took it back: so that at the end nothing is missing that nobody threw away.
//!
//! Every content is written once, and tells by its first line which one it is and how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::checker::{Checked, Things, files};

/// What all writers of a workspace know together.
#[derive(Default)]
pub struct Ledger {
    /// Contents that a durable receipt spoke of, and whose.
    promised: BTreeMap<String, String>,
    /// Contents that somebody who had them edited or deleted.
    taken_back: BTreeSet<String>,
}

/// The bytes of the content `name`.
pub fn content(name: &str, size: usize) -> Vec<u8> {
    let mut bytes = format!("{name} {size}\n").into_bytes();
    let mut state = blake3::hash(name.as_bytes()).as_bytes()[..8].try_into().map_or(1, u64::from_le_bytes) | 1;
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Which content these bytes are; they must be all of it.
#[track_caller]
pub fn name_of(path: &Path, bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    let line = std::str::from_utf8(line).unwrap_or_else(|_| panic!("{} is torn", path.display()));
    let (name, size) = line.split_once(' ').unwrap_or_else(|| panic!("{} is torn: {line:?}", path.display()));
    assert!(bytes == content(name, size.parse().unwrap()), "{} is not whole", path.display());
    name.to_owned()
}

/// The contents of a directory (or file), by path.
pub fn contents(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            open.extend(entries.filter(|path| path.file_name().is_none_or(|name| name != ".stopover")));
        } else if meta.is_file() {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, name_of(&path, &fs::read(&path).unwrap()));
        }
    }
    found
}

impl Ledger {
    /// A durable receipt was given for a directory that held these.
    pub fn promise(&mut self, held: &BTreeMap<String, String>, by: &str) {
        for (path, name) in held {
            self.promised.entry(name.clone()).or_insert_with(|| format!("{path} of {by}"));
        }
    }

    /// Whatever lies at `path` is about to be replaced or deleted by somebody who has it.
    pub fn take_back(&mut self, path: &Path) {
        self.taken_back.extend(contents(path).into_values());
    }

    pub fn promises(&self) -> usize {
        self.promised.len()
    }

    /// What was promised, is not in `found`, and nobody took back.
    pub fn missing<'a>(&self, found: impl Iterator<Item = &'a String>) -> Vec<String> {
        let found: BTreeSet<&String> = found.collect();
        let is_missing = |name: &&String| !found.contains(name) && !self.taken_back.contains(*name);
        self.promised.keys().filter(is_missing).map(|name| format!("{name} ({})", self.promised[name])).collect()
    }
}

/// What must still be there in a bucket (I2 as to contents, I3, I4), told step by step by the test: who committed or left
/// what, and who that had it edited or removed it. It knows contents by their bytes: the more of them are unlike any
/// other, the more it sees.
#[derive(Clone, Default)]
pub struct Kept {
    /// Contents that were committed or left in the live tree, and whose they are.
    promised: BTreeMap<[u8; 32], String>,
    /// Contents that somebody who had them edited or removed.
    taken_back: BTreeSet<[u8; 32]>,
    /// Paths that somebody who had them removed.
    removed: BTreeSet<String>,
    /// The tree at the last look.
    tree: Option<BTreeSet<String>>,
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

impl Kept {
    /// A durable receipt was given for a directory that held these.
    pub fn promise(&mut self, held: &Things, by: &str) {
        for (path, bytes) in files(held) {
            self.left(&path, &bytes, by);
        }
    }

    /// Somebody committed this, or left it in the live tree.
    pub fn left(&mut self, path: &str, bytes: &[u8], by: &str) {
        self.promised.entry(hash(bytes)).or_insert_with(|| format!("{path} of {by}"));
    }

    /// Somebody who had `before` made `after` of it. What a path has become that another had is moved, not gone.
    pub fn edited(&mut self, before: &Things, after: &Things) {
        let (had, has) = (files(before), files(after));
        let left: BTreeSet<_> = has.values().map(|bytes| hash(bytes)).collect();
        let gone = had.values().map(|bytes| hash(bytes)).filter(|hash| !left.contains(hash));
        self.taken_back.extend(gone);
        self.removed.extend(before.keys().filter(|path| !after.contains_key(*path)).cloned());
    }

    /// Somebody who saw this there replaced or deleted it.
    pub fn threw_away(&mut self, path: &str, bytes: &[u8]) {
        self.taken_back.insert(hash(bytes));
        self.removed.insert(path.to_owned());
    }

    /// Somebody who has this path removes it from the tree, not from history.
    pub fn removes(&mut self, path: &str) {
        self.removed.insert(path.to_owned());
    }

    /// Nothing that was promised is missing, and no path is gone from the tree that nobody removed.
    pub fn holds(&mut self, checked: &Checked) -> Result<(), String> {
        let live = checked
            .live
            .values()
            .chain(files(&checked.tree).values())
            .map(|bytes| hash(bytes))
            .collect::<BTreeSet<_>>();
        let is_there = |hash: &[u8; 32]| live.contains(hash) || checked.kept.contains(hash);
        let lost = self.promised.iter().filter(|(hash, _)| !is_there(hash) && !self.taken_back.contains(*hash));
        let lost: Vec<&str> = lost.map(|(_, whose)| whose.as_str()).collect();
        if !lost.is_empty() {
            return Err(format!("I4: nobody who had it threw it away, and it is nowhere: {}", lost.join(", ")));
        }
        if checked.state.as_deref() == Some("live") {
            let now: BTreeSet<String> = checked.tree.keys().cloned().collect();
            let before = self.tree.replace(now.clone()).unwrap_or_default();
            // Where a file takes the place of a directory, and the reverse, it moves aside.
            let aside = |path: &str| now.iter().any(|copy| copy.starts_with(&format!("{path}.theirs-")));
            let gone = before.difference(&now).filter(|path| !self.removed.contains(*path) && !aside(path));
            let gone: Vec<&str> = gone.map(String::as_str).collect();
            if !gone.is_empty() {
                return Err(format!("I3: nobody who had it removed it, and it left the tree: {}", gone.join(", ")));
            }
        }
        Ok(())
    }
}
