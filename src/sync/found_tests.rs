//! The live tree, listed in one part or in several.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use crate::{
    store::{Listed, Store},
    sync::test_bucket::Bucket,
};

/// Page by page the keys of a bucket in which the own ones are many and stand in the middle.
async fn bucket(page: usize) -> (Bucket, Vec<String>) {
    let bucket = Bucket::new().await;
    let mut live: Vec<String> =
        (0..20).map(|n| format!("d/{n:02} +%{}", if n % 3 == 0 { "\u{e4}" } else { "" })).collect();
    live.extend((0..5).map(|n| format!(".s{n}")).chain((0..5).map(|n| format!(".stopoverignore{n}"))));
    live.extend(["a".to_owned(), "z/z/z".to_owned()]);
    live.sort_unstable();
    let mut shelf = bucket.shelf();
    shelf.page = Some(page);
    for key in live.iter().cloned().chain((0..30).map(|n| format!(".stopover/packs/{n:02}"))) {
        shelf.put(&key, b"1");
    }
    drop(shelf);
    (bucket, live)
}

/// Its keys, each of them once, where it can be cut at `cuts`.
async fn listed(store: &Store, cuts: Vec<String>) -> Vec<String> {
    let (tell, told) = oneshot::channel();
    tell.send(cuts).unwrap();
    let listed: Vec<Listed> = store.list_live_in_parts(told).await.unwrap();
    let mut keys: Vec<String> = listed.into_iter().map(|listed| listed.key).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "each once");
    keys
}

/// The listings that began behind a key of the live tree.
fn parts(bucket: &Bucket) -> usize {
    let asked = bucket.asked().into_iter().filter(|asked| asked.query.contains("start-after="));
    asked.filter(|asked| !asked.query.contains("%2F.stopover%2F~")).count()
}

#[tokio::test]
async fn a_listing_in_parts_has_every_key_once_wherever_it_is_cut() {
    for page in [1, 2, 3, 7, 40, 1000] {
        let (bucket, live) = bucket(page).await;
        let cuts = live.iter().cloned().chain([".stopover/packs/10".to_owned(), "d".to_owned(), "zz".to_owned()]);
        let cuts: Vec<String> = cuts.collect::<BTreeSet<String>>().into_iter().collect();
        for step in [1, 2, 3, 5, 11, 40] {
            for first in 0..step.min(3) {
                let cuts: Vec<String> = cuts.iter().skip(first).step_by(step).cloned().collect();
                assert_eq!(listed(&bucket.store, cuts.clone()).await, live, "pages of {page}, {cuts:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_left_is_listed_in_no_more_parts_than_the_settings_allow() {
    let (bucket, live) = bucket(2).await;
    listed(&bucket.store, live.clone()).await;
    let (most, _) = bucket.store.widths();
    let parts = parts(&bucket);
    assert!(parts > 1 && parts < most.min(8), "{parts}");
}

#[tokio::test]
async fn a_server_whose_order_is_not_known_is_asked_page_by_page() {
    let (bucket, live) = bucket(3).await;
    assert_eq!(listed(&bucket.unmeasured, live.clone()).await, live);
    assert_eq!(parts(&bucket), 0);
}

#[tokio::test]
async fn a_listing_that_is_never_told_where_to_cut_is_whole() {
    let (bucket, live) = bucket(3).await;
    let (tell, told) = oneshot::channel();
    drop(tell);
    let listed = bucket.store.list_live_in_parts(told).await.unwrap();
    assert_eq!(listed.into_iter().map(|listed| listed.key).collect::<Vec<_>>(), live);
}
