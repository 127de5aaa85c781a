//! What a commit does to the live tree.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{Copy, Groups, Merged, Source, Whose, copies};
use crate::rows::{ETag, Kind, RelPath, Removed, Row, Rows};

/// Files up to this size go before larger ones when time is short.
pub const SMALL_FILE: u64 = 1 << 20;

/// In which order files go up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// By path.
    #[default]
    ByPath,
    /// A deadline looms: those up to [`SMALL_FILE`], newest first, then large ones, newest first.
    NewestFirst,
}

/// Writes an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// Its path.
    pub path: RelPath,
    /// The row it should hold.
    pub row: Row,
    /// The version that is to be replaced; `None`: there must be none.
    pub expected: Option<ETag>,
    /// Where the content is.
    pub from: Source,
}

/// Deletes an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    /// Its path.
    pub path: RelPath,
    /// The version that is to be deleted, and no other.
    pub expected: ETag,
}

/// What a commit does to the live tree: field after field. Within one the order is advice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UploadPlan {
    /// Copies of theirs: they are made of the objects that later steps overwrite or delete.
    pub copies: Vec<Put>,
    /// Deletes where a directory takes the place of a file, or a file that of a directory.
    pub deletes_first: Vec<Delete>,
    /// Ours.
    pub puts: Vec<Put>,
    /// All other deletes.
    pub deletes: Vec<Delete>,
}

impl UploadPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.deletes_first.is_empty() && self.puts.is_empty() && self.deletes.is_empty()
    }
}

impl UploadPlan {
    /// The same with the files of each group one after the other, so that no more than one of them is on its way when
    /// time runs out: copies of theirs first, for what took their place must not be there alone, then the longest ways.
    /// At a deadline a group goes when the newest of its files would, and as a large one if any of them is.
    #[must_use]
    pub fn in_groups(mut self, groups: &Groups, order: Order) -> Self {
        let mut units: BTreeMap<RelPath, Vec<Put>> = BTreeMap::new();
        for put in std::mem::take(&mut self.puts) {
            let first = groups.with(&put.path).and_then(BTreeSet::first).unwrap_or(&put.path);
            units.entry(first.clone()).or_default().push(put);
        }
        let mut units: Vec<Vec<Put>> = units.into_values().collect();
        if order == Order::NewestFirst {
            units.sort_by_key(|unit| {
                let newest = unit.iter().map(|put| put.row.mtime_ns).max();
                (unit.iter().any(|put| put.row.size > SMALL_FILE), Reverse(newest))
            });
        }
        for unit in &mut units {
            unit.sort_by_key(|put| (copies::named(&put.path).is_none(), Reverse(put.row.size)));
        }
        self.puts = units.into_iter().flatten().collect();
        self
    }

    /// The same with the objects that tombstones hide: a put over one replaces that version, and the others are to be
    /// deleted once more, should that be allowed by now. Ask for it when there is something to commit: tombstones alone
    /// are no reason to.
    #[must_use]
    pub fn with_tombstones(mut self, tombstones: &Removed, result: &Merged) -> Self {
        for put in self.copies.iter_mut().chain(&mut self.puts).filter(|put| put.expected.is_none()) {
            put.expected = tombstones.get(&put.path).cloned().flatten();
        }
        let planned: BTreeSet<RelPath> =
            self.deletes.iter().chain(&self.deletes_first).map(|delete| delete.path.clone()).collect();
        for (path, etag) in tombstones.iter().filter(|(path, _)| !planned.contains(*path)) {
            let Some(expected) = etag.clone() else { continue };
            if let Some(first) = delete_first(path, &result.rows) {
                let list = if first { &mut self.deletes_first } else { &mut self.deletes };
                list.push(Delete { path: path.clone(), expected });
            }
        }
        self
    }
}

/// The tombstones of the tree that names `result`: of objects that are still there although the result has no file at
/// their path. `undeleted` are those before and what could not be deleted now; `markers` are the empty objects that
/// stand for directories.
#[must_use]
pub fn tombstones(undeleted: &BTreeMap<RelPath, ETag>, markers: &BTreeMap<RelPath, ETag>, result: &Rows) -> Removed {
    let kind = |path: &RelPath| result.get(path).map(|row| row.kind);
    let files = undeleted.iter().filter(|(path, _)| kind(path) != Some(Kind::File));
    let dirs = markers.iter().filter(|(path, _)| kind(path).is_none());
    // Of both there is room for one: a folder that comes back is empty.
    dirs.chain(files).map(|(path, etag)| (path.clone(), Some(etag.clone()))).collect()
}

/// Whether an object at `path` is to be deleted before the puts; `None`: it is not to be deleted.
pub(super) fn delete_first(path: &RelPath, result: &Rows) -> Option<bool> {
    let is_file = |at: &RelPath| result.get(at).is_some_and(|row| row.kind == Kind::File);
    if is_file(path) {
        return None;
    }
    Some(result.get(path).is_some_and(|row| row.kind == Kind::Dir) || path.ancestors().any(|up| is_file(&up)))
}

/// Plans the requests that turn the live tree of `theirs` (each row with its ETag) into that of `result`.
///
/// Only regular files are objects: modes, directories and symlinks live in the tree. A file of theirs without an ETag
/// is in no object yet, so it is put; one without an ETag is never deleted.
#[must_use]
pub fn upload_plan(theirs: &Rows, result: &Merged, order: Order) -> UploadPlan {
    let copies: BTreeMap<&RelPath, &Copy> = result.copies.iter().map(|copy| (&copy.copy, copy)).collect();
    let mut plan = UploadPlan::default();
    for (path, row) in result.rows.iter().filter(|(_, row)| row.kind == Kind::File) {
        let there = theirs.get(path).filter(|there| there.kind == Kind::File);
        if there.is_some_and(|there| there.same_content(row) && there.etag.is_some()) {
            continue;
        }
        let put = |from| Put {
            path: path.clone(),
            row: row.clone(),
            expected: there.and_then(|there| there.etag.clone()),
            from,
        };
        // A copy that somebody edited since is a file like any other.
        match copies.get(path).filter(|copy| copy.row.same_content(row)) {
            Some(copy) if copy.whose == Whose::Theirs => {
                plan.copies.push(put(Source::Object { path: copy.path.clone(), etag: copy.row.etag.clone() }));
            }
            Some(copy) => plan.puts.push(put(Source::Local(copy.path.clone()))),
            None => plan.puts.push(put(Source::Local(path.clone()))),
        }
    }
    for (path, row) in theirs.iter().filter(|(_, row)| row.kind == Kind::File) {
        let Some((first, expected)) = delete_first(path, &result.rows).zip(row.etag.clone()) else { continue };
        let list = if first { &mut plan.deletes_first } else { &mut plan.deletes };
        list.push(Delete { path: path.clone(), expected });
    }
    if order == Order::NewestFirst {
        plan.puts.sort_by_key(|put| (put.row.size > SMALL_FILE, Reverse(put.row.mtime_ns)));
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::{
        Base, merge3,
        tables::{any_table, any_three, etag, file, link, path, scanned, table},
    };

    fn plan(base: &Rows, ours: &Rows, theirs: &Rows) -> UploadPlan {
        upload_plan(theirs, &merge3(Base::Known(base), &scanned(ours), theirs), Order::ByPath)
    }

    fn paths(puts: &[Put]) -> Vec<String> {
        puts.iter().map(|put| put.path.to_string()).collect()
    }

    #[test]
    fn an_edit_replaces_the_version_it_knows_and_a_new_file_wants_none() {
        let base = table(&[("a", file("1")), ("b", file("1")), ("c", file("1"))]);
        let ours = table(&[("a", file("2")), ("b", file("1")), ("n", file("n"))]);
        let plan = plan(&base, &ours, &base);
        let puts: Vec<_> = plan.puts.iter().map(|put| (put.path.to_string(), put.expected.clone())).collect();
        assert_eq!(puts, [("a".to_owned(), Some(etag("1"))), ("n".to_owned(), None)]);
        assert_eq!(plan.deletes, [Delete { path: path("c"), expected: etag("1") }]);
        assert!(plan.copies.is_empty() && plan.deletes_first.is_empty());
    }

    #[test]
    fn of_a_conflict_the_copy_goes_up_before_ours_takes_the_name() {
        let base = table(&[("a", file("1"))]);
        let plan = plan(&base, &table(&[("a", file("2"))]), &table(&[("a", file("3"))]));
        let [copy] = &plan.copies[..] else { panic!("{plan:?}") };
        assert_eq!(copy.path.to_string(), format!("a.theirs-{}", file("3").hash.short()));
        assert_eq!((&copy.from, &copy.expected), (&Source::Object { path: path("a"), etag: Some(etag("3")) }, &None));
        assert_eq!(plan.puts[0].from, Source::Local(path("a")));
        assert_eq!(plan.puts[0].expected, Some(etag("3")));
    }

    #[test]
    fn where_file_and_directory_change_places_the_delete_comes_first() {
        let base = table(&[("fd", file("1")), ("df/x", file("1")), ("z", file("1"))]);
        let ours = table(&[("fd/x", file("2")), ("df", file("2"))]);
        let plan = plan(&base, &ours, &base);
        let first: Vec<_> = plan.deletes_first.iter().map(|delete| delete.path.to_string()).collect();
        assert_eq!(first, ["df/x", "fd"]);
        assert_eq!(paths(&plan.puts), ["df", "fd/x"]);
        assert_eq!(plan.deletes[0].path, path("z"));
    }

    #[test]
    fn modes_symlinks_and_directories_send_nothing_but_a_file_that_became_a_symlink_goes() {
        let base = table(&[("a", file("1")), ("l", file("1"))]);
        let ours = table(&[("a", Row { mode: 0o755, ..file("1") }), ("l", link("a")), ("d/e", Row::dir(0o700))]);
        let plan = plan(&base, &ours, &base);
        assert!(plan.puts.is_empty());
        assert_eq!(plan.deletes, [Delete { path: path("l"), expected: etag("1") }]);
    }

    #[test]
    fn near_the_deadline_small_files_go_first_and_the_newest_of_them() {
        let sized = |content: &str, size, mtime_ns| Row { size, mtime_ns, ..file(content) };
        let ours = table(&[
            ("a-large", sized("1", SMALL_FILE + 1, 9)),
            ("b-old", sized("2", 1, 1)),
            ("c-new", sized("3", SMALL_FILE, 5)),
            ("d-new", sized("4", 7, 5)),
            ("e-large", sized("5", SMALL_FILE + 2, 10)),
        ]);
        let merged = merge3(Base::None, &scanned(&ours), &Rows::new());
        let plan = upload_plan(&Rows::new(), &merged, Order::NewestFirst);
        assert_eq!(paths(&plan.puts), ["c-new", "d-new", "b-old", "e-large", "a-large"]);
    }

    #[test]
    fn files_that_go_together_go_one_after_the_other() {
        let sized = |content: &str, size, mtime_ns| Row { size, mtime_ns, ..file(content) };
        let copy = format!("z.theirs-{}", file("theirs").hash.short());
        let ours = table(&[
            ("app.db", sized("1", SMALL_FILE + 1, 1)),
            ("app.db-wal", sized("2", 9, 9)),
            ("b", sized("3", 1, 2)),
            ("z", sized("4", 5, 3)),
            (&copy, Row { mtime_ns: 1, ..file("theirs") }),
        ]);
        let merged = merge3(Base::None, &scanned(&ours), &Rows::new());
        let groups = Groups::of(&[&ours], &BTreeSet::new(), |_| Vec::new());
        let plan = |order| upload_plan(&Rows::new(), &merged, order).in_groups(&groups, order);
        assert_eq!(paths(&plan(Order::ByPath).puts), ["app.db", "app.db-wal", "b", &copy, "z"]);
        assert_eq!(paths(&plan(Order::NewestFirst).puts), [&copy, "z", "b", "app.db", "app.db-wal"]);
        let lone = upload_plan(&Rows::new(), &merged, Order::NewestFirst);
        assert_eq!(lone.clone().in_groups(&Groups::default(), Order::NewestFirst), lone);
    }

    #[test]
    fn what_a_tombstone_hides_is_replaced_or_deleted_once_more_and_stays_hidden_till_then() {
        let tombstones_before = Removed::from([
            (path("back"), Some(etag("old"))),
            (path("gone"), Some(etag("old"))),
            (path("fd"), Some(etag("old"))),
        ]);
        let result = merge3(Base::None, &table(&[("back", file("1")), ("fd/x", file("2"))]), &Rows::new());
        let plan = upload_plan(&Rows::new(), &result, Order::ByPath).with_tombstones(&tombstones_before, &result);
        assert_eq!((&plan.puts[0].path, &plan.puts[0].expected), (&path("back"), &Some(etag("old"))));
        assert_eq!(plan.deletes, [Delete { path: path("gone"), expected: etag("old") }]);
        assert_eq!(plan.deletes_first, [Delete { path: path("fd"), expected: etag("old") }]);
        let still: BTreeMap<RelPath, ETag> = ["back", "gone", "fd"].map(|at| (path(at), etag("old"))).into();
        let markers: BTreeMap<RelPath, ETag> = ["fd", "removed"].map(|at| (path(at), etag(""))).into();
        let after = tombstones(&still, &markers, &result.rows);
        let expected = [("fd", "old"), ("gone", "old"), ("removed", "")];
        assert_eq!(after, expected.map(|(at, content)| (path(at), Some(etag(content)))).into());
    }

    /// Does what the plan says to a bucket that honours conditions and, like some servers, refuses `fd` beside `fd/x`.
    fn applied(plan: &UploadPlan, theirs: &Rows, local: &Rows) -> Result<BTreeMap<RelPath, Row>, String> {
        let mut bucket: BTreeMap<RelPath, Row> = theirs
            .iter()
            .filter(|(_, row)| row.kind == Kind::File && row.etag.is_some())
            .map(|(at, row)| (at.clone(), row.clone()))
            .collect();
        let delete = |bucket: &mut BTreeMap<RelPath, Row>, one: &Delete| match bucket.remove(&one.path) {
            Some(row) if row.etag.as_ref() == Some(&one.expected) => Ok(()),
            other => Err(format!("delete of {} met {other:?}", one.path)),
        };
        let put = |bucket: &mut BTreeMap<RelPath, Row>, one: &Put| {
            let content = match &one.from {
                Source::Local(at) => local.get(at),
                Source::Object { path, etag } => bucket.get(path).filter(|row| row.etag == *etag),
            };
            if !content.is_some_and(|row| row.same_content(&one.row)) {
                return Err(format!("{} has no source: {:?}", one.path, one.from));
            }
            if bucket.get(&one.path).and_then(|row| row.etag.clone()) != one.expected {
                return Err(format!("put of {} met another version", one.path));
            }
            if bucket.keys().any(|at| at.is_below(&one.path) || one.path.is_below(at)) {
                return Err(format!("{} stands beside a directory of its name", one.path));
            }
            bucket.insert(one.path.clone(), Row { etag: Some(ETag::new("new")), ..one.row.clone() });
            Ok(())
        };
        plan.copies.iter().try_for_each(|one| put(&mut bucket, one))?;
        plan.deletes_first.iter().try_for_each(|one| delete(&mut bucket, one))?;
        plan.puts.iter().try_for_each(|one| put(&mut bucket, one))?;
        plan.deletes.iter().try_for_each(|one| delete(&mut bucket, one))?;
        Ok(bucket)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn the_steps_in_their_order_make_the_live_tree_what_the_result_says((base, ours, theirs) in any_three(), newest: bool) {
            for base in [Base::Known(&base), Base::None, Base::Older(&base)] {
                let merged = merge3(base, &scanned(&ours), &theirs);
                let order = if newest { Order::NewestFirst } else { Order::ByPath };
                let bucket = applied(&upload_plan(&theirs, &merged, order), &theirs, &ours);
                prop_assert!(bucket.is_ok(), "{bucket:?}");
                let wanted = merged.rows.iter().filter(|(_, row)| row.kind == Kind::File).map(|(at, row)| (at, row.hash));
                let bucket = bucket.unwrap();
                prop_assert!(wanted.eq(bucket.iter().map(|(at, row)| (at, row.hash))));
            }
        }

        #[test]
        fn what_is_as_it_should_be_needs_nothing(rows in any_table()) {
            let merged = merge3(Base::None, &scanned(&rows), &rows);
            prop_assert!(upload_plan(&rows, &merged, Order::ByPath).is_empty());
        }
    }

    #[test]
    fn of_a_file_and_a_mark_of_one_path_the_tombstone_is_the_files() {
        let (undeleted, markers) = ([(path("notes"), etag("1"))].into(), [(path("notes"), etag("2"))].into());
        let found = tombstones(&undeleted, &markers, &Rows::new());
        assert_eq!(found, [(path("notes"), Some(etag("1")))].into());
    }
}
