//! Single contents out of packs: as bytes, or as the source of an upload, which is never whole in memory.

use std::{
    io,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use super::{
    super::{SyncError, remote::blocking},
    ranges::{self, Part, fetch},
};
use crate::{
    rows::{Place, Row, piece_bytes},
    store::{Ranged, Source, Span, Store},
};

/// Ranges of one content at once.
const WIDTH: usize = 4;

/// The content of a small file, checked; or why its packs do not have it, in a sentence that names the pack.
///
/// # Errors
/// What is not about this content: the server.
pub(in super::super) async fn content(store: &Store, row: &Row) -> Result<Result<Vec<u8>, String>, SyncError> {
    if let Err(why) = check(row) {
        return Ok(Err(why));
    }
    let (numbers, row) = (0..usize::MAX, row.clone());
    let found = fetch_all(store, &row, numbers.clone()).await?;
    blocking(move || put_together(&row, numbers, &found)).await
}

fn check(row: &Row) -> Result<(), String> {
    let is_sound = row.is_stored() && row.pieces_fit();
    if is_sound { Ok(()) } else { Err("no pack has all of its content".to_owned()) }
}

/// A range, and its bytes or why there are none.
type Found = (ranges::Range<()>, Result<Vec<u8>, String>);

/// What the pieces with these numbers lie in.
async fn fetch_all(store: &Store, row: &Row, numbers: Range<usize>) -> Result<Vec<Found>, SyncError> {
    stream::iter(ranges::ranges(Part::all_of(row, numbers)))
        .map(|range| async move {
            let bytes = fetch(store, &range).await?;
            Ok((range, bytes))
        })
        .buffer_unordered(WIDTH)
        .try_collect()
        .await
}

/// The pieces with these numbers, one after the other, each checked.
fn put_together(row: &Row, numbers: Range<usize>, found: &[Found]) -> Result<Vec<u8>, String> {
    let wanted = || row.each_piece().into_iter().flatten().skip(numbers.start).take(numbers.len());
    if wanted().any(|piece| piece.place == Some(&Place::Zeros) && !piece.holds_zeros()) {
        return Err("the snapshot takes for zeros what is none".to_owned());
    }
    let begin = wanted().next().map_or(0, |piece| piece.at);
    let (mut content, mut trouble) = (vec![0; wanted().map(|piece| piece.length as usize).sum()], None);
    for (range, bytes) in found {
        range.inflate(bytes, |part, found| {
            let at = (part.at - begin) as usize;
            match found {
                Ok(found) => content[at..at + found.len()].copy_from_slice(found),
                Err(why) => drop(trouble.get_or_insert(why)),
            }
        });
    }
    trouble.map_or(Ok(content), Err)
}

/// A large content on its way from packs to an object: read piece by piece, each checked, so that it needs neither
/// memory nor disk.
pub(in super::super) struct PackSource {
    store: Store,
    runtime: Handle,
    row: Row,
    /// The number of the next piece.
    next: usize,
    /// What was read and not yet taken.
    ready: BytesMut,
    lost: Arc<OnceLock<String>>,
}

impl PackSource {
    /// Reads the content of `row`. To be made within a runtime, by whose threads it is read. Where it turns out that
    /// the packs do not have the content, `lost` says why.
    pub(in super::super) fn new(store: &Store, row: &Row, lost: Arc<OnceLock<String>>) -> Self {
        let (store, row) = (store.clone(), row.clone());
        Self { store, runtime: Handle::current(), row, next: 0, ready: BytesMut::new(), lost }
    }

    fn give_up(&self, why: String) -> io::Error {
        let error = io::Error::other(why.clone());
        let _ = self.lost.set(why);
        error
    }
}

impl Source for PackSource {
    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        if self.next == 0 {
            check(&self.row).map_err(|why| self.give_up(why))?;
        }
        while self.ready.len() < length {
            // A size that fits into memory is at most so many pieces.
            let count = (length - self.ready.len()).div_ceil(piece_bytes(self.row.size) as usize);
            let numbers = self.next..self.next + count;
            // This is called on a thread that may block, beside those that the request needs.
            let found = self.runtime.block_on(fetch_all(&self.store, &self.row, numbers.clone()));
            let found = put_together(&self.row, numbers.clone(), &found.map_err(io::Error::other)?);
            let found = found.map_err(|why| self.give_up(why))?;
            if found.is_empty() {
                return Err(io::Error::other("more is to be taken than the content has"));
            }
            self.ready.extend_from_slice(&found);
            self.next = numbers.end;
        }
        Ok(self.ready.split_to(length).freeze())
    }

    fn seal(&mut self) -> io::Result<()> {
        // The pieces are those of the content, and each was checked.
        let is_whole = self.ready.is_empty() && self.row.each_piece().is_some_and(|pieces| self.next >= pieces.len());
        if is_whole { Ok(()) } else { Err(io::Error::other("not all of it was taken")) }
    }
}

impl Ranged for PackSource {
    fn read(&mut self, span: Span) -> io::Result<Bytes> {
        check(&self.row).map_err(|why| self.give_up(why))?;
        let step = piece_bytes(self.row.size);
        let number = |at: u64| usize::try_from(at.div_ceil(step)).map_err(io::Error::other);
        let numbers = number(span.start)?..number(span.end)?;
        // As above.
        let found = self.runtime.block_on(fetch_all(&self.store, &self.row, numbers.clone()));
        let found = put_together(&self.row, numbers, &found.map_err(io::Error::other)?);
        found.map(Bytes::from).map_err(|why| self.give_up(why))
    }
}
