//! Tidying: which packs a checkpoint packs again from the local disk, so that a snapshot does not end up in hundreds of
//! small ones, or keep large ones alive for a little. Nothing is deleted here: that is a prune's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::SyncError;
use crate::{
    plan::{PackUse, packs_to_renew},
    rows::{Frame, PackName, Place, Rows},
    snapshot::pack_key,
    store::Store,
};

/// Where all packs of a workspace are.
const PACKS: &str = ".stopover/packs/";
/// Every so many commits a checkpoint looks whether there is something to tidy.
const EVERY: u64 = 8;
/// So many bytes are packed again at once, so that a checkpoint stays a checkpoint.
const AT_ONCE: u64 = 256 << 20;

/// Whether the checkpoint that makes this snapshot looks.
pub(super) const fn is_due(seq: u64) -> bool {
    seq.is_multiple_of(EVERY)
}

/// The packs whose content is to be packed again: those that would free most go first, as many as fit at once.
///
/// # Errors
/// The listing.
pub(super) async fn packs(store: &Store, rows: &Rows) -> Result<BTreeSet<PackName>, SyncError> {
    let listed = store.list(PACKS).all().await?;
    let lengths: HashMap<String, u64> = listed.into_iter().map(|listed| (listed.key, listed.size)).collect();
    let uses = uses(rows, |pack| lengths.get(&pack_key(pack)).copied());
    let due: BTreeSet<PackName> = packs_to_renew(&uses).into_iter().collect();
    let mut due: Vec<&PackUse<PackName>> = uses.iter().filter(|pack| due.contains(&pack.pack)).collect();
    due.sort_by_key(|pack| pack.used * 1024 / pack.bytes.max(1));
    let mut bytes = 0;
    let fit = due.into_iter().take_while(|pack| {
        bytes += pack.used;
        bytes <= AT_ONCE
    });
    Ok(fit.map(|pack| pack.pack.clone()).collect())
}

/// How much of each pack the rows use. One whose length is not known is not counted: it may be gone.
fn uses(rows: &Rows, length: impl Fn(&PackName) -> Option<u64>) -> Vec<PackUse<PackName>> {
    let mut frames: BTreeSet<&Frame> = BTreeSet::new();
    for place in rows.values().flat_map(|row| row.pieces.places()) {
        frames.extend(Place::frame(place).map(AsRef::as_ref));
    }
    let mut used: BTreeMap<&PackName, u64> = BTreeMap::new();
    for frame in frames {
        *used.entry(&frame.pack).or_default() += u64::from(frame.length);
    }
    let pack = |(pack, used): (&PackName, u64)| Some(PackUse { pack: pack.clone(), bytes: length(pack)?, used });
    used.into_iter().filter_map(pack).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rows::{Hash, Pieces, RelPath, Row};

    #[test]
    fn a_frame_counts_once_however_many_files_lie_in_it() {
        let frame =
            |pack: &str, at, length| Arc::new(Frame { pack: PackName::new(pack), at, length, inflated: length });
        let (one, other, third) = (frame("a", 0, 100), frame("a", 100, 50), frame("b", 0, 10));
        let row = |frame: &Arc<Frame>, at| Row {
            pieces: Pieces::One(Place::In { frame: Arc::clone(frame), at }),
            ..Row::file(Hash::of(b"x"), 1, 0o644)
        };
        let rows: Rows = [("1", row(&one, 0)), ("2", row(&one, 1)), ("3", row(&other, 0)), ("4", row(&third, 0))]
            .map(|(path, row)| (RelPath::new(path).unwrap(), row))
            .into();
        let found = uses(&rows, |pack| (pack.as_str() == "a").then_some(400));
        assert_eq!(found, [PackUse { pack: PackName::new("a"), bytes: 400, used: 150 }]);
        assert_eq!(packs_to_renew(&found), [PackName::new("a")]);
    }
}
