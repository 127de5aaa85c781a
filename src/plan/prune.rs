//! What nothing can reach any more.
//!
//! Safety does not rest on anything here but the reachable set: a writer whose upload is swept has not moved head yet,
//! and when it tries, `gc` has moved. The 24 hours are a courtesy to slow writers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Numbered, recent};

/// What is younger is not swept.
pub const COURTESY_SECONDS: u64 = 24 * 3600;
const STRAY_SECONDS: u64 = 30 * 24 * 3600;

/// What a head names.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a, I> {
    /// The present snapshot.
    pub snapshot: Option<&'a I>,
    /// The snapshots that are kept.
    pub history: &'a [I],
    /// The last ones.
    pub lineage: &'a [I],
    /// The snapshot whose mirror is the newest known to head.
    pub mirror: Option<&'a I>,
    /// The snapshot of the mirror that one was built from, by its header.
    pub built_from: Option<&'a I>,
}

/// A tree that must be read before anything is swept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// It must be there.
    Must,
    /// It may have been swept before: of a 404 nothing follows, of any other error that the prune stops.
    May,
}

/// The snapshots whose trees (and mirrors) are kept with all that they name: history, the present one, the mirror's,
/// and the recent ones.
#[must_use]
pub fn roots<I: Numbered>(head: &Named<'_, I>) -> BTreeMap<I, Need> {
    let mut roots: BTreeMap<I, Need> =
        recent(head.lineage, head.built_from).iter().chain(head.mirror).map(|id| (id.clone(), Need::May)).collect();
    roots.extend(head.history.iter().chain(head.snapshot).map(|id| (id.clone(), Need::Must)));
    roots
}

/// On servers without conditions: trees that no lineage holds and that may be another's overwritten commit. They stay,
/// with all that they name, for 30 days. `trees` are the listed ones with their age in seconds.
#[must_use]
pub fn strays<I: Numbered>(trees: &BTreeMap<I, u64>, head: &Named<'_, I>) -> BTreeSet<I> {
    // Older than the lineage reaches, a tree is more likely one that was kept once.
    let first = head.lineage.first().map_or(0, Numbered::seq);
    let is_stray = |id: &I, age: u64| {
        id.seq() >= first && age < STRAY_SECONDS && !head.lineage.contains(id) && !head.history.contains(id)
    };
    trees.iter().filter(|(id, age)| is_stray(id, **age)).map(|(id, _)| id.clone()).collect()
}

/// What was listed below `.stopover/`, with its age in seconds by the server's clock, less what is reachable and what
/// is young. `head` is head.json, which is always reachable.
#[must_use]
pub fn sweep<'a, K: Ord>(
    listed: impl IntoIterator<Item = (&'a K, u64)>,
    head: &K,
    kept: &BTreeSet<K>,
    courtesy: bool,
) -> Vec<&'a K> {
    let old = |age: u64| !courtesy || age >= COURTESY_SECONDS;
    listed
        .into_iter()
        .filter(|(key, age)| *key != head && !kept.contains(*key) && old(*age))
        .map(|(key, _)| key)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Id = (u64, u8);

    fn ids(seqs: &[u64]) -> Vec<Id> {
        seqs.iter().map(|&seq| (seq, 0)).collect()
    }

    #[test]
    fn head_history_the_mirror_and_what_is_recent_are_kept() {
        let (history, lineage) = (ids(&[2, 9]), ids(&[5, 6, 7, 8, 9]));
        let named = |built_from| Named {
            snapshot: Some(&lineage[4]),
            history: &history,
            lineage: &lineage,
            mirror: Some(&lineage[2]),
            built_from,
        };
        let found = roots(&named(Some(&(6, 0))));
        let expected = [(2, Need::Must), (7, Need::May), (8, Need::May), (9, Need::Must)];
        assert_eq!(found, expected.map(|(seq, need)| ((seq, 0), need)).into());
        assert_eq!(roots(&named(None)).len(), 6);
        // Neither of them recent, nor in the history.
        let mirror = Some(&lineage[1]);
        let alone = Named {
            snapshot: Some(&(9, 0)),
            history: &history[..1],
            lineage: &lineage[..4],
            mirror,
            built_from: Some(&(8, 0)),
        };
        let expected = [(2, Need::Must), (6, Need::May), (9, Need::Must)];
        assert_eq!(roots(&alone), expected.map(|(seq, need)| ((seq, 0), need)).into());
        let stone = Named::<Id> { snapshot: None, history: &[], lineage: &[], mirror: None, built_from: None };
        assert!(roots(&stone).is_empty());
    }

    #[test]
    fn a_stray_is_younger_than_thirty_days_and_in_no_lineage() {
        let (history, lineage) = (ids(&[2]), ids(&[5, 6]));
        let head =
            Named { snapshot: Some(&lineage[1]), history: &history, lineage: &lineage, mirror: None, built_from: None };
        let day = 24 * 3600;
        let trees =
            [((2, 0), day), ((4, 1), day), ((5, 0), day), ((6, 1), day), ((7, 1), 30 * day), ((7, 2), 29 * day)];
        assert_eq!(strays(&trees.into(), &head), BTreeSet::from([(6, 1), (7, 2)]));
    }

    #[test]
    fn the_sweep_takes_what_is_neither_kept_nor_young() {
        let listed = [("head", 1 << 30), ("kept", 1 << 30), ("old", COURTESY_SECONDS), ("young", COURTESY_SECONDS - 1)];
        let listed = || listed.iter().map(|(key, age)| (key, *age));
        let kept = BTreeSet::from(["kept"]);
        assert_eq!(sweep(listed(), &"head", &kept, true), [&"old"]);
        assert_eq!(sweep(listed(), &"head", &kept, false), [&"old", &"young"]);
    }
}
