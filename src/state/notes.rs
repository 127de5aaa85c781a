//! The notes that are more than bytes.

use std::{collections::BTreeSet, io::Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{State, StateError};
use crate::rows::RelPath;

/// What the directory belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mine {
    /// The workspace's URL.
    pub workspace: String,
    /// The server it is on; an older version did not note it.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The snapshot that `origin` belongs to; `None` after an import of a workspace without one.
    pub snapshot: Option<String>,
    /// The id of the workspace's first snapshot since it was created.
    pub birth: Option<String>,
    /// The newest head known to descend from `snapshot`: its snapshot.
    pub seen: Option<String>,
    /// The sequence number of the newest head this directory saw.
    pub seq: u64,
    /// Device and inode of the directory.
    pub directory: Option<(u64, u64)>,
    /// A commit whose head write was sent and not yet seen in a head.
    pub pending: Option<Pending>,
    /// Whether `origin` is what an import found, and not yet what a commit of this directory stored.
    #[serde(default)]
    pub imported: bool,
    /// The version of the deleted head that the import started from.
    #[serde(default)]
    pub tombstone: Option<String>,
    /// Empty objects that stand for directories: path and version.
    #[serde(default)]
    pub markers: Vec<(String, String)>,
    /// Files that others deleted from the live tree and that were kept all the same: path, and the version that the
    /// mirror has. The next catch-up writes them again.
    #[serde(default)]
    pub refused: Vec<(String, String)>,
    /// Contents, by their hash, that the packs of `snapshot` do not have: the next commit stores them again.
    #[serde(default)]
    pub lost: Vec<String>,
    /// Edits of others that the directory has taken in and that no snapshot has yet, as far as it knows.
    #[serde(default)]
    pub taken_in: Vec<TakenIn>,
}

/// An object that others wrote, as a pull took it in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TakenIn {
    /// The object.
    pub key: String,
    /// Its version.
    pub etag: String,
    /// Where its content belongs beside the snapshot's files.
    pub path: String,
    /// The content's hash, 64 hex digits.
    pub hash: String,
    /// Its bytes.
    pub size: u64,
    /// The object's time.
    pub mtime_ns: i64,
}

/// A commit that may or may not have been applied; its rows lie in `origin.pending`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Its snapshot.
    pub snapshot: String,
    /// The birth of the head it wrote.
    pub birth: String,
    /// The sequence number of the head it wrote.
    pub seq: u64,
}

/// A restore has succeeded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ready {
    /// The snapshot that the directory took in, if it was one.
    pub pulled: Option<String>,
    /// During which boot of the machine it was; `None` where that could not be told.
    #[serde(default)]
    pub boot: Option<String>,
    /// Whether what was written is surely on the disk.
    #[serde(default)]
    pub flushed: bool,
}

/// A restore has begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pulling {
    /// The snapshot being restored, if it is one.
    pub snapshot: Option<String>,
    /// Whether the directory was empty before.
    pub empty: bool,
}

/// A restore in place has begun: the directory is edited, file by file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rewinding {
    /// The snapshot that is brought back.
    pub snapshot: String,
    /// The paths that are; all of them, if there are none.
    pub paths: Vec<String>,
    /// The snapshot that holds what was there before.
    pub before: Option<String>,
}

impl Rewinding {
    /// Whether a restore of `paths` touches all that this one was to touch.
    #[must_use]
    pub fn is_covered_by(&self, paths: &[RelPath]) -> bool {
        let covers = |path: &RelPath| paths.iter().any(|up| up == path || path.is_below(up));
        let mut own = self.paths.iter().map(|path| RelPath::from_text(path));
        paths.is_empty() || !self.paths.is_empty() && own.all(|path| path.is_ok_and(|path| covers(&path)))
    }
}

/// A live object written by a commit that has not ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The path.
    pub path: String,
    /// The version the server gave it.
    pub etag: String,
    /// The content's hash, 64 hex digits.
    pub hash: String,
}

impl State {
    /// What the directory belongs to; `None` where that is not known (or not legible: then it is not known either).
    ///
    /// # Errors
    /// When the note is there but cannot be read from the disk.
    pub fn mine(&self) -> Result<Option<Mine>, StateError> {
        self.note("mine")
    }

    /// Notes what the directory belongs to.
    ///
    /// # Errors
    /// As [`State::write`].
    pub fn set_mine(&self, mine: &Mine) -> Result<(), StateError> {
        self.set_note("mine", mine)
    }

    /// Whether a restore has succeeded, and of what.
    ///
    /// # Errors
    /// When the note is there but cannot be read from the disk.
    pub fn ready(&self) -> Result<Option<Ready>, StateError> {
        self.note("ready")
    }

    /// Notes that a restore has succeeded, and that none is on its way.
    ///
    /// # Errors
    /// As [`State::write`].
    pub fn set_ready(&self, ready: &Ready) -> Result<(), StateError> {
        self.set_note("ready", ready)?;
        self.forget("pulling")?;
        self.forget("wanted")
    }

    /// The restore that has begun and not ended.
    ///
    /// # Errors
    /// When the note is there but cannot be read from the disk.
    pub fn pulling(&self) -> Result<Option<Pulling>, StateError> {
        self.note("pulling")
    }

    /// Notes that a restore begins.
    ///
    /// # Errors
    /// As [`State::write`].
    pub fn set_pulling(&self, pulling: &Pulling) -> Result<(), StateError> {
        self.set_note("pulling", pulling)
    }

    /// The restores in place that have begun and not ended, the oldest first.
    ///
    /// # Errors
    /// When the note is there but cannot be read from the disk.
    pub fn rewinding(&self) -> Result<Vec<Rewinding>, StateError> {
        Ok(self.note("rewinding")?.unwrap_or_default())
    }

    /// Notes them.
    ///
    /// # Errors
    /// As [`State::write`].
    pub fn set_rewinding(&self, begun: &[Rewinding]) -> Result<(), StateError> {
        if begun.is_empty() { self.forget("rewinding") } else { self.set_note("rewinding", &begun) }
    }

    /// Notes the paths that a restore into an empty directory is about to make, before [`State::set_pulling`].
    ///
    /// # Errors
    /// As [`State::write`].
    pub fn set_wanted<'a>(&self, paths: impl Iterator<Item = &'a RelPath>) -> Result<(), StateError> {
        let mut bytes = Vec::new();
        for path in paths {
            bytes.extend_from_slice(path.as_bytes());
            bytes.push(0);
        }
        self.write("wanted", &bytes)
    }

    /// Those paths.
    ///
    /// # Errors
    /// When the note is there but cannot be read from the disk.
    pub fn wanted(&self) -> Result<BTreeSet<RelPath>, StateError> {
        let bytes = self.read("wanted")?.unwrap_or_default();
        Ok(bytes.split(|&byte| byte == 0).filter_map(|path| RelPath::new(path).ok()).collect())
    }

    /// The live objects that a commit wrote without coming to its end.
    ///
    /// # Errors
    /// When the note is there but cannot be read from the disk.
    pub fn sent(&self) -> Result<Vec<Sent>, StateError> {
        let bytes = self.read("sent")?.unwrap_or_default();
        // The last line may be torn by a kill; what is not legible was not noted.
        Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Notes live objects just written.
    ///
    /// # Errors
    /// When the note cannot be appended to.
    pub fn add_sent(&self, sent: &Sent) -> Result<(), StateError> {
        let mut line = json(sent);
        line.push(b'\n');
        self.append("sent")?.write_all(&line).map_err(|source| StateError::Io {
            what: "write",
            path: self.path().join("sent"),
            source,
        })
    }

    fn note<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        Ok(self.read(name)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn set_note<T: Serialize + ?Sized>(&self, name: &str, note: &T) -> Result<(), StateError> {
        self.write(name, &json(note))
    }
}

/// Notes are plain structs of strings and numbers: serialising them cannot fail; an empty note reads back as none.
fn json<T: Serialize + ?Sized>(note: &T) -> Vec<u8> {
    serde_json::to_vec(note).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_and_a_torn_last_line_is_no_note() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::create(&dir.path().join(".stopover")).unwrap();
        let sent = Sent { path: "a".into(), etag: "\"e\"".into(), hash: "0".into() };
        state.add_sent(&sent).unwrap();
        state.append("sent").unwrap().write_all(b"{\"path\":\"b\",\"et").unwrap();
        assert_eq!(state.sent().unwrap(), [sent]);
        state.write("mine", b"not json").unwrap();
        assert_eq!(state.mine().unwrap(), None);
        let mine = Mine { workspace: "s3://b/p/u/w".into(), seq: 4, ..Mine::default() };
        state.set_mine(&mine).unwrap();
        assert_eq!(state.mine().unwrap(), Some(mine));
    }

    #[test]
    fn a_restore_in_place_is_covered_by_one_of_all_its_paths() {
        let paths = |texts: &[&str]| texts.iter().map(|text| RelPath::new(*text).unwrap()).collect::<Vec<_>>();
        let of = |texts: &[&str]| Rewinding {
            snapshot: String::new(),
            paths: texts.iter().map(|text| (*text).to_owned()).collect(),
            before: None,
        };
        for (begun, ended, covered) in [
            (&[][..], &[][..], true),
            (&[], &["a"], false),
            (&["a/b", "c"], &[], true),
            (&["a/b", "c"], &["a", "c"], true),
            (&["a/b", "c"], &["a/b"], false),
            (&["ab"], &["a"], false),
        ] {
            assert_eq!(of(begun).is_covered_by(&paths(ended)), covered, "{begun:?} by {ended:?}");
        }
    }

    #[test]
    fn becoming_ready_ends_the_restore() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::create(&dir.path().join(".stopover")).unwrap();
        state.set_pulling(&Pulling { snapshot: None, empty: true }).unwrap();
        state.set_ready(&Ready::default()).unwrap();
        assert_eq!(state.pulling().unwrap(), None);
        assert_eq!(state.ready().unwrap(), Some(Ready::default()));
    }
}
