//! Log-probabilities of the model itself, before any sampling parameter.

use super::SampleError;
use super::dist::check_row;
use super::dist::select::{Entry, best_first, max, top_k_of_row};
use super::explog::{exp_nonpositive, ln, sum};
use super::sampler::SamplerScratch;
use serde::Serialize;

/// Log-probability (natural) of one token, after nothing but a softmax over the
/// model's own logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenLogprob {
    /// The token.
    pub token_id: u32,
    /// Its log-probability.
    pub logprob: f32,
}

/// Log-probabilities at one position.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PositionLogprobs {
    /// The token that stands there.
    pub chosen: TokenLogprob,
    /// The most likely ones, best first; as many as were asked for.
    pub top: Vec<TokenLogprob>,
}

/// Log-probabilities (natural, of the softmax over `logits` as they are) of
/// `token_id` and of the `num_top` likeliest tokens, best first, ties by lower
/// id. Tokens with the logit -inf are never among the likeliest.
///
/// Sums in f64, in one fixed order. Allocates the list that it returns, and
/// nothing else once `scratch` is warm.
///
/// # Errors
/// A logit is NaN or +inf, all are -inf, or `token_id` is outside of the row.
pub fn position_logprobs(
    scratch: &mut SamplerScratch,
    logits: &[f32],
    token_id: u32,
    num_top: usize,
) -> Result<PositionLogprobs, SampleError> {
    check_row(logits)?;
    let vocab_size = logits.len();
    let &chosen = logits
        .get(token_id as usize)
        .ok_or(SampleError::UnknownToken {
            token_id,
            vocab_size,
        })?;
    let max = max(logits);
    if max == f32::NEG_INFINITY {
        return Err(SampleError::NothingLeft { vocab_size });
    }
    let max = f64::from(max);
    scratch.weights.clear();
    scratch.weights.extend(
        logits
            .iter()
            .map(|&logit| exp_nonpositive(f64::from(logit) - max)),
    );
    let log_total = ln(sum(&scratch.weights));
    let logprob = |token_id: u32, logit: f32| TokenLogprob {
        token_id,
        logprob: (f64::from(logit) - max - log_total) as f32,
    };
    scratch.best.clear();
    scratch.best.reserve_exact(vocab_size);
    top_k_of_row(logits, num_top.min(vocab_size), &mut scratch.best);
    scratch.best.sort_unstable_by(best_first);
    Ok(PositionLogprobs {
        chosen: logprob(token_id, chosen),
        top: scratch
            .best
            .iter()
            .map(|&Entry { id, logit }| logprob(id, logit))
            .collect(),
    })
}
