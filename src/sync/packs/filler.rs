//! The reading side of packs, on a thread of its own: files become pieces, pieces frames, frames packs.
//!
//! No piece is stored under a hash that is not its own, however a file is written to meanwhile: it is hashed in the
//! memory that it is framed from.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{
    super::{
        SyncError,
        sources::{is_same, stat_of},
    },
    Wanted,
};
use crate::{
    report::NotStoredReason,
    rows::{Hash, Kind, PERMISSION_BITS, PieceHasher, Pieces, RelPath, Row, cut},
    snapshot::{
        FormatError, PackId, SnapshotId,
        frame::{CodedFrame, FrameWriter},
        pack::{Pack, PackWriter},
    },
    worktree::{Directory, Presence, Stat},
};

/// Up to this size a file is read whole, and stored as it is now if it was written since the scan.
const WHOLE: u64 = 8 << 20;
/// How much of a larger file is read at once to find out its pieces.
const CHUNK: usize = 1 << 20;
/// How often a small file that is being written to is read.
const TRIES: u32 = 3;

/// A piece, by hash and length.
type Key = (Hash, u32);

/// A pack that is ready to go.
pub(super) struct Finished {
    pub(super) number: u32,
    pub(super) pack: Pack<Key, Vec<u8>>,
}

/// Tells the thread to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Halt(Arc<AtomicBool>);

impl Halt {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it when dropped.
    pub(super) fn at_the_end(&self) -> impl Drop + use<> {
        struct Ends(Halt);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        Ends(self.clone())
    }
}

/// What was read so far, by its place in the order: the row as it was read, or why not.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes(Arc<Mutex<HashMap<usize, Outcome>>>);

type Outcome = Result<Row, NotStoredReason>;

impl Outcomes {
    fn note(&self, at: usize, outcome: Outcome) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(at, outcome);
    }

    pub(super) fn take(&self) -> HashMap<usize, Outcome> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The thread's state.
pub(super) struct Filler {
    dir: Directory,
    attempt: SnapshotId,
    next: u32,
    /// From this length on a pack goes, if not before.
    full: u64,
    /// Pieces that lie somewhere.
    is_known: Box<dyn Fn(&Hash) -> bool + Send>,
    /// Pieces that are in a pack already.
    seen: HashSet<Hash>,
    halt: Halt,
    give: mpsc::Sender<Finished>,
    frames: FrameWriter<Key>,
    pack: Option<(u32, PackWriter<Key, Vec<u8>>)>,
    /// How long that pack is.
    length: u64,
    /// Memory for one file, or one piece of a large one.
    content: Vec<u8>,
}

impl Filler {
    pub(super) fn new(
        dir: Directory,
        (attempt, next): (SnapshotId, u32),
        full: u64,
        is_known: impl Fn(&Hash) -> bool + Send + 'static,
        halt: Halt,
        give: mpsc::Sender<Finished>,
    ) -> Result<Self, SyncError> {
        let frames = FrameWriter::new().map_err(broken)?;
        Ok(Self {
            dir,
            attempt,
            next,
            full,
            is_known: Box::new(is_known),
            seen: HashSet::new(),
            halt,
            give,
            frames,
            pack: None,
            length: 0,
            content: Vec::new(),
        })
    }

    /// Reads `wanted`, one after the other, until all are read or nobody wants more.
    pub(super) fn fill(mut self, wanted: &[Wanted], outcomes: &Outcomes) -> Result<(), SyncError> {
        for (at, Wanted { path, row }) in wanted.iter().enumerate() {
            if self.halt.is_set() {
                return Ok(());
            }
            match self.read(path, row)? {
                Some(outcome) => outcomes.note(at, outcome),
                None => return Ok(()),
            }
        }
        if let Some(frame) = self.frames.finish().map_err(broken)? {
            self.append(frame)?;
        }
        self.close()
    }

    /// One file into frames; `None` where it was halted on the way.
    fn read(&mut self, path: &RelPath, row: &Row) -> Result<Option<Outcome>, SyncError> {
        for _ in 0..TRIES {
            let Ok((file, before)) = self.dir.open_file(path) else {
                let there = matches!(self.dir.look(path), Presence::There(stat) if stat.kind == Some(Kind::File));
                return Ok(Some(Err(if there { NotStoredReason::Unreadable } else { NotStoredReason::Changing })));
            };
            if before.size > WHOLE {
                return self.read_large(&file, &before, row);
            }
            let mut content = std::mem::take(&mut self.content);
            content.clear();
            let read = (&file).take(WHOLE + 1).read_to_end(&mut content);
            let outcome = match (read, stat_of(&file)) {
                (Ok(length), Ok(after)) if length as u64 == before.size && is_same(&before, &after) => {
                    Some(Ok(self.add_whole(&content, &before, row)?))
                }
                (Ok(_), Ok(_)) => None,
                _ => Some(Err(NotStoredReason::Unreadable)),
            };
            self.content = content;
            if outcome.is_some() {
                return Ok(outcome);
            }
        }
        Ok(Some(Err(NotStoredReason::Changing)))
    }

    /// A content that is at hand, and its row: that of the scan, or of what it is now.
    fn add_whole(&mut self, content: &[u8], stat: &Stat, scanned: &Row) -> Result<Row, SyncError> {
        let cut = cut(content);
        let row = if cut.hash == scanned.hash {
            scanned.clone()
        } else {
            let (mtime_ns, mode) = (stat.mtime_ns, stat.mode & PERMISSION_BITS);
            Row { mtime_ns, mode, ..scanned.clone().with_content(cut.hash, cut.size) }
        };
        let row = Row { pieces: cut.pieces, ..row };
        for piece in row.each_piece().into_iter().flatten().filter(|piece| piece.place.is_none()) {
            let begin = piece.at as usize;
            if let Some(bytes) = content.get(begin..begin + piece.length as usize) {
                self.add_piece(piece.hash, bytes)?;
            }
        }
        Ok(row)
    }

    /// A large file as it was scanned. Of a database of a gigabyte one page may have changed: only pieces that lie
    /// nowhere are held, and where the scan has cut the file no others are read.
    fn read_large(&mut self, file: &File, before: &Stat, row: &Row) -> Result<Option<Outcome>, SyncError> {
        let changing = Ok(Some(Err(NotStoredReason::Changing)));
        if before.size != row.size {
            return changing;
        }
        let is_cut = matches!(row.pieces, Pieces::Many(_)) && row.pieces_fit() && before.mtime_ns == row.mtime_ns;
        let pieces = if is_cut {
            row.pieces.without_places()
        } else {
            match self.cut_large(file, before.size) {
                Ok(Some(cut)) if cut.hash == row.hash => cut.pieces,
                Ok(Some(_)) => return changing,
                Ok(None) => return Ok(None),
                Err(_) => return Ok(Some(Err(NotStoredReason::Unreadable))),
            }
        };
        let row = Row { pieces, ..row.clone() };
        for piece in row.each_piece().into_iter().flatten() {
            if self.halt.is_set() {
                return Ok(None);
            }
            if piece.place.is_some() || self.is_there(&piece.hash) {
                continue;
            }
            let mut content = std::mem::take(&mut self.content);
            content.resize(piece.length as usize, 0);
            match file.read_exact_at(&mut content, piece.at) {
                // Written to since: it must not be stored under a hash that is not its own.
                Ok(()) if !piece.holds(&content) => return changing,
                Ok(()) => self.add_piece(piece.hash, &content)?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return changing,
                Err(_) => return Ok(Some(Err(NotStoredReason::Unreadable))),
            }
            self.content = content;
        }
        // What was known was not read: the files that are stored together must be of one time.
        match stat_of(file) {
            Ok(after) if is_same(before, &after) => Ok(Some(Ok(row))),
            Ok(_) => changing,
            Err(_) => Ok(Some(Err(NotStoredReason::Unreadable))),
        }
    }

    /// What the pieces of a large file are; `None` where it was halted on the way.
    fn cut_large(&self, file: &File, size: u64) -> io::Result<Option<crate::rows::Cut>> {
        let mut hasher = PieceHasher::new(size);
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < size {
            if self.halt.is_set() {
                return Ok(None);
            }
            match file.read_at(&mut chunk, at) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&chunk[..read]);
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(hasher.finish()))
    }

    fn is_there(&self, hash: &Hash) -> bool {
        self.seen.contains(hash) || (self.is_known)(hash)
    }

    /// `hash` was taken of these very bytes.
    fn add_piece(&mut self, hash: Hash, content: &[u8]) -> Result<(), SyncError> {
        if self.is_there(&hash) {
            return Ok(());
        }
        self.seen.insert(hash);
        // No piece is longer than MAX_PIECE_BYTES.
        match self.frames.add((hash, content.len() as u32), content).map_err(broken)? {
            Some(frame) => self.append(frame),
            None => Ok(()),
        }
    }

    fn append(&mut self, frame: CodedFrame<Key>) -> Result<(), SyncError> {
        if self.pack.as_ref().is_some_and(|(_, pack)| !pack.takes(&frame)) {
            self.close()?;
        }
        self.length += frame.length();
        let (_, pack) = match &mut self.pack {
            Some(pack) => pack,
            None => {
                let id = PackId { id: self.attempt, number: self.next };
                self.next += 1;
                self.pack.insert((id.number, PackWriter::new(id, Vec::new())))
            }
        };
        pack.append(frame).map_err(broken)?;
        if pack.is_full() || self.length >= self.full { self.close() } else { Ok(()) }
    }

    /// Hands the pack over. Where nobody takes it any more it is dropped, and nothing in it counts as stored.
    fn close(&mut self) -> Result<(), SyncError> {
        self.length = 0;
        let Some((number, pack)) = self.pack.take() else { return Ok(()) };
        if let Some(pack) = pack.finish().map_err(broken)?
            && self.give.blocking_send(Finished { number, pack }).is_err()
        {
            self.halt.set();
        }
        Ok(())
    }
}

fn broken(error: FormatError) -> SyncError {
    SyncError::System(format!("a pack cannot be made: {error}"))
}
