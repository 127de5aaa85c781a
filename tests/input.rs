//! Bad input, end to end: each ends with its exit code and one sentence that says what happened, to what, and what to
//! do; and nothing is lost, neither in the bucket nor on the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{collections::BTreeMap, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use support::{
    front::{Fault, Front, any},
    outsider::Outsider,
    servers::{Server, is_required},
    story::{Directory, Ended, Story},
};

/// All keys and contents of a bucket.
fn everything(outsider: &Outsider) -> BTreeMap<String, Vec<u8>> {
    outsider.keys("").into_iter().map(|key| (key.clone(), outsider.get(&key).unwrap().bytes)).collect()
}

/// The app of these tests: it leaves a mark, if it ever starts.
fn run(directory: &Directory, mark: &Path) -> Ended {
    directory.run(&["touch", mark.to_str().unwrap()])
}

/// A workspace with one object, a directory that was restored and edited, and one that is new, which has a file of its
/// own. What is wrong begins after `new`.
struct Scene {
    story: Story,
    edited: Directory,
    fresh: Directory,
}

impl Scene {
    fn new(story: Story) -> Self {
        story.object("kept.txt", "kept");
        let edited = story.directory("edited").with("STOPOVER_CHECKPOINT", "off");
        edited.pull().exits(0);
        edited.file("new.txt", "new");
        let fresh = story.directory("fresh").with("STOPOVER_CHECKPOINT", "off");
        fresh.file("own.txt", "own");
        Self { story, edited, fresh }
    }

    /// Every command fails in its own way with these words, no app starts, and neither bucket nor disk changes.
    #[track_caller]
    fn everything_fails(&self, wrong: impl Fn(Directory) -> Directory, words: &[&str]) {
        let before = everything(&self.story.outsider);
        let (edited, fresh) = (wrong(self.edited.clone()), wrong(self.fresh.clone()));
        let mark = self.story.path("mark");
        let said = |ended: Ended| words.iter().fold(ended, |ended, word| ended.says(word));
        said(fresh.pull().exits(1));
        said(run(&fresh, &mark).exits(80));
        fresh.commit().exits(1).says("stopover pull");
        said(edited.commit().exits(1));
        said(run(&edited, &mark).exits(80));
        assert!(!mark.exists(), "the app was started");
        assert_eq!(fresh.paths(), ["own.txt"]);
        assert_eq!(edited.paths(), ["kept.txt", "new.txt"]);
        assert_eq!(everything(&self.story.outsider), before);
    }

    /// As soon as what was wrong is right, all is stored.
    #[track_caller]
    fn and_nothing_was_lost(&self) {
        self.edited.commit().exits(0);
        let mark = self.story.path("mark");
        run(&self.fresh, &mark).exits(0);
        assert!(mark.exists());
        assert_eq!(self.story.objects(), ["kept.txt", "new.txt", "own.txt"]);
    }
}

// The server.

#[test]
fn a_bucket_that_is_not_there_is_named_with_where_it_was_looked_for() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let scene = Scene::new(Story::behind(&front, &server));
    front.on(any(), Fault::Refuse { status: 404, code: "NoSuchBucket" });
    let bucket = format!("bucket \"{}\" does not exist at {}", scene.story.outsider.bucket, front.endpoint);
    scene.everything_fails(|directory| directory, &[&bucket, "create it, or correct its name"]);
    front.heal();
    scene.and_nothing_was_lost();
}

#[test]
fn a_bucket_whose_name_is_wrong_is_said_by_every_server() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let wrong = story.directory("here").with("STOPOVER_WORKSPACE", "s3://no-such-bucket/stores/alice/ws");
        wrong.file("own.txt", "own");
        wrong.pull().exits(1).says("bucket \"no-such-bucket\" does not exist at http://").says("correct its name");
        let mark = story.path("mark");
        run(&wrong, &mark).exits(80).says("bucket \"no-such-bucket\" does not exist");
        assert!(!mark.exists() && wrong.paths() == ["own.txt"], "on {}", server.name());
    }
}

#[test]
fn denied_access_names_the_right_that_is_missing() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let scene = Scene::new(Story::behind(&front, &server));
    front.on(any(), Fault::DENIED);
    let bucket = format!("bucket \"{}\" refused ", scene.story.outsider.bucket);
    scene.everything_fails(|directory| directory, &[&bucket, "(AccessDenied): the role needs s3:", "stores/alice/ws/"]);
    front.heal();
    scene.and_nothing_was_lost();
}

#[test]
fn a_role_that_may_only_read_restores_and_says_at_the_commit_what_it_lacks() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("kept.txt", "kept");
    for op in ["PutObject", "DeleteObject", "CreateMultipartUpload"] {
        front.on(any().op(op), Fault::DENIED);
    }
    let before = everything(&story.outsider);
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    here.run_script("cat kept.txt; echo new > new.txt").exits(82).printed("kept").says("s3:PutObject");
    here.commit().says("s3:PutObject");
    assert_eq!(everything(&story.outsider), before);
    assert_eq!(here.text("new.txt"), "new\n");
    front.heal();
    here.commit().exits(0);
    assert_eq!(story.object_text("new.txt"), "new\n");
}

#[test]
fn a_wrong_region_is_named_with_the_right_one() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let scene = Scene::new(Story::behind(&front, &server));
    let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message>\
                <Region>eu-west-1</Region></Error>";
    // Followed once, and said; a bucket that sends us on and on is an error.
    front.on(any().once(), Fault::RefuseWith { status: 400, body });
    scene.edited.stopover(&["status"]).exits(0).says("eu-west-1");
    front.heal();
    front.on(any(), Fault::RefuseWith { status: 400, body });
    let bucket = format!("bucket \"{}\" is in eu-west-1", scene.story.outsider.bucket);
    scene.everything_fails(|directory| directory, &[&bucket, "set AWS_REGION"]);
    front.heal();
    scene.and_nothing_was_lost();
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_named_with_its_reason_after_half_a_minute_of_tries() {
    let scene = Scene::new(Story::on(&Server::here()));
    let before = everything(&scene.story.outsider);
    // Nobody is given this port by chance.
    let nowhere = "http://127.0.0.1:1";
    let nameless = "http://no-such-host.invalid:9000";
    let refused = format!("cannot reach {nowhere} (connection refused): check S3_ENDPOINT");
    let unknown = format!("cannot reach {nameless} (its name does not resolve): check S3_ENDPOINT");
    let mark = scene.story.path("mark");
    let (edited, other) = (scene.edited.clone(), scene.story.directory("other"));
    std::thread::scope(|scope| {
        scope.spawn(|| run(&scene.fresh.clone().with("S3_ENDPOINT", nowhere), &mark).exits(80).says(&refused));
        scope.spawn(|| edited.with("S3_ENDPOINT", nowhere).commit().exits(1).says(&refused));
        scope.spawn(|| other.with("S3_ENDPOINT", nameless).pull().exits(1).says(&unknown));
    });
    assert!(!mark.exists());
    assert_eq!(
        (scene.fresh.paths(), scene.edited.paths()),
        (vec!["own.txt".into()], vec!["kept.txt".into(), "new.txt".into()])
    );
    assert_eq!(everything(&scene.story.outsider), before);
    scene.and_nothing_was_lost();
}

#[test]
fn bad_credentials_are_said_by_their_variables_and_never_printed() {
    for server in Server::all_with(&["rights"]) {
        let scene = Scene::new(Story::on(&server));
        for (variable, value, why) in [
            ("S3_SECRET_KEY", "wrong-secret-of-mine", "the secret key does not fit"),
            ("S3_ACCESS_KEY", "nobody", "refused the credentials"),
        ] {
            // s3s-fs answers one code for both.
            let why = if server.name() == "s3s-fs" { "refused the credentials" } else { why };
            let words = [why, "check S3_ACCESS_KEY and S3_SECRET_KEY"];
            scene.everything_fails(|directory| directory.with(variable, value), &words);
            scene.fresh.clone().with(variable, value).pull().never_says("wrong-secret-of-mine");
        }
        scene.and_nothing_was_lost();
    }
}

#[test]
fn no_credentials_at_all_names_every_place_that_was_looked_at() {
    let scene = Scene::new(Story::on(&Server::here()));
    let none = |directory: Directory| directory.with("S3_ACCESS_KEY", "").with("S3_SECRET_KEY", "");
    scene.everything_fails(none, &["no AWS credentials: tried environment (", "IMDS ("]);
    scene.and_nothing_was_lost();
}

#[test]
fn half_a_pair_of_keys_is_a_wrong_setting() {
    let scene = Scene::new(Story::on(&Server::here()));
    let words = ["S3_SECRET_KEY", "S3_ACCESS_KEY"];
    is_usage(&scene, |directory| directory.with("S3_SECRET_KEY", ""), &words);
}

// What lies in the bucket.

#[test]
fn hostile_keys_are_named_the_rest_goes_on_and_they_stay_as_they_are() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("good.txt", "good");
    let hostile = ["../escaped", "sub/../../escaped", "a//b", "./dot", "/absolute", "sub/.stopover/x", "nul\0byte"];
    let keys = hostile.map(|key| story.key(key));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    front.on(any().op("ListObjectsV2"), Fault::list_also(&keys));
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    let summary = story.path("summary");
    let here = here.with("STOPOVER_SUMMARY", summary.to_str().unwrap());
    here.run_script("cat good.txt; echo new > new.txt").exits(0).printed("good").says("../escaped");
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    let refused = summary["restore"]["refused"].as_array().unwrap();
    let mut named: Vec<&str> = refused.iter().map(|one| one["key"].as_str().unwrap()).collect();
    named.sort_unstable();
    let mut all = hostile.to_vec();
    all.sort_unstable();
    assert_eq!(named, all);
    assert_eq!(here.paths(), ["good.txt", "new.txt"]);
    assert!(!story.path("escaped").exists() && !Path::new("/absolute").exists());
    assert_eq!(story.objects(), ["good.txt", "new.txt"]);
    // Nothing was ever asked or written at such a key.
    let touched = front.seen().into_iter().filter(|request| keys.contains(&request.key.as_str())).count();
    assert_eq!(touched, 0);
}

#[test]
fn a_key_that_is_also_a_folder_is_refused_by_name_and_stays() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("a/b", "below").object("z.txt", "z");
        if server.has("file-and-folder") {
            story.object("a", "beside");
        } else {
            front.on(any().op("ListObjectsV2"), Fault::list_also(&[&story.key("a")]));
        }
        let before = everything(&story.outsider);
        let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
        here.pull().exits(3).says("\"a\"").says("directory");
        assert_eq!(here.paths(), ["a/", "a/b", "z.txt"], "on {}", server.name());
        here.commit().exits(0);
        here.file("a/c", "c").remove("z.txt").commit().exits(0);
        let after = everything(&story.outsider);
        for key in ["a", "a/b"] {
            assert_eq!(after.get(&story.key(key)), before.get(&story.key(key)), "on {}", server.name());
        }
        assert_eq!(story.object_text("a/c"), "c");
        story.directory("next").run_script("cat a/b a/c").exits(0).printed("belowc");
    }
}

#[test]
fn a_name_in_the_bucket_that_no_disk_can_hold_is_refused_by_name() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("good.txt", "good");
    let long = "n".repeat(256);
    front.on(any().op("ListObjectsV2"), Fault::list_also(&[&story.key(&long)]));
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    here.pull().exits(3).says(&long).says("255");
    here.run_script("cat good.txt").exits(0).printed("good");
    assert_eq!(here.paths(), ["good.txt"]);
    assert_eq!(story.objects(), ["good.txt"]);
}

#[test]
fn a_name_on_the_disk_that_no_server_can_hold_is_named_and_the_rest_is_stored() {
    for server in Server::all_with(&["name-limit"]) {
        let story = Story::on(&server);
        story.object("kept.txt", "kept");
        let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
        here.pull().exits(0);
        let deep = [["d".repeat(200)].as_slice(), &["d".repeat(200)], &["e".repeat(200)], &["f".repeat(200)]].concat();
        let long = format!("{}/{}/long.txt", deep.join("/"), "g".repeat(220));
        here.file(&long, "far away").file("short.txt", "short");
        let ended = here.commit().exits(3).says("long.txt").says("name-refused");
        assert!(ended.stderr.contains("committed"), "{}", ended.stderr);
        assert_eq!(story.objects(), ["kept.txt", "short.txt"], "on {}", server.name());
        // From a run too: it is said, again and again, for it is on the disk alone.
        here.run_script("echo more > more.txt").exits(82).says("long.txt").says("stored, but not whole");
        assert_eq!(story.objects(), ["kept.txt", "more.txt", "short.txt"], "on {}", server.name());
        assert_eq!(here.text(&long), "far away");
    }
}

// The disk.

/// Runs `test` on a thread with mounts of its own, or says why not.
fn with_own_mounts(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let none: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| mount(none, "/", none, private, none)) {
            assert!(!is_required("mounts"), "no mounts of our own ({error}), but STOPOVER_TEST_REQUIRE names them");
            println!("skipped: needs mounts: no mounts of our own ({error}); run as root with CAP_SYS_ADMIN");
            return;
        }
        test();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn tmpfs(at: &Path, options: &str) {
    mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

fn resized(at: &Path, options: &str) {
    mount(Some("none"), at, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(options)).unwrap();
}

#[test]
fn a_workspace_that_does_not_fit_on_the_disk_is_said_before_anything_is_written() {
    with_own_mounts(|| {
        let story = Story::on(&Server::here());
        story.object("small.txt", "small").object("large.bin", vec![7; 3 << 20]);
        let before = everything(&story.outsider);
        let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
        tmpfs(&here.path, "size=2m");
        here.file("own.txt", "own");
        let mark = story.path("mark");
        here.pull().exits(1).says("no space left").says("MiB");
        run(&here, &mark).exits(80).says("no space left");
        here.commit().exits(1).says("stopover pull");
        assert!(!mark.exists());
        assert_eq!(here.paths(), ["own.txt"]);
        assert_eq!(everything(&story.outsider), before);
        resized(&here.path, "size=16m");
        run(&here, &mark).exits(0);
        assert_eq!(here.paths(), ["large.bin", "own.txt", "small.txt"]);
        assert_eq!(story.objects(), ["large.bin", "own.txt", "small.txt"]);
    });
}

#[test]
fn what_an_app_wrote_until_the_disk_was_full_is_stored() {
    with_own_mounts(|| {
        let story = Story::on(&Server::here());
        story.object("gone.txt", "gone");
        for number in 0..80 {
            story.object(&format!("data/{number}.txt"), "kept");
        }
        let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
        tmpfs(&here.path, "size=2m");
        let fill = "rm gone.txt; echo new > new.txt; head -c 9999999 /dev/zero > ballast.bin; echo full $?";
        here.run_script(fill).exits(0).printed("full 1");
        let stored = || story.objects().into_iter().filter(|path| !path.starts_with("data/")).collect::<Vec<_>>();
        assert_eq!(stored(), ["ballast.bin", "new.txt"]);
        // A person's commit on the full disk, too.
        std::fs::write(here.path.join("new.txt"), "n\n").unwrap();
        here.commit().exits(0);
        assert_eq!(
            (stored(), story.object_text("new.txt")),
            (vec!["ballast.bin".into(), "new.txt".into()], "n\n".into())
        );
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), here.paths());
        assert_eq!(
            std::fs::read(next.path.join("ballast.bin")).unwrap(),
            std::fs::read(here.path.join("ballast.bin")).unwrap()
        );
    });
}

#[test]
fn a_directory_that_cannot_be_read_is_named_and_its_files_are_not_taken_for_deleted() {
    let story = Story::on(&Server::here());
    story.object("closed/inside.txt", "inside").object("open.txt", "open");
    let Some(here) = story.directory("here").with("STOPOVER_CHECKPOINT", "off").without_rights() else { return };
    here.pull().exits(0);
    here.run_script("echo new > new.txt; chmod 000 closed").exits(82).says("not stored: closed (unreadable)");
    assert_eq!(story.objects(), ["closed/inside.txt", "new.txt", "open.txt"]);
    here.file("more.txt", "more");
    here.commit().exits(3).says("not stored: closed (unreadable)");
    assert_eq!(story.objects(), ["closed/inside.txt", "more.txt", "new.txt", "open.txt"]);
    // The next life cannot tell whether its file is there.
    here.run_script("echo started").exits(80).says("closed/inside.txt cannot be written").says("must be writable");
    here.mode("closed", 0o755);
    here.pull().exits(0);
    here.commit().exits(0);
    story.directory("next").run_script("cat closed/inside.txt").exits(0).printed("inside");
}

#[test]
fn a_workspace_that_cannot_be_read_at_all_is_no_empty_one() {
    let scene = Scene::new(Story::on(&Server::here()));
    let Some(edited) = scene.edited.clone().without_rights() else { return };
    let before = everything(&scene.story.outsider);
    std::fs::set_permissions(&edited.path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let path = edited.path.display().to_string();
    let mark = scene.story.path("mark");
    edited.commit().exits(1).says(&path).says("ermission denied");
    edited.pull().exits(1).says(&path).says("ermission denied");
    run(&edited, &mark).exits(80).says(&path).says("ermission denied");
    std::fs::set_permissions(&edited.path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(!mark.exists() && everything(&scene.story.outsider) == before);
    scene.and_nothing_was_lost();
}

#[test]
fn a_workspace_that_cannot_be_written_is_said_and_the_app_does_not_start() {
    let story = Story::on(&Server::here());
    story.object("kept.txt", "kept");
    let before = everything(&story.outsider);
    let Some(here) = story.directory("here").with("STOPOVER_CHECKPOINT", "off").without_rights() else { return };
    here.file("own.txt", "own");
    std::fs::set_permissions(&here.path, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    let path = here.path.display().to_string();
    let mark = story.path("mark");
    here.pull().exits(1).says(&path).says("ermission denied").says("STOPOVER_");
    run(&here, &mark).exits(80).says(&path).says("ermission denied");
    here.commit().exits(1).says("stopover pull");
    assert!(!mark.exists() && here.paths() == ["own.txt"]);
    assert_eq!(everything(&story.outsider), before);
    std::fs::set_permissions(&here.path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    run(&here, &mark).exits(0);
    assert_eq!(story.objects(), ["kept.txt", "own.txt"]);
}

#[test]
fn a_workspace_below_a_file_or_that_is_one_is_said() {
    let story = Story::on(&Server::here());
    story.object("kept.txt", "kept");
    let before = everything(&story.outsider);
    story.directory("here").file("file", "a file");
    for (place, why) in [("here/file", "is not a directory: set STOPOVER_DIR"), ("here/file/below", "set STOPOVER_DIR")]
    {
        let path = story.path(place).display().to_string();
        let here = story.directory("here").with("STOPOVER_DIR", &path);
        let mark = story.path("mark");
        here.pull().exits(1).says(&path).says(why);
        run(&here, &mark).exits(80).says(&path).says(why);
        here.commit().exits(1).says(&path);
        assert!(!mark.exists());
    }
    assert_eq!(story.directory("here").text("file"), "a file");
    assert_eq!(everything(&story.outsider), before);
    let nowhere = story.path("nowhere").display().to_string();
    let here = story.directory("here").with("STOPOVER_DIR", &nowhere);
    here.commit().exits(1).says(&format!("directory does not exist: {nowhere}"));
}

// The settings.

/// Each command ends with 2 and these words, before anything is asked, started or written.
#[track_caller]
fn is_usage(scene: &Scene, wrong: impl Fn(Directory) -> Directory, words: &[&str]) {
    let before = everything(&scene.story.outsider);
    let mark = scene.story.path("mark");
    for directory in [&scene.edited, &scene.fresh] {
        let wrong = wrong(directory.clone());
        let paths = directory.paths();
        for ended in [wrong.pull(), wrong.commit(), run(&wrong, &mark)] {
            words.iter().fold(ended.exits(2), |ended, word| ended.says(word));
        }
        assert_eq!(directory.paths(), paths);
    }
    assert!(!mark.exists() && everything(&scene.story.outsider) == before);
}

#[test]
fn a_workspace_without_bucket_names_the_variable_and_the_other_way() {
    let scene = Scene::new(Story::on(&Server::here()));
    let parts = |directory: Directory| directory.with("STOPOVER_WORKSPACE", "").with("WORKSPACE_USER", "alice");
    let words =
        ["S3_WORKSPACE_BUCKET is not set: name the bucket, or set STOPOVER_WORKSPACE=s3://BUCKET/PREFIX/USER/NAME"];
    is_usage(&scene, parts, &words);
    scene.and_nothing_was_lost();
}

#[test]
fn two_variables_that_name_different_workspaces_are_both_named() {
    let scene = Scene::new(Story::on(&Server::here()));
    let both = |directory: Directory| directory.with("S3_WORKSPACE_BUCKET", "other").with("WORKSPACE_USER", "bob");
    let url = scene.story.url();
    is_usage(&scene, both, &["STOPOVER_WORKSPACE", &url, "S3_WORKSPACE_BUCKET", "s3://other/user_data/bob/workspace"]);
    scene.and_nothing_was_lost();
}

#[test]
fn a_duration_that_is_none_is_named_with_its_form() {
    let scene = Scene::new(Story::on(&Server::here()));
    for (name, value) in [
        ("STOPOVER_STOP_TIMEOUT", "10"),
        ("STOPOVER_GRACE", "-1s"),
        ("STOPOVER_CHECKPOINT", "now and then"),
        ("STOPOVER_RESTORE_TIMEOUT", "5 parsecs"),
        ("STOPOVER_INSTALL_TIMEOUT", "99999999999999999999h"),
        ("STOPOVER_KEEP_WITHIN", "1.5.5h"),
    ] {
        is_usage(&scene, |directory| directory.with(name, value), &[name, &format!("{value:?}"), "90s, 5m or 1h30m"]);
    }
    scene.and_nothing_was_lost();
}

#[test]
fn a_path_that_is_longer_than_any_path_may_be_is_named_and_the_rest_is_stored() {
    let server = Server::here();
    let story = Story::on(&server);
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    here.pull().exits(0);
    let name = "d".repeat(250);
    let mode = nix::sys::stat::Mode::S_IRWXU;
    let mut at = nix::fcntl::open(&here.path, nix::fcntl::OFlag::O_PATH, mode).unwrap();
    for _ in 0..17 {
        nix::sys::stat::mkdirat(&at, &name[..], mode).unwrap();
        at = nix::fcntl::openat(&at, &name[..], nix::fcntl::OFlag::O_PATH, mode).unwrap();
    }
    here.file("short.txt", "short");
    here.commit().exits(3).says("dddd").says("name-refused");
    assert_eq!(story.objects(), ["short.txt"]);
    here.run_script("echo more > more.txt").exits(82).says("name-refused");
}
