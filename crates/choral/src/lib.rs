//! Batched text generation: many sequences through one model, together.
//!
//! ```
//! use choral::{Engine, SamplingParams};
//!
//! let engine = Engine::builder().build()?; // the model that ships; or `.model(path)`
//! let params = SamplingParams { max_tokens: Some(8), seed: Some(7), ..Default::default() };
//! for answer in engine.generate(["Once upon a time", "The little fox"], &params) {
//!     println!("{}", answer?.outputs[0].text);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Engine`] is the way in: [`builder`] loads a model into one, [`engine`] says what
//! can be asked of it. An answer depends on its prompt, its [`SamplingParams`], its
//! seed and the model file, and on nothing that runs beside it.
//!
//! Reading order for the curious: [`engine`], then [`model`] (what a step computes),
//! [`sampling`] (how a token is drawn), [`text`] (what a token spells).
#![forbid(unsafe_code)]
// References in tests are the system's functions.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod arch;
pub mod batch;
pub mod builder;
pub mod convert;
pub mod demo;
pub mod embed;
pub mod engine;
pub mod exec;
pub mod hub;
pub mod job;
mod kv;
pub mod load;
pub mod machine;
pub mod manual;
pub mod model;
pub mod nn;
pub mod pool;
pub mod provider;
pub mod sampling;
pub mod text;
pub mod vision;

pub use builder::{BuildError, EngineBuilder, ImageEncoderFile, ModelInfo};
pub use embed::Embedder;
pub use engine::{Engine, Prompt, Request, RequestOutput};
pub use pool::EnginePool;
pub use sampling::SamplingParams;

/// The guides, so that their programs are tested.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/guides/first-program.md")]
    struct FirstProgram;
    #[doc = include_str!("../../../docs/guides/streaming.md")]
    struct Streaming;
    #[doc = include_str!("../../../docs/guides/batching.md")]
    struct Batching;
    #[doc = include_str!("../../../docs/guides/lora.md")]
    struct Adapters;
    #[doc = include_str!("../../../docs/guides/embeddings.md")]
    struct Embeddings;
    #[doc = include_str!("../../../docs/guides/models.md")]
    struct Models;
    #[doc = include_str!("../../../docs/guides/measuring.md")]
    struct Measuring;
}
