//! Where the output thread leaves what a reader has not fetched yet.
//!
//! Leaving something never waits. What piles up for one answer is joined to one
//! piece, so a slow reader gets larger pieces, and never more of them than there
//! are answers.

use super::request::{FinishReason, PositionLogprobs, RequestOutput};
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a [`GenerationStream`](super::GenerationStream) yields.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// An answer has grown.
    Delta {
        /// Which of the `n` answers.
        index: u32,
        /// The text since the last delta. Empty while a character is incomplete or
        /// may yet turn out to be the beginning of a stop string.
        text: String,
        /// The tokens since the last delta.
        token_ids: Vec<u32>,
        /// One entry a token, if they were asked for.
        logprobs: Option<Vec<PositionLogprobs>>,
        /// With the last delta of an answer, why it ended.
        finish_reason: Option<FinishReason>,
    },
    /// All answers have ended. The last event.
    Finished(Box<RequestOutput>),
}

/// The news of one answer.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) text: String,
    pub(super) token_ids: Vec<u32>,
    pub(super) logprobs: Option<Vec<PositionLogprobs>>,
    pub(super) finish_reason: Option<FinishReason>,
}

impl Delta {
    /// Joins later news to these.
    pub(super) fn append(&mut self, later: Self) {
        self.text.push_str(&later.text);
        self.token_ids.extend(later.token_ids);
        if let Some(logprobs) = later.logprobs {
            self.logprobs.get_or_insert_default().extend(logprobs);
        }
        self.finish_reason = self.finish_reason.or(later.finish_reason);
    }

    fn into_event(self, index: u32) -> StreamEvent {
        StreamEvent::Delta {
            index,
            text: self.text,
            token_ids: self.token_ids,
            logprobs: self.logprobs,
            finish_reason: self.finish_reason,
        }
    }
}

/// One request's news. Shared by the output thread and the reader.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    deltas: HashMap<u32, Delta>,
    /// The answers in `deltas`, the one that has waited longest first.
    order: VecDeque<u32>,
    output: Option<Box<RequestOutput>>,
    /// Whether the reader wants nothing but the output.
    only_output: bool,
    waker: Option<Waker>,
}

impl State {
    fn take(&mut self) -> Option<StreamEvent> {
        if let Some(index) = self.order.pop_front() {
            let delta = self.deltas.remove(&index).expect("ordered deltas exist");
            return Some(delta.into_event(index));
        }
        self.output.take().map(StreamEvent::Finished)
    }
}

impl Mailbox {
    /// Leaves news of answer `index`.
    pub(super) fn put(&self, index: u32, delta: Delta) {
        let mut state = self.lock();
        if state.only_output {
            return;
        }
        if let Some(waiting) = state.deltas.get_mut(&index) {
            waiting.append(delta);
        } else {
            state.deltas.insert(index, delta);
            state.order.push_back(index);
        }
        self.announce(state);
    }

    /// Leaves the last news of all.
    pub(super) fn finish(&self, output: Box<RequestOutput>) {
        let mut state = self.lock();
        state.output = Some(output);
        self.announce(state);
    }

    /// Throws away all deltas, now and later.
    pub(super) fn want_only_output(&self) {
        let mut state = self.lock();
        state.only_output = true;
        state.deltas.clear();
        state.order.clear();
    }

    /// Waits for news. After [`finish`](Self::finish)ing and being emptied, a
    /// mailbox never has any again.
    pub(super) fn wait(&self) -> StreamEvent {
        let mut state = self.lock();
        loop {
            if let Some(event) = state.take() {
                return event;
            }
            let woken = self.arrived.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes news if there are any; else has the task woken when some come.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<StreamEvent> {
        let mut state = self.lock();
        if let Some(event) = state.take() {
            return Poll::Ready(event);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn announce(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single push or take.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
