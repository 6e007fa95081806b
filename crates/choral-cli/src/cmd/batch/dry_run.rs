//! `choral batch --dry-run`: what a job would be.

use super::chat::Chat;
use super::target::Target;
use crate::args::model::info;
use crate::output::progress::duration;
use anyhow::{Context as _, Result};
use choral::engine::{Prompt, Request};
use choral::job::{Row, RowError, RowInput, RowWork, num_recorded};
use choral::text::EncodeOptions;
use choral::{Engine, SamplingParams};
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
    num_too_long: u64,
    num_answers: u64,
    prompt_tokens: u64,
    longest_prompt: usize,
    /// At most.
    new_tokens: u64,
    errors: Vec<RowError>,
    samples: Vec<Vec<u32>>,
}

/// Reads all rows, and says what there is. Memory does not grow with their number.
pub(super) fn run(
    target: &Target,
    rows: impl Iterator<Item = io::Result<Row>>,
    chat: &mut Chat<'_>,
    engine: &Engine,
) -> Result<ExitCode> {
    let mut survey = Survey::default();
    for row in rows {
        let Row { head, work } = row.context("cannot read the input")?;
        survey.num_rows += 1;
        let counted = work.and_then(|work| survey.count(work, chat, engine));
        if let Err(mut error) = counted {
            error.line = head.line;
            survey.num_errors += 1;
            if survey.errors.len() < MAX_ERRORS {
                survey.errors.push(error);
            }
        }
    }
    let mut out = io::stdout().lock();
    survey.print(&mut out, engine)?;
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
    if let Some(num_found) = num_recorded(&target.record)? {
        writeln!(out, "Output:         has {num_found} answers already")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Survey {
    fn count(
        &mut self,
        work: RowWork,
        chat: &mut Chat<'_>,
        engine: &Engine,
    ) -> Result<(), RowError> {
        let RowWork { input, params, .. } = work;
        let error = |message: String, field: &str| RowError {
            code: choral::job::RowCode::InvalidPrompt,
            message,
            line: 0,
            field: Some(field.to_owned()),
            file: None,
        };
        params
            .validate(engine.vocab_size())
            .map_err(|fault| error(fault.to_string(), fault.field()))?;
        let prompt = match input {
            RowInput::Prompt(prompt) => prompt,
            RowInput::Chat(input) => chat.render(&input).map_err(|m| error(m, "messages"))?,
        };
        let tokens = match (prompt, engine.tokenizer()) {
            (Prompt::Text(text), Some(tokenizer)) => tokenizer
                .encode(&text, EncodeOptions::default())
                .map_err(|fault| error(fault.to_string(), "prompt"))?,
            (Prompt::Text(_), None) => Vec::new(),
            (Prompt::Tokens(tokens), _) => tokens,
        };
        let Some(room) = engine.max_model_len().checked_sub(tokens.len() + 1) else {
            self.num_too_long += 1;
            return Err(error(
                format!(
                    "the prompt has {} tokens, the context {}",
                    tokens.len(),
                    engine.max_model_len()
                ),
                "prompt",
            ));
        };
        let most = params
            .max_tokens
            .map_or(room + 1, |max| (room + 1).min(max as usize));
        self.num_answers += u64::from(params.n);
        self.prompt_tokens += tokens.len() as u64;
        self.longest_prompt = self.longest_prompt.max(tokens.len());
        self.new_tokens += most as u64 * u64::from(params.n);
        let num_sampled: usize = self.samples.iter().map(Vec::len).sum();
        let is_short = tokens.len() + SAMPLE_NEW_TOKENS as usize <= engine.max_model_len();
        if self.samples.len() < MAX_SAMPLES
            && is_short
            && (num_sampled + tokens.len() <= MAX_SAMPLE_TOKENS || self.samples.is_empty())
        {
            self.samples.push(tokens);
        }
        Ok(())
    }

    fn print(&self, out: &mut impl io::Write, engine: &Engine) -> Result<()> {
        let plan = &info(engine)?.plan;
        let num_good = self.num_rows - self.num_errors;
        writeln!(
            out,
            "Rows:           {} ({} would be in error)",
            self.num_rows, self.num_errors
        )?;
        for RowError { line, message, .. } in &self.errors {
            writeln!(out, "                line {line}: {message}")?;
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

/// Tokens a second.
struct Speed {
    prompt_tokens: f64,
    new_tokens: f64,
}

impl Speed {
    /// Runs the samples twice: for one token, which is mostly their prompts; then for
    /// more, when the prompts are in the prefix cache.
    fn measure(samples: &[Vec<u32>], engine: &Engine) -> Result<Self> {
        let run = |max_tokens| -> Result<f64> {
            let params = SamplingParams {
                max_tokens: Some(max_tokens),
                temperature: 0.0,
                ignore_eos: true,
                ..SamplingParams::default()
            };
            let requests = samples.iter().map(|tokens| {
                Request::new(Prompt::Tokens(tokens.clone())).with_params(params.clone())
            });
            let started = Instant::now();
            for output in engine.generate_requests(requests) {
                output?;
            }
            Ok(started.elapsed().as_secs_f64())
        };
        let prompt_s = run(1)?;
        let new_s = run(SAMPLE_NEW_TOKENS)?;
        let num_tokens: usize = samples.iter().map(Vec::len).sum();
        let num_new = samples.len() * SAMPLE_NEW_TOKENS as usize;
        Ok(Self {
            prompt_tokens: num_tokens as f64 / prompt_s,
            new_tokens: num_new as f64 / new_s,
        })
    }
}
