//! One way to ask any model: what runs here, or what a service runs.
//!
//! [`Provider`] is the trait; [`LocalProvider`] implements it over an
//! [`Engine`](crate::Engine), the crate `choral-providers` over the network.
//! [`GenerateRequest`] goes in and [`GenerateResponse`] or [`GenerateError`] comes out,
//! with the same meaning everywhere. [`ProviderExt`] has what every provider can do with
//! many requests: [`batch_generate`](ProviderExt::batch_generate), which ends at the first
//! error, [`batch_generate_with_errors`](ProviderExt::batch_generate_with_errors), which
//! has an outcome for each, and [`batch`](ProviderExt::batch), which yields them as they
//! finish.
//!
//! Knows no runtime: its futures run on any executor, and the blocking forms on none.
//! Knows no sockets and no vendor.
//!
//! ```
//! use choral::provider::{BatchOptions, GenerateRequest, LocalProvider, ProviderExt};
//! use choral::Engine;
//!
//! let provider = LocalProvider::new(Engine::builder().build()?);
//! let requests = ["Once upon a time", "The little fox"].map(|prompt| {
//!     GenerateRequest::prompt(prompt).max_tokens(8).seed(7)
//! });
//! for answer in provider.batch_generate_blocking(requests, &BatchOptions::default())? {
//!     println!("{} ({} tokens)", answer.content, answer.usage.completion_tokens);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod block_on;
mod cancel;
mod capabilities;
mod error;
mod local;
mod message;
mod params;
mod remote;
mod request;
mod response;

#[cfg(test)]
pub(crate) mod tests;

pub use batch::{BatchError, BatchOptions, Outcome, Outcomes, OutcomesIter, ProviderExt};
pub use block_on::{BlockingStream, block_on};
pub use cancel::{CancellationToken, Cancelled};
pub use capabilities::{BatchKind, Capabilities, PromptStyle};
pub use error::{ErrorKind, GenerateError};
pub use local::{LocalProvider, PromptMode};
pub use message::{
    Image, ImageSource, JsonSchema, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};
pub use params::GenerateParams;
pub use remote::{
    BATCH_UNKNOWN, BatchCounts, BatchLimits, BatchState, BatchStatus, BatchTicket, RemoteBatch,
    RemoteOutcome,
};
pub use request::{GenerateRequest, Input};
pub use response::{
    Choice, FinishReason, GenerateDelta, GenerateEvent, GenerateResponse, TokenLogprob, Usage,
};

use std::pin::Pin;

/// A future that any executor runs.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream that any executor runs. [`BlockingStream`] makes an iterator of it.
pub type BoxStream<'a, T> = Pin<Box<dyn futures_core::Stream<Item = T> + Send + 'a>>;

/// What answers requests.
///
/// Futures do nothing until they are polled, and end what they began when they are
/// dropped: a sequence leaves its batch, a connection is closed.
pub trait Provider: Send + Sync {
    /// The kind of provider, as [`choral_providers::create`] takes it: `openai`.
    ///
    /// [`choral_providers::create`]: https://docs.rs/choral-providers
    fn name(&self) -> &str;

    /// The model that answers.
    fn model(&self) -> &str;

    /// What it can do. What it cannot is refused
    /// ([`ErrorKind::Unsupported`]), never left out.
    fn capabilities(&self) -> &Capabilities;

    /// Answers one request.
    fn generate(
        &self,
        request: GenerateRequest,
    ) -> BoxFuture<'_, Result<GenerateResponse, GenerateError>>;

    /// Answers one request piece by piece. The last event is
    /// [`GenerateEvent::Finished`] or an error.
    fn stream(
        &self,
        request: GenerateRequest,
    ) -> BoxStream<'_, Result<GenerateEvent, GenerateError>>;

    /// How many requests it is best given at a time; what
    /// [`BatchOptions::max_concurrency`] is unless said.
    fn max_concurrency(&self) -> usize {
        self.capabilities().default_concurrency
    }

    /// The models that there are.
    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, GenerateError>> {
        let models = vec![self.model().to_owned()];
        Box::pin(std::future::ready(Ok(models)))
    }

    /// The vendor's service for batches that may take hours, if there is one.
    fn remote_batch(&self) -> Option<&dyn RemoteBatch> {
        None
    }
}

impl<P: Provider + ?Sized> Provider for std::sync::Arc<P> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn model(&self) -> &str {
        (**self).model()
    }

    fn capabilities(&self) -> &Capabilities {
        (**self).capabilities()
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> BoxFuture<'_, Result<GenerateResponse, GenerateError>> {
        (**self).generate(request)
    }

    fn stream(
        &self,
        request: GenerateRequest,
    ) -> BoxStream<'_, Result<GenerateEvent, GenerateError>> {
        (**self).stream(request)
    }

    fn max_concurrency(&self) -> usize {
        (**self).max_concurrency()
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, GenerateError>> {
        (**self).models()
    }

    fn remote_batch(&self) -> Option<&dyn RemoteBatch> {
        (**self).remote_batch()
    }
}
