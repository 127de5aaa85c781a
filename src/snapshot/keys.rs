//! The keys below `.stopover/`, and what lies under each.

use std::{fmt, str::FromStr};

use super::{HEAD_KEY, SnapshotId, id::NoId};
use crate::rows::PackName;

const TREES: &str = ".stopover/trees/";
const PACKS: &str = ".stopover/packs/";
const MIRRORS: &str = ".stopover/mirrors/";

impl SnapshotId {
    /// The key of its tree below the workspace's prefix.
    #[must_use]
    pub fn tree_key(&self) -> String {
        format!("{TREES}{self}")
    }

    /// The key of its mirror below the workspace's prefix.
    #[must_use]
    pub fn mirror_key(&self) -> String {
        format!("{MIRRORS}{self}")
    }
}

/// What a pack is called: `<id>-<n>`, where `<id>` is drawn like a snapshot's for each attempt to commit, and `<n>`
/// counts its packs from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PackId {
    /// The attempt to commit that it was made for.
    pub id: SnapshotId,
    /// Which of its packs.
    pub number: u32,
}

impl PackId {
    /// The name that rows have.
    #[must_use]
    pub fn name(&self) -> PackName {
        PackName::new(self.to_string())
    }

    /// The key below the workspace's prefix.
    #[must_use]
    pub fn key(&self) -> String {
        pack_key(&self.name())
    }
}

/// The key of a pack below the workspace's prefix. Names in trees that were decoded are well-formed.
#[must_use]
pub fn pack_key(name: &PackName) -> String {
    format!("{PACKS}{name}")
}

impl fmt::Display for PackId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.id, self.number)
    }
}

impl FromStr for PackId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (id, number) = text.rsplit_once('-').ok_or(NoId)?;
        let canonical = number == "0" || !number.starts_with(['0', '+']);
        if !canonical {
            return Err(NoId);
        }
        Ok(Self { id: id.parse()?, number: number.parse().map_err(|_| NoId)? })
    }
}

/// What lies under a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stored {
    /// head.json.
    Head,
    /// The tree of a snapshot.
    Tree(SnapshotId),
    /// A pack.
    Pack(PackId),
    /// The mirror of a snapshot.
    Mirror(SnapshotId),
}

impl Stored {
    /// Reads a key below the workspace's prefix; `None` for what no stopover of this version wrote.
    #[must_use]
    pub fn under(key: &str) -> Option<Self> {
        if key == HEAD_KEY {
            Some(Self::Head)
        } else if let Some(id) = key.strip_prefix(TREES) {
            id.parse().ok().map(Self::Tree)
        } else if let Some(id) = key.strip_prefix(PACKS) {
            id.parse().ok().map(Self::Pack)
        } else {
            key.strip_prefix(MIRRORS)?.parse().ok().map(Self::Mirror)
        }
    }

    /// The key below the workspace's prefix.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Head => HEAD_KEY.to_owned(),
            Self::Tree(id) => id.tree_key(),
            Self::Pack(pack) => pack.key(),
            Self::Mirror(id) => id.mirror_key(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_says_what_lies_under_it() {
        let id = SnapshotId::new(41, [0xab, 0, 1, 2, 3, 0xff]);
        for (key, stored) in [
            (".stopover/head.json", Stored::Head),
            (".stopover/trees/0000000041-ab00010203ff", Stored::Tree(id)),
            (".stopover/packs/0000000041-ab00010203ff-0", Stored::Pack(PackId { id, number: 0 })),
            (".stopover/packs/0000000041-ab00010203ff-120", Stored::Pack(PackId { id, number: 120 })),
            (".stopover/mirrors/0000000041-ab00010203ff", Stored::Mirror(id)),
        ] {
            assert_eq!((Stored::under(key), &*stored.key()), (Some(stored), key));
        }
        for key in [
            "",
            ".stopover/",
            ".stopover/head.json/",
            ".stopover/trees/0000000041-ab00010203ff-0",
            ".stopover/packs/0000000041-ab00010203ff",
            ".stopover/packs/0000000041-ab00010203ff-00",
            ".stopover/packs/0000000041-ab00010203ff-+1",
            ".stopover/packs/0000000041-ab00010203ff-",
            ".stopover/packs/0000000041-ab00010203ff-4294967296",
            ".stopover/mirrors/../head.json",
            ".stopover/later/0000000041-ab00010203ff",
        ] {
            assert_eq!(Stored::under(key), None, "{key}");
        }
    }
}
