//! `choral batch --dry-run`: what a job would be.

use super::target::Target;
use crate::args::model::info;
use crate::output::progress::duration;
use anyhow::{Context as _, Result};
use choral::embed::{self, Embedder};
use choral::engine::{Request, RequestSize};
use choral::job::{EngineRunner, Row, RowError, num_recorded};
use choral::{Engine, SamplingParams};
use serde_json::json;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

/// Rows that are run to find out how fast they are.
const MAX_SAMPLES: usize = 16;

/// Most tokens of prompts in that run.
const MAX_SAMPLE_TOKENS: usize = 1024;

/// New tokens of each in that run.
const SAMPLE_NEW_TOKENS: u32 = 16;

/// How many errors are shown.
const MAX_ERRORS: usize = 5;

const MIB: f64 = (1 << 20) as f64;

/// What is known of the rows.
#[derive(Default)]
struct Survey {
    num_rows: u64,
    num_errors: u64,
    num_answers: u64,
    prompt_tokens: u64,
    longest_prompt: usize,
    /// At most.
    new_tokens: u64,
    errors: Vec<RowError>,
    samples: Vec<Sample>,
}

/// A row that is run, and the length of its prompt.
struct Sample {
    request: Request,
    num_prompt_tokens: usize,
}

/// Reads all rows, and says what there is. Memory does not grow with their number.
pub(super) fn run(
    target: &Target,
    rows: impl Iterator<Item = io::Result<Row>>,
    runner: &mut EngineRunner<'_>,
) -> Result<ExitCode> {
    let engine = runner.engine();
    let mut survey = Survey::default();
    for row in rows {
        let Row { head, work } = row.context("cannot read the input")?;
        survey.num_rows += 1;
        // As when it is run, so that what is refused then is refused now.
        match work.and_then(|work| runner.check(&head, work)) {
            Ok((request, size)) => survey.count(request, size, engine),
            Err(error) => survey.count_error(error),
        }
    }
    let mut out = io::stdout().lock();
    survey.print_rows(&mut out)?;
    survey.print_plan(&mut out, engine)?;
    if !survey.samples.is_empty() {
        let speed = Speed::measure(&survey.samples, engine)?;
        let seconds = survey.prompt_tokens as f64 / speed.prompt_tokens
            + survey.new_tokens as f64 / speed.new_tokens;
        writeln!(
            out,
            "Time:           at most {} ({:.0} prompt and {:.0} new tokens/s, measured on {} rows)",
            duration(seconds),
            speed.prompt_tokens,
            speed.new_tokens,
            survey.samples.len()
        )?;
    }
    print_output(&mut out, target)
}

/// The same for texts to embed.
pub(super) fn run_embeddings(
    target: &Target,
    rows: impl Iterator<Item = io::Result<embed::Row>>,
    embedder: &Embedder,
) -> Result<ExitCode> {
    let mut survey = Survey::default();
    for row in rows {
        let embed::Row { head, form, work } = row.context("cannot read the input")?;
        survey.num_rows += 1;
        let texts = work.and_then(|work| {
            let texts = embedder.prepare_row(&work);
            texts.map_err(|error| error.of_row(&head, form))
        });
        match texts {
            Ok(texts) => {
                survey.num_answers += texts.len() as u64;
                for text in texts {
                    survey.count_prompt(text.token_ids().len());
                }
            }
            Err(error) => survey.count_error(error),
        }
    }
    let mut out = io::stdout().lock();
    survey.print_rows(&mut out)?;
    let weights = embedder.info().weight_bytes as f64 / MIB;
    writeln!(out, "Memory:         {weights:.0} MiB of weights")?;
    print_output(&mut out, target)
}

fn print_output(out: &mut impl io::Write, target: &Target) -> Result<ExitCode> {
    if let Some(num_found) = num_recorded(&target.record)? {
        writeln!(out, "Output:         has {num_found} answers already")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Survey {
    fn count(&mut self, request: Request, size: RequestSize, engine: &Engine) {
        let RequestSize {
            num_prompt_tokens,
            max_new_tokens,
        } = size;
        let num_answers = u64::from(request.params.n);
        self.num_answers += num_answers;
        self.count_prompt(num_prompt_tokens);
        self.new_tokens += max_new_tokens as u64 * num_answers;
        let num_sampled = self.samples.iter().map(|sample| sample.num_prompt_tokens);
        let num_sampled: usize = num_sampled.sum();
        let is_small = num_sampled + num_prompt_tokens <= MAX_SAMPLE_TOKENS;
        if self.samples.len() < MAX_SAMPLES && (is_small || self.samples.is_empty()) {
            let sample = Sample {
                request: Request {
                    params: sample_params(SAMPLE_NEW_TOKENS),
                    ..request
                },
                num_prompt_tokens,
            };
            // A row that asks for fewer tokens may leave no room for so many.
            let most = engine
                .check(&sample.request)
                .map(|size| size.max_new_tokens);
            if most.is_ok_and(|most| most == SAMPLE_NEW_TOKENS as usize) {
                self.samples.push(sample);
            }
        }
    }

    fn count_prompt(&mut self, num_tokens: usize) {
        self.prompt_tokens += num_tokens as u64;
        self.longest_prompt = self.longest_prompt.max(num_tokens);
    }

    fn count_error(&mut self, error: RowError) {
        self.num_errors += 1;
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    fn print_rows(&self, out: &mut impl io::Write) -> Result<()> {
        let num_good = self.num_rows - self.num_errors;
        writeln!(
            out,
            "Rows:           {} ({} would be in error)",
            self.num_rows, self.num_errors
        )?;
        for error in &self.errors {
            writeln!(out, "                {}", shown(error))?;
        }
        let more = self.num_errors.saturating_sub(self.errors.len() as u64);
        if more > 0 {
            writeln!(out, "                and {more} more")?;
        }
        writeln!(out, "Answers:        {}", self.num_answers)?;
        let mean = self.prompt_tokens as f64 / num_good.max(1) as f64;
        writeln!(
            out,
            "Prompt tokens:  {} ({mean:.1} a row, {} at most)",
            self.prompt_tokens, self.longest_prompt
        )?;
        Ok(())
    }

    fn print_plan(&self, out: &mut impl io::Write, engine: &Engine) -> Result<()> {
        let plan = &info(engine)?.plan;
        writeln!(out, "New tokens:     at most {}", self.new_tokens)?;
        writeln!(
            out,
            "Memory:         {:.0} MiB of weights, {:.0} MiB of keys and values",
            plan.weight_bytes as f64 / MIB,
            plan.kv_bytes() as f64 / MIB
        )?;
        writeln!(out, "At a time:      up to {} sequences", plan.max_num_seqs)?;
        Ok(())
    }
}

/// `part-2.jsonl, line 7: the cause (its code and field)`.
fn shown(error: &RowError) -> String {
    let RowError {
        code,
        message,
        line,
        field,
        file,
    } = error;
    let place = match file {
        Some(file) => format!("{file}, line {line}"),
        None => format!("line {line}"),
    };
    let code = json!(code);
    let code = code.as_str().unwrap_or_default();
    match field {
        Some(field) => format!("{place}: {message} ({code}, `{field}`)"),
        None => format!("{place}: {message} ({code})"),
    }
}

fn sample_params(max_tokens: u32) -> SamplingParams {
    SamplingParams {
        max_tokens: Some(max_tokens),
        temperature: 0.0,
        ignore_eos: true,
        ..SamplingParams::default()
    }
}

/// Tokens a second.
struct Speed {
    prompt_tokens: f64,
    new_tokens: f64,
}

impl Speed {
    /// Runs the samples twice: for one token, which is mostly their prompts; then for
    /// more, when the prompts are in the prefix cache.
    fn measure(samples: &[Sample], engine: &Engine) -> Result<Self> {
        let run = |max_tokens| -> Result<f64> {
            let requests = samples.iter().map(|sample| Request {
                params: sample_params(max_tokens),
                ..sample.request.clone()
            });
            let started = Instant::now();
            for output in engine.generate_requests(requests) {
                output?;
            }
            Ok(started.elapsed().as_secs_f64())
        };
        let prompt_s = run(1)?;
        let new_s = run(SAMPLE_NEW_TOKENS)?;
        let num_tokens: usize = samples.iter().map(|sample| sample.num_prompt_tokens).sum();
        let num_new = samples.len() * SAMPLE_NEW_TOKENS as usize;
        Ok(Self {
            prompt_tokens: num_tokens as f64 / prompt_s,
            new_tokens: num_new as f64 / new_s,
        })
    }
}
