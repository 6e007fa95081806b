//! From a row of logits to the next token.

mod params;

pub use params::SamplingParams;
