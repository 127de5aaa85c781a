//! One contract, on every server: s3s-fs in this process; moto, MinIO, versitygw and rclone where they are installed. What one of
//! them does not do is in `abilities::TABLE`, is measured here, and stands in docs/servers.md, which this test writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "servers/life.rs"]
mod life;
#[path = "servers/measure.rs"]
mod measure;
#[path = "servers/page.rs"]
mod page;
#[path = "servers/strays.rs"]
mod strays;
mod support;
#[path = "servers/warnings.rs"]
mod warnings;

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use stopover::{
    rows::ETag,
    store::{
        Abilities, Deleted, Fetched, GetIf, Got, Opened, Put, PutIf, Sink, Source, Store, StoreErrorKind, plain_etag,
    },
};
use support::{outsider::Outsider, servers::Server, wait};

const PREFIX: &str = "users/alice/ws";

/// A store in a new bucket, with the abilities that the probe finds, and somebody else who sees the whole bucket.
fn store_on(server: &Server) -> (Store, Outsider) {
    let outsider = server.bucket();
    let store = wait(Store::connect(&server.access(), &outsider.bucket, PREFIX)).unwrap();
    let able = wait(store.probe()).unwrap();
    (store.with_abilities(able), outsider)
}

fn put(store: &Store, key: &str, text: &str, condition: PutIf<'_>) -> Put {
    wait(store.put(key, Bytes::copy_from_slice(text.as_bytes()), condition, None)).unwrap()
}

/// Empty objects of these keys; each wait is for a few of them, for they are many.
fn put_empty(store: &Store, keys: &[String]) {
    for some in keys.chunks(32) {
        let puts = some.iter().map(|key| store.put(key, Bytes::new(), PutIf::Any, None));
        for put in wait(futures_util::future::join_all(puts)) {
            done(put.unwrap());
        }
    }
}

fn done(put: Put) -> ETag {
    match put {
        Put::Done(etag) => etag,
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn what_is_put_is_read_back_with_type_and_length() {
    for server in Server::each_with(&[]) {
        let (store, outsider) = store_on(&server);
        let etag = wait(store.put("a/ä b+%41.txt", Bytes::from_static(b"hello"), PutIf::Absent, Some("text/plain")));
        let etag = done(etag.unwrap());
        let Got::Found(object) = wait(store.get("a/ä b+%41.txt", GetIf::Always)).unwrap() else { panic!("absent") };
        assert_eq!((&object.bytes[..], object.meta.size, &object.meta.etag), (&b"hello"[..], 5, &etag));
        assert_eq!(object.meta.content_type.as_deref(), Some("text/plain"));
        assert!(object.meta.date.is_some());
        let head = wait(store.head("a/ä b+%41.txt")).unwrap().unwrap();
        assert_eq!((head.size, &head.etag), (5, &etag));
        assert_eq!(outsider.get("users/alice/ws/a/ä b+%41.txt").unwrap().bytes, b"hello");
        assert_eq!(etag, plain_etag(b"hello"), "on {}", server.name());
    }
}

#[test]
fn absent_is_said_and_is_no_error() {
    for server in Server::each_with(&[]) {
        let (store, _) = store_on(&server);
        assert_eq!(wait(store.get("none", GetIf::Always)).unwrap(), Got::Absent);
        assert_eq!(wait(store.head("none")).unwrap(), None);
        assert!(matches!(wait(store.open("none", None, None)).unwrap(), Opened::Absent));
        let none = wait(store.fetch("none", &ETag::new("\"x\""), 3, Arc::new(Gathered::default()))).unwrap();
        assert_eq!(none, Fetched::Absent);
    }
}

#[test]
fn a_get_keeps_its_condition() {
    for server in Server::each_with(&[]) {
        let (store, _) = store_on(&server);
        let old = done(put(&store, "k", "1", PutIf::Absent));
        assert_eq!(wait(store.get("k", GetIf::NoneMatch(&old))).unwrap(), Got::NotModified);
        let new = done(put(&store, "k", "2", PutIf::Match(&old)));
        assert_eq!(wait(store.get("k", GetIf::Match(&old))).unwrap(), Got::Moved);
        assert!(matches!(wait(store.get("k", GetIf::NoneMatch(&old))).unwrap(), Got::Found(_)));
        assert!(matches!(wait(store.get("k", GetIf::Match(&new))).unwrap(), Got::Found(_)));
        assert!(matches!(wait(store.open("k", Some(0..1), Some(&old))).unwrap(), Opened::Moved));
    }
}

#[test]
fn puts_keep_their_condition() {
    for server in Server::each_with(&["conditional-put"]) {
        let (store, outsider) = store_on(&server);
        let first = done(put(&store, "k", "1", PutIf::Absent));
        assert!(matches!(put(&store, "k", "2", PutIf::Absent), Put::Refused));
        let second = done(put(&store, "k", "3", PutIf::Match(&first)));
        assert!(matches!(put(&store, "k", "4", PutIf::Match(&first)), Put::Refused));
        assert!(matches!(put(&store, "gone", "5", PutIf::Match(&second)), Put::Missing | Put::Refused));
        assert_eq!(outsider.get("users/alice/ws/k").unwrap().bytes, b"3");
        assert_eq!(outsider.get("users/alice/ws/gone"), None);
    }
}

#[test]
fn puts_keep_their_condition_where_the_server_has_none() {
    for server in Server::each_with(&[]) {
        let (store, outsider) = store_on(&server);
        // As if the probe had found nothing at all, for Garage and the like.
        let store = store.with_abilities(Abilities::default());
        let first = done(put(&store, "k", "1", PutIf::Absent));
        assert!(matches!(put(&store, "k", "2", PutIf::Absent), Put::Refused));
        let second = done(put(&store, "k", "3", PutIf::Match(&first)));
        assert!(matches!(put(&store, "k", "4", PutIf::Match(&first)), Put::Refused));
        assert!(matches!(put(&store, "gone", "5", PutIf::Match(&second)), Put::Missing));
        assert_eq!(outsider.get("users/alice/ws/k").unwrap().bytes, b"3");
        assert!(matches!(wait(store.delete("k", Some(&first))).unwrap(), Deleted::Refused));
        assert!(matches!(wait(store.delete("k", Some(&second))).unwrap(), Deleted::Done));
        assert_eq!(outsider.get("users/alice/ws/k"), None);
    }
}

#[test]
fn a_delete_takes_only_the_version_it_names() {
    for server in Server::each_with(&[]) {
        let (store, outsider) = store_on(&server);
        let old = done(put(&store, "k", "1", PutIf::Absent));
        let new = done(put(&store, "k", "2", PutIf::Match(&old)));
        assert!(matches!(wait(store.delete("k", Some(&old))).unwrap(), Deleted::Refused));
        assert!(outsider.get("users/alice/ws/k").is_some());
        assert!(matches!(wait(store.delete("k", Some(&new))).unwrap(), Deleted::Done));
        assert_eq!(outsider.get("users/alice/ws/k"), None);
        let again = wait(store.delete("k", Some(&new))).unwrap();
        assert!(!matches!(again, Deleted::Denied(_)), "{again:?} on {}", server.name());
    }
}

#[test]
fn large_files_travel_in_parts_and_come_back_whole() {
    for server in Server::each_with(&[]) {
        let (store, outsider) = store_on(&server);
        let bytes = pattern(20 * 1024 * 1024 + 17);
        let condition = PutIf::Absent;
        let source = Pattern::of(&bytes);
        let size = bytes.len() as u64;
        let etag = done(wait(store.put_file("big.bin", source, size, condition, Some("x/y"))).unwrap());
        let seen = outsider.get("users/alice/ws/big.bin").unwrap();
        assert!(seen.bytes == bytes, "on {}", server.name());
        assert_eq!((seen.etag.as_str(), seen.content_type.as_deref()), (etag.as_str(), Some("x/y")));

        let gathered = Arc::new(Gathered::default());
        let fetched = wait(store.fetch("big.bin", &etag, size, gathered.clone())).unwrap();
        assert!(matches!(fetched, Fetched::Done(_)));
        assert!(gathered.bytes() == bytes, "on {}", server.name());
        let moved = wait(store.fetch("big.bin", &ETag::new("\"other\""), size, gathered)).unwrap();
        assert_eq!(moved, Fetched::Moved, "on {}", server.name());

        let Opened::Found(mut reader) = wait(store.open("big.bin", Some(5..1_000_005), Some(&etag))).unwrap() else {
            panic!("not found");
        };
        let mut part = Vec::new();
        while let Some(chunk) = wait(reader.next_chunk()).unwrap() {
            part.extend_from_slice(&chunk);
        }
        assert!(part == bytes[5..1_000_005]);
        assert_eq!(reader.meta().size, size);
    }
}

#[test]
fn the_end_of_an_upload_in_parts_keeps_its_condition() {
    for server in Server::each_with(&[]) {
        let (store, outsider) = store_on(&server);
        let bytes = pattern(9 * 1024 * 1024);
        let size = bytes.len() as u64;
        let (first, other) = (done(put(&store, "k", "small", PutIf::Absent)), ETag::new("\"other\""));
        let file = |condition| wait(store.put_file("k", Pattern::of(&bytes), size, condition, None)).unwrap();
        assert!(matches!(file(PutIf::Absent), Put::Refused), "on {}", server.name());
        assert!(matches!(file(PutIf::Match(&other)), Put::Refused), "on {}", server.name());
        assert_eq!(outsider.get("users/alice/ws/k").unwrap().bytes, b"small");
        let second = done(file(PutIf::Match(&first)));
        assert_ne!(first, second);
        let parts = outsider.client.list_multipart_uploads().bucket(&outsider.bucket);
        // s3s-fs cannot list uploads.
        if let Ok(left) = wait(parts.send()) {
            assert_eq!(left.uploads().len(), 0, "parts stay behind on {}", server.name());
        }
    }
}

#[test]
fn bytes_that_are_not_those_that_were_meant_never_become_visible() {
    let server = Server::here();
    let (store, outsider) = store_on(&server);
    for size in [10, 9 * 1024 * 1024] {
        let bytes = pattern(size);
        let source = Pattern { fails_at_the_end: true, ..Pattern::of(&bytes) };
        let error = wait(store.put_file("k", source, size as u64, PutIf::Absent, None)).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Source);
        assert_eq!(outsider.get("users/alice/ws/k"), None);
    }
    // A file that became shorter while it was read.
    let error = wait(store.put_file("k", Pattern::of(&pattern(10)), 11, PutIf::Absent, None)).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Source);
}

#[test]
fn a_listing_has_every_key_and_no_other() {
    for server in Server::each_with(&[]) {
        let (store, outsider) = store_on(&server);
        let mut keys: Vec<String> = (0..1203).map(|number| format!("d/{number:04} ä+%41")).collect();
        keys.extend([" first", "%2e", "-a", ".gitignore", ".stopover0", "z"].map(str::to_owned));
        put_empty(&store, &keys);
        put_empty(&store, &[0, 1, 2].map(|number| format!(".stopover/trees/{number}")));
        outsider.put("users/alice/ws-2/other", "");
        outsider.put("users/alice/wsx", "");
        let listed = |lister: stopover::store::Lister| {
            let mut keys: Vec<String> = wait(lister.all()).unwrap().into_iter().map(|listed| listed.key).collect();
            keys.sort();
            keys
        };
        keys.sort();
        assert_eq!(listed(store.list_live()), keys, "on {}", server.name());
        assert_eq!(listed(store.list(".stopover/trees/")).len(), 3);
        assert_eq!(listed(store.list("")).len(), keys.len() + 3);
        let above = wait(Store::connect(&server.access(), &outsider.bucket, "users/alice")).unwrap();
        let names = wait(above.list_prefixes()).unwrap();
        assert_eq!(names, ["ws", "ws-2"], "on {}", server.name());
    }
}

#[test]
fn a_listing_passes_over_hundreds_of_own_objects() {
    for server in Server::each_with(&["start-after"]) {
        let (store, _) = store_on(&server);
        let own = (0..1100).map(|number| format!(".stopover/trees/{number:05}"));
        let keys: Vec<String> = own.chain(["+", "a", ".a", ".stopover-not", ".t"].map(str::to_owned)).collect();
        put_empty(&store, &keys);
        let before = store.counters().requests;
        let mut keys: Vec<_> = wait(store.list_live().all()).unwrap().into_iter().map(|listed| listed.key).collect();
        keys.sort();
        assert_eq!(keys, ["+", ".a", ".stopover-not", ".t", "a"], "on {}", server.name());
        // Where a listing has no ETags, each of the five keys costs a request more.
        let more = if server.has("list-etags") { 0 } else { 5 };
        assert_eq!(store.counters().requests - before, 2 + more, "on {}", server.name());
    }
}

#[test]
fn what_is_sent_and_received_is_counted() {
    // It runs as long as it is held.
    let server = Server::here();
    let (store, _) = store_on(&server);
    let before = store.counters();
    put(&store, "k", "12345", PutIf::Any);
    assert!(matches!(wait(store.get("k", GetIf::Always)).unwrap(), Got::Found(_)));
    let after = store.counters();
    assert_eq!(after.requests - before.requests, 2);
    assert_eq!(after.bytes_sent - before.bytes_sent, 5);
    assert_eq!(after.bytes_received - before.bytes_received, 5);
}

#[test]
fn the_probe_leaves_nothing_behind() {
    for server in Server::each_with(&[]) {
        let (_, outsider) = store_on(&server);
        assert_eq!(outsider.keys(""), Vec::<String>::new(), "on {}", server.name());
    }
}

/// The bytes of a file that could be any.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 65_536) as u8).collect()
}

/// A source of given bytes.
struct Pattern {
    bytes: Bytes,
    fails_at_the_end: bool,
}

impl Pattern {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: Bytes::copy_from_slice(bytes), fails_at_the_end: false }
    }
}

impl Source for Pattern {
    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        let length = length.min(self.bytes.len());
        Ok(self.bytes.split_to(length))
    }

    fn seal(&mut self) -> io::Result<()> {
        if self.fails_at_the_end { Err(io::Error::other("the file has changed")) } else { Ok(()) }
    }
}

/// A sink that puts the parts where they belong.
#[derive(Default)]
struct Gathered(Mutex<Vec<u8>>);

impl Gathered {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Sink for Gathered {
    fn write_at(&self, offset: u64, part: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let (start, end) = (offset as usize, offset as usize + part.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(part);
        Ok(())
    }
}
