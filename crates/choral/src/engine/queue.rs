//! How many requests may wait to be run.
//!
//! The commands themselves travel in a channel without a bound; what is bounded
//! is the number of requests in it or in the scheduler that have not run yet. Each
//! holds a [`Place`], which it gives back when it is first run or when it ends,
//! whichever way that happens.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Counts places.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    num_taken: usize,
    is_closed: bool,
    /// Tasks that wait for a place.
    wakers: Vec<Waker>,
}

/// One waiting request's right to wait.
#[derive(Debug)]
pub(super) struct Place(Arc<Queue>);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    Full,
    Closed,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn num_taken(&self) -> usize {
        self.lock().num_taken
    }

    /// Takes a place if there is one.
    pub(super) fn try_enter(self: &Arc<Self>) -> Result<Place, NoPlace> {
        self.take(self.lock())
    }

    /// Waits for a place.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, NoPlace> {
        let is_full = |state: &mut State| !state.is_closed && state.num_taken >= self.capacity;
        let state = self.changed.wait_while(self.lock(), is_full);
        self.take(state.unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place if there is one; else has the task woken when there may be.
    pub(super) fn poll_enter(
        self: &Arc<Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Place, NoPlace>> {
        let mut state = self.lock();
        if state.is_closed || state.num_taken < self.capacity {
            return Poll::Ready(self.take(state));
        }
        let waker = context.waker();
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Turns away everybody who waits or comes from now on.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        self.announce(state);
    }

    /// All tasks are woken, since any of them may have lost interest by now. Wakers are
    /// strangers' code: they must find the lock free.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        let is_closed = state.is_closed;
        drop(state);
        if is_closed {
            self.changed.notify_all();
        } else {
            self.changed.notify_one();
        }
        for waker in wakers {
            waker.wake();
        }
    }

    fn take(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Result<Place, NoPlace> {
        if state.is_closed {
            return Err(NoPlace::Closed);
        }
        if state.num_taken >= self.capacity {
            return Err(NoPlace::Full);
        }
        state.num_taken += 1;
        Ok(Place(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A count is never left half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.num_taken -= 1;
        self.0.announce(state);
    }
}
