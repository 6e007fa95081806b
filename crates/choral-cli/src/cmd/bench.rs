//! `choral bench`: tokens a second at several batch sizes.
//!
//! The closed form of llama.cpp's `llama-batched-bench`, with its options, columns
//! and keys, but measured on the whole engine: scheduling and drawing tokens count.
//! What the machine allows at most is in `limits`.

mod limits;

use crate::args::model::ModelArgs;
use anyhow::{Context as _, Result, ensure};
use choral::engine::{Prompt, Request, StepStats};
use choral::sampling::SamplingParams;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Measure tokens a second at several batch sizes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of each prompt
    #[arg(
        long = "npp",
        value_delimiter = ',',
        default_value = "128",
        value_name = "N,...",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    prompt_tokens: Vec<u32>,
    /// Tokens to generate for each
    #[arg(
        long = "ntg",
        value_delimiter = ',',
        default_value = "64",
        value_name = "N,...",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    generated_tokens: Vec<u32>,
    /// Sequences at once
    #[arg(
        long = "npl",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32,64",
        value_name = "N,...",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    parallel: Vec<u32>,
    /// All sequences share one prompt, computed once
    #[arg(long = "pps")]
    shared_prompt: bool,
    /// A table, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Md)]
    output_format: Format,
    /// Measure what the machine does at most, without a model: reading memory, and multiplying
    #[arg(
        long,
        conflicts_with_all = ["model", "hf", "prompt_tokens", "generated_tokens", "parallel", "shared_prompt"]
    )]
    limits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Md,
    Jsonl,
}

/// One line of results; times in seconds, speeds in tokens a second.
#[derive(Debug, Serialize)]
struct Row {
    pp: usize,
    tg: usize,
    pl: usize,
    n_kv: usize,
    t_pp: f64,
    speed_pp: f64,
    t_tg: f64,
    speed_tg: f64,
    t: f64,
    speed: f64,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if args.limits {
        limits::run(args.model.threads, args.output_format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let most = |list: &[u32]| list.iter().map(|&n| n as usize).max().unwrap_or(1);
    let sequences = most(&args.parallel);
    let length = most(&args.prompt_tokens) + most(&args.generated_tokens);
    let (sender, steps) = channel();
    let mut model = args.model.clone();
    model.max_num_seqs.get_or_insert(sequences);
    let engine = model
        .builder()?
        .prefix_caching(false)
        .queue_capacity(sequences)
        .on_step(Box::new(move |stats: &StepStats| {
            // Nobody listens any more when the bench is over.
            let _ = sender.send(*stats);
        }))
        .build()?;
    let info = engine
        .info()
        .context("an engine that was built knows its model")?;
    let most = info.plan.context;
    ensure!(
        length <= most,
        "{length} tokens a sequence do not fit the context of {most}"
    );
    ensure!(
        sequences <= info.plan.sequences_of(length),
        "{sequences} sequences of {length} tokens need more KV memory than the {} bytes planned \
         (--kv-memory)",
        info.plan.kv_bytes()
    );
    let mut out = io::stdout();
    if args.output_format == Format::Md {
        writeln!(
            out,
            "{}: {}, {}, {} threads\n",
            info.path.display(),
            info.plan.numeric.name(),
            info.isa,
            info.threads
        )?;
        writeln!(
            out,
            "|   PP |   TG |   PL |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |"
        )?;
        writeln!(
            out,
            "|-----:|-----:|-----:|-------:|---------:|---------:|---------:|---------:|---------:|---------:|"
        )?;
    }
    // The first step touches memory for the first time: it is not counted.
    let warm = (length - 1).clamp(1, 16);
    measure(&engine, &steps, (warm, 1, 1), false)?;
    for &pp in &args.prompt_tokens {
        for &tg in &args.generated_tokens {
            for &pl in &args.parallel {
                let sizes = (pp as usize, tg as usize, pl as usize);
                let row = measure(&engine, &steps, sizes, args.shared_prompt)?;
                print(&mut out, &row, args.output_format)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut dyn Write, row: &Row, format: Format) -> Result<()> {
    if format == Format::Jsonl {
        writeln!(out, "{}", serde_json::to_string(row)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "| {:4} | {:4} | {:4} | {:6} | {:8.3} | {:8.2} | {:8.3} | {:8.2} | {:8.3} | {:8.2} |",
        row.pp,
        row.tg,
        row.pl,
        row.n_kv,
        row.t_pp,
        row.speed_pp,
        row.t_tg,
        row.speed_tg,
        row.t,
        row.speed
    )?;
    Ok(())
}

/// Runs `pl` sequences of `pp` prompt and `tg` new tokens. A step that runs prompt
/// tokens counts as prefill, whatever else rides along in it; the rest of the time from
/// the request to the last answer is decoding, what happens between steps too.
fn measure(
    engine: &choral::Engine,
    steps: &Receiver<StepStats>,
    (pp, tg, pl): (usize, usize, usize),
    shared_prompt: bool,
) -> Result<Row> {
    let vocab = engine
        .info()
        .context("an engine that was built knows its model")?
        .spec
        .vocab_size;
    let prompt = |which: usize| -> Vec<u32> {
        // Any tokens do: what they are does not change the work.
        (0..pp)
            .map(|i| ((which * 7919 + i * 31 + 5) % vocab) as u32)
            .collect()
    };
    let request = |which: usize, n: u32| Request {
        request_id: which.to_string(),
        prompt: Prompt::Tokens(prompt(which)),
        params: SamplingParams {
            n,
            max_tokens: Some(tg as u32),
            temperature: 0.0,
            ignore_eos: true,
            ..SamplingParams::default()
        },
        parse_special: true,
        diagnostics: false,
    };
    while steps.try_recv().is_ok() {}
    let requests = if shared_prompt {
        vec![request(0, pl as u32)]
    } else {
        (0..pl).map(|i| request(i, 1)).collect()
    };
    let start = Instant::now();
    for output in engine.generate_requests(requests) {
        output?;
    }
    let t = start.elapsed().as_secs_f64();
    let (mut t_pp, mut decoded) = (0.0, 0);
    let prompts = if shared_prompt { pp } else { pp * pl };
    // The last step was reported before its outputs were handed out.
    for step in steps.try_iter() {
        if step.num_prefill_tokens > 0 {
            t_pp += step.step_s;
        } else {
            decoded += step.num_drawn;
        }
    }
    if decoded == 0 {
        t_pp = t;
    }
    let t_tg = t - t_pp;
    let speed = |tokens: usize, seconds: f64| {
        if seconds > 0.0 {
            tokens as f64 / seconds
        } else {
            0.0
        }
    };
    Ok(Row {
        pp,
        tg,
        pl,
        n_kv: prompts + pl * tg,
        t_pp,
        speed_pp: speed(prompts, t_pp),
        t_tg,
        speed_tg: speed(decoded, t_tg),
        t,
        speed: speed(prompts + pl * tg, t),
    })
}
