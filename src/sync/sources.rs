//! Where the bytes of large files come from on their way up: a file of the directory, or an object that gets another
//! name. Neither is ever whole in memory.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;

use crate::{
    rows::{ETag, Hash, Hasher, Row, piece_bytes},
    store::{Opened, Ranged, Source, Span, Store, StoreError},
    worktree::Stat,
};

pub(super) fn stat_of(file: &File) -> io::Result<Stat> {
    Ok(Stat::from(nix::sys::stat::fstat(file)?))
}

pub(super) fn is_same(before: &Stat, after: &Stat) -> bool {
    (before.size, before.mtime_ns, before.ctime_ns, before.ino)
        == (after.size, after.mtime_ns, after.ctime_ns, after.ino)
}

/// A file on its way up, which becomes visible only if it is still what was scanned.
pub(super) struct Hashing {
    pub(super) file: File,
    pub(super) at: u64,
    pub(super) hasher: Hasher,
    pub(super) wanted: Hash,
    /// Its stat when it was opened.
    pub(super) still: Stat,
}

impl Source for Hashing {
    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.at)?;
        self.at += length as u64;
        self.hasher.update(&bytes);
        Ok(bytes.into())
    }

    fn seal(&mut self) -> io::Result<()> {
        let is_still = is_same(&self.still, &stat_of(&self.file)?);
        if self.hasher.finish() == self.wanted && is_still {
            Ok(())
        } else {
            Err(io::Error::other("the file was written to meanwhile"))
        }
    }
}

/// A file whose pieces are read one by one, each only if it is still what the row says.
pub(super) struct Checked {
    pub(super) file: File,
    pub(super) row: Row,
}

impl Ranged for Checked {
    fn read(&mut self, span: Span) -> io::Result<Bytes> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; usize::try_from(span.end - span.start).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, span.start)?;
        let step = usize::try_from(piece_bytes(self.row.size)).map_err(io::Error::other)?;
        let first = usize::try_from(span.start / step as u64).map_err(io::Error::other)?;
        let pieces = self.row.each_piece().filter(|_| span.start.is_multiple_of(step as u64));
        let mut pieces = pieces.ok_or_else(|| io::Error::other("nobody knows its pieces"))?.skip(first);
        let is_still = bytes.chunks(step).all(|part| pieces.next().is_some_and(|piece| piece.holds(part)));
        if is_still { Ok(bytes.into()) } else { Err(io::Error::other("the file was written to meanwhile")) }
    }
}

/// A large object of theirs on its way to its copy: read part by part, so that it needs neither memory nor disk.
pub(super) struct Remote {
    pub(super) store: Store,
    pub(super) runtime: Handle,
    pub(super) key: String,
    pub(super) etag: ETag,
    pub(super) at: u64,
    pub(super) hasher: Hasher,
    pub(super) wanted: Hash,
    /// Set where it is another version by now.
    pub(super) moved: Arc<AtomicBool>,
}

impl Source for Remote {
    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        let span = self.at..self.at + length as u64;
        let read = async {
            let Opened::Found(mut reader) = self.store.open(&self.key, Some(span), Some(&self.etag)).await? else {
                return Ok(None);
            };
            let mut bytes = BytesMut::with_capacity(length);
            while let Some(chunk) = reader.next_chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            Ok::<_, StoreError>(Some(bytes.freeze()))
        };
        // This is called on a thread that may block, beside those that the request needs.
        let read = self.runtime.block_on(read).map_err(io::Error::other)?;
        let Some(bytes) = read else {
            self.moved.store(true, Ordering::Relaxed);
            return Err(io::Error::other("it became another version"));
        };
        self.at += bytes.len() as u64;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn seal(&mut self) -> io::Result<()> {
        if self.hasher.finish() == self.wanted { Ok(()) } else { Err(io::Error::other("its content is another")) }
    }
}
