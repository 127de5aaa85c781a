//! Tidying: which packs a checkpoint packs again from the local disk, so that a snapshot does not end up in hundreds of
//! small ones, or keep large ones alive for a little. Nothing is deleted here: that is a prune's.
//!
//! How long packs are only a listing tells, and no listing stands on the way of a commit: a checkpoint lists when it is
//! durable, and the next ones go by the note of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{SyncError, commit::Committer, control::Control};
use crate::{
    plan::{PackUse, packs_to_renew},
    rows::{Frame, PackName, Place, Row, Rows},
    snapshot::pack_key,
    store::{Store, StoreErrorKind},
};

/// Where all packs of a workspace are.
const PACKS: &str = ".stopover/packs/";
/// The note of the last listing.
const NOTE: &str = "packs";
/// After so many commits packs are listed again.
const EVERY: u64 = 8;
/// So many bytes are packed again at once, so that a checkpoint stays a checkpoint.
const AT_ONCE: u64 = 256 << 20;

/// What the last listing said.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Listed {
    /// The snapshot that was the newest.
    seq: u64,
    /// The lengths of its packs.
    lengths: BTreeMap<String, u64>,
}

impl Committer<'_> {
    /// The packs whose content a checkpoint packs again: those that would free most go first, as many as fit at once.
    pub(super) fn packs_to_tidy(&self, rows: &Rows) -> BTreeSet<PackName> {
        let lengths = self.listed_packs().unwrap_or_default().lengths;
        let uses = uses(rows, |pack| lengths.get(pack.as_str()).copied());
        let due: BTreeSet<PackName> = packs_to_renew(&uses).into_iter().collect();
        let mut due: Vec<&PackUse<PackName>> = uses.iter().filter(|pack| due.contains(&pack.pack)).collect();
        due.sort_by_key(|pack| pack.used * 1024 / pack.bytes.max(1));
        let mut bytes = 0;
        let fit = due.into_iter().take_while(|pack| {
            bytes += pack.used;
            bytes <= AT_ONCE
        });
        fit.map(|pack| pack.pack.clone()).collect()
    }

    /// The commit is durable: notes how long the packs of `rows` are, where nobody looked for a while.
    pub(super) async fn look_at_packs(&self, seq: u64, rows: &Rows, control: &Control) {
        let looked = self.listed_packs().is_some_and(|listed| (listed.seq..listed.seq + EVERY).contains(&seq));
        if looked || control.is_last() || control.time_is_up() {
            return;
        }
        let lengths = tokio::select! {
            biased;
            lengths = lengths(&self.store, rows) => lengths,
            () = control.until_time_is_up() => return,
        };
        let lengths = match lengths {
            Ok(lengths) => lengths,
            // Whoever may not list may not tidy.
            Err(SyncError::Store(error)) if error.kind == StoreErrorKind::Denied => BTreeMap::new(),
            Err(error) => return tracing::debug!("packs are not looked at: {error}"),
        };
        let note = serde_json::to_vec(&Listed { seq, lengths }).unwrap_or_default();
        if let Err(error) = self.state.write(NOTE, &note) {
            tracing::debug!("{error}");
        }
    }

    fn listed_packs(&self) -> Option<Listed> {
        serde_json::from_slice(&self.state.read(NOTE).ok()??).ok()
    }
}

/// How long the packs that `rows` use are.
async fn lengths(store: &Store, rows: &Rows) -> Result<BTreeMap<String, u64>, SyncError> {
    let frames = rows.values().flat_map(|row| row.pieces.places()).filter_map(Place::frame);
    let used: BTreeSet<&PackName> = frames.map(|frame| &frame.pack).collect();
    let used: HashMap<String, &PackName> = used.into_iter().map(|pack| (pack_key(pack), pack)).collect();
    let listed = store.list(PACKS).all().await?;
    let lengths = listed.into_iter().filter_map(|listed| Some((used.get(&listed.key)?.to_string(), listed.size)));
    Ok(lengths.collect())
}

/// How much of each pack the rows use. One whose length is not known is not counted: it may be gone.
fn uses(rows: &Rows, length: impl Fn(&PackName) -> Option<u64>) -> Vec<PackUse<PackName>> {
    let mut pieces: HashSet<(&Arc<Frame>, u32)> = HashSet::new();
    // Of each frame as much as its pieces are of what it inflates to.
    let mut frames: HashMap<&Arc<Frame>, u64> = HashMap::new();
    for piece in rows.values().filter_map(Row::each_piece).flatten() {
        if let Some(Place::In { frame, at }) = piece.place
            && pieces.insert((frame, *at))
        {
            *frames.entry(frame).or_default() += u64::from(piece.length);
        }
    }
    let mut used: BTreeMap<&PackName, u64> = BTreeMap::new();
    for (frame, inflated) in frames {
        let share = u128::from(frame.length) * u128::from(inflated) / u128::from(frame.inflated.max(1));
        *used.entry(&frame.pack).or_default() += u64::try_from(share).unwrap_or(u64::MAX).min(frame.length.into());
    }
    let pack = |(pack, used): (&PackName, u64)| Some(PackUse { pack: pack.clone(), bytes: length(pack)?, used });
    used.into_iter().filter_map(pack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Hash, Pieces, RelPath};

    #[test]
    fn what_is_used_of_a_frame_is_its_pieces_however_many_files_have_them() {
        let frame =
            |pack: &str, at, length| Arc::new(Frame { pack: PackName::new(pack), at, length, inflated: 2 * length });
        let (one, other, third) = (frame("a", 0, 100), frame("a", 100, 50), frame("b", 0, 10));
        let row = |frame: &Arc<Frame>, at, size| Row {
            pieces: Pieces::One(Place::In { frame: Arc::clone(frame), at }),
            ..Row::file(Hash::of(b"x"), size, 0o644)
        };
        let rows: Rows = [
            ("1", row(&one, 0, 150)),
            ("2", row(&one, 150, 10)),
            ("3", row(&other, 0, 100)),
            ("4", row(&third, 0, 1)),
            ("copy of 1", row(&one, 0, 150)),
        ]
        .map(|(path, row)| (RelPath::new(path).unwrap(), row))
        .into();
        let found = uses(&rows, |pack| (pack.as_str() == "a").then_some(400));
        assert_eq!(found, [PackUse { pack: PackName::new("a"), bytes: 400, used: 80 + 50 }]);
        assert_eq!(packs_to_renew(&found), [PackName::new("a")]);
    }
}
