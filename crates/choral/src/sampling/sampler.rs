//! One row of logits to one token, by a request's parameters.
//!
//! A [`Sampler`] holds what the parameters say and no state: what it draws is a
//! function of (parameters, seed, choice, tokens so far, logits). So a sequence
//! that is preempted and computed again draws the same tokens, and rows can be
//! sampled on any thread in any order.

use super::dist::{Candidates, Filter, check_row, edit, select};
use super::logprobs::{PositionLogprobs, position_logprobs};
use super::rng::uniform;
use super::{SampleError, SamplingParams};
use std::sync::Arc;

/// How one choice of one request draws its tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    choice: u32,
    greedy: bool,
    top_k: usize,
    /// After top-k, which comes with building the candidates.
    filters: [Filter; 4],
    /// Shared by the choices of a request, for lists of tokens may be long.
    edits: Arc<Edits>,
    /// How many alternatives to report, if log-probabilities are wanted.
    num_logprobs: Option<usize>,
}

/// What happens to single logits, in this order.
#[derive(Debug, Clone)]
struct Edits {
    repetition_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
    repeat_last_n: Option<usize>,
    logit_bias: Vec<(u32, f32)>,
    banned: Vec<u32>,
    /// Banned, with the model's end tokens, until `min_tokens` were drawn.
    stop_token_ids: Vec<u32>,
    min_tokens: usize,
    /// Ascending.
    allowed: Option<Vec<u32>>,
}

/// What was there before the token that is to be drawn.
#[derive(Debug, Clone, Copy, Default)]
pub struct SampleContext<'a> {
    /// The prompt's tokens.
    pub prompt: &'a [u32],
    /// The answer's tokens so far; their number is the position that keys the
    /// random number.
    pub output: &'a [u32],
    /// The tokens that end an answer of this model; they are banned while
    /// `output` is shorter than `min_tokens`.
    pub end_tokens: &'a [u32],
}

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token_id: u32,
    /// Its log-probability and the alternatives', if the parameters ask for
    /// them.
    pub logprobs: Option<PositionLogprobs>,
}

/// Memory that sampling reuses; one a thread. It holds nothing between calls.
///
/// Grows to about 80 bytes a token of the vocabulary, at most.
#[derive(Debug, Default, Clone)]
pub struct SamplerScratch {
    candidates: Candidates,
    /// The logits with edits applied.
    row: Vec<f32>,
    counts: edit::TokenCounts,
    pub(super) weights: Vec<f64>,
    pub(super) best: Vec<select::Entry>,
}

impl SamplerScratch {
    /// Empty; grows at first use.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Sampler {
    /// The sampler of choice `choice` (below `n`) of a request that draws with
    /// `seed`.
    ///
    /// The parameters are taken to be
    /// [valid](super::SamplingParams::validate); with others the drawn token is
    /// unspecified or an error, and nothing panics.
    pub fn new(params: &SamplingParams, seed: u64, choice: u32) -> Self {
        Self {
            seed,
            choice,
            // One candidate needs no softmax either.
            greedy: params.temperature == 0.0 || params.top_k == 1,
            top_k: params.top_k as usize,
            filters: [
                Filter::Temperature(params.temperature),
                Filter::TopP(params.top_p),
                Filter::MinP(params.min_p),
                Filter::Typical(params.typical_p),
            ],
            edits: Arc::new(Edits {
                repetition_penalty: params.repetition_penalty,
                frequency_penalty: params.frequency_penalty,
                presence_penalty: params.presence_penalty,
                repeat_last_n: params.repeat_last_n.map(|n| n as usize),
                logit_bias: params.logit_bias.iter().map(|(&id, &b)| (id, b)).collect(),
                banned: params.banned_token_ids.clone(),
                stop_token_ids: params.stop_token_ids.clone(),
                min_tokens: params.min_tokens as usize,
                allowed: params.allowed_token_ids.as_ref().map(|ids| {
                    let mut ids = ids.clone();
                    ids.sort_unstable();
                    ids.dedup();
                    ids
                }),
            }),
            num_logprobs: params.logprobs.map(|n| n as usize),
        }
    }

    /// The sampler of another choice of the same request. Cheap: it shares what
    /// the parameters say.
    #[must_use]
    pub fn for_choice(&self, choice: u32) -> Self {
        Self {
            choice,
            ..self.clone()
        }
    }

    /// The seed that keys the random numbers.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Draws the next token from `logits` (`[vocab]`, the model's own).
    ///
    /// # Errors
    /// A logit is NaN or +inf, a token of the context or of the parameters is
    /// outside of the row, an edit overflows, or nothing is left to draw.
    pub fn sample(
        &self,
        scratch: &mut SamplerScratch,
        logits: &[f32],
        context: &SampleContext<'_>,
    ) -> Result<Sampled, SampleError> {
        check_row(logits)?;
        // The row leaves the scratch for the time that it is borrowed from.
        let mut edited = std::mem::take(&mut scratch.row);
        let drawn = self
            .edits
            .apply(logits, &mut edited, &mut scratch.counts, context)
            .and_then(|changed| {
                let row = if changed { edited.as_slice() } else { logits };
                self.draw(&mut scratch.candidates, row, context.output.len())
            });
        scratch.row = edited;
        let token_id = drawn?;
        let logprobs = self
            .num_logprobs
            .map(|num_top| position_logprobs(scratch, logits, token_id, num_top))
            .transpose()?;
        Ok(Sampled { token_id, logprobs })
    }

    fn draw(
        &self,
        candidates: &mut Candidates,
        row: &[f32],
        position: usize,
    ) -> Result<u32, SampleError> {
        match &self.edits.allowed {
            Some(allowed) => {
                candidates.fill_only_checked(row, allowed)?;
                if self.greedy {
                    return Ok(candidates.argmax());
                }
                candidates.apply(Filter::TopK(self.top_k as u32));
            }
            None if self.greedy => return argmax(row),
            // Before the temperature, which does not change the order.
            None => candidates.fill_top_k_checked(row, self.top_k)?,
        }
        for filter in self.filters {
            candidates.apply(filter);
        }
        Ok(candidates.draw(uniform(self.seed, self.choice, position as u64)))
    }
}

/// The token with the largest logit; of equals the lowest id.
///
/// # Errors
/// All logits are -inf, or there are none. (NaN is taken for -inf.)
fn argmax(row: &[f32]) -> Result<u32, SampleError> {
    let max = select::max(row);
    row.iter()
        .position(|logit| *logit == max && max > f32::NEG_INFINITY)
        .map(|id| id as u32)
        .ok_or(SampleError::NothingLeft {
            vocab_size: row.len(),
        })
}

impl Edits {
    /// Puts the edited logits into `edited`, or leaves it and returns false if
    /// there is nothing to edit.
    fn apply(
        &self,
        logits: &[f32],
        edited: &mut Vec<f32>,
        counts: &mut edit::TokenCounts,
        context: &SampleContext<'_>,
    ) -> Result<bool, SampleError> {
        let vocab_size = logits.len();
        let repetition = self.repetition_penalty != 1.0;
        let occurrence = self.frequency_penalty != 0.0 || self.presence_penalty != 0.0;
        let early = context.output.len() < self.min_tokens;
        if !repetition
            && !occurrence
            && !early
            && self.logit_bias.is_empty()
            && self.banned.is_empty()
        {
            return Ok(false);
        }
        edited.clear();
        edited.extend_from_slice(logits);
        let row = edited.as_mut_slice();
        if repetition {
            let output = edit::last(context.output, self.repeat_last_n);
            let rest = self.repeat_last_n.map(|n| n - output.len());
            counts.clear();
            counts.add(edit::last(context.prompt, rest), vocab_size)?;
            counts.add(output, vocab_size)?;
            edit::repetition_penalty(row, counts, self.repetition_penalty)?;
        }
        if occurrence {
            counts.clear();
            counts.add(edit::last(context.output, self.repeat_last_n), vocab_size)?;
            edit::frequency_presence_penalty(
                row,
                counts,
                self.frequency_penalty,
                self.presence_penalty,
            )?;
        }
        for &(token_id, _) in &self.logit_bias {
            if token_id as usize >= vocab_size {
                return Err(SampleError::UnknownToken {
                    token_id,
                    vocab_size,
                });
            }
        }
        edit::logit_bias(row, self.logit_bias.iter().copied())?;
        edit::ban(row, self.banned.iter().copied());
        if early {
            edit::ban(row, self.stop_token_ids.iter().copied());
            edit::ban(row, context.end_tokens.iter().copied());
        }
        Ok(true)
    }
}
