//! What is killed: one scenario for each thing that can change.

use super::{
    Act, Ground, Scenario,
    meetings::{Meanwhile, Meeting},
    pulls::Pull,
};
use crate::support::{
    committer::Live,
    front::{Class, Fault, any},
    story::Directory,
};

pub const SCENARIOS: &[Scenario] = &[
    Scenario::of("edited files", edits, Act::Commit),
    Scenario::of("first commit", first, Act::Commit),
    Scenario::of("first commit over what others put there", first_over, Act::Commit),
    Scenario::of("first commit over plain ones", first_over_plain, Act::Commit),
    Scenario::of("last commit of a container", edits, Act::LastCommit),
    Scenario::of("renamed files", renames, Act::Commit),
    Scenario::of("a file becomes a directory, and the reverse", types, Act::Commit),
    Scenario::of("deleted files", deletes, Act::Commit),
    Scenario::of("a catch-up alone", catch_up, Act::Commit),
    Scenario::of("reverted after a cancelled catch-up", reverted, Act::Commit),
    Scenario::of("added again after a cancelled catch-up", added_again, Act::Commit),
    Scenario::of("one piece of a large file", large, Act::Commit),
    Scenario::of("many small files", many, Act::Commit),
    Scenario::of("a conflict", conflict, Act::Commit),
    Scenario::of("a partial commit", partial, Act::CommitWithoutRights),
    Scenario::of("a whole tree instead of what differs", outgrown, Act::Commit).shows(has_a_whole_tree),
    Scenario::of("packs of which little is used are packed again", half_used, Act::Commit).shows(has_no_old_pack),
    Scenario::of("prune", pruned, Act::Prune),
    Scenario::of("delete", edits, Act::Delete),
    Scenario::of("restore in place", restored, Act::Restore),
];

/// What takes long, and shows nothing else.
pub const LARGE: &[Scenario] = &[
    Scenario::of("5,000 small files", five_thousand, Act::Commit),
    Scenario::of("a new file that goes up in parts", in_parts, Act::Commit).shows(went_in_parts),
    Scenario::of("one piece of a file of 25 MiB", in_copied_parts, Act::Commit).shows(was_copied_in_parts),
    Scenario::of("many small packs are packed again", small_packs, Act::Commit).shows(has_few_packs),
];

/// Two at once: what is stopped, and what another one does in between.
pub const MEETINGS: &[Meeting] = &[
    Meeting::of("a commit, and another", both_edit, Act::Commit, Meanwhile::Commits),
    Meeting::of("a commit, and a prune", edits_beside, Act::Commit, Meanwhile::Prunes),
    Meeting::of("a commit, and another and a prune", both_edit, Act::Commit, Meanwhile::CommitsAndPrunes),
    Meeting::of("a last commit, and another and a prune", both_edit, Act::LastCommit, Meanwhile::CommitsAndPrunes),
    Meeting::of("a first commit, and another", both_first, Act::Commit, Meanwhile::Commits),
    Meeting::of("a catch-up, and a commit", catch_up_beside, Act::Commit, Meanwhile::Commits),
    Meeting::of("tidying, and a commit and a prune", tidying_beside, Act::Commit, Meanwhile::CommitsAndPrunes)
        .shows(has_no_old_pack),
    Meeting::of("a prune, and a commit", prune_beside, Act::Prune, Meanwhile::Commits),
    Meeting::of("a prune, and another", prune_beside_prune, Act::Prune, Meanwhile::Prunes),
    Meeting::of("a restore in place, and a commit", restore_beside, Act::Restore, Meanwhile::Commits),
    Meeting::of(
        "a restore in place, and a commit and a prune",
        tagged_beside,
        Act::Restore,
        Meanwhile::CommitsAndPrunes,
    ),
    Meeting::of("a delete, and a commit", both_edit, Act::Delete, Meanwhile::Commits),
    Meeting::of("a commit, and a delete", both_edit, Act::Commit, Meanwhile::Deletes),
    Meeting::of("a prune, and a delete and a new beginning", prune_beside, Act::Prune, Meanwhile::DeletesAndBegins),
    Meeting::of("a new beginning, and a prune", new_beginning, Act::Commit, Meanwhile::Prunes),
];

/// What is pulled.
pub const PULLS: &[Pull] = &[
    Pull::of("into a new directory", pull_of_much, &[], others_go_on),
    Pull::of(
        "into a directory with files of an image",
        pull_over_an_image,
        &["both.txt", "image.txt", "df"],
        others_go_on,
    ),
    Pull::of("into a directory with edits", pull_over_edits, &["both.txt", "ours.txt", "script"], others_go_on),
    Pull::of("import into a new directory", import, &[], others_go_on),
    Pull::of(
        "import into a directory with edits",
        import_over_edits,
        &["both.txt", "ours.txt", "sub/1.txt"],
        others_go_on,
    ),
];

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
    other_noise(7, count)
}

fn other_noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
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

/// Large enough for its object to be put in parts.
fn in_parts(ground: &Ground) {
    live(ground);
    ground.here().file("app.db", noise((17 << 20) + 17)).file("a.txt", "a1");
}

fn went_in_parts(ground: &Ground) {
    assert!(ground.front.count(&any().op("UploadPart").key("app.db")) > 1);
}

/// Most of it is in the object that it replaces.
fn in_copied_parts(ground: &Ground) {
    live(ground);
    let here = ground.here();
    let mut bytes = noise((25 << 20) + 17);
    here.file("app.db", &bytes).checkpoint().exits(0);
    bytes[(13 << 20) + 5] ^= 1;
    here.file("app.db", &bytes).file("a.txt", "a1");
}

fn was_copied_in_parts(ground: &Ground) {
    let copies = ground.front.count(&any().op("UploadPartCopy").key("app.db"));
    let sent = ground.front.count(&any().op("UploadPart").key("app.db"));
    assert!(copies > 1 && sent > 0 && sent < 3, "{copies} copied, {sent} sent");
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

/// What differs is longer than 64 KiB, though it has no content: targets of links.
fn outgrown(ground: &Ground) {
    live(ground);
    let here = ground.here();
    for n in 0..40 {
        let target: String = other_noise(n + 1, 2000).iter().map(|byte| format!("{byte:02x}")).collect();
        here.link(&format!("link-{n}"), &target);
    }
    here.file("a.txt", "a1");
}

fn has_a_whole_tree(ground: &Ground) {
    assert!(ground.tree_header()["base"].is_null(), "{}", ground.tree_header());
}

/// The last commit looked how long the packs are: the next one tidies.
fn half_used(ground: &Ground) {
    live(ground);
    let here = ground.here();
    here.file("beside", "in the pack of a large one").file("large", noise(1 << 20)).checkpoint().exits(0);
    here.remove("large");
    for n in 3..10 {
        here.file("sub/new.txt", n.to_string()).checkpoint().exits(0);
    }
    here.file("a.txt", "a1");
}

fn has_no_old_pack(ground: &Ground) {
    let header = ground.tree_header();
    let packs = header["packs"].as_array().unwrap();
    let is_old = |pack: &&serde_json::Value| pack.as_str().unwrap().starts_with("0000000002-");
    assert!(!packs.is_empty() && !packs.iter().any(|pack| is_old(&pack)), "{packs:?}");
}

fn small_packs(ground: &Ground) {
    let mut live = Live::in_story(&ground.story);
    let names: Vec<String> = (0..71).map(|n| format!("many/{n:02}.txt")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    for n in 1..=71 {
        live.catches_up = n == 71;
        live.commit(&files[..n]);
    }
    let here = ground.here();
    here.pull().exits(0);
    // It looks how long they are.
    here.file("sub/new.txt", "1").checkpoint().exits(0);
    here.file("a.txt", "a1");
}

fn has_few_packs(ground: &Ground) {
    let header = ground.tree_header();
    assert!(header["packs"].as_array().unwrap().len() < 4, "{header}");
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

/// Somebody else has what is there, and changes some of it: a file that is edited here too, one that is deleted here,
/// and others.
fn there_edits(ground: &Ground) {
    ground.there().file("a.txt", "theirs").file("fd", "theirs").file("sub/c.txt", "c1").file("theirs.txt", "theirs");
    ground.there().remove("script");
}

fn both_edit(ground: &Ground) {
    live(ground);
    ground.there().pull().exits(0);
    there_edits(ground);
    ground.here().file("a.txt", "ours").file("sub/b.txt", "b1").file("sub/new.txt", "new").remove("fd").remove("df");
}

fn edits_beside(ground: &Ground) {
    pruned(ground);
    ground.front.heal();
    ground.there().pull().exits(0);
    ground.here().file("a.txt", "ours").file("sub/new.txt", "new").remove("fd");
}

fn both_first(ground: &Ground) {
    let (here, there) = (ground.here(), ground.there());
    here.pull().exits(0);
    there.pull().exits(0);
    here.file("a.txt", "ours").file("sub/b.txt", "ours").file("same.txt", "same").link("current", "a.txt");
    there.file("a.txt", "theirs").file("sub/c.txt", "theirs").file("same.txt", "same");
}

fn catch_up_beside(ground: &Ground) {
    catch_up(ground);
    ground.there().pull().exits(0);
    there_edits(ground);
}

fn tidying_beside(ground: &Ground) {
    half_used(ground);
    ground.there().pull().exits(0);
    there_edits(ground);
}

fn prune_beside(ground: &Ground) {
    pruned_and_whole(ground);
    there_edits(ground);
}

/// The first snapshot is to come back, and somebody else has the present one and edits it.
fn restore_beside(ground: &Ground) {
    restored(ground);
    beside_a_restore(ground);
}

/// The prune forgets no snapshot that has a tag.
fn tagged_beside(ground: &Ground) {
    restored(ground);
    ground.here().stopover(&["tag", "kept", "1"]).exits(0);
    beside_a_restore(ground);
}

fn beside_a_restore(ground: &Ground) {
    ground.there().pull().exits(0);
    ground.there().file("sub/c.txt", "theirs").file("theirs.txt", "theirs").file("a.txt", "theirs").remove("script");
}

/// There was a workspace of that name, and garbage of it is left.
fn new_beginning(ground: &Ground) {
    pruned(ground);
    ground.front.heal();
    let begun = ground.story.outsider.keys(&ground.story.key(".stopover/trees/"));
    let tree = ground.story.outsider.get(&begun[0]).unwrap();
    ground.here().stopover(&["delete", &ground.story.url(), "--yes"]).exits(0);
    // It came too late to be deleted.
    ground.story.outsider.put(&begun[0], tree.bytes);
    std::fs::remove_dir_all(&ground.here().path).unwrap();
    for directory in [ground.here(), ground.there()] {
        directory.pull().exits(0);
    }
    ground.here().file("a.txt", "anew").file("sub/b.txt", "anew");
}

// Pulls.

/// Snapshots of several commits, each with a pack of its own; and what outsiders did since.
fn pull_of_much(ground: &Ground) {
    let there = ground.there();
    there.pull().exits(0);
    there.file("a.txt", "a0").file("fd", "a file").file("df/x", "x0").folder("bare").link("current", "a.txt");
    there.file("script", "run").mode("script", 0o755).file("both.txt", "of the bucket").file("gone.txt", "to go");
    there.file("large.bin", noise((3 << 19) + 5));
    there.checkpoint().exits(0);
    for n in 0..4 {
        there.file(&format!("sub/{n}.txt"), format!("content {n}"));
        there.checkpoint().exits(0);
    }
    ground.story.object("a.txt", "a, outside").object("outside.txt", "from outside").no_object("sub/0.txt");
}

fn pull_over_an_image(ground: &Ground) {
    pull_of_much(ground);
    let here = ground.here();
    here.file("both.txt", "of the image").file("image.txt", "of the image").file("df", "a file here").folder("fd/sub");
    here.file("sub/1.txt", "content 1");
}

fn pull_over_edits(ground: &Ground) {
    pull_of_much(ground);
    let (here, there) = (ground.here(), ground.there());
    here.pull().exits(0);
    // What was taken in from outside is stored.
    here.checkpoint().exits(0);
    there.pull().exits(0);
    there.file("sub/1.txt", "theirs").file("theirs.txt", "theirs").file("both.txt", "theirs").remove("gone.txt");
    there.remove("fd").file("fd/y", "below").file("sub/2.txt", "theirs");
    there.checkpoint().exits(0);
    ground.story.object("a.txt", "a, outside again").object("late.txt", "from outside");
    here.file("both.txt", "ours").file("ours.txt", "ours").file("script", "edited here").remove("df");
}

fn import(ground: &Ground) {
    for (path, text) in [("a.txt", "a0"), ("both.txt", "both"), ("dir/", ""), ("gone.txt", "to go")] {
        ground.story.object(path, text);
    }
    for n in 0..4 {
        ground.story.object(&format!("sub/{n}.txt"), format!("content {n}"));
    }
    ground.there().pull().exits(0);
}

fn import_over_edits(ground: &Ground) {
    import(ground);
    let here = ground.here();
    here.pull().exits(0);
    here.file("ours.txt", "first").commit().exits(0);
    ground.there().pull().exits(0);
    ground.story.object("a.txt", "a, outside").object("both.txt", "both, outside").no_object("gone.txt");
    here.file("both.txt", "ours").file("ours.txt", "ours").file("sub/1.txt", "ours").remove("sub/2.txt");
}

/// Somebody else edits, deletes and makes new what this one may have fetched already.
fn others_go_on(there: &Directory) {
    there.pull().exits(0);
    there.file("sub/1.txt", "since").file("since.txt", "since").remove("sub/3.txt").file("both.txt", "since");
    there.checkpoint().exits(0);
}

fn prune_beside_prune(ground: &Ground) {
    pruned_and_whole(ground);
}

/// There is something to sweep, and both directories have what is there.
fn pruned_and_whole(ground: &Ground) {
    pruned(ground);
    ground.front.heal();
    for directory in [ground.here(), ground.there()] {
        directory.pull().exits(0);
    }
    ground.here().file("a.txt", "a3");
}
