//! Everything that comes of one request, in the making, on the output thread.

use super::answer::Answer;
use super::command::Event;
use super::mailbox::{Delta, Mailbox};
use super::request::{
    FinishReason, PositionLogprobs, PromptDiagnostics, RequestMetrics, RequestOutput,
};
use super::scheduler::{Finish, RequestId};
use crate::sampling::SamplingParams;
use crate::text::Tokenizer;
use std::sync::Arc;
use std::time::Instant;

/// What a reply is about; fixed from the start.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) request: RequestId,
    pub(super) request_id: String,
    /// The prompt as it was given, if it was given as text.
    pub(super) prompt: Option<String>,
    pub(super) prompt_token_ids: Arc<[u32]>,
    /// Without one, answers have no text.
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) params: SamplingParams,
    pub(super) seed: u64,
    pub(super) submitted_at: Instant,
}

/// A request's answers and what else it asked for.
///
/// Whatever becomes of the threads: a reply that is dropped before its end puts
/// an output into its mailbox that says so. No reader waits in vain.
#[derive(Debug)]
pub(super) struct Reply {
    subject: Subject,
    mailbox: Arc<Mailbox>,
    answers: Vec<Answer>,
    num_open: usize,
    prompt_logprobs: Vec<PositionLogprobs>,
    diagnostics: Option<PromptDiagnostics>,
    num_cached_tokens: usize,
    started_at: Option<Instant>,
}

impl Reply {
    pub(super) fn new(subject: Subject, mailbox: Arc<Mailbox>) -> Self {
        let num_answers = subject.params.n as usize;
        Self {
            subject,
            mailbox,
            answers: std::iter::repeat_with(Answer::default)
                .take(num_answers)
                .collect(),
            num_open: num_answers,
            prompt_logprobs: Vec::new(),
            diagnostics: None,
            num_cached_tokens: 0,
            started_at: None,
        }
    }

    pub(super) fn request(&self) -> RequestId {
        self.subject.request
    }

    /// Whether all answers have ended and the output is in the mailbox.
    pub(super) fn is_done(&self) -> bool {
        self.num_open == 0
    }

    /// Takes in one event. Returns the answer that a stop string has just ended:
    /// the engine does not know of it yet, and what it still says about that
    /// answer until it does is not listened to.
    pub(super) fn take(&mut self, event: Event) -> Option<u32> {
        match event {
            Event::Started {
                at,
                num_cached_tokens,
            } => {
                self.started_at = Some(at);
                self.num_cached_tokens = num_cached_tokens;
                None
            }
            Event::PromptLogprobs(logprobs) => {
                self.prompt_logprobs.extend(logprobs);
                None
            }
            Event::Diagnostics(diagnostics) => {
                self.diagnostics = Some(diagnostics);
                None
            }
            Event::Token {
                at,
                choice,
                sampled,
                finish,
            } => {
                let engine_goes_on = finish.is_none();
                let answer = self.answers.get_mut(choice as usize)?;
                if answer.is_done() {
                    return None;
                }
                let delta = answer.push(sampled, finish, at, &self.subject);
                let is_stopped = delta.finish_reason.is_some() && engine_goes_on;
                self.put(choice, delta);
                is_stopped.then_some(choice)
            }
            Event::Ended {
                choice,
                reason,
                error,
            } => {
                self.close(choice, reason, error);
                None
            }
        }
    }

    /// Ends all answers that are still open, because of `error`.
    pub(super) fn fail(&mut self, error: &str) {
        for choice in 0..self.answers.len() as u32 {
            self.close(choice, FinishReason::Error, Some(error.to_owned()));
        }
    }

    fn close(&mut self, choice: u32, reason: FinishReason, error: Option<String>) {
        let finish = Finish { reason, stop: None };
        if let Some(answer) = self.answers.get_mut(choice as usize)
            && !answer.is_done()
        {
            let delta = answer.close(finish, error, &self.subject);
            self.put(choice, delta);
        }
    }

    /// Passes on news, and the output after the last.
    fn put(&mut self, choice: u32, delta: Delta) {
        let is_last = delta.finish_reason.is_some();
        self.mailbox.put(choice, delta);
        self.num_open -= usize::from(is_last);
        if self.num_open == 0 {
            let output = self.output(Instant::now());
            self.mailbox.finish(Box::new(output));
        }
    }

    fn output(&mut self, now: Instant) -> RequestOutput {
        let metrics = self.metrics(now);
        let subject = &mut self.subject;
        let answers = std::mem::take(&mut self.answers);
        let prompt_logprobs = subject.params.prompt_logprobs.map(|_| {
            // Nothing precedes the first token.
            let mut all = vec![None];
            all.extend(self.prompt_logprobs.drain(..).map(Some));
            // A request that ended early has nothing to say of the last ones.
            if !answers.iter().all(Answer::is_sound) {
                all.resize(subject.prompt_token_ids.len(), None);
            }
            debug_assert_eq!(all.len(), subject.prompt_token_ids.len());
            all
        });
        RequestOutput {
            request_id: std::mem::take(&mut subject.request_id),
            prompt: subject.prompt.take(),
            prompt_token_ids: subject.prompt_token_ids.to_vec(),
            prompt_logprobs,
            outputs: (0..)
                .zip(answers)
                .map(|(index, answer)| answer.into_output(index, subject))
                .collect(),
            num_cached_tokens: self.num_cached_tokens as u32,
            metrics,
            diagnostics: self.diagnostics.take(),
        }
    }

    fn metrics(&self, now: Instant) -> RequestMetrics {
        let since_submission = |at: Instant| at.duration_since(self.subject.submitted_at);
        let times: Vec<_> = self
            .answers
            .iter()
            .filter_map(Answer::token_times)
            .collect();
        let first_token_at = times.iter().map(|(first, ..)| *first).min();
        let seconds = |at: Option<Instant>| at.map_or(0.0, |at| since_submission(at).as_secs_f64());
        let num_gaps: usize = times.iter().map(|(.., num_gaps)| num_gaps).sum();
        let in_gaps: f64 = times
            .iter()
            .map(|(first, last, _)| last.duration_since(*first).as_secs_f64())
            .sum();
        RequestMetrics {
            queue_s: seconds(self.started_at),
            time_to_first_token_s: seconds(first_token_at),
            e2e_s: seconds(Some(now)),
            mean_inter_token_s: in_gaps / num_gaps.max(1) as f64,
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_done() {
            self.fail("the engine stopped before this answer was complete");
        }
    }
}
