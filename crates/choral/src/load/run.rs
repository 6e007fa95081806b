//! Sends requests and takes the time.
//!
//! One thread does both: it sleeps until a request is due or a stream has news. So
//! nothing that it measures waits for another reader.

use crate::engine::request::FinishReason;
use crate::engine::{Engine, GenerationStream, Request, RequestOutput, StreamEvent};
use crossbeam_channel::{Receiver, Sender, unbounded};
use futures_core::Stream as _;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// When requests are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pace {
    /// So many at a time: the next one when one has ended.
    Concurrency(NonZeroUsize),
    /// At these times from the start, however many are running; in order, one for each
    /// request.
    Arrivals(Vec<Duration>),
}

/// What one request went through, in seconds since it came: since it was due, even if
/// it was sent a little later.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// When it came, from the start of the run.
    pub came: f64,
    /// Tokens of its prompt.
    pub num_prompt_tokens: usize,
    /// Tokens of its answers.
    pub num_tokens: usize,
    /// To its first token.
    pub ttft: Option<f64>,
    /// From each token of an answer to the next, as a reader gets them: 0 for those that
    /// come together.
    pub gaps: Vec<f64>,
    /// To its end.
    pub e2e: f64,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Trace {
    /// Time for each token after the first, on average.
    pub fn tpot(&self) -> Option<f64> {
        let further = self.num_tokens.checked_sub(1).filter(|&n| n > 0)?;
        Some((self.e2e - self.ttft?) / further as f64)
    }
}

/// What came of all requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadRun {
    /// Of each, in order; of those that were sent, if the run was ended early.
    pub traces: Vec<Trace>,
    /// What they were answered. `None` for those that were refused.
    pub outputs: Vec<Option<RequestOutput>>,
    /// From the start to the last answer.
    pub seconds: f64,
    /// Whether it was stopped before its end.
    pub is_stopped: bool,
}

/// Ends a run from another thread, or from [`Load::on_end`]: requests that run are
/// cancelled, and no further ones are sent.
#[derive(Debug, Clone)]
pub struct Stopper(Sender<News>);

impl Stopper {
    /// Ends the run.
    pub fn stop(&self) {
        // A run that has ended needs no stopping.
        let _ = self.0.send(News::Stop);
    }
}

/// What the thread sleeps for.
#[derive(Debug, Clone, Copy)]
enum News {
    /// This request may have some.
    Request(usize),
    Stop,
}

/// A request that has ended, for [`Load::on_end`].
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// How many have, with this one.
    pub num_ended: usize,
    /// Which of the requests it was.
    pub index: usize,
    /// What it went through.
    pub trace: &'a Trace,
    /// What it was answered; `None` if it was refused.
    pub output: Option<&'a RequestOutput>,
}

/// Requests to be sent to an engine.
pub struct Load<'a> {
    engine: &'a Engine,
    requests: Vec<Request>,
    pace: Pace,
    on_end: Box<dyn FnMut(Ended<'_>) + 'a>,
    sender: Sender<News>,
    news: Receiver<News>,
}

impl<'a> Load<'a> {
    /// Requests, to be sent one after another.
    pub fn new(engine: &'a Engine, requests: Vec<Request>) -> Self {
        let (sender, news) = unbounded();
        Self {
            engine,
            requests,
            pace: Pace::Concurrency(NonZeroUsize::MIN),
            on_end: Box::new(|_| ()),
            sender,
            news,
        }
    }

    /// Sends them otherwise.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Calls `on_end` when a request has ended.
    #[must_use]
    pub fn on_end(mut self, on_end: impl FnMut(Ended<'_>) + 'a) -> Self {
        self.on_end = Box::new(on_end);
        self
    }

    /// What ends the run early.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Sends the requests and waits for the answers. The engine's queue has to have
    /// room for those that wait; what it refuses counts as failed.
    ///
    /// # Panics
    /// If there are fewer arrivals than requests.
    pub fn run(self) -> LoadRun {
        let Self {
            engine,
            requests,
            pace,
            mut on_end,
            sender,
            news,
        } = self;
        let num_requests = requests.len();
        if let Pace::Arrivals(times) = &pace {
            assert!(
                times.len() >= num_requests,
                "{num_requests} requests, but {} arrivals",
                times.len()
            );
        }
        let mut requests = requests.into_iter();
        let mut sent: Vec<Sent> = Vec::with_capacity(num_requests);
        let mut num_ended = 0;
        let start = Instant::now();
        let mut end = start;
        let mut is_stopped = false;
        while num_ended < num_requests {
            let due = next_due(&pace, sent.len(), num_ended, start).filter(|_| requests.len() > 0);
            let next = if due.is_some_and(|due| due <= Instant::now()) {
                // News may have come meanwhile: a stop is not kept waiting.
                news.try_recv().map_err(|_| ())
            } else {
                match due {
                    Some(due) => news.recv_deadline(due).map_err(|_| ()),
                    None => news.recv().map_err(|_| ()),
                }
            };
            let index = match next {
                Ok(News::Stop) => {
                    is_stopped = true;
                    break;
                }
                Ok(News::Request(index)) => index,
                // The next request is due.
                Err(()) => {
                    let Some((request, due)) = requests.next().zip(due) else {
                        continue;
                    };
                    sent.push(Sent::new(engine, request, due));
                    sent.len() - 1
                }
            };
            let one = &mut sent[index];
            if !one.is_counted && one.listen(index, &sender) {
                one.is_counted = true;
                num_ended += 1;
                end = Instant::now();
                on_end(Ended {
                    num_ended,
                    index,
                    trace: &one.trace,
                    output: one.output.as_ref(),
                });
            }
        }
        let (mut traces, mut outputs) = (Vec::new(), Vec::new());
        for mut one in sent {
            one.trace.came = one.came.duration_since(start).as_secs_f64();
            if !one.is_counted {
                one.trace.error = Some("cancelled: the run was stopped".to_owned());
            }
            traces.push(one.trace);
            outputs.push(one.output);
        }
        LoadRun {
            traces,
            outputs,
            seconds: end.duration_since(start).as_secs_f64(),
            is_stopped,
        }
    }
}

/// When the next request is to be sent, if that does not depend on another's end.
fn next_due(pace: &Pace, num_sent: usize, num_ended: usize, start: Instant) -> Option<Instant> {
    match pace {
        // It comes the moment that there is room for it.
        Pace::Concurrency(most) if num_sent - num_ended < most.get() => Some(Instant::now()),
        Pace::Concurrency(_) => None,
        // Later than clocks go is never.
        Pace::Arrivals(times) => start.checked_add(*times.get(num_sent)?),
    }
}

/// A request on its way.
struct Sent {
    came: Instant,
    /// None once it has ended.
    stream: Option<GenerationStream>,
    /// When the last token of each answer came.
    last: Vec<Option<Instant>>,
    trace: Trace,
    output: Option<RequestOutput>,
    /// Whether it has ended, and was counted so.
    is_counted: bool,
}

impl Sent {
    fn new(engine: &Engine, request: Request, came: Instant) -> Self {
        let num_answers = request.params.n as usize;
        let mut trace = Trace::default();
        let stream = match engine.submit(request) {
            Ok(stream) => {
                trace.num_prompt_tokens = stream.prompt_token_ids().len();
                Some(stream)
            }
            Err(refused) => {
                trace.error = Some(refused.to_string());
                None
            }
        };
        Self {
            came,
            stream,
            last: vec![None; num_answers],
            trace,
            output: None,
            is_counted: false,
        }
    }

    /// Takes what has come, and has the thread woken when there is more. Whether it has
    /// ended.
    fn listen(&mut self, index: usize, sender: &Sender<News>) -> bool {
        let waker = Waker::from(Arc::new(Bell {
            index,
            sender: sender.clone(),
        }));
        let mut context = Context::from_waker(&waker);
        while let Some(stream) = &mut self.stream {
            match Pin::new(stream).poll_next(&mut context) {
                Poll::Pending => return false,
                Poll::Ready(Some(event)) => self.take(event),
                Poll::Ready(None) => self.stream = None,
            }
        }
        true
    }

    fn take(&mut self, event: StreamEvent) {
        let now = Instant::now();
        let seconds = |from: Instant| now.duration_since(from).as_secs_f64();
        match event {
            StreamEvent::Delta {
                index, token_ids, ..
            } => {
                let Some(last) = self.last.get_mut(index as usize) else {
                    return;
                };
                for _ in token_ids {
                    match last.replace(now) {
                        Some(before) => self.trace.gaps.push(seconds(before)),
                        None => {
                            self.trace.ttft.get_or_insert(seconds(self.came));
                        }
                    }
                }
            }
            StreamEvent::Finished(output) => {
                self.trace.e2e = seconds(self.came);
                for answer in &output.outputs {
                    self.trace.num_tokens += answer.token_ids.len();
                    if answer.finish_reason == FinishReason::Error {
                        let cause = answer.error.clone();
                        let cause = cause.unwrap_or_else(|| "the request failed".to_owned());
                        self.trace.error.get_or_insert(cause);
                    }
                }
                self.output = Some(*output);
                self.stream = None;
            }
        }
    }
}

/// Wakes the thread for one request.
struct Bell {
    index: usize,
    sender: Sender<News>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Nobody listens once the run has ended.
        let _ = self.sender.send(News::Request(self.index));
    }
}
