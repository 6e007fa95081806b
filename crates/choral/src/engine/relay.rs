//! The way of reports from the engine thread to the output thread, and back empty.
//!
//! A fixed number of reports is under way or waits to be filled, so a step allocates
//! nothing to tell what came of it, and the engine is never further ahead of the
//! output than that: it waits.

use super::command::Report;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct State {
    filled: VecDeque<Report>,
    spent: Vec<Report>,
    /// Whether one of the ends is gone.
    is_cut: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The engine thread's end.
#[derive(Debug)]
pub(super) struct ReportSender(Arc<Shared>);

/// The output thread's end.
#[derive(Debug)]
pub(super) struct ReportReceiver(Arc<Shared>);

/// Both ends of a relay that lets the sender be `capacity` reports ahead. Reports have
/// room for `num_events` events before they must grow.
pub(super) fn relay(capacity: usize, num_events: usize) -> (ReportSender, ReportReceiver) {
    let spent = (0..capacity).map(|_| Report::with_capacity(num_events));
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            filled: VecDeque::with_capacity(capacity),
            spent: spent.collect(),
            is_cut: false,
        }),
        changed: Condvar::new(),
    });
    (ReportSender(Arc::clone(&shared)), ReportReceiver(shared))
}

impl ReportSender {
    /// Sends what is in `report` and leaves an empty one in its place; waits for one
    /// to come back if there is none. Without a receiver the report is dropped.
    pub(super) fn send(&self, report: &mut Report) {
        let mut state = self.0.lock();
        loop {
            if state.is_cut {
                drop(state);
                // Its replies say themselves that they were dropped.
                *report = Report::default();
                return;
            }
            if let Some(empty) = state.spent.pop() {
                let filled = std::mem::replace(report, empty);
                state.filled.push_back(filled);
                drop(state);
                self.0.changed.notify_all();
                return;
            }
            state = self.0.wait(state);
        }
    }
}

impl ReportReceiver {
    /// Waits for the next report, `None` if the sender is gone and all were read.
    pub(super) fn receive(&self) -> Option<Report> {
        let mut state = self.0.lock();
        loop {
            if let Some(report) = state.filled.pop_front() {
                return Some(report);
            }
            if state.is_cut {
                return None;
            }
            state = self.0.wait(state);
        }
    }

    /// Gives a report back, which must be empty.
    pub(super) fn give_back(&self, report: Report) {
        self.0.lock().spent.push(report);
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single push or pop.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let woken = self.changed.wait(state);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.lock().is_cut = true;
        self.changed.notify_all();
    }
}

impl Drop for ReportSender {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl Drop for ReportReceiver {
    fn drop(&mut self) {
        self.0.cut();
        // Nobody reads these: what they hold must hear of it now.
        let filled = std::mem::take(&mut self.0.lock().filled);
        drop(filled);
    }
}
