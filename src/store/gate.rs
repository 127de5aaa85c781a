//! How many requests go out at once: fewer when the server asks for less, more again when it answers well.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, futures::Notified};

/// So many good answers at the present width make it one wider.
const GROW_AFTER: u32 = 32;

/// A gate of changing width.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests inside.
    inside: usize,
    /// Requests that may be inside.
    width: usize,
    /// The widest it may get.
    most: usize,
    /// Good answers since the last change.
    good: u32,
}

/// The right to be inside; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Pass(Gate);

impl Gate {
    pub(super) fn new(width: usize) -> Self {
        let width = width.max(1);
        let state = Mutex::new(State { inside: 0, width, most: width, good: 0 });
        Self(Arc::new(Inner { state, freed: Notify::new() }))
    }

    /// The widest it may get.
    pub(super) fn most(&self) -> usize {
        self.with(|state| state.most)
    }

    /// Waits for a place inside.
    pub(super) async fn enter(&self) -> Pass {
        loop {
            let freed: Notified<'_> = self.0.freed.notified();
            tokio::pin!(freed);
            // Registered before looking: a place that is freed in between wakes us.
            freed.as_mut().enable();
            let entered = self.with(|state| {
                let room = state.inside < state.width;
                state.inside += usize::from(room);
                room
            });
            if entered {
                return Pass(self.clone());
            }
            freed.await;
        }
    }

    /// The server asked for less, or does not keep up: half as many. While more are inside than may be, the failures
    /// still come from the width before.
    pub(super) fn shrink(&self) {
        self.with(|state| {
            if state.inside <= state.width {
                state.width = (state.width / 2).max(1);
            }
            state.good = 0;
        });
    }

    /// An answer came as it should.
    pub(super) fn good(&self) {
        let grown = self.with(|state| {
            state.good += 1;
            let grow = state.good >= GROW_AFTER && state.width < state.most;
            if grow {
                state.width += 1;
                state.good = 0;
            }
            grow
        });
        if grown {
            self.0.freed.notify_one();
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.with(|state| state.inside -= 1);
        self.0.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    async fn is_open(gate: &Gate) -> Option<Pass> {
        let mut enter = Box::pin(gate.enter());
        poll_fn(|context| match enter.as_mut().poll(context) {
            Poll::Ready(pass) => Poll::Ready(Some(pass)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn no_more_enter_than_it_is_wide() {
        let gate = Gate::new(2);
        let (first, _second) = (gate.enter().await, gate.enter().await);
        assert!(is_open(&gate).await.is_none());
        drop(first);
        assert!(is_open(&gate).await.is_some());
    }

    #[tokio::test]
    async fn it_halves_and_grows_back_slowly() {
        let gate = Gate::new(4);
        gate.shrink();
        let inside = (gate.enter().await, gate.enter().await);
        assert!(is_open(&gate).await.is_none());
        for _ in 0..GROW_AFTER {
            gate.good();
        }
        assert!(is_open(&gate).await.is_some());
        gate.shrink();
        drop(inside);
        gate.shrink();
        let _one = gate.enter().await;
        assert!(is_open(&gate).await.is_none(), "one is the least");
    }

    #[tokio::test]
    async fn one_wave_of_failures_halves_it_once() {
        let gate = Gate::new(8);
        let inside = [gate.enter().await, gate.enter().await, gate.enter().await, gate.enter().await];
        let more = [gate.enter().await, gate.enter().await, gate.enter().await, gate.enter().await];
        (0..8).for_each(|_| gate.shrink());
        assert!(is_open(&gate).await.is_none());
        drop(more);
        assert!(is_open(&gate).await.is_none());
        drop(inside);
        let four = [gate.enter().await, gate.enter().await, gate.enter().await, gate.enter().await];
        assert!(is_open(&gate).await.is_none());
        drop(four);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let gate = Gate::new(1);
        let pass = gate.enter().await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { drop(gate.enter().await) }
        });
        tokio::task::yield_now().await;
        drop(pass);
        waiting.await.unwrap();
    }
}
