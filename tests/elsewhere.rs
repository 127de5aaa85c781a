//! The same bucket and name at another endpoint is another workspace, unless its birth says that it is the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;

use support::{
    servers::Server,
    story::{Directory, Story},
};

/// Two servers, and on both a workspace of the same URL.
fn two() -> ([Arc<Server>; 2], [Story; 2]) {
    let servers = [Server::in_memory(), Server::in_memory()];
    let stories = servers.each_ref().map(Story::on);
    assert_eq!(stories[0].url(), stories[1].url());
    (servers, stories)
}

fn all_keys(story: &Story) -> Vec<String> {
    story.outsider.keys("")
}

/// Neither committed to nor restored from.
fn is_refused(there: &Directory, servers: &[Arc<Server>; 2]) {
    for words in [&["commit"][..], &["pull"], &["commit", "--dry-run"]] {
        there.stopover(words).exits(4).says(&servers[0].endpoint).says(&servers[1].endpoint);
    }
    there.stopover(&["status"]).says(&servers[0].endpoint);
}

#[test]
fn what_was_imported_from_one_server_is_not_committed_to_another() {
    let (servers, [story, other]) = two();
    story.object("a", "1").object("b", "1");
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "2");
    let there = here.clone().with("S3_ENDPOINT", &servers[1].endpoint);
    is_refused(&there, &servers);
    assert_eq!(all_keys(&other), Vec::<String>::new());
    other.object("a", "another's");
    is_refused(&there, &servers);
    assert_eq!((all_keys(&other).len(), other.object_text("a")), (1, "another's".into()));
    here.stopover(&["commit"]).exits(0);
    assert_eq!(story.object_text("a"), "2");
}

#[test]
fn a_live_workspace_of_the_same_name_elsewhere_is_told_from_one_that_was_deleted() {
    let (servers, [story, other]) = two();
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "1").checkpoint().exits(0);
    // Nothing has changed: nothing of what is known of the one is taken for the other's.
    let there = here.clone().with("S3_ENDPOINT", &servers[1].endpoint);
    is_refused(&there, &servers);
    let elsewhere = other.directory("elsewhere");
    elsewhere.pull().exits(0);
    elsewhere.file("theirs", "1").checkpoint().exits(0);
    let before = all_keys(&other);
    is_refused(&there, &servers);
    here.file("a", "2");
    is_refused(&there, &servers);
    there.stopover(&["restore", "1"]).exits(4);
    assert_eq!(all_keys(&other), before);
    here.stopover(&["commit"]).exits(0);
}

#[test]
fn a_server_by_another_name_is_the_same_server() {
    let server = Server::in_memory();
    let story = Story::on(&server);
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "1").checkpoint().exits(0);
    let by_name = here.clone().with("S3_ENDPOINT", &server.endpoint.replace("127.0.0.1", "localhost"));
    by_name.stopover(&["commit"]).exits(0).printed("nothing to commit");
    by_name.file("a", "2").stopover(&["commit"]).exits(0);
    assert_eq!(story.object_text("a"), "2");
    by_name.pull().exits(0);
    here.stopover(&["restore", "1"]).exits(0);
    assert_eq!(here.text("a"), "1");
}

#[test]
fn a_directory_that_an_older_version_restored_goes_on() {
    for imported in [true, false] {
        let server = Server::in_memory();
        let story = Story::on(&server);
        story.object("a", "1");
        let here = story.directory("here");
        here.pull().exits(0);
        if !imported {
            here.file("b", "1").checkpoint().exits(0);
        }
        let mine = here.path.join(".stopover/mine");
        let mut noted: serde_json::Value = serde_json::from_slice(&std::fs::read(&mine).unwrap()).unwrap();
        assert!(noted.as_object_mut().unwrap().remove("endpoint").is_some());
        std::fs::write(&mine, noted.to_string()).unwrap();
        here.file("a", "2").stopover(&["commit"]).exits(0);
        assert_eq!(story.object_text("a"), "2");
        let noted: serde_json::Value = serde_json::from_slice(&std::fs::read(&mine).unwrap()).unwrap();
        assert!(noted["endpoint"].is_string(), "{noted}");
    }
}
