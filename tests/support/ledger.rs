//! Who wrote what, what was promised, and who took it back: so that at the end nothing is missing that nobody threw away.
//!
//! Every content is written once, and tells by its first line which one it is and how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

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
