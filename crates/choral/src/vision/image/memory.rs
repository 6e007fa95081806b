//! How much memory pictures may take that are decoded at the same time.
//!
//! Each is bounded by [`DecodeLimits`](super::DecodeLimits); here is what bounds their
//! sum, whichever threads they are on. A picture is always let in when no other is, so
//! one that is larger than all of the memory is decoded alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The memory of one processor's pictures.
///
/// Whoever holds bytes of a file may wait for pixels, and never the other way around: so
/// those that hold both always end, and nobody waits for ever.
#[derive(Debug)]
pub(super) struct DecodeMemory {
    files: Budget,
    pixels: Budget,
}

impl DecodeMemory {
    /// Memory for so many bytes of files, and so many of what comes of them.
    pub(super) fn new(files: u64, pixels: u64) -> Self {
        Self {
            files: Budget::new(files),
            pixels: Budget::new(pixels),
        }
    }

    /// Waits until a file of so many bytes may be read.
    pub(super) fn file(&self, bytes: u64) -> Share<'_> {
        self.files.take(bytes)
    }

    /// Waits until a picture may be decoded that takes so many bytes at its worst.
    pub(super) fn pixels(&self, bytes: u64) -> Share<'_> {
        self.pixels.take(bytes)
    }
}

#[derive(Debug)]
struct Budget {
    most: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    /// Who comes next.
    next_ticket: u64,
    /// Who is let in next: in the order that they came, or small ones would pass a large
    /// one for ever.
    turn: u64,
}

impl Budget {
    fn new(most: u64) -> Self {
        Self {
            most,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: u64) -> Share<'_> {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let must_wait = |state: &mut State| {
            let is_full = state.used > 0 && bytes > self.most.saturating_sub(state.used);
            state.turn != ticket || is_full
        };
        let waited = self.changed.wait_while(state, must_wait);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.turn += 1;
        state.used += bytes;
        drop(state);
        self.changed.notify_all();
        Share {
            budget: self,
            bytes,
        }
    }
}

/// Memory that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.lock().used -= self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn shares_of_all_threads_fit_together_and_one_is_always_let_in() {
        let budget = Budget::new(100);
        let (held, worst) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |bytes: u64| {
            for _ in 0..50 {
                let share = budget.take(bytes);
                let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                worst.fetch_max(now, Ordering::SeqCst);
                // More than all there is comes in alone.
                assert!(now <= 100 || now == bytes, "{now} with {bytes}");
                thread::yield_now();
                held.fetch_sub(bytes, Ordering::SeqCst);
                drop(share);
            }
        };
        thread::scope(|scope| {
            for bytes in [10, 40, 60, 90, 1 << 40, 30, 100] {
                scope.spawn(move || work(bytes));
            }
        });
        assert_eq!(budget.lock().used, 0);
        assert_eq!(worst.load(Ordering::SeqCst), 1 << 40);
    }

    #[test]
    fn small_ones_do_not_pass_a_large_one_that_waits() {
        let budget = Budget::new(100);
        let order = Mutex::new(Vec::new());
        let take = |bytes: u64| {
            let _share = budget.take(bytes);
            order.lock().expect("no panic").push(bytes);
        };
        let first = budget.take(60);
        thread::scope(|scope| {
            scope.spawn(|| take(80));
            while budget.lock().next_ticket < 2 {
                thread::yield_now();
            }
            // There is room for it beside the first, and none beside the large one.
            scope.spawn(|| take(30));
            while budget.lock().next_ticket < 3 {
                thread::yield_now();
            }
            drop(first);
        });
        assert_eq!(*order.lock().expect("no panic"), [80, 30]);
        assert_eq!(budget.lock().used, 0);
    }
}
