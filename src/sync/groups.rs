//! Which files of a directory are stored whole or not at all, by the names and patterns of `STOPOVER_TOGETHER`. What
//! follows from it is decided by `plan`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    plan::{Groups, Unstored},
    report::NotStoredReason,
    rows::{Kind, RelPath, Rows},
    worktree::{RuleOptions, Rules},
};

/// Databases with what lies beside them, copies with what replaced their content, and what each of the patterns
/// `together` matches: in `tables`, and in `unread`, of which no content is known.
pub(super) fn groups(tables: &[&Rows], unread: &BTreeSet<RelPath>, together: &[String]) -> Groups {
    let patterns = Together::new(together);
    // What could not be looked at may be a directory: where a pattern names all that is in it, it stands for that.
    let kinds = |path: &RelPath| if unread.contains(path) { &[Kind::File, Kind::Dir][..] } else { &[Kind::File] };
    Groups::of(tables, unread, |path| patterns.of(path, kinds(path)))
}

/// The reason for everything that is `named` and not in `not_stored` itself: what it waits for is not stored, or is not
/// looked at any more.
pub(super) fn held_back(
    named: &BTreeMap<RelPath, Unstored>,
    not_stored: &BTreeMap<RelPath, NotStoredReason>,
    gone: &BTreeSet<RelPath>,
) -> BTreeMap<RelPath, NotStoredReason> {
    let reason = |why: &Unstored| match why {
        Unstored::With(other) => match other.ancestors().chain([other.clone()]).find_map(|at| not_stored.get(&at)) {
            Some(reason) => *reason,
            None if gone.contains(other) => NotStoredReason::Deadline,
            None => NotStoredReason::Ignored,
        },
        Unstored::Itself | Unstored::Place => NotStoredReason::Deadline,
    };
    let others = named.iter().filter(|(path, _)| !not_stored.contains_key(*path));
    others.map(|(path, why)| (path.clone(), reason(why))).collect()
}

/// The patterns whose matches are stored together or not at all; each has the syntax of an ignore rule.
struct Together(Vec<Rules>);

impl Together {
    fn new(patterns: &[String]) -> Self {
        let only = |pattern: &String| RuleOptions { git: true, extra: vec![pattern.clone()] };
        Self(patterns.iter().map(|pattern| Rules::from_files([], &only(pattern))).collect())
    }

    /// The patterns that match something of one of these kinds.
    fn of(&self, path: &RelPath, kinds: &[Kind]) -> Vec<usize> {
        let matches = |rules: &Rules| {
            let mut verdicts = kinds.iter().map(|kind| rules.verdict(path, *kind));
            verdicts.any(|verdict| !verdict.stored && verdict.source.as_deref() == Some("STOPOVER_IGNORE"))
        };
        self.0.iter().enumerate().filter(|(_, rules)| matches(rules)).map(|(at, _)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_has_the_reason_of_what_it_waits_for() {
        use NotStoredReason::{Deadline, Ignored, Unreadable};
        let path = |text| RelPath::new(text).unwrap();
        let with = |one, other| (path(one), Unstored::With(path(other)));
        let named = [with("a", "d/a-wal"), with("b", "b-wal"), with("c", "c-wal"), with("e", "e-wal")];
        let named =
            named.into_iter().chain([(path("p"), Unstored::Place), (path("e-wal"), Unstored::Itself)]).collect();
        let not_stored = [(path("d"), Unreadable), (path("e-wal"), Unreadable)].into();
        let found = held_back(&named, &not_stored, &[path("b-wal")].into());
        let wanted = [("a", Unreadable), ("b", Deadline), ("c", Ignored), ("e", Unreadable), ("p", Deadline)];
        assert_eq!(found, wanted.map(|(at, reason)| (path(at), reason)).into());
    }

    #[test]
    fn the_patterns_of_together_match_as_ignore_rules_do() {
        let together = Together::new(&["*.idx".to_owned(), "/data/".to_owned(), "*.log".to_owned()]);
        let of = |path: &str| together.of(&RelPath::new(path).unwrap(), &[Kind::File]);
        assert_eq!(of("a/b.idx"), [0]);
        assert_eq!(of("data/x.idx"), [0, 1]);
        assert_eq!(of("data/deep/x"), [1]);
        assert_eq!(of("x.log"), [2], "what the built-in rules would ignore is as good as anything");
        assert!(of("other").is_empty() && of("node_modules/x").is_empty());
    }

    #[test]
    fn a_directory_that_could_not_be_looked_at_stands_for_what_a_pattern_names_in_it() {
        let path = |text| RelPath::new(text).unwrap();
        let row = crate::rows::Row::file(crate::rows::Hash::of(b"x"), 1, 0o644);
        let rows = Rows::from([(path("a/data/x"), row)]);
        let found = groups(&[&rows], &[path("b/data")].into(), &["data/".to_owned()]);
        assert_eq!(found.waiting(&[path("b/data")].into()), [(path("a/data/x"), path("b/data"))].into());
        assert_eq!(groups(&[&rows], &[path("b/data")].into(), &["*.x".to_owned()]), Groups::default());
    }
}
