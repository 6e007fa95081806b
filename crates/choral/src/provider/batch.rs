//! Many requests to one provider: some at a time, all accounted for.
//!
//! Read [`Outcomes`] first: it keeps a bounded number of requests going and yields each
//! outcome as it comes. The rest collects.

use super::block_on::{BlockingStream, block_on};
use super::cancel::{CancellationToken, Cancelled};
use super::error::GenerateError;
use super::request::GenerateRequest;
use super::response::GenerateResponse;
use super::{BoxFuture, Provider};
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What came of one request.
pub type Outcome = Result<GenerateResponse, GenerateError>;

/// How many requests are answered.
#[derive(Debug, Clone, Default)]
pub struct BatchOptions {
    /// Most requests at a time; `None`: as the provider likes
    /// ([`Provider::max_concurrency`]).
    pub max_concurrency: Option<usize>,
    /// Ends the batch: requests that run are dropped, and each that has no outcome gets
    /// [`Cancelled`](super::ErrorKind::Cancelled) as its own.
    pub cancel: CancellationToken,
}

impl BatchOptions {
    /// Most requests at a time; at least 1.
    #[must_use]
    pub fn max_concurrency(mut self, requests: usize) -> Self {
        self.max_concurrency = Some(requests.max(1));
        self
    }

    /// The same as [`max_concurrency`](Self::max_concurrency), by the name that other
    /// libraries have for it. Nothing waits for a whole batch to end: as soon as one
    /// request is done, the next begins.
    #[must_use]
    pub fn batch_size(self, requests: usize) -> Self {
        self.max_concurrency(requests)
    }

    /// Has `token` end the batch.
    #[must_use]
    pub fn cancelled_by(mut self, token: &CancellationToken) -> Self {
        self.cancel = token.clone();
        self
    }
}

/// The first request of a batch that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("request {index}: {error}")]
pub struct BatchError {
    /// Which request, from 0.
    pub index: usize,
    /// Why. (Not the source: the message has it.)
    pub error: GenerateError,
}

impl From<BatchError> for GenerateError {
    fn from(error: BatchError) -> Self {
        error.error
    }
}

/// What every provider can do with many requests.
///
/// Requests are anything that makes a [`GenerateRequest`]: texts, conversations, or
/// requests with parameters of their own.
pub trait ProviderExt: Provider {
    /// Answers requests and yields `(index, outcome)` as they finish: a stream, or with a
    /// `for` loop an iterator. `requests` is drawn from as room comes free.
    fn batch<'a, I>(&'a self, requests: I, options: &BatchOptions) -> Outcomes<'a>
    where
        I: IntoIterator<Item: Into<GenerateRequest> + 'a, IntoIter: Send + 'a>,
    {
        let requests = requests.into_iter().map(Into::into);
        let limit = options.max_concurrency.unwrap_or(self.max_concurrency());
        Outcomes {
            start: Box::new(|request| self.generate(request)),
            requests: Some(Box::new(requests)),
            running: FuturesUnordered::new(),
            unfinished: BTreeSet::new(),
            next_index: 0,
            limit: limit.max(1),
            cancelled: options.cancel.cancelled(),
            is_cancelled: false,
        }
    }

    /// Answers all requests, in their order, or returns the first error and drops what
    /// still runs. No requests give no answers.
    ///
    /// # Errors
    /// The error that came first, and whose it is.
    fn batch_generate<'a, I>(
        &'a self,
        requests: I,
        options: &BatchOptions,
    ) -> impl Future<Output = Result<Vec<GenerateResponse>, BatchError>> + Send
    where
        I: IntoIterator<Item: Into<GenerateRequest> + 'a, IntoIter: Send + 'a>,
    {
        let mut outcomes = self.batch(requests, options);
        async move {
            let mut answers = Vec::new();
            while let Some((index, outcome)) = outcomes.next().await {
                match outcome {
                    Ok(answer) => place(&mut answers, index, answer),
                    Err(error) => return Err(BatchError { index, error }),
                }
            }
            Ok(all(answers))
        }
    }

    /// Answers all requests and returns what came of each, in their order.
    fn batch_generate_with_errors<'a, I>(
        &'a self,
        requests: I,
        options: &BatchOptions,
    ) -> impl Future<Output = Vec<Outcome>> + Send
    where
        I: IntoIterator<Item: Into<GenerateRequest> + 'a, IntoIter: Send + 'a>,
    {
        let mut outcomes = self.batch(requests, options);
        async move {
            let mut all_of_them = Vec::new();
            while let Some((index, outcome)) = outcomes.next().await {
                place(&mut all_of_them, index, outcome);
            }
            all(all_of_them)
        }
    }

    /// [`generate`](Provider::generate) for callers without a runtime.
    fn generate_blocking(&self, request: impl Into<GenerateRequest>) -> Outcome {
        block_on(self.generate(request.into()))
    }

    /// [`batch_generate`](Self::batch_generate) for callers without a runtime.
    fn batch_generate_blocking<'a, I>(
        &'a self,
        requests: I,
        options: &BatchOptions,
    ) -> Result<Vec<GenerateResponse>, BatchError>
    where
        I: IntoIterator<Item: Into<GenerateRequest> + 'a, IntoIter: Send + 'a>,
    {
        block_on(self.batch_generate(requests, options))
    }

    /// [`batch_generate_with_errors`](Self::batch_generate_with_errors) for callers
    /// without a runtime.
    fn batch_generate_with_errors_blocking<'a, I>(
        &'a self,
        requests: I,
        options: &BatchOptions,
    ) -> Vec<Outcome>
    where
        I: IntoIterator<Item: Into<GenerateRequest> + 'a, IntoIter: Send + 'a>,
    {
        block_on(self.batch_generate_with_errors(requests, options))
    }
}

impl<P: Provider + ?Sized> ProviderExt for P {}

fn place<T>(into: &mut Vec<Option<T>>, index: usize, value: T) {
    if into.len() <= index {
        into.resize_with(index + 1, || None);
    }
    into[index] = Some(value);
}

fn all<T>(placed: Vec<Option<T>>) -> Vec<T> {
    let placed = placed.into_iter();
    placed
        .map(|value| value.expect("every request has one outcome"))
        .collect()
}

type Start<'a> = Box<dyn Fn(GenerateRequest) -> BoxFuture<'a, Outcome> + Send + 'a>;
type Requests<'a> = Box<dyn Iterator<Item = GenerateRequest> + Send + 'a>;

/// Outcomes of a batch as they finish, each with its request's index: a stream, or a
/// blocking iterator. Dropping it drops what still runs.
pub struct Outcomes<'a> {
    start: Start<'a>,
    /// `None` when all have been drawn.
    requests: Option<Requests<'a>>,
    running: FuturesUnordered<BoxFuture<'a, (usize, Outcome)>>,
    /// Indices of those in `running`.
    unfinished: BTreeSet<usize>,
    next_index: usize,
    limit: usize,
    cancelled: Cancelled,
    is_cancelled: bool,
}

impl fmt::Debug for Outcomes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes")
            .field("unfinished", &self.unfinished)
            .field("next_index", &self.next_index)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Outcomes<'_> {
    /// The next outcome; `None` when every request has had its own.
    pub async fn next(&mut self) -> Option<(usize, Outcome)> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// How many requests run.
    pub fn num_running(&self) -> usize {
        self.unfinished.len()
    }

    /// The next request, and its index.
    fn draw(&mut self) -> Option<(usize, GenerateRequest)> {
        let request = self.requests.as_mut()?.next();
        let Some(request) = request else {
            // Not every iterator may be asked again.
            self.requests = None;
            return None;
        };
        let index = self.next_index;
        self.next_index += 1;
        Some((index, request))
    }

    fn fill(&mut self) {
        while self.running.len() < self.limit
            && let Some((index, request)) = self.draw()
        {
            let answer = (self.start)(request);
            self.running
                .push(Box::pin(async move { (index, answer.await) }));
            self.unfinished.insert(index);
        }
    }

    fn next_cancelled(&mut self) -> Option<(usize, Outcome)> {
        let index = match self.unfinished.pop_first() {
            Some(index) => index,
            None => self.draw()?.0,
        };
        Some((index, Err(GenerateError::cancelled())))
    }
}

impl Stream for Outcomes<'_> {
    type Item = (usize, Outcome);

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.is_cancelled && Pin::new(&mut this.cancelled).poll(context).is_ready() {
            this.is_cancelled = true;
            this.running = FuturesUnordered::new();
        }
        if this.is_cancelled {
            return Poll::Ready(this.next_cancelled());
        }
        this.fill();
        let done = ready!(Pin::new(&mut this.running).poll_next(context));
        if let Some((index, _)) = &done {
            this.unfinished.remove(index);
            // The next ones begin now, not when the reader comes back.
            this.fill();
        }
        Poll::Ready(done)
    }
}

/// A batch's outcomes, each waited for.
#[derive(Debug)]
pub struct OutcomesIter<'a>(BlockingStream<Outcomes<'a>>);

impl Iterator for OutcomesIter<'_> {
    type Item = (usize, Outcome);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl<'a> IntoIterator for Outcomes<'a> {
    type Item = (usize, Outcome);
    type IntoIter = OutcomesIter<'a>;

    fn into_iter(self) -> OutcomesIter<'a> {
        OutcomesIter(BlockingStream::new(self))
    }
}
