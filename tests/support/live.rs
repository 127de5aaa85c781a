//! A live workspace made by hand, out of the formats alone: packs, trees, heads, mirrors and live objects, each of them
//! written when the test says so. It shares no code with what commits, so that a pull is tested against the page that
//! describes the formats.

use std::collections::{BTreeMap, BTreeSet};

use stopover::{
    rows::{ETag, Kind, Pieces, Place, RelPath, Removed, Row, Rows, cut},
    snapshot::{
        Counts, HEAD_KEY, Head, Mirror, MirrorHeader, MirrorRow, MirrorRows, Missing, PackId, SnapshotId, Tree,
        TreeHeader, WriteId, Written, frame::FrameWriter, pack::PackWriter,
    },
};

use super::story::Story;

/// The workspace of a story, and what its next snapshot will be.
pub struct LiveWorkspace<'a> {
    story: &'a Story,
    pub head: Option<Head>,
    pub rows: Rows,
    contents: BTreeMap<RelPath, Vec<u8>>,
    /// The last whole tree: what overlays are made over.
    whole: Option<Tree>,
    pub mirror: MirrorRows,
    mirrored: Option<SnapshotId>,
    made: u8,
}

fn path(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

impl<'a> LiveWorkspace<'a> {
    pub fn of(story: &'a Story) -> Self {
        Self {
            story,
            head: None,
            rows: Rows::new(),
            contents: BTreeMap::new(),
            whole: None,
            mirror: MirrorRows::new(),
            mirrored: None,
            made: 0,
        }
    }

    /// Its ids and versions are others than those of another one made by hand.
    pub fn anew(&mut self, made: u8) -> &mut Self {
        self.made = made * 20;
        self
    }

    // What the next snapshot has.

    pub fn file(&mut self, at: &str, bytes: impl Into<Vec<u8>>) -> &mut Self {
        let (at, bytes) = (path(at), bytes.into());
        let cut = cut(&bytes);
        let row =
            Row { pieces: cut.pieces, mtime_ns: 1_700_000_000_000_000_000, ..Row::file(cut.hash, cut.size, 0o644) };
        self.put(at.clone(), row);
        self.contents.insert(at, bytes);
        self
    }

    pub fn mode(&mut self, at: &str, mode: u16) -> &mut Self {
        self.rows.get_mut(&path(at)).unwrap().mode = mode;
        self
    }

    pub fn folder(&mut self, at: &str) -> &mut Self {
        self.put(path(at), Row::dir(0o755));
        self
    }

    pub fn link(&mut self, at: &str, target: &str) -> &mut Self {
        self.put(path(at), Row::symlink(target.as_bytes()));
        self
    }

    pub fn remove(&mut self, at: &str) -> &mut Self {
        let at = path(at);
        self.rows.retain(|known, _| *known != at && !known.is_below(&at));
        self.contents.remove(&at);
        self
    }

    fn put(&mut self, at: RelPath, row: Row) {
        for up in at.ancestors() {
            self.rows.entry(up).or_insert_with(|| Row::dir(0o755));
        }
        self.rows.insert(at, row);
    }

    /// Commits, with a whole tree, and catches up.
    pub fn commit(&mut self) -> SnapshotId {
        let id = self.commit_only(false);
        self.catch_up();
        id
    }

    /// Commits, with an overlay over the last whole tree, and catches up.
    pub fn commit_overlay(&mut self) -> SnapshotId {
        let id = self.commit_only(true);
        self.catch_up();
        id
    }

    /// Commits, and dies before the catch-up.
    pub fn commit_only(&mut self, overlay: bool) -> SnapshotId {
        let seq = self.head.as_ref().map_or(1, Head::next_seq);
        let id = self.id(seq);
        self.pack(id);
        let parent = self.head.as_ref().and_then(|head| head.snapshot);
        let header = TreeHeader {
            id,
            parent,
            writer: "test".to_owned(),
            quiet: true,
            partial: false,
            missing: Missing::default(),
            base: None,
            time: jiff::Timestamp::UNIX_EPOCH,
        };
        let whole = Tree { header, rows: self.rows.clone(), removed: Removed::new() };
        assert!(whole.not_stored().next().is_none());
        let written = match self.whole.as_ref().filter(|_| overlay) {
            Some(base) => Tree::overlay(base, &whole).unwrap(),
            None => {
                self.whole = Some(whole.clone());
                whole
            }
        };
        self.write(&id.tree_key(), written.encode().unwrap());
        self.made += 1;
        let counts = Counts { files: self.files().count() as u64, ..Counts::default() };
        let stamp = self.stamp();
        let head = Head::live_over(self.head.as_ref(), id, self.mirrored, counts, [7; 6], stamp);
        self.write(HEAD_KEY, head.encode());
        self.head = Some(head);
        id
    }

    /// Makes the live tree what the snapshot says, and writes its mirror.
    pub fn catch_up(&mut self) -> &mut Self {
        let wanted: Vec<(RelPath, Row)> = self.files().map(|(at, row)| (at.clone(), row.clone())).collect();
        let keep: BTreeSet<&RelPath> = wanted.iter().map(|(at, _)| at).collect();
        let gone: Vec<RelPath> = self.mirror.keys().filter(|at| !keep.contains(at)).cloned().collect();
        for at in gone {
            self.story.no_object(&at.to_text());
            self.mirror.remove(&at);
        }
        for (at, row) in wanted {
            self.live_object(&at, &row);
        }
        let id = self.head.as_ref().unwrap().snapshot.unwrap();
        let header = MirrorHeader {
            id,
            built_from: self.mirrored,
            base: None,
            writer: "test".to_owned(),
            time: jiff::Timestamp::UNIX_EPOCH,
        };
        let mirror = Mirror { header, rows: self.mirror.clone(), removed: BTreeSet::new() };
        self.write(&id.mirror_key(), mirror.encode().unwrap());
        self.mirrored = Some(id);
        self
    }

    /// A catch-up that came no further than this key.
    pub fn catch_up_only(&mut self, at: &str) -> &mut Self {
        self.story.object(at, self.contents[&path(at)].clone());
        self
    }

    fn live_object(&mut self, at: &RelPath, row: &Row) {
        let known = self.mirror.get(at).and_then(|known| known.object.as_ref());
        if known.is_none_or(|known| known.hash != row.hash) {
            let etag = self.story.outsider.put(&self.story.key(&at.to_text()), self.contents[at].clone());
            self.mirror.insert(at.clone(), MirrorRow::object(ETag::new(etag), row.size, row.hash));
        }
    }

    /// Writes what no pack has yet into one.
    fn pack(&mut self, id: SnapshotId) {
        let mut frames = FrameWriter::new().unwrap();
        let mut pack = PackWriter::new(PackId { id, number: 0 }, Vec::new());
        let mut coded = Vec::new();
        for (at, row) in self.rows.iter().filter(|(_, row)| !row.is_stored()) {
            let content = &self.contents[at];
            for (index, piece) in row.each_piece().unwrap().enumerate().filter(|(_, piece)| piece.place.is_none()) {
                let bytes = &content[piece.at as usize..][..piece.length as usize];
                coded.extend(frames.add((at.clone(), index), bytes).unwrap());
            }
        }
        coded.extend(frames.finish().unwrap());
        for frame in coded {
            pack.append(frame).unwrap();
        }
        let Some(pack) = pack.finish().unwrap() else { return };
        for ((at, index), place) in pack.places {
            assert!(self.rows.get_mut(&at).unwrap().set_place(index, place));
        }
        self.write(&PackId { id, number: 0 }.key(), pack.to);
    }

    fn files(&self) -> impl Iterator<Item = (&RelPath, &Row)> {
        self.rows.iter().filter(|(_, row)| row.kind == Kind::File)
    }

    fn id(&mut self, seq: u64) -> SnapshotId {
        self.made += 1;
        SnapshotId::new(seq, [self.made, 1, 2, 3, 4, 5])
    }

    fn stamp(&mut self) -> Written {
        self.made += 1;
        Written { write_id: WriteId::new([self.made; 6]), writer: "test".to_owned(), time: jiff::Timestamp::UNIX_EPOCH }
    }

    pub fn write(&self, key: &str, bytes: Vec<u8>) {
        // As good as any: what is made so is held against the invariants, too.
        self.story.outsider.put(&self.story.key(key), bytes);
    }

    /// The key of the pack that a file's first piece lies in.
    pub fn pack_of(&self, at: &str) -> String {
        let row = &self.rows[&path(at)];
        let place = match &row.pieces {
            Pieces::None => None,
            Pieces::One(place) => Some(place),
            Pieces::Many(pieces) => {
                pieces.iter().find_map(|piece| piece.place.as_ref().filter(|at| at.frame().is_some()))
            }
        };
        match place {
            Some(Place::In { frame, .. }) => stopover::snapshot::pack_key(&frame.pack),
            _ => panic!("{at} lies in no pack"),
        }
    }
}
