//! The history of live workspaces: what is kept and listed, tags, differences, and what a prune or a delete takes away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::primitives::ByteStream;
use serde_json::{Value, json};
use stopover::snapshot::{Head, HeadState, SnapshotId};
use support::{
    checker::Checker,
    committer::Live,
    front::{Class, Fault, Front, any},
    outsider::Outsider,
    servers::{Kind, Server},
    story::{Directory, Ended, Story, until},
    wait,
};

/// The servers whose every process is one: their conditions are as good as atomic.
fn servers() -> Vec<Arc<Server>> {
    [Some(Server::here()), Server::of(Kind::Moto)].into_iter().flatten().collect()
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

/// One JSON object a line.
fn lines(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Three commits, three, two and no hours ago; the second tagged `good`.
fn three<'a>(story: &'a Story) -> (Live<'a>, [SnapshotId; 3]) {
    let mut live = Live::in_story(story);
    let now = live.time;
    live.time = now - hours(3);
    let one = live.commit(&[("a", "1"), ("sub/b", "2")]);
    (live.time, live.overlay) = (now - hours(2), true);
    let two = live.commit(&[("a", "one"), ("sub/b", "2"), ("new/c", "3")]);
    let written = live.written();
    live.put_head(&live.head().unwrap().tagged(&two, "good", written).unwrap());
    live.time = now;
    let three = live.commit(&[("a", "one"), ("new/c", "3")]);
    (live, [one, two, three])
}

#[test]
fn snapshots_are_listed_the_newest_last() {
    let story = Story::on(&Server::here());
    let here = story.directory("here");
    here.stopover(&["snapshots"]).exits(1).says("does not exist: check the name");
    story.object("a", "1");
    let none = here.stopover(&["snapshots", "--json"]).exits(0).says("no snapshots yet");
    assert_eq!(none.stdout, "");
    here.stopover(&["diff", "1"]).exits(1).says("has no snapshots yet");

    let (_, ids) = three(&story);
    let items = lines(&here.stopover(&["snapshots", "--json"]).exits(0));
    let keys: Vec<_> = items[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "time", "files", "bytes", "changed", "writer", "tags", "quiet", "partial"]);
    let found: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, ids.map(|id| id.to_string()));
    assert_eq!((&items[1]["tags"], &items[1]["files"]), (&json!(["good"]), &json!(3)));
    assert_eq!(items[2]["writer"], "elsewhere:1");
    let table = here.stopover(&["snapshots"]).exits(0);
    assert!(table.stdout.starts_with("SNAPSHOT ") && table.stdout.lines().count() == 4, "{}", table.stdout);
}

#[test]
fn a_difference_is_told_by_whatever_names_the_snapshots() {
    let story = Story::on(&Server::here());
    let (_, [one, two, three]) = three(&story);
    let here = story.directory("here");
    let second = "M\ta\nA\tnew\nA\tnew/c\n";
    let (from, to) = (one.to_string(), two.to_string());
    assert_eq!(here.stopover(&["diff", &from, &to]).exits(0).stdout, second);
    assert_eq!(here.stopover(&["diff", "1", "good"]).exits(0).stdout, second);
    assert_eq!(here.stopover(&["diff", &from[..14], "90m"]).exits(0).stdout, second);
    assert_eq!(here.stopover(&["diff", "good"]).exits(0).stdout, "D\tsub\nD\tsub/b\n");
    assert_eq!(here.stopover(&["diff", &three.to_string(), "."]).exits(0).stdout, "");
    let changes = lines(&here.stopover(&["diff", "good", "1", "--json"]).exits(0));
    assert_eq!(changes[0], json!({"path": "a", "change": "modified"}));
    here.stopover(&["diff", "bad"]).exits(1).says("no kept snapshot has the tag \"bad\"").says("tags: good");
    here.stopover(&["diff", "4h"]).exits(1).says("no kept snapshot is as old as").says(&from);
    here.stopover(&["diff", "0000000007-aaaaaaaaaaaa"]).exits(1).says("it is not kept (any more)");
}

#[test]
fn a_tag_is_put_moved_and_taken_away_and_nothing_else_changes() {
    for server in servers() {
        let story = Story::on(&server);
        let (live, [one, _, three]) = three(&story);
        let (before, here) = (live.head().unwrap(), story.directory("here"));
        here.stopover(&["tag", "release"]).exits(0).printed(&format!("release is {three}\n"));
        let moved = here.stopover(&["tag", "release", "1", "--json"]).exits(0).json();
        assert_eq!(moved, json!({"tag": "release", "snapshot": one.to_string(), "before": three.to_string()}));
        let tagged = live.head().unwrap();
        assert_eq!(tagged.tag("release").map(|entry| entry.snapshot), Some(one));
        let same = |head: &Head| (head.seq, head.gc, head.snapshot, head.mirror, head.lineage.clone(), head.birth);
        assert_eq!(same(&tagged), same(&before));
        here.stopover(&["tag", "other", "--dry-run"]).exits(0).printed("would be: other is");
        assert_eq!(live.head().unwrap(), tagged);
        here.stopover(&["tag", "--remove", "release"]).exits(0).printed("release is no tag any more");
        let plain = live.head().unwrap();
        assert_eq!(plain.history, before.history);
        here.stopover(&["tag", "--remove", "release"]).exits(1).says("no kept snapshot has the tag \"release\"");
        here.stopover(&["tag", "2h"]).exits(2).says("begins with a letter");
        here.stopover(&["tag", "x", "99"]).exits(1).says("no kept snapshot is \"99\"");
        here.with("STOPOVER_MODE", "read-only").stopover(&["tag", "x"]).exits(4).says("read-only");
        assert_eq!(live.head().unwrap(), plain);
    }
}

#[test]
fn a_tag_and_a_commit_at_once_are_both_kept() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let (mut live, [one, ..]) = three(&story);
    let here = story.directory("here");
    let held = front.hold(any().op("PutObject").class(Class::Head).once());
    let tagging = here.start(&["tag", "first", "1"]);
    held.reached();
    let four = live.commit(&[("a", "four")]);
    held.release();
    tagging.ends().exits(0);
    let head = live.head().unwrap();
    assert_eq!(head.snapshot, Some(four));
    assert_eq!(head.tag("first").map(|entry| entry.snapshot), Some(one));

    // Applied, and nobody was told.
    front.on(any().op("PutObject").class(Class::Head).once(), Fault::DropReply);
    here.stopover(&["tag", "second", "1"]).exits(0);
    assert_eq!(live.head().unwrap().tag("second").map(|entry| entry.snapshot), Some(one));
}

/// A story whose listings look old, with three commits and garbage.
struct Attic {
    front: Front,
    story: Story,
}

impl Attic {
    fn on(server: &Arc<Server>) -> Self {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, server);
        Self { front, story }
    }

    fn here(&self) -> Directory {
        self.story.directory("here")
    }

    /// From now on all that is listed is old, but for what has this in its key.
    fn ages(&self, young: &[&str]) {
        // Where listings have no versions, each object is asked, too.
        for part in young {
            self.front.on(any().op("HeadObject").key(part), Fault::Nothing);
        }
        self.front.on(any().op("HeadObject"), Fault::Header("last-modified", "Mon, 01 Jan 2001 00:00:00 GMT"));
        self.front.on(any().op("ListObjectsV2"), Fault::list_old_but(young));
    }

    fn deletions(&self) -> Vec<String> {
        let seen = self.front.seen().into_iter().filter(|seen| seen.op == "DeleteObject");
        seen.map(|seen| seen.key).filter(|key| !key.contains("/probe-")).collect()
    }
}

/// What a commit that lost left, under a number of its own.
fn garbage(live: &mut Live<'_>, seq: u64) -> SnapshotId {
    let id = SnapshotId::new(seq, live.random());
    let (overlay, content) = (std::mem::replace(&mut live.overlay, true), format!("lost {seq}"));
    live.upload(id, &[("lost", &content)]);
    live.overlay = overlay;
    id
}

#[test]
fn a_prune_takes_what_nothing_reaches_and_nothing_else() {
    for server in servers() {
        let attic = Attic::on(&server);
        let (mut live, [one, two, last]) = three(&attic.story);
        let before = live.own_keys();
        let lost = garbage(&mut live, 3);
        live.put(".stopover/mirrors/0000000003-0102030405ff", "whatever");
        attic.ages(&[]);
        let gc = live.head().unwrap().gc;

        let planned = attic.here().stopover(&["prune", "--dry-run"]).exits(0);
        planned.printed("would sweep 3 objects").printed("3 snapshots are kept");
        assert_eq!(live.head().unwrap().gc, gc);
        assert!(attic.deletions().is_empty());
        assert_eq!(attic.front.count(&any().op("PutObject")), 0, "a dry run writes nothing");

        let pruned = attic.here().stopover(&["prune", "--json"]).exits(0).json();
        let keys: Vec<_> = pruned.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["workspace", "kept", "forgotten", "objects", "bytes", "young", "uploads", "strays", "dry_run"]
                .iter()
                .collect::<Vec<_>>()
        );
        assert_eq!((&pruned["objects"], &pruned["young"], &pruned["kept"]), (&json!(3), &json!(0), &json!(3)));
        assert_eq!(live.own_keys(), before);
        assert!(attic.deletions().iter().any(|key| key.ends_with(&lost.tree_key())));
        let head = live.head().unwrap();
        assert_eq!(head.gc.count(), gc.count() + 1);
        assert_eq!(head.history.iter().map(|entry| entry.snapshot).collect::<Vec<_>>(), [one, two, last]);

        attic.here().stopover(&["prune"]).exits(0).printed("swept 0 objects");
        assert_eq!(live.head().unwrap(), head, "nothing to do moves nobody");
    }
}

#[test]
fn a_prune_forgets_by_retention_what_it_then_sweeps_but_no_base_and_no_tag() {
    let attic = Attic::on(&Server::here());
    let (live, [one, two, last]) = three(&attic.story);
    let now = live.time;
    attic.ages(&[]);
    let none = ["prune", "--keep-last", "1", "--keep-within", "0s", "--keep-daily", "0"];
    attic.here().stopover(&none).exits(0).printed("forgot 1 snapshot; 2 snapshots are kept");
    let head = live.head().unwrap();
    assert_eq!(head.history.iter().map(|entry| entry.snapshot).collect::<Vec<_>>(), [two, last]);
    let keys = live.own_keys();
    // The first is the base of both; what only it had would be its pack, but that is what the base says.
    assert!(keys.contains(&format!("trees/{one}")) && keys.contains(&format!("packs/{}", Live::pack_of(one))));
    assert!(now > head.history[0].time);
    for id in [two, last] {
        assert!(keys.contains(&format!("trees/{id}")));
    }
}

#[test]
fn a_prune_keeps_the_mirror_what_it_builds_on_and_what_may_still_be_caught_up() {
    let attic = Attic::on(&Server::here());
    let mut live = Live::in_story(&attic.story);
    let now = live.time;
    let commit = |live: &mut Live<'_>, ago: u64, catches_up: bool| {
        (live.time, live.catches_up) = (now - hours(ago), catches_up);
        live.commit(&[("a", &format!("{ago} hours ago"))])
    };
    let forgotten = commit(&mut live, 60, true);
    let mirrored = commit(&mut live, 50, true);
    let recent = commit(&mut live, 40, false);
    let last = commit(&mut live, 30, false);
    attic.ages(&[]);
    let none = ["prune", "--keep-last", "0", "--keep-within", "0s", "--keep-daily", "0"];
    attic.here().stopover(&none).exits(0).printed("1 snapshot is kept");
    assert_eq!(live.head().unwrap().mirror, Some(mirrored));
    let mut expected = vec!["head.json".to_owned(), format!("mirrors/{mirrored}")];
    for id in [mirrored, recent, last] {
        expected.extend([format!("trees/{id}"), format!("packs/{}", Live::pack_of(id))]);
    }
    expected.sort();
    assert_eq!(live.own_keys(), expected, "without {forgotten}");
}

#[test]
fn a_prune_keeps_what_the_mirror_is_written_over() {
    let attic = Attic::on(&Server::here());
    let here = attic.here();
    here.pull().exits(0);
    for n in 1..4 {
        here.file("a", n.to_string()).checkpoint().exits(0);
    }
    // The first is forgotten, and no catch-up of it can be on its way.
    let mut head: Value = serde_json::from_str(&attic.story.object_text(".stopover/head.json")).unwrap();
    let first = head["history"].as_array_mut().unwrap().remove(0)["snapshot"].as_str().unwrap().to_owned();
    attic.story.object(".stopover/head.json", head.to_string());
    attic.ages(&[]);
    let sweeper = attic.story.directory("sweeper");
    sweeper.stopover(&["prune"]).exits(0).printed("2 snapshots are kept");
    assert!(attic.story.has_object(&format!(".stopover/mirrors/{first}")));
    Checker::new(&attic.story.outsider, attic.story.key("")).bucket().unwrap();
}

#[test]
fn a_prune_that_cannot_read_what_is_kept_deletes_nothing() {
    let attic = Attic::on(&Server::here());
    let (mut live, [one, two, _]) = three(&attic.story);
    garbage(&mut live, 3);
    let (before, head) = (live.own_keys(), live.head().unwrap());
    for (which, fault, says) in [
        (any().op("GetObject").class(Class::Tree).key(&two.to_string()), Fault::DENIED, "AccessDenied"),
        (any().op("GetObject").class(Class::Tree).key(&one.to_string()), Fault::Flip(9), "cannot be read"),
        (any().op("GetObject").class(Class::Mirror), Fault::DENIED, "AccessDenied"),
        (any().op("ListObjectsV2"), Fault::DENIED, "AccessDenied"),
    ] {
        attic.front.heal();
        attic.front.on(which, fault);
        attic.ages(&[]);
        attic.here().stopover(&["prune"]).exits(1).says(says);
        assert_eq!((live.own_keys(), live.head().unwrap()), (before.clone(), head.clone()));
    }
    // A kept tree that is gone is damage, and no reason to sweep on.
    attic.front.heal();
    attic.ages(&[]);
    attic.story.no_object(&two.tree_key());
    attic.here().stopover(&["prune"]).exits(1).says(&format!("tree {two}"));
    assert_eq!(attic.deletions(), Vec::<String>::new());
}

#[test]
fn a_prune_that_meets_a_commit_looks_again() {
    for reply in [Fault::Nothing, Fault::DropBefore] {
        let attic = Attic::on(&Server::here());
        let (mut live, _) = three(&attic.story);
        // Uploaded and not named yet: to the prune it is garbage.
        let slow = garbage(&mut live, 4);
        attic.ages(&[]);
        let gc = live.head().unwrap().gc;
        let held = attic.front.hold(any().op("GetObject").class(Class::Tree).once());
        // Its write of head, when it comes, is refused, or nobody knows what became of it.
        attic.front.on(any().op("PutObject").class(Class::Head).once(), reply);
        let pruning = attic.here().start(&["prune"]);
        held.reached();
        let old = live.head().unwrap();
        let written = live.written();
        let random = live.random();
        live.put_head(&Head::live_over(Some(&old), slow, None, Default::default(), random, written));
        held.release();
        pruning.ends().exits(0).printed("4 snapshots are kept");
        let head = live.head().unwrap();
        assert_eq!((head.snapshot, head.gc), (Some(slow), gc), "there was nothing to sweep any more");
        assert!(attic.deletions().is_empty(), "{:?}", attic.deletions());
    }
}

/// Another prune has forgotten, and swept, what the head that was read still keeps.
#[test]
fn a_prune_that_misses_what_another_has_swept_looks_again() {
    let attic = Attic::on(&Server::in_memory());
    let (mut live, [one, two, _]) = three(&attic.story);
    live.commit(&[("a", "four"), ("sub/b", "2")]);
    let none = ["prune", "--keep-last", "1", "--keep-within", "0s", "--keep-daily", "0"];
    let held = attic.front.hold(any().op("ListObjectsV2").once());
    let later = Front::before(&attic.front.endpoint);
    later.on(any(), Fault::MUCH_LATER);
    let pruning = attic.here().start(&["prune"]);
    held.reached();
    let written = live.written();
    live.put_head(&live.head().unwrap().untagged("good", written));
    let there = attic.story.directory("there").with("S3_ENDPOINT", &later.endpoint);
    there.stopover(&none).exits(0).printed("forgot 3 snapshots");
    assert!(!live.own_keys().contains(&format!("trees/{two}")));
    held.release();
    pruning.ends().exits(0).printed("swept 0 objects").printed("1 snapshot is kept");
    // The base of the present one.
    assert!(live.own_keys().contains(&format!("trees/{one}")));
}

#[test]
fn what_is_younger_than_a_day_stays() {
    let attic = Attic::on(&Server::here());
    let (mut live, _) = three(&attic.story);
    let lost = garbage(&mut live, 3);
    let before = live.own_keys();
    attic.ages(&[&lost.to_string()]);
    attic.here().stopover(&["prune"]).exits(0).printed("2 objects are younger than a day");
    assert_eq!(live.own_keys(), before);
}

/// Begins an upload in parts of this key, and sends one of them.
fn begin_upload(story: &Story, key: &str) {
    let Outsider { client, bucket, .. } = &story.outsider;
    let begun = wait(client.create_multipart_upload().bucket(bucket).key(key).send()).unwrap();
    let part = client.upload_part().bucket(bucket).key(key).upload_id(begun.upload_id.unwrap()).part_number(1);
    wait(part.body(ByteStream::from_static(b"part")).send()).unwrap();
}

/// What a process that was killed in the midst of an upload left: nobody sees it, and it is paid for.
#[test]
fn an_upload_that_nobody_ended_is_given_up_when_it_is_a_day_old_or_with_the_workspace() {
    let servers = [Some(Server::in_memory()), Server::of(Kind::Moto)].into_iter().flatten();
    for server in servers {
        let attic = Attic::on(&server);
        three(&attic.story);
        let inside = attic.story.key("data/big ä+%41.db");
        begin_upload(&attic.story, &inside);
        begin_upload(&attic.story, &format!("{}-other/big.db", attic.story.workspace));
        let begun = || {
            let listing = attic.story.outsider.client.list_multipart_uploads().bucket(&attic.story.outsider.bucket);
            wait(listing.send()).unwrap().uploads.unwrap_or_default().len()
        };
        // By its clock they were begun just now; moto says the same time of all uploads.
        if server.kind == Kind::Memory {
            attic.front.on(any(), Fault::Header("date", "Thu, 01 Jan 2026 00:00:01 GMT"));
            attic.here().stopover(&["prune"]).exits(0).never_says("never ended");
            assert_eq!(begun(), 2);
            attic.front.heal();
        }
        attic.front.on(any(), Fault::MUCH_LATER);
        let dry = attic.here().stopover(&["prune", "--dry-run"]).exits(0);
        dry.printed("would give up 1 upload in parts that was never ended");
        assert_eq!(begun(), 2, "{}", server.name());
        let pruned = attic.here().stopover(&["prune", "--json"]).exits(0).json();
        assert_eq!((&pruned["uploads"], begun()), (&json!(1), 1), "{}", server.name());
        attic.front.heal();
        // Without the right to list them they stay, and nothing else does.
        begin_upload(&attic.story, &inside);
        attic.front.on(any().op("ListMultipartUploads"), Fault::DENIED);
        attic.here().stopover(&["prune"]).exits(0);
        attic.front.heal();
        attic.here().stopover(&["delete", &attic.story.url(), "--yes"]).exits(0);
        assert_eq!(begun(), 1, "{}: that of another workspace", server.name());
    }
}

#[test]
fn without_conditional_writes_a_prune_wants_to_be_alone_and_keeps_strays() {
    let attic = Attic::on(&Server::here());
    let (mut live, [one, ..]) = three(&attic.story);
    let (stray, old) = (garbage(&mut live, 3), garbage(&mut live, 1));
    let here = attic.here();
    let note = json!({ &attic.front.endpoint: { "what": { "puts": true }, "found": { "create": true } } });
    here.folder(".stopover").file(".stopover/abilities", note.to_string());
    attic.ages(&[&stray.to_string()]);
    let before = live.own_keys();
    here.stopover(&["prune"]).exits(4).says("--sole-writer");
    assert_eq!(live.own_keys(), before);
    here.stopover(&["snapshots"]).exits(0).says(&stray.to_string()).never_says(&old.to_string());
    // A write of head is looked at once before, and once after.
    here.stopover(&["tag", "x", "1"]).exits(0);
    let heads = attic.front.seen().into_iter().filter(|seen| seen.class == Class::Head && seen.op != "HeadObject");
    let last: Vec<_> = heads.map(|seen| seen.op).collect();
    assert_eq!(last[last.len() - 4..], ["GetObject", "GetObject", "PutObject", "GetObject"]);
    // The stray has all that it needs: the tree it builds on, and its pack.
    here.stopover(&["diff", &stray.to_string(), "1"]).exits(0).printed("D\tlost");
    here.stopover(&["prune", "--sole-writer"]).exits(0).says(&stray.to_string()).printed("swept 2 objects");
    let keys = live.own_keys();
    assert!(keys.contains(&format!("trees/{stray}")) && keys.contains(&format!("trees/{one}")), "{keys:?}");
    assert!(!keys.contains(&format!("trees/{old}")));
}

#[test]
fn a_plain_workspace_and_a_deleted_one_are_told_apart_by_a_prune() {
    let story = Story::on(&Server::here());
    let here = story.directory("here");
    here.stopover(&["prune"]).exits(1).says("does not exist, or nothing was ever committed");
    let (live, _) = three(&story);
    here.stopover(&["delete", &story.url(), "--yes"]).exits(0);
    assert_eq!(live.head().unwrap().state, HeadState::Deleted);
    here.stopover(&["prune"]).exits(1).says("was deleted");
    here.stopover(&["snapshots"]).exits(1).says("does not exist");
    here.stopover(&["tag", "x"]).exits(1).says("does not exist");
}

#[test]
fn a_prune_of_a_plain_workspace_takes_the_trees_of_its_past_and_nothing_that_is_live() {
    for server in servers() {
        let attic = Attic::on(&server);
        let here = attic.here();
        here.pull().exits(0);
        // The last commits of containers that lived too short for a checkpoint: a tree each, and no packs.
        for n in 0..12 {
            here.file("a.txt", format!("{n}")).file(&format!("d/{n}.txt"), "x").mode("a.txt", 0o700 + n);
            here.commit().exits(0);
        }
        here.remove("d/0.txt").commit().exits(0);
        let live = Live::in_story(&attic.story);
        let head = live.head().unwrap();
        assert_eq!((head.state, head.seq), (HeadState::Plain, 13), "on {}", server.name());
        let trees = || live.own_keys().into_iter().filter(|key| key.starts_with("trees/")).collect::<Vec<_>>();
        assert_eq!(trees().len(), 13);
        let (objects, tree, begun) = (attic.story.live(), here.tree(), attic.deletions().len());
        attic.ages(&[]);
        // Nothing was caught up with: all that the lineage has may still explain an object.
        let none = ["prune", "--json", "--keep-last", "1", "--keep-within", "0s", "--keep-daily", "0"];
        let pruned = here.stopover(&none).exits(0).json();
        assert_eq!((&pruned["objects"], trees().len()), (&json!(0), 13), "{pruned}");
        assert_eq!(live.head().unwrap(), head);
        // As after 256 more: the lineage has the last five, and there is what a commit that lost left.
        let mut text: Value = serde_json::from_str(&attic.story.object_text(".stopover/head.json")).unwrap();
        let lineage = text["lineage"].as_array().unwrap().clone();
        let (old, kept) = lineage.split_at(8);
        text["lineage"] = kept.into();
        live.put(".stopover/head.json", text.to_string());
        live.put(".stopover/trees/0000000012-0102030405ff", "whatever");
        let dry = here.stopover(&["prune", "--dry-run", "--json"]).exits(0).json();
        assert_eq!((&dry["objects"], trees().len()), (&json!(9), 14), "on {}: {dry}", server.name());
        let pruned = here.stopover(&none).exits(0).json();
        assert_eq!((&pruned["objects"], &pruned["young"]), (&json!(9), &json!(0)), "{pruned}");
        let wanted: Vec<String> = kept.iter().map(|id| format!("trees/{}", id.as_str().unwrap())).collect();
        assert_eq!(trees(), wanted, "on {}", server.name());
        let deleted = attic.deletions().split_off(begun);
        assert!(old.iter().all(|id| deleted.iter().any(|key| key.ends_with(id.as_str().unwrap()))));
        let after = live.head().unwrap();
        assert_eq!((after.state, after.seq, after.snapshot), (HeadState::Plain, 13, head.snapshot));
        assert_eq!(after.gc.count(), head.gc.count() + 1);
        assert!(deleted.iter().all(|key| key.contains("/.stopover/trees/")), "{deleted:?}");
        assert!(attic.story.live() == objects);
        // Modes are in that tree.
        let next = attic.story.directory("next");
        next.pull().exits(0);
        assert!(next.tree() == tree);
        assert_eq!(next.mode_of("a.txt"), 0o713, "on {}", server.name());
        // A container that was there before goes on, and one that comes from it.
        here.file("a.txt", "after").commit().exits(0);
        next.file("b.txt", "after").commit().exits(0);
        let last = attic.story.directory("last");
        last.pull().exits(0);
        assert_eq!((last.text("a.txt").as_str(), last.text("b.txt").as_str()), ("after", "after"));
        assert!(!last.has("d/0.txt"));
    }
}

#[test]
fn a_live_workspace_is_deleted_to_its_tombstone() {
    for server in servers() {
        let story = Story::on(&server);
        let (mut live, _) = three(&story);
        garbage(&mut live, 9);
        story.object("by hand", "outside");
        let (gc, lineage) = (live.head().unwrap().gc, live.head().unwrap().lineage);
        let here = story.directory("here");
        here.stopover(&["delete", &story.url(), "--dry-run"]).exits(0);
        assert_eq!(live.head().unwrap().gc, gc);
        here.stopover(&["delete", &story.url(), "--yes"]).exits(0);
        let head = live.head().unwrap();
        assert_eq!((head.state, head.lineage, head.history.len()), (HeadState::Deleted, lineage, 0));
        assert!(head.gc.count() > gc.count());
        assert_eq!(live.own_keys(), ["head.json"]);
        assert_eq!(story.objects(), Vec::<String>::new());
        here.stopover(&["delete", &story.url(), "--yes"]).exits(0);
    }
}

#[test]
fn what_comes_while_a_workspace_is_deleted_goes_in_a_round_of_its_own_gc() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let (mut live, _) = three(&story);
    let gc = live.head().unwrap().gc.count();
    let held = front.hold(any().op("DeleteObject").class(Class::Tree).once());
    let deleting = story.directory("here").start(&["delete", &story.url(), "--yes"]);
    held.reached();
    // A writer that has not seen the tombstone yet, and a catch-up.
    garbage(&mut live, 9);
    story.object("late", "late");
    held.release();
    deleting.ends().exits(0);
    assert_eq!((live.own_keys(), story.objects()), (vec!["head.json".to_owned()], Vec::new()));
    assert_eq!(live.head().unwrap().gc.count(), gc + 2, "once for each round");
}

#[test]
fn an_object_that_was_written_since_it_was_listed_is_listed_again_before_it_is_deleted() {
    let server = Server::in_memory();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    three(&story);
    let of_a = || any().op("DeleteObject").class(Class::Live).key("ws/a");
    let held = front.hold(of_a().once());
    let deleting = story.directory("here").start(&["delete", &story.url(), "--yes"]);
    held.reached();
    story.object("a", "written since");
    held.release();
    deleting.ends().exits(0);
    let answers: Vec<u16> =
        front.done().iter().filter(|one| of_a().means(&one.request)).map(|one| one.status).collect();
    assert_eq!(answers, [412, 204]);
}

/// What was on its way when it fell asleep arrives; nothing else may go out before it has seen that the tombstone lies.
#[test]
fn a_delete_that_was_asleep_takes_nothing_of_a_workspace_that_was_made_anew_meanwhile() {
    let server = Server::in_memory();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let mut live = Live::in_story(&story);
    let names: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "the same in both lives")).collect();
    live.commit(&files);
    let held = front.hold(any().op("DeleteObject").class(Class::Live));
    let deleting = story.directory("here").start(&["delete", &story.url(), "--yes"]);
    held.reached();
    live.commit(&files);
    std::thread::sleep(Duration::from_millis(5_200));
    held.release();
    deleting.ends().exits(0);
    assert!(story.objects().len() >= 40 - 8, "{:?} is left", story.objects());
}

#[test]
fn a_workspace_that_is_made_anew_while_it_is_deleted_keeps_what_is_its_own() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let (mut live, _) = three(&story);
    let held = front.hold(any().op("DeleteObject").class(Class::Tree).once());
    let deleting = story.directory("here").start(&["delete", &story.url(), "--yes"]);
    held.reached();
    // Without conditions on deletes the object of the old one and that of the new one could meet in one instant.
    until(|| story.live().is_empty());
    let anew = live.commit(&[("a", "another life")]);
    held.release();
    deleting.ends().exits(0);
    let head = live.head().unwrap();
    assert_eq!((head.snapshot, head.birth), (Some(anew), anew));
    let keys = live.own_keys();
    assert!(keys.contains(&format!("trees/{anew}")) && keys.contains(&format!("packs/{}", Live::pack_of(anew))));
    assert_eq!(story.object_text("a"), "another life");
}

#[test]
fn a_snapshot_of_the_past_goes_to_a_place_of_its_own_and_nothing_else_is_written() {
    for server in servers() {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let (_, [one, two, _]) = three(&story);
        let here = story.directory("here");
        here.file("mine", "1");
        let place = |name: &str| story.path(name).display().to_string();
        let whole = here.stopover(&["restore", "1", "--to", &place("whole")]).exits(0);
        assert!(whole.stdout.starts_with("restored snapshot 1 (2 files, "), "{}", whole.stdout);
        let whole = story.directory("whole");
        assert_eq!((whole.paths(), whole.text("a")), (vec!["a".into(), "sub/".into(), "sub/b".into()], "1".into()));
        assert!(!whole.has(".stopover"), "it is no directory of a workspace");

        let some = ["restore", "150m", "new", "/nowhere/../", "--to", &place("some")];
        here.stopover(&some).exits(2).says("not in");
        let some = ["restore", "good", "new", "--to", &place("some"), "--json"];
        let told = here.stopover(&some).exits(0).json();
        assert_eq!((&told["snapshot"], &told["files"]), (&json!(two.to_string()), &json!(1)));
        assert_eq!((&told["before"], &told["refused"]), (&Value::Null, &json!([])));
        assert_eq!(story.directory("some").paths(), ["new/", "new/c"]);

        here.stopover(&["restore", "1", "--to", &place("some")]).exits(4).says("is not empty");
        here.stopover(&["restore", "1", "x", "--to", &place("none")])
            .exits(1)
            .says(&format!("x is not in snapshot {one}"));
        here.stopover(&["restore", "bad", "--to", &place("none")]).exits(1).says("no kept snapshot has the tag");
        here.stopover(&["restore", "1", "--to", &place("none"), "--dry-run"])
            .exits(0)
            .printed("would bring back 2 files");
        assert!(!story.path("none").exists());
        assert_eq!(here.paths(), ["mine"]);
        let written = front.seen().into_iter().filter(|seen| ["PutObject", "DeleteObject"].contains(&seen.op));
        assert_eq!(written.count(), 0);
    }
}

#[test]
fn what_a_pack_of_the_past_lacks_is_taken_from_the_live_tree_or_named() {
    let story = Story::on(&Server::here());
    let (live, [one, ..]) = three(&story);
    live.put(&format!(".stopover/packs/{}", Live::pack_of(one)), "not a pack");
    let here = story.directory("here");
    let place = |name: &str| story.path(name).display().to_string();
    // `a` has another content by now, `sub/b` is gone.
    story.object("sub/b", "2");
    here.stopover(&["restore", "1", "sub", "--to", &place("healed")]).exits(0).says("sub/b");
    assert_eq!(story.directory("healed").text("sub/b"), "2");
    here.stopover(&["restore", "1", "--to", &place("lost")]).exits(1).says("the first is a");
    here.stopover(&["restore", "1", "--to", &place("partial"), "--allow-partial"]).exits(3).says("not brought back: a");
    assert_eq!(story.directory("partial").paths(), ["sub/", "sub/b"]);
}

/// A directory that holds the workspace, as it was before `three` of its snapshots.
fn pulled(story: &Story) -> Directory {
    let here = story.directory("here");
    here.pull().exits(0);
    here
}

#[test]
fn a_directory_goes_back_between_two_commits_and_nothing_is_lost() {
    for server in servers() {
        let story = Story::on(&server);
        let (live, [one, _, three]) = three(&story);
        let here = pulled(&story);
        here.file("a", "not committed yet").file("new/d", "4").file("x.log", "ignored");
        here.stopover(&["restore", "1", "--dry-run"]).exits(0).printed("would bring back 2 files").printed("remove 2");
        assert_eq!((here.text("a"), live.head().unwrap().snapshot), ("not committed yet".into(), Some(three)));

        let told = here.stopover(&["restore", "1", "--json"]).exits(0).json();
        assert_eq!(here.paths(), ["a", "sub/", "sub/b", "x.log"]);
        assert_eq!((here.text("a"), here.text("sub/b")), ("1".into(), "2".into()));
        assert_eq!(
            (&told["snapshot"], &told["files"], &told["removed"]),
            (&json!(one.to_string()), &json!(2), &json!(2))
        );
        let head = live.head().unwrap();
        assert_eq!((head.seq, head.snapshot.map(|id| json!(id.to_string()))), (5, Some(told["after"].clone())));
        assert_eq!(story.object_text("a"), "1");
        assert!(!story.has_object("new/c"));

        // One more restore is the way back.
        let before = told["before"].as_str().unwrap();
        here.stopover(&["restore", before]).exits(0);
        assert_eq!(here.paths(), ["a", "new/", "new/c", "new/d", "x.log"]);
        assert_eq!((here.text("a"), here.text("new/d")), ("not committed yet".into(), "4".into()));
        assert_eq!(here.stopover(&["diff", before]).exits(0).stdout, "");
        here.stopover(&["commit"]).exits(0).printed("nothing to commit");
    }
}

#[test]
fn only_the_paths_that_are_named_go_back_and_what_others_added_stays() {
    let story = Story::on(&Server::here());
    let (live, _) = three(&story);
    let (here, there) = (pulled(&story), story.directory("there"));
    there.pull().exits(0);
    there.file("theirs", "another container's").commit().exits(0);
    here.file("new/c", "edited");
    let standing = here.stopover(&["restore", "1", "sub", "a"]).exits(0);
    standing.printed("brought back 2 files");
    assert_eq!(here.paths(), ["a", "new/", "new/c", "sub/", "sub/b"]);
    assert_eq!((here.text("a"), here.text("new/c")), ("1".into(), "edited".into()));
    // It was never in the directory: that it is not there is no deletion.
    assert_eq!(story.object_text("theirs"), "another container's");
    assert!(live.head().unwrap().history.len() >= 5);
    there.pull().exits(0);
    assert_eq!(there.paths(), ["a", "new/", "new/c", "sub/", "sub/b", "theirs"]);

    here.stopover(&["restore", "2", "nothing"]).exits(1).says("nothing is not in snapshot");
    here.stopover(&["restore", "2", "/etc"]).exits(2).says("not in");
    here.clone().with("STOPOVER_MODE", "read-only").stopover(&["restore", "2"]).exits(4).says("--to");
    let elsewhere = story.directory("elsewhere");
    elsewhere.file("mine", "1");
    elsewhere.stopover(&["restore", "2"]).says("stopover pull");
    assert_eq!(elsewhere.paths(), ["mine"]);
}

#[test]
fn what_no_commit_stored_is_neither_replaced_nor_removed() {
    let story = Story::on(&Server::here());
    let mut live = Live::in_story(&story);
    live.commit(&[("kept.log", "stored once"), ("b", "1")]);
    live.commit(&[("b", "2")]);
    let here = pulled(&story);
    // The rules ignore it: it is in no snapshot as it is.
    here.file("kept.log", "only here");
    let told = here.stopover(&["restore", "1"]).exits(3).says("not brought back: kept.log");
    told.printed("brought back 1 file");
    assert_eq!((here.text("kept.log"), here.text("b")), ("only here".into(), "1".into()));
}

#[test]
fn in_a_container_the_supervisor_makes_both_commits() {
    let story = Story::on(&Server::here());
    let (live, [one, _, three]) = three(&story);
    let container = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    let running = container.start_run(&["sh", "-c", "echo up; exec sleep 1000"]);
    running.prints("up");
    container.file("a", "edited by the app");
    // Whoever asks has no keys to write with: those are the supervisor's.
    let told = container.stopover(&["restore", "1", "a", "--json"]).exits(0).json();
    running.logs("committed 1 file changed");
    assert_eq!((container.text("a"), container.has("sub")), ("1".into(), false));
    let head = live.head().unwrap();
    assert_eq!(head.lineage[2..].len(), 3, "{three} and two more");
    assert_eq!(told["after"], json!(head.snapshot.unwrap().to_string()));
    assert_eq!(
        head.entry(&head.lineage[3]).map(|entry| json!(entry.snapshot.to_string())),
        Some(told["before"].clone())
    );
    running.term();
    running.ends();
    assert_eq!(live.head().unwrap().entry(&one).map(|entry| entry.files), Some(2));
    assert_eq!(story.object_text("a"), "1");
}

#[test]
fn what_a_prune_takes_from_a_commit_on_its_way_goes_up_again() {
    let attic = Attic::on(&Server::here());
    let (live, _) = three(&attic.story);
    let here = attic.here();
    here.pull().exits(0);
    here.file("mine", "uploaded, and not named yet");
    attic.ages(&[]);
    let held = attic.front.hold(any().op("PutObject").class(Class::Head).once());
    let committing = here.start(&["commit"]);
    held.reached();
    let uploaded: Vec<String> = live.own_keys().into_iter().filter(|key| key.contains("/0000000004-")).collect();
    assert_eq!(uploaded.len(), 2, "a pack and a tree: {uploaded:?}");
    attic.story.directory("laptop").stopover(&["prune"]).exits(0).printed("swept 2 objects");
    assert!(uploaded.iter().all(|key| !live.own_keys().contains(key)));
    held.release();
    committing.ends().exits(0).printed("committed 1 file changed");

    let head = live.head().unwrap();
    assert_eq!((head.seq, head.history.len()), (4, 4));
    attic.here().stopover(&["prune"]).exits(0).printed("swept 0 objects");
    // A restore would not tell: what is missing in a pack it takes from the live object.
    Checker::new(&attic.story.outsider, attic.story.key("")).bucket().unwrap();
    let place = attic.story.path("place");
    attic.here().stopover(&["restore", ".", "--to", place.to_str().unwrap()]).exits(0).printed("restored snapshot 4");
    assert_eq!(attic.story.directory("place").text("mine"), "uploaded, and not named yet");
}
