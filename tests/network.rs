//! What the store makes of a bad network and of a server that says no: nothing is lost, nothing is taken for what it is
//! not, and the user reads what happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use stopover::{
    rows::ETag,
    store::{Abilities, Deleted, Fetched, GetIf, Got, Opened, Put, PutIf, Sink, Source, Store, StoreErrorKind},
};
use support::{
    PREFIX, behind_a_front,
    front::{Class, Fault, Front, any},
    servers::{Server, access},
    wait,
};

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn done(put: Put) -> ETag {
    match put {
        Put::Done(etag) => etag,
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let (front, store, outsider, _server) = behind_a_front();
    front.on(any().times(3), Fault::SLOW_DOWN);
    done(wait(store.put("k", text("1"), PutIf::Any, None)).unwrap());
    assert_eq!(front.seen().len(), 4);
    front.heal();
    front.on(any().op("GetObject").once(), Fault::Refuse { status: 500, code: "InternalError" });
    front.on(any().op("GetObject").once(), Fault::DropBefore);
    assert!(matches!(wait(store.get("k", GetIf::Always)).unwrap(), Got::Found(_)));
    assert_eq!(outsider.get("users/alice/ws/k").unwrap().bytes, b"1");
    assert_eq!(store.counters().requests, 7, "every attempt counts");
}

#[test]
fn a_conditional_put_whose_reply_is_lost_is_uncertain_and_not_repeated() {
    for fault in [Fault::DropReply, Fault::RefuseAfter { status: 500, code: "InternalError" }, Fault::DropBefore] {
        let (front, store, _outsider, _server) = behind_a_front();
        front.on(any().op("PutObject"), fault);
        let put = wait(store.put("head", text("1"), PutIf::Absent, None)).unwrap();
        assert!(matches!(put, Put::Uncertain(_)), "{put:?}");
        assert_eq!(front.count(&any().op("PutObject")), 1);
    }
}

#[test]
fn a_conditional_put_that_was_surely_not_carried_out_is_repeated() {
    let (front, store, outsider, _server) = behind_a_front();
    front.on(any().op("PutObject").times(2), Fault::SLOW_DOWN);
    done(wait(store.put("head", text("1"), PutIf::Absent, None)).unwrap());
    assert_eq!(outsider.get("users/alice/ws/head").unwrap().bytes, b"1");
}

#[test]
fn a_conflict_after_a_doubtful_slow_down_is_uncertain() {
    let (front, store, _outsider, _server) = behind_a_front();
    // A balancer that says "slow down" although the server behind it has written.
    front.on(any().op("PutObject").once(), Fault::RefuseAfter { status: 503, code: "SlowDown" });
    let put = wait(store.put("head", text("1"), PutIf::Absent, None)).unwrap();
    assert!(matches!(put, Put::Uncertain(_)), "{put:?}");
}

#[test]
fn conflicts_and_lost_objects_are_told_apart() {
    let (front, store, _outsider, _server) = behind_a_front();
    let etag = ETag::new("\"x\"");
    let put = |condition| wait(store.put("k", text("1"), condition, None));
    front.on(any().once(), Fault::Refuse { status: 409, code: "ConditionalRequestConflict" });
    assert!(matches!(put(PutIf::Match(&etag)).unwrap(), Put::Refused));
    front.on(any().once(), Fault::Refuse { status: 412, code: "PreconditionFailed" });
    assert!(matches!(put(PutIf::Match(&etag)).unwrap(), Put::Refused));
    front.on(any().once(), Fault::Refuse { status: 404, code: "NoSuchKey" });
    assert!(matches!(put(PutIf::Match(&etag)).unwrap(), Put::Missing));
    front.on(any().once(), Fault::Refuse { status: 404, code: "NoSuchBucket" });
    assert_eq!(put(PutIf::Match(&etag)).unwrap_err().kind, StoreErrorKind::NoBucket);
}

#[test]
fn a_body_that_breaks_off_is_taken_up_where_it_broke() {
    let (front, store, outsider, _server) = behind_a_front();
    let bytes = pattern(3 * 1024 * 1024);
    outsider.put("users/alice/ws/k", bytes.clone());
    front.on(any().op("GetObject").times(2), Fault::Cut(1_000_000));
    let Opened::Found(mut reader) = wait(store.open("k", None, None)).unwrap() else { panic!("absent") };
    let mut read = Vec::new();
    while let Some(chunk) = wait(reader.next_chunk()).unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert!(read == bytes);
    assert_eq!(front.count(&any().op("GetObject")), 3);
}

#[test]
fn a_stream_never_goes_on_with_another_version() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/k", pattern(3 * 1024 * 1024));
    front.on(any().op("GetObject").once(), Fault::Cut(1_000_000));
    let Opened::Found(mut reader) = wait(store.open("k", None, None)).unwrap() else { panic!("absent") };
    outsider.put("users/alice/ws/k", vec![7; 3 * 1024 * 1024]);
    let error = loop {
        match wait(reader.next_chunk()) {
            Ok(Some(chunk)) => assert!(!chunk.contains(&255) || chunk[0] != 7),
            Ok(None) => panic!("half of it is another version"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, StoreErrorKind::Moved);
}

#[test]
fn short_answers_are_fetched_again() {
    let (front, store, outsider, _server) = behind_a_front();
    let bytes = pattern(20 * 1024 * 1024);
    let etag = ETag::new(outsider.put("users/alice/ws/k", bytes.clone()));
    front.on(any().op("GetObject").times(2), Fault::Cut(5_000));
    front.on(any().op("GetObject").times(1), Fault::SLOW_DOWN);
    let gathered = Arc::new(Gathered::default());
    let fetched = wait(store.fetch("k", &etag, bytes.len() as u64, gathered.clone())).unwrap();
    assert!(matches!(fetched, Fetched::Done(_)));
    assert!(gathered.0.lock().unwrap()[..] == bytes);
}

#[test]
fn a_listing_that_lies_about_a_size_is_found_out_at_once() {
    let (front, store, outsider, _server) = behind_a_front();
    let etag = ETag::new(outsider.put("users/alice/ws/k", "more than five"));
    let error = wait(store.fetch("k", &etag, 5, Arc::new(Gathered::default()))).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::BrokenAnswer);
    assert_eq!(front.seen().len(), 1);
}

#[test]
fn a_flipped_bit_is_seen_where_a_checksum_is_offered() {
    for server in Server::all_with(&["checksums"]) {
        let outsider = server.bucket();
        let front = Front::before(&server.endpoint);
        let store = wait(Store::connect(&access(&front.endpoint), &outsider.bucket, PREFIX)).unwrap();
        outsider.put_with_checksum("users/alice/ws/k", "hello", "NhCmhg==");
        front.on(any().op("GetObject").once(), Fault::Flip(2));
        let Got::Found(object) = wait(store.get("k", GetIf::Always)).unwrap() else { panic!("absent") };
        assert_eq!(&object.bytes[..], b"hello", "on {}", server.name());
        assert_eq!(front.seen().len(), 2, "on {}", server.name());
        front.on(any().op("GetObject").once(), Fault::Flip(2));
        let Opened::Found(mut reader) = wait(store.open("k", None, None)).unwrap() else { panic!("absent") };
        let end = loop {
            match wait(reader.next_chunk()) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a wrong byte came through on {}", server.name()),
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind, StoreErrorKind::BrokenAnswer);
    }
}

#[test]
fn a_dry_run_sends_no_write() {
    let (front, store, _outsider, _server) = behind_a_front();
    let store = store.dry_run();
    done(wait(store.put("a", text("1"), PutIf::Absent, None)).unwrap());
    done(wait(store.put_file("b", Whole(text("1")), 1, PutIf::Absent, None)).unwrap());
    assert!(matches!(wait(store.delete("a", None)).unwrap(), Deleted::Done));
    wait(store.probe()).unwrap();
    assert_eq!(front.seen(), []);
}

#[test]
fn an_upload_in_parts_survives_a_busy_server() {
    let (front, store, outsider, _server) = behind_a_front();
    let bytes = pattern(40 * 1024 * 1024);
    front.on(any().op("UploadPart").after(1).times(2), Fault::SLOW_DOWN);
    front.on(any().op("UploadPart").after(2).times(1), Fault::DropReply);
    let size = bytes.len() as u64;
    done(wait(store.put_file("k", Whole(bytes.clone().into()), size, PutIf::Absent, None)).unwrap());
    assert!(outsider.get("users/alice/ws/k").unwrap().bytes == bytes);
}

#[test]
fn an_upload_that_fails_is_aborted() {
    let (front, store, outsider, _server) = behind_a_front();
    let bytes = pattern(20 * 1024 * 1024);
    front.on(any().op("UploadPart").after(1), Fault::DENIED);
    let error =
        wait(store.put_file("k", Whole(bytes.clone().into()), bytes.len() as u64, PutIf::Absent, None)).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert_eq!(front.count(&any().op("AbortMultipartUpload")), 1);
    assert_eq!(front.count(&any().op("CompleteMultipartUpload")), 0);
    assert_eq!(outsider.get("users/alice/ws/k"), None);
}

#[test]
fn an_upload_that_is_cancelled_is_aborted() {
    let (front, store, outsider, _server) = behind_a_front();
    let bytes = pattern(20 * 1024 * 1024);
    let held = front.hold(any().op("UploadPart").after(1));
    let upload = support::beside({
        let store = store.clone();
        async move {
            let size = bytes.len() as u64;
            store.put_file("k", Whole(bytes.into()), size, PutIf::Absent, None).await
        }
    });
    held.reached();
    upload.abort();
    assert!(wait(upload).unwrap_err().is_cancelled());
    wait(store.settle(Duration::from_secs(10)));
    assert_eq!(front.count(&any().op("AbortMultipartUpload")), 1);
    held.release();
    assert_eq!(outsider.get("users/alice/ws/k"), None);
}

#[test]
fn a_complete_whose_reply_is_lost_is_uncertain() {
    let (front, store, outsider, _server) = behind_a_front();
    let bytes = pattern(9 * 1024 * 1024);
    front.on(any().op("CompleteMultipartUpload"), Fault::DropReply);
    let size = bytes.len() as u64;
    let put = wait(store.put_file("k", Whole(bytes.clone().into()), size, PutIf::Absent, None)).unwrap();
    assert!(matches!(put, Put::Uncertain(_)), "{put:?}");
    assert!(outsider.get("users/alice/ws/k").unwrap().bytes == bytes, "and the caller reads it back");
}

#[test]
fn keys_that_a_listing_invents_come_through_as_they_are() {
    let (front, store, outsider, _server) = behind_a_front();
    let store = store.with_abilities(Abilities::AWS);
    outsider.put("users/alice/ws/a", "1");
    front.on(any().op("ListObjectsV2"), Fault::list_also(&["users/alice/ws/../../etc/passwd", "users/alice/ws/a\nb"]));
    let mut keys: Vec<_> = wait(store.list_live().all()).unwrap().into_iter().map(|listed| listed.key).collect();
    keys.sort();
    assert_eq!(keys, ["../../etc/passwd", "a", "a\nb"], "whoever uses them refuses them by name");
    front.heal();
    front.on(any().op("ListObjectsV2"), Fault::list_also(&["users/bob/ws/secret"]));
    let error = wait(store.list_live().all()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::BrokenAnswer, "a key outside the prefix is no answer to what was asked");
}

#[test]
fn a_listing_that_breaks_is_no_listing() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/a", "1");
    front.on(any().op("ListObjectsV2").times(2), Fault::Cut(200));
    assert_eq!(wait(store.list_live().all()).unwrap().len(), 1);
    assert_eq!(front.count(&any().op("ListObjectsV2")), 3);
}

#[test]
fn a_listing_that_goes_round_in_circles_ends() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/a", "1");
    // One token for ever, and two by turns.
    for tokens in [&["same"][..], &["one", "other"]] {
        let turn = AtomicUsize::new(0);
        let more = move |text: &str| {
            let token = tokens[turn.fetch_add(1, Ordering::Relaxed) % tokens.len()];
            let text = text.replace("<IsTruncated>false</IsTruncated>", "");
            let more = format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>");
            text.replacen("</ListBucketResult>", &format!("{more}</ListBucketResult>"), 1)
        };
        // It breaks off in the end, so that this ends whatever the client does.
        front.on(any().op("ListObjectsV2").times(20), Fault::Rewrite(Arc::new(more)));
        front.on(any().op("ListObjectsV2"), Fault::DENIED);
        for list in [wait(store.list_live().all()).map(drop), wait(store.list_prefixes()).map(drop)] {
            let error = list.unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::BrokenAnswer, "{error}");
            assert!(error.to_string().contains("the same place again"), "{error}");
        }
        front.heal();
    }
}

#[test]
fn a_lifecycle_rule_is_noticed() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/a", "1");
    assert_eq!(store.expiration(), None);
    front
        .on(any(), Fault::Header("x-amz-expiration", "expiry-date=\"Fri, 23 Dec 2026 00:00:00 GMT\", rule-id=\"tmp\""));
    assert!(wait(store.head("a")).unwrap().is_some());
    assert!(store.expiration().unwrap().contains("rule-id=\"tmp\""));
}

#[test]
fn no_call_leaves_the_prefix() {
    let (front, store, _outsider, _server) = behind_a_front();
    let able = wait(store.probe()).unwrap();
    let store = store.with_abilities(able);
    done(wait(store.put("a", text("1"), PutIf::Absent, None)).unwrap());
    wait(store.list_live().all()).unwrap();
    wait(store.list_prefixes()).unwrap();
    for request in front.seen() {
        assert_ne!(request.op, "bucket", "{request:?}");
        assert!(request.class == Class::None || request.key.starts_with("users/alice/ws/"), "{request:?}");
    }
}

/// The bytes of a file that could be any.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 65_536) as u8).collect()
}

/// A source of given bytes.
struct Whole(Bytes);

impl Source for Whole {
    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        Ok(self.0.split_to(length))
    }
}

/// A sink that puts the parts where they belong.
#[derive(Default)]
struct Gathered(Mutex<Vec<u8>>);

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
