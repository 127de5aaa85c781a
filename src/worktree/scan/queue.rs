//! Work that makes more work, shared by a few threads until there is none.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is still to be done.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: Vec<T>,
    /// Pieces of work that are being done, and may make more.
    taken: usize,
}

/// A piece of work; dropped, it is done.
#[derive(Debug)]
pub(super) struct Taken<'a, T> {
    pub(super) work: T,
    queue: &'a Queue<T>,
}

impl<T> Queue<T> {
    pub(super) fn new(waiting: Vec<T>) -> Self {
        Self { state: Mutex::new(State { waiting, taken: 0 }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece; waits while others may still make some. None: all is done.
    pub(super) fn take(&self) -> Option<Taken<'_, T>> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.waiting.pop() {
                state.taken += 1;
                return Some(Taken { work, queue: self });
            }
            if state.taken == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds work that came up.
    pub(super) fn add(&self, more: &mut Vec<T>) {
        if !more.is_empty() {
            self.lock().waiting.append(more);
            self.changed.notify_all();
        }
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.taken -= 1;
        if state.taken == 0 {
            self.queue.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn everything_is_done_once_and_everybody_goes_home() {
        let queue = Queue::new(vec![12_u32]);
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(taken) = queue.take() {
                        done.fetch_add(1, Ordering::Relaxed);
                        queue.add(&mut (0..taken.work).collect());
                    }
                });
            }
        });
        // Each number makes all smaller ones: a tree of two to the power of the first.
        assert_eq!(done.into_inner(), 1 << 12);
    }
}
