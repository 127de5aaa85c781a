//! Restores of live workspaces, end to end: the snapshot out of its packs, with what others did to the live tree since.
//! A pull writes nothing to the bucket (I9): each one here is looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    live::LiveWorkspace,
    servers::Server,
    story::{Directory, Ended, Story},
};

/// All keys of the bucket with their bytes and versions.
fn everything(story: &Story) -> Vec<(String, Vec<u8>, String)> {
    let keys = story.outsider.keys("").into_iter();
    keys.map(|key| (story.outsider.get(&key).unwrap(), key)).map(|(seen, key)| (key, seen.bytes, seen.etag)).collect()
}

/// A pull that writes nothing to the bucket.
fn pull(story: &Story, directory: &Directory) -> Ended {
    pull_with(story, directory, &[])
}

fn pull_with(story: &Story, directory: &Directory, words: &[&str]) -> Ended {
    let before = everything(story);
    let all: Vec<&str> = ["pull"].iter().chain(words).copied().collect();
    let ended = directory.stopover(&all);
    assert!(everything(story) == before, "a pull wrote to the bucket");
    ended
}

fn large() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..5_u32 << 17).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    bytes[1 << 20..2 << 20].fill(0);
    bytes.extend(vec![0; (1 << 20) + 77]);
    bytes
}

#[test]
fn a_snapshot_comes_out_of_its_packs() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = LiveWorkspace::of(&story);
        live.file("a.txt", "one").file("deep/er/file", "two").file("empty", "").file("large.bin", large());
        live.file("zeros.bin", vec![0; 4096]).folder("bare").link("current", "deep/er").mode("a.txt", 0o600);
        live.file("odd \\xff name", "odd").file("same.txt", "one");
        live.commit();
        let here = story.directory("here");
        pull(&story, &here).exits(0).printed("restored snapshot 1 (7 files").printed("every file verified");
        assert_eq!((here.text("a.txt").as_str(), here.mode_of("a.txt")), ("one", 0o600));
        assert_eq!((here.text("deep/er/file").as_str(), here.text("current/file").as_str()), ("two", "two"));
        assert!(std::fs::read(here.path.join("large.bin")).unwrap() == large(), "on {}", server.name());
        assert_eq!(std::fs::read(here.path.join("zeros.bin")).unwrap(), vec![0; 4096]);
        assert_eq!(here.text("empty"), "");
        use std::os::unix::ffi::OsStrExt;
        let odd = here.path.join(std::ffi::OsStr::from_bytes(b"odd \xff name"));
        assert_eq!(std::fs::read(odd).unwrap(), b"odd");
        assert!(here.has("bare"));
        // Once more: nothing is fetched.
        pull(&story, &here).exits(0).printed("restored snapshot 1 (7 files");
        let run = story.directory("run").with("STOPOVER_MODE", "read-only");
        run.run(&["true"]).exits(0);
        assert_eq!(run.paths(), here.paths());
    }
}
