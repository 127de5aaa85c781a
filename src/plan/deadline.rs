//! Too little time: in which order contents go up, what goes whole or not at all, and what a tree may say of a scan
//! whose contents are not all stored.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Base, Order, SMALL_FILE, Seen, copies, ours_for_merge, presence::lacking};
use crate::rows::{Kind, RelPath, Row, Rows};

/// What SQLite keeps beside a database: one without the other is another database, or none.
const BESIDE_A_DATABASE: [&[u8]; 2] = [b"-wal", b"-journal"];

/// The database whose -wal or -journal has this name.
#[must_use]
pub fn database_of(path: &RelPath) -> Option<RelPath> {
    BESIDE_A_DATABASE.iter().find_map(|tail| path.with_name(path.name().strip_suffix(*tail)?).ok())
}

/// How long before the deadline head must be written, by the slowest write of head so far.
#[must_use]
pub fn reserve_for_head(slowest: Duration) -> Duration {
    (slowest * 3).max(Duration::from_secs(1))
}

/// Files that are stored whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Groups {
    members: Vec<BTreeSet<RelPath>>,
    of: BTreeMap<RelPath, usize>,
    /// Members whose absence is a part of what is stored.
    parts: BTreeSet<RelPath>,
}

impl Groups {
    /// The groups of the files in `tables` (the scan and O: what is gone belongs to its group still) and of `unread`,
    /// what the scan found and could not read or saw change: its content is in no table, and the rest waits for it all
    /// the same. A SQLite database goes with its -wal and -journal; `together` says which patterns match a path, and
    /// all matches of one pattern go together. What stands where a copy of theirs was to be goes with the copy: the
    /// tree must not lose theirs because ours was stored in time and the copy was not. Groups that share a file are one.
    #[must_use]
    pub fn of(tables: &[&Rows], unread: &BTreeSet<RelPath>, together: impl Fn(&RelPath) -> Vec<usize>) -> Self {
        let mut groups = Self::default();
        let mut by_pattern: BTreeMap<usize, RelPath> = BTreeMap::new();
        let is_file = |row: &Row| row.kind != Kind::Dir;
        let has =
            |path: &RelPath| unread.contains(path) || tables.iter().any(|rows| rows.get(path).is_some_and(is_file));
        let rows =
            tables.iter().copied().flatten().filter(|(_, row)| is_file(row)).map(|(path, row)| (path, Some(row)));
        for (path, row) in rows.chain(unread.iter().map(|path| (path, None))) {
            if let Some(database) = database_of(path).filter(|database| has(database)) {
                groups.join(path, &database);
                groups.parts.insert(path.clone());
            }
            if let Some(original) = row.map_or_else(|| copies::named(path), |row| copies::original(path, row)) {
                for rows in tables {
                    let inside = copies::below(rows, &original).chain(rows.get_key_value(&original));
                    for (other, _) in inside.filter(|(_, row)| is_file(row)) {
                        groups.join(path, other);
                    }
                }
            }
            for pattern in together(path) {
                let first = by_pattern.entry(pattern).or_insert_with(|| path.clone()).clone();
                groups.join(path, &first);
                groups.parts.insert(path.clone());
            }
        }
        groups
    }

    fn join(&mut self, one: &RelPath, other: &RelPath) {
        match (self.of.get(one).copied(), self.of.get(other).copied()) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => {
                let moved = std::mem::take(&mut self.members[b]);
                self.of.extend(moved.iter().map(|path| (path.clone(), a)));
                self.members[a].extend(moved);
            }
            (Some(group), None) | (None, Some(group)) => {
                for path in [one, other] {
                    self.of.insert(path.clone(), group);
                    self.members[group].insert(path.clone());
                }
            }
            (None, None) => {
                let group = self.members.len();
                self.members.push(BTreeSet::from([one.clone(), other.clone()]));
                self.of.insert(one.clone(), group);
                self.of.insert(other.clone(), group);
            }
        }
    }

    /// The files that go with `path`, itself included; none for a file that goes alone.
    #[must_use]
    pub fn with(&self, path: &RelPath) -> Option<&BTreeSet<RelPath>> {
        self.of.get(path).and_then(|&group| self.members.get(group)).filter(|members| members.len() > 1)
    }

    /// The members of `path`'s group that keep it from being stored; a group is whole when there is none.
    fn culprit(&self, path: &RelPath, not_stored: &BTreeSet<RelPath>) -> Option<&RelPath> {
        self.with(path)?
            .iter()
            .find(|member| not_stored.contains(*member) || member.ancestors().any(|up| not_stored.contains(&up)))
    }

    /// Whether the absence of `path` is a part of its group (that of a -wal or -journal is, and what a pattern names;
    /// not that of a database, which may have moved), of which everything is stored.
    #[must_use]
    pub fn may_lack(&self, path: &RelPath, not_stored: &BTreeSet<RelPath>) -> bool {
        self.parts.contains(path) && self.with(path).is_some() && self.culprit(path, not_stored).is_none()
    }

    /// Takes groups that were changed in the bucket in part (`moved` says which files were) for none any more. Gives of
    /// each a file that was and one that was not; not of those that only keep a copy of theirs: what is stored of them
    /// is safe by itself.
    pub fn dissolve(
        &mut self,
        moved: impl Fn(&RelPath) -> bool,
        not_stored: &BTreeSet<RelPath>,
    ) -> Vec<(RelPath, RelPath)> {
        let mut parted = Vec::new();
        for members in &mut self.members {
            let late = members.iter().find(|path| not_stored.contains(*path));
            let there = members.iter().find(|path| !not_stored.contains(*path) && moved(path));
            if let Some((there, late)) = there.zip(late) {
                if members.iter().all(|path| copies::named(path).is_none()) {
                    parted.push((there.clone(), late.clone()));
                }
                members.clear();
            }
        }
        parted
    }

    pub(super) fn is_part(&self, path: &RelPath) -> bool {
        self.parts.contains(path)
    }

    /// All files that do not go alone.
    pub(super) fn members(&self) -> impl Iterator<Item = &RelPath> {
        self.members.iter().filter(|members| members.len() > 1).flatten()
    }

    /// `not_stored` with everything that waits for it; each of those with the file it waits for.
    #[must_use]
    pub fn waiting(&self, not_stored: &BTreeSet<RelPath>) -> BTreeMap<RelPath, RelPath> {
        self.members()
            .filter(|path| !not_stored.contains(*path))
            .filter_map(|path| Some((path.clone(), self.culprit(path, not_stored)?.clone())))
            .collect()
    }
}

/// In which order the contents of `rows` go up: unit after unit, each a file or the files of a group. At a deadline
/// small units go first and the newest of them, then large ones, the newest first; else path order.
#[must_use]
pub fn units(rows: &Rows, groups: &Groups, order: Order) -> Vec<Vec<RelPath>> {
    let mut units: Vec<Vec<RelPath>> = Vec::new();
    let mut taken = BTreeSet::new();
    for (path, _) in rows.iter().filter(|(_, row)| row.kind == Kind::File) {
        if !taken.insert(path.clone()) {
            continue;
        }
        let others = groups.with(path).into_iter().flatten();
        let others = others.filter(|other| rows.get(*other).is_some_and(|row| row.kind == Kind::File));
        let unit: BTreeSet<RelPath> = std::iter::once(path).chain(others).cloned().collect();
        taken.extend(unit.iter().cloned());
        units.push(unit.into_iter().collect());
    }
    if order == Order::NewestFirst {
        let rows_of = |unit: &[RelPath]| unit.iter().filter_map(|path| rows.get(path)).collect::<Vec<_>>();
        units.sort_by_cached_key(|unit| {
            let rows = rows_of(unit);
            let newest = rows.iter().map(|row| row.mtime_ns).max();
            (rows.iter().any(|row| row.size > SMALL_FILE), Reverse(newest))
        });
    }
    units
}

/// Why the scanned content of a file is not in the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unstored {
    /// It was not stored.
    Itself,
    /// It goes together with this one, which was not stored.
    With(RelPath),
    /// Its place is held by something whose successor was not stored.
    Place,
}

/// What goes into the merge as ours, and what the receipt has to name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// Ours.
    pub rows: Rows,
    /// Files (and what could not even be looked at) whose scanned content is not in [`Stored::rows`].
    pub named: BTreeMap<RelPath, Unstored>,
}

/// What of a scan may be committed: [`ours_for_merge`], and by name what is missing in it.
#[must_use]
pub fn stored_part(seen: &Seen<'_>, base: Base<'_>) -> Stored {
    let rows = ours_for_merge(seen, base);
    let waiting = seen.groups.waiting(&lacking(seen, base));
    let scanned = seen.rows.iter().filter(|(_, row)| row.kind != Kind::Dir);
    let missing = scanned.filter(|(path, row)| !rows.get(*path).is_some_and(|kept| kept.same_content(row)));
    let unseen = seen.not_stored.iter().filter(|path| seen.rows.get(*path).is_none_or(|row| row.kind == Kind::Dir));
    let why = |path: &RelPath| match waiting.get(path) {
        _ if seen.not_stored.contains(path) => Unstored::Itself,
        Some(other) => Unstored::With(other.clone()),
        None => Unstored::Place,
    };
    let named = missing.map(|(path, _)| path).chain(unseen).map(|path| (path.clone(), why(path))).collect();
    Stored { rows, named }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{
        merge3,
        tables::{any_three, dir, file, path, shown, table, well_formed},
    };

    fn paths(list: &[&str]) -> BTreeSet<RelPath> {
        list.iter().map(|at| path(at)).collect()
    }

    fn stored(scan: &Rows, origin: &Rows, gone: &[&str], not_stored: &[&str]) -> Stored {
        let (gone, not_stored) = (paths(gone), paths(not_stored));
        let groups = Groups::of(&[scan, origin], &not_stored, |_| Vec::new());
        let partial = !not_stored.is_empty();
        let seen = Seen { rows: scan, gone: &gone, not_stored: &not_stored, partial, groups: &groups };
        stored_part(&seen, Base::Known(origin))
    }

    #[test]
    fn head_gets_three_times_what_its_slowest_write_took_and_a_second_at_least() {
        assert_eq!(reserve_for_head(Duration::from_millis(100)), Duration::from_secs(1));
        assert_eq!(reserve_for_head(Duration::from_millis(700)), Duration::from_millis(2100));
    }

    #[test]
    fn a_database_goes_with_its_journal_or_not_at_all() {
        let origin = table(&[("d/db", file("1")), ("d/db-wal", file("w1")), ("x", file("1"))]);
        let scan = table(&[("d/db", file("2")), ("d/db-wal", file("w2")), ("x", file("2"))]);
        let part = stored(&scan, &origin, &[], &["d/db-wal"]);
        let wanted = table(&[("d/db", file("1")), ("d/db-wal", file("w1")), ("x", file("2"))]);
        assert_eq!(shown(&part.rows), shown(&wanted));
        let named = [(path("d/db"), Unstored::With(path("d/db-wal"))), (path("d/db-wal"), Unstored::Itself)];
        assert_eq!(part.named, named.into());
    }

    #[test]
    fn of_a_stored_database_the_journal_that_is_gone_goes_even_when_time_ran_out() {
        let origin = table(&[("db", file("1")), ("db-journal", file("j")), ("gone", file("1")), ("late", file("1"))]);
        let scan = table(&[("db", file("2")), ("late", file("2"))]);
        let part = stored(&scan, &origin, &["db-journal", "gone"], &["late"]);
        let wanted = table(&[("db", file("2")), ("gone", file("1")), ("late", file("1"))]);
        assert_eq!(shown(&part.rows), shown(&wanted));
        // And stays where the database itself came too late.
        let part = stored(&scan, &origin, &["db-journal", "gone"], &["db"]);
        let wanted = table(&[("db", file("1")), ("db-journal", file("j")), ("gone", file("1")), ("late", file("2"))]);
        assert_eq!(shown(&part.rows), shown(&wanted));
        assert_eq!(part.named, [(path("db"), Unstored::Itself)].into());
    }

    #[test]
    fn a_journal_that_is_ignored_by_now_keeps_its_database_back() {
        let origin = table(&[("db", file("1")), ("db-wal", file("w"))]);
        let part = stored(&table(&[("db", file("2"))]), &origin, &[], &[]);
        assert_eq!(shown(&part.rows), shown(&origin));
        assert_eq!(part.named, [(path("db"), Unstored::With(path("db-wal")))].into());
    }

    #[test]
    fn a_journal_in_a_directory_that_could_not_be_read_keeps_its_database_back() {
        let origin = table(&[("d/db", file("1")), ("d/db-wal", file("w"))]);
        let groups = Groups::of(&[&origin], &BTreeSet::new(), |_| Vec::new());
        assert_eq!(groups.waiting(&paths(&["d"])).len(), 2);
        assert!(!groups.may_lack(&path("d/db-wal"), &paths(&["d"])));
        assert!(groups.may_lack(&path("d/db-wal"), &paths(&["e"])));
        assert!(!groups.may_lack(&path("d/db"), &paths(&["e"])));
    }

    #[test]
    fn an_edit_waits_for_the_copy_of_what_it_replaces() {
        let copy = format!("a.theirs-{}", file("theirs").hash.short());
        let origin = table(&[("a", file("theirs")), ("d", file("theirs"))]);
        let aside = format!("d.theirs-{}", file("theirs").hash.short());
        let scan =
            table(&[("a", file("ours")), (&copy, file("theirs")), ("d/x", file("ours")), (&aside, file("theirs"))]);
        let part = stored(&scan, &origin, &[], &[&copy, &aside]);
        assert_eq!(shown(&part.rows), shown(&origin));
        assert_eq!(part.named[&path("a")], Unstored::With(path(&copy)));
        assert_eq!(part.named[&path("d/x")], Unstored::With(path(&aside)));
        let part = stored(&scan, &origin, &[], &["a"]);
        assert!(!part.rows.contains_key(&path(&copy)));
    }

    #[test]
    fn a_copy_that_was_found_and_not_read_keeps_back_what_replaced_its_content() {
        let copy = format!("a.theirs-{}", file("theirs").hash.short());
        let aside = format!("d.theirs-{}", file("theirs").hash.short());
        let origin = table(&[("a", file("theirs")), ("d", file("theirs")), ("x", file("1"))]);
        // The scan has no row of what it could not read.
        let scan = table(&[("a", file("ours")), ("d", dir()), ("d/x", file("ours")), ("x", file("2"))]);
        let unread = paths(&[&copy, &aside]);
        let alone = Groups::of(&[&scan, &origin], &BTreeSet::new(), |_| Vec::new());
        assert_eq!((alone.with(&path("a")), alone.waiting(&unread).len()), (None, 0));
        let groups = Groups::of(&[&scan, &origin], &unread, |_| Vec::new());
        assert_eq!(groups.with(&path("a")), Some(&paths(&["a", &copy])));
        // A directory took the place: everything in it, and what was there before.
        assert_eq!(groups.with(&path("d/x")), Some(&paths(&["d", "d/x", &aside])));
        assert_eq!(groups.with(&path("x")), None);
        let waiting = [("a", &copy), ("d", &aside), ("d/x", &aside)];
        assert_eq!(groups.waiting(&unread), waiting.map(|(at, copy)| (path(at), path(copy))).into());
        let (gone, partial) = (BTreeSet::new(), true);
        let seen = Seen { rows: &scan, gone: &gone, not_stored: &unread, partial, groups: &groups };
        let part = stored_part(&seen, Base::Known(&origin));
        assert_eq!((&part.rows[&path("a")], &part.rows[&path("d")]), (&file("theirs"), &file("theirs")));
        assert_eq!(part.rows[&path("x")], file("2"));
        assert_eq!(part.named[&path("a")], Unstored::With(path(&copy)));
    }

    #[test]
    fn what_could_not_be_read_and_is_no_copy_keeps_nothing_back() {
        let rows = table(&[("a", file("1")), ("b", file("1")), ("a.theirs", file("1"))]);
        for name in ["b", "a.theirs-", "a.theirs-xyz", "a.theirs-0123456g", "other.theirs-01234567"] {
            let groups = Groups::of(&[&rows], &paths(&[name]), |_| Vec::new());
            assert_eq!(groups.waiting(&paths(&[name])).len(), 0, "{name}");
        }
        let groups = Groups::of(&[&rows], &paths(&["a.theirs-01234567"]), |_| Vec::new());
        assert_eq!(groups.waiting(&paths(&["a.theirs-01234567"])).len(), 1);
    }

    #[test]
    fn an_unread_copy_joins_the_group_that_its_first_name_is_in() {
        let rows = table(&[("db", file("2")), ("db-wal", file("2"))]);
        let copy = "db.theirs-01234567";
        let groups = Groups::of(&[&rows], &paths(&[copy]), |_| Vec::new());
        assert_eq!(groups.with(&path("db-wal")), Some(&paths(&["db", "db-wal", copy])));
        assert_eq!(groups.waiting(&paths(&[copy])).len(), 2, "the database does not go without its journal");
    }

    #[test]
    fn patterns_join_what_they_match_and_groups_that_share_a_file_are_one() {
        let rows = table(&[("a.db", file("1")), ("a.db-wal", file("1")), ("b.db", file("1")), ("c", file("1"))]);
        let groups =
            Groups::of(&[&rows], &BTreeSet::new(), |at| if at.name().ends_with(b".db") { vec![0] } else { Vec::new() });
        assert_eq!(groups.with(&path("a.db-wal")), Some(&paths(&["a.db", "a.db-wal", "b.db"])));
        assert_eq!(groups.with(&path("c")), None);
        let alone = Groups::of(&[&rows], &BTreeSet::new(), |at| if at.name() == b"c" { vec![3] } else { Vec::new() });
        assert_eq!(alone.with(&path("c")), None);
    }

    #[test]
    fn a_new_log_that_could_not_be_read_keeps_its_database_back() {
        for late in ["db-wal", "db-journal"] {
            // It was stored before.
            let origin = table(&[("db", file("1"))]);
            let part = stored(&table(&[("db", file("2"))]), &origin, &[], &[late]);
            assert_eq!(shown(&part.rows), shown(&origin));
            let named = [(path("db"), Unstored::With(path(late))), (path(late), Unstored::Itself)];
            assert_eq!(part.named, named.into());
            // It is new.
            let part = stored(&table(&[("db", file("2")), ("x", file("x"))]), &Rows::new(), &[], &[late]);
            assert_eq!(shown(&part.rows), shown(&table(&[("x", file("x"))])));
            assert_eq!(part.named[&path("db")], Unstored::With(path(late)));
        }
    }

    #[test]
    fn a_new_database_that_could_not_be_read_keeps_its_logs_back() {
        let scan = table(&[("db-wal", file("w")), ("db-journal", file("j")), ("e-wal", file("alone"))]);
        let part = stored(&scan, &Rows::new(), &[], &["db"]);
        assert_eq!(shown(&part.rows), shown(&table(&[("e-wal", file("alone"))])));
        let waits = |at: &str| (path(at), Unstored::With(path("db")));
        assert_eq!(part.named, [waits("db-journal"), waits("db-wal"), (path("db"), Unstored::Itself)].into());
        // A log alone waits for nothing, nor does one whose database is a directory.
        let rows = table(&[("e-wal", file("1")), ("d-wal", file("1")), ("d", dir())]);
        assert_eq!(Groups::of(&[&rows], &paths(&["x"]), |_| Vec::new()), Groups::default());
    }

    #[test]
    fn what_a_pattern_matches_waits_for_a_match_that_could_not_be_read() {
        let rows = table(&[("a.idx", file("1")), ("d/b.idx", file("1")), ("c", file("1"))]);
        let of = |at: &RelPath| if at.name().ends_with(b".idx") { vec![0] } else { Vec::new() };
        let groups = Groups::of(&[&rows], &paths(&["new.idx", "other"]), of);
        let waiting = groups.waiting(&paths(&["new.idx", "other"]));
        assert_eq!(waiting, [(path("a.idx"), path("new.idx")), (path("d/b.idx"), path("new.idx"))].into());
        assert!(!groups.may_lack(&path("a.idx"), &paths(&["new.idx"])));
    }

    #[test]
    fn what_took_the_place_of_a_content_waits_for_a_copy_that_cannot_be_read_by_its_name_alone() {
        let copy = "a.theirs-01234567";
        let rows = table(&[("a", file("ours")), ("d/x", file("1")), ("b", file("1"))]);
        let groups = Groups::of(&[&rows], &paths(&[copy, "d.theirs-01234567", "b.theirs-nothex12"]), |_| Vec::new());
        assert_eq!(groups.with(&path("a")), Some(&paths(&["a", copy])));
        assert_eq!(groups.with(&path("d/x")), Some(&paths(&["d/x", "d.theirs-01234567"])));
        assert_eq!(groups.with(&path("b")), None);
        // Theirs must not wait for ours: the copy may be all there is of it.
        let theirs = format!("new.theirs-{}", file("theirs").hash.short());
        let rows = table(&[(&theirs, file("theirs"))]);
        assert_eq!(Groups::of(&[&rows], &paths(&["new"]), |_| Vec::new()).with(&path(&theirs)), None);
    }

    #[test]
    fn a_group_of_which_a_part_is_in_the_bucket_is_none_any_more() {
        let names = ["a.db", "a.db-wal", "b.db", "b.db-wal", "c", "c.theirs-01234567"];
        let rows = table(&names.map(|name| (name, file(name))));
        let unread = paths(&["c.theirs-01234567"]);
        let mut groups = Groups::of(&[&rows], &unread, |_| Vec::new());
        let (there, late) = (paths(&["a.db", "c.theirs-01234567"]), paths(&["a.db-wal", "b.db", "b.db-wal", "c"]));
        assert_eq!(groups.dissolve(|path| there.contains(path), &late), [(path("a.db"), path("a.db-wal"))]);
        assert!(groups.with(&path("a.db")).is_none() && groups.with(&path("c")).is_none());
        assert_eq!(groups.waiting(&paths(&["a.db-wal", "b.db"])), [(path("b.db-wal"), path("b.db"))].into());
    }

    #[test]
    fn a_file_that_became_a_directory_of_late_files_stays_a_file() {
        let origin = table(&[("f", file("1")), ("e", file("1"))]);
        let scan = table(&[("f/new", file("2")), ("f/sub", dir()), ("e/new", file("2")), ("e/old", file("3"))]);
        let part = stored(&scan, &origin, &[], &["f/new", "e/new"]);
        assert_eq!(shown(&part.rows), shown(&table(&[("f", file("1")), ("e/old", file("3"))])));
        assert_eq!(part.named.keys().cloned().collect::<BTreeSet<_>>(), paths(&["e/new", "f/new"]));
    }

    #[test]
    fn near_the_deadline_small_units_go_first_and_a_group_counts_as_one() {
        let sized = |content: &str, size, mtime_ns| Row { size, mtime_ns, ..file(content) };
        let rows = table(&[
            ("a-large", sized("1", SMALL_FILE + 1, 9)),
            ("b", sized("2", 1, 2)),
            ("c", sized("3", SMALL_FILE, 5)),
            ("db", sized("4", 7, 1)),
            ("db-wal", sized("5", 7, 8)),
            ("link", crate::plan::tables::link("x")),
        ]);
        let groups = Groups::of(&[&rows], &BTreeSet::new(), |_| Vec::new());
        let shown = |order| -> Vec<String> {
            let units = units(&rows, &groups, order);
            units.iter().map(|unit| unit.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")).collect()
        };
        assert_eq!(shown(Order::NewestFirst), ["db+db-wal", "c", "b", "a-large"]);
        assert_eq!(shown(Order::ByPath), ["a-large", "b", "c", "db+db-wal"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_partial_tree_has_no_content_that_is_not_stored_names_all_it_lacks_and_deletes_nothing(
            (origin, scan, theirs) in any_three(), late in any::<u32>(), known: bool)
        {
            let not_stored: BTreeSet<RelPath> = scan.iter().enumerate()
                .filter(|(n, (at, row))| late >> (n % 32) & 1 == 1 && row.kind == Kind::File
                    && !origin.get(*at).is_some_and(|old| old.same_content(row)))
                .map(|(_, (at, _))| at.clone()).collect();
            let gone: BTreeSet<RelPath> = origin.keys().filter(|at| !scan.contains_key(*at)).cloned().collect();
            let groups = Groups::default();
            let seen = Seen { rows: &scan, gone: &gone, not_stored: &not_stored, partial: true, groups: &groups };
            let base = if known { Base::Known(&origin) } else { Base::None };
            let part = stored_part(&seen, base);
            prop_assert!(well_formed(&part.rows));
            for (at, row) in scan.iter().filter(|(_, row)| row.kind != Kind::Dir) {
                let is_in = part.rows.get(at).is_some_and(|kept| kept.same_content(row));
                prop_assert_eq!(is_in, !part.named.contains_key(at));
                prop_assert!(!(is_in && not_stored.contains(at)));
            }
            for (at, row) in &part.rows {
                prop_assert!(row.kind == Kind::Dir || scan.get(at) == Some(row) || known && origin.get(at) == Some(row));
            }
            if known {
                for (at, _) in origin.iter().filter(|(_, row)| row.kind != Kind::Dir) {
                    let displaced = part.rows.iter().any(|(there, row)| row.kind != Kind::Dir
                        && scan.get(there) == Some(row) && (there.is_below(at) || at.is_below(there)));
                    prop_assert!(displaced || part.rows.contains_key(at), "{at} was deleted");
                }
            }
            prop_assert!(well_formed(&merge3(base, &part.rows, &theirs).rows));
        }
    }
}
