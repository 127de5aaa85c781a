//! Large files in the live tree: what has not changed of them stays on the server, copied from the object itself, as long
//! as that is the version that is known; and whatever the server makes of it, the object is the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;

use support::{
    checker::{Checker, on_disk},
    front::{Class, Fault, Front, any},
    servers::{Kind, Server},
    story::{Directory, Story},
};

const MIB: usize = 1 << 20;
const NAME: &str = "data/big file ä+%41.db";

/// Bytes that no compressor makes smaller.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A page of `bytes` is another one.
fn change(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4096].iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
}

/// A live workspace whose large file is in the live tree.
struct Large {
    front: Front,
    story: Story,
    here: Directory,
    bytes: Vec<u8>,
}

/// What a checkpoint has cost.
struct Cost {
    /// Bytes of the file's own object.
    sent: usize,
    copies: usize,
    receipt: serde_json::Value,
}

impl Large {
    fn on(server: &Arc<Server>, length: usize) -> Self {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, server);
        let here = story.directory("here");
        here.pull().exits(0);
        let bytes = noise(1, length);
        here.file(NAME, &bytes).file("small.txt", "1");
        let large = Self { front, story, here, bytes };
        let cost = large.checkpoint();
        assert_eq!((cost.sent, cost.copies), (length, 0), "on {}", server.name());
        large
    }

    /// A checkpoint that catches up.
    fn checkpoint(&self) -> Cost {
        let begun = self.front.seen().len();
        let receipt = self.here.stopover(&["commit", "--json"]).exits(0).json();
        assert_eq!(receipt["live_tree"], "current", "{receipt}");
        self.cost(begun, receipt)
    }

    fn cost(&self, begun: usize, receipt: serde_json::Value) -> Cost {
        let seen = self.front.seen().split_off(begun);
        let of_file = seen.iter().filter(|seen| seen.class == Class::Live && seen.key.ends_with(NAME));
        // The list of parts is no part of the file.
        let parts = of_file.clone().filter(|seen| matches!(seen.op, "UploadPart" | "PutObject"));
        Cost {
            sent: parts.map(|seen| seen.bytes).sum(),
            copies: of_file.filter(|seen| seen.op == "UploadPartCopy").count(),
            receipt,
        }
    }

    fn save(&self) {
        self.here.file(NAME, &self.bytes);
    }

    #[track_caller]
    fn object_is_the_file(&self, what: &str) {
        let seen = self.story.outsider.get(&self.story.key(NAME)).unwrap();
        assert!(seen.bytes == self.bytes, "{what}: {} bytes, not {}", seen.bytes.len(), self.bytes.len());
        // The one in memory forgets what an upload began with.
        if self.story.server.kind != Kind::Memory {
            assert_eq!(seen.content_type.as_deref(), Some("application/octet-stream"), "{what}");
        }
    }

    /// What the bucket says of itself holds, and the next container has what is here.
    #[track_caller]
    fn all_is_well(&self, what: &str) {
        self.object_is_the_file(what);
        let checked = Checker::new(&self.story.outsider, self.story.key("")).bucket();
        let checked = checked.unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
        assert!(checked.tree == on_disk(&self.here.path), "{what}");
    }
}

/// Every server, and the one in memory.
fn servers() -> Vec<Arc<Server>> {
    let mut servers = Server::each_with(&[]);
    servers.push(Server::in_memory());
    servers
}

#[test]
fn of_a_large_file_only_what_has_changed_goes_up() {
    for server in servers() {
        let mut large = Large::on(&server, 40 * MIB);
        let copies = server.has("copy-parts");
        // In the middle; then at both ends, of what was put together so.
        let places = [vec![20 * MIB + 3], vec![0, 40 * MIB - 4096]];
        // Where nothing is copied one change shows it.
        for places in places.into_iter().take(if copies { 2 } else { 1 }) {
            let what = format!("on {}: {places:?}", server.name());
            for at in places {
                change(&mut large.bytes, at);
            }
            large.save();
            let cost = large.checkpoint();
            large.object_is_the_file(&what);
            if copies {
                assert!(cost.sent <= 8 * MIB && cost.copies > 0, "{what}: {} bytes", cost.sent);
                assert!(cost.receipt["bytes_sent"].as_u64().unwrap() < 11 << 20, "{what}: {}", cost.receipt);
            } else {
                // It is asked once a process, and never put to use.
                assert_eq!(cost.sent, 40 * MIB, "{what}");
                assert!(cost.copies <= 2, "{what}: {}", cost.copies);
            }
        }
        // It grows, and becomes shorter, by no whole number of pieces.
        for length in [48 * MIB + 77, 45 * MIB + 5].into_iter().filter(|_| copies) {
            let what = format!("on {}: {length}", server.name());
            let grown = noise(2, length.saturating_sub(large.bytes.len()));
            large.bytes.truncate(length);
            large.bytes.extend(grown);
            large.save();
            let cost = large.checkpoint();
            large.object_is_the_file(&what);
            assert!(cost.sent < 15 * MIB, "{what}: {} bytes", cost.sent);
        }
        large.all_is_well(server.name());
    }
}

#[test]
fn what_moved_within_the_file_or_saves_little_goes_up_whole() {
    let mut large = Large::on(&Server::in_memory(), 40 * MIB);
    large.bytes.insert(0, 7);
    large.save();
    let cost = large.checkpoint();
    assert_eq!((cost.sent, cost.copies), (40 * MIB + 1, 0));
    large.object_is_the_file("one byte in front");
    for at in (0..40).step_by(4) {
        change(&mut large.bytes, at * MIB);
    }
    large.save();
    let cost = large.checkpoint();
    assert_eq!((cost.sent, cost.copies), (40 * MIB + 1, 0));
    large.object_is_the_file("a page every four MiB");
}

#[test]
fn a_server_that_refuses_to_copy_gets_the_file_whole_and_nobody_hears_of_it() {
    let server = Server::in_memory();
    let broken = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InternalError</Code></Error>";
    let refusals = [(403, "AccessDenied"), (404, "NoSuchKey"), (412, "PreconditionFailed"), (400, "InvalidArgument")];
    let refusals =
        refusals.into_iter().chain([(501, "NotImplemented"), (500, "InternalError"), (405, "MethodNotAllowed")]);
    let faults = refusals.map(|(status, code)| Fault::Refuse { status, code });
    let odd = [
        // It took the copy for a part without bytes.
        Fault::RefuseWith { status: 200, body: "" },
        Fault::RefuseWith { status: 200, body: broken },
        Fault::RefuseWith { status: 200, body: "no XML at all" },
        Fault::DropBefore,
    ];
    let mut large = Large::on(&server, 24 * MIB);
    for (n, fault) in faults.chain(odd).enumerate() {
        // The first copy is refused, or only a later one: the server has shown by then that it can.
        for &after in if n < 3 { &[0, 2][..] } else { &[0] } {
            let what = format!("fault {n} after {after}");
            change(&mut large.bytes, 12 * MIB);
            large.save();
            large.front.heal();
            large.front.on(any().op("UploadPartCopy").after(after), fault.clone());
            let cost = large.checkpoint();
            assert_eq!(cost.sent, 24 * MIB, "{what}");
            assert!((1..=after + 8).contains(&cost.copies), "{what}: {}", cost.copies);
            large.object_is_the_file(&what);
        }
    }
    large.all_is_well("at the end");
    // What was begun in vain is not left to be paid for.
    let (begun, aborted) = (any().op("CreateMultipartUpload").key(NAME), any().op("AbortMultipartUpload").key(NAME));
    let completed = any().op("CompleteMultipartUpload").key(NAME);
    let count = |which| large.front.count(which);
    assert_eq!(count(&begun), count(&aborted) + count(&completed));
}

#[test]
fn a_server_that_copies_something_else_is_found_out() {
    let server = Server::in_memory();
    let mut large = Large::on(&server, 24 * MIB);
    // The ETag of the part is not that of the range.
    let other = |text: &str| text.replace("&quot;", "&quot;0");
    change(&mut large.bytes, 12 * MIB);
    large.save();
    large.front.on(any().op("UploadPartCopy"), Fault::Rewrite(Arc::new(other)));
    let cost = large.checkpoint();
    assert_eq!((cost.sent, cost.copies), (24 * MIB, 2));
    large.object_is_the_file("another range");
}

#[test]
fn an_object_that_others_replace_meanwhile_is_left_to_the_next_pull() {
    for server in [Some(Server::in_memory()), Server::of(Kind::MinIo)].into_iter().flatten() {
        for (op, after) in [("UploadPartCopy", 1), ("UploadPartCopy", 2), ("CompleteMultipartUpload", 0)] {
            let what = format!("on {} at {op} {after}", server.name());
            let mut large = Large::on(&server, 24 * MIB);
            change(&mut large.bytes, 12 * MIB);
            large.save();
            let held = large.front.hold(any().op(op).key(NAME).after(after));
            let running = large.here.start(&["commit", "--json"]);
            held.reached();
            // Of the same length, as a database that somebody else has open.
            let mut theirs = large.bytes.clone();
            change(&mut theirs, 3 * MIB);
            large.story.object(NAME, theirs.clone());
            held.release();
            let receipt = running.ends().exits(0).json();
            assert_eq!(receipt["durable"], true, "{what}: {receipt}");
            let seen = large.story.outsider.get(&large.story.key(NAME)).unwrap();
            assert!(seen.bytes == theirs, "{what}");
            large.here.pull().exits(0);
            let paths = large.here.paths();
            assert_eq!(paths.len(), 4, "{what}: ours and theirs are kept: {paths:?}");
            let contents: Vec<Vec<u8>> = large.here.tree().into_values().collect();
            assert!(contents.contains(&theirs) && contents.contains(&large.bytes), "{what}");
        }
    }
}

#[test]
fn a_file_that_is_written_to_meanwhile_comes_from_the_packs_and_is_what_the_snapshot_says() {
    let server = Server::in_memory();
    let mut large = Large::on(&server, 40 * MIB);
    // Two parts are to go up; the file changes when the copies are on their way, in a page that goes up or in one that
    // does not.
    for at in [20 * MIB, 35 * MIB] {
        let before = large.front.seen().len();
        change(&mut large.bytes, 20 * MIB + 8192);
        large.save();
        let snapshot = large.bytes.clone();
        let held = large.front.hold(any().op("UploadPartCopy").key(NAME).after(1));
        let running = large.here.start(&["commit", "--json"]);
        held.reached();
        change(&mut large.bytes, at);
        large.save();
        held.release();
        let receipt = running.ends().exits(0).json();
        let cost = large.cost(before, receipt);
        assert_eq!(cost.receipt["live_tree"], "current", "{}", cost.receipt);
        let seen = large.story.outsider.get(&large.story.key(NAME)).unwrap();
        assert!(seen.bytes == snapshot, "{at}");
        assert!(cost.sent <= 8 * MIB, "{at}: {} bytes", cost.sent);
        large.front.heal();
        large.checkpoint();
        large.object_is_the_file("then");
    }
}

#[test]
fn what_another_container_put_is_known_by_its_mirror_and_what_nobody_noted_by_reading() {
    let server = Server::in_memory();
    let mut large = Large::on(&server, 40 * MIB);
    let other = large.story.directory("other");
    other.pull().exits(0);
    change(&mut large.bytes, 20 * MIB);
    other.file(NAME, &large.bytes);
    let begun = large.front.seen().len();
    let receipt = other.stopover(&["commit", "--json"]).exits(0).json();
    let cost = large.cost(begun, receipt);
    assert!(cost.sent <= 8 * MIB && cost.copies > 0, "{} bytes", cost.sent);
    large.here.pull().exits(0);
    large.object_is_the_file("by another container");
    // A catch-up that dies before its mirror: the next one finds an object that no mirror knows, and reads it.
    change(&mut large.bytes, 10 * MIB);
    large.save();
    let held = large.front.hold(any().op("PutObject").class(Class::Mirror));
    let running = large.here.start(&["commit"]);
    held.reached();
    running.kill();
    running.ends();
    held.abandon();
    large.front.settles();
    large.front.heal();
    other.pull().exits(0);
    change(&mut large.bytes, 30 * MIB);
    other.file(NAME, &large.bytes);
    let begun = large.front.seen().len();
    let receipt = other.stopover(&["commit", "--json"]).exits(0).json();
    assert_eq!(receipt["live_tree"], "current", "{receipt}");
    let cost = large.cost(begun, receipt);
    assert!(cost.sent <= 8 * MIB && cost.copies > 0, "{} bytes", cost.sent);
    large.here.pull().exits(0);
    large.object_is_the_file("over what nobody noted");
}
