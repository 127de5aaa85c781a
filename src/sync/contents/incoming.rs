//! A file whose pieces arrive one by one, in any order and on several threads.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use super::Wanted;
use crate::{
    rows::{Place, RelPath, Row},
    worktree::{Expected, IndexRow, Staged, WriteError, Writer},
};

/// What became of a file.
#[derive(Debug)]
pub(in super::super) enum Written {
    /// It is there; the index row as [`Staged::finish`] gives it.
    Done(Option<IndexRow>),
    /// The directory did not take it.
    Refused(WriteError),
    /// Its content is not in the packs, and why.
    Lost(String),
}

/// A file some of whose pieces may have arrived.
#[derive(Debug)]
pub(super) struct Incoming {
    path: RelPath,
    row: Row,
    expected: Expected,
    /// Whether its places are those of its content.
    is_sound: bool,
    /// Pieces that have not been looked at.
    left: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    staged: Option<Staged>,
    trouble: Option<Written>,
}

impl State {
    /// It will not be whole: its beginnings are removed at once.
    fn give_up(&mut self, why: Written) {
        self.trouble.get_or_insert(why);
        self.staged = None;
    }
}

impl Incoming {
    pub(super) fn new(wanted: Wanted) -> Self {
        let Wanted { path, row, expected } = wanted;
        let mut state = State::default();
        let is_sound = row.is_stored() && row.pieces_fit();
        if !is_sound {
            state.give_up(Written::Lost("no pack has all of its content".to_owned()));
        }
        let left = if is_sound { row.pieces.places().filter_map(Place::frame).count() } else { 0 };
        Self { path, row, expected, is_sound, left: AtomicUsize::new(left), state: Mutex::new(state) }
    }

    pub(super) const fn row(&self) -> &Row {
        &self.row
    }

    pub(super) const fn path(&self) -> &RelPath {
        &self.path
    }

    /// How much of it no request brings: zeros, and what cannot be had.
    pub(super) fn bytes_outside(&self) -> u64 {
        if !self.is_sound {
            return self.row.size;
        }
        let outside = |place: Option<&Place>| place.and_then(Place::frame).is_none();
        let pieces = self.row.each_piece().into_iter().flatten();
        pieces.filter(|piece| outside(piece.place)).map(|piece| u64::from(piece.length)).sum()
    }

    /// Whether all of it was looked at.
    pub(super) fn is_complete(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// Whether it may stay open from one range to another.
    pub(super) fn is_scattered(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 1
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.state().trouble.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One piece, or why there is none. Says whether it was the last.
    pub(super) fn take(&self, writer: &Writer, at: u64, piece: Result<&[u8], String>) -> bool {
        let mut state = self.state();
        match piece {
            Ok(bytes) => {
                self.begin(writer, &mut state);
                if let Some(Err(error)) = state.staged.as_ref().map(|staged| staged.write_at(bytes, at)) {
                    state.give_up(Written::Refused(error));
                }
            }
            Err(why) => state.give_up(Written::Lost(why)),
        }
        drop(state);
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn begin(&self, writer: &Writer, state: &mut State) {
        if state.staged.is_none() && state.trouble.is_none() {
            match writer.begin(&self.path, self.row.size) {
                Ok(staged) => state.staged = Some(staged),
                Err(error) => state.give_up(Written::Refused(error)),
            }
        }
    }

    /// All pieces were looked at: the file gets its name, or nothing of it stays.
    pub(super) fn finish(&self, writer: &Writer) -> (RelPath, Row, Written) {
        let mut state = self.state();
        self.begin(writer, &mut state);
        if let Some(staged) = &state.staged
            && let Err(trouble) = self.zeros(staged)
        {
            state.give_up(trouble);
        }
        let written = match (state.trouble.take(), state.staged.take()) {
            (None, Some(staged)) => match staged.finish(&self.row, self.expected) {
                Ok(index) => Written::Done(index),
                Err(error) => Written::Refused(error),
            },
            (Some(trouble), _) => trouble,
            // It began, or there is a reason why not.
            (None, None) => Written::Lost("it was given up".to_owned()),
        };
        (self.path.clone(), self.row.clone(), written)
    }

    /// Pieces of nothing but zeros are holes; where the file ends in one, its last byte gives it its length.
    fn zeros(&self, staged: &Staged) -> Result<(), Written> {
        let mut ends_in_zeros = false;
        for piece in self.row.each_piece().into_iter().flatten() {
            ends_in_zeros = piece.place == Some(&Place::Zeros);
            if ends_in_zeros && !piece.holds_zeros() {
                return Err(Written::Lost("the snapshot takes for zeros what is none".to_owned()));
            }
        }
        if ends_in_zeros {
            staged.write_at(&[0], self.row.size - 1).map_err(Written::Refused)?;
        }
        Ok(())
    }
}
