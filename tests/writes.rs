//! Safe writes: what a restore may do to a directory, and what it must never do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use stopover::{
    rows::{Hash, RelPath, Row},
    worktree::{Directory, Expected, Owner, Presence, Stat, WriteError, WriteOptions, Writer},
};

const CAREFUL: WriteOptions = WriteOptions { owner: Owner::Caller, fresh: false };
const FRESH: WriteOptions = WriteOptions { owner: Owner::Caller, fresh: true };

struct Place {
    temp: tempfile::TempDir,
    dir: Directory,
    writer: Writer,
}

impl Place {
    fn new(options: WriteOptions) -> Self {
        Self::with(options, false)
    }

    fn with(options: WriteOptions, stepwise: bool) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = Directory::open(temp.path()).unwrap();
        let dir = if stepwise { dir.stepwise() } else { dir };
        let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), options).unwrap();
        Self { temp, dir, writer }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn stat(&self, name: &str) -> Stat {
        match self.dir.look(&path(name)) {
            Presence::There(stat) => stat,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn put(&self, name: &str, content: &str, expected: Expected) -> Result<bool, WriteError> {
        let mut staged = self.writer.begin(&path(name), content.len() as u64)?;
        staged.write_all(content.as_bytes())?;
        let index = staged.finish(&row(content), expected)?;
        let Presence::There(stat) = self.dir.look(&path(name)) else { return Ok(false) };
        Ok(index.is_some_and(|index| index.proves(&stat)))
    }

    fn staging_is_empty(&self) -> bool {
        fs::read_dir(self.at(".stopover/staging")).unwrap().next().is_none()
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn row(content: &str) -> Row {
    Row { mtime_ns: 1_234_567_890_123_456_789, ..Row::file(Hash::of(content.as_bytes()), content.len() as u64, 0o647) }
}

/// With the names of new files given at once and by rename, with `openat2` and without.
fn every_way(check: impl Fn(&Place)) {
    for (options, stepwise) in [(CAREFUL, false), (FRESH, false), (CAREFUL, true), (FRESH, true)] {
        check(&Place::with(options, stepwise));
    }
}

#[test]
fn a_file_arrives_with_all_that_its_row_says() {
    every_way(|place| {
        assert!(place.put("a/b/file", "content", Expected::Absent).unwrap());
        let meta = fs::metadata(place.at("a/b/file")).unwrap();
        assert_eq!(fs::read(place.at("a/b/file")).unwrap(), b"content");
        assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o647, 1_234_567_890, 123_456_789));
        assert_eq!(fs::metadata(place.at("a/b")).unwrap().mode() & 0o777, 0o755);
        assert!(place.staging_is_empty());
    });
}

#[test]
fn what_was_begun_and_dropped_leaves_nothing() {
    every_way(|place| {
        let mut staged = place.writer.begin(&path("file"), 3).unwrap();
        staged.write_all(b"abc").unwrap();
        drop(staged);
        let staged = place.writer.begin(&path("file"), 3).unwrap();
        staged.write_at(b"c", 2).unwrap();
        assert!(staged.finish(&row("four"), Expected::Absent).is_err(), "the size is not the row's");
        assert!(!place.at("file").exists());
        assert!(place.staging_is_empty());
    });
}

#[test]
fn only_the_expected_file_is_replaced() {
    every_way(|place| {
        fs::write(place.at("file"), "old").unwrap();
        let old = place.stat("file");
        assert!(matches!(place.put("file", "new", Expected::Absent), Err(WriteError::Moved { .. })));
        fs::write(place.at("file"), "own").unwrap();
        let own = place.stat("file");
        assert!(old.ctime_ns != own.ctime_ns || old.mtime_ns != own.mtime_ns);
        assert!(matches!(place.put("file", "new", Expected::Same(old)), Err(WriteError::Moved { .. })));
        assert_eq!(fs::read(place.at("file")).unwrap(), b"own");
        assert!(place.put("file", "new", Expected::Same(own)).unwrap());
        assert_eq!(fs::read(place.at("file")).unwrap(), b"new");
        fs::remove_file(place.at("file")).unwrap();
        let gone = place.put("file", "newer", Expected::Same(own));
        assert!(matches!(gone, Err(WriteError::Moved { .. })));
        assert!(!place.at("file").exists() && place.staging_is_empty());
    });
}

#[test]
fn a_directory_or_link_in_the_place_of_a_file_stays() {
    every_way(|place| {
        fs::create_dir(place.at("dir")).unwrap();
        symlink("/etc/passwd", place.at("link")).unwrap();
        let link = place.stat("link");
        assert!(matches!(place.put("dir", "x", Expected::Absent), Err(WriteError::Moved { .. })));
        assert!(place.put("dir", "x", Expected::Same(place.stat("dir"))).is_err());
        assert!(matches!(place.put("link", "x", Expected::Absent), Err(WriteError::Moved { .. })));
        assert!(matches!(place.put("link/below", "x", Expected::Absent), Err(WriteError::ParentNotDirectory { .. })));
        // A link that the plan knows is replaced itself, not what it leads to.
        assert!(place.put("link", "x", Expected::Same(link)).unwrap());
        assert!(fs::symlink_metadata(place.at("link")).unwrap().is_file());
    });
}

#[test]
fn the_other_names_of_a_replaced_file_are_still_the_expected_ones() {
    let place = Place::new(CAREFUL);
    fs::write(place.at("a"), "old").unwrap();
    for name in ["b", "c", "d"] {
        fs::hard_link(place.at("a"), place.at(name)).unwrap();
    }
    let scanned = place.stat("a");
    assert!(place.put("a", "new", Expected::Same(scanned)).unwrap());
    place.writer.remove_file(&path("b"), Expected::Same(scanned)).unwrap();
    assert!(place.put("c", "new", Expected::Same(scanned)).unwrap());
    fs::write(place.at("d"), "own").unwrap();
    assert!(matches!(place.put("d", "new", Expected::Same(scanned)), Err(WriteError::Moved { .. })));
}

#[test]
fn links_and_directories_are_made_and_given_their_attributes() {
    let place = Place::new(CAREFUL);
    let dir = Row { mtime_ns: 5_000_000_001, ..Row::dir(0o500) };
    place.writer.make_dir(&path("d"), &dir).unwrap();
    place.writer.make_dir(&path("d"), &dir).unwrap();
    let link = Row { mtime_ns: 7_000_000_000, ..Row::symlink(b"../target") };
    place.writer.make_symlink(&path("d/link"), &link, Expected::Absent).unwrap();
    assert!(matches!(
        place.writer.make_symlink(&path("d/link"), &link, Expected::Absent),
        Err(WriteError::Moved { .. })
    ));
    let there = Expected::Same(place.stat("d/link"));
    place.writer.make_symlink(&path("d/link"), &Row::symlink(b"other"), there).unwrap();
    assert_eq!(fs::read_link(place.at("d/link")).unwrap(), Path::new("other"));
    assert!(matches!(place.writer.make_dir(&path("d/link"), &dir), Err(WriteError::Moved { .. })));

    assert_eq!(place.stat("d").mode, 0o700);
    let after = place.writer.set_meta(&path("d"), &dir, Expected::Absent).unwrap();
    assert_eq!((after.mode, after.mtime_ns), (0o500, 5_000_000_001));
    assert!(place.staging_is_empty());
}

#[test]
fn attributes_are_set_only_on_what_is_expected() {
    let place = Place::new(CAREFUL);
    fs::write(place.at("file"), "content").unwrap();
    let scanned = place.stat("file");
    let after = place.writer.set_meta(&path("file"), &row("content"), Expected::Same(scanned)).unwrap();
    assert_eq!(after.mode, 0o647);
    let again = place.writer.set_meta(&path("file"), &row("content"), Expected::Same(scanned));
    assert!(matches!(again, Err(WriteError::Moved { .. })));
    let elsewhere = place.at("elsewhere");
    fs::write(&elsewhere, "x").unwrap();
    fs::remove_file(place.at("file")).unwrap();
    symlink(&elsewhere, place.at("file")).unwrap();
    assert!(place.writer.set_meta(&path("file"), &row("content"), Expected::Same(after)).is_err());
    assert_ne!(fs::metadata(&elsewhere).unwrap().mode() & 0o777, 0o647);
}

#[test]
fn only_the_expected_file_is_removed() {
    let place = Place::new(CAREFUL);
    fs::create_dir(place.at("d")).unwrap();
    fs::write(place.at("d/file"), "old").unwrap();
    let old = place.stat("d/file");
    assert!(!place.writer.remove_dir_if_empty(&path("d")).unwrap());
    fs::write(place.at("d/file"), "other").unwrap();
    assert!(matches!(place.writer.remove_file(&path("d/file"), Expected::Same(old)), Err(WriteError::Moved { .. })));
    assert!(matches!(
        place.writer.remove_file(&path("d"), Expected::Same(place.stat("d"))),
        Err(WriteError::Moved { .. })
    ));
    place.writer.remove_file(&path("d/file"), Expected::Same(place.stat("d/file"))).unwrap();
    place.writer.remove_file(&path("d/file"), Expected::Same(old)).unwrap();
    assert!(place.writer.remove_dir_if_empty(&path("d")).unwrap());
    assert!(place.writer.remove_dir_if_empty(&path("d")).unwrap());
    place.writer.remove_file(&path("d/file"), Expected::Same(old)).unwrap();
}

#[test]
fn what_steps_aside_is_whole_and_nothing_there_is_replaced() {
    let place = Place::new(CAREFUL);
    let aside = place.dir.path().join(".stopover/aside/2026-01-01");
    for (content, name) in [("one", "a/b/file"), ("two", "a/b/file.2"), ("three", "a/b/file.3")] {
        fs::create_dir_all(place.at("a/b")).unwrap();
        fs::write(place.at("a/b/file"), content).unwrap();
        let now = place.writer.move_aside(&path("a/b/file"), &aside).unwrap();
        assert_eq!(now, aside.join(name));
        assert_eq!(fs::read_to_string(now).unwrap(), content);
        assert!(!place.at("a/b/file").exists());
    }
    let now = place.writer.move_aside(&path("a"), &aside.join("later")).unwrap();
    assert!(now.join("b").is_dir());
    assert!(matches!(place.writer.move_aside(&path("a"), &aside), Err(WriteError::Moved { .. })));
}

#[test]
fn what_a_dead_writer_left_is_swept() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Directory::open(temp.path()).unwrap();
    let staging = dir.path().join(".stopover/staging");
    fs::create_dir_all(staging.join("empty")).unwrap();
    fs::write(staging.join("7"), "left").unwrap();
    symlink("/etc", staging.join("8")).unwrap();
    Writer::new(&dir, &staging, CAREFUL).unwrap();
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
    assert_eq!(fs::metadata(&staging).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_staging_directory_that_is_a_link_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    symlink(outside.path(), temp.path().join(".stopover")).unwrap();
    let dir = Directory::open(temp.path()).unwrap();
    assert!(Writer::new(&dir, &dir.path().join(".stopover"), CAREFUL).is_err());
    assert!(Writer::new(&dir, &dir.path().join(".stopover/staging"), CAREFUL).is_err());
    assert!(outside.path().join("precious").exists());
}

/// Ends the other thread also when an assertion fails.
struct RaiseAtEnd<'a>(&'a AtomicBool);

impl Drop for RaiseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_directory_that_turns_into_a_link_leads_no_write_out() {
    every_way(|place| {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("victim"), "safe").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _done = RaiseAtEnd(&done);
            scope.spawn(|| {
                // The way is now a directory, now a link that leads out.
                while !done.load(Ordering::Relaxed) {
                    let _ = fs::create_dir(place.at("way"));
                    let _ = fs::rename(place.at("way"), place.at("gone"));
                    let _ = symlink(outside.path(), place.at("way"));
                    let _ = fs::remove_file(place.at("way"));
                    let _ = fs::remove_dir_all(place.at("gone"));
                }
            });
            for number in 0..500 {
                let _ = place.put(&format!("way/{number}"), "x", Expected::Absent);
                let _ = place.put("way/victim", "broken", Expected::Absent);
                let _ = place.writer.make_dir(&path(&format!("way/d{number}")), &Row::dir(0o755));
                let _ = place.writer.make_symlink(&path("way/l"), &Row::symlink(b"x"), Expected::Absent);
                if let Presence::There(stat) = place.dir.look(&path("way/victim")) {
                    let _ = place.writer.remove_file(&path("way/victim"), Expected::Same(stat));
                }
                let _ = place.writer.move_aside(&path("way/victim"), &place.dir.path().join(".stopover/aside"));
                let _ = place.dir.open_file(&path("way/victim")).map(|(file, _)| {
                    assert_ne!(std::io::read_to_string(file).unwrap(), "safe");
                });
            }
        });
        let names: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["victim"]);
        assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "safe");
    });
}

#[test]
fn more_than_fits_is_refused_before_the_first_byte() {
    let place = Place::new(CAREFUL);
    assert!(place.writer.check_space(1, 1).is_ok());
    let error = place.writer.check_space(u64::MAX / 2, 1).unwrap_err();
    assert!(matches!(&error, WriteError::NoSpace { .. }) && error.to_string().contains("are free"), "{error}");
    assert!(place.writer.begin(&path("huge"), u64::MAX / 2).is_err());
}
