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
pub(super) enum Job<'a> {
    /// Draw the next token.
    Draw {
        row: usize,
        seq: SeqId,
        choice: u32,
        sampler: &'a Sampler,
        end_token_ids: &'a [u32],
    },
    /// Say how likely the next prompt token was.
    Score {
        row: usize,
        token_id: u32,
        num_top: usize,
    },
}

/// A token with its log-probabilities, or why there is none.
pub(super) type Outcome = Result<Sampled, String>;

/// Memory for drawing, as much as threads have drawn at once.
#[derive(Debug, Default)]
pub(super) struct Drawer {
    scratch: Mutex<Vec<SamplerScratch>>,
}

impl Drawer {
    /// Does all jobs; the outcomes come in their order.
    pub(super) fn run(
        &self,
        jobs: &[Job<'_>],
        result: &StepResult,
        scheduler: &Scheduler,
        executor: &dyn Executor,
    ) -> Vec<Outcome> {
        let vocab_size = executor.vocab_size();
        let outcomes: Vec<OnceLock<Outcome>> = jobs.iter().map(|_| OnceLock::new()).collect();
        executor.run_parallel(jobs.len(), &|at| {
            // A panic on a worker could take the pool with it.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut scratch = self.take_scratch();
                let outcome = jobs[at].run(&mut scratch, result, vocab_size, scheduler);
                self.give_back(scratch);
                outcome
            }));
            let outcome = outcome.unwrap_or_else(|_| Err("the sampler panicked".to_owned()));
            // Nobody else has this job.
            let _ = outcomes[at].set(outcome);
        });
        let skipped = || Err("the executor did not run the sampler".to_owned());
        outcomes
            .into_iter()
            .map(|outcome| outcome.into_inner().unwrap_or_else(skipped))
            .collect()
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

impl Job<'_> {
    fn run(
        &self,
        scratch: &mut SamplerScratch,
        result: &StepResult,
        vocab_size: usize,
        scheduler: &Scheduler,
    ) -> Outcome {
        let logits = |row: usize| &result.logits[row * vocab_size..(row + 1) * vocab_size];
        let outcome = match *self {
            Job::Draw {
                row,
                seq,
                choice,
                sampler,
                end_token_ids,
            } => {
                let tokens = scheduler.sequence(seq).tokens();
                let context = SampleContext {
                    prompt: tokens.prompt,
                    output: tokens.output,
                    end_tokens: end_token_ids,
                };
                let sampler = sampler.for_choice(choice);
                sampler.sample(scratch, logits(row), &context)
            }
            Job::Score {
                row,
                token_id,
                num_top,
            } => {
                position_logprobs(scratch, logits(row), token_id, num_top).map(|logprobs| Sampled {
                    token_id,
                    logprobs: Some(logprobs),
                })
            }
        };
        outcome.map_err(|error| error.to_string())
    }
}
