//! Rows through a vendor's service for batches.
//!
//! Three steps, each of which can be the first of another process: rows that neither the
//! record nor a batch under way has are handed over, batches are waited for, and what came
//! of them goes into the record. Read [`RemoteJob::run`] first.

use super::super::sink::tell_what_is_left_out;
use super::super::{Args, GOES_ON, tell};
use super::tickets::Tickets;
use crate::EXIT_INTERRUPTED;
use crate::args::provider::RemoteMode;
use crate::interrupt::Interrupt;
use anyhow::{Context as _, Result, bail};
use choral::job::{Answer, JobSummary, Record, Row, RowHead, RowInput, reply, seeded};
use choral::provider::{
    BATCH_UNKNOWN, BatchLimits, BatchState, BatchStatus, BatchTicket, CancellationToken, ErrorKind,
    GenerateError, GenerateRequest, Provider as _, RemoteBatch, RemoteOutcome, block_on,
};
use choral_providers::Remote;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;

/// How a job ended.
pub(super) enum End {
    /// Every row has its answer.
    Complete(JobSummary),
    /// Too many are in error.
    Aborted(JobSummary),
    /// Some rows have none yet, and it has been said why.
    Open(ExitCode),
}

/// A job on a vendor's batches.
pub(super) struct RemoteJob<'a> {
    args: &'a Args,
    mode: RemoteMode,
    batches: &'a dyn RemoteBatch,
    record: Record,
    tickets: Tickets,
    summary: JobSummary,
    /// Rows without an answer, by the ids of their requests.
    waiting: HashMap<String, RowHead>,
    /// Requests of the next batch.
    next: Vec<GenerateRequest>,
    next_bytes: usize,
    stop: CancellationToken,
}

impl<'a> RemoteJob<'a> {
    pub(super) fn new(
        args: &'a Args,
        mode: RemoteMode,
        provider: &'a Remote,
        record: Record,
    ) -> Result<Self> {
        let Some(batches) = provider.remote_batch() else {
            bail!("{} has no service for batches", provider.name());
        };
        let tickets = Tickets::open(record.path())?;
        tickets.refuse_unknown()?;
        Ok(Self {
            args,
            mode,
            batches,
            record,
            tickets,
            summary: JobSummary::default(),
            waiting: HashMap::new(),
            next: Vec::new(),
            next_bytes: 0,
            stop: CancellationToken::new(),
        })
    }

    pub(super) fn run(
        mut self,
        rows: impl Iterator<Item = io::Result<Row>>,
        interrupt: &Interrupt,
    ) -> Result<End> {
        let stop = self.stop.clone();
        let _guard = interrupt.during(move || stop.cancel());
        let outcome = self.all(rows);
        // Whatever became of it, what was answered is to be on the disk.
        let saved = self.record.save();
        let is_whole = outcome?;
        saved?;
        let num_answered = self.summary.num_handed_out;
        if self.is_over() {
            self.summary.is_aborted = true;
            if let Some(ticket) = self.tickets.all.first() {
                tell(&format!(
                    "the batch {} goes on at the vendor: --remote batch takes it up, --remote \
                     cancel cancels it",
                    ticket.id
                ));
            }
            return Ok(End::Aborted(self.summary));
        }
        if is_whole && self.waiting.is_empty() {
            self.record.finish()?;
            tell_what_is_left_out(&self.record);
            return Ok(End::Complete(self.summary));
        }
        let num_waiting = self.waiting.len();
        if self.stop.is_cancelled() {
            tell(&format!(
                "interrupted: {num_answered} rows were answered by this run; batches that were \
                 handed over go on at the vendor, and the same command takes them up"
            ));
            return Ok(End::Open(ExitCode::from(EXIT_INTERRUPTED)));
        }
        tell(&format!(
            "{num_answered} rows were answered by this run; {num_waiting} have no answer, and are \
             in no batch; --remote batch hands them over"
        ));
        Ok(End::Open(match self.mode {
            RemoteMode::Cancel => ExitCode::SUCCESS,
            RemoteMode::Batch => ExitCode::FAILURE,
        }))
    }

    /// Whether it came to its end.
    fn all(&mut self, rows: impl Iterator<Item = io::Result<Row>>) -> Result<bool> {
        self.hand_over(rows)?;
        for ticket in self.tickets.all.clone() {
            if self.stop.is_cancelled() || self.is_over() {
                return Ok(false);
            }
            let ids = ticket.request_ids.iter();
            if !ids.into_iter().any(|id| self.waiting.contains_key(id)) {
                let is_under_way = cancel(self.batches, &ticket)?;
                let what = if is_under_way {
                    ", and it is cancelled"
                } else {
                    ""
                };
                tell(&format!(
                    "nothing of the batch {} is needed{what}",
                    ticket.id
                ));
                self.tickets.remove(&ticket)?;
                continue;
            }
            let taken = self.take_up(&ticket).map_err(|error| {
                let id = &ticket.id;
                let what = if is_stuck(&error) {
                    format!("the batch {id} cannot be found; --remote-forget gives it up")
                } else {
                    format!("the batch {id} goes on at the vendor; the same command takes it up")
                };
                error.context(what)
            });
            let Some(status) = taken? else {
                return Ok(false);
            };
            if status.state == BatchState::Failed && !status.errors.is_empty() {
                // Nothing of it ran: it may be sent again when its cause is gone.
                self.tickets.remove(&ticket)?;
                let (id, errors) = (ticket.id, status.errors.join("; "));
                bail!("the batch {id} was refused: {errors}; {GOES_ON}");
            }
        }
        Ok(true)
    }

    /// Makes batches of the rows that have no answer and are in none.
    fn hand_over(&mut self, rows: impl Iterator<Item = io::Result<Row>>) -> Result<()> {
        let sent: HashSet<String> = self.tickets.request_ids().map(str::to_owned).collect();
        for row in rows {
            if self.stop.is_cancelled() || self.is_over() {
                return Ok(());
            }
            let row = row.context("cannot read the input")?;
            let id = self.record.identity().of(&row).to_string();
            if let Some(kept) = self.record.kept(&row)? {
                self.summary.num_done += 1;
                self.summary.num_kept += 1;
                self.summary.num_failed += u64::from(kept.is_failed);
                continue;
            }
            let Row { head, work } = row;
            let request = match work.map(|work| work.input) {
                Ok(RowInput::Request(request)) => *request,
                Ok(_) => unreachable!("rows of a provider are requests"),
                Err(error) => {
                    self.put(&Answer::failed(head, error))?;
                    continue;
                }
            };
            if sent.contains(&id) {
                self.waiting.insert(id, head);
                continue;
            }
            let request = seeded(request, &head, self.args.sampling.seed).with_id(id.clone());
            match self.batches.size(&request) {
                Err(error) => self.put(&reply(head, Err(error)).answer)?,
                Ok(num_bytes) => {
                    self.waiting.insert(id, head);
                    self.ask(request, num_bytes)?;
                }
            }
        }
        self.record.flush()?;
        self.submit()
    }

    /// Puts a request into the next batch.
    fn ask(&mut self, request: GenerateRequest, num_bytes: usize) -> Result<()> {
        if self.mode == RemoteMode::Cancel {
            return Ok(());
        }
        let BatchLimits {
            max_requests,
            max_bytes,
        } = self.batches.limits();
        if self.next.len() >= max_requests || self.next_bytes + num_bytes > max_bytes {
            self.submit()?;
        }
        self.next_bytes += num_bytes;
        self.next.push(request);
        Ok(())
    }

    /// Hands the next batch over, if it has requests. Not to be interrupted: what nobody
    /// has the id of would run and be paid for.
    fn submit(&mut self) -> Result<()> {
        let requests = std::mem::take(&mut self.next);
        self.next_bytes = 0;
        // An interruption that came before still counts.
        if requests.is_empty() || self.stop.is_cancelled() {
            return Ok(());
        }
        let num_requests = requests.len();
        let ids = requests.iter().filter_map(|request| request.id.clone());
        self.tickets.begin(ids.collect())?;
        let ticket = match block_on(self.batches.submit(requests)) {
            Ok(ticket) => ticket,
            Err(error) if error.code() == Some(BATCH_UNKNOWN) => {
                return Err(error).context("nobody knows whether the vendor has made a batch");
            }
            Err(error) => {
                self.tickets.forget_unknown()?;
                return Err(error).context(GOES_ON);
            }
        };
        let id = ticket.id.clone();
        self.tickets.add(ticket)?;
        if !self.args.quiet {
            tell(&format!("batch {id}: {num_requests} rows handed over"));
        }
        Ok(())
    }

    /// Waits for a batch, and puts its answers into the record. `None`: interrupted.
    fn take_up(&mut self, ticket: &BatchTicket) -> Result<Option<BatchStatus>> {
        let (is_quiet, mut told) = (self.args.quiet, None);
        let mut progress = |status: &BatchStatus| {
            let now = (status.state, status.counts);
            if !is_quiet && told.replace(now) != Some(now) {
                tell(&format!(
                    "batch {}: {}, {} of {} done, {} failed",
                    ticket.id,
                    name(status.state),
                    status.counts.completed,
                    status.counts.total,
                    status.counts.failed
                ));
            }
        };
        let Some(status) = self.unless_stopped(self.batches.wait(ticket, &mut progress)) else {
            return Ok(None);
        };
        let status = status?;
        if status.state == BatchState::Failed && !status.errors.is_empty() {
            return Ok(Some(status));
        }
        let Some(outcomes) = self.unless_stopped(self.batches.results(ticket)) else {
            return Ok(None);
        };
        for RemoteOutcome { id, result } in outcomes? {
            let is_cancelled = matches!(&result, Err(e) if e.kind() == ErrorKind::Cancelled);
            if is_cancelled {
                // It was not asked, and may be another time.
                continue;
            }
            // A row that was changed since has another id.
            if let Some(head) = self.waiting.remove(&id) {
                self.put(&reply(head, result).answer)?;
            }
        }
        // First the answers, then what would find them again.
        self.record.save()?;
        self.tickets.remove(ticket)?;
        Ok(Some(status))
    }

    fn put(&mut self, answer: &Answer) -> Result<()> {
        self.summary.num_done += 1;
        self.summary.num_failed += u64::from(answer.error.is_some());
        self.summary.num_handed_out += 1;
        self.summary.prompt_tokens += answer.usage.prompt_tokens;
        self.summary.completion_tokens += answer.usage.completion_tokens;
        Ok(self.record.put(answer)?)
    }

    /// Whether more rows are in error than may be.
    fn is_over(&self) -> bool {
        let max = self.args.most_errors();
        max.is_some_and(|max| self.summary.num_failed > max)
    }

    /// What comes of `work`, unless the job is interrupted before.
    fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut stopped = pin!(self.stop.cancelled());
        block_on(poll_fn(|context| {
            if stopped.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        }))
    }
}

/// Cancels all batches of the job whose record is `output`. Comes before everything else,
/// whatever has become of its rows: what runs is paid for. A job that begins anew has no
/// use for what they have done.
pub(super) fn cancel_all(provider: &Remote, output: &Path, begins_anew: bool) -> Result<()> {
    let mut tickets = Tickets::open(output)?;
    let Some(batches) = provider.remote_batch() else {
        return tickets.refuse();
    };
    for ticket in &tickets.all {
        if cancel(batches, ticket)? {
            tell(&format!("the batch {} is cancelled", ticket.id));
        }
    }
    if begins_anew {
        tickets.clear()?;
    }
    Ok(())
}

/// Whether the same command would end in the same way: it is not known what the vendor has.
pub(super) fn is_stuck(error: &anyhow::Error) -> bool {
    let found = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<GenerateError>());
    found.is_some_and(|error| {
        error.kind() == ErrorKind::NotFound || error.code() == Some(BATCH_UNKNOWN)
    })
}

/// Gives up what cannot be found: batches that the vendor does not know, and rows of which
/// nobody knows whether they were handed over.
pub(super) fn forget(provider: &Remote, output: &Path) -> Result<()> {
    let mut tickets = Tickets::open(output)?;
    tickets.forget_unknown()?;
    let Some(batches) = provider.remote_batch() else {
        return Ok(());
    };
    for ticket in tickets.all.clone() {
        match block_on(batches.status(&ticket)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tell(&format!("the batch {} is forgotten", ticket.id));
                tickets.remove(&ticket)?;
            }
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Whether it had to be cancelled. A batch that the vendor does not know cannot run.
fn cancel(batches: &dyn RemoteBatch, ticket: &BatchTicket) -> Result<bool> {
    match block_on(batches.status(ticket)) {
        Ok(status) if status.state.is_end() || status.state == BatchState::Cancelling => {
            return Ok(false);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        status => status?,
    };
    let Err(error) = block_on(batches.cancel(ticket)) else {
        return Ok(true);
    };
    // It may have ended in between.
    if block_on(batches.status(ticket))?.state.is_end() {
        return Ok(false);
    }
    Err(error.into())
}

fn name(state: BatchState) -> &'static str {
    match state {
        BatchState::Validating => "validating",
        BatchState::InProgress => "in progress",
        BatchState::Finalizing => "finalizing",
        BatchState::Cancelling => "cancelling",
        BatchState::Completed => "completed",
        BatchState::Failed => "failed",
        BatchState::Expired => "expired",
        BatchState::Cancelled => "cancelled",
    }
}
