//! Decides who runs, runs it, and hands out what came of it.
//!
//! [`Engine`] is the way in: it checks requests and hands out a
//! [`GenerationStream`] for each. Behind it are two threads. The engine thread
//! (`core`) owns everything that changes: the [`scheduler`](self) that plans steps
//! and the [`Executor`](batch::Executor) that computes them. The output thread
//! turns tokens into text and leaves it in mailboxes, from which readers fetch it.
//!
//! ```text
//! caller            engine thread             output thread        reader
//! submit -commands-> plan, run, draw, commit -reports-> detokenize -mailbox-> stream
//!                       ^------------ abort ------------'                      |
//!                       ^------------ abort (drop, cancel) -------------------'
//! ```
//!
//! There is no async in here and no lock around a sequence. A fault in one
//! sequence ends that sequence, a fault of the executor ends the step's sequences,
//! and neither ends the engine.

mod answer;
pub mod batch;
mod command;
mod config;
mod core;
mod draw;
mod error;
mod handle;
mod images;
mod lora;
mod mailbox;
mod metrics;
mod output;
mod queue;
mod relay;
mod reply;
pub mod request;
mod scheduler;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
mod vision;

#[cfg(test)]
mod tests;

pub use self::core::OnStep;
pub(crate) use config::{DEFAULT_BATCHED_TOKENS, DEFAULT_SEQS};
pub use config::{EngineConfig, EngineParts, ImageInput};
pub use error::{ChatError, StartError, SubmitError};
pub use handle::Engine;
#[cfg(test)]
pub(crate) use images::NO_IMAGES;
pub(crate) use images::PromptImages;
pub(crate) use lora::Mix;
pub use mailbox::StreamEvent;
pub use metrics::{EngineMetrics, StepStats};
pub use request::{Lora, Prompt, Request, RequestMetrics, RequestOutput, RequestSize};
pub use stream::{Events, GenerationStream};
