//! Many small contents out of packs, one by one: what was fetched for one is kept for its neighbours. Every piece is
//! checked; what a pack lacks is said, and is no error of the others.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::{SyncError, remote::blocking};
use crate::{
    rows::{Frame, PieceOf, Place, Row},
    snapshot::{
        frame::{self, FrameReader},
        pack_key,
    },
    store::{Opened, Store, StoreErrorKind},
};

/// Inflated frames that are kept: files that lie beside each other were packed beside each other.
const KEPT: usize = 8;
/// Larger ones are kept by nobody: they hold one piece.
const KEPT_BYTES: u32 = 2 << 20;
/// Frames of one content that are fetched at once.
const WIDTH: usize = 4;

/// Why a content did not come out of its packs.
#[derive(Debug)]
pub(super) enum Lost {
    /// This one is not there, or wrong, and why.
    This(String),
    /// Nothing came.
    All(SyncError),
}

impl From<SyncError> for Lost {
    fn from(error: SyncError) -> Self {
        Self::All(error)
    }
}

type Inflated = Arc<OnceCell<Bytes>>;

/// The packs of a workspace.
#[derive(Debug)]
pub(super) struct Packs {
    store: Store,
    kept: Mutex<VecDeque<(Arc<Frame>, Inflated)>>,
}

impl Packs {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), kept: Mutex::default() }
    }

    /// The whole content of `row`, which is small enough for memory.
    pub(super) async fn content(&self, row: &Row) -> Result<Bytes, Lost> {
        self.begin_of(row, usize::MAX).await
    }

    /// What the content of `row` begins with.
    pub(super) async fn begin_of(&self, row: &Row, length: usize) -> Result<Bytes, Lost> {
        if !row.pieces_fit() {
            return Err(wrong("its pieces are not those of its content"));
        }
        let Some(pieces) = row.each_piece() else { return Err(wrong("nobody knows its pieces")) };
        let wanted = pieces.take_while(|piece| piece.at < length as u64);
        let mut parts = stream::iter(wanted.map(|piece| self.piece(piece))).buffered(WIDTH);
        let mut content = BytesMut::new();
        while let Some(part) = parts.try_next().await? {
            content.extend_from_slice(&part);
        }
        content.truncate(length);
        Ok(content.freeze())
    }

    async fn piece(&self, piece: PieceOf<'_>) -> Result<Bytes, Lost> {
        match piece.place {
            None => Err(wrong("a piece of it is stored nowhere")),
            Some(Place::Zeros) if piece.holds_zeros() => Ok(BytesMut::zeroed(piece.length as usize).freeze()),
            Some(Place::Zeros) => Err(wrong("what should be zeros is not")),
            Some(Place::In { frame, .. }) => {
                let inflated = self.inflated(frame).await?;
                let found = frame::piece(&inflated, &piece).map_err(|error| Lost::This(error.to_string()))?;
                Ok(inflated.slice_ref(found))
            }
        }
    }

    /// The content of a frame. Who asks while it is on its way waits for it.
    async fn inflated(&self, frame: &Arc<Frame>) -> Result<Bytes, Lost> {
        if frame.inflated > KEPT_BYTES {
            return self.fetch(frame).await;
        }
        let cell = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            match kept.iter().find(|(other, _)| other == frame) {
                Some((_, cell)) => Arc::clone(cell),
                None => {
                    let cell = Inflated::default();
                    kept.push_back((Arc::clone(frame), Arc::clone(&cell)));
                    if kept.len() > KEPT {
                        kept.pop_front();
                    }
                    cell
                }
            }
        };
        cell.get_or_try_init(|| self.fetch(frame)).await.cloned()
    }

    async fn fetch(&self, frame: &Arc<Frame>) -> Result<Bytes, Lost> {
        let bytes = match self.read(frame).await {
            Err(Lost::All(SyncError::Store(error))) if is_about_one(error.kind) => {
                return Err(Lost::This(error.to_string()));
            }
            read => read?,
        };
        let frame = Arc::clone(frame);
        let inflated = blocking(move || {
            let mut reader = FrameReader::new()?;
            reader.inflate(&frame, &bytes).map(Bytes::copy_from_slice)
        });
        inflated.await?.map_err(|error| Lost::This(error.to_string()))
    }

    async fn read(&self, frame: &Frame) -> Result<Bytes, Lost> {
        let opened = self.store.open(&pack_key(&frame.pack), Some(frame.range()), None).await;
        let Opened::Found(mut reader) = opened.map_err(SyncError::from)? else {
            return Err(Lost::This(format!("pack {} is gone", frame.pack)));
        };
        let mut bytes = BytesMut::with_capacity(frame.length as usize);
        while let Some(chunk) = reader.next_chunk().await.map_err(SyncError::from)? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

/// Whether a read that failed says something about this pack only: it is shorter than the tree says, for one.
const fn is_about_one(kind: StoreErrorKind) -> bool {
    use StoreErrorKind::{BadRequest, BrokenAnswer, Denied, Moved};
    matches!(kind, Denied | BrokenAnswer | Moved | BadRequest)
}

fn wrong(why: &str) -> Lost {
    Lost::This(why.to_owned())
}
