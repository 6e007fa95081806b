//! From a row of logits to the next token.
mod error;
mod explog;
mod logprobs;
mod params;
mod rng;
mod sampler;
mod validate;

pub mod dist;

#[cfg(test)]
mod tests;

pub use error::SampleError;
pub use logprobs::position_logprobs;
pub use params::SamplingParams;
pub use rng::{Rng, philox4x32, uniform};
pub use sampler::{SampleContext, Sampled, Sampler, SamplerScratch};
pub use validate::ParamError;
