//! Batched text generation: many sequences through one model, together.
#![forbid(unsafe_code)]

pub mod arch;
pub mod engine;
pub mod exec;
pub mod machine;
pub mod model;
pub mod nn;
pub mod sampling;
pub mod text;
