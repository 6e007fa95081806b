//! Requests that come one by one, and workers that take them in turn.

use crate::provider::{
    CancellationToken, Cancelled, GenerateError, GenerateRequest, Outcome, Provider, block_on,
};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

/// Why a request was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// As many wait as may wait.
    #[error("the queue is full: {capacity} requests are waiting")]
    Full {
        /// How many may.
        capacity: usize,
    },
    /// All workers are gone.
    #[error("the queue has no workers left")]
    NoWorkers,
}

/// A queue of requests with several workers, each of which asks a provider for one
/// answer at a time.
///
/// ```
/// use choral::batch::RequestQueue;
/// use choral::provider::{GenerateRequest, LocalProvider};
/// use choral::Engine;
/// use std::sync::Arc;
///
/// // Two engines that share their weights, and four workers that ask them.
/// let engines = Engine::builder().build_pool(2)?;
/// let queue = RequestQueue::start(Arc::new(LocalProvider::new(engines)), 4, 100)?;
/// let ticket = queue.submit(GenerateRequest::prompt("The fox").max_tokens(4))?;
/// println!("{}", ticket.wait()?.content);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RequestQueue {
    requests: Option<Sender<Queued>>,
    workers: Vec<JoinHandle<()>>,
    capacity: usize,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Queued {
    request: GenerateRequest,
    reply: Reply,
    cancel: CancellationToken,
}

impl RequestQueue {
    /// Starts `workers` threads (at least one). Up to `capacity` requests wait for them
    /// (at least one).
    ///
    /// # Errors
    /// If there are no threads to be had.
    pub fn start(provider: Arc<dyn Provider>, workers: usize, capacity: usize) -> io::Result<Self> {
        let capacity = capacity.max(1);
        let (requests, queued) = crossbeam_channel::bounded(capacity);
        let mut queue = Self {
            requests: Some(requests),
            workers: Vec::new(),
            capacity,
            stop: CancellationToken::new(),
        };
        for _ in 0..workers.max(1) {
            let (provider, queued) = (Arc::clone(&provider), queued.clone());
            let stop = queue.stop.clone();
            let worker = thread::Builder::new().name("choral-worker".to_owned());
            // Those that have been started end with the queue.
            let worker = worker.spawn(move || work(&*provider, &queued, &stop))?;
            queue.workers.push(worker);
        }
        Ok(queue)
    }

    /// Queues a request, waiting while the queue is full.
    ///
    /// # Errors
    /// If all workers are gone.
    pub fn submit(&self, request: impl Into<GenerateRequest>) -> Result<Ticket, QueueError> {
        let (queued, ticket) = queued(request.into());
        let sent = self.sender().send(queued);
        sent.map_err(|_| QueueError::NoWorkers)?;
        Ok(ticket)
    }

    /// Queues a request, or says at once that the queue is full.
    ///
    /// # Errors
    /// If it is, or if all workers are gone.
    pub fn try_submit(&self, request: impl Into<GenerateRequest>) -> Result<Ticket, QueueError> {
        let (queued, ticket) = queued(request.into());
        let sent = self.sender().try_send(queued);
        sent.map_err(|error| match error {
            TrySendError::Full(_) => QueueError::Full {
                capacity: self.capacity,
            },
            TrySendError::Disconnected(_) => QueueError::NoWorkers,
        })?;
        Ok(ticket)
    }

    /// How many requests wait for a worker.
    pub fn num_waiting(&self) -> usize {
        self.sender().len()
    }

    /// Has the workers finish everything that is queued, and waits for them.
    pub fn finish(mut self) {
        self.close();
    }

    fn sender(&self) -> &Sender<Queued> {
        let requests = self.requests.as_ref();
        requests.expect("a queue is closed when it is gone")
    }

    fn close(&mut self) {
        self.requests = None;
        for worker in self.workers.drain(..) {
            // One that panicked has said so; its request has ended.
            let _ = worker.join();
        }
    }
}

impl Drop for RequestQueue {
    /// Requests that have no outcome are cancelled.
    fn drop(&mut self) {
        self.stop.cancel();
        self.close();
    }
}

fn queued(request: GenerateRequest) -> (Queued, Ticket) {
    let cell = Arc::new(ReplyCell::default());
    let cancel = CancellationToken::new();
    let queued = Queued {
        request,
        reply: Reply(Arc::clone(&cell)),
        cancel: cancel.clone(),
    };
    (queued, Ticket { cell, cancel })
}

fn work(provider: &dyn Provider, queued: &Receiver<Queued>, stop: &CancellationToken) {
    for Queued {
        request,
        reply,
        cancel,
    } in queued
    {
        let mut ends: [Cancelled; 2] = [stop.cancelled(), cancel.cancelled()];
        let mut answer = None;
        let mut request = Some(request);
        let outcome = block_on(poll_fn(|context| {
            // Before the request: one that is cancelled already is never begun.
            for end in &mut ends {
                if Pin::new(end).poll(context).is_ready() {
                    return Poll::Ready(Err(GenerateError::cancelled()));
                }
            }
            let answer = answer.get_or_insert_with(|| {
                let request = request.take().expect("a request is begun once");
                provider.generate(request)
            });
            answer.as_mut().poll(context)
        }));
        reply.give(outcome);
    }
}

/// Where a worker leaves an outcome.
#[derive(Debug, Default)]
struct ReplyCell {
    state: Mutex<ReplyState>,
}

#[derive(Debug, Default)]
struct ReplyState {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl ReplyCell {
    fn lock(&self) -> MutexGuard<'_, ReplyState> {
        // Every change is a single store.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, outcome: Outcome) {
        let mut state = self.lock();
        state.outcome.get_or_insert(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The worker's side. A request that is dropped without an outcome, because the queue is
/// gone or because a worker panicked, counts as cancelled.
#[derive(Debug)]
struct Reply(Arc<ReplyCell>);

impl Reply {
    fn give(self, outcome: Outcome) {
        self.0.give(outcome);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.0.give(Err(GenerateError::cancelled()));
    }
}

/// A request that is queued: a future of its outcome. Dropping it cancels the request.
#[derive(Debug)]
pub struct Ticket {
    cell: Arc<ReplyCell>,
    cancel: CancellationToken,
}

impl Ticket {
    /// Waits for the outcome on this thread.
    pub fn wait(self) -> Outcome {
        block_on(self)
    }

    /// Cancels the request. Its outcome is then an error, if it has none yet.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl Future for Ticket {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.cell.lock();
        if let Some(outcome) = state.outcome.take() {
            return Poll::Ready(outcome);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
