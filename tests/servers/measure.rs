//! Measures every ability of the table, in its order, as a server shows it now.

use std::sync::Arc;

use bytes::Bytes;
use stopover::{
    rows::ETag,
    store::{GetIf, Put, PutIf, Store, StoreErrorKind, plain_etag},
};

use super::{
    PREFIX, Pattern, done, pattern, store_on,
    support::{
        self,
        outsider::Outsider,
        servers::{Kind, Server, abilities},
        wait,
    },
};

#[test]
fn the_table_of_abilities_is_what_is_measured() {
    for server in Server::each_with(&[]) {
        let measured = measure(&server);
        let table: Vec<_> = abilities::TABLE.iter().map(|row| (row.name, server.has(row.name))).collect();
        assert_eq!(measured, table, "on {}", server.name());
        assert_eq!(refuses_strangers(&server), server.has(abilities::RIGHTS.0), "on {}", server.name());
    }
}

#[test]
fn the_versions_of_the_table_are_those_that_run() {
    for kind in Kind::ALL {
        if let Some(version) = kind.version() {
            assert_eq!(version, abilities::VERSIONS[kind as usize], "of {}: is the table still right?", kind.name());
        }
    }
}

fn measure(server: &Arc<Server>) -> Vec<(&'static str, bool)> {
    let (store, outsider) = store_on(server);
    let rows = abilities::TABLE.iter().map(|row| {
        let has = of_conditions(row.name, server, &store, &outsider)
            .or_else(|| of_reading(row.name, &store, &outsider))
            .or_else(|| of_names(row.name, &store, &outsider))
            .unwrap_or_else(|| panic!("nobody measures {}", row.name));
        // What one of them leaves behind may spoil the next listing.
        for key in every_key(&outsider) {
            drop(wait(outsider.client.delete_object().bucket(&outsider.bucket).key(key).send()));
        }
        (row.name, has)
    });
    rows.collect()
}

fn of_conditions(name: &str, server: &Server, store: &Store, outsider: &Outsider) -> Option<bool> {
    let able = store.abilities().unwrap();
    Some(match name {
        "conditional-put" => able.create && able.replace,
        "put-on-missing" => able.create && able.replace_needs_object,
        // A race that nobody won twice proves nothing: a server may have been lucky. It is atomic if the table promises
        // it, and it was seen to hold.
        "atomic-create" => {
            server.has(name) && (0..10).all(|round| winners(store, &format!("race/{round}"), PutIf::Absent) == 1)
        }
        "atomic-replace" => {
            server.has(name)
                && (0..10).all(|round| {
                    let key = format!("race/{round}");
                    let old = done(wait(store.put(&key, Bytes::from_static(b"old"), PutIf::Any, None)).unwrap());
                    winners(store, &key, PutIf::Match(&old)) == 1
                })
        }
        "complete-create" => able.complete_create,
        "complete-replace" => able.complete_replace,
        "complete-etag" => {
            let bytes = pattern(9 * 1024 * 1024);
            let sent = wait(store.put_file("parts", Pattern::of(&bytes), bytes.len() as u64, PutIf::Any, None));
            let there = wait(store.head("parts")).unwrap().unwrap();
            assert_eq!(done(sent.unwrap()), there.etag, "on {}", server.name());
            assert_eq!(there.size, bytes.len() as u64);
            able.complete_etag
        }
        "copy-parts" => copies_parts(outsider),
        "delete-condition" => able.delete,
        "get-if-match" => {
            outsider.put(&below("k"), "1");
            let get = outsider.client.get_object().bucket(&outsider.bucket).key(below("k"));
            wait(get.if_match("\"00000000000000000000000000000000\"").send()).is_err()
        }
        "not-modified" => {
            let etag = outsider.put(&below("k"), "1");
            let get = outsider.client.get_object().bucket(&outsider.bucket).key(below("k"));
            wait(get.if_none_match(etag).send()).is_err()
        }
        _ => return None,
    })
}

fn of_reading(name: &str, store: &Store, outsider: &Outsider) -> Option<bool> {
    let able = store.abilities().unwrap();
    Some(match name {
        "ranges" => {
            outsider.put(&below("k"), "0123456789");
            let range = |range| {
                let get = outsider.client.get_object().bucket(&outsider.bucket).key(below("k")).range(range);
                wait(async { Some(get.send().await.ok()?.body.collect().await.ok()?.to_vec()) })
            };
            range("bytes=3-5").is_some_and(|bytes| bytes == b"345")
                && range("bytes=7-").is_some_and(|bytes| bytes == b"789")
                && range("bytes=99-").is_none()
        }
        "overwrite" => {
            let old = outsider.put(&below("k"), "old");
            let new = outsider.put(&below("k"), "new and longer");
            old != new && outsider.get(&below("k")).unwrap().bytes == b"new and longer"
        }
        "plain-etag" => ETag::new(outsider.put(&below("k"), "hello")) == plain_etag(b"hello"),
        "ordered" => {
            able.ordered && {
                let keys = ["a", "a b", "a-", "a.b", "a/b", "a0", "aa", "b", "B", "ä"];
                keys.iter().for_each(|key| drop(outsider.try_put(&below(&format!("order/{key}/x")), "x")));
                let listed = outsider.keys(&below("order/"));
                listed.len() == keys.len() && listed.is_sorted()
            }
        }
        "paging" => {
            let keys: Vec<String> = (0..25).map(|number| below(&format!("page/{number:04}"))).collect();
            keys.iter().for_each(|key| drop(outsider.put(key, "")));
            let (mut listed, mut lengths, mut token) = (Vec::new(), Vec::new(), None);
            loop {
                let list = outsider.client.list_objects_v2().bucket(&outsider.bucket).prefix(below("page/"));
                let page = wait(list.max_keys(10).set_continuation_token(token).send()).unwrap();
                lengths.push(page.contents().len());
                listed.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
                token = page.next_continuation_token;
                if token.is_none() || lengths.len() > 25 {
                    break lengths == [10, 10, 5] && listed == keys;
                }
            }
        }
        "start-after" => able.start_after && able.ordered,
        "list-etags" => {
            outsider.put(&below("plain"), "x");
            let list = outsider.client.list_objects_v2().bucket(&outsider.bucket);
            wait(list.send()).unwrap().contents().iter().all(|object| object.e_tag().is_some())
        }
        "url-encoding" => able.url_encoding,
        "checksums" => {
            outsider.put_with_checksum(&below("sum"), "hello", "NhCmhg==");
            let get = outsider.client.get_object().bucket(&outsider.bucket).key(below("sum"));
            wait(get.checksum_mode("ENABLED".into()).send()).unwrap().checksum_crc32.is_some()
        }
        _ => return None,
    })
}

fn of_names(name: &str, store: &Store, outsider: &Outsider) -> Option<bool> {
    let round_trip = |keys: &[&str]| {
        keys.iter().all(|key| outsider.try_put(&below(key), "x").is_ok()) && {
            let listed = wait(store.list_live().all()).unwrap_or_default();
            keys.iter().all(|key| {
                listed.iter().any(|listed| listed.key == *key) && wait(store.head(key)).is_ok_and(|head| head.is_some())
            })
        }
    };
    Some(match name {
        "odd-keys" => round_trip(&["odd/\u{1}", "odd/a\nb"]),
        "long-keys" => round_trip(&[&format!("{0}/{0}/{0}", "n".repeat(255))]),
        "folder-markers" => {
            let put = outsider.client.put_object().bucket(&outsider.bucket).key(below("folder/"));
            wait(put.send()).is_ok() && {
                let listed = wait(store.list_live().all()).unwrap_or_default();
                listed.iter().any(|listed| listed.key == "folder/")
            }
        }
        "file-and-folder" => round_trip(&["fd", "fd/x"]),
        "dot-keys" => round_trip(&["a//b", "x/../y", "./z"]),
        "name-limit" => {
            let put = outsider.try_put(&below(&vec!["n".repeat(200); 6].join("/")), "x");
            put.is_err_and(|error| error.contains("KeyTooLong"))
        }
        _ => return None,
    })
}

/// Copies what is the same from an object to its successor, as any client could.
fn copies_parts(outsider: &Outsider) -> bool {
    let (client, bucket, key) = (&outsider.client, &outsider.bucket, below("copied"));
    let old = pattern(12 * 1024 * 1024);
    let etag = outsider.put(&key, old.clone());
    let begun = wait(client.create_multipart_upload().bucket(bucket).key(&key).send());
    // rclone's answer is none that this client reads.
    let Some(id) = begun.ok().and_then(|begun| begun.upload_id) else { return false };
    let copy = |range: &str, etag: &str| {
        let copy = client.upload_part_copy().bucket(bucket).key(&key).upload_id(&id).part_number(1);
        let copy = copy.copy_source(format!("{bucket}/{key}")).copy_source_range(range).copy_source_if_match(etag);
        wait(copy.send()).ok().and_then(|copied| copied.copy_part_result?.e_tag)
    };
    let other = copy("bytes=1048576-9437183", "\"00000000000000000000000000000000\"");
    let right = copy("bytes=1048576-9437183", &etag);
    drop(wait(client.abort_multipart_upload().bucket(bucket).key(&key).upload_id(&id).send()));
    other.is_none() && right.is_some_and(|etag| ETag::new(etag) == plain_etag(&old[1 << 20..9 << 20]))
}

fn refuses_strangers(server: &Server) -> bool {
    let (store, outsider) = store_on(server);
    outsider.put(&below("k"), "x");
    let mut access = server.access();
    access.credentials.as_mut().unwrap().secret_key = "wrong".to_owned();
    let stranger = wait(Store::connect(&access, &outsider.bucket, PREFIX)).unwrap();
    drop(store);
    matches!(wait(stranger.get("k", GetIf::Always)), Err(error) if error.kind == StoreErrorKind::Credentials)
}

fn below(key: &str) -> String {
    format!("{PREFIX}/{key}")
}

fn every_key(outsider: &Outsider) -> Vec<String> {
    let list = outsider.client.list_objects_v2().bucket(&outsider.bucket).encoding_type("url".into());
    let page = wait(list.send()).ok();
    let keys = page.and_then(|page| page.contents).unwrap_or_default();
    keys.into_iter().filter_map(|object| object.key).collect()
}

/// How many of 16 conditional puts at once are told that they made the object.
fn winners(store: &Store, key: &str, condition: PutIf<'_>) -> usize {
    let old = match condition {
        PutIf::Match(etag) => Some(etag.clone()),
        PutIf::Absent | PutIf::Any => None,
    };
    let race = (0..16).map(|runner| {
        let (store, key, old) = (store.clone(), key.to_owned(), old.clone());
        support::beside(async move {
            let condition = old.as_ref().map_or(PutIf::Absent, PutIf::Match);
            let put = store.put(&key, Bytes::from(format!("{runner}")), condition, None).await;
            usize::from(matches!(put, Ok(Put::Done(_))))
        })
    });
    let race: Vec<_> = race.collect();
    wait(async { futures_util::future::join_all(race).await }).into_iter().map(Result::unwrap).sum()
}
