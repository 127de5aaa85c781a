use proptest::prelude::*;

use super::*;
use crate::{
    plan::{
        Base, Merged, merge3,
        tables::{alike, any_table, any_three, dir, file, hashes, link, path, scanned, shown, table, well_formed},
    },
    rows::Hash,
};

/// A directory that does what a plan says, and only if what lies there is what the plan expects.
struct Disk {
    rows: Rows,
    aside: BTreeSet<Hash>,
    /// Contents of the bucket, and of the disk as it was.
    contents: BTreeSet<Hash>,
}

impl Disk {
    fn new(local: &Rows, bucket: &Rows) -> Self {
        Self { rows: local.clone(), aside: BTreeSet::new(), contents: hashes(bucket) }
    }

    fn take(&mut self, at: &RelPath, expected: &Row) -> Row {
        let row = self.rows.remove(at).unwrap_or_else(|| panic!("nothing at {at}"));
        assert!(row.same_content(expected), "{at} is not what was expected");
        row
    }

    fn put(&mut self, at: &RelPath, row: &Row) {
        assert!(
            at.parent().is_none_or(|up| self.rows.get(&up).is_some_and(|up| up.kind == Kind::Dir)),
            "no parent: {at}"
        );
        assert!(below(&self.rows, at).next().is_none() || row.kind == Kind::Dir, "{at} is not empty");
        self.rows.insert(at.clone(), row.clone());
    }

    fn fetch(&mut self, fetch: &Fetch) {
        match &fetch.from {
            Source::Local(at) => assert!(self.rows[at].same_content(&fetch.row), "no source for {}", fetch.path),
            Source::Object { .. } => assert!(self.contents.contains(&fetch.row.hash), "no object for {}", fetch.path),
        }
        match &fetch.expected {
            Some(expected) => drop(self.take(&fetch.path, expected)),
            None => assert!(!self.rows.contains_key(&fetch.path), "{} is in the way", fetch.path),
        }
        self.put(&fetch.path, &fetch.row);
    }

    fn run(mut self, plan: &RestorePlan) -> Self {
        for step in &plan.clear {
            match step {
                Clear::Rename { from, to, expected } => {
                    let row = self.take(from, expected);
                    assert!(!self.rows.contains_key(to), "{to} is in the way");
                    self.put(to, &row);
                }
                Clear::MoveAside { path, expected } => {
                    let moved: Vec<RelPath> = below(&self.rows, path).map(|(at, _)| at.clone()).collect();
                    for at in moved {
                        self.aside.extend(self.rows.remove(&at).map(|row| row.hash));
                    }
                    let row = self.take(path, expected);
                    self.aside.insert(row.hash);
                }
                Clear::Remove { path, expected } => drop(self.take(path, expected)),
                Clear::RemoveDir { path } => {
                    assert!(below(&self.rows, path).next().is_none());
                    assert_eq!(self.rows.remove(path).unwrap().kind, Kind::Dir);
                }
            }
        }
        for (at, row) in &plan.make_dirs {
            assert!(!self.rows.contains_key(at));
            self.put(at, row);
        }
        plan.fetch.iter().for_each(|fetch| self.fetch(fetch));
        for meta in &plan.meta {
            assert!(self.rows[&meta.path].same_content(&meta.row));
            self.put(&meta.path, &meta.row);
        }
        plan.symlinks.iter().for_each(|fetch| self.fetch(fetch));
        for (at, row) in &plan.remove {
            if row.kind == Kind::Dir && below(&self.rows, at).next().is_some() {
                continue;
            }
            self.take(at, row);
        }
        for meta in &plan.dir_meta {
            assert_eq!(self.rows[&meta.path].kind, Kind::Dir);
            self.put(&meta.path, &meta.row);
        }
        assert!(well_formed(&self.rows));
        self
    }
}

fn pull(base: Base<'_>, origin: &Rows, local: &Rows, theirs: &Rows) -> (Merged, RestorePlan) {
    let merged = merge3(base, local, theirs);
    let options = RestoreOptions { copies: &merged.copies, ..RestoreOptions::default() };
    let plan = restore_plan(&merged.rows, local, Some(origin), &options);
    (merged, plan)
}

fn fetched(plan: &RestorePlan) -> Vec<String> {
    plan.fetch.iter().map(|fetch| fetch.path.to_string()).collect()
}

#[test]
fn an_empty_directory_gets_directories_then_files_then_symlinks_then_times() {
    let wanted = table(&[("d/e/a", file("1")), ("d/l", link("e/a")), ("z", file("2"))]);
    let plan = restore_plan(&wanted, &Rows::new(), None, &RestoreOptions::default());
    let names = |rows: &[(RelPath, Row)]| rows.iter().map(|(at, _)| at.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&plan.make_dirs), ["d", "d/e"]);
    assert_eq!(fetched(&plan), ["d/e/a", "z"]);
    assert_eq!(plan.symlinks[0].path, path("d/l"));
    assert_eq!(plan.dir_meta.iter().map(|meta| meta.path.to_string()).collect::<Vec<_>>(), ["d/e", "d"]);
    assert!(plan.clear.is_empty() && plan.remove.is_empty() && plan.meta.is_empty());
}

#[test]
fn what_package_managers_read_is_fetched_first() {
    let wanted = table(&[
        ("a.txt", file("1")),
        ("package-lock.json", file("2")),
        ("packages", dir()),
        ("packages/b", dir()),
        ("packages/b/index.js", file("3")),
        ("packages/b/package.json", file("4")),
        ("z/uv.lock", file("5")),
        ("z", dir()),
    ]);
    let plan = restore_plan(&wanted, &Rows::new(), None, &RestoreOptions::default());
    let expected = ["package-lock.json", "packages/b/package.json", "z/uv.lock", "a.txt", "packages/b/index.js"];
    assert_eq!(fetched(&plan), expected);
}

#[test]
fn in_a_directory_never_ready_a_different_file_moves_aside_and_an_unknown_one_stays() {
    let wanted = table(&[("a", file("1")), ("same", file("s")), ("f", file("3"))]);
    let local = table(&[
        ("a", file("image")),
        ("same", Row { mode: 0o600, ..file("s") }),
        ("f/x", file("4")),
        ("mine", file("5")),
    ]);
    let plan = restore_plan(&wanted, &local, None, &RestoreOptions::default());
    let moved: Vec<_> = plan
        .clear
        .iter()
        .map(|step| match step {
            Clear::MoveAside { path, .. } => path.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(moved, ["a", "f"]);
    assert_eq!(fetched(&plan), ["a", "f"]);
    assert_eq!(plan.meta[0].path, path("same"));
    let disk = Disk::new(&local, &wanted).run(&plan);
    assert_eq!(
        shown(&disk.rows),
        shown(&table(&[("a", file("1")), ("same", file("s")), ("f", file("3")), ("mine", file("5"))]))
    );
}

#[test]
fn what_a_restore_left_that_did_not_end_moves_aside_once_nobody_has_it() {
    let wanted = table(&[("a", file("1")), ("d/kept", file("1"))]);
    let local = table(&[
        ("a", file("half")),
        ("d/gone", file("1")),
        ("d/kept", file("1")),
        ("e/gone", file("1")),
        ("f/gone", file("1")),
        ("f/own", file("1")),
        ("link", link("a")),
        ("own", file("1")),
    ]);
    let abandoned = ["a", "d", "d/gone", "d/kept", "e", "e/gone", "f", "f/gone", "link"].map(path).into();
    let options = RestoreOptions { abandoned: Some(&abandoned), ..RestoreOptions::default() };
    let plan = restore_plan(&wanted, &local, None, &options);
    let cleared = plan.clear.iter().map(|step| match step {
        Clear::MoveAside { path, .. } => path.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(cleared.collect::<Vec<_>>(), ["a", "d/gone", "e/gone", "f/gone", "link"]);
    assert_eq!(fetched(&plan), ["a"]);
    // A directory goes if nothing is left in it.
    assert_eq!(plan.remove.iter().map(|(at, _)| at.to_string()).collect::<Vec<_>>(), ["f", "e"]);
    let ready = restore_plan(&wanted, &local, Some(&local), &options);
    assert!(!ready.clear.iter().any(|step| matches!(step, Clear::MoveAside { .. })));
}

#[test]
fn a_ready_directory_keeps_edits_and_loses_what_was_deleted_elsewhere() {
    let origin = table(&[("a", file("1")), ("gone", file("1")), ("d/gone", file("1")), ("e", file("1"))]);
    let local =
        table(&[("a", file("2")), ("gone", file("1")), ("d/gone", file("1")), ("e", file("1")), ("new", file("n"))]);
    let theirs = table(&[("a", file("1")), ("e", file("3"))]);
    let (merged, plan) = pull(Base::Known(&origin), &origin, &local, &theirs);
    assert_eq!(fetched(&plan), ["e"]);
    assert_eq!(plan.remove.iter().map(|(at, _)| at.to_string()).collect::<Vec<_>>(), ["d/gone", "gone", "d"]);
    let disk = Disk::new(&local, &theirs).run(&plan);
    assert!(alike(&disk.rows, &merged.rows));
}

#[test]
fn a_conflict_fetches_the_copy_from_the_object_it_was() {
    let origin = table(&[("a", file("1"))]);
    let (merged, plan) = pull(Base::Known(&origin), &origin, &table(&[("a", file("2"))]), &table(&[("a", file("3"))]));
    assert_eq!(fetched(&plan), [merged.copies[0].copy.to_string()]);
    assert_eq!(plan.fetch[0].from, Source::Object { path: path("a"), etag: file("3").etag });
}

#[test]
fn a_local_edit_makes_room_for_a_directory_under_its_copys_name() {
    let origin = Rows::new();
    let local = table(&[("a", file("mine"))]);
    let (merged, plan) = pull(Base::Known(&origin), &origin, &local, &table(&[("a/x", file("2"))]));
    assert!(
        matches!(&plan.clear[..], [Clear::Rename { from, to, .. }] if *from == path("a") && *to == merged.copies[0].copy)
    );
    let disk = Disk::new(&local, &table(&[("a/x", file("2"))])).run(&plan);
    assert!(alike(&disk.rows, &merged.rows));
}

#[test]
fn a_restore_that_does_not_know_an_edit_keeps_it_with_all_it_hides() {
    let origin = table(&[("a", file("1")), ("b", file("1"))]);
    let local = table(&[("a", file("edit")), ("b", file("edit"))]);
    let wanted = table(&[("a/x", file("2")), ("c", file("3"))]);
    let plan = restore_plan(&wanted, &local, Some(&origin), &RestoreOptions::default());
    assert_eq!(plan.kept, [path("a"), path("b")]);
    assert_eq!(fetched(&plan), ["c"]);
    assert!(plan.remove.is_empty() && plan.make_dirs.is_empty() && plan.clear.is_empty());
}

#[test]
fn a_further_name_of_a_file_may_be_a_link_only_to_the_very_same() {
    let further = |first: &str| Row { link: Some(path(first)), ..file("1") };
    let wanted = table(&[
        ("a", further("z")),
        ("b", further("missing")),
        ("c", further("other")),
        ("other", file("2")),
        ("z", file("1")),
    ]);
    let plan = restore_plan(&wanted, &Rows::new(), None, &RestoreOptions::default());
    assert_eq!(fetched(&plan), ["b", "c", "other", "z", "a"]);
    assert_eq!(plan.fetch.iter().filter_map(|fetch| fetch.link.clone()).collect::<Vec<_>>(), [path("z")]);
}

#[test]
fn owners_count_only_where_they_are_kept() {
    let wanted = table(&[("a", Row { uid: 5, gid: 5, ..file("1") })]);
    let local = table(&[("a", Row { uid: 1000, gid: 1000, ..file("1") })]);
    for (owners, steps) in
        [(Owners::Keep, 1), (Owners::Are(1000, 1000), 0), (Owners::Are(1, 1), 1), (Owners::Ignore, 0)]
    {
        let options = RestoreOptions { owners, ..RestoreOptions::default() };
        assert_eq!(restore_plan(&wanted, &local, None, &options).meta.len(), steps, "{owners:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_pull_into_a_ready_directory_makes_it_the_merge((base, local, theirs) in any_three()) {
        let local = scanned(&local);
        for counted in [Base::Known(&base), Base::None, Base::Older(&base)] {
            let (merged, plan) = pull(counted, &base, &local, &theirs);
            prop_assert!(plan.kept.is_empty(), "{:?}", plan.kept);
            let disk = Disk::new(&local, &theirs).run(&plan);
            prop_assert!(alike(&disk.rows, &merged.rows), "{:#?}\n{:#?}", shown(&disk.rows), shown(&merged.rows));
            prop_assert!(disk.aside.is_empty());
            let (_, again) = pull(Base::Known(&theirs), &theirs, &disk.rows, &theirs);
            prop_assert!(again.clear.is_empty() && again.fetch.is_empty() && again.remove.is_empty());
        }
    }

    #[test]
    fn a_pull_into_a_foreign_directory_gives_the_bucket_the_names_and_loses_nothing(local in any_table(), wanted in any_table(), delete: bool) {
        let options = RestoreOptions { delete, ..RestoreOptions::default() };
        let plan = restore_plan(&wanted, &local, None, &options);
        let disk = Disk::new(&local, &wanted).run(&plan);
        for (at, row) in &wanted {
            prop_assert!(disk.rows.get(at).is_some_and(|there| there.same(row)), "{at}");
        }
        if delete {
            prop_assert_eq!(disk.rows.len(), wanted.len());
        } else {
            prop_assert!(plan.remove.is_empty());
            let kept = hashes(&disk.rows);
            prop_assert!(hashes(&local).iter().all(|hash| kept.contains(hash) || disk.aside.contains(hash)));
        }
        let settled = restore_plan(&wanted, &disk.rows, None, &options);
        prop_assert_eq!(settled, RestorePlan::default());
    }

    #[test]
    fn no_edit_is_replaced_by_what_was_not_merged_with_it((origin, local, wanted) in any_three()) {
        let plan = restore_plan(&wanted, &local, Some(&origin), &RestoreOptions::default());
        let disk = Disk::new(&local, &wanted).run(&plan);
        for (at, row) in local.iter().filter(|(_, row)| row.kind != Kind::Dir) {
            if !origin.get(at).is_some_and(|known| known.same_content(row)) {
                prop_assert!(disk.rows[at].same_content(row), "{at}");
            }
        }
        for at in origin.keys().filter(|at| !wanted.contains_key(*at) && !local.contains_key(*at)) {
            prop_assert!(!disk.rows.contains_key(at) || wanted.contains_key(at));
        }
    }

    #[test]
    fn a_directory_that_is_as_wanted_is_left_alone(rows in any_table(), ready: bool) {
        let plan = restore_plan(&rows, &rows, ready.then_some(&rows), &RestoreOptions::default());
        prop_assert_eq!(plan, RestorePlan::default());
    }
}

#[test]
fn an_empty_directory_is_wanted_too() {
    let wanted = table(&[("d", Row { mode: 0o700, ..dir() })]);
    let plan = restore_plan(&wanted, &Rows::new(), None, &RestoreOptions::default());
    assert_eq!((plan.make_dirs.len(), plan.dir_meta.len()), (1, 1));
}
