//! One call from logits to a token, for code that writes its own loop.
//!
//! Made of the same pieces as [`Sampler`](super::Sampler), without its
//! penalties, biases and bans; [`dist`](super::dist) has those.

use super::dist::{Candidates, Filter};
use super::rng::Rng;
use super::{ParamError, SampleError, SamplingParams};

/// How to choose a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SamplingStrategy {
    /// The likeliest token; of equals the lowest id.
    Greedy,
    /// Any token, after the logits are divided by `temperature`: below 1 favours
    /// likely tokens, above 1 evens them out, 0 is [`Greedy`](Self::Greedy).
    Temperature {
        /// At least 0.
        temperature: f32,
    },
    /// One of the `k` likeliest tokens, in proportion to their probabilities.
    TopK {
        /// How many; 0 for all.
        k: u32,
    },
    /// A token of the smallest set of likeliest tokens whose probabilities sum
    /// to at least `p` (nucleus sampling).
    TopP {
        /// Above 0 and at most 1.
        p: f32,
    },
    /// A token that is at least `p` times as likely as the likeliest.
    MinP {
        /// 0 to 1.
        p: f32,
    },
    /// Several of them, in the order temperature, top-k, top-p, min-p.
    Combined(Combination),
}

/// What [`SamplingStrategy::Combined`] combines; the default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Combination {
    /// Divides the logits; 1 leaves them, 0 is greedy.
    pub temperature: f32,
    /// Keeps the `k` likeliest; 0 for all.
    pub top_k: u32,
    /// Keeps the nucleus of this probability; 1 for all.
    pub top_p: f32,
    /// Keeps tokens at least this likely relative to the likeliest; 0 for all.
    pub min_p: f32,
}

impl Default for Combination {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
        }
    }
}

impl SamplingStrategy {
    fn combination(&self) -> Combination {
        let mut combination = Combination::default();
        match *self {
            Self::Greedy => combination.temperature = 0.0,
            Self::Temperature { temperature } => combination.temperature = temperature,
            Self::TopK { k } => combination.top_k = k,
            Self::TopP { p } => combination.top_p = p,
            Self::MinP { p } => combination.min_p = p,
            Self::Combined(combined) => combination = combined,
        }
        combination
    }

    /// Checks the values by the rules of [`SamplingParams::validate`].
    pub fn validate(&self) -> Result<(), ParamError> {
        SamplingParams::from(*self).validate(0)
    }
}

/// The parameters with which the engine draws as the strategy does.
impl From<SamplingStrategy> for SamplingParams {
    fn from(strategy: SamplingStrategy) -> Self {
        let combination = strategy.combination();
        Self {
            temperature: combination.temperature,
            top_k: combination.top_k,
            top_p: combination.top_p,
            min_p: combination.min_p,
            ..Self::default()
        }
    }
}

/// Draws a token from `logits` (`[vocab]`).
///
/// Takes exactly one number from `rng`, whatever the strategy: call `i` draws
/// what the engine draws for token `i` of a request with the same seed.
///
/// ```
/// use choral::sampling::{Combination, Rng, SamplingStrategy, sample_token};
///
/// let logits = [0.5, 2.0, -1.0, 1.9];
/// let mut rng = Rng::new(42);
/// assert_eq!(sample_token(&logits, &SamplingStrategy::Greedy, &mut rng)?, 1);
///
/// let strategy = SamplingStrategy::Combined(Combination {
///     temperature: 0.7,
///     top_k: 2,
///     top_p: 0.9,
///     ..Combination::default()
/// });
/// let token = sample_token(&logits, &strategy, &mut rng)?;
/// assert!(token == 1 || token == 3);
/// # Ok::<(), choral::sampling::SampleError>(())
/// ```
///
/// Allocates; a loop over a large vocabulary does better with a
/// [`Sampler`](super::Sampler) or with [`Candidates`] of its own.
///
/// # Errors
/// A parameter out of its range, a logit that is NaN or +inf, or no logit above
/// -inf.
pub fn sample_token(
    logits: &[f32],
    strategy: &SamplingStrategy,
    rng: &mut Rng,
) -> Result<u32, SampleError> {
    let u = rng.next_uniform();
    strategy.validate()?;
    let combination = strategy.combination();
    let mut candidates = Candidates::default();
    candidates.fill_top_k(logits, combination.top_k as usize)?;
    for filter in [
        Filter::Temperature(combination.temperature),
        Filter::TopP(combination.top_p),
        Filter::MinP(combination.min_p),
    ] {
        candidates.apply(filter);
    }
    Ok(candidates.draw(u))
}
