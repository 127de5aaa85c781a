//! Live workspaces written by hand, with the formats alone: what containers that were here before left in the bucket.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stopover::{
    rows::{ETag, Hash, PackName, RelPath, Removed, Row, Rows, cut},
    snapshot::{
        Counts, HEAD_KEY, Head, Mirror, MirrorHeader, MirrorRow, MirrorRows, Missing, PackId, SnapshotId, Tree,
        TreeHeader, WriteId, Written, frame::FrameWriter, pack::PackWriter,
    },
};

use super::story::Story;

/// Somebody who commits to a story's workspace, and to whom nobody else comes in the way.
pub struct Live<'a> {
    story: &'a Story,
    /// When the next commit happens.
    pub time: Timestamp,
    /// Whether the next tree holds only what differs from the last whole one.
    pub overlay: bool,
    /// Whether the live tree is caught up with the next commit, and a mirror written.
    pub catches_up: bool,
    /// What every committed content looks like, and where it lies.
    packed: BTreeMap<Hash, Row>,
    base: Option<Tree>,
    mirror: Option<Mirror>,
    drawn: u8,
}

/// Rows of files with these contents, the directories they are in, and no places.
pub fn rows(files: &[(&str, &str)]) -> Rows {
    let mut rows = Rows::new();
    for (path, content) in files {
        let (path, cut) = (RelPath::new(*path).unwrap(), cut(content.as_bytes()));
        rows.extend(path.ancestors().map(|up| (up, Row::dir(0o755))));
        rows.insert(path, Row { pieces: cut.pieces, ..Row::file(cut.hash, cut.size, 0o644) });
    }
    rows
}

impl<'a> Live<'a> {
    pub fn in_story(story: &'a Story) -> Self {
        Self {
            story,
            time: Timestamp::now(),
            overlay: false,
            catches_up: true,
            packed: BTreeMap::new(),
            base: None,
            mirror: None,
            drawn: 0,
        }
    }

    /// The head that lies in the bucket.
    pub fn head(&self) -> Option<Head> {
        let seen = self.story.outsider.get(&self.story.key(HEAD_KEY))?;
        Some(Head::decode(&seen.bytes).unwrap())
    }

    /// Writes a head over whatever is there.
    pub fn put_head(&self, head: &Head) {
        head.check().unwrap();
        self.put(HEAD_KEY, head.encode());
    }

    /// Six digits that were never drawn.
    pub fn random(&mut self) -> [u8; 6] {
        self.drawn += 1;
        [self.drawn; 6]
    }

    pub fn written(&mut self) -> Written {
        Written { write_id: WriteId::new(self.random()), writer: "elsewhere:1".to_owned(), time: self.time }
    }

    /// Commits these files as all that the workspace has.
    pub fn commit(&mut self, files: &[(&str, &str)]) -> SnapshotId {
        let old = self.head();
        let id = SnapshotId::new(old.as_ref().map_or(1, Head::next_seq), self.random());
        let rows = self.upload(id, files);
        let bytes: u64 = rows.values().map(|row| row.size).sum();
        let counts = Counts { files: files.len() as u64, bytes, changed: 1, quiet: true, partial: false };
        let mirror = self.mirror.as_ref().map(|mirror| mirror.header.id);
        let (gc, written) = (self.random(), self.written());
        self.put_head(&Head::live_over(old.as_ref(), id, mirror, counts, gc, written));
        if self.catches_up {
            self.catch_up(id, files);
        }
        id
    }

    /// Uploads packs and tree of a commit that does not come to its head: garbage, unless a head names it later.
    pub fn upload(&mut self, id: SnapshotId, files: &[(&str, &str)]) -> Rows {
        let rows = self.pack(id, files);
        let header = TreeHeader {
            id,
            parent: None,
            writer: "elsewhere:1".to_owned(),
            quiet: true,
            partial: false,
            missing: Missing::default(),
            base: None,
            time: self.time,
        };
        let whole = Tree { header, rows: rows.clone(), removed: Removed::new() };
        let tree = match &self.base {
            Some(base) if self.overlay => Tree::overlay(base, &whole).unwrap(),
            _ => {
                self.base = Some(whole.clone());
                whole
            }
        };
        self.put(&id.tree_key(), tree.encode().unwrap());
        rows
    }

    /// The rows of these files, what is new of their contents in a pack of `id`.
    fn pack(&mut self, id: SnapshotId, files: &[(&str, &str)]) -> Rows {
        let name = PackId { id, number: 0 };
        let mut writer = PackWriter::new(name, Vec::new());
        let mut frames = FrameWriter::new().unwrap();
        let mut fresh: BTreeMap<Hash, Row> = BTreeMap::new();
        for (_, content) in files {
            let cut = cut(content.as_bytes());
            if content.is_empty() || self.packed.contains_key(&cut.hash) || fresh.contains_key(&cut.hash) {
                continue;
            }
            let row = Row { pieces: cut.pieces, ..Row::file(cut.hash, cut.size, 0o644) };
            for (index, piece) in row.each_piece().unwrap().enumerate().filter(|(_, piece)| piece.place.is_none()) {
                let at = piece.at as usize;
                let bytes = &content.as_bytes()[at..at + piece.length as usize];
                frames
                    .add((row.hash, index), bytes)
                    .unwrap()
                    .into_iter()
                    .for_each(|frame| writer.append(frame).unwrap());
            }
            fresh.insert(row.hash, row);
        }
        frames.finish().unwrap().into_iter().for_each(|frame| writer.append(frame).unwrap());
        if let Some(pack) = writer.finish().unwrap() {
            for ((hash, index), place) in pack.places {
                assert!(fresh.get_mut(&hash).unwrap().set_place(index, place));
            }
            self.put(&name.key(), pack.to);
        }
        self.packed.extend(fresh);
        let mut rows = rows(files);
        for row in rows.values_mut() {
            if let Some(packed) = self.packed.get(&row.hash) {
                row.pieces = packed.pieces.clone();
            }
        }
        rows
    }

    /// Makes the live tree what the commit says, and writes the mirror.
    fn catch_up(&mut self, id: SnapshotId, files: &[(&str, &str)]) {
        let before = self.mirror.take();
        let mut rows = MirrorRows::new();
        for (path, content) in files {
            let etag = self.story.outsider.put(&self.story.key(path), content.as_bytes());
            let cut = cut(content.as_bytes());
            rows.insert(RelPath::new(*path).unwrap(), MirrorRow::object(ETag::new(etag), cut.size, cut.hash));
        }
        for gone in before.iter().flat_map(|mirror| mirror.rows.keys()).filter(|path| !rows.contains_key(*path)) {
            self.story.no_object(&gone.to_string());
        }
        let header = MirrorHeader {
            id,
            built_from: before.map(|mirror| mirror.header.id),
            base: None,
            writer: "elsewhere:1".to_owned(),
            time: self.time,
        };
        let mirror = Mirror { header, rows, removed: BTreeSet::new() };
        self.put(&id.mirror_key(), mirror.encode().unwrap());
        self.mirror = Some(mirror);
    }

    /// Puts an object below the workspace.
    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.story.outsider.put(&self.story.key(key), bytes);
    }

    /// The keys below `.stopover/` without that begin, sorted.
    pub fn own_keys(&self) -> Vec<String> {
        let start = self.story.key(".stopover/");
        let mut keys: Vec<_> =
            self.story.outsider.keys(&start).into_iter().map(|key| key[start.len()..].to_owned()).collect();
        keys.sort();
        keys
    }

    /// The packs that a commit of this id made.
    pub fn pack_of(id: SnapshotId) -> PackName {
        PackId { id, number: 0 }.name()
    }
}
