//! A switch that ends work from elsewhere, for tasks and for threads.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Cancels work. Clones are the same switch; once thrown it stays so.
///
/// ```
/// use choral::provider::CancellationToken;
///
/// let token = CancellationToken::new();
/// let other = token.clone();
/// other.cancel();
/// assert!(token.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancellationToken {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_cancelled: bool,
    next_waiter: u64,
    waiters: HashMap<u64, Waker>,
}

impl CancellationToken {
    /// A token that has not been cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels, and wakes all who wait for it.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.is_cancelled = true;
        let waiters = std::mem::take(&mut state.waiters);
        // Wakers are strangers' code: they must find the lock free.
        drop(state);
        for waker in waiters.into_values() {
            waker.wake();
        }
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }

    /// A future that is ready once it has been cancelled.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled {
            token: self.clone(),
            waiter: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single insert or take.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a [`CancellationToken`] is cancelled.
#[derive(Debug)]
pub struct Cancelled {
    token: CancellationToken,
    /// Where its waker is kept.
    waiter: Option<u64>,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let token = self.token.clone();
        let mut state = token.lock();
        if state.is_cancelled {
            return Poll::Ready(());
        }
        let waiter = *self.waiter.get_or_insert_with(|| {
            state.next_waiter += 1;
            state.next_waiter
        });
        state.waiters.insert(waiter, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.token.lock().waiters.remove(&waiter);
        }
    }
}
