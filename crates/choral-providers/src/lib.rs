//! Services behind [`choral::provider::Provider`]: OpenAI, Anthropic, Ollama, LM Studio,
//! vLLM, llama.cpp and whatever else speaks OpenAI's protocol; and the local engine, so
//! that one name is all a program needs to change.
//!
//! ```
//! use choral::provider::{BatchOptions, GenerateRequest, ProviderExt};
//!
//! // Or "openai/gpt-4.1-mini", "anthropic/claude-sonnet-4-5", "ollama/llama3.2", ...
//! let provider = choral_providers::create("local")?;
//! let requests = ["Once upon a time", "The little fox"]
//!     .map(|prompt| GenerateRequest::prompt(prompt).max_tokens(8));
//! for answer in provider.batch_generate_blocking(requests, &BatchOptions::default())? {
//!     println!("{}", answer.content);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`create`] is the way in, [`Builder`] says everything that can be said. What a vendor
//! speaks is in `openai`, `anthropic` and `ollama`: functions from requests to JSON and
//! back, which know no network. [`NetworkOptions`] bounds the rest (`client`): connections
//! are kept, requests are limited in number and rate, tried again with growing waits, and
//! end by a deadline. Keys are a [`Secret`] and go to one origin only.
//!
//! Futures run on any executor: each provider drives its connections with a thread of its
//! own.
#![forbid(unsafe_code)]

mod anthropic;
mod batches;
mod call;
mod client;
mod driver;
mod factory;
mod kind;
mod limits;
mod lines;
mod ollama;
mod openai;
mod protocol;
mod remote;
mod retry;
mod secret;
mod status;
mod tls;

pub use client::NetworkOptions;
pub use factory::{Builder, create};
pub use kind::{Api, Kind, capability_table};
pub use limits::RateLimits;
pub use ollama::{Ollama, OllamaModel, PullProgress};
pub use remote::Remote;
pub use retry::RetryPolicy;
pub use secret::Secret;
pub use status::ServerState;

/// The guides, so that their programs are tested.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/batch-generation.md")]
    struct BatchGeneration;
    #[doc = include_str!("../../../docs/guides/providers.md")]
    struct Providers;
}
