//! Contents on their way out of packs: ranges that hold what is wanted, each piece checked, files finished as their
//! last piece arrives; and single contents, as bytes or as the source of an upload.
//!
//! A pack that is gone or wrong fails the files that need it, by name, and nothing else: whoever asked may have the
//! content elsewhere. What is to be written where was decided before.

mod incoming;
mod ranges;
mod reading;

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use self::{
    incoming::Incoming,
    ranges::{Part, Range, fetch, ranges},
};
pub(super) use self::{
    incoming::Written,
    reading::{PackSource, content},
};
use super::{SyncError, remote::blocking, room::Room};
use crate::{
    report::{Events, Phase, Progress},
    rows::{RelPath, Row},
    store::Store,
    worktree::{Expected, Writer},
};

/// How many files may be open at once because their pieces lie far apart: containers give a process 1,024 descriptors.
const OPEN: usize = 256;

/// A file that is to be written.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Where.
    pub(super) path: RelPath,
    /// What, with all its places.
    pub(super) row: Row,
    /// What must be there.
    pub(super) expected: Expected,
}

/// What one request has brought.
#[derive(Default)]
struct Finished {
    bytes: u64,
    /// One of those whose content it was.
    at: Option<RelPath>,
    files: Vec<(RelPath, Row, Written)>,
}

/// Writes `wanted` out of their packs, the first first as far as packs allow. Each file's end is told to `done` as it
/// comes; its error ends all.
///
/// # Errors
/// What is not about single files: the server, a thread that ended badly, and what `done` says.
pub(super) async fn unpack(
    store: &Store,
    writer: &Writer,
    wanted: Vec<Wanted>,
    events: &dyn Events,
    mut done: impl FnMut(RelPath, Row, Written) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let total = wanted.iter().map(|wanted| wanted.row.size).sum();
    let (room, mut so_far) = (Room::new(), 0);
    let room = &room;
    let jobs = Waves(wanted.into_iter().peekable()).flat_map(jobs);
    let mut running = stream::iter(jobs.map(|job| async move {
        let writer = writer.clone();
        match job {
            Job::Bare(files) => blocking(move || finish_all(&files, &writer)).await,
            Job::Range(range) => {
                let _place = room.take(range.bytes()).await;
                // A disk that is full, a pack that is gone: the rest of a large file need not be fetched any more.
                let is_wanted = range.parts().any(|part| !part.of.is_given_up());
                let bytes = if is_wanted { fetch(store, &range).await? } else { Err("it was given up".to_owned()) };
                blocking(move || take_in(&range, &bytes, &writer)).await
            }
        }
    }))
    .buffer_unordered(store.widths().0.max(1));
    while let Some(finished) = running.next().await {
        let Finished { bytes, at, files } = finished?;
        so_far += bytes;
        events.progress(Progress::new(Phase::Download, so_far, total, at.map(|path| path.to_string())));
        for (path, row, written) in files {
            done(path, row, written)?;
        }
    }
    Ok(())
}

/// Some of the files that are wanted, in their order: as many as may be open at once.
struct Waves<I: Iterator<Item = Wanted>>(std::iter::Peekable<I>);

impl<I: Iterator<Item = Wanted>> Iterator for Waves<I> {
    type Item = Vec<Arc<Incoming>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.peek()?;
        let (mut wave, mut open) = (Vec::new(), 0);
        while let Some(wanted) = self.0.next_if(|_| open < OPEN) {
            let incoming = Incoming::new(wanted);
            open += usize::from(incoming.is_scattered());
            wave.push(Arc::new(incoming));
        }
        Some(wave)
    }
}

enum Job {
    /// Files of which nothing lies in packs: empty ones, zeros, and those that cannot be had.
    Bare(Vec<Arc<Incoming>>),
    Range(Range<Arc<Incoming>>),
}

/// What is to be done for a wave; ranges in the order of the first file that needs each.
fn jobs(wave: Vec<Arc<Incoming>>) -> Vec<Job> {
    let (bare, packed): (Vec<_>, Vec<_>) = wave.into_iter().partition(|file| file.is_complete());
    let parts = packed.iter().zip(0..).flat_map(|(file, order)| {
        Part::all_of(file.row(), 0..usize::MAX).map(move |(frame, part)| (frame, part.of(order, Arc::clone(file))))
    });
    let mut ranges = ranges(parts);
    ranges.sort_by_key(Range::order);
    let bare = (!bare.is_empty()).then_some(Job::Bare(bare));
    bare.into_iter().chain(ranges.into_iter().map(Job::Range)).collect()
}

impl Finished {
    /// All of a file was looked at: it is finished at once, for a range may hold many thousands.
    fn finish(&mut self, file: &Incoming, writer: &Writer) {
        self.bytes += file.bytes_outside();
        self.at = Some(file.path().clone());
        self.files.push(file.finish(writer));
    }
}

/// Writes what came to the files it belongs to; those that are complete by now are finished.
fn take_in(range: &Range<Arc<Incoming>>, bytes: &Result<Vec<u8>, String>, writer: &Writer) -> Finished {
    let mut finished = Finished::default();
    range.inflate(bytes, |part, found| {
        finished.bytes += u64::from(part.length);
        if part.of.take(writer, part.at, found) {
            finished.finish(&part.of, writer);
        }
    });
    if finished.at.is_none() {
        finished.at = range.parts().next().map(|part| part.of.path().clone());
    }
    finished
}

/// Finishes files that need nothing.
fn finish_all(files: &[Arc<Incoming>], writer: &Writer) -> Finished {
    let mut finished = Finished::default();
    for file in files {
        finished.finish(file, writer);
    }
    finished
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
