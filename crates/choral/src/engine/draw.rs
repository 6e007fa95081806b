//! From a step's logits to its tokens, row beside row on the compute workers.
//!
//! What is drawn depends on the row and its sequence alone, so the order and the
//! threads do not matter.

use super::batch::{Executor, StepResult};
use super::scheduler::{Scheduler, SeqId};
use crate::sampling::{SampleContext, Sampled, Sampler, SamplerScratch, position_logprobs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

/// One row of logits and what to make of it.
#[derive(Debug)]
pub(super) enum Job {
    /// Draw the next token.
    Draw {
        row: usize,
        seq: SeqId,
        sampler: Sampler,
    },
    /// Say how likely the next prompt token was.
    Score {
        row: usize,
        token_id: u32,
        num_top: usize,
    },
}

/// Why there is no outcome.
const NOT_RUN: &str = "the executor did not run the sampler";

/// A token with its log-probabilities, or why there is none.
pub(super) type Outcome = Result<Sampled, String>;

/// A step's jobs, what came of them, and the memory that all this takes: it is kept,
/// so that steps do not allocate.
#[derive(Debug, Default)]
pub(super) struct Drawer {
    /// Filled anew for each step.
    pub(super) jobs: Vec<Job>,
    /// As many as there were jobs in the largest step; those of the last step come
    /// first, until they are taken.
    outcomes: Vec<OnceLock<Outcome>>,
    /// As much as threads have needed at once.
    scratch: Mutex<Vec<SamplerScratch>>,
}

impl Drawer {
    /// Does all jobs, whose outcomes can then be taken.
    pub(super) fn run(
        &mut self,
        result: &StepResult,
        scheduler: &Scheduler,
        end_token_ids: &[u32],
        executor: &dyn Executor,
    ) {
        let vocab_size = executor.vocab_size();
        for outcome in &mut self.outcomes {
            outcome.take();
        }
        if self.outcomes.len() < self.jobs.len() {
            self.outcomes.resize_with(self.jobs.len(), OnceLock::new);
        }
        let this = &*self;
        executor.run_parallel(this.jobs.len(), &|at| {
            // A panic on a worker could take the pool with it.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut scratch = this.take_scratch();
                let job = &this.jobs[at];
                let outcome = job.run(&mut scratch, result, vocab_size, (scheduler, end_token_ids));
                this.give_back(scratch);
                outcome
            }));
            let outcome = outcome.unwrap_or_else(|_| Err("the sampler panicked".to_owned()));
            // Nobody else has this job.
            let _ = this.outcomes[at].set(outcome);
        });
    }

    /// What came of job `at` of the last step, if it was not taken before.
    pub(super) fn outcome(&self, at: usize) -> Result<&Sampled, &str> {
        match self.outcomes[at].get() {
            Some(outcome) => outcome.as_ref().map_err(String::as_str),
            None => Err(NOT_RUN),
        }
    }

    /// Takes what came of job `at` of the last step.
    pub(super) fn take(&mut self, at: usize) -> Outcome {
        let outcome = self.outcomes[at].take();
        outcome.unwrap_or_else(|| Err(NOT_RUN.to_owned()))
    }

    fn take_scratch(&self) -> SamplerScratch {
        let mut free = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: SamplerScratch) {
        let mut free = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(scratch);
    }
}

impl Job {
    fn run(
        &self,
        scratch: &mut SamplerScratch,
        result: &StepResult,
        vocab_size: usize,
        (scheduler, end_tokens): (&Scheduler, &[u32]),
    ) -> Outcome {
        let logits = |row: usize| &result.logits[row * vocab_size..(row + 1) * vocab_size];
        let outcome = match self {
            Job::Draw { row, seq, sampler } => {
                let tokens = scheduler.sequence(*seq).tokens();
                let context = SampleContext {
                    prompt: tokens.prompt,
                    output: tokens.output,
                    end_tokens,
                };
                sampler.sample(scratch, logits(*row), &context)
            }
            Job::Score {
                row,
                token_id,
                num_top,
            } => position_logprobs(scratch, logits(*row), *token_id, *num_top).map(|logprobs| {
                Sampled {
                    token_id: *token_id,
                    logprobs: Some(logprobs),
                }
            }),
        };
        outcome.map_err(|error| error.to_string())
    }
}
