//! What callers and the output thread ask of the engine thread, and what it
//! reports back.

use super::queue::Place;
use super::reply::Reply;
use super::request::{FinishReason, PositionLogprobs, PromptDiagnostics};
use super::scheduler::{Finish, RequestId, Rules};
use crate::sampling::{Sampled, Sampler};
use std::sync::Arc;
use std::time::Instant;

/// To the engine thread; obeyed at the next step boundary.
#[derive(Debug)]
pub(super) enum Command {
    Submit(Box<Submission>),
    Abort {
        request: RequestId,
        /// `None`: all of the request.
        choice: Option<u32>,
    },
    ShutDown,
}

/// An accepted request.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: RequestId,
    pub(super) prompt: Arc<[u32]>,
    pub(super) rules: Rules,
    /// Of the first answer; the others' differ in the choice only.
    pub(super) sampler: Sampler,
    /// How many alternatives to report for each prompt token.
    pub(super) prompt_logprobs: Option<u32>,
    pub(super) place: Place,
    /// The output thread's half.
    pub(super) reply: Reply,
}

/// To the output thread: what a step, or the commands before it, brought.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Requests that the output thread has not heard of, to be taken up first.
    pub(super) opened: Vec<Reply>,
    pub(super) events: Vec<(RequestId, Event)>,
}

impl Report {
    /// An empty one with room for that many events.
    pub(super) fn with_capacity(num_events: usize) -> Self {
        Self {
            opened: Vec::new(),
            events: Vec::with_capacity(num_events),
        }
    }
}

#[derive(Debug)]
pub(super) enum Event {
    /// It runs for the first time.
    Started {
        at: Instant,
        num_cached_tokens: usize,
    },
    /// The next prompt tokens' log-probabilities.
    PromptLogprobs(Vec<PositionLogprobs>),
    Diagnostics(PromptDiagnostics),
    /// An answer has grown by a token.
    Token {
        at: Instant,
        choice: u32,
        sampled: Sampled,
        finish: Option<Finish>,
    },
    /// An answer has ended without a token.
    Ended {
        choice: u32,
        reason: FinishReason,
        error: Option<String>,
    },
}
