//! Inputs to outputs, in order.

use crate::provider::{
    BatchOptions, BlockingStream, BoxFuture, CancellationToken, Cancelled, GenerateError,
    GenerateRequest, GenerateResponse, Outcome, Provider, Usage,
};
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Outputs that wait for an earlier one, for each request that runs: beyond that no
/// further inputs are drawn, so that one long answer does not fill the memory.
const WINDOW: usize = 8;

type ToRequest<In> = dyn Fn(&In) -> Result<GenerateRequest, GenerateError> + Send + Sync;
type ToOutput<In, Out> = dyn Fn(In, GenerateResponse) -> Result<Out, GenerateError> + Send + Sync;
type OnProgress = dyn Fn(&Progress) + Send + Sync;

/// How far a batch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Inputs that have their outcome.
    pub num_done: usize,
    /// Those of them that failed.
    pub num_failed: usize,
    /// All inputs, where that is known beforehand.
    pub num_total: Option<usize>,
    /// Tokens so far.
    pub usage: Usage,
}

/// Turns inputs into outputs by asking a provider: a number of them at a time, in the
/// order of the inputs.
///
/// ```
/// use choral::batch::BatchProcessor;
/// use choral::provider::{GenerateRequest, LocalProvider};
/// use choral::Engine;
/// use std::sync::Arc;
///
/// let provider = Arc::new(LocalProvider::new(Engine::builder().build()?));
/// let processor = BatchProcessor::new(
///     provider,
///     |animal: &&str| Ok(GenerateRequest::prompt(format!("The {animal}")).max_tokens(4)),
///     |animal, answer| Ok(format!("{animal}: {}", answer.content)),
/// );
/// let outputs = processor.run_blocking(["fox", "dog"]);
/// assert!(outputs[1].as_ref().unwrap().starts_with("dog: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BatchProcessor<In, Out> {
    provider: Arc<dyn Provider>,
    to_request: Arc<ToRequest<In>>,
    to_output: Arc<ToOutput<In, Out>>,
    options: BatchOptions,
    on_progress: Option<Arc<OnProgress>>,
}

impl<In, Out> fmt::Debug for BatchProcessor<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchProcessor")
            .field("provider", &self.provider.name())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<In: Send, Out: Send> BatchProcessor<In, Out> {
    /// A processor that asks `provider` what `to_request` makes of an input, and makes
    /// of the answer what `to_output` does. An error of either is that input's outcome.
    pub fn new(
        provider: Arc<dyn Provider>,
        to_request: impl Fn(&In) -> Result<GenerateRequest, GenerateError> + Send + Sync + 'static,
        to_output: impl Fn(In, GenerateResponse) -> Result<Out, GenerateError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            provider,
            to_request: Arc::new(to_request),
            to_output: Arc::new(to_output),
            options: BatchOptions::default(),
            on_progress: None,
        }
    }

    /// Most requests at a time; the provider's own number unless said.
    #[must_use]
    pub fn max_concurrency(mut self, requests: usize) -> Self {
        self.options = self.options.max_concurrency(requests);
        self
    }

    /// Has `token` end what is going on: inputs without an outcome get
    /// [`Cancelled`](crate::provider::ErrorKind::Cancelled).
    #[must_use]
    pub fn cancelled_by(mut self, token: &CancellationToken) -> Self {
        self.options = self.options.cancelled_by(token);
        self
    }

    /// Calls `observer` whenever an input has its outcome, in the order in which they
    /// come.
    #[must_use]
    pub fn on_progress(mut self, observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(observer));
        self
    }

    /// Outcomes in the order of the inputs, as early as that allows: a stream, or with a
    /// `for` loop an iterator. Inputs are drawn as room comes free.
    pub fn process<'a, I>(&'a self, inputs: I) -> Processed<'a, In, Out>
    where
        I: IntoIterator<Item = In, IntoIter: Send + 'a>,
    {
        let inputs = inputs.into_iter();
        let num_total = match inputs.size_hint() {
            (least, Some(most)) if least == most => Some(most),
            _ => None,
        };
        let limit = self.options.max_concurrency;
        let limit = limit.unwrap_or(self.provider.max_concurrency()).max(1);
        Processed {
            processor: self,
            inputs: Some(Box::new(inputs)),
            slots: VecDeque::new(),
            first: 0,
            running: FuturesUnordered::new(),
            limit,
            window: limit.saturating_mul(WINDOW),
            cancelled: self.options.cancel.cancelled(),
            is_cancelled: false,
            progress: Progress {
                num_total,
                ..Progress::default()
            },
        }
    }

    /// What came of every input, in their order.
    pub async fn run<I>(&self, inputs: I) -> Vec<Result<Out, GenerateError>>
    where
        I: IntoIterator<Item = In, IntoIter: Send>,
    {
        let mut processed = self.process(inputs);
        let mut outputs = Vec::new();
        while let Some(output) = processed.next().await {
            outputs.push(output);
        }
        outputs
    }

    /// [`run`](Self::run) for callers without a runtime.
    pub fn run_blocking<I>(&self, inputs: I) -> Vec<Result<Out, GenerateError>>
    where
        I: IntoIterator<Item = In, IntoIter: Send>,
    {
        self.process(inputs).into_iter().collect()
    }
}

/// One input that has been drawn.
enum Slot<In, Out> {
    Running(In),
    Done(Result<Out, GenerateError>),
}

type Inputs<'a, In> = Box<dyn Iterator<Item = In> + Send + 'a>;

/// Outcomes of inputs, in their order: a stream, or a blocking iterator. Dropping it
/// drops what still runs.
pub struct Processed<'a, In, Out> {
    processor: &'a BatchProcessor<In, Out>,
    /// `None` when all have been drawn.
    inputs: Option<Inputs<'a, In>>,
    /// Inputs from `first` on whose outcomes have not been handed out.
    slots: VecDeque<Slot<In, Out>>,
    first: usize,
    running: FuturesUnordered<BoxFuture<'a, (usize, Outcome)>>,
    limit: usize,
    window: usize,
    cancelled: Cancelled,
    is_cancelled: bool,
    progress: Progress,
}

impl<In, Out> fmt::Debug for Processed<'_, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processed")
            .field("progress", &self.progress)
            .field("num_running", &self.running.len())
            .finish_non_exhaustive()
    }
}

// Nothing in it is pinned in place: futures are in boxes of their own.
impl<In, Out> Unpin for Processed<'_, In, Out> {}

impl<In: Send, Out: Send> Processed<'_, In, Out> {
    /// The next outcome; `None` when every input has had its own.
    pub async fn next(&mut self) -> Option<Result<Out, GenerateError>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn draw(&mut self) -> Option<In> {
        let input = self.inputs.as_mut()?.next();
        if input.is_none() {
            // Not every iterator may be asked again.
            self.inputs = None;
        }
        input
    }

    fn fill(&mut self) {
        while self.running.len() < self.limit
            && self.slots.len() < self.window
            && let Some(input) = self.draw()
        {
            match (self.processor.to_request)(&input) {
                Ok(request) => {
                    let index = self.first + self.slots.len();
                    let answer = self.processor.provider.generate(request);
                    self.running
                        .push(Box::pin(async move { (index, answer.await) }));
                    self.slots.push_back(Slot::Running(input));
                }
                Err(error) => {
                    self.note(true, Usage::default());
                    self.slots.push_back(Slot::Done(Err(error)));
                }
            }
        }
    }

    /// Closes the slot of an input whose request is done.
    fn close(&mut self, index: usize, outcome: Outcome) {
        let at = index - self.first;
        let placeholder = Slot::Done(Err(GenerateError::cancelled()));
        let Slot::Running(input) = std::mem::replace(&mut self.slots[at], placeholder) else {
            unreachable!("a request is done once");
        };
        let usage = outcome
            .as_ref()
            .map_or(Usage::default(), |answer| answer.usage);
        let output = outcome.and_then(|answer| (self.processor.to_output)(input, answer));
        self.note(output.is_err(), usage);
        self.slots[at] = Slot::Done(output);
    }

    fn cancel(&mut self) {
        self.is_cancelled = true;
        self.running = FuturesUnordered::new();
        for at in 0..self.slots.len() {
            if matches!(self.slots[at], Slot::Running(_)) {
                self.note(true, Usage::default());
                self.slots[at] = Slot::Done(Err(GenerateError::cancelled()));
            }
        }
    }

    fn note(&mut self, is_failed: bool, usage: Usage) {
        self.progress.num_done += 1;
        self.progress.num_failed += usize::from(is_failed);
        self.progress.usage += usage;
        if let Some(observer) = &self.processor.on_progress {
            observer(&self.progress);
        }
    }
}

impl<In: Send, Out: Send> Stream for Processed<'_, In, Out> {
    type Item = Result<Out, GenerateError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.is_cancelled && Pin::new(&mut this.cancelled).poll(context).is_ready() {
            this.cancel();
        }
        loop {
            if !this.is_cancelled {
                this.fill();
            }
            if let Some(Slot::Done(_)) = this.slots.front() {
                let Some(Slot::Done(output)) = this.slots.pop_front() else {
                    unreachable!("just seen");
                };
                this.first += 1;
                return Poll::Ready(Some(output));
            }
            if this.is_cancelled && this.draw().is_some() {
                this.note(true, Usage::default());
                return Poll::Ready(Some(Err(GenerateError::cancelled())));
            }
            match ready!(Pin::new(&mut this.running).poll_next(context)) {
                Some((index, outcome)) => this.close(index, outcome),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Outcomes, each waited for.
#[derive(Debug)]
pub struct ProcessedIter<'a, In, Out>(BlockingStream<Processed<'a, In, Out>>);

impl<In: Send, Out: Send> Iterator for ProcessedIter<'_, In, Out> {
    type Item = Result<Out, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl<'a, In: Send, Out: Send> IntoIterator for Processed<'a, In, Out> {
    type Item = Result<Out, GenerateError>;
    type IntoIter = ProcessedIter<'a, In, Out>;

    fn into_iter(self) -> Self::IntoIter {
        ProcessedIter(BlockingStream::new(self))
    }
}
