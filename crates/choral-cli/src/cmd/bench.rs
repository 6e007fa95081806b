//! `choral bench`: how fast an engine is, and how fast it could be.
//!
//! Three questions, a file each: `batch`, the closed form of llama.cpp's
//! `llama-batched-bench`; `concurrency`, the same requests so many at a time; `rate`,
//! requests that come when they will. `workload` makes the requests, `report` prints
//! rows, `chart` draws them, `limits` says what the machine allows.

mod batch;
mod chart;
mod concurrency;
mod limits;
mod rate;
mod report;
#[cfg(test)]
mod tests;
mod workload;

use crate::args::model::{ModelArgs, parse_count};
use crate::message::Usage;
use crate::plot::PlotFile;
use anyhow::{Context as _, Result, ensure};
use choral::Engine;
use choral::engine::StepStats;
use choral::load::Slo;
use clap::{ArgGroup, ValueEnum};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

/// What the three kinds of benchmark are, for `--help`.
const KINDS: &str = "\
Three questions:

--npl 1,8,64: how fast is a batch? Whole batches at a time, prompts first, with the options and \
the columns of llama-batched-bench.

--concurrency 1,8,64: what is gained by running requests together? The same requests again and \
again, so many at a time.

--rate 1,2,4: how long do people wait? Requests that come at random times, so many a second.

Times count from when a request comes. TTFT: to the first token. TPOT: for each further token, on \
average over a request. ITL: each gap between two tokens. E2EL: to the end. Goodput: requests a \
second that meet every limit of --slo; of ITL, with every gap.";

/// Measure how fast batches are, or requests under load
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = KINDS,
    group = ArgGroup::new("load").args(["concurrency", "rate"])
)]
pub(crate) struct Args {
    /// Tokens of each prompt (-npp)
    #[arg(
        long = "npp",
        visible_alias = "input-len",
        value_delimiter = ',',
        default_value = "128",
        value_name = "N,...",
        value_parser = parse_count
    )]
    prompt_tokens: Vec<usize>,
    /// Tokens to generate for each (-ntg)
    #[arg(
        long = "ntg",
        visible_alias = "output-len",
        value_delimiter = ',',
        default_value = "64",
        value_name = "N,...",
        value_parser = parse_count
    )]
    generated_tokens: Vec<usize>,
    /// Sequences at once (-npl)
    #[arg(
        long = "npl",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32,64",
        value_name = "N,...",
        value_parser = parse_count
    )]
    parallel: Vec<usize>,
    /// All sequences share one prompt, computed once (-pps)
    #[arg(long = "pps", conflicts_with = "load")]
    shared_prompt: bool,
    /// Run the same requests so many at a time, and compare
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,...",
        conflicts_with = "parallel",
        help_heading = "Load"
    )]
    concurrency: Vec<NonZeroUsize>,
    /// Let so many requests a second come, at random times (a Poisson process); inf: all at once
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "R,...",
        value_parser = parse_rate,
        conflicts_with = "parallel",
        help_heading = "Load"
    )]
    rate: Vec<f64>,
    /// How many requests [default: 32 or the greatest concurrency, or all of --prompts]
    #[arg(
        long,
        value_name = "N",
        value_parser = parse_count,
        requires = "load",
        help_heading = "Load"
    )]
    num_requests: Option<usize>,
    /// Requests from a file instead of made-up ones: rows as of `batch`, which may end before --ntg
    #[arg(
        long,
        value_name = "FILE",
        requires = "load",
        conflicts_with = "prompt_tokens",
        help_heading = "Load"
    )]
    prompts: Option<PathBuf>,
    /// Lengths of made-up requests are from 1 - R to 1 + R times the given ones
    #[arg(
        long,
        value_name = "R",
        value_parser = parse_ratio,
        requires = "load",
        conflicts_with = "prompts",
        help_heading = "Load"
    )]
    range_ratio: Option<f64>,
    /// What a request has to meet to count as good, such as ttft=500ms,itl=50ms (also tpot, e2el)
    #[arg(
        long,
        value_name = "NAME=TIME,...",
        requires = "load",
        help_heading = "Load"
    )]
    slo: Option<Slo>,
    /// Seed of made-up requests and of the times at which they come [default: 0]
    #[arg(
        short,
        long,
        value_name = "N",
        requires = "load",
        help_heading = "Load"
    )]
    seed: Option<u64>,
    /// A table, one JSON document, one JSON object a line, or CSV
    #[arg(long, value_enum, default_value_t = Format::Md, value_name = "FORMAT")]
    output_format: Format,
    /// Draw tokens a second and latency by batch size, with the machine's limits, as .svg or .png
    #[arg(long, value_name = "FILE", value_parser = PlotFile::parse, conflicts_with = "rate")]
    plot: Option<PlotFile>,
    /// Replace the file of --plot if it exists
    #[arg(long, requires = "plot")]
    overwrite: bool,
    /// Measure what the machine does at most, without a model: reading memory, and multiplying
    #[arg(
        long,
        conflicts_with_all = [
            "model", "hf", "prompt_tokens", "generated_tokens", "parallel", "shared_prompt", "load",
            "plot"
        ]
    )]
    limits: bool,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    #[value(alias = "text")]
    Md,
    Json,
    Jsonl,
    Csv,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if args.limits {
        limits::run(args.model.threads, args.output_format)?;
    } else {
        if let Some(plot) = &args.plot {
            super::batch::files::check_output(&plot.path, "-".as_ref(), args.overwrite)?;
        }
        if !args.rate.is_empty() {
            rate::run(&args)?;
        } else if !args.concurrency.is_empty() {
            concurrency::run(&args)?;
        } else {
            batch::run(&args)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The one length of prompts and the one of answers, where there may be only one.
    fn lengths(&self, option: &str) -> Result<(usize, usize), Usage> {
        match (&self.prompt_tokens[..], &self.generated_tokens[..]) {
            (&[prompt], &[generated]) => Ok((prompt, generated)),
            _ => Err(Usage::new(format!(
                "{option} takes one value of --npp and one of --ntg"
            ))),
        }
    }

    /// An engine for `sequences` at a time of `length` tokens each, that queues `queue`
    /// requests, and its steps.
    fn engine(&self, sequences: Option<usize>, length: usize, queue: usize) -> Result<Bench> {
        let (sender, steps) = channel();
        let mut model = self.model.clone();
        if model.max_num_seqs.is_none() {
            model.max_num_seqs = sequences;
        }
        let engine = model
            .builder()?
            .prefix_caching(false)
            .queue_capacity(queue)
            .on_step(Box::new(move |stats: &StepStats| {
                // Nobody listens any more when the bench is over.
                let _ = sender.send(*stats);
            }))
            .build()?;
        let bench = Bench { engine, steps };
        let info = bench.info()?;
        let most = info.plan.context;
        ensure!(
            length <= most,
            "{length} tokens a sequence do not fit the context of {most}"
        );
        let sequences = sequences.unwrap_or(1);
        ensure!(
            sequences <= info.plan.sequences_of(length),
            "{sequences} sequences of {length} tokens need more KV memory than the {} bytes \
             planned (--kv-memory)",
            info.plan.kv_bytes()
        );
        Ok(bench)
    }
}

/// An engine to be measured.
struct Bench {
    engine: Engine,
    steps: Receiver<StepStats>,
}

impl Bench {
    fn info(&self) -> Result<&choral::ModelInfo> {
        crate::args::model::info(&self.engine)
    }

    /// The steps since they were last asked for. The last one was reported before its
    /// outputs were handed out.
    fn take_steps(&self) -> Vec<StepStats> {
        self.steps.try_iter().collect()
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    // Slower, and a bench of two requests takes days.
    const LEAST: f64 = 1e-3;
    match text.parse() {
        Ok(rate) if rate >= LEAST => Ok(rate),
        _ => Err(format!("expected requests a second, from {LEAST}, or inf")),
    }
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..1.0).contains(&ratio) => Ok(ratio),
        _ => Err("expected a number from 0, below 1".to_owned()),
    }
}

/// The greatest of a list that has something in it.
fn most(list: &[usize]) -> Result<usize> {
    list.iter().copied().max().context("an empty list")
}
