use proptest::prelude::*;

use super::*;
use crate::plan::tables::{any_table, etag, file, link, path, table};

fn held(content: &str) -> Held {
    Held { etag: etag(content), content: Content::of(&file(content)).unwrap() }
}

/// The mirror of a live tree that holds these rows.
pub(in crate::plan) fn mirror_of(rows: &Rows) -> Mirror {
    let files = rows.iter().filter_map(|(at, row)| Some((at.clone(), Content::of(row)?, row.etag.clone()?)));
    Mirror { rows: files.map(|(at, content, etag)| (at, Held { etag, content })).collect(), ..Mirror::default() }
}

static ALL_WHOLE: BTreeSet<RelPath> = BTreeSet::new();

fn none() -> BTreeMap<RelPath, ETag> {
    BTreeMap::new()
}

fn shown(steps: &[Step]) -> Vec<(String, Request)> {
    steps.iter().map(|step| (step.path.to_string(), step.request.clone())).collect()
}

fn at(name: &str, request: Request) -> (String, Request) {
    (name.to_owned(), request)
}

fn object(content: &str, hash: bool) -> There {
    let row = file(content);
    There::Object { etag: etag(content), size: row.size, hash: hash.then_some(row.hash) }
}

#[test]
fn each_key_that_differs_is_asked_for_with_the_version_the_mirror_knows() {
    let before = table(&[("edit", file("1")), ("gone", file("1")), ("same", file("1")), ("was", file("1"))]);
    let result = table(&[("edit", file("2")), ("new", file("n")), ("same", file("1")), ("was", link("x"))]);
    let mirror = mirror_of(&before);
    let plan = catch_up(
        &result,
        &Explained { mirror: &mirror, recent: &[&result], refused: &none() },
        &ALL_WHOLE,
        Order::ByPath,
    );
    assert_eq!(shown(&plan.puts), [at("edit", Request::Put(Some(etag("1")))), at("new", Request::Put(None))]);
    assert_eq!(shown(&plan.last), [at("gone", Request::Delete(etag("1"))), at("was", Request::Delete(etag("1")))]);
    assert!(plan.first.is_empty());
}

#[test]
fn where_the_mirror_alone_equals_the_result_a_sibling_may_be_about_to_write() {
    let mirrored = table(&[("reverted", file("1")), ("kept", file("1"))]);
    let between = table(&[("reverted", file("2")), ("brief", file("b")), ("kept", file("1"))]);
    let mirror = mirror_of(&mirrored);
    let explained = Explained { mirror: &mirror, recent: &[&between, &mirrored], refused: &none() };
    let plan = catch_up(&mirrored, &explained, &ALL_WHOLE, Order::ByPath);
    assert_eq!(shown(&plan.puts), [at("reverted", Request::Look)]);
    assert_eq!(shown(&plan.last), [at("brief", Request::Look)]);
}

#[test]
fn a_snapshot_that_is_known_by_what_differs_alone_unsettles_that_alone() {
    let rows = table(&[("back", file("1")), ("kept", file("1")), ("reverted", file("1"))]);
    let mirror = mirror_of(&rows);
    // Once `back` was not there, `brief` was, and `reverted` was another.
    let differing: BTreeSet<RelPath> = ["back", "brief", "reverted"].map(path).into();
    let explained = Explained { mirror: &mirror, recent: &[&rows], refused: &none() };
    let plan = catch_up(&rows, &explained, &differing, Order::ByPath);
    assert_eq!(shown(&plan.puts), [at("back", Request::Look), at("reverted", Request::Look)]);
    assert_eq!(shown(&plan.last), [at("brief", Request::Look)]);
}

#[test]
fn a_file_makes_room_for_a_directory_before_anything_is_put_and_the_reverse() {
    let before = table(&[("fd", file("1")), ("df/x", file("1")), ("z", file("1"))]);
    let result = table(&[("fd/x", file("2")), ("df", file("2"))]);
    let mirror = mirror_of(&before);
    let plan =
        catch_up(&result, &Explained { mirror: &mirror, recent: &[], refused: &none() }, &ALL_WHOLE, Order::ByPath);
    assert_eq!(shown(&plan.first), [at("df/x", Request::Delete(etag("1"))), at("fd", Request::Delete(etag("1")))]);
    assert_eq!(shown(&plan.puts), [at("df", Request::Put(None)), at("fd/x", Request::Put(None))]);
    assert_eq!(shown(&plan.last), [at("z", Request::Delete(etag("1")))]);
}

#[test]
fn a_refused_delete_is_written_again_but_only_of_the_version_that_was_refused() {
    let rows = table(&[("a", file("1"))]);
    let mirror = mirror_of(&rows);
    let refused = BTreeMap::from([(path("a"), etag("1"))]);
    let plan =
        catch_up(&rows, &Explained { mirror: &mirror, recent: &[&rows], refused: &refused }, &ALL_WHOLE, Order::ByPath);
    assert_eq!(shown(&plan.puts), [at("a", Request::Put(None))]);
    let other = BTreeMap::from([(path("a"), etag("old"))]);
    let plan =
        catch_up(&rows, &Explained { mirror: &mirror, recent: &[&rows], refused: &other }, &ALL_WHOLE, Order::ByPath);
    assert!(plan.is_empty());
    let plan = catch_up(
        &Rows::new(),
        &Explained { mirror: &mirror, recent: &[], refused: &refused },
        &ALL_WHOLE,
        Order::ByPath,
    );
    assert_eq!(shown(&plan.last), [at("a", Request::Look)]);
}

#[test]
fn what_is_met_is_done_or_known_or_an_outside_edit() {
    let put = Step { path: path("a"), wanted: held("want").content.into(), request: Request::Look };
    let delete = Step { wanted: None, ..put.clone() };
    let known: BTreeSet<Content> = ["mirr", "rece", "copy"].map(|content| held(content).content).into();
    let mirrored = held("mirr");
    let asked = |step: &Step, there: &There| met(step, Some(&mirrored), &known, there);
    for (step, there, expected) in [
        (&put, There::Absent, Met::Write(None)),
        (&delete, There::Absent, Met::Done(None)),
        (&put, object("want", true), Met::Done(Some(held("want")))),
        (&delete, object("want", true), Met::Outside),
        // The mirrored version needs no reading.
        (&put, object("mirr", false), Met::Write(Some(etag("mirr")))),
        (&delete, object("mirr", false), Met::Delete(held("mirr"))),
        (&put, object("rece", false), Met::Read),
        (&put, object("rece", true), Met::Write(Some(etag("rece")))),
        (&delete, object("copy", true), Met::Delete(held("copy"))),
        (&put, object("else", false), Met::Read),
        (&put, object("else", true), Met::Outside),
        (&put, object("another size", false), Met::Outside),
        (&delete, object("another size", false), Met::Outside),
    ] {
        assert_eq!(asked(step, &there), expected, "{step:?} met {there:?}");
    }
}

#[test]
fn a_copy_that_a_snapshot_keeps_explains_the_object_it_was_made_of() {
    let copy = format!("d/a.theirs-{}", file("x").hash.short());
    let notes = "d/a.theirs-notes";
    let present = table(&[("d/a", file("1")), (&copy, file("x")), (notes, file("n"))]);
    let mirror = mirror_of(&table(&[("d/a", file("m"))]));
    let recent = table(&[("d/a", file("2"))]);
    let explained = Explained { mirror: &mirror, recent: &[&recent], refused: &none() };
    let wanted: BTreeSet<Content> = ["1", "2", "x", "m"].map(|content| held(content).content).into();
    assert_eq!(explained.known(&present, &path("d/a")), wanted);
}

#[test]
fn the_object_that_a_new_copy_was_made_of_goes_where_a_directory_has_its_name() {
    let copy = format!("k.theirs-{}", file("x").hash.short());
    let result = table(&[("k/y", file("1")), (&copy, file("x"))]);
    let mirror = mirror_of(&table(&[("k/y", file("1"))]));
    let explained = Explained { mirror: &mirror, recent: &[&result], refused: &none() };
    let plan = catch_up(&result, &explained, &ALL_WHOLE, Order::ByPath);
    assert_eq!(shown(&plan.first), [at("k", Request::Look)]);
    let known = explained.known(&result, &path("k"));
    assert_eq!(met(&plan.first[0], None, &known, &object("x", true)), Met::Delete(held("x")));
    assert_eq!(met(&plan.first[0], None, &known, &object("y", true)), Met::Outside);
}

#[test]
fn a_mirror_is_written_only_after_every_step_and_says_facts() {
    let before = table(&[("edit", file("1")), ("gone", file("1")), ("keep", file("1")), ("out", file("1"))]);
    let result = table(&[("edit", file("2")), ("keep", file("1")), ("out", file("2")), ("odd", file("3"))]);
    let old = mirror_of(&before);
    let plan = catch_up(&result, &Explained { mirror: &old, recent: &[], refused: &none() }, &ALL_WHOLE, Order::ByPath);
    let mut ended = BTreeMap::from([
        (path("edit"), Ended::Done(Some(held("2")))),
        (path("out"), Ended::Outside),
        (path("odd"), Ended::NameRefused),
    ]);
    assert_eq!(next_mirror(&old, &plan, &ended, &none()), None);
    ended.insert(path("gone"), Ended::Done(None));
    let next = next_mirror(&old, &plan, &ended, &[(path("m"), etag(""))].into()).unwrap();
    let rows = [("edit", held("2")), ("keep", held("1")), ("out", held("1"))];
    assert_eq!(next.rows, rows.map(|(at, held)| (path(at), held)).into());
    assert_eq!(next.markers, [(path("m"), etag(""))].into());
    ended.insert(path("edit"), Ended::NameRefused);
    assert_eq!(next_mirror(&old, &plan, &ended, &none()).unwrap().rows[&path("edit")], held("1"), "it is still there");
    ended.insert(path("gone"), Ended::Denied(None));
    assert_eq!(next_mirror(&old, &plan, &ended, &none()).unwrap().rows[&path("gone")], held("1"));
    ended.insert(path("gone"), Ended::Denied(Some(held("2"))));
    assert_eq!(next_mirror(&old, &plan, &ended, &none()).unwrap().rows[&path("gone")], held("2"), "what was met");
}

/// Carries a catch-up out on a bucket that honours conditions; `other` edits land before it begins.
fn carry_out(
    live: &mut BTreeMap<RelPath, Row>,
    plan: &CatchUp,
    explained: &Explained<'_>,
    result: &Rows,
) -> BTreeMap<RelPath, Ended> {
    let mut ended = BTreeMap::new();
    for step in plan.steps() {
        let mut request = step.request.clone();
        for tries in 0.. {
            assert!(tries < 4, "no end for {step:?}");
            let there = live.get(&step.path).cloned();
            let version = there.as_ref().and_then(|row| row.etag.clone());
            match &request {
                Request::Put(expected) if *expected == version => {
                    let row = Row { etag: Some(ETag::new(format!("new {tries}"))), ..result[&step.path].clone() };
                    let held = Held { etag: row.etag.clone().unwrap(), content: Content::of(&row).unwrap() };
                    live.insert(step.path.clone(), row);
                    ended.insert(step.path.clone(), Ended::Done(Some(held)));
                    break;
                }
                Request::Delete(expected) if Some(expected) == version.as_ref() => {
                    live.remove(&step.path);
                    ended.insert(step.path.clone(), Ended::Done(None));
                    break;
                }
                _ => {}
            }
            let there = there.map_or(There::Absent, |row| There::Object {
                etag: row.etag.unwrap(),
                size: row.size,
                hash: Some(row.hash),
            });
            let known = explained.known(result, &step.path);
            request = match met(step, explained.mirror.rows.get(&step.path), &known, &there) {
                Met::Done(held) => {
                    ended.insert(step.path.clone(), Ended::Done(held));
                    break;
                }
                Met::Outside => {
                    ended.insert(step.path.clone(), Ended::Outside);
                    break;
                }
                Met::Write(etag) => Request::Put(etag),
                Met::Delete(held) => Request::Delete(held.etag),
                Met::Read => unreachable!("it was read"),
            };
        }
    }
    ended
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn from_any_explained_live_tree_the_catch_up_makes_what_the_result_says(
        mirrored in any_table(), recent in any_table(), result in any_table(), mixed in any::<u64>())
    {
        // Each key holds what some catch-up of the mirrored, the recent or the present snapshot left there.
        let mut live: BTreeMap<RelPath, Row> = BTreeMap::new();
        let keys: BTreeSet<&RelPath> = mirrored.keys().chain(recent.keys()).chain(result.keys()).collect();
        for (n, at) in keys.into_iter().enumerate() {
            let table = [&mirrored, &recent, &result][(mixed >> (2 * (n % 32)) & 3).min(2) as usize];
            if let Some(row) = table.get(at).filter(|row| row.kind == Kind::File) {
                // Nobody writes again what nobody changed.
                let is_same = [&mirrored, &recent].iter().all(|rows| Content::at(rows, at) == Content::of(row));
                let name = if is_same || std::ptr::eq(table, &raw const mirrored) {
                    row.etag.clone().unwrap()
                } else {
                    ETag::new("put since")
                };
                live.insert(at.clone(), Row { etag: Some(name), ..row.clone() });
            }
        }
        let mirror = mirror_of(&mirrored);
        let (tables, refused) = ([&recent, &result], none());
        let explained = Explained { mirror: &mirror, recent: &tables, refused: &refused };
        let plan = catch_up(&result, &explained, &ALL_WHOLE, Order::ByPath);
        let ended = carry_out(&mut live, &plan, &explained, &result);
        let wanted: Vec<_> = result.iter().filter_map(|(at, row)| Some((at.clone(), Content::of(row)?))).collect();
        let found: Vec<_> = live.iter().filter_map(|(at, row)| Some((at.clone(), Content::of(row)?))).collect();
        prop_assert_eq!(&found, &wanted);
        let next = next_mirror(&mirror, &plan, &ended, &none()).unwrap();
        prop_assert_eq!(next.rows.keys().collect::<Vec<_>>(), live.keys().collect::<Vec<_>>());
        for (at, held) in &next.rows {
            prop_assert_eq!((Some(&held.etag), Some(held.content)), (live[at].etag.as_ref(), Content::of(&live[at])));
        }
        let settled = Explained { mirror: &next, recent: &[&result], refused: &refused };
        prop_assert!(catch_up(&result, &settled, &ALL_WHOLE, Order::ByPath).is_empty());
    }

    #[test]
    fn no_outside_edit_is_ever_touched(mirrored in any_table(), result in any_table(), edited in any::<u32>()) {
        let mirror = mirror_of(&mirrored);
        let mut live: BTreeMap<RelPath, Row> = mirrored.iter().filter(|(_, row)| row.kind == Kind::File)
            .map(|(at, row)| (at.clone(), row.clone())).collect();
        let mut edits = BTreeMap::new();
        for (n, (at, row)) in live.iter_mut().enumerate() {
            if edited >> (n % 32) & 1 == 1 {
                *row = file(&format!("outside {n}"));
                edits.insert(at.clone(), row.clone());
            }
        }
        let refused = none();
        let explained = Explained { mirror: &mirror, recent: &[&result], refused: &refused };
        let plan = catch_up(&result, &explained, &ALL_WHOLE, Order::ByPath);
        let ended = carry_out(&mut live, &plan, &explained, &result);
        for (at, row) in edits {
            prop_assert_eq!(live.get(&at), Some(&row));
            prop_assert!(!matches!(ended.get(&at), Some(Ended::Done(_))));
        }
    }
}
