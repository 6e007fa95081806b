//! Batched text generation: many sequences through one model, together.
#![forbid(unsafe_code)]

pub mod engine;
pub mod sampling;
