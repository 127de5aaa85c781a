//! What meets the faults: together all kinds of requests that there are.

use super::{Act, Ground, Scenario};
use crate::support::{checker::on_disk, ledger::Kept, story::Directory};

pub static SCENARIOS: &[Scenario] = &[
    Scenario { name: "commit", prepare: edits, act: Act::Commit },
    Scenario { name: "commit of a large file", prepare: large, act: Act::Commit },
    Scenario { name: "commit over a sibling's", prepare: conflict, act: Act::Commit },
    Scenario { name: "first commit", prepare: first, act: Act::Commit },
    Scenario { name: "first commit over plain ones", prepare: first_over_plain, act: Act::Commit },
    Scenario { name: "catch-up", prepare: catch_up, act: Act::Commit },
    Scenario { name: "last commit", prepare: edits, act: Act::LastCommit },
    Scenario { name: "plain commit", prepare: plain, act: Act::PlainCommit },
    Scenario { name: "pull into a new directory", prepare: fresh, act: Act::Pull },
    Scenario { name: "pull into an edited directory", prepare: ready, act: Act::Pull },
    Scenario { name: "import", prepare: import, act: Act::Pull },
    Scenario { name: "prune", prepare: pruned, act: Act::Prune },
    Scenario { name: "delete", prepare: edits, act: Act::Delete },
    Scenario { name: "restore in place", prepare: restored, act: Act::Restore },
];

/// Somebody in `directory` does `what`, knowing what lies there.
fn edit(kept: &mut Kept, directory: &Directory, what: impl FnOnce(&Directory)) {
    let before = on_disk(&directory.path);
    what(directory);
    kept.edited(&before, &on_disk(&directory.path));
}

fn checkpoint(kept: &mut Kept, directory: &Directory, by: &str) {
    directory.checkpoint().exits(0);
    kept.promise(&on_disk(&directory.path), by);
}

/// An outsider puts an object, seeing what lies there.
fn put(kept: &mut Kept, ground: &Ground, path: &str, text: &str) {
    take(kept, ground, path);
    ground.story.object(path, text);
    kept.left(path, text.as_bytes(), "an outsider");
}

/// An outsider deletes what lies there.
fn take(kept: &mut Kept, ground: &Ground, path: &str) {
    if let Some(there) = ground.story.outsider.get(&ground.story.key(path)) {
        kept.threw_away(path, &there.bytes);
        ground.story.no_object(path);
    }
}

/// A live workspace with one snapshot, caught up.
fn live(ground: &Ground) -> Kept {
    let (mut kept, here) = (Kept::default(), ground.here());
    here.pull().exits(0);
    here.file("a.txt", "a, first").file("sub/b.txt", "b, first").file("sub/c.txt", "c, first").file("fd", "a file");
    here.file("df/x", "x, first").folder("bare").link("current", "a.txt").file("script", "run").mode("script", 0o755);
    here.file("gone.txt", "to go");
    checkpoint(&mut kept, &here, "here");
    kept
}

fn edits(ground: &Ground) -> Kept {
    let mut kept = live(ground);
    edit(&mut kept, &ground.here(), |here| {
        here.file("a.txt", "a, second").file("sub/b.txt", "b, second").file("sub/new.txt", "new").mode("script", 0o700);
        here.remove("fd").file("fd/x", "below").remove("gone.txt").remove("current");
    });
    kept
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

/// Large enough to be put in parts, of which some are copied.
fn large(ground: &Ground) -> Kept {
    let mut kept = Kept::default();
    let here = ground.here();
    here.pull().exits(0);
    let mut bytes = noise((17 << 20) + 17);
    here.file("app.db", &bytes).file("a.txt", "a, first");
    checkpoint(&mut kept, &here, "here");
    bytes[(9 << 20) + 5] ^= 1;
    edit(&mut kept, &here, |here| {
        here.file("app.db", &bytes);
    });
    kept
}

fn conflict(ground: &Ground) -> Kept {
    let mut kept = live(ground);
    let other = ground.directory("other");
    other.pull().exits(0);
    edit(&mut kept, &other, |other| {
        other.file("a.txt", "a, theirs").file("theirs.txt", "theirs").remove("sub/b.txt");
    });
    checkpoint(&mut kept, &other, "other");
    edit(&mut kept, &ground.here(), |here| {
        here.file("a.txt", "a, ours").file("sub/b.txt", "b, edited here").file("ours.txt", "ours").remove("df");
    });
    kept
}

fn first(ground: &Ground) -> Kept {
    let mut kept = Kept::default();
    for (path, text) in [("a.txt", "a, outside"), ("sub/b.txt", "b, outside"), ("kept.txt", "kept"), (".env", "secret")]
    {
        put(&mut kept, ground, path, text);
    }
    let here = ground.here();
    here.pull().exits(0);
    edit(&mut kept, &here, |here| {
        here.file("a.txt", "a, ours").file("new.txt", "new").remove("sub/b.txt");
    });
    kept
}

fn first_over_plain(ground: &Ground) -> Kept {
    let mut kept = Kept::default();
    let here = ground.here();
    here.pull().exits(0);
    here.file("a.txt", "a, first").file("sub/b.txt", "b, first").file("kept.txt", "kept").link("current", "a.txt");
    here.commit().exits(0);
    kept.promise(&on_disk(&here.path), "here");
    here.pull().exits(0);
    edit(&mut kept, &here, |here| {
        here.file("a.txt", "a, second").file("new.txt", "new").remove("sub/b.txt");
    });
    kept
}

/// A commit whose catch-up ended after its first write of the live tree.
fn catch_up(ground: &Ground) -> Kept {
    use crate::support::front::{Class, Fault, any};
    let mut kept = edits(ground);
    let (front, here) = (&ground.front, ground.here());
    edit(&mut kept, &here, |here| {
        here.remove("df");
    });
    front.on(any().op("PutObject").class(Class::Live).after(1), Fault::Signal { number: 9, applied: false });
    let running = here.start(&["commit"]);
    front.client(running.pid());
    running.ends().exits(128 + 9);
    front.settles();
    front.heal();
    kept.promise(&on_disk(&here.path), "here");
    kept
}

fn plain(ground: &Ground) -> Kept {
    let mut kept = Kept::default();
    put(&mut kept, ground, "a.txt", "a, outside");
    put(&mut kept, ground, "sub/b.txt", "b, outside");
    let here = ground.here();
    here.pull().exits(0);
    here.file("c.txt", "c, first").commit().exits(0);
    kept.promise(&on_disk(&here.path), "here");
    edit(&mut kept, &here, |here| {
        here.file("a.txt", "a, second").file("new.txt", "new").remove("sub/b.txt");
    });
    kept
}

/// What outsiders did after the last snapshot.
fn outside(kept: &mut Kept, ground: &Ground) {
    put(kept, ground, "a.txt", "a, outside");
    put(kept, ground, "outside.txt", "from outside");
    take(kept, ground, "sub/c.txt");
}

/// The directory is one that is not there yet.
fn fresh(ground: &Ground) -> Kept {
    let there = ground.directory("there");
    let mut kept = Kept::default();
    there.pull().exits(0);
    there.file("a.txt", "a, first").file("sub/b.txt", "b, first").file("sub/c.txt", "c, first").file("fd", "a file");
    there.file("large.bin", noise((3 << 19) + 5)).link("current", "a.txt").folder("bare");
    checkpoint(&mut kept, &there, "there");
    edit(&mut kept, &there, |there| {
        there.file("sub/b.txt", "b, second").file("new.txt", "new");
    });
    checkpoint(&mut kept, &there, "there");
    outside(&mut kept, ground);
    kept
}

fn ready(ground: &Ground) -> Kept {
    let mut kept = live(ground);
    let other = ground.directory("other");
    other.pull().exits(0);
    edit(&mut kept, &other, |other| {
        other.file("sub/b.txt", "b, theirs").file("theirs.txt", "theirs").remove("gone.txt").remove("fd");
        other.file("fd/y", "below").file("both.txt", "both, theirs");
    });
    checkpoint(&mut kept, &other, "other");
    outside(&mut kept, ground);
    edit(&mut kept, &ground.here(), |here| {
        here.file("script", "edited here").file("ours.txt", "ours").remove("df").file("both.txt", "both, ours");
    });
    kept
}

fn import(ground: &Ground) -> Kept {
    let mut kept = Kept::default();
    for (path, text) in [("a.txt", "a, outside"), ("sub/b.txt", "b, outside"), ("dir/", ""), ("kept.txt", "kept")] {
        put(&mut kept, ground, path, text);
    }
    kept
}

fn pruned(ground: &Ground) -> Kept {
    let mut kept = live(ground);
    let here = ground.here();
    for nth in ["second", "third", "fourth"] {
        edit(&mut kept, &here, |here| {
            here.file("a.txt", format!("a, {nth}"));
        });
        checkpoint(&mut kept, &here, "here");
    }
    kept
}

fn restored(ground: &Ground) -> Kept {
    let mut kept = live(ground);
    let here = ground.here();
    edit(&mut kept, &here, |here| {
        here.file("a.txt", "a, second").remove("sub/b.txt").file("new.txt", "new");
    });
    checkpoint(&mut kept, &here, "here");
    edit(&mut kept, &here, |here| {
        here.file("sub/c.txt", "c, not committed yet");
    });
    // What the first snapshot has not goes with going back to it; history has it.
    kept.removes("new.txt");
    kept
}
