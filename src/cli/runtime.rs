//! The tokio runtime of a command that talks to S3, and the signals that end it early.

use std::{future::Future, thread, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::failure::Failure;
use crate::sync;

/// How long uploads that were given up may take to be aborted: less than PID 1 gives a child that it cancels.
const SETTLE: Duration = Duration::from_millis(500);

/// Which signals cancel the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cancel {
    /// TERM and INT: the command ends at once, with 128 and the signal's number.
    BySignals,
    /// None: the last commit's child, which PID 1 made deaf to them, and which ends by its deadline alone.
    Never,
}

/// Runs `work` to its end, or until a signal cancels it: then it is dropped where it stands. Whatever it was writing
/// is whole or was never named.
pub(super) fn block_on<T>(cancel: Cancel, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = build()?;
    let result = runtime.block_on(async {
        let result = match cancel {
            Cancel::BySignals => {
                let mut term = listen(SignalKind::terminate())?;
                let mut int = listen(SignalKind::interrupt())?;
                tokio::select! {
                    biased;
                    _ = term.recv() => Err(Failure::cancelled(libc::SIGTERM)),
                    _ = int.recv() => Err(Failure::cancelled(libc::SIGINT)),
                    result = work => result,
                }
            }
            Cancel::Never => work.await,
        };
        // Parts of uploads that were given up would stay in the bucket and be paid for.
        sync::settle(SETTLE).await;
        result
    });
    // Not waited for: after a cancel a thread may hang on a dead disk.
    runtime.shutdown_background();
    result
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed(format!("signals cannot be received: {error}")))
}

fn build() -> Result<Runtime, Failure> {
    // The work is waiting for a network; hashing and inflating have threads of their own.
    let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("stopover-sync")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no threads can be started: {error}")))
}
