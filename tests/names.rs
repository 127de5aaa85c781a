//! Names that URLs, XML, JSON or a log would have otherwise: as keys, in listings, in trees, mirrors and receipts, on
//! every server. A checker that knows docs/format.md alone says what lies in the bucket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    sync::Arc,
};

use support::{
    checker::{Checker, Things, files, on_disk, spelt, unspelt},
    front::Front,
    servers::{Kind, Server},
    story::{Directory, Story},
};

/// Names that every server takes.
const NAMES: &[&[u8]] = &[
    b"100%",
    b"a%41b",
    b"%2e%2e",
    b"%25",
    b"a+b c",
    b"a b+c",
    b" begins and ends ",
    b"\"quoted\" 'twice'",
    b"a&b=c?d#e",
    b"&amp;",
    b"<key>]]>",
    b"{[(~!@$^*`|;:,)]}",
    b"-rf",
    b"ends in a dot.",
    b"...",
    "e\u{301}".as_bytes(),
    "\u{65e5}\u{672c}/\u{1f980} & \u{fffd}".as_bytes(),
    // No UTF-8, and what looks like its spelling.
    b"caf\xe9",
    b"\xff/\xfe\\",
    b"\\x41",
    b"\\xff",
    b"\\x5c",
    b"back\\slash",
];

/// The same letter as one of them, in another spelling: another file. (rclone takes one for the other.)
const TWIN: &[u8] = "\u{e9}".as_bytes();

/// Names that XML 1.0 cannot hold, or changes.
const CONTROLS: &[&[u8]] = &[b"a\nb", b"a\rb", b"a\tb", b"bell\x07", b"\x01", b"\x7f", "\u{85}\u{2028}".as_bytes()];

fn names(server: &Server) -> Vec<&'static [u8]> {
    let controls = if server.has("odd-keys") { CONTROLS } else { &[] };
    let twin = (server.kind != Kind::Rclone).then_some(&TWIN);
    NAMES.iter().chain(controls).chain(twin).copied().collect()
}

/// The real ones, and the one that is none.
fn servers() -> Vec<Arc<Server>> {
    Server::each_with(&[]).into_iter().chain([Server::in_memory()]).collect()
}

fn put(directory: &Directory, name: &[u8], content: &[u8]) {
    let path = directory.path.join(OsStr::from_bytes(name));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The bucket, as the checker reads it, is this directory, and so is what a new one gets.
#[track_caller]
fn is_in_the_bucket(story: &Story, here: &Directory, front: &Front, what: &str) {
    let checker = Checker::new(&story.outsider, story.key(""));
    let checked = checker.bucket().unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    let things = on_disk(&here.path);
    same(&checked.tree, &things, &format!("{what}: the tree"));
    assert_eq!(checked.live.keys().collect::<Vec<_>>(), files(&things).keys().collect::<Vec<_>>(), "{what}: the keys");
    assert!(checked.live == files(&things), "{what}: the objects");
    let conditional = story.server.has("conditional-put") && story.server.has("delete-condition");
    if conditional {
        checker.requests(None, &front.done()).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    }
    let fresh = story.directory("fresh");
    fresh.pull().exits(0);
    same(&on_disk(&fresh.path), &things, &format!("{what}: a pull"));
    fs::remove_dir_all(&fresh.path).unwrap();
}

#[track_caller]
fn same(found: &Things, expected: &Things, what: &str) {
    let differs = |path: &&String| found.get(*path) != expected.get(*path);
    let paths: Vec<_> = found.keys().chain(expected.keys()).filter(differs).collect();
    assert!(paths.is_empty(), "{what}: {paths:?}");
}

#[test]
fn every_name_is_spelt_in_one_way() {
    for name in NAMES.iter().chain(CONTROLS) {
        assert_eq!(unspelt(&spelt(name)), *name);
        let path = stopover::rows::RelPath::new(*name).unwrap();
        assert_eq!(path.to_text(), spelt(name));
    }
}

#[test]
fn names_that_need_escapes_travel_through_every_server() {
    for server in servers() {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let (names, name) = (names(&server), server.name());
        let here = story.directory("here");
        here.pull().exits(0);
        for name in &names {
            put(&here, name, name);
        }
        symlink(OsStr::from_bytes(b"a%41b \xff\\xff\n"), here.path.join(OsStr::from_bytes(b"link \xff &"))).unwrap();
        here.checkpoint().exits(0);
        is_in_the_bucket(&story, &here, &front, &format!("{name}, new"));
        // Versions that a mirror knows: each is replaced or deleted on its condition.
        for (n, name) in names.iter().enumerate() {
            match n % 3 {
                0 => put(&here, name, b"edited"),
                1 => fs::remove_file(here.path.join(OsStr::from_bytes(name))).unwrap(),
                _ => {}
            }
        }
        here.checkpoint().exits(0);
        is_in_the_bucket(&story, &here, &front, &format!("{name}, edited"));
        // By others.
        for (n, name) in names.iter().enumerate().filter(|(n, _)| n % 6 == 0) {
            story.object(&spelt(name), format!("by others {n}"));
        }
        here.pull().exits(0);
        for (n, name) in names.iter().enumerate().filter(|(n, _)| n % 6 == 0) {
            let held = fs::read(here.path.join(OsStr::from_bytes(name))).unwrap();
            assert_eq!(held, format!("by others {n}").as_bytes(), "{}, {}", server.name(), spelt(name));
        }
        here.checkpoint().exits(0);
        is_in_the_bucket(&story, &here, &front, &format!("{name}, edited by others"));
    }
}

#[test]
fn names_that_need_escapes_are_imported_from_every_server() {
    for server in servers().into_iter().filter(|server| server.kind != Kind::S3sFs) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let names = names(&server);
        for name in &names {
            story.object(&spelt(name), *name);
        }
        let here = story.directory("here");
        here.pull().exits(0);
        let held = files(&on_disk(&here.path));
        let expected = names.iter().map(|name| (spelt(name), name.to_vec())).collect();
        assert_eq!(held, expected, "{}", server.name());
        here.commit().exits(0);
        here.checkpoint().exits(0);
        is_in_the_bucket(&story, &here, &front, server.name());
    }
}

/// What was read is said in one line, whatever the names are.
#[test]
fn a_receipt_names_what_it_did_not_store_by_its_spelling() {
    let server = Server::in_memory();
    let story = Story::on(&server);
    let Some(here) = story.directory("here").without_rights() else { return };
    here.pull().exits(0);
    here.file("a.txt", "0").checkpoint().exits(0);
    for name in NAMES.iter().chain(CONTROLS) {
        put(&here, name, b"cannot be read");
        let path = here.path.join(OsStr::from_bytes(name));
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let ended = here.stopover(&["commit", "--json"]);
    assert_eq!(ended.code(), 3, "{}{}", ended.stdout, ended.stderr);
    let receipt = ended.json();
    let named: Vec<&str> =
        receipt["not_stored"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    let mut expected: Vec<String> = NAMES.iter().chain(CONTROLS).map(|name| spelt(name)).collect();
    let mut found: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    // Line breaks and bells of names are no part of a log.
    let control = |character: char| character.is_control() && character != '\n';
    assert!(!ended.stderr.contains(control), "{:?}", ended.stderr);
}
