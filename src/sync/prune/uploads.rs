//! Uploads in parts that a process which was killed left behind: nothing of them can be seen, and all of it is paid for.

use std::time::{Duration, SystemTime};

use crate::store::{Store, Unfinished};

/// Gives up those that were begun longer ago than `courtesy`, or all; says how many. A role or a server that does not
/// list them keeps them, which is in nobody's way. A dry run only counts.
pub(in crate::sync) async fn give_up(store: &Store, courtesy: Option<Duration>, dry_run: bool) -> u64 {
    let found = match store.unfinished_uploads().await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!("uploads that were never ended are not looked for: {error}");
            return 0;
        }
    };
    let now = store.server_now().unwrap_or_else(SystemTime::now);
    let old: Vec<Unfinished> = found.into_iter().filter(|upload| is_old(upload, now, courtesy)).collect();
    if !dry_run {
        for upload in &old {
            tracing::info!("{}: an upload in parts was begun and never ended: it is given up", upload.key);
            store.give_up(upload).await;
        }
    }
    old.len() as u64
}

/// One whose begin nobody tells may be a minute old.
fn is_old(upload: &Unfinished, now: SystemTime, courtesy: Option<Duration>) -> bool {
    let Some(courtesy) = courtesy else { return true };
    upload.begun.and_then(|begun| now.duration_since(begun).ok()).is_some_and(|age| age >= courtesy)
}
