//! What the tests stand on: real S3 servers, a front that makes faults, and a helper whose tests read as sentences.
//!
//! Each test binary takes the parts it needs; what one of them does not use is no dead code.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

pub mod checker;
pub mod committer;
pub mod engine;
pub mod front;
pub mod ledger;
pub mod live;
pub mod outsider;
pub mod pruner;
pub mod servers;
pub mod story;

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use stopover::store::{Abilities, Store};
use tokio::runtime::Runtime;

use self::{
    front::Front,
    outsider::Outsider,
    servers::{Server, access},
};

/// The workspace of tests of the store.
pub const PREFIX: &str = "users/alice/ws";

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap());

/// Runs `future` to its end; for tests, which are no futures themselves. It fails the test rather than hang it.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), future).await.expect("this takes longer than 120 s: it hangs")
    })
}

/// Runs `future` beside the test.
pub fn beside<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    RUNTIME.spawn(future)
}

/// A store behind a front, on a server in this process.
pub fn behind_a_front() -> (Front, Store, Outsider, Arc<Server>) {
    let server = Server::here();
    let outsider = server.bucket();
    let front = Front::before(&server.endpoint);
    let store = wait(Store::connect(&access(&front.endpoint), &outsider.bucket, PREFIX)).unwrap();
    let honest = Abilities { delete: false, url_encoding: false, ..Abilities::AWS };
    (front, store.with_abilities(honest), outsider, server)
}
