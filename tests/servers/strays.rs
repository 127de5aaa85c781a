//! On a server whose writes have no condition two commits in the same instant cannot both be in the history. The one that
//! is not is found again, and comes back.

use super::support::{
    front::{Class, Front, any},
    servers::Server,
    story::Story,
};

#[test]
fn a_commit_that_was_overwritten_is_named_and_comes_back() {
    for server in Server::each_with(&[]).into_iter().filter(|server| !server.has("conditional-put")) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let one = story.directory("one");
        let past_the_front = |name: &str| story.directory(name).with("S3_ENDPOINT", &server.endpoint);
        let other = past_the_front("other");
        one.pull().exits(0);
        one.file("both", "0");
        one.stopover(&["commit"]).exits(0).says("one writer at a time");
        other.pull().exits(0);
        one.file("of one", "1");
        other.file("of the other", "2");
        // It has looked, and nobody had moved head.
        let held = front.hold(any().op("PutObject").class(Class::Head).once());
        let late = one.start(&["commit", "--durable", "--json"]);
        held.reached();
        let receipt = other.stopover(&["commit", "--json"]).exits(0).json();
        let stray = receipt["snapshot"].as_str().unwrap().to_owned();
        held.release();
        late.ends().exits(0);
        assert!(!one.stopover(&["snapshots"]).exits(0).stdout.contains(&stray));

        one.stopover(&["snapshots"]).exits(0).says(&stray);
        one.stopover(&["status"]).exits(0).says(&stray).says("restore");
        one.stopover(&["prune"]).exits(4).says("--sole-writer");
        one.stopover(&["prune", "--sole-writer"]).exits(0).says(&stray);
        let found = story.path("found");
        one.stopover(&["restore", &stray, "--to", found.to_str().unwrap()]).exits(0);
        assert_eq!(std::fs::read_to_string(found.join("of the other")).unwrap(), "2");

        // Whoever made it still has it, and stores it again.
        other.pull().exits(0);
        assert_eq!((other.text("of the other"), other.text("of one")), ("2".into(), "1".into()));
        other.stopover(&["commit"]).exits(0);
        one.pull().exits(0);
        assert_eq!((one.text("of the other"), one.paths()), ("2".into(), other.paths()));
    }
}
