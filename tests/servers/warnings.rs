//! What a bucket is set up to do with objects, beside what its server can: lifecycle rules, encryption keys, object
//! lock, missing rights, clocks. Said once where it happens, and by `doctor` with what follows.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::support::{
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story},
};

const RULE: Fault =
    Fault::Header("x-amz-expiration", "expiry-date=\"Fri, 21 Dec 2029 00:00:00 GMT\", rule-id=\"old things\"");
const NO_KEY: Fault = Fault::RefuseWith {
    status: 403,
    body: "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>User: arn:aws:sts::1:assumed-role/r/s is \
           not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:1:key/2</Message></Error>",
};
const RETAINED: Fault = Fault::RefuseWith {
    status: 403,
    body: "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied because object protected by \
           object lock.</Message></Error>",
};
const NO_CHECKSUM: Fault = Fault::RefuseWith {
    status: 400,
    body: "<?xml version=\"1.0\"?><Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP \
           header is required for Put Object requests with Object Lock parameters</Message></Error>",
};

fn behind_a_front() -> (Front, Story) {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    (front, story)
}

/// A check of `doctor`.
fn check(here: &Directory, name: &str) -> Value {
    let ended = here.stopover(&["doctor", "--json"]);
    let diagnosis = ended.json();
    let found = diagnosis["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("doctor does not look at {name}: {diagnosis}"))
}

/// Not as it should be, and why; what follows.
fn is_weak(check: &Value, seen: &str, follows: &str) {
    assert_eq!(check["ok"], false, "{check}");
    assert!(check["seen"].as_str().unwrap().contains(seen), "{check}");
    assert!(check["follows"].as_str().unwrap().contains(follows), "{check}");
}

#[test]
fn a_lifecycle_rule_that_will_eat_the_workspace_is_said_once() {
    let (front, story) = behind_a_front();
    story.object("a", "1").object("b", "2");
    let here = story.directory("here");
    assert_eq!(check(&here, "lifecycle")["ok"], true);
    front.on(any(), RULE);
    let warnings = |text: &str| text.matches("a lifecycle rule of the bucket will delete").count();
    assert_eq!(warnings(&here.pull().exits(0).says("rule-id=\"old things\"").stderr), 1);
    here.file("c", "3");
    assert_eq!(warnings(&here.stopover(&["commit"]).exits(0).stderr), 1);
    is_weak(&check(&here, "lifecycle"), "old things", "exclude its prefix");
    front.heal();
    assert_eq!(warnings(&here.pull().exits(0).stderr), 0);
}

#[test]
fn a_container_says_once_that_a_lifecycle_rule_will_eat_its_workspace() {
    let (front, story) = behind_a_front();
    story.object("a", "1");
    front.on(any(), RULE);
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    let warnings = |text: &str| text.matches("a lifecycle rule of the bucket will delete").count();
    for _ in 0..2 {
        let running = here.start_run(&["sh", "-c", "echo runs; exec sleep 1000"]);
        running.prints("runs");
        for n in 0..3 {
            here.file("b", format!("{n} of {}", running.pid())).stopover(&["commit"]).exits(0);
        }
        running.term();
        let ended = running.ends();
        assert_eq!(warnings(&ended.stderr), 1, "{}", ended.stderr);
    }
}

#[test]
fn a_key_that_may_not_be_used_is_named_by_its_right() {
    let (front, story) = behind_a_front();
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "1");
    here.stopover(&["commit"]).exits(0);
    front.on(any().op("GetObject"), NO_KEY);
    let there = story.directory("there");
    there.pull().exits(1).says("KMS").says("kms:Decrypt").says(".stopover/head.json");
    front.heal();
    for class in [Class::Pack, Class::Live] {
        front.on(any().op("GetObject").class(class), NO_KEY);
    }
    there.pull().exits(1).says("kms:Decrypt");
    assert!(!there.has("a"));
    front.heal();
    front.on(any().op("GetObject").class(Class::Own), NO_KEY);
    is_weak(&check(&here, "s3:GetObject"), "kms:Decrypt", "cannot be restored");
    front.heal();
    front.on(any().op("PutObject").class(Class::Own), Fault::Header("x-amz-server-side-encryption", "aws:kms"));
    let encryption = check(&here, "encryption");
    assert!(encryption["seen"].as_str().unwrap().contains("kms:GenerateDataKey"), "{encryption}");
    front.heal();
    there.pull().exits(0);
    assert_eq!(there.text("a"), "1");
}

#[test]
fn a_bucket_with_object_lock_gets_a_checksum_with_every_write_once_it_asked() {
    let (front, story) = behind_a_front();
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("small", "1").file("large", vec![7; 9 << 20]);
    front.on(any().op("PutObject").once(), NO_CHECKSUM).on(any().op("UploadPart").once(), NO_CHECKSUM);
    here.stopover(&["commit"]).exits(0);
    assert_eq!(story.objects(), ["large", "small"]);
    let writes = front.seen().into_iter().filter(|seen| matches!(seen.op, "PutObject" | "UploadPart"));
    let bare: Vec<_> = writes.filter(|seen| !seen.checksum).collect();
    // The first, and what was on its way beside it: the tree goes with the last pack.
    let is_first = |class| matches!(class, Class::Pack | Class::Tree);
    assert!((1..=2).contains(&bare.len()) && bare.iter().all(|seen| is_first(seen.class)), "{bare:?}");
    front.heal();
    front.on(any().op("PutObject").class(Class::Own).once(), NO_CHECKSUM);
    is_weak(&check(&here, "object lock"), "checksum", "free no room");
    front.heal();
    front.on(any().op("GetObject"), Fault::Header("x-amz-object-lock-mode", "COMPLIANCE"));
    is_weak(&check(&here, "object lock"), "COMPLIANCE", "until its time");
}

#[test]
fn a_delete_that_retention_refuses_is_named_and_said() {
    let (front, story) = behind_a_front();
    story.object("a", "1").object("b", "2");
    let here = story.directory("here");
    here.pull().exits(0);
    front.on(any().op("DeleteObject").class(Class::Live), RETAINED);
    let said = "a retention rule (object lock) keeps it for now";
    // It is gone all the same, for everybody.
    let is_gone = |path: &str| {
        assert!(story.has_object(path));
        let there = story.directory(&format!("without {path}"));
        there.pull().exits(0);
        assert!(!there.has(path));
    };
    here.remove("a").commit().exits(0).says(said);
    is_gone("a");
    here.remove("b");
    let live = here.stopover(&["commit", "--json"]).exits(0).says(said).json();
    let named = live["not_deleted"].as_array().unwrap().iter();
    assert_eq!(named.filter(|one| one["path"] == "b" && one["reason"] == "denied").count(), 1, "{live}");
    is_gone("b");
}

#[test]
fn doctor_says_which_rights_are_missing_and_what_follows() {
    let (front, story) = behind_a_front();
    story.object("a", "1");
    let here = story.directory("here");
    front.on(any().op("ListObjectsV2"), Fault::DENIED);
    is_weak(&check(&here, "s3:ListBucket"), "needs s3:ListBucket", "what others put into one");
    front.heal();
    front.on(any().op("DeleteObject"), Fault::DENIED);
    is_weak(&check(&here, "s3:DeleteObject"), "needs s3:DeleteObject", "not_deleted");
    front.heal();
    front.on(any().op("DeleteObject"), RETAINED);
    is_weak(&check(&here, "s3:DeleteObject"), "retention rule", "free nothing");
    front.heal();
    front.on(any().op("PutObject"), Fault::DENIED);
    is_weak(&check(&here, "s3:PutObject"), "needs s3:PutObject", "read-only");
}

#[test]
fn doctor_sees_a_clock_that_is_wrong() {
    let (front, story) = behind_a_front();
    let here = story.directory("here");
    assert_eq!(check(&here, "clock")["ok"], true);
    let then = SystemTime::now() + Duration::from_secs(600);
    let date = jiff::Timestamp::try_from(then).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    front.on(any(), Fault::Header("date", date.leak()));
    is_weak(&check(&here, "clock"), "behind the server's", "set the clock");
}

#[test]
fn doctor_says_what_follows_where_conditions_are_not_honoured() {
    for server in Server::each_with(&[]) {
        let story = Story::on(&server);
        let here = story.directory("here");
        let checks = here.stopover(&["doctor", "--json"]).exits(0).json();
        for (check, ability) in [
            ("PUT If-Match", "conditional-put"),
            ("CompleteMultipartUpload If-None-Match", "complete-create"),
            ("CompleteMultipartUpload If-Match", "complete-replace"),
            ("DELETE If-Match", "delete-condition"),
            ("listing in order", "ordered"),
        ] {
            let found = checks["checks"].as_array().unwrap().iter().find(|found| found["name"] == check).unwrap();
            assert_eq!(found["ok"], server.has(ability), "on {}: {found}", server.name());
            assert_eq!(found["follows"].is_null(), server.has(ability), "on {}: {found}", server.name());
        }
    }
}
