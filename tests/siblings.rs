//! Containers of one workspace beside each other, and others who write to the bucket while they run: what anybody wrote
//! is in the bucket at the end, under its name or in a copy beside it (I3, I4).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Front, any},
    servers::Server,
    story::{Directory, Running, Story, binary},
};

/// An app that says that it runs, commits whenever told to by a file beside its directory, and adds a file when it is
/// stopped.
fn app(name: &str) -> String {
    format!(
        "trap 'echo {name} at the end > {name}-end.txt; exit 0' TERM; echo runs; \
         while :; do sleep 0.02; if [ -e ../{name}-go ]; then rm ../{name}-go; {} commit; echo committed $?; fi; done",
        binary().to_string_lossy()
    )
}

struct Container<'a> {
    story: &'a Story,
    name: &'a str,
    directory: Directory,
    running: Running,
}

impl<'a> Container<'a> {
    fn start(story: &'a Story, name: &'a str) -> Self {
        let directory = story.directory(name).with("STOPOVER_CHECKPOINT", "off");
        let running = directory.start_run(&["sh", "-c", &app(name)]);
        running.prints("runs");
        Self { story, name, directory, running }
    }

    /// The app inside asks for a commit.
    fn asks_for_a_commit(&self) -> &Self {
        std::fs::write(self.story.path(&format!("{}-go", self.name)), "").unwrap();
        self
    }

    fn stops(self) {
        self.running.term();
        self.running.ends().exits(0).says("everything is stored");
    }
}

/// What lies under `of` and in the copies beside it.
fn contents(directory: &Directory, of: &str) -> Vec<String> {
    let start = format!("{of}.theirs-");
    let paths = directory.paths().into_iter().filter(|path| path == of || path.starts_with(&start));
    let mut contents: Vec<String> = paths.map(|path| directory.text(&path)).collect();
    contents.sort();
    contents
}

fn next(story: &Story) -> Directory {
    let next = story.directory("next");
    next.run(&["true"]).exits(0);
    next
}

#[test]
fn two_containers_at_once_lose_nothing_of_each_other() {
    for server in Server::all_with(&["atomic-create"]) {
        let story = Story::on(&server);
        story.object("both.txt", "0").object("left.txt", "0").object("right.txt", "0").object("gone.txt", "0");
        let (left, right) = (Container::start(&story, "left"), Container::start(&story, "right"));
        left.directory.file("both.txt", "by left").file("left.txt", "by left").remove("gone.txt");
        right.directory.file("both.txt", "by right").file("right.txt", "by right");
        // Both are stopped at once.
        left.running.term();
        right.running.term();
        for container in [left, right] {
            container.running.ends().exits(0).says("everything is stored");
        }
        let next = next(&story);
        assert_eq!((next.text("left.txt").as_str(), next.text("right.txt").as_str()), ("by left", "by right"));
        assert_eq!(contents(&next, "both.txt"), ["by left", "by right"], "on {}", server.name());
        assert!(next.has("left-end.txt") && next.has("right-end.txt") && !next.has("gone.txt"));
        assert_eq!(next.paths().len(), 6, "on {}: {:?}", server.name(), next.paths());
        assert_eq!(story.objects(), next.paths());
    }
}

#[test]
fn a_checkpoint_after_the_others_commit_takes_nothing_back() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("both.txt", "0").object("kept.txt", "0").object("gone.txt", "0");
        let (left, right) = (Container::start(&story, "left"), Container::start(&story, "right"));
        right.directory.file("both.txt", "by right").file("kept.txt", "by right").file("new.txt", "by right");
        right.directory.remove("gone.txt");
        right.asks_for_a_commit().running.prints("committed 0");
        left.directory.file("left.txt", "by left");
        left.asks_for_a_commit().running.prints("committed 0");
        assert_eq!(story.objects(), ["both.txt", "kept.txt", "left.txt", "new.txt"], "on {}", server.name());
        assert_eq!(
            (story.object_text("both.txt"), story.object_text("kept.txt")),
            ("by right".into(), "by right".into())
        );
        // What the left one edits now it edits without having seen the right one's.
        left.directory.file("both.txt", "by left");
        left.stops();
        right.stops();
        let next = next(&story);
        assert_eq!(contents(&next, "both.txt"), ["by left", "by right"], "on {}", server.name());
        assert_eq!((next.text("kept.txt").as_str(), next.text("new.txt").as_str()), ("by right", "by right"));
        assert!(next.has("left.txt") && next.has("left-end.txt") && next.has("right-end.txt"));
        assert!(!next.has("gone.txt"), "nobody brought it back");
    }
}

#[test]
fn what_others_write_during_a_run_is_in_the_bucket_at_its_end() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        for name in ["both.txt", "outside.txt", "inside.txt", "removed inside.txt", "removed outside.txt", "kept.txt"] {
            story.object(name, "0");
        }
        let here = Container::start(&story, "here");
        story
            .object("both.txt", "from outside")
            .object("outside.txt", "from outside")
            .object("new.txt", "from outside");
        story.object("removed inside.txt", "edited outside").no_object("removed outside.txt");
        here.directory.file("both.txt", "from here").file("inside.txt", "from here").remove("removed inside.txt");
        here.asks_for_a_commit().running.prints("committed 0");
        story.object("late.txt", "from outside");
        here.stops();
        let next = next(&story);
        let name = server.name();
        assert_eq!(contents(&next, "both.txt"), ["from here", "from outside"], "on {name}");
        for (file, content) in [
            ("outside.txt", "from outside"),
            ("new.txt", "from outside"),
            ("late.txt", "from outside"),
            ("inside.txt", "from here"),
            ("removed inside.txt", "edited outside"),
            ("kept.txt", "0"),
            ("here-end.txt", "here at the end\n"),
        ] {
            assert_eq!(next.text(file), content, "{file} on {name}");
        }
        assert!(!next.has("removed outside.txt"), "on {name}: nobody had edited it");
    }
}

#[test]
fn a_container_that_loses_the_race_for_the_head_plans_again() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("both.txt", "0").object("gone.txt", "0");
        let slow = Container::start(&story, "slow");
        let fast = Container::start(&story, "fast");
        slow.directory.file("slow.txt", "by slow").remove("gone.txt");
        fast.directory.file("fast.txt", "by fast").file("both.txt", "by fast");
        let held = front.hold(any().op("PutObject").class(Class::Head).once());
        slow.asks_for_a_commit();
        held.reached();
        fast.asks_for_a_commit().running.prints("committed 0");
        held.release();
        slow.running.prints("committed 0");
        assert_eq!(story.objects(), ["both.txt", "fast.txt", "slow.txt"], "on {}", server.name());
        assert_eq!(story.object_text("both.txt"), "by fast");
        slow.stops();
        fast.stops();
        let next = next(&story);
        assert_eq!(next.paths(), ["both.txt", "fast-end.txt", "fast.txt", "slow-end.txt", "slow.txt"]);
    }
}
