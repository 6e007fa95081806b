//! The scheduler against an executor that remembers what was written where.

mod claims;
mod properties;
mod windows;

use super::*;
use crate::engine::batch::{Executor, StepResult};
use crate::engine::request::{FinishReason, PositionLogprobs};
use crate::engine::testing::{FakeExecutor, changed, fake_hidden_l2_of, fake_logits_of, placed};
use crate::engine::{Mix, PromptImages};
use crate::sampling::{
    SampleContext, Sampled, Sampler, SamplerScratch, SamplingParams, position_logprobs,
};
use crate::vision::ImageEmbedding;
use std::collections::BTreeMap;

const VOCAB: usize = 29;
const END: u32 = 7;

/// A request, in short.
#[derive(Debug, Clone)]
struct Spec {
    prompt: Vec<u32>,
    n: u32,
    max_new: usize,
    min_tokens: usize,
    prompt_logits: bool,
    diagnostics: bool,
    seed: u64,
    /// Number of its adapters.
    mix: u64,
    /// Where in the prompt pictures begin, and which of [`pictures`] they are.
    images: Vec<(usize, u32)>,
}

/// Of several shapes, and two of the same.
fn pictures() -> Vec<ImageEmbedding> {
    let picture = |rows, columns, value| {
        let values = vec![value; rows * columns];
        ImageEmbedding::new(rows, columns, 1, values).expect("whole")
    };
    vec![picture(3, 7, 1.0), picture(3, 7, 2.0), picture(9, 2, 1.0)]
}

impl Spec {
    fn new(prompt: Vec<u32>, max_new: usize) -> Self {
        Self {
            prompt,
            n: 1,
            max_new,
            // By default nothing but `max_new` ends an answer.
            min_tokens: max_new,
            prompt_logits: false,
            diagnostics: false,
            seed: 11,
            mix: 0,
            images: Vec::new(),
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            n: self.n,
            max_new_tokens: self.max_new,
            min_tokens: self.min_tokens,
            end_token_ids: Arc::from([END]),
            stop_token_ids: Vec::new(),
            prompt_logits: self.prompt_logits,
            diagnostics: self.diagnostics,
            mix: Mix::numbered(self.mix, &self.adapters()),
            images: self.images(),
        }
    }

    fn images(&self) -> PromptImages {
        PromptImages::numbered(&self.prompt, &self.images, &pictures())
    }

    /// Two scales of one adapter, and it with another.
    fn adapters(&self) -> Vec<(u32, f32)> {
        match self.mix {
            0 => Vec::new(),
            1 => vec![(0, 1.0)],
            2 => vec![(0, 0.5)],
            _ => vec![(0, 0.5), (1, 1.0)],
        }
    }

    /// What its tokens count as.
    fn changed(&self, tokens: &[u32]) -> Vec<u32> {
        let adapters = self.adapters();
        let placed = self.placed(tokens);
        let changed = placed.into_iter().map(|token| changed(token, &adapters));
        changed.collect()
    }

    /// What its tokens count as with pictures among them: token by token, as
    /// `get_rope_index` of transformers has it.
    fn placed(&self, tokens: &[u32]) -> Vec<u32> {
        let pictures = pictures();
        let mut turn = 0;
        let mut images = self.images.iter().peekable();
        let mut counted = Vec::new();
        while counted.len() < tokens.len() {
            let at = counted.len();
            let Some((_, number)) = images.next_if(|(start, _)| *start == at) else {
                counted.push(placed(tokens[at], at as u32, [turn; 3], None));
                turn += 1;
                continue;
            };
            let image = &pictures[*number as usize];
            for row in 0..image.rows() {
                for column in 0..image.columns() {
                    let position = at + row * image.columns() + column;
                    let turn = [turn, turn + row as u32, turn + column as u32];
                    let of = (image.content_hash(), position - at);
                    let Some(&token) = tokens.get(position) else {
                        return counted;
                    };
                    counted.push(placed(token, position as u32, turn, Some(of)));
                }
            }
            turn += image.rows().max(image.columns()) as u32;
        }
        counted
    }

    fn sampler(&self, choice: u32) -> Sampler {
        let params = SamplingParams {
            temperature: 1.0,
            min_tokens: self.min_tokens as u32,
            logprobs: Some(2),
            ..SamplingParams::default()
        };
        Sampler::new(&params, self.seed, choice)
    }

    fn draw(&self, choice: u32, output: &[u32], logits: &[f32]) -> Sampled {
        let context = SampleContext {
            prompt: &self.prompt,
            output,
            end_tokens: &[END],
        };
        self.sampler(choice)
            .sample(&mut SamplerScratch::new(), logits, &context)
            .expect("fake logits are finite")
    }

    /// What this request must bring, computed without a scheduler or blocks.
    fn expected(&self, kinds: &[KvKind]) -> Results {
        let fake_logits = |tokens: &[u32]| fake_logits_of(kinds, &self.changed(tokens), VOCAB);
        let mut results = Results::default();
        for choice in 0..self.n {
            let answer = results.answers.entry(choice).or_default();
            let mut tokens = self.prompt.clone();
            while answer.finish.is_none() {
                if self.max_new == 0 {
                    answer.finish = Some(Finish::LENGTH);
                    break;
                }
                let output = &tokens[self.prompt.len()..];
                let drawn = self.draw(choice, output, &fake_logits(&tokens));
                let num_before = output.len();
                if drawn.token_id == END && num_before >= self.min_tokens {
                    answer.finish = Some(Finish {
                        reason: FinishReason::Stop,
                        stop: None,
                    });
                } else if num_before + 1 == self.max_new {
                    answer.finish = Some(Finish::LENGTH);
                }
                tokens.push(drawn.token_id);
                answer.drawn.push(drawn);
            }
        }
        if self.prompt_logits {
            results.prompt_logprobs = (1..self.prompt.len())
                .map(|at| {
                    let logits = fake_logits(&self.prompt[..at]);
                    prompt_logprobs(&logits, self.prompt[at])
                })
                .collect();
        }
        if self.diagnostics {
            results.hidden_l2 = fake_hidden_l2_of(kinds, &self.changed(&self.prompt));
        }
        results
    }
}

fn prompt_logprobs(logits: &[f32], token: u32) -> PositionLogprobs {
    position_logprobs(&mut SamplerScratch::new(), logits, token, 1).expect("finite")
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Answer {
    drawn: Vec<Sampled>,
    finish: Option<Finish>,
}

/// What came of one request.
#[derive(Debug, Default, Clone, PartialEq)]
struct Results {
    answers: BTreeMap<u32, Answer>,
    prompt_logprobs: Vec<PositionLogprobs>,
    hidden_l2: Vec<f32>,
}

/// Runs a scheduler step by step and checks all that must hold at each.
struct Driver {
    config: SchedulerConfig,
    scheduler: Scheduler,
    executor: FakeExecutor,
    batch: Batch,
    step: ScheduledStep,
    result: StepResult,
    specs: Vec<Spec>,
    results: Vec<Results>,
}

impl Driver {
    fn new(config: SchedulerConfig) -> Self {
        let executor = FakeExecutor::new(config.num_blocks as usize, VOCAB);
        Self {
            scheduler: Scheduler::new(config.clone()),
            executor: executor.with_kinds(config.kinds.clone()),
            batch: Batch::new(config.needs().num_groups()),
            config,
            step: ScheduledStep::default(),
            result: StepResult::default(),
            specs: Vec::new(),
            results: Vec::new(),
        }
    }

    fn add(&mut self, spec: Spec) -> RequestId {
        let id = RequestId(self.specs.len() as u64);
        self.scheduler
            .add(id, spec.prompt.as_slice().into(), spec.rules())
            .expect("fits the pool");
        self.specs.push(spec);
        self.results.push(Results::default());
        id
    }

    fn step(&mut self) {
        let oldest = self.scheduler.running.first().copied();
        self.scheduler.schedule(&mut self.batch, &mut self.step);
        self.check_limits(oldest);
        self.executor
            .forward(&self.batch, &mut self.result)
            .expect("the batch is well-formed");
        let (draws, drawn) = self.draw();
        let mut committed = Vec::new();
        self.scheduler.commit(&self.step, &draws, &mut committed);
        let mut drawn = drawn.into_iter();
        for commit in committed {
            let results = &mut self.results[commit.request.0 as usize];
            let answer = results.answers.entry(commit.choice).or_default();
            assert_eq!(answer.finish, None, "nothing comes after the end");
            if commit.has_draw {
                answer.drawn.extend(drawn.next());
            }
            answer.finish = commit.finish;
        }
        self.scheduler.check_integrity().expect("integrity");
    }

    fn draw(&mut self) -> (Vec<Draw>, Vec<Sampled>) {
        let logits_row = |row: usize| &self.result.logits[row * VOCAB..(row + 1) * VOCAB];
        let mut drawn = Vec::new();
        for row in &self.step.rows {
            let spec = &self.specs[row.request.0 as usize];
            let results = &mut self.results[row.request.0 as usize];
            for (at, position) in row.prompt_positions.clone().enumerate() {
                assert_eq!(
                    results.prompt_logprobs.len(),
                    position,
                    "each once, in order"
                );
                let logits = logits_row(row.prompt_logits + at);
                results
                    .prompt_logprobs
                    .push(prompt_logprobs(logits, spec.prompt[position + 1]));
            }
            if let Some(at) = row.hidden {
                let width = self.executor.num_layers() + 1;
                let hidden = &self.result.hidden_l2[at * width..(at + 1) * width];
                results.hidden_l2.extend_from_slice(hidden);
            }
            let sequence = self.scheduler.sequence(row.seq);
            for choice in sequence.choice..sequence.choice + row.num_draws {
                let logits = logits_row(row.draw_logits.expect("drawn from"));
                drawn.push(spec.draw(choice, &sequence.output, logits));
            }
        }
        let draws = drawn.iter().map(|d| Draw::Token(d.token_id)).collect();
        (draws, drawn)
    }

    fn check_limits(&self, oldest: Option<SeqId>) {
        let rows = &self.step.rows;
        assert!(!rows.is_empty(), "there is work, so there is a step");
        assert!(rows.len() <= self.config.max_num_seqs);
        assert!(self.scheduler.num_running() <= self.config.max_num_seqs);
        let num_tokens = self.batch.token_ids.len();
        assert!(num_tokens <= self.config.max_num_batched_tokens);
        assert_eq!(num_tokens, rows.iter().map(|row| row.len).sum::<usize>());
        assert_eq!(
            num_tokens,
            self.step.num_decode_tokens + self.step.num_prefill_tokens
        );
        assert!(rows.iter().all(|row| row.len <= self.config.prefill_chunk));
        let num_prompt_rows: usize = rows.iter().map(|row| row.prompt_positions.len()).sum();
        assert!(num_prompt_rows <= self.config.max_prompt_logit_rows);
        if let Some(oldest) = oldest {
            assert!(rows.iter().any(|row| row.seq == oldest), "the oldest runs");
        }
    }

    fn run(&mut self) -> usize {
        // While the oldest sequence runs it gains a token a step. It loses them
        // only to an answer of an older request that had to wait for a slot.
        let most: usize = self
            .specs
            .iter()
            .map(|spec| (spec.prompt.len() + spec.max_new) * (spec.n * spec.n) as usize)
            .sum();
        for num_steps in 0..=most {
            if self.scheduler.is_idle() {
                let ledger = self.scheduler.ledger();
                assert_eq!(
                    ledger.num_available(),
                    ledger.num_blocks(),
                    "all given back"
                );
                return num_steps;
            }
            self.step();
        }
        panic!("not done after {most} steps: somebody starves");
    }

    fn check_results(&self) {
        for (at, spec) in self.specs.iter().enumerate() {
            let (got, want) = (&self.results[at], self.expected(at));
            assert_eq!(*got, want, "together = alone, for {spec:?}");
        }
    }

    fn expected(&self, request: usize) -> Results {
        self.specs[request].expected(&self.config.kinds)
    }
}

fn config() -> SchedulerConfig {
    SchedulerConfig {
        max_num_seqs: 8,
        max_num_batched_tokens: 64,
        prefill_chunk: 32,
        max_prompt_logit_rows: 16,
        num_blocks: 64,
        kinds: vec![KvKind::WHOLE],
        prefix_caching: true,
    }
}

/// Tokens that no other `stream` has at the same place.
fn tokens(stream: u32, len: usize) -> Vec<u32> {
    (0..len as u32)
        .map(|at| (stream * 5 + at * 3 + at / 16) % VOCAB as u32)
        .collect()
}
