//! The engine thread: one loop that owns the scheduler and the executor.
//!
//! Obey commands, plan a step, run it, draw, commit, report; park when there is
//! nothing to do. No lock guards any of it, for nobody else reaches it. What goes
//! wrong in a step ends the sequences of that step, or of a single row, and the
//! loop goes on.

use super::batch::{Batch, Executor, StepResult};
use super::command::{Command, Event, Report, Submission};
use super::draw::{Drawer, Job};
use super::error::SubmitError;
use super::metrics::{EngineMetrics, StepStats};
use super::queue::{Place, Queue};
use super::relay::ReportSender;
use super::request::{FinishReason, PromptDiagnostics};
use super::scheduler::{
    Committed, Draw, Ended, RequestId, ScheduledRow, ScheduledStep, Scheduler, TooManyBlocks,
};
use crate::sampling::Sampler;
use choral_kernels::WorkCounts;
use crossbeam_channel::Receiver;
use std::any::Any;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Watches steps: called on the engine thread after each.
pub type OnStep = Box<dyn FnMut(&StepStats) + Send>;

/// The engine thread's state.
pub(super) struct Core {
    pub(super) executor: Box<dyn Executor>,
    pub(super) scheduler: Scheduler,
    pub(super) commands: Receiver<Command>,
    pub(super) reports: ReportSender,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<Mutex<EngineMetrics>>,
    pub(super) end_token_ids: Arc<[u32]>,
    pub(super) on_step: Option<OnStep>,
    pub(super) state: State,
}

/// What is reused from step to step, or grows over them.
#[derive(Default)]
pub(super) struct State {
    live: HashMap<RequestId, Live>,
    batch: Batch,
    step: ScheduledStep,
    result: StepResult,
    drawer: Drawer,
    draws: Vec<Draw>,
    committed: Vec<Committed>,
    report: Report,
    totals: EngineMetrics,
}

impl State {
    /// With room for the events of a step of so many sequences, of a model whose layers
    /// are in so many groups.
    pub(super) fn new(max_num_seqs: usize, groups: usize) -> Self {
        Self {
            batch: Batch::new(groups),
            report: Report::with_capacity(max_num_seqs),
            ..Self::default()
        }
    }
}

/// What the scheduler need not know of a request.
struct Live {
    sampler: Sampler,
    prompt_logprobs: Option<u32>,
    /// Until it first runs.
    place: Option<Place>,
}

impl Core {
    /// Runs until it is told to shut down.
    pub(super) fn run(mut self) {
        // Also if this thread panics: nobody must wait for a place in vain.
        let _closes = CloseOnDrop(Arc::clone(&self.queue));
        while self.obey_commands().is_continue() {
            self.send_report();
            if !self.scheduler.is_idle() {
                self.run_step();
                self.send_report();
            }
        }
        // Places are not given any more, but some were before the queue closed.
        self.queue.close();
        while let Ok(command) = self.commands.try_recv() {
            let _ = self.obey(command);
        }
        for request in self.scheduler.live_requests() {
            self.end_request(request, FinishReason::Cancelled, None);
        }
        self.publish_metrics();
        self.send_report();
    }

    /// Obeys what has come, and waits for something to come if there is nothing
    /// else to do. Breaks when it is time to end.
    fn obey_commands(&mut self) -> ControlFlow<()> {
        if self.scheduler.is_idle() {
            #[cfg(debug_assertions)]
            self.scheduler.check_integrity().expect("integrity");
            match self.commands.recv() {
                Ok(command) => self.obey(command)?,
                Err(_) => return ControlFlow::Break(()),
            }
        }
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command)?;
        }
        self.publish_metrics();
        ControlFlow::Continue(())
    }

    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Submit(submission) => self.take_in(*submission),
            Command::Abort {
                request,
                choice: None,
            } => self.end_request(request, FinishReason::Cancelled, None),
            Command::Abort {
                request,
                choice: Some(choice),
            } => {
                // The output thread, which has ended it already, wants no report.
                self.scheduler.abort_choice(request, choice);
                self.retire(request);
            }
            Command::ShutDown => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn take_in(&mut self, submission: Submission) {
        let Submission {
            request,
            prompt,
            rules,
            sampler,
            prompt_logprobs,
            place,
            reply,
        } = submission;
        self.state.report.opened.push(reply);
        let num_answers = rules.n;
        if let Err(TooManyBlocks { needed, available }) = self.scheduler.add(request, prompt, rules)
        {
            let error = SubmitError::TooManyBlocks { needed, available }.to_string();
            for choice in 0..num_answers {
                let ended = Ended { request, choice };
                self.report_ended(ended, FinishReason::Error, Some(&error));
            }
            return;
        }
        let live = Live {
            sampler,
            prompt_logprobs,
            place: Some(place),
        };
        self.state.live.insert(request, live);
    }

    fn run_step(&mut self) {
        let begun = Instant::now();
        let state = &mut self.state;
        self.scheduler.schedule(&mut state.batch, &mut state.step);
        assert!(
            !state.step.rows.is_empty(),
            "the oldest sequence always has a row"
        );
        for admission in &state.step.admitted {
            let live = state.live.get_mut(&admission.request);
            live.expect("scheduled requests are live").place = None;
            let started = Event::Started {
                at: begun,
                num_cached_tokens: admission.num_cached_tokens,
            };
            state.report.events.push((admission.request, started));
        }
        let scheduled = Instant::now();
        let before = self.executor.work();
        let run = self.forward();
        let work = self.executor.work() - before;
        let forwarded = Instant::now();
        let mut drawn = Instant::now();
        let num_drawn = match run {
            Ok(()) => {
                self.draw();
                drawn = Instant::now();
                self.commit(drawn)
            }
            Err(error) => {
                self.fail_step(&error);
                0
            }
        };
        for row in 0..self.state.step.rows.len() {
            self.retire(self.state.step.rows[row].request);
        }
        self.count_step(num_drawn, work, [begun, scheduled, forwarded, drawn]);
    }

    /// Has the executor run the batch, and trusts it with nothing else.
    fn forward(&mut self) -> Result<(), String> {
        let state = &mut self.state;
        let (batch, result) = (&state.batch, &mut state.result);
        let executor = &mut self.executor;
        let run = catch_unwind(AssertUnwindSafe(|| executor.forward(batch, result)));
        match run {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(panic) => return Err(format!("the executor panicked: {}", message(&*panic))),
        }
        let sizes = [
            (
                "logits",
                result.logits.len(),
                batch.logit_tokens.len() * executor.vocab_size(),
            ),
            (
                "hidden norms",
                result.hidden_l2.len(),
                batch.hidden_tokens.len() * (executor.num_layers() + 1),
            ),
        ];
        for (what, found, expected) in sizes {
            if found != expected {
                return Err(format!(
                    "the executor gave {found} {what}, expected {expected}"
                ));
            }
        }
        Ok(())
    }

    /// Draws every token that the step asks for, then scores every prompt token.
    fn draw(&mut self) {
        let Self {
            scheduler,
            executor,
            end_token_ids,
            state,
            ..
        } = self;
        let jobs = &mut state.drawer.jobs;
        jobs.clear();
        for row in &state.step.rows {
            let live = &state.live[&row.request];
            let first_choice = scheduler.sequence(row.seq).choice();
            for choice in first_choice..first_choice + row.num_draws {
                jobs.push(Job::Draw {
                    row: row.draw_logits.expect("draws have logits"),
                    seq: row.seq,
                    sampler: live.sampler.for_choice(choice),
                });
            }
        }
        for row in &state.step.rows {
            let live = &state.live[&row.request];
            let prompt = scheduler.sequence(row.seq).tokens().prompt;
            for (at, position) in row.prompt_positions.clone().enumerate() {
                jobs.push(Job::Score {
                    row: row.prompt_logits + at,
                    token_id: prompt[position + 1],
                    num_top: live.prompt_logprobs.unwrap_or(0) as usize,
                });
            }
        }
        state
            .drawer
            .run(&state.result, scheduler, end_token_ids, &**executor);
    }

    /// Commits the step and reports what came of it: first of prompts, then of
    /// answers. Returns how many tokens were drawn.
    fn commit(&mut self, at: Instant) -> usize {
        let num_draws = |row: &ScheduledRow| row.num_draws as usize;
        let num_draws = self.state.step.rows.iter().map(num_draws).sum();
        let failed = self.report_prompts(num_draws);

        let state = &mut self.state;
        state.draws.clear();
        state.draws.extend((0..num_draws).map(|job| {
            let outcome = state.drawer.outcome(job);
            outcome.map_or(Draw::Failed, |sampled| Draw::Token(sampled.token_id))
        }));
        state.committed.clear();
        self.scheduler
            .commit(&state.step, &state.draws, &mut state.committed);
        let mut num_drawn = 0;
        let mut jobs = 0..num_draws;
        for Committed {
            request,
            choice,
            has_draw,
            finish,
        } in state.committed.drain(..)
        {
            let job = if has_draw { jobs.next() } else { None };
            let drawn = job.map(|job| state.drawer.take(job));
            if let Some((_, error)) = failed.iter().find(|(failed, _)| *failed == request) {
                // What its answers drew counts for nothing. The scheduler has
                // forgotten those that this step ended, so they are ended here;
                // the others are below.
                if finish.is_some() {
                    let event = Event::Ended {
                        choice,
                        reason: FinishReason::Error,
                        error: Some(error.clone()),
                    };
                    state.report.events.push((request, event));
                }
                continue;
            }
            let event = match drawn {
                Some(Ok(sampled)) => {
                    num_drawn += 1;
                    Event::Token {
                        at,
                        choice,
                        sampled,
                        finish,
                    }
                }
                Some(Err(error)) => Event::Ended {
                    choice,
                    reason: FinishReason::Error,
                    error: Some(error),
                },
                None => Event::Ended {
                    choice,
                    reason: FinishReason::Length,
                    error: None,
                },
            };
            state.report.events.push((request, event));
        }
        for (request, error) in failed {
            self.end_request(request, FinishReason::Error, Some(&error));
        }
        num_drawn
    }

    /// Reports what is known of prompts: the scores, whose jobs come from
    /// `first_score` on, and diagnostics. Returns whose scores failed, and why.
    fn report_prompts(&mut self, first_score: usize) -> Vec<(RequestId, String)> {
        let state = &mut self.state;
        let mut failed = Vec::new();
        let mut job = first_score;
        for row in &state.step.rows {
            let jobs = job..job + row.prompt_positions.len();
            job = jobs.end;
            let scored: Result<Vec<_>, _> = jobs
                .map(|job| state.drawer.take(job).map(|scored| scored.logprobs))
                .collect();
            match scored {
                Ok(logprobs) if logprobs.is_empty() => {}
                Ok(logprobs) => {
                    let event = Event::PromptLogprobs(logprobs.into_iter().flatten().collect());
                    state.report.events.push((row.request, event));
                }
                Err(error) => failed.push((row.request, error)),
            }
            if let (Some(hidden), Some(logits)) = (row.hidden, row.draw_logits) {
                let width = self.executor.num_layers() + 1;
                let vocab_size = self.executor.vocab_size();
                let result = &state.result;
                let event = Event::Diagnostics(PromptDiagnostics {
                    last_logits: result.logits[logits * vocab_size..][..vocab_size].to_vec(),
                    hidden_l2: result.hidden_l2[hidden * width..][..width].to_vec(),
                });
                state.report.events.push((row.request, event));
            }
        }
        failed
    }

    fn fail_step(&mut self, error: &str) {
        let mut ended = Vec::new();
        self.scheduler.fail_step(&self.state.step, &mut ended);
        for ended in ended {
            self.report_ended(ended, FinishReason::Error, Some(error));
        }
    }

    /// Ends all answers of a request that are still in the making.
    fn end_request(&mut self, request: RequestId, reason: FinishReason, error: Option<&str>) {
        let mut ended = Vec::new();
        self.scheduler.abort(request, &mut ended);
        for ended in ended {
            self.report_ended(ended, reason, error);
        }
        self.retire(request);
    }

    fn report_ended(&mut self, ended: Ended, reason: FinishReason, error: Option<&str>) {
        let event = Event::Ended {
            choice: ended.choice,
            reason,
            error: error.map(str::to_owned),
        };
        self.state.report.events.push((ended.request, event));
    }

    /// Forgets a request whose answers have all ended.
    fn retire(&mut self, request: RequestId) {
        if !self.scheduler.is_live(request) {
            self.state.live.remove(&request);
        }
    }

    fn send_report(&mut self) {
        let report = &self.state.report;
        if !report.opened.is_empty() || !report.events.is_empty() {
            self.reports.send(&mut self.state.report);
        }
    }

    fn count_step(&mut self, num_drawn: usize, work: WorkCounts, times: [Instant; 4]) {
        let [begun, scheduled, forwarded, drawn] = times;
        let step = &self.state.step;
        let step_s = begun.elapsed().as_secs_f64();
        let totals = &mut self.state.totals;
        totals.num_steps += 1;
        totals.prompt_tokens += step.num_prefill_tokens as u64;
        totals.generated_tokens += num_drawn as u64;
        totals.busy_s += step_s;
        totals.last_step_s = step_s;
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let mut stats = StepStats {
            step: totals.num_steps,
            num_rows: step.rows.len(),
            num_prefill_tokens: step.num_prefill_tokens,
            num_decode_tokens: step.num_decode_tokens,
            num_drawn,
            num_admitted: step.admitted.len(),
            num_preempted: step.num_preempted,
            weight_bytes: work.weight_bytes,
            tile_products: work.tile_products,
            unpacked_blocks: work.unpacked_blocks,
            schedule_s: seconds(begun, scheduled),
            forward_s: seconds(scheduled, forwarded),
            sample_s: seconds(forwarded, drawn),
            step_s,
            engine: EngineMetrics::default(),
        };
        stats.engine = self.publish_metrics();
        if let Some(on_step) = &mut self.on_step {
            on_step(&stats);
        }
    }

    /// Shows where the engine stands to whoever asks.
    fn publish_metrics(&mut self) -> EngineMetrics {
        let ledger = self.scheduler.ledger();
        let scheduled = self.scheduler.totals();
        let totals = &mut self.state.totals;
        totals.num_running = self.scheduler.num_running();
        totals.num_waiting = self.scheduler.num_waiting_again();
        totals.kv_blocks_used = ledger.num_blocks() - ledger.num_available();
        totals.kv_blocks_cached = ledger.num_idle();
        totals.kv_blocks_total = ledger.num_blocks();
        totals.prefix_query_tokens = scheduled.prefix_query_tokens;
        totals.prefix_hit_tokens = scheduled.prefix_hit_tokens;
        totals.num_preemptions = scheduled.num_preemptions;
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = *totals;
        totals.with_queued(&self.queue)
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

struct CloseOnDrop(Arc<Queue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
