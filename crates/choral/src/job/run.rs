//! Puts rows through an engine and hands out their answers in order.
//!
//! One thread reads rows, so that a slow source holds up nothing else. The caller's
//! submits them and hands out answers; it sleeps until there is a row to submit, or
//! until the engine's output thread wakes it because one is done. Rows that are
//! read, that run, and that wait for an earlier one are bounded, so memory does not
//! grow with the file. Read [`Job::run`] first.

use super::answer::Answer;
use super::row::{ChatInput, Row, RowCode, RowError, RowHead, RowInput, RowWork};
use crate::engine::{Engine, Prompt, Request, RequestOutput, SubmitError};
use crossbeam_channel::{Receiver, Sender, never, select};
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};

/// How many rows are read before there is room to run them.
const ROWS_AHEAD: usize = 16;

/// Where answers go.
pub trait Sink {
    /// Takes the next answer, in the order of the rows.
    ///
    /// # Errors
    /// It cannot be written; the job ends.
    fn answer(&mut self, answer: &Answer) -> io::Result<()>;

    /// Called when there is no further answer for the moment.
    ///
    /// # Errors
    /// What was taken cannot be written; the job ends.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Called whenever a row is done, which may be long before it is its turn to
    /// be handed out.
    fn done(&mut self, _summary: &JobSummary) {}
}

/// Makes a prompt of messages, or says what is wrong with them.
pub type Render<'a> = dyn FnMut(&ChatInput) -> Result<Prompt, String> + 'a;

/// How much of a job is in memory at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// Most rows in the engine.
    pub max_running: usize,
    /// Most rows from the first that is not done to the last that was read. More
    /// than `max_running`, so that one long answer does not hold up the others.
    pub max_window: usize,
}

impl JobLimits {
    /// Limits that keep an engine of `max_num_seqs` busy.
    pub fn for_sequences(max_num_seqs: usize) -> Self {
        let max_running = max_num_seqs.saturating_mul(2).saturating_add(8);
        Self {
            max_running,
            max_window: max_running.saturating_mul(8),
        }
    }
}

/// What a job has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobSummary {
    /// Rows that are done.
    pub num_done: u64,
    /// Those of them that are in error.
    pub num_failed: u64,
    /// Rows whose answers the sink has taken.
    pub num_handed_out: u64,
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Whether the job was stopped before its end.
    pub is_stopped: bool,
}

/// Why a job ended before its input did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The input cannot be read on. All rows before have been answered.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// There is no thread to read the input with.
    #[error("cannot start a thread for the input")]
    Thread(#[source] io::Error),
    /// An answer cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The engine is gone.
    #[error("the job cannot go on")]
    Engine(#[source] SubmitError),
}

/// Ends a job from another thread: rows in flight are cancelled, and those that
/// are done are still handed out.
#[derive(Debug, Clone)]
pub struct Stop {
    sender: Sender<Wakeup>,
    receiver: Receiver<Wakeup>,
}

impl Default for Stop {
    fn default() -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self { sender, receiver }
    }
}

impl Stop {
    /// Ends the job.
    pub fn stop(&self) {
        let sent = self.sender.send(Wakeup::Stop);
        sent.expect("`self` has the receiver");
    }
}

/// What the job's thread sleeps for.
#[derive(Debug, Clone, Copy)]
enum Wakeup {
    /// This row may be done.
    Row(u64),
    Stop,
}

/// Has the job's thread look at a row.
struct RowWaker {
    index: u64,
    sender: Sender<Wakeup>,
}

impl Wake for RowWaker {
    fn wake(self: Arc<Self>) {
        // A job that has ended is not interested.
        let _ = self.sender.send(Wakeup::Row(self.index));
    }
}

/// A job: an engine, and what to do with rows that have no engine in them.
pub struct Job<'a> {
    /// Runs the rows.
    pub engine: &'a Engine,
    /// Applies the chat template.
    pub render: &'a mut Render<'a>,
    /// Rows without a seed get theirs from it and from their key.
    pub seed: u64,
    /// Puts into the answers what depends on the run.
    pub with_timings: bool,
    /// How much is in memory at a time.
    pub limits: JobLimits,
    /// Ends the job early.
    pub stop: Stop,
}

impl Job<'_> {
    /// Runs `rows` and gives their answers to `sink`, both in order.
    ///
    /// `rows` is read by a thread of its own, which ends when it next yields after
    /// the job has ended.
    ///
    /// # Errors
    /// The input, the output or the engine fails. What is wrong with a row is its
    /// answer.
    ///
    /// # Panics
    /// If `rows` does.
    pub fn run(
        self,
        rows: impl Iterator<Item = io::Result<Row>> + Send + 'static,
        sink: &mut dyn Sink,
    ) -> Result<JobSummary, JobError> {
        let mut source = Source::start(rows).map_err(JobError::Thread)?;
        let mut run = Run {
            job: self,
            sink,
            slots: VecDeque::new(),
            first: 0,
            num_running: 0,
            summary: JobSummary::default(),
        };
        run.rows(&mut source)?;
        Ok(run.summary)
    }
}

/// Rows as another thread reads them.
struct Source {
    rows: Receiver<io::Result<Row>>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    fn start(rows: impl Iterator<Item = io::Result<Row>> + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(ROWS_AHEAD);
        let thread = thread::Builder::new().name("choral-rows".to_owned());
        let thread = thread.spawn(move || {
            for row in rows {
                if sender.send(row).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            rows: receiver,
            thread: Some(thread),
        })
    }

    /// Called when there are no more rows: a reader that failed must not pass for
    /// one that has come to the end.
    fn end(&mut self) {
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// What will come of a row.
type Running = Pin<Box<dyn Future<Output = RequestOutput>>>;

/// One row of the window.
enum Slot {
    Running { row: RowHead, output: Running },
    Done(Box<Answer>),
}

struct Run<'a, 'b> {
    job: Job<'a>,
    sink: &'b mut dyn Sink,
    /// The window: rows from `first` on.
    slots: VecDeque<Slot>,
    first: u64,
    /// How many of them are [`Slot::Running`].
    num_running: usize,
    summary: JobSummary,
}

impl Run<'_, '_> {
    fn rows(&mut self, source: &mut Source) -> Result<(), JobError> {
        let JobLimits {
            max_running,
            max_window,
        } = self.job.limits;
        let wakeups = self.job.stop.receiver.clone();
        let no_rows = never();
        let mut is_ended = false;
        let mut input_error = None;
        while !is_ended || self.num_running > 0 {
            let has_room = self.num_running < max_running && self.slots.len() < max_window;
            let rows = if has_room && !is_ended {
                &source.rows
            } else {
                &no_rows
            };
            select! {
                recv(wakeups) -> wakeup => self.obey(wakeup.expect("`self.job` has a sender")),
                recv(rows) -> row => match row {
                    Ok(Ok(row)) => self.take(row)?,
                    Ok(Err(error)) => input_error = Some(error),
                    Err(_) => {
                        source.end();
                        is_ended = true;
                    }
                },
            }
            is_ended |= self.summary.is_stopped || input_error.is_some();
            self.hand_out().map_err(JobError::Output)?;
        }
        input_error.map_or(Ok(()), |error| Err(JobError::Input(error)))
    }

    /// Opens a slot for a row, running or, if it cannot be run, done.
    fn take(&mut self, Row { head: row, work }: Row) -> Result<(), JobError> {
        let index = self.first + self.slots.len() as u64;
        let started = work.map_err(Refusal::Row);
        match started.and_then(|work| self.submit(&row, work)) {
            Ok(output) => {
                self.slots.push_back(Slot::Running { row, output });
                self.num_running += 1;
                // Has it woken from now on.
                self.look_at(index);
            }
            Err(Refusal::Row(error)) => {
                let answer = Answer::failed(row, error);
                self.note(&answer);
                self.slots.push_back(Slot::Done(Box::new(answer)));
            }
            Err(Refusal::Job(error)) => return Err(JobError::Engine(error)),
        }
        Ok(())
    }

    fn submit(&mut self, row: &RowHead, work: RowWork) -> Result<Running, Refusal> {
        let RowWork { input, params } = work;
        let error = |code, message, field: &str| RowError {
            code,
            message,
            line: row.line,
            field: Some(field.to_owned()),
        };
        let (prompt, field) = match input {
            RowInput::Prompt(prompt) => (prompt, "prompt"),
            RowInput::Chat(input) => {
                let prompt = (self.job.render)(&input);
                let refused = |message| Refusal::Row(error(RowCode::Template, message, "messages"));
                let prompt = prompt.map_err(refused)?;
                (prompt, "messages")
            }
        };
        let key = row.key();
        let mut request = Request::new(prompt)
            .with_id(key.to_string())
            .with_params(params);
        let seed = &mut request.params.seed;
        *seed = Some(seed.unwrap_or_else(|| key.seed(self.job.seed)));
        match self.job.engine.submit_wait(request) {
            Ok(stream) => Ok(Box::pin(stream.finished())),
            Err(SubmitError::ShutDown) => Err(Refusal::Job(SubmitError::ShutDown)),
            Err(refused) => {
                let message = with_causes(&refused);
                Err(Refusal::Row(match &refused {
                    SubmitError::Params(of) => {
                        error(RowCode::InvalidParameter, message, of.field())
                    }
                    SubmitError::PromptTooLong { .. } | SubmitError::TooManyBlocks { .. } => {
                        error(RowCode::TooLong, message, field)
                    }
                    _ => error(RowCode::InvalidPrompt, message, field),
                }))
            }
        }
    }

    fn obey(&mut self, wakeup: Wakeup) {
        match wakeup {
            Wakeup::Row(index) => self.look_at(index),
            Wakeup::Stop => {
                self.summary.is_stopped = true;
                // Dropping a stream cancels its request.
                self.slots.retain(|slot| matches!(slot, Slot::Done(_)));
                self.num_running = 0;
            }
        }
    }

    /// Closes a slot if its row is done; else has the row wake the thread again.
    fn look_at(&mut self, index: u64) {
        let offset = index.checked_sub(self.first);
        let slot = offset.and_then(|offset| self.slots.get_mut(offset as usize));
        // A row may wake the thread once more when it is done already.
        let Some(Slot::Running { row, output }) = slot else {
            return;
        };
        let waker = Waker::from(Arc::new(RowWaker {
            index,
            sender: self.job.stop.sender.clone(),
        }));
        let Poll::Ready(output) = output.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return;
        };
        let engine = self.job.engine;
        let row = row.clone();
        let answer = Answer::new(
            row,
            output,
            &|id| engine.token_text(id),
            self.job.with_timings,
        );
        self.note(&answer);
        self.num_running -= 1;
        self.slots[(index - self.first) as usize] = Slot::Done(Box::new(answer));
    }

    fn note(&mut self, answer: &Answer) {
        self.summary.num_done += 1;
        self.summary.num_failed += u64::from(answer.error.is_some());
        self.summary.prompt_tokens += answer.usage.prompt_tokens;
        self.summary.completion_tokens += answer.usage.completion_tokens;
        self.sink.done(&self.summary);
    }

    /// Gives the sink all answers whose turn it is.
    fn hand_out(&mut self) -> io::Result<()> {
        while let Some(Slot::Done(answer)) = self.slots.front() {
            self.sink.answer(answer)?;
            self.summary.num_handed_out += 1;
            self.slots.pop_front();
            self.first += 1;
        }
        self.sink.flush()
    }
}

/// Why a row was not submitted.
enum Refusal {
    Row(RowError),
    Job(SubmitError),
}

fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}
