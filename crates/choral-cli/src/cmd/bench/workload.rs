//! The requests of a benchmark.

use super::Args;
use crate::cmd::prompts::{self, PromptFile};
use anyhow::{Result, bail};
use choral::engine::{Prompt, Request};
use choral::job::Row;
use choral::load::{Load, LoadRun};
use choral::sampling::Rng;
use choral::{Engine, SamplingParams};

/// Requests, where nobody says how many.
const USUAL_COUNT: usize = 32;

/// Where requests come from.
pub(super) enum Workload {
    /// From a file.
    Rows { rows: Vec<Row>, count: usize },
    /// Lengths of prompts and answers.
    MadeUp { lengths: Vec<[usize; 2]>, seed: u64 },
}

impl Workload {
    /// What `args` ask for; at least `least` requests, if they do not say how many.
    pub(super) fn of(args: &Args, least: usize) -> Result<Self> {
        let (prompt, generated) = args.lengths("a load")?;
        if let Some(file) = &args.prompts {
            let params = SamplingParams {
                max_tokens: Some(u32::try_from(generated)?),
                temperature: 0.0,
                ..SamplingParams::default()
            };
            let rows = PromptFile::read(file)?.rows(&params)?;
            let count = args.num_requests.unwrap_or(rows.len());
            return Ok(Self::Rows { rows, count });
        }
        let count = args.num_requests.unwrap_or(USUAL_COUNT.max(least));
        let ratio = args.range_ratio.unwrap_or(0.0);
        let seed = args.seed.unwrap_or(0);
        let mut rng = Rng::for_choice(seed, 1);
        let lengths = (0..count)
            .map(|_| [prompt, generated].map(|length| spread(length, ratio, rng.next_uniform())))
            .collect();
        Ok(Self::MadeUp { lengths, seed })
    }

    /// How many requests.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Rows { count, .. } => *count,
            Self::MadeUp { lengths, .. } => lengths.len(),
        }
    }

    /// Tokens of the longest, prompt and answer; those of a file are not known before
    /// there is a tokenizer.
    pub(super) fn longest(&self) -> usize {
        match self {
            Self::Rows { .. } => 1,
            Self::MadeUp { lengths, .. } => {
                let sums = lengths
                    .iter()
                    .map(|[prompt, new]| prompt.saturating_add(*new));
                sums.max().unwrap_or(1)
            }
        }
    }

    /// The requests, for the model of `engine`.
    pub(super) fn requests(&self, engine: &Engine) -> Result<Vec<Request>> {
        match self {
            Self::Rows { rows, count } => {
                let requests = prompts::requests(rows, engine)?;
                Ok(requests.iter().cycle().take(*count).cloned().collect())
            }
            Self::MadeUp { lengths, seed } => {
                let vocab = engine.vocab_size() as f64;
                let mut rng = Rng::for_choice(*seed, 2);
                let mut made_up = |&[prompt, generated]: &[usize; 2]| {
                    // Any tokens do: what they are does not change the work.
                    let token = |_| (rng.next_uniform() * vocab) as u32;
                    let tokens = (0..prompt).map(token).collect();
                    let params = SamplingParams {
                        max_tokens: Some(u32::try_from(generated)?),
                        temperature: 0.0,
                        ignore_eos: true,
                        ..SamplingParams::default()
                    };
                    Ok(Request::new(Prompt::Tokens(tokens)).with_params(params))
                };
                lengths.iter().map(&mut made_up).collect()
            }
        }
    }
}

/// A length from `1 - ratio` to `1 + ratio` times `length`, for a number from 0 to 1.
pub(super) fn spread(length: usize, ratio: f64, uniform: f64) -> usize {
    let least = (length as f64 * (1.0 - ratio)).floor();
    let most = (length as f64 * (1.0 + ratio)).ceil();
    let length = least + (uniform * (most - least + 1.0)).floor().min(most - least);
    (length as usize).max(1)
}

/// The first steps touch memory for the first time: they are not counted.
pub(super) fn warm_up(engine: &Engine, requests: &[Request]) -> Result<()> {
    let first = requests.iter().take(1).cloned().map(|mut request| {
        request.params.max_tokens = Some(1);
        request.params.min_tokens = 0;
        request
    });
    check(&Load::new(engine, first.collect()).run())
}

/// Figures of requests that failed would say nothing.
pub(super) fn check(run: &LoadRun) -> Result<()> {
    let errors: Vec<&String> = run.traces.iter().filter_map(|t| t.error.as_ref()).collect();
    if let Some(first) = errors.first() {
        bail!(
            "{} of {} requests failed, the first because {first}",
            errors.len(),
            run.traces.len()
        );
    }
    Ok(())
}
