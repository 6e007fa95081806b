//! Runs the engine on threads of its own, and reports.
//!
//! A job whose scene has gone stops by itself: nobody takes its reports any more.

use anyhow::{Context as _, Result};
use choral::engine::{GenerationStream, Request, StreamEvent};
use choral::load::{Load, Pace, Stopper};
use choral::{Engine, SamplingParams};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

/// What a job has to say.
#[derive(Debug)]
pub(super) enum Report {
    /// An answer has grown.
    Grown {
        index: usize,
        text: String,
        tokens: usize,
    },
    /// A request has ended, with its whole answer.
    Ended {
        index: usize,
        text: String,
        tokens: usize,
    },
    /// All requests have ended, so many seconds after the first was sent.
    Done { seconds: f64 },
    /// Something went wrong; with the other requests it goes on.
    Failed(String),
    /// What stops the requests that run now.
    Running(Stopper),
}

/// A job that runs.
#[derive(Debug)]
pub(super) struct Job {
    reports: Receiver<Report>,
    stopper: Option<Stopper>,
}

impl Job {
    /// What was reported since it was last asked.
    pub(super) fn reports(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        for report in self.reports.try_iter() {
            match report {
                Report::Running(stopper) => self.stopper = Some(stopper),
                other => reports.push(other),
            }
        }
        reports
    }

    /// Has all requests run at once, and reports every token.
    pub(super) fn stream(engine: &Engine, requests: Vec<Request>) -> Result<Self> {
        let (sender, reports) = channel();
        let started = Instant::now();
        let mut readers = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            let stream = engine.submit(request)?;
            let sender = sender.clone();
            readers.push(spawn(move || read(stream, index, &sender))?);
        }
        spawn(move || {
            for reader in readers {
                if reader.join().is_err() {
                    let _ = sender.send(Report::Failed("a reader has failed".to_owned()));
                }
            }
            let seconds = started.elapsed().as_secs_f64();
            let _ = sender.send(Report::Done { seconds });
        })?;
        Ok(Self {
            reports,
            stopper: None,
        })
    }

    /// Has the requests run so many at a time, once for each of `paces`, and reports each
    /// answer.
    pub(super) fn load(
        engine: &Engine,
        requests: Vec<Request>,
        paces: Vec<NonZeroUsize>,
    ) -> Result<Self> {
        let (sender, reports) = channel();
        let engine = engine.clone();
        spawn(move || {
            for pace in paces {
                let load = Load::new(&engine, requests.clone()).pace(Pace::Concurrency(pace));
                let stopper = load.stopper();
                if sender.send(Report::Running(stopper.clone())).is_err() {
                    return;
                }
                let run = load
                    .on_end(|ended| {
                        let answer = ended.output.and_then(|output| output.outputs.first());
                        let report = match (&ended.trace.error, answer) {
                            (None, Some(answer)) => Report::Ended {
                                index: ended.index,
                                text: answer.text.clone(),
                                tokens: answer.token_ids.len(),
                            },
                            (error, _) => Report::Failed(error.clone().unwrap_or_default()),
                        };
                        if sender.send(report).is_err() {
                            stopper.stop();
                        }
                    })
                    .run();
                let seconds = run.seconds;
                if run.is_stopped || sender.send(Report::Done { seconds }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            reports,
            stopper: None,
        })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        for report in self.reports.try_iter() {
            if let Report::Running(stopper) = report {
                self.stopper = Some(stopper);
            }
        }
        if let Some(stopper) = &self.stopper {
            stopper.stop();
        }
    }
}

/// Passes on what comes of one request.
fn read(stream: GenerationStream, index: usize, sender: &Sender<Report>) {
    for event in stream {
        let report = match event {
            StreamEvent::Delta {
                text, token_ids, ..
            } => Report::Grown {
                index,
                text,
                tokens: token_ids.len(),
            },
            StreamEvent::Finished(output) => {
                let failed = output
                    .outputs
                    .iter()
                    .find_map(|answer| answer.error.clone());
                let Some(error) = failed else { return };
                Report::Failed(error)
            }
        };
        if sender.send(report).is_err() {
            // Dropping the stream cancels the request.
            return;
        }
    }
}

fn spawn<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>> {
    let builder = thread::Builder::new().name("choral-demo".to_owned());
    builder.spawn(run).context("cannot start a thread")
}

/// A request of the demo.
pub(super) fn request(prompt: &str, max_tokens: u32, seed: u64) -> Request {
    Request::new(prompt).with_params(SamplingParams {
        max_tokens: Some(max_tokens),
        temperature: 0.8,
        top_k: 20,
        seed: Some(seed),
        ..SamplingParams::default()
    })
}
