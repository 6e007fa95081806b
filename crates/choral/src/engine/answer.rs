//! One answer as the output thread knows it: tokens to text, and stop strings.

use super::mailbox::Delta;
use super::reply::Subject;
use super::request::{CompletionOutput, FinishReason, PositionLogprobs, StopReason};
use super::scheduler::Finish;
use crate::sampling::Sampled;
use crate::text::{Detokenizer, StopMatcher};
use std::time::Instant;

/// One answer in the making.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    token_ids: Vec<u32>,
    logprobs: Vec<PositionLogprobs>,
    /// Made at the first token: a request may have many answers that never get one.
    decoder: Option<Decoder>,
    first_token_at: Option<Instant>,
    last_token_at: Option<Instant>,
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    finish: Finish,
    error: Option<String>,
}

impl End {
    fn is_sound(&self) -> bool {
        matches!(
            self.finish.reason,
            FinishReason::Stop | FinishReason::Length
        )
    }
}

/// Where an answer's text comes from.
#[derive(Debug)]
struct Decoder {
    detokenizer: Detokenizer,
    stop: Option<StopMatcher>,
}

/// A piece of text, and the stop string that it ran into.
#[derive(Debug, Default)]
struct Piece {
    text: String,
    matched: Option<usize>,
}

impl Answer {
    pub(super) fn is_done(&self) -> bool {
        self.end.is_some()
    }

    /// Whether it is what was asked for, neither failed nor cancelled.
    pub(super) fn is_sound(&self) -> bool {
        self.end.as_ref().is_some_and(End::is_sound)
    }

    /// When the first token came, and the last, and how many gaps lie between.
    pub(super) fn token_times(&self) -> Option<(Instant, Instant, usize)> {
        let num_gaps = self.token_ids.len().checked_sub(1)?;
        Some((self.first_token_at?, self.last_token_at?, num_gaps))
    }

    /// Takes a token, and perhaps its end, and returns the news. If a stop string
    /// ended the answer, the engine does not know of that yet.
    pub(super) fn push(
        &mut self,
        sampled: Sampled,
        finish: Option<Finish>,
        at: Instant,
        subject: &Subject,
    ) -> Delta {
        let params = &subject.params;
        self.first_token_at.get_or_insert(at);
        self.last_token_at = Some(at);
        self.token_ids.push(sampled.token_id);
        let logprobs = sampled.logprobs.map(|logprobs| vec![logprobs]);
        self.logprobs.extend(logprobs.iter().flatten().cloned());

        let mut delta = Delta {
            token_ids: vec![sampled.token_id],
            logprobs,
            ..Delta::default()
        };
        // The token that ends an answer is part of its tokens but not of its text,
        // as in vLLM: the same switch as for stop strings keeps it.
        let ended_by_token = matches!(&finish, Some(finish) if finish.reason == FinishReason::Stop);
        let is_text = !ended_by_token || params.include_stop_str_in_output;
        // The decoder leaves the answer while it works: if it panics, it is gone and
        // not asked for the rest.
        let decoder = self.decoder.take();
        let decoder = decoder.or_else(|| Decoder::new(subject));
        if let Some(mut decoder) = decoder {
            let may_stop = self.may_stop(subject);
            let piece = if is_text {
                decoder.push(sampled.token_id, may_stop)
            } else {
                Piece::default()
            };
            self.decoder = Some(decoder);
            delta.text = piece.text;
            if let Some(at) = piece.matched {
                self.stop_at(&params.stop[at]);
            }
        }
        self.text.push_str(&delta.text);
        if self.is_done() {
            delta.finish_reason = Some(FinishReason::Stop);
        } else if let Some(finish) = finish {
            delta.append(self.close(finish, None, subject));
        }
        delta
    }

    /// Ends the answer without a token, and returns the last news.
    pub(super) fn close(
        &mut self,
        finish: Finish,
        error: Option<String>,
        subject: &Subject,
    ) -> Delta {
        let may_stop = self.may_stop(subject);
        let rest = self.decoder.take().map(|decoder| decoder.finish(may_stop));
        let Piece { text, matched } = rest.unwrap_or_default();
        self.text.push_str(&text);
        let end = End { finish, error };
        match matched {
            // What was held back at the end may still complete a stop string.
            Some(at) if end.is_sound() => self.stop_at(&subject.params.stop[at]),
            _ => self.end = Some(end),
        }
        Delta {
            text,
            finish_reason: self.end.as_ref().map(|end| end.finish.reason),
            ..Delta::default()
        }
    }

    /// Whether a stop string that is complete by now ends the answer. One that
    /// only begins in the first `min_tokens` tokens does, as in vLLM.
    fn may_stop(&self, subject: &Subject) -> bool {
        self.token_ids.len() > subject.params.min_tokens as usize
    }

    fn stop_at(&mut self, stop: &str) {
        self.decoder = None;
        self.end = Some(End {
            finish: Finish {
                reason: FinishReason::Stop,
                stop: Some(StopReason::Text(stop.to_owned())),
            },
            error: None,
        });
    }

    /// The finished answer.
    pub(super) fn into_output(self, index: u32, subject: &Subject) -> CompletionOutput {
        let wants_logprobs = subject.params.logprobs.is_some();
        let cumulative = |logprobs: &[PositionLogprobs]| {
            let each = logprobs.iter().map(|at| f64::from(at.chosen.logprob));
            each.sum::<f64>() as f32
        };
        let end = self.end.expect("answers are output when they are done");
        CompletionOutput {
            index,
            text: self.text,
            token_ids: self.token_ids,
            cumulative_logprob: wants_logprobs.then(|| cumulative(&self.logprobs)),
            logprobs: wants_logprobs.then_some(self.logprobs),
            finish_reason: end.finish.reason,
            stop_reason: end.finish.stop,
            seed: subject.seed,
            error: end.error,
        }
    }
}

impl Piece {
    fn of(stop: &mut StopMatcher, text: &str, may_stop: bool) -> Self {
        if !may_stop {
            return Self {
                text: stop.push_without_end(text),
                matched: None,
            };
        }
        let pushed = stop.push(text);
        Self {
            text: pushed.emit,
            matched: pushed.matched,
        }
    }
}

impl Decoder {
    fn new(subject: &Subject) -> Option<Self> {
        let (params, tokenizer) = (&subject.params, subject.tokenizer.clone()?);
        let skip_special = params.skip_special_tokens;
        let context = &subject.prompt_token_ids;
        let has_stop = !params.stop.is_empty();
        let stop = || StopMatcher::new(&params.stop, params.include_stop_str_in_output);
        Some(Self {
            detokenizer: Detokenizer::after(tokenizer, skip_special, context),
            stop: has_stop.then(stop),
        })
    }

    fn push(&mut self, token_id: u32, may_stop: bool) -> Piece {
        let text = self.detokenizer.push(token_id);
        match &mut self.stop {
            Some(stop) => Piece::of(stop, &text, may_stop),
            None => Piece {
                text,
                matched: None,
            },
        }
    }

    /// What is still held back: an incomplete character, the beginning of what
    /// could have been a stop string.
    fn finish(mut self, may_stop: bool) -> Piece {
        let text = self.detokenizer.finish();
        let Some(mut stop) = self.stop else {
            return Piece {
                text,
                matched: None,
            };
        };
        let mut piece = Piece::of(&mut stop, &text, may_stop);
        if piece.matched.is_none() {
            piece.text.push_str(&stop.finish());
        }
        piece
    }
}
