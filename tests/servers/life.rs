//! A small life of a workspace on every server, by the real binary: what a user does in a week.

use serde_json::Value;

use super::support::{
    servers::Server,
    story::{Directory, Story},
};

fn receipt(directory: &Directory) -> Value {
    directory.stopover(&["commit", "--json"]).exits(0).json()
}

#[test]
fn a_workspace_lives_through_a_week() {
    for server in Server::each_with(&[]) {
        println!("on {}", server.name());
        let story = Story::on(&server);
        let (one, other) = (story.directory("one"), story.directory("other"));
        // Above 8 MiB an object goes up in parts.
        let large: Vec<u8> = (0..9 << 20).map(|at: u32| (at % 251) as u8 ^ (at >> 13) as u8).collect();

        story.object("from/outside ä.txt", "theirs").object("kept.txt", "kept");
        one.pull().exits(0).printed("imported 2 files");
        one.file("new.txt", "new")
            .file("old.txt", "old")
            .file("large.bin", &large)
            .link("current", "new.txt")
            .mode("kept.txt", 0o640);
        let first = receipt(&one);
        assert!(first["snapshot"].as_str().unwrap().starts_with("0000000001-"), "{first}");
        assert_eq!((&first["live_tree"], &first["partial"]), (&"current".into(), &false.into()), "{first}");
        assert_eq!(story.objects(), ["from/outside ä.txt", "kept.txt", "large.bin", "new.txt", "old.txt"]);
        assert!(story.outsider.get(&story.key("large.bin")).unwrap().bytes == large);

        // Nothing changed: nothing is committed, and no object is taken for another's.
        assert_eq!(receipt(&one)["snapshot"], Value::Null);

        one.file("new.txt", "newer").remove("from").file("large.bin", &large[..large.len() - 1]);
        let second = receipt(&one);
        assert_eq!((&second["live_tree"], &second["not_deleted"]), (&"current".into(), &Value::Array(vec![])));
        assert_eq!(story.objects(), ["kept.txt", "large.bin", "new.txt", "old.txt"]);
        other.pull().exits(0).printed("restored snapshot 2 (4 files");
        assert_eq!((other.text("new.txt"), other.mode_of("kept.txt")), ("newer".into(), 0o640));
        assert!(std::fs::read(other.path.join("large.bin")).unwrap() == large[..large.len() - 1]);

        // Two directories change the same file, and each another one.
        one.file("both.txt", "one").file("kept.txt", "one");
        other.file("both.txt", "other").file("its own.txt", "other");
        receipt(&one);
        let met = receipt(&other);
        assert_eq!(met["conflicts"][0]["path"], "both.txt", "{met}");
        let copy = met["conflicts"][0]["copy"].as_str().unwrap().to_owned();
        assert_eq!((other.text("both.txt"), story.object_text(&copy)), ("other".into(), "one".into()));

        // Somebody edits an object by hand.
        story.object("new.txt", "by hand").object("added by hand.txt", "theirs").no_object("old.txt");
        one.pull().exits(0);
        assert_eq!((one.text("new.txt"), one.text("added by hand.txt")), ("by hand".into(), "theirs".into()));
        assert!(!one.has("old.txt") && one.text("both.txt") == "other" && one.text("kept.txt") == "one");
        receipt(&one);
        other.pull().exits(0);
        assert_eq!(one.paths(), other.paths());

        // What was is still there, and sweeping leaves it so.
        one.stopover(&["prune", "--sole-writer"]).exits(0);
        assert_eq!(one.stopover(&["snapshots", "--json"]).exits(0).stdout.lines().count(), 5);
        let past = story.path("past");
        one.stopover(&["restore", "1", "--to", past.to_str().unwrap()]).exits(0);
        assert_eq!(std::fs::read_to_string(past.join("from/outside ä.txt")).unwrap(), "theirs");
        assert!(std::fs::read(past.join("large.bin")).unwrap() == large);
        let next = story.directory("next");
        next.pull().exits(0).printed("restored snapshot 5 (");
        assert_eq!(next.paths(), one.paths());

        one.stopover(&["delete", &story.url(), "--yes"]).exits(0);
        assert_eq!(story.objects(), Vec::<String>::new());
        assert_eq!(story.outsider.keys(&story.key("")), [story.key(".stopover/head.json")]);
    }
}

#[test]
fn a_prune_where_writes_have_no_condition_wants_to_be_alone() {
    for server in Server::each_with(&[]).into_iter().filter(|server| !server.has("conditional-put")) {
        let story = Story::on(&server);
        let here = story.directory("here");
        here.file("a", "1").pull().exits(0);
        here.stopover(&["commit"]).exits(0).says("one writer at a time is safe");
        here.stopover(&["prune"]).exits(4).says("--sole-writer");
        here.stopover(&["prune", "--sole-writer"]).exits(0);
    }
}
