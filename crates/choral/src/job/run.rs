//! Puts rows through a runner and hands out their answers.
//!
//! One thread reads rows, so that a slow source holds up nothing else. The caller's
//! starts them and hands out answers; it sleeps until there is a row to start, or until
//! the runner wakes it because one is done. Rows that are read, that run, and that wait
//! for an earlier one are bounded, so memory does not grow with the file.
//!
//! Rows are started in groups, sorted so that those that begin alike follow each other:
//! what they share is then computed once. Which rows make a group has no bearing on
//! their answers. Read [`Job::run`] first.

use super::answer::Answer;
use super::row::{Row, RowHead, RowWork};
use super::runner::{Refusal, Reply, Runner, Running};
use super::sorting::SortKey;
use crate::engine::request::RequestMetrics;
use crossbeam_channel::{Receiver, Sender, never, select};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How many rows are read before there is room to run them.
const ROWS_AHEAD: usize = 16;

/// How long a group waits for a further row while there is room to run.
const GROUP_PATIENCE: Duration = Duration::from_millis(5);

/// A group with more text than this is sorted as it is.
const MAX_GROUP_BYTES: usize = 64 << 20;

/// Where answers go.
pub trait Sink {
    /// Whether the row's answer is there already, from an earlier run.
    ///
    /// # Errors
    /// That cannot be found out; the job ends.
    fn kept(&mut self, _row: &Row) -> io::Result<Option<Kept>> {
        Ok(None)
    }

    /// Takes the next answer.
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
    /// be handed out. `metrics` are those of a row that was computed.
    fn done(&mut self, _summary: &JobSummary, _metrics: Option<&RequestMetrics>) {}
}

/// An answer of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whether it is an error.
    pub is_failed: bool,
}

/// In which order answers are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// That of the rows: an answer waits for those of the rows before.
    Input,
    /// As they come.
    Completion,
}

/// How much of a job is in memory at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// Most rows that run.
    pub max_running: usize,
    /// Most rows from the first that is not handed out to the last that was read. More
    /// than `max_running`, so that one long answer does not hold up the others.
    pub max_window: usize,
    /// Most rows that are sorted together; 1 runs them in the order of the input.
    pub max_group: usize,
}

impl JobLimits {
    /// Limits that keep an engine of `max_num_seqs` busy.
    pub fn for_sequences(max_num_seqs: usize) -> Self {
        let max_running = max_num_seqs.saturating_mul(2).saturating_add(8);
        let max_window = max_running.saturating_mul(8);
        Self {
            max_running,
            max_window,
            max_group: max_window / 2,
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
    /// Those of them whose answers an earlier run had computed.
    pub num_kept: u64,
    /// Rows whose answers the sink has taken.
    pub num_handed_out: u64,
    /// Tokens of the prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of the answers that were computed.
    pub completion_tokens: u64,
    /// Whether the job was stopped before its end.
    pub is_stopped: bool,
    /// Whether it ended because of its errors.
    pub is_aborted: bool,
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
    /// Nothing runs any more.
    #[error("the job cannot go on")]
    Runner(#[source] Box<dyn Error + Send + Sync>),
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
    /// The row of this ticket may be done.
    Row(u64),
    Stop,
}

/// Has the job's thread look at a row.
struct RowWaker {
    ticket: u64,
    sender: Sender<Wakeup>,
}

impl Wake for RowWaker {
    fn wake(self: Arc<Self>) {
        // A job that has ended is not interested.
        let _ = self.sender.send(Wakeup::Row(self.ticket));
    }
}

/// A job: what answers rows, and how many at a time.
pub struct Job<'a> {
    /// Answers the rows.
    pub runner: &'a mut dyn Runner,
    /// In which order answers are handed out.
    pub order: Order,
    /// How much is in memory at a time.
    pub limits: JobLimits,
    /// Ends the job when more rows than that are in error.
    pub max_errors: Option<u64>,
    /// Ends the job early.
    pub stop: Stop,
}

impl Job<'_> {
    /// Runs `rows`, reading them in order, and gives their answers to `sink`.
    ///
    /// `rows` is read by a thread of its own, which ends when it next yields after
    /// the job has ended.
    ///
    /// # Errors
    /// The input, the output or the runner fails. What is wrong with a row is its
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
            num_taken: 0,
            group: Vec::new(),
            group_bytes: 0,
            queue: VecDeque::new(),
            running: HashMap::new(),
            waiting: BTreeMap::new(),
            next: 0,
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

/// A row that is to run.
struct Task {
    /// Its place among the rows that are not kept, from 0.
    ticket: u64,
    head: RowHead,
    work: RowWork,
    key: SortKey,
}

struct Run<'a, 'b> {
    job: Job<'a>,
    sink: &'b mut dyn Sink,
    num_taken: u64,
    /// Rows that are read, until there are enough to be sorted.
    group: Vec<Task>,
    group_bytes: usize,
    /// Rows that are sorted.
    queue: VecDeque<Task>,
    running: HashMap<u64, Running>,
    /// Answers that wait for those of the rows before, by ticket.
    waiting: BTreeMap<u64, Answer>,
    /// The ticket whose answer is handed out next, where order counts.
    next: u64,
    summary: JobSummary,
}

impl Run<'_, '_> {
    fn rows(&mut self, source: &mut Source) -> Result<(), JobError> {
        let wakeups = self.job.stop.receiver.clone();
        let no_rows = never();
        let mut is_ended = false;
        let mut input_error = None;
        loop {
            let mut is_waited_for = false;
            let rows = if is_ended || !self.has_room_to_read() {
                &no_rows
            } else {
                &source.rows
            };
            let patience = if self.has_room_to_run() && !self.group.is_empty() {
                GROUP_PATIENCE
            } else {
                Duration::MAX
            };
            select! {
                recv(wakeups) -> wakeup => self.obey(wakeup.expect("`self.job` has a sender"))?,
                recv(rows) -> row => match row {
                    Ok(Ok(row)) => self.take(row)?,
                    Ok(Err(error)) => input_error = Some(error),
                    Err(_) => {
                        source.end();
                        is_ended = true;
                    }
                },
                default(patience) => is_waited_for = true,
            }
            is_ended |= input_error.is_some();
            let is_group_full = !self.has_room_to_read();
            if self.queue.is_empty() && (is_group_full || is_ended || is_waited_for) {
                self.sort_group();
            }
            self.start_rows()?;
            self.sink.flush().map_err(JobError::Output)?;
            let num_open = self.group.len() + self.queue.len() + self.running.len();
            // What a job that is over leaves open was cancelled.
            if self.is_over() || (is_ended && num_open == 0) {
                break;
            }
        }
        input_error.map_or(Ok(()), |error| Err(JobError::Input(error)))
    }

    fn is_over(&self) -> bool {
        self.summary.is_stopped || self.summary.is_aborted
    }

    fn has_room_to_read(&self) -> bool {
        let JobLimits {
            max_window,
            max_group,
            ..
        } = self.job.limits;
        let num_open = match self.job.order {
            Order::Input => (self.num_taken - self.next) as usize,
            Order::Completion => self.group.len() + self.queue.len() + self.running.len(),
        };
        num_open < max_window && self.group.len() < max_group && self.group_bytes < MAX_GROUP_BYTES
    }

    /// Keeps a row until its group is complete; or closes it, if it cannot be run or
    /// has been before.
    fn take(&mut self, row: Row) -> Result<(), JobError> {
        if let Some(kept) = self.sink.kept(&row).map_err(JobError::Output)? {
            self.summary.num_done += 1;
            self.summary.num_kept += 1;
            self.summary.num_failed += u64::from(kept.is_failed);
            self.sink.done(&self.summary, None);
            return self.abort_if_due();
        }
        let ticket = self.num_taken;
        self.num_taken += 1;
        let Row { head, work } = row;
        match work {
            Ok(work) => {
                let key = match self.job.limits.max_group {
                    0 | 1 => SortKey::default(),
                    _ => SortKey::new(&work),
                };
                self.group_bytes += key.num_bytes();
                self.group.push(Task {
                    ticket,
                    head,
                    work,
                    key,
                });
                Ok(())
            }
            Err(error) => self.close(ticket, Answer::failed(head, error), None),
        }
    }

    fn sort_group(&mut self) {
        // Stable: rows that begin alike stay in the order of the input.
        self.group.sort_by(|a, b| a.key.cmp(&b.key));
        self.group_bytes = 0;
        self.queue.extend(self.group.drain(..));
    }

    fn has_room_to_run(&self) -> bool {
        self.running.is_empty()
            || self.running.len() < self.job.limits.max_running && self.job.runner.has_room()
    }

    fn start_rows(&mut self) -> Result<(), JobError> {
        while self.has_room_to_run() && !self.is_over() {
            let Some(task) = self.queue.pop_front() else {
                break;
            };
            let Task {
                ticket, head, work, ..
            } = task;
            match self.job.runner.start(&head, work) {
                Ok(running) => {
                    self.running.insert(ticket, running);
                    // Has it woken from now on.
                    self.look_at(ticket)?;
                }
                Err(Refusal::Row(error)) => {
                    self.close(ticket, Answer::failed(head, error), None)?;
                }
                Err(Refusal::Job(error)) => return Err(JobError::Runner(error)),
            }
        }
        Ok(())
    }

    fn obey(&mut self, wakeup: Wakeup) -> Result<(), JobError> {
        match wakeup {
            Wakeup::Row(ticket) => self.look_at(ticket),
            Wakeup::Stop => {
                self.summary.is_stopped = true;
                // Some may be done that nobody has looked at yet.
                let tickets: Vec<u64> = self.running.keys().copied().collect();
                for ticket in tickets {
                    self.look_at(ticket)?;
                }
                self.cancel()
            }
        }
    }

    /// Drops what runs, which cancels it, and hands out what is done.
    fn cancel(&mut self) -> Result<(), JobError> {
        self.group.clear();
        self.queue.clear();
        self.running.clear();
        for answer in std::mem::take(&mut self.waiting).into_values() {
            self.hand_out(&answer)?;
        }
        Ok(())
    }

    /// Closes a row if it is done; else has it wake the thread again.
    fn look_at(&mut self, ticket: u64) -> Result<(), JobError> {
        // A row may wake the thread once more when it is done already.
        let Some(running) = self.running.get_mut(&ticket) else {
            return Ok(());
        };
        let waker = Waker::from(Arc::new(RowWaker {
            ticket,
            sender: self.job.stop.sender.clone(),
        }));
        let Poll::Ready(reply) = running.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return Ok(());
        };
        self.running.remove(&ticket);
        let Reply { answer, metrics } = reply.map_err(JobError::Runner)?;
        self.close(ticket, answer, metrics.as_ref())
    }

    fn close(
        &mut self,
        ticket: u64,
        answer: Answer,
        metrics: Option<&RequestMetrics>,
    ) -> Result<(), JobError> {
        let is_failed = answer.error.is_some();
        self.summary.num_done += 1;
        self.summary.num_failed += u64::from(is_failed);
        self.summary.prompt_tokens += answer.usage.prompt_tokens;
        self.summary.completion_tokens += answer.usage.completion_tokens;
        self.sink.done(&self.summary, metrics);
        match self.job.order {
            Order::Completion => self.hand_out(&answer)?,
            Order::Input => {
                self.waiting.insert(ticket, answer);
                while let Some(answer) = self.waiting.remove(&self.next) {
                    self.hand_out(&answer)?;
                    self.next += 1;
                }
            }
        }
        self.abort_if_due()
    }

    /// Errors of earlier runs count: a job that is run again and again must not go on
    /// one error at a time.
    fn abort_if_due(&mut self) -> Result<(), JobError> {
        let num_errors = self.summary.num_failed;
        if self.job.max_errors.is_some_and(|max| num_errors > max) {
            self.summary.is_aborted = true;
            self.cancel()?;
        }
        Ok(())
    }

    fn hand_out(&mut self, answer: &Answer) -> Result<(), JobError> {
        self.sink.answer(answer).map_err(JobError::Output)?;
        self.summary.num_handed_out += 1;
        Ok(())
    }
}
