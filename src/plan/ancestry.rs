//! What a directory may take for its past: the merge base, whether the workspace is still the one it restored, what an
//! answer to the write of head means, and which snapshots are recent.

use super::Base;
use crate::rows::Rows;

/// The id of a snapshot, as planning sees it: names that carry a number, each used once.
pub trait Numbered: Ord + Clone {
    /// Its sequence number.
    fn seq(&self) -> u64;
}

/// What head says of the past.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry<'a, I> {
    /// The first snapshot since the workspace was created.
    pub birth: &'a I,
    /// The last snapshots, oldest first.
    pub lineage: &'a [I],
    /// The kept ones.
    pub history: &'a [I],
}

impl<I: Numbered> Ancestry<'_, I> {
    /// Whether `id` is an ancestor or a kept snapshot.
    #[must_use]
    pub fn knows(&self, id: &I) -> bool {
        self.lineage.contains(id) || self.history.contains(id)
    }

    /// Whether nothing of this workspace's life is missing in the lineage.
    #[must_use]
    pub fn reaches_birth(&self) -> bool {
        self.lineage.contains(self.birth)
    }

    /// Whether `id` is older than what the lineage holds, so that its absence there proves nothing. Missing *within*
    /// the lineage it is no ancestor.
    #[must_use]
    pub fn is_too_old(&self, id: &I) -> bool {
        !self.reaches_birth() && self.lineage.first().is_some_and(|first| id.seq() < first.seq())
    }
}

/// What head.json is.
#[derive(Clone, Copy, Debug)]
pub enum Present<'a, I> {
    /// There is none.
    Nothing,
    /// The workspace was deleted.
    Tombstone {
        /// Whether this is the version that the directory's import started from.
        is_start: bool,
    },
    /// The workspace is there.
    Head(Ancestry<'a, I>),
}

/// What a directory noted of its past.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a, I> {
    /// The snapshot that O belongs to; none after an import of a workspace without one.
    pub mine: Option<&'a I>,
    /// The newest head known to descend from it.
    pub seen: Option<&'a I>,
    /// The birth of its workspace; none if it had no head yet.
    pub birth: Option<&'a I>,
}

/// The merge base: O, as far as the lineage proves that it is an ancestor of theirs.
#[must_use]
pub fn base<'a, I: Numbered>(origin: Option<&'a Rows>, past: &Past<'_, I>, present: &Present<'_, I>) -> Base<'a> {
    let Some(origin) = origin else { return Base::None };
    // `seen` proves as much as `mine` because it came after it.
    let later = past.seen.filter(|seen| past.mine.is_none_or(|mine| mine.seq() <= seen.seq()));
    let ids = || [past.mine, later].into_iter().flatten();
    let proven = match present {
        // Nobody committed but, in a lost life, this directory.
        Present::Nothing => ids().next().is_none(),
        Present::Tombstone { is_start } => *is_start,
        Present::Head(ancestry) if ids().next().is_none() => ancestry.reaches_birth(),
        Present::Head(ancestry) => ids().any(|id| ancestry.knows(id)),
    };
    match present {
        _ if proven => Base::Known(origin),
        Present::Head(ancestry) if ids().next().is_some() && ids().all(|id| ancestry.is_too_old(id)) => {
            Base::Older(origin)
        }
        _ => Base::None,
    }
}

/// Whether the workspace this directory belongs to was deleted, or made anew: nothing is created or merged then.
#[must_use]
pub fn is_gone<I: Numbered>(past: &Past<'_, I>, present: &Present<'_, I>) -> bool {
    match present {
        Present::Nothing => past.birth.is_some(),
        Present::Tombstone { is_start } => !is_start,
        Present::Head(ancestry) => past.birth.is_some_and(|birth| birth != ancestry.birth),
    }
}

/// Whether head surely descends from what the directory took in: its snapshot is noted as `seen` then, and proves as
/// much as `mine` from now on. What `seen` proves it hands on, so that a directory that commits nothing does not lose
/// its base to a lineage that has grown past `mine`.
#[must_use]
pub fn descends<I: Numbered>(past: &Past<'_, I>, present: &Present<'_, I>) -> bool {
    match present {
        Present::Head(ancestry) => {
            !is_gone(past, present) && [past.mine, past.seen].into_iter().flatten().any(|id| ancestry.knows(id))
        }
        Present::Nothing | Present::Tombstone { .. } => false,
    }
}

/// What became of a write of head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cas {
    /// It was applied; others may be on top.
    Durable,
    /// It was not applied yet: the same bytes again.
    Again,
    /// The workspace was deleted, or made anew: stop.
    Gone,
    /// Another writer's was applied: plan again.
    Lost,
}

/// Reads the head that was found after any answer but 200. `is_ours`: what was to be written has been head (for a
/// commit: its id is in the lineage, which a tombstone keeps). `is_old`: head is what it was before (none before, none
/// now counts).
#[must_use]
pub fn after_cas<I: Numbered>(is_ours: bool, is_old: bool, past: &Past<'_, I>, present: &Present<'_, I>) -> Cas {
    match present {
        _ if is_ours => Cas::Durable,
        _ if is_old => Cas::Again,
        // There was one, or there is one now that is nobody's commit.
        Present::Nothing | Present::Tombstone { .. } => Cas::Gone,
        Present::Head(_) if is_gone(past, present) => Cas::Gone,
        Present::Head(_) => Cas::Lost,
    }
}

/// The snapshots whose catch-up may still be on its way: those after the one whose mirror the present mirror was built
/// from, up to head. Without such a mirror, or where the lineage does not reach back to it, all of the lineage.
#[must_use]
pub fn recent<'a, I: Numbered>(lineage: &'a [I], built_from: Option<&I>) -> &'a [I] {
    let at = built_from.and_then(|id| lineage.iter().position(|other| other == id));
    at.map_or(lineage, |at| &lineage[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tables::{file, table};

    impl Numbered for (u64, u8) {
        fn seq(&self) -> u64 {
            self.0
        }
    }

    type Id = (u64, u8);

    fn lineage(from: u64, to: u64) -> Vec<Id> {
        (from..=to).map(|seq| (seq, 0)).collect()
    }

    fn kind(base: Base<'_>) -> &'static str {
        match base {
            Base::Known(_) => "known",
            Base::None => "none",
            Base::Older(_) => "older",
        }
    }

    #[test]
    fn o_counts_as_far_as_the_lineage_proves_it() {
        let origin = table(&[("a", file("1"))]);
        let (whole, cut) = (lineage(1, 9), lineage(5, 9));
        let history = [(2, 0)];
        let is_base = |lineage: &[Id], history: &[Id], mine: Option<Id>, seen: Option<Id>| {
            let birth = (1, 0);
            let past = Past { mine: mine.as_ref(), seen: seen.as_ref(), birth: Some(&birth) };
            kind(base(Some(&origin), &past, &Present::Head(Ancestry { birth: &birth, lineage, history })))
        };
        for (lineage, mine, seen, expected) in [
            (&whole, Some((3, 0)), None, "known"),
            // A head that went back, or another's commit of that number: no ancestor.
            (&whole, Some((3, 1)), None, "none"),
            (&whole, Some((12, 0)), None, "none"),
            (&cut, Some((3, 0)), None, "older"),
            (&cut, Some((3, 0)), Some((6, 0)), "known"),
            (&cut, Some((3, 0)), Some((6, 1)), "none"),
            (&cut, Some((3, 0)), Some((4, 0)), "older"),
            (&whole, Some((12, 0)), Some((3, 0)), "none"),
            (&cut, Some((2, 0)), None, "known"),
            // An import's.
            (&whole, None, None, "known"),
            (&cut, None, None, "none"),
        ] {
            assert_eq!(is_base(lineage, &history, mine, seen), expected, "{mine:?} {seen:?}");
        }
        let past = Past::<Id> { mine: None, seen: None, birth: None };
        assert_eq!(kind(base(None, &past, &Present::Nothing)), "none");
        assert_eq!(kind(base(Some(&origin), &past, &Present::Nothing)), "known");
        assert_eq!(kind(base(Some(&origin), &past, &Present::Tombstone { is_start: true })), "known");
        assert_eq!(kind(base(Some(&origin), &past, &Present::Tombstone { is_start: false })), "none");
    }

    #[test]
    fn every_answer_to_the_write_of_head_is_read_by_the_table() {
        let (birth, other) = ((1, 0), (1, 1));
        let ours = lineage(1, 5);
        let born = |lineage| Present::Head(Ancestry { birth: &birth, lineage, history: &[] });
        let past = Past { mine: Some(&birth), seen: None, birth: Some(&birth) };
        let new = Past::<Id> { mine: None, seen: None, birth: None };
        let anew = Present::Head(Ancestry { birth: &other, lineage: &ours[..1], history: &[] });
        let deleted = Present::Tombstone { is_start: false };
        for (past, is_ours, is_old, present, expected) in [
            (&past, true, false, born(&ours), Cas::Durable),
            // Deleted since: it was durable all the same, and the next commit hears of the rest.
            (&past, true, false, deleted, Cas::Durable),
            (&past, false, true, born(&ours[..4]), Cas::Again),
            (&past, false, false, born(&ours[..4]), Cas::Lost),
            (&past, false, false, Present::Nothing, Cas::Gone),
            (&past, false, false, deleted, Cas::Gone),
            (&past, false, false, anew, Cas::Gone),
            (&new, false, true, Present::Nothing, Cas::Again),
            (&new, false, true, Present::Tombstone { is_start: true }, Cas::Again),
            (&new, false, false, deleted, Cas::Gone),
            // Two imports of one tombstone: somebody else's commit made the workspace anew, not without us.
            (&new, false, false, anew, Cas::Lost),
        ] {
            assert_eq!(after_cas(is_ours, is_old, past, &present), expected, "{present:?}");
        }
    }

    #[test]
    fn a_head_is_seen_as_long_as_anything_proves_that_it_descends_from_the_directory() {
        let birth = (1, 0);
        let (near, far) = (lineage(5, 9), lineage(9, 14));
        let sees = |lineage: &[Id], history: &[Id], mine: Id, seen: Id, of: Id| {
            let past = Past { mine: Some(&mine), seen: Some(&seen), birth: Some(&of) };
            descends(&past, &Present::Head(Ancestry { birth: &birth, lineage, history }))
        };
        assert!(sees(&near, &[], (6, 0), (6, 0), birth));
        // `mine` has left the lineage, and what was seen then is still in it.
        assert!(sees(&far, &[], (6, 0), (9, 0), birth));
        assert!(sees(&far, &[(6, 0)], (6, 0), (7, 0), birth));
        // Both have; or the head went back and on without it; or it is another workspace's.
        assert!(!sees(&far, &[], (6, 0), (8, 0), birth));
        assert!(!sees(&far, &[], (6, 0), (9, 1), birth));
        assert!(!sees(&near, &[], (6, 0), (6, 0), (1, 1)));
        let past = Past { mine: Some(&birth), seen: None, birth: Some(&birth) };
        assert!(!descends(&past, &Present::Nothing) && !descends(&past, &Present::Tombstone { is_start: false }));
    }

    #[test]
    fn recent_is_what_came_after_the_mirror_before_the_present_one() {
        let lineage = lineage(3, 6);
        assert_eq!(recent(&lineage, Some(&(4, 0))), [(5, 0), (6, 0)]);
        assert_eq!(recent(&lineage, Some(&(2, 0))), lineage);
        assert_eq!(recent(&lineage, None), lineage);
        assert!(recent(&lineage, Some(&(6, 0))).is_empty());
    }
}
