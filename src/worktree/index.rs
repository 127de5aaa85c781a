//! What earlier scans and restores know of files: stat and hash, so that what did not change is not read again.
//!
//! A flat binary file, grouped by directory: a scan looks a directory up once and then its names in order. It is a
//! cache. Whatever is wrong with it (missing, cut, foreign version, flipped bit), it counts as empty and everything is
//! read again; what it says is believed only as far as [`IndexRow::proves`] goes.
//!
//! ```text
//! magic 8, version 4, groups 8, then per group: directory 2+n, rules 16, rows 4, and per row: name 2+n, flags 1,
//! dev 8, ino 8, size 8, mtime 8, ctime 8, hash 32; at the end BLAKE3 of all before it, 32. Little-endian.
//! ```

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use nix::{
    fcntl::{OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{Stat, WorktreeError, directory::open_own};
use crate::rows::{Hash, Kind, MAX_PATH_BYTES, MAX_SEGMENT_BYTES, RelPath};

const MAGIC: &[u8; 8] = b"stopovix";
const VERSION: u32 = 1;
/// No index of a workspace we can hold in memory is larger.
const MAX_FILE_BYTES: u64 = 4 << 30;

const RACY: u8 = 1;
const WARM: u8 = 2;
const RESTORED: u8 = 4;

/// What is known of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexRow {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime_ns: i64,
    /// Last change of anything.
    pub ctime_ns: i64,
    /// Hash of the content.
    pub hash: Hash,
    /// Its ctime is too young to tell a later change from an earlier one: to be read again.
    pub racy: bool,
    /// Somebody had it mapped while it was hashed: to be read again.
    pub warm: bool,
    /// A restore wrote it and knew the content.
    pub restored: bool,
}

impl IndexRow {
    /// A row for a file whose content is known to hash to `hash` while its stat is `stat`.
    #[must_use]
    pub const fn new(stat: &Stat, hash: Hash) -> Self {
        Self {
            dev: stat.dev,
            ino: stat.ino,
            size: stat.size,
            mtime_ns: stat.mtime_ns,
            ctime_ns: stat.ctime_ns,
            hash,
            racy: false,
            warm: false,
            restored: false,
        }
    }

    /// Whether `stat` is the one of this row.
    #[must_use]
    pub fn is_of(&self, stat: &Stat) -> bool {
        stat.kind == Some(Kind::File)
            && (self.dev, self.ino, self.size) == (stat.dev, stat.ino, stat.size)
            && (self.mtime_ns, self.ctime_ns) == (stat.mtime_ns, stat.ctime_ns)
    }

    /// Whether `stat` proves that the content is still the hashed one.
    #[must_use]
    pub fn proves(&self, stat: &Stat) -> bool {
        !self.racy && !self.warm && self.is_of(stat)
    }
}

/// The rows of one directory.
#[derive(Debug, Default, Clone)]
pub(super) struct Group {
    /// Digest of all rules that held for this directory when its rows were written: where it still is the same, a
    /// name that has a row is stored. `None`: unknown.
    pub(super) rules: Option<[u8; 16]>,
    /// Sorted by name.
    rows: Vec<(Box<[u8]>, IndexRow)>,
}

impl Group {
    pub(super) const fn new(rules: Option<[u8; 16]>) -> Self {
        Self { rules, rows: Vec::new() }
    }

    pub(super) fn row(&self, name: &[u8]) -> Option<&IndexRow> {
        let at = self.rows.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.rows.get(at).map(|(_, row)| row)
    }

    pub(super) fn insert(&mut self, name: &[u8], row: IndexRow) {
        // Scans and restores come in order: mostly this is a push.
        if self.rows.last().is_none_or(|(last, _)| **last < *name) {
            self.rows.push((name.into(), row));
            return;
        }
        match self.rows.binary_search_by(|(known, _)| (**known).cmp(name)) {
            Ok(at) => self.rows[at].1 = row,
            Err(at) => self.rows.insert(at, (name.into(), row)),
        }
    }
}

/// The table of them, kept in the state directory. A cache: where it is missing or foreign, everything is read.
#[derive(Debug, Default, Clone)]
pub struct Index {
    /// By directory; the top is the empty name.
    groups: BTreeMap<Box<[u8]>, Group>,
}

impl Index {
    /// Reads it; empty where it is missing, damaged, or of another version.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let Some((directory, name)) = path.parent().zip(path.file_name()) else { return Self::default() };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = open_own(directory).and_then(|directory| openat(directory, name, flags, Mode::empty()));
        let Ok(file) = opened.map(File::from) else { return Self::default() };
        if !file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_FILE_BYTES) {
            return Self::default();
        }
        let mut bytes = Vec::new();
        match file.take(MAX_FILE_BYTES).read_to_end(&mut bytes) {
            Ok(_) => Self::decode(&bytes).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Writes it atomically, mode 0600.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WorktreeError> {
        let failed = |error: io::Error| WorktreeError::io("write", &path.display(), error);
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        };
        let directory = open_own(directory).map_err(|error| failed(error.into()))?;
        let mut temporary = name.to_owned();
        temporary.push(".new");
        let remove = || unlinkat(&directory, &temporary[..], UnlinkatFlags::NoRemoveDir);
        // A link or somebody's file at that name is replaced, not written through.
        let _ = remove();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let write = || -> io::Result<()> {
            let file = openat(&directory, &temporary[..], flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
            File::from(file).write_all(&self.encode())?;
            Ok(renameat(&directory, &temporary[..], &directory, name)?)
        };
        write().map_err(|error| {
            // What is left of it would only take space.
            let _ = remove();
            failed(error)
        })
    }

    /// The row of `path`.
    #[must_use]
    pub fn row(&self, path: &RelPath) -> Option<&IndexRow> {
        self.groups.get(directory_of(path))?.row(path.name())
    }

    /// Adds or replaces a row, as for a file that a restore wrote.
    pub fn insert(&mut self, path: &RelPath, row: IndexRow) {
        let directory = directory_of(path);
        let group = match self.groups.get_mut(directory) {
            Some(group) => group,
            None => self.groups.entry(directory.into()).or_default(),
        };
        // Nobody asked the rules about this name.
        group.rules = None;
        group.insert(path.name(), row);
    }

    /// Forgets a row.
    pub fn remove(&mut self, path: &RelPath) {
        let directory = directory_of(path);
        if let Some(group) = self.groups.get_mut(directory) {
            group.rows.retain(|(name, _)| **name != *path.name());
            if group.rows.is_empty() {
                self.groups.remove(directory);
            }
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.values().map(|group| group.rows.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Every row with its path, by directory.
    pub fn iter(&self) -> impl Iterator<Item = (RelPath, &IndexRow)> {
        self.groups.iter().flat_map(|(directory, group)| {
            group.rows.iter().filter_map(move |(name, row)| {
                let mut path = directory.to_vec();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                Some((RelPath::new(path).ok()?, row))
            })
        })
    }

    /// The rows of a directory; the top is the empty name.
    pub(super) fn group(&self, directory: &[u8]) -> Option<&Group> {
        self.groups.get(directory)
    }

    /// Takes the directories of another index, which this one does not have.
    pub(super) fn append(&mut self, mut other: Self) {
        self.groups.append(&mut other.groups);
    }

    /// Takes all rows of a directory at once.
    pub(super) fn put_group(&mut self, directory: &[u8], group: Group) {
        if !group.rows.is_empty() {
            self.groups.insert(directory.into(), group);
        }
    }

    /// Adds a row whose directory has rules of this digest.
    pub(super) fn insert_ruled(&mut self, path: &RelPath, row: IndexRow, rules: Option<[u8; 16]>) {
        self.insert(path, row);
        if let Some(group) = self.groups.get_mut(directory_of(path)) {
            group.rules = rules;
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.len() * 104);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.groups.len() as u64).to_le_bytes());
        for (directory, group) in &self.groups {
            put_bytes(&mut out, directory);
            out.extend_from_slice(&group.rules.unwrap_or_default());
            out.extend_from_slice(&(group.rows.len() as u32).to_le_bytes());
            for (name, row) in &group.rows {
                put_bytes(&mut out, name);
                let flag = |set: bool, bit: u8| if set { bit } else { 0 };
                out.push(flag(row.racy, RACY) | flag(row.warm, WARM) | flag(row.restored, RESTORED));
                for number in [row.dev, row.ino, row.size, row.mtime_ns.cast_unsigned(), row.ctime_ns.cast_unsigned()] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(row.hash.as_bytes());
            }
        }
        let sum = Hash::of(&out);
        out.extend_from_slice(sum.as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Hash::of(body).as_bytes() != sum {
            return None;
        }
        let mut from = Reader(body);
        if from.array::<8>()? != *MAGIC || u32::from_le_bytes(from.array()?) != VERSION {
            return None;
        }
        let mut groups = BTreeMap::new();
        for _ in 0..from.number()? {
            let directory: Box<[u8]> = from.bytes(MAX_PATH_BYTES)?.into();
            let rules = Some(from.array::<16>()?).filter(|rules| *rules != [0; 16]);
            let count = u32::from_le_bytes(from.array()?);
            let mut rows: Vec<(Box<[u8]>, IndexRow)> = Vec::new();
            for _ in 0..count {
                let name: Box<[u8]> = from.bytes(MAX_SEGMENT_BYTES)?.into();
                if rows.last().is_some_and(|(last, _)| *last >= name) {
                    return None;
                }
                let [flags] = from.array::<1>()?;
                let row = IndexRow {
                    dev: from.number()?,
                    ino: from.number()?,
                    size: from.number()?,
                    mtime_ns: from.number()?.cast_signed(),
                    ctime_ns: from.number()?.cast_signed(),
                    hash: Hash::from_bytes(from.array()?),
                    racy: flags & RACY != 0,
                    warm: flags & WARM != 0,
                    restored: flags & RESTORED != 0,
                };
                rows.push((name, row));
            }
            groups.insert(directory, Group { rules, rows });
        }
        from.0.is_empty().then_some(Self { groups })
    }
}

fn directory_of(path: &RelPath) -> &[u8] {
    let bytes = path.as_bytes();
    bytes.iter().rposition(|&byte| byte == b'/').map_or(b"", |cut| &bytes[..cut])
}

/// Names and paths are at most 4,095 bytes: two bytes of length hold them.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes parts off the front; `None` where there is less.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self, limit: usize) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length > limit { None } else { self.take(length) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn row(number: u64) -> IndexRow {
        IndexRow {
            dev: number,
            ino: number + 1,
            size: number + 2,
            mtime_ns: -5,
            ctime_ns: 7,
            hash: Hash::of(&number.to_le_bytes()),
            racy: number.is_multiple_of(2),
            warm: number.is_multiple_of(3),
            restored: number.is_multiple_of(5),
        }
    }

    fn some_index() -> Index {
        let mut index = Index::default();
        for (number, name) in ["b/z", "a", "b/a", "b/c/d", "b-", "b/a"].into_iter().enumerate() {
            index.insert(&RelPath::new(name).unwrap(), row(number as u64));
        }
        index
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("index");
        let index = some_index();
        index.save(&file).unwrap();
        index.save(&file).unwrap();
        let loaded = Index::load(&file);
        assert_eq!(loaded.iter().collect::<Vec<_>>(), index.iter().collect::<Vec<_>>());
        assert_eq!(loaded.len(), 5);
        assert_eq!(loaded.row(&RelPath::new("b/a").unwrap()), Some(&row(5)));
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap()) & 0o777, 0o600);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_a_foreign_and_a_linked_file_are_empty() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("index");
        assert!(Index::load(&file).is_empty());
        fs::write(&file, "something else entirely, longer than a checksum is").unwrap();
        assert!(Index::load(&file).is_empty());
        some_index().save(&temp.path().join("real")).unwrap();
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(temp.path().join("real"), &file).unwrap();
        assert!(Index::load(&file).is_empty());
    }

    #[test]
    fn a_removed_row_is_gone_and_the_rest_stays() {
        let mut index = some_index();
        index.remove(&RelPath::new("b/c/d").unwrap());
        index.remove(&RelPath::new("never").unwrap());
        assert_eq!(index.len(), 4);
        assert_eq!(index.row(&RelPath::new("b/c/d").unwrap()), None);
    }

    proptest! {
        #[test]
        fn no_damage_goes_unseen(at in 0_usize..600, bit in 0_u8..8, cut in 0_usize..600) {
            let bytes = some_index().encode();
            let mut flipped = bytes.clone();
            let at = at % bytes.len();
            flipped[at] ^= 1 << bit;
            prop_assert!(Index::decode(&flipped).is_none());
            prop_assert!(Index::decode(&bytes[..cut % bytes.len()]).is_none());
        }

        #[test]
        fn hostile_bytes_under_a_good_checksum_are_bounded(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut body = MAGIC.to_vec();
            body.extend_from_slice(&VERSION.to_le_bytes());
            body.append(&mut bytes);
            let sum = Hash::of(&body);
            body.extend_from_slice(sum.as_bytes());
            let _ = Index::decode(&body);
        }
    }
}
