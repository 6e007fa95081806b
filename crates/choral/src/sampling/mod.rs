//! From a row of logits to the next token.
//!
//! Owns what a caller may ask ([`SamplingParams`]), how it is done, and in which
//! order. Knows nothing of models, text or batches: a token is drawn from its
//! own logits, its own tokens and its own random numbers. Read [`Sampler`]
//! first, then [`dist`], which it is made of; [`sample_token`] is the short way
//! for code that writes its own loop.
//!
//! # The order
//!
//! 1. `repetition_penalty`, over prompt and answer;
//! 2. `frequency_penalty` and `presence_penalty`, over the answer;
//! 3. `logit_bias`;
//! 4. bans: `banned_token_ids`, everything outside of `allowed_token_ids`, and
//!    the tokens that would end the answer before `min_tokens`;
//! 5. `temperature`; 0 takes the likeliest token here and ends;
//! 6. `top_k`; 7. `top_p`; 8. `min_p`; 9. `typical_p`;
//! 10. the draw.
//!
//! It is that of Hugging Face transformers, whose definitions decide: each
//! filter sees the probabilities that the ones before it have left, normalised.
//!
//! # Ties
//!
//! Of equally good tokens the one with the lower id is better, in greedy
//! choices, at the boundary of every filter, and among reported alternatives.
//! So `top_k` keeps exactly `k` tokens. (Hugging Face keeps all that equal the
//! last.)
//!
//! # Random numbers
//!
//! One number a token, a function of (seed, choice, position in the answer):
//! see [`uniform`]. The token is the first, in ascending order of ids, at which
//! the cumulative probability exceeds it. No other state exists, and all
//! arithmetic is IEEE in a fixed order, so the same logits give the same token
//! in any batch, on any thread, on any CPU, before and after a preemption.

mod error;
mod explog;
mod logprobs;
mod params;
mod rng;
mod sampler;
mod strategy;
mod validate;

pub mod dist;

#[cfg(test)]
mod tests;

/// Compiles and runs the guide's examples.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/guides/sampling.md")]
struct Guide;

pub use error::SampleError;
pub(crate) use explog::exp_nonpositive;
pub use logprobs::{PositionLogprobs, TokenLogprob, position_logprobs};
pub use params::SamplingParams;
pub(crate) use rng::SEED_BITS;
pub use rng::{Rng, fresh_seed, philox4x32, uniform};
pub use sampler::{SampleContext, Sampled, Sampler, SamplerScratch};
pub use strategy::{Combination, SamplingStrategy, sample_token};
pub use validate::ParamError;
