//! Head, watched while requests go out that count only as long as it names one snapshot. A prune or a tag writes head
//! and changes nothing of that.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::Mutex};

use super::{
    SyncError,
    remote::{HeadAt, read_head_since},
};
use crate::{
    snapshot::{HeadState, SnapshotId},
    store::{Ranged, Source, Span, Store},
};

/// How old the last look at head may be when a request goes out.
const FRESH: Duration = Duration::from_secs(5);

/// Head, as long as it names one snapshot.
#[derive(Debug)]
pub(super) struct Watch {
    store: Store,
    snapshot: Option<SnapshotId>,
    last: Mutex<Last>,
    moved: AtomicBool,
}

#[derive(Debug)]
struct Last {
    head: HeadAt,
    /// When the last look began.
    at: Option<Instant>,
}

impl Watch {
    pub(super) fn new(store: &Store, head: &HeadAt) -> Arc<Self> {
        let last = Mutex::new(Last { head: head.clone(), at: None });
        Arc::new(Self { store: store.clone(), snapshot: head.head.snapshot, last, moved: AtomicBool::new(false) })
    }

    /// Whether head names the snapshot, by a look that is not older than a few seconds.
    pub(super) async fn is_still(&self) -> Result<bool, SyncError> {
        self.look_unless(|at| at.elapsed() < FRESH).await
    }

    /// Whether head names the snapshot, by a look that began after `since`.
    pub(super) async fn is_still_after(&self, since: Instant) -> Result<bool, SyncError> {
        self.look_unless(|at| at > since).await
    }

    /// Whether it was seen to name another one.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    /// One look serves all who wait for it.
    async fn look_unless(&self, is_enough: impl Fn(Instant) -> bool) -> Result<bool, SyncError> {
        let mut last = self.last.lock().await;
        if self.has_moved() || last.at.is_some_and(&is_enough) {
            return Ok(!self.has_moved());
        }
        let begun = Instant::now();
        match read_head_since(&self.store, Some(last.head.clone())).await? {
            Some(head) if head.head.state == HeadState::Live && head.head.snapshot == self.snapshot => {
                *last = Last { head, at: Some(begun) };
                Ok(true)
            }
            _ => {
                self.moved.store(true, Ordering::Relaxed);
                Ok(false)
            }
        }
    }
}

/// A source whose bytes become visible only while head names the snapshot; a long upload is given up when it does not
/// any more.
pub(super) struct Watched<S> {
    pub(super) source: S,
    pub(super) watch: Arc<Watch>,
    pub(super) runtime: Handle,
}

impl<S> Watched<S> {
    fn check(&self) -> io::Result<()> {
        // Sources are read on threads that may block.
        match self.runtime.block_on(self.watch.is_still()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other("another container has committed meanwhile")),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl<S: Source> Source for Watched<S> {
    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        self.check()?;
        self.source.take(length)
    }

    fn seal(&mut self) -> io::Result<()> {
        self.source.seal()?;
        self.check()
    }
}

impl<S: Ranged> Ranged for Watched<S> {
    fn read(&mut self, span: Span) -> io::Result<Bytes> {
        self.check()?;
        self.source.read(span)
    }

    fn go_on(&mut self) -> io::Result<()> {
        self.source.go_on()?;
        self.check()
    }
}
