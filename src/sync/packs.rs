//! Contents on their way into packs: files are read once, cut, framed, and go up while the next are read.
//!
//! Few packs are in memory at once, so that it does not grow with the commit. What a pack that did not arrive holds
//! counts as not stored: a name is given only to what is there. Which files are to be stored, and in which order, was
//! decided before.

mod filler;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{ready, try_join},
    stream,
};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use self::filler::{Filler, Finished, Halt, Outcomes};
use super::{Control, SyncError, remote::blocking};
use crate::{
    plan::Uploads,
    report::{Events, NotStoredReason, Phase, Progress},
    rows::{Hash, Kind, PIECE_BYTES, PackName, Pieces, Place, RelPath, Row, Rows},
    snapshot::{Gc, SnapshotId, pack_key},
    store::{Put, PutIf, Store},
    worktree::Directory,
};

/// Finished packs that wait for the network while the next one is filled.
const WAITING: usize = 1;
/// Packs on their way at once: with those that wait and are filled, four of some 16 MiB are in memory.
const WIDTH: usize = 2;
/// The same where time is short and packs are small: on a slow line the first arrive long before the last.
const HURRIED_WIDTH: usize = 3;
/// Where time is short packs go from this length on: each that arrives counts.
const HURRIED_PACK_BYTES: u64 = 4 << 20;
/// How often the caller is asked whether to stop.
const ASK: Duration = Duration::from_millis(50);

/// Where pieces lie that need not be stored again.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What this process uploaded.
    uploads: Uploads<Option<Gc>, Place>,
    /// Those of head's tree, whose packs nobody deletes while it is head's.
    named: Arc<HashMap<Hash, Place>>,
    left_out: HashSet<PackName>,
    /// What is in a pack that counts as uploaded and has not gone yet.
    held: Vec<Hash>,
}

impl Known {
    /// Plans against a head: what its tree names counts. What was uploaded under another `gc` counts no more: a prune
    /// may have swept it as nobody's. Uploads that begin from now on are held to belong to this `gc`. Nor does the last
    /// pack of an attempt that ended, in whatever way, before it went.
    pub(super) fn plan_against(&mut self, gc: Option<Gc>, theirs: &Rows) {
        self.give_up_held();
        self.uploads.forget_before(gc);
        self.named = Arc::new(places_of(theirs));
    }

    /// What lies in these packs lies nowhere from now on, whatever a tree says: it is stored again, because they are to
    /// go, or because they are gone or wrong.
    pub(super) fn leave_out(&mut self, packs: impl IntoIterator<Item = PackName>) {
        self.left_out.extend(packs);
    }

    /// A pack counts before it has gone.
    fn hold(&mut self, pack: &Finished) {
        self.give_up_held();
        self.held = pack.pack.places.iter().map(|((hash, _), _)| *hash).collect();
        pack.pack.places.iter().for_each(|((hash, _), place)| self.uploads.note(*hash, place.clone()));
    }

    /// It does not count any more, for it did not go.
    fn give_up_held(&mut self) {
        for piece in std::mem::take(&mut self.held) {
            self.uploads.forget(&piece);
        }
    }

    /// Where a piece lies, if anywhere that may be named.
    fn place(&self, hash: &Hash) -> Option<&Place> {
        let places = [self.named.get(hash), self.uploads.places().get(hash)].into_iter().flatten();
        places.into_iter().find(|place| counts(place, &self.left_out))
    }

    /// `row` with the places that are known of its pieces; `None` where one of them lies nowhere.
    pub(super) fn placed(&self, row: &Row) -> Option<Row> {
        let pieces = match &row.pieces {
            _ if row.size == 0 || row.kind != Kind::File => Pieces::None,
            Pieces::One(Place::Zeros) => row.pieces.clone(),
            Pieces::None | Pieces::One(_) if row.size > PIECE_BYTES => return None,
            Pieces::None | Pieces::One(_) => Pieces::One(self.place(&row.hash)?.clone()),
            Pieces::Many(pieces) => {
                let mut placed = pieces.clone();
                for piece in &mut placed {
                    if piece.place != Some(Place::Zeros) {
                        piece.place = Some(self.place(&piece.hash)?.clone());
                    }
                }
                Pieces::Many(placed)
            }
        };
        Some(Row { pieces, ..row.clone() })
    }

    /// Whether a piece lies somewhere, as it is now.
    fn lies_somewhere(&self) -> impl Fn(&Hash) -> bool + Send + use<> {
        let (named, left_out) = (Arc::clone(&self.named), self.left_out.clone());
        let uploaded = self.uploads.places().iter().filter(|(_, place)| counts(place, &left_out));
        let uploaded: HashSet<Hash> = uploaded.map(|(hash, _)| *hash).collect();
        move |hash| uploaded.contains(hash) || named.get(hash).is_some_and(|place| counts(place, &left_out))
    }

    /// How many bytes of a file may have to go up.
    fn lacking(&self, row: &Row) -> u64 {
        let Some(pieces) = row.each_piece() else { return row.size };
        let lacking = pieces.filter(|piece| piece.place != Some(&Place::Zeros) && self.place(&piece.hash).is_none());
        lacking.map(|piece| u64::from(piece.length)).sum()
    }
}

fn counts(place: &Place, left_out: &HashSet<PackName>) -> bool {
    place.frame().is_none_or(|frame| !left_out.contains(&frame.pack))
}

fn places_of(rows: &Rows) -> HashMap<Hash, Place> {
    let mut places = HashMap::new();
    for row in rows.values() {
        for piece in row.each_piece().into_iter().flatten() {
            if let Some(place @ Place::In { .. }) = piece.place {
                places.entry(piece.hash).or_insert_with(|| place.clone());
            }
        }
    }
    places
}

/// A file whose content should be in packs.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Where it lies in the directory.
    pub(super) path: RelPath,
    /// Its row as it was scanned; its pieces, where the scan cut it, spare a second reading.
    pub(super) row: Row,
}

/// What became of the contents: each that was wanted is in one of both tables.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Rows as they were read, each with the place of its content.
    pub(super) stored: Rows,
    /// What is in no pack, and why.
    pub(super) not_stored: BTreeMap<RelPath, NotStoredReason>,
    /// Bytes of the packs that arrived.
    pub(super) bytes: u64,
}

impl Packed {
    /// Whether some of it is not stored because there was no time.
    pub(super) fn is_cut_short(&self) -> bool {
        self.not_stored.values().any(|reason| *reason == NotStoredReason::Deadline)
    }

    /// Takes what has no place any more, because its pack did not arrive after all, for not stored.
    pub(super) fn forget_lost(&mut self, known: &Known) {
        let lost: Vec<RelPath> =
            self.stored.iter().filter(|(_, row)| known.placed(row).is_none()).map(|(path, _)| path.clone()).collect();
        for path in lost {
            self.stored.remove(&path);
            self.not_stored.insert(path, NotStoredReason::Deadline);
        }
    }
}

/// A pack that is ready to go, and that counts as known already: it goes beside the tree that names it. One that is
/// dropped counts until the next plan.
pub(super) struct LastPack(Finished);

/// Puts contents into packs.
pub(super) struct Packer<'a> {
    pub(super) store: &'a Store,
    pub(super) dir: &'a Directory,
    /// The attempt to commit whose packs these are.
    pub(super) attempt: SnapshotId,
    /// The number of its next pack.
    pub(super) next: u32,
    /// Whether time is short.
    pub(super) hurry: bool,
    /// Whether no request may begin any more.
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    /// Knows when no request may be waited for any more.
    pub(super) control: &'a Control,
    pub(super) events: &'a dyn Events,
}

impl Packer<'_> {
    /// Stores the pieces of `wanted` that lie nowhere yet, in that order. A small file that was written since the scan
    /// is stored as it is now, a large one only as it was scanned.
    ///
    /// # Errors
    /// What is not about one file: the server refuses packs, a thread ended badly. What arrived before is known.
    pub(super) async fn pack(&mut self, wanted: Vec<Wanted>, known: &mut Known) -> Result<Packed, SyncError> {
        // A pack of another packer's may wait for its tree meanwhile.
        let held = std::mem::take(&mut known.held);
        let packed = self.pack_all(wanted, known).await;
        known.held.extend(held);
        packed
    }

    async fn pack_all(&mut self, wanted: Vec<Wanted>, known: &mut Known) -> Result<Packed, SyncError> {
        let (mut packed, last) = self.pack_but_last(wanted, known).await?;
        if let Some(last) = last {
            match self.send_last(last, known).await? {
                Some(bytes) => packed.bytes += bytes,
                None => packed.forget_lost(known),
            }
        }
        Ok(packed)
    }

    /// Sends the last pack, and says how long it was; `None` where the time was up before it arrived: nothing that is
    /// in it is known any more.
    ///
    /// # Errors
    /// As [`Packer::pack`]; nothing that is in it is known then, either.
    pub(super) async fn send_last(&self, last: LastPack, known: &mut Known) -> Result<Option<u64>, SyncError> {
        let arrived = tokio::select! {
            biased;
            arrived = put(self.store, last.0) => arrived.map(|arrived| Some(arrived.bytes)),
            () = self.control.until_time_is_up() => Ok(None),
        };
        match arrived {
            Ok(Some(_)) => known.held.clear(),
            Ok(None) | Err(_) => known.give_up_held(),
        }
        arrived
    }

    /// The same as [`Packer::pack`], but the last pack does not go yet.
    ///
    /// # Errors
    /// As [`Packer::pack`].
    pub(super) async fn pack_but_last(
        &mut self,
        wanted: Vec<Wanted>,
        known: &mut Known,
    ) -> Result<(Packed, Option<LastPack>), SyncError> {
        let mut packed = Packed::default();
        let mut missing = Vec::new();
        for wanted in wanted {
            match known.placed(&wanted.row) {
                Some(row) => {
                    packed.stored.insert(wanted.path, row);
                }
                None => missing.push(wanted),
            }
        }
        if missing.is_empty() {
            return Ok((packed, None));
        }
        let total = missing.iter().map(|wanted| known.lacking(&wanted.row)).sum();
        let missing: Arc<[Wanted]> = missing.into();
        let (give, take) = mpsc::channel(WAITING);
        let (halt, outcomes) = (Halt::default(), Outcomes::default());
        // However this ends, dropped by its caller too, the thread that reads ends with it.
        let _ends = halt.at_the_end();
        let full = if self.hurry { HURRIED_PACK_BYTES } else { u64::MAX };
        let dir = self.dir.try_clone()?;
        let filler = Filler::new(dir, (self.attempt, self.next), full, known.lies_somewhere(), halt.clone(), give)?;
        let filling = async {
            let (missing, outcomes) = (Arc::clone(&missing), outcomes.clone());
            blocking(move || filler.fill(&missing, &outcomes)).await?
        };
        let control = self.control;
        let sending = self.send(take, known, &halt, total, &mut packed.bytes);
        let last = tokio::select! {
            biased;
            done = try_join(filling, sending) => done?.1,
            // What is on its way still, perhaps to a server that is gone, must not keep the rest from its head.
            () = control.until_time_is_up() => None,
        };
        if let Some(last) = &last {
            known.hold(&last.0);
        }
        let mut read = outcomes.take();
        for (at, Wanted { path, .. }) in missing.iter().enumerate() {
            let outcome = read.remove(&at).unwrap_or(Err(NotStoredReason::Deadline));
            match outcome.and_then(|row| known.placed(&row).ok_or(NotStoredReason::Deadline)) {
                Ok(row) => {
                    packed.stored.insert(path.clone(), row);
                }
                Err(reason) => {
                    packed.not_stored.insert(path.clone(), reason);
                }
            }
        }
        Ok((packed, last))
    }

    /// Sends packs as they come, all but the last, which is given back. After a stop or an error nothing more is taken, so that the filler ends too.
    async fn send(
        &mut self,
        mut take: mpsc::Receiver<Finished>,
        known: &mut Known,
        halt: &Halt,
        total: u64,
        sent: &mut u64,
    ) -> Result<Option<LastPack>, SyncError> {
        let Self { store, next, stop, events, hurry, .. } = self;
        let (store, stop): (&Store, &(dyn Fn() -> bool + Sync)) = (store, stop);
        let packs = stream::poll_fn(move |context| take.poll_recv(context));
        let held: Mutex<Option<Finished>> = Mutex::new(None);
        let mut running = std::pin::pin!(
            packs
                .filter_map(|pack| {
                    // Its name is used from now on, whatever comes of it.
                    *next = pack.number + 1;
                    ready(held.lock().unwrap_or_else(PoisonError::into_inner).replace(pack))
                })
                .map(|pack| {
                    async move {
                        if halt.is_set() || stop() {
                            halt.set();
                            return Ok(None);
                        }
                        put(store, pack).await.map(Some)
                    }
                })
                .buffer_unordered(store.widths().1.clamp(1, if *hurry { HURRIED_WIDTH } else { WIDTH }))
        );
        let mut done = 0;
        let mut ask = tokio::time::interval(ASK);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let arrived = tokio::select! {
                biased;
                next = running.next() => match next {
                    Some(arrived) => arrived?,
                    None => break,
                },
                // Much can be read without a pack getting full.
                _ = ask.tick() => {
                    if stop() {
                        halt.set();
                    }
                    continue;
                }
            };
            if let Some(Arrived { places, bytes, content }) = arrived {
                places.into_iter().for_each(|(hash, place)| known.uploads.note(hash, place));
                *sent += bytes;
                done += content;
                events.progress(Progress::new(Phase::Upload, done, total, None));
            }
        }
        let last = held.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(last.filter(|_| !halt.is_set() && !stop()).map(LastPack))
    }
}

/// A pack that is there.
struct Arrived {
    places: Vec<(Hash, Place)>,
    bytes: u64,
    content: u64,
}

async fn put(store: &Store, Finished { pack, .. }: Finished) -> Result<Arrived, SyncError> {
    let key = pack_key(&pack.name);
    // No name is used twice: there is nothing to be careful of, and a retry writes the same bytes.
    match store.put(&key, Bytes::from(pack.to), PutIf::Any, Some("application/octet-stream")).await? {
        Put::Done(_) => {}
        Put::Refused | Put::Missing => {
            return Err(SyncError::System(format!(
                "{} took pack {} and does not have it: nothing that is in it was committed",
                store.url(),
                pack.name
            )));
        }
        Put::Uncertain(error) => return Err(error.into()),
    }
    let content = pack.places.iter().map(|((_, length), _)| u64::from(*length)).sum();
    let places = pack.places.into_iter().map(|((hash, _), place)| (hash, place)).collect();
    Ok(Arrived { places, bytes: pack.length, content })
}

#[cfg(test)]
#[path = "packs_tests.rs"]
mod tests;
