//! What the store makes of a bad network and of a server that says no: nothing is lost, nothing is taken for what it is
//! not, and the user reads what happened.

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use stopover::{
    rows::ETag,
    store::{Abilities, Deleted, Fetched, GetIf, Got, Opened, Put, PutIf, Sink, Source, Store, StoreErrorKind},
};
use support::{
    front::{Class, Fault, Front, any},
    outsider::Outsider,
    servers::{Kind, Server, access},
    wait,
};

const PREFIX: &str = "users/alice/ws";

/// A store behind a front, on a server in this process.
fn behind_a_front() -> (Front, Store, Outsider, Arc<Server>) {
    let server = Server::here();
    let outsider = server.bucket();
    let front = Front::before(&server.endpoint);
    let store = wait(Store::connect(&access(&front.endpoint), &outsider.bucket, PREFIX)).unwrap();
    let honest = Abilities { delete: false, url_encoding: false, ..Abilities::AWS };
    (front, store.with_abilities(honest), outsider, server)
}

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
fn a_refusal_is_never_absence() {
    let (front, store, _outsider, _server) = behind_a_front();
    front.on(any(), Fault::DENIED);
    let got = wait(store.get("k", GetIf::Always)).unwrap_err();
    assert_eq!(got.kind, StoreErrorKind::Denied);
    assert_eq!(wait(store.head("k")).unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(wait(store.open("k", None, None)).unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(front.seen().len(), 3, "a refusal is final");
    assert!(matches!(wait(store.delete("k", None)).unwrap(), Deleted::Denied(_)));
}

#[test]
fn a_missing_right_is_named() {
    let (front, store, outsider, _server) = behind_a_front();
    front.on(any(), Fault::DENIED);
    let bucket = &outsider.bucket;
    let list = wait(store.list_live().all()).unwrap_err().to_string();
    assert_eq!(
        list,
        format!(
            "bucket \"{bucket}\" refused ListObjectsV2 (AccessDenied): the role needs s3:ListBucket on prefix \"users/alice/ws/\""
        )
    );
    let put = wait(store.put("a", text("1"), PutIf::Any, None)).unwrap_err().to_string();
    assert_eq!(
        put,
        format!(
            "bucket \"{bucket}\" refused PutObject of \"users/alice/ws/a\" (AccessDenied): the role needs s3:PutObject on \"users/alice/ws/*\""
        )
    );
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
fn a_clock_that_is_wrong_is_corrected_once_and_then_named() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/a", "1");
    front.on(any().once(), Fault::Refuse { status: 403, code: "RequestTimeTooSkewed" });
    assert!(matches!(wait(store.get("a", GetIf::Always)).unwrap(), Got::Found(_)));
    front.on(any(), Fault::Refuse { status: 403, code: "RequestTimeTooSkewed" });
    assert_eq!(wait(store.get("a", GetIf::Always)).unwrap_err().kind, StoreErrorKind::ClockSkew);
}

#[test]
fn a_name_that_is_too_long_is_refused_by_name() {
    for server in Server::all_with(&["name-limit"]) {
        let bucket = server.bucket().bucket;
        let store = wait(Store::connect(&server.access(), &bucket, PREFIX)).unwrap();
        let long = vec!["n".repeat(200); 6].join("/");
        let error = wait(store.put(&long, text("1"), PutIf::Absent, None)).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NameRefused, "{error} on {}", server.name());
    }
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

/// This test program again, for one test that needs another environment.
fn in_another_environment(test: &str, settings: &[(&str, &str)]) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env_clear()
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn without_credentials_each_place_is_named_with_its_reason() {
    in_another_environment(
        "inner_without_credentials",
        &[("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nonexistent"), ("AWS_PROFILE", "staging")],
    );
}

#[test]
#[ignore = "run by without_credentials_each_place_is_named_with_its_reason"]
fn inner_without_credentials() {
    let mut access = access("http://127.0.0.1:9");
    access.credentials = None;
    let store = wait(Store::connect(&access, "bucket", PREFIX)).unwrap();
    let error = wait(store.get("k", GetIf::Always)).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Credentials);
    let text = error.to_string();
    for place in ["environment (", "profile \"staging\" (", "web identity (", "ECS (", "IMDS ("] {
        assert!(text.contains(place), "{text}");
    }
    assert!(text.starts_with("no AWS credentials: tried environment ("), "{text}");
}

#[test]
fn credentials_come_from_the_environment_where_none_are_given() {
    let server = Server::here();
    let outsider = server.bucket();
    outsider.put("users/alice/ws/a", "1");
    in_another_environment(
        "inner_credentials_from_the_environment",
        &[
            ("AWS_ACCESS_KEY_ID", support::servers::ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", support::servers::SECRET_KEY),
            ("TEST_ENDPOINT", &server.endpoint),
            ("TEST_BUCKET", &outsider.bucket),
        ],
    );
}

#[test]
#[ignore = "run by credentials_come_from_the_environment_where_none_are_given"]
fn inner_credentials_from_the_environment() {
    let mut access = access(&std::env::var("TEST_ENDPOINT").unwrap());
    access.credentials = None;
    let store = wait(Store::connect(&access, &std::env::var("TEST_BUCKET").unwrap(), PREFIX)).unwrap();
    assert!(matches!(wait(store.get("a", GetIf::Always)).unwrap(), Got::Found(_)));
}

#[test]
fn a_server_with_a_private_authority_is_trusted_by_name_and_refused_without() {
    let Some(minio) = support::servers::installed("bin/minio") else {
        return println!("skipped: minio absent, get it with tests/support/get-servers.sh minio");
    };
    let folder = tempfile::TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=minio".split(' '))
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &at("private.key"), "-out", &at("public.crt")])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return println!("skipped: openssl absent, get it with apt-get install openssl");
    }
    let server = support::servers::child::minio_with_tls(&minio, folder.path());
    let endpoint = ("TEST_ENDPOINT", server.endpoint());
    let trusting = [("SSL_CERT_FILE", at("public.crt")), endpoint.clone()];
    let mistrusting =
        [("SSL_CERT_FILE", "/nonexistent".to_owned()), ("SSL_CERT_DIR", "/nonexistent".to_owned()), endpoint];
    let words = |settings: &[(&'static str, String)], test: &str| {
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        in_another_environment(test, &settings);
    };
    words(&trusting, "inner_a_private_authority_is_trusted");
    words(&mistrusting, "inner_the_embedded_authorities_do_not_vouch");
}

#[test]
#[ignore = "run by a_server_with_a_private_authority_is_trusted_by_name_and_refused_without"]
fn inner_a_private_authority_is_trusted() {
    let endpoint = std::env::var("TEST_ENDPOINT").unwrap();
    let store = wait(Store::connect(&access(&endpoint), "no-such-bucket", PREFIX)).unwrap();
    // The server is there, and speaks.
    let error = wait(store.list_live().all()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoBucket, "{error}");
}

#[test]
#[ignore = "run by a_server_with_a_private_authority_is_trusted_by_name_and_refused_without"]
fn inner_the_embedded_authorities_do_not_vouch() {
    let endpoint = std::env::var("TEST_ENDPOINT").unwrap();
    let store = wait(Store::connect(&access(&endpoint), "no-such-bucket", PREFIX)).unwrap();
    let error = wait(store.list_live().all()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
    assert_eq!(store.counters().requests, 1, "trying again would not help");
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
fn a_bucket_that_does_not_exist_is_named() {
    for server in Server::all_with(&[]) {
        let store = wait(Store::connect(&server.access(), "no-such-bucket", PREFIX)).unwrap();
        let mut errors = vec![wait(store.list_live().all()).unwrap_err()];
        // s3s-fs says only that there is no such key, and a put makes the bucket.
        if server.kind != Kind::S3sFs {
            errors.push(wait(store.get("k", GetIf::Always)).unwrap_err());
            errors.push(wait(store.put("k", text("1"), PutIf::Absent, None)).unwrap_err());
        }
        for error in errors {
            assert_eq!(error.kind, StoreErrorKind::NoBucket, "{error} on {}", server.name());
            assert!(error.to_string().starts_with("bucket \"no-such-bucket\" does not exist at http://"), "{error}");
        }
    }
}

#[test]
fn bad_credentials_are_said_without_the_secret() {
    for server in Server::all_with(&["rights"]) {
        let bucket = server.bucket().bucket;
        for (key, secret) in [("stopover", "wrong-secret"), ("nobody", "stopover-secret")] {
            let mut access = server.access();
            let keys = access.credentials.as_mut().unwrap();
            (keys.access_key, keys.secret_key) = (key.to_owned(), secret.to_owned());
            let store = wait(Store::connect(&access, &bucket, PREFIX)).unwrap();
            let error = wait(store.list_live().all()).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Credentials, "{error} on {}", server.name());
            assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret));
        }
    }
}

#[test]
fn an_unreachable_endpoint_is_named_with_its_reason() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let store = wait(Store::connect(&access(&endpoint), "bucket", PREFIX)).unwrap();
    let error = wait(store.get("k", GetIf::Always)).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable);
    assert_eq!(
        error.to_string(),
        format!("cannot reach {endpoint} (connection refused): check S3_ENDPOINT, and that the server runs")
    );
}

#[test]
fn a_wrong_region_is_followed_once() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/a", "1");
    front.on(any().once(), Fault::RefuseWith { status: 400, body: MALFORMED });
    let Got::Found(_) = wait(store.get("a", GetIf::Always)).unwrap() else { panic!("absent") };
    assert_eq!(store.moved_region().as_deref(), Some("eu-west-1"));
    front.on(any(), Fault::RefuseWith { status: 400, body: MALFORMED });
    let error = wait(store.get("a", GetIf::Always)).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::WrongRegion);
}

const MALFORMED: &str = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message>\
                         <Region>eu-west-1</Region></Error>";

#[test]
fn expired_credentials_are_asked_for_anew_once() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/a", "1");
    front.on(any().once(), Fault::Refuse { status: 400, code: "ExpiredToken" });
    assert!(matches!(wait(store.get("a", GetIf::Always)).unwrap(), Got::Found(_)));
    front.on(any(), Fault::Refuse { status: 400, code: "ExpiredToken" });
    assert_eq!(wait(store.get("a", GetIf::Always)).unwrap_err().kind, StoreErrorKind::Credentials);
    assert_eq!(front.seen().len(), 4);
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
