//! What the store says when it may not, cannot or need not reach the bucket: rights, keys, regions, clocks, authorities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::io::{BufRead, BufReader, Write};

use bytes::Bytes;
use stopover::store::{Deleted, GetIf, Got, PutIf, Store, StoreErrorKind};
use support::{
    PREFIX, behind_a_front,
    front::{Fault, any},
    servers::{Kind, Server, access},
    wait,
};

const MALFORMED: &str = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message>\
                         <Region>eu-west-1</Region></Error>";

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
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
    // Nobody is given this port by chance.
    let endpoint = "http://127.0.0.1:1";
    let store = wait(Store::connect(&access(endpoint), "bucket", PREFIX)).unwrap();
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
fn a_clock_that_is_wrong_is_corrected_once_and_then_named() {
    let (front, store, outsider, _server) = behind_a_front();
    outsider.put("users/alice/ws/a", "1");
    front.on(any().once(), Fault::Refuse { status: 403, code: "RequestTimeTooSkewed" });
    assert!(matches!(wait(store.get("a", GetIf::Always)).unwrap(), Got::Found(_)));
    front.on(any(), Fault::Refuse { status: 403, code: "RequestTimeTooSkewed" });
    assert_eq!(wait(store.get("a", GetIf::Always)).unwrap_err().kind, StoreErrorKind::ClockSkew);
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

/// A machine's metadata service that knows one thing; returns its address, and who asked for what.
fn metadata_service() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A connection that stays open holds up no other.
            let asked = asked.clone();
            std::thread::spawn(move || answers_all(stream, &asked));
        }
    });
    (address, heard)
}

/// Answers each request of a connection; who has an answer was noted before.
fn answers_all(mut stream: std::net::TcpStream, asked: &std::sync::mpsc::Sender<String>) {
    let mut request = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while request.read_line(&mut line).is_ok_and(|length| length > 0) {
        let Some((begin, rest)) = line.trim_end().split_once(" HTTP/") else { panic!("no request: {line}") };
        assert_eq!(rest, "1.1");
        let mut header = String::new();
        while request.read_line(&mut header).is_ok_and(|length| length > 2) {
            header.clear();
        }
        let _ = asked.send(begin.to_owned());
        let answer =
            "HTTP/1.1 200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\ncontent-length: 9\r\n\r\neu-west-3";
        stream.write_all(answer.as_bytes()).unwrap();
        line.clear();
    }
}

#[test]
fn a_region_that_nobody_names_is_asked_of_the_machine() {
    let (address, heard) = metadata_service();
    in_another_environment(
        "inner_a_region_that_nobody_names",
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address), ("HOME", "/nonexistent")],
    );
    let asked: Vec<String> = heard.try_iter().collect();
    assert_eq!(asked, ["PUT /latest/api/token", "GET /latest/meta-data/placement/region"]);
}

#[test]
#[ignore = "run by a_region_that_nobody_names_is_asked_of_the_machine"]
fn inner_a_region_that_nobody_names() {
    let mut access = access("http://127.0.0.1:9");
    (access.endpoint.url, access.endpoint.region) = (None, None);
    wait(Store::connect(&access, "bucket", PREFIX)).unwrap();
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
fn a_name_that_is_too_long_is_refused_by_name() {
    for server in Server::all_with(&["name-limit"]) {
        let bucket = server.bucket().bucket;
        let store = wait(Store::connect(&server.access(), &bucket, PREFIX)).unwrap();
        let long = vec!["n".repeat(200); 6].join("/");
        let error = wait(store.put(&long, text("1"), PutIf::Absent, None)).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NameRefused, "{error} on {}", server.name());
    }
}
