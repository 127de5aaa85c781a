//! Live workspaces where one thing meets another: a kill between the first snapshot and its live tree, a state directory
//! that goes while a container stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Front, any},
    servers::Server,
    story::Story,
};

#[test]
fn what_the_first_snapshot_deleted_and_changed_stays_so_where_it_was_killed_before_the_live_tree_followed() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("gone.txt", "gone").object("changed.txt", "before").object("kept.txt", "kept");
        let here = story.directory("here");
        here.pull().exits(0);
        here.remove("gone.txt").file("changed.txt", "after");
        let held = front.hold(any().op("PutObject").class(Class::Live));
        let checkpoint = here.start(&["commit"]);
        held.reached();
        checkpoint.kill();
        checkpoint.ends();
        held.release();
        front.heal();
        let there = story.directory("there");
        there.pull().exits(0);
        assert_eq!(there.paths(), ["changed.txt", "kept.txt"], "on {}", server.name());
        assert_eq!(there.text("changed.txt"), "after");
        // The next commit goes on with the live tree.
        here.file("more.txt", "more").checkpoint().exits(0);
        let live = ["changed.txt", "kept.txt", "more.txt"];
        let objects = story.objects().into_iter().filter(|key| !key.contains(".stopover")).collect::<Vec<_>>();
        assert_eq!((objects, story.object_text("changed.txt")), (live.map(str::to_owned).into(), "after".into()));
    }
}

#[test]
fn a_state_directory_that_goes_while_the_app_shuts_down_costs_no_file() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("old.txt", "old");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("seed", "seed").checkpoint().exits(0);
        // The early commit is at work when the app begins to clean up.
        let script = "trap 'while ! [ -e ../go ]; do sleep 0.01; done; rm -rf .stopover; echo last >last.txt; exit 0' \
                      TERM; echo early >early.txt; echo up; while :; do sleep 0.01; done";
        let held = front.hold(any().op("PutObject").class(Class::Pack));
        let container = here.start_run(&["sh", "-c", script]);
        container.prints("up");
        container.term();
        held.reached();
        std::fs::write(here.path.parent().unwrap().join("go"), "").unwrap();
        support::story::until(|| here.has("last.txt"));
        held.release();
        front.heal();
        let ended = container.ends();
        let there = story.directory("there");
        there.pull().exits(0);
        assert_eq!(there.paths(), ["early.txt", "last.txt", "old.txt", "seed"], "on {}", server.name());
        ended.exits(0);
    }
}
