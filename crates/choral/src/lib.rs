//! Batched text generation: many sequences through one model, together.
#![forbid(unsafe_code)]

pub mod engine;
mod kv;
pub mod sampling;
