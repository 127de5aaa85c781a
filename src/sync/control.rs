//! What PID 1 tells the last commit while it runs: the deadline, and that the app is gone.

use std::{
    fs::File,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::plan::reserve_for_head;

/// So long before the deadline a commit that is stuck says what it could not store.
const LAST_WORDS: Duration = Duration::from_millis(750);
/// What is on its way for the early commit when the app ends may take this part of the time that is left.
const EARLY_PART: u32 = 4;

/// The last commit's instructions; by default there are none (a checkpoint, a person's commit).
#[derive(Clone, Debug, Default)]
pub struct Control {
    listening: Option<Listening>,
    /// This is about the early part of the last commit, while the app still lives.
    is_early: bool,
}

#[derive(Clone, Debug)]
struct Listening {
    gone: watch::Receiver<bool>,
    deadline: watch::Receiver<Option<Instant>>,
    /// Kept for the tree and head after the last content.
    reserve: Arc<Mutex<Duration>>,
}

impl Control {
    /// Listens on PID 1's pipe: `D` and eight little-endian bytes (nanoseconds of CLOCK_MONOTONIC) are a deadline; its
    /// end means that no process of the app lives any more. Without `app_alive` none lives from the beginning: then
    /// PID 1 keeps the pipe open, for a deadline that may yet come.
    #[must_use]
    pub fn listen(pipe: File, app_alive: bool) -> Self {
        let (told_gone, gone) = watch::channel(!app_alive);
        let (told_deadline, deadline) = watch::channel(None);
        // A thread of its own, which ends with the pipe: nobody waits for it.
        std::thread::spawn(move || {
            let mut pipe = pipe;
            let mut message = [0; 9];
            while pipe.read_exact(&mut message).is_ok() {
                if message[0] == b'D' {
                    let mut nanos = [0; 8];
                    nanos.copy_from_slice(&message[1..]);
                    let until = Duration::from_nanos(u64::from_le_bytes(nanos));
                    let left = until.saturating_sub(crate::sys::poll::monotonic());
                    let _ = told_deadline.send(Some(Instant::now() + left));
                }
            }
            let _ = told_gone.send(true);
        });
        let reserve = Arc::new(Mutex::new(reserve_for_head(Duration::ZERO)));
        Self { listening: Some(Listening { gone, deadline, reserve }), is_early: false }
    }

    /// The same for the part that begins before the app has ended.
    pub(super) fn of_early(&self) -> Self {
        Self { is_early: true, ..self.clone() }
    }

    /// Whether this is the last commit.
    #[must_use]
    pub(super) fn is_last(&self) -> bool {
        self.listening.is_some()
    }

    pub(super) fn app_is_gone(&self) -> bool {
        self.listening.as_ref().is_some_and(|listening| *listening.gone.borrow())
    }

    /// Whether no put may begin any more, so that head can still be written.
    pub(super) fn time_is_up(&self) -> bool {
        let Some(listening) = &self.listening else { return false };
        let deadline = *listening.deadline.borrow();
        deadline.is_some_and(|deadline| Instant::now() + listening.reserve() >= deadline)
    }

    /// Whether there will be a time when no put may begin any more.
    pub(super) fn has_deadline(&self) -> bool {
        self.listening.as_ref().is_some_and(|listening| listening.deadline.borrow().is_some())
    }

    /// Notes how long a write of head took: the slowest says how early the next one must begin.
    pub(super) fn head_took(&self, time: Duration) {
        if let Some(listening) = &self.listening {
            let mut reserve = listening.reserve.lock().unwrap_or_else(PoisonError::into_inner);
            *reserve = reserve_for_head(time).max(*reserve);
        }
    }

    /// Waits until no put may begin any more; for ever where there is no deadline. An early commit that waits for a
    /// server which does not answer must leave the last one time of its own.
    pub(super) async fn until_time_is_up(&self) {
        tokio::select! {
            () = self.until(Listening::reserve) => {}
            () = self.until_early_is_late(), if self.is_early => {}
        }
    }

    async fn until_early_is_late(&self) {
        self.wait_until_app_is_gone().await;
        let deadline = self.listening.as_ref().and_then(|listening| *listening.deadline.borrow());
        let Some(deadline) = deadline else { return std::future::pending().await };
        tokio::time::sleep(deadline.saturating_duration_since(Instant::now()) / EARLY_PART).await;
    }

    /// Waits until there is hardly time left but to say what happened; for ever where there is no deadline.
    pub(super) async fn until_it_is_over(&self) {
        self.until(|_| LAST_WORDS).await;
    }

    async fn until(&self, before: impl Fn(&Listening) -> Duration) {
        let Some(listening) = &self.listening else { return std::future::pending().await };
        let mut deadline = listening.deadline.clone();
        loop {
            let at = *deadline.borrow_and_update();
            let over = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at.checked_sub(before(listening)).unwrap_or(at).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                changed = deadline.changed() => {
                    if changed.is_err() {
                        // The pipe is closed: what was said last holds.
                        match at {
                            Some(at) => tokio::time::sleep_until(at.checked_sub(before(listening)).unwrap_or(at).into()).await,
                            None => std::future::pending().await,
                        }
                        return;
                    }
                }
            }
        }
    }

    pub(super) async fn wait_until_app_is_gone(&self) {
        if let Some(listening) = &self.listening {
            let mut gone = listening.gone.clone();
            // An error means that the listening thread ended: then it was told.
            let _ = gone.wait_for(|gone| *gone).await;
        }
    }
}

impl Listening {
    fn reserve(&self) -> Duration {
        *self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn an_app_that_is_gone_already_is_not_waited_for_though_the_pipe_stays_open() {
        let (read, _write) = std::io::pipe().unwrap();
        let control = Control::listen(File::from(OwnedFd::from(read)), false);
        control.wait_until_app_is_gone().await;
        assert!(control.app_is_gone() && !control.has_deadline() && !control.time_is_up());
    }

    use super::*;
    use std::{io::Write, os::fd::OwnedFd};

    #[tokio::test]
    async fn an_early_commit_that_hangs_leaves_most_of_the_time_that_is_left() {
        let (read, mut write) = std::io::pipe().unwrap();
        let control = Control::listen(File::from(OwnedFd::from(read)), true);
        let deadline = crate::sys::poll::monotonic() + Duration::from_secs(8);
        let mut message = vec![b'D'];
        message.extend(u64::try_from(deadline.as_nanos()).unwrap().to_le_bytes());
        write.write_all(&message).unwrap();
        let early = control.of_early();
        let waiting = tokio::spawn(async move { early.until_time_is_up().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(write);
        waiting.await.unwrap();
        assert!(control.app_is_gone() && !control.time_is_up(), "the last commit has its time");
    }

    #[tokio::test]
    async fn the_deadline_is_heard_and_the_end_of_the_pipe_is_the_end_of_the_app() {
        let (read, mut write) = std::io::pipe().unwrap();
        let control = Control::listen(File::from(OwnedFd::from(read)), true);
        assert!(control.is_last() && !control.app_is_gone() && !control.time_is_up());
        let mut message = vec![b'D'];
        message.extend(0_u64.to_le_bytes());
        write.write_all(&message).unwrap();
        drop(write);
        control.wait_until_app_is_gone().await;
        assert!(control.app_is_gone() && control.has_deadline() && control.time_is_up());
    }
}
