//! What is killed: one scenario for each thing that can change.

use super::{Act, Ground, Scenario};
use crate::support::front::{Class, Fault, any};

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "edited files", prepare: edits, act: Act::Commit },
    Scenario { name: "first commit", prepare: first, act: Act::Commit },
    Scenario { name: "first commit over what others put there", prepare: first_over, act: Act::Commit },
    Scenario { name: "first commit over plain ones", prepare: first_over_plain, act: Act::Commit },
    Scenario { name: "last commit of a container", prepare: edits, act: Act::LastCommit },
    Scenario { name: "renamed files", prepare: renames, act: Act::Commit },
    Scenario { name: "a file becomes a directory, and the reverse", prepare: types, act: Act::Commit },
    Scenario { name: "deleted files", prepare: deletes, act: Act::Commit },
    Scenario { name: "a catch-up alone", prepare: catch_up, act: Act::Commit },
    Scenario { name: "reverted after a cancelled catch-up", prepare: reverted, act: Act::Commit },
    Scenario { name: "added again after a cancelled catch-up", prepare: added_again, act: Act::Commit },
    Scenario { name: "one piece of a large file", prepare: large, act: Act::Commit },
    Scenario { name: "many small files", prepare: many, act: Act::Commit },
    Scenario { name: "a conflict", prepare: conflict, act: Act::Commit },
    Scenario { name: "a partial commit", prepare: partial, act: Act::CommitWithoutRights },
    Scenario { name: "prune", prepare: pruned, act: Act::Prune },
    Scenario { name: "delete", prepare: edits, act: Act::Delete },
    Scenario { name: "restore in place", prepare: restored, act: Act::Restore },
];

/// What takes long, and shows nothing else.
pub const LARGE: &[Scenario] = &[Scenario { name: "5,000 small files", prepare: five_thousand, act: Act::Commit }];

/// A live workspace with one snapshot, caught up.
fn live(ground: &Ground) {
    let here = ground.here();
    here.pull().exits(0);
    here.file("a.txt", "a0").file("sub/b.txt", "b0").file("sub/c.txt", "c0").file("fd", "a file").file("df/x", "x0");
    here.folder("bare").link("current", "a.txt").file("script", "run").mode("script", 0o755);
    here.checkpoint().exits(0);
}

fn edits(ground: &Ground) {
    live(ground);
    ground.here().file("a.txt", "a1").file("sub/b.txt", "b1").file("sub/new.txt", "new").mode("script", 0o700);
}

fn first(ground: &Ground) {
    let here = ground.here();
    here.pull().exits(0);
    here.file("a.txt", "a0").file("sub/b.txt", "b0").link("current", "a.txt");
}

fn first_over(ground: &Ground) {
    ground.story.object("a.txt", "theirs").object("sub/b.txt", "theirs").object("kept.txt", "theirs");
    let here = ground.here();
    here.pull().exits(0);
    here.file("a.txt", "ours").file("new.txt", "ours").remove("sub/b.txt");
}

fn first_over_plain(ground: &Ground) {
    let here = ground.here();
    here.pull().exits(0);
    here.file("a.txt", "a0").file("sub/b.txt", "b0").file("kept.txt", "kept").link("current", "a.txt");
    here.commit().exits(0);
    here.pull().exits(0);
    here.file("a.txt", "ours").file("new.txt", "ours").remove("sub/b.txt");
}

fn renames(ground: &Ground) {
    live(ground);
    let here = ground.here();
    let rename = |from: &str, to: &str| std::fs::rename(here.path.join(from), here.path.join(to)).unwrap();
    rename("a.txt", "z.txt");
    rename("sub", "moved");
}

fn types(ground: &Ground) {
    live(ground);
    let here = ground.here();
    here.remove("fd").file("fd/x", "below").file("fd/y", "below").remove("df").file("df", "a file now");
}

fn deletes(ground: &Ground) {
    live(ground);
    ground.here().remove("a.txt").remove("sub").remove("current");
}

/// A commit whose catch-up ends before its `count`-th write of the live tree.
fn cancelled(ground: &Ground, count: usize) {
    let (front, here) = (&ground.front, ground.here());
    front.on(any().op("PutObject").class(Class::Live).after(count), Fault::Signal { number: 9, applied: false });
    front.on(any().op("DeleteObject").class(Class::Live), Fault::Signal { number: 9, applied: false });
    let running = here.start(&["commit"]);
    front.client(running.pid());
    running.ends().exits(128 + 9);
    front.settles();
    front.heal();
}

fn catch_up(ground: &Ground) {
    edits(ground);
    ground.here().remove("df");
    cancelled(ground, 1);
}

fn reverted(ground: &Ground) {
    edits(ground);
    cancelled(ground, 1);
    ground.here().file("a.txt", "a0").file("sub/b.txt", "b0");
}

fn added_again(ground: &Ground) {
    live(ground);
    let here = ground.here();
    here.remove("sub/c.txt").file("a.txt", "a1");
    cancelled(ground, 1);
    here.file("sub/c.txt", "c0").file("a.txt", "a0");
}

/// `count` bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

fn large(ground: &Ground) {
    let here = ground.here();
    here.pull().exits(0);
    let mut bytes = noise((5 << 19) + 17);
    here.file("app.db", &bytes).file("a.txt", "a0");
    here.checkpoint().exits(0);
    bytes[(1 << 20) + 5] ^= 1;
    here.file("app.db", &bytes);
}

fn many(ground: &Ground) {
    many_of(ground, 40);
}

fn five_thousand(ground: &Ground) {
    many_of(ground, 5000);
}

fn many_of(ground: &Ground, count: usize) {
    live(ground);
    for n in 0..count {
        ground.here().file(&format!("many/{n:04}.txt"), format!("content {n}"));
    }
}

fn conflict(ground: &Ground) {
    live(ground);
    let other = ground.directory("other");
    other.pull().exits(0);
    other.file("a.txt", "theirs").file("theirs.txt", "theirs").remove("sub/b.txt");
    other.checkpoint().exits(0);
    ground.here().file("a.txt", "ours").file("sub/b.txt", "edited here").file("ours.txt", "ours");
}

fn partial(ground: &Ground) {
    live(ground);
    ground.here().file("a.txt", "cannot be read").mode("a.txt", 0).file("new.txt", "new").remove("sub/b.txt");
}

fn pruned(ground: &Ground) {
    live(ground);
    let here = ground.here();
    for n in 1..4 {
        here.file("a.txt", format!("a{n}"));
        here.checkpoint().exits(0);
    }
    // And what a commit that died left.
    here.file("a.txt", "lost");
    let front = &ground.front;
    front.on(any().op("PutObject").class(Class::Head), Fault::Signal { number: 9, applied: false });
    let running = here.start(&["commit"]);
    front.client(running.pid());
    running.ends().exits(128 + 9);
    front.settles();
}

fn restored(ground: &Ground) {
    live(ground);
    let here = ground.here();
    here.file("a.txt", "a1").remove("sub/b.txt").file("new.txt", "new");
    here.checkpoint().exits(0);
}
