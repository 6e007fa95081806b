//! `choral bench --npl`: tokens a second at several batch sizes.
//!
//! The closed form of llama.cpp's `llama-batched-bench`, with its options, columns
//! and keys, but measured on the whole engine: scheduling and drawing tokens count.

use super::chart::{self, Point};
use super::report::Report;
use super::{Args, Bench, most};
use crate::message::Usage;
use anyhow::Result;
use choral::SamplingParams;
use choral::engine::{Prompt, Request};
use serde::Serialize;
use std::time::Instant;

const HEAD: [&str; 2] = [
    "|   PP |   TG |   PL |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |",
    "|-----:|-----:|-----:|-------:|---------:|---------:|---------:|---------:|---------:|---------:|",
];

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

impl Row {
    fn line(&self) -> String {
        format!(
            "| {:4} | {:4} | {:4} | {:6} | {:8.3} | {:8.2} | {:8.3} | {:8.2} | {:8.3} | {:8.2} |",
            self.pp,
            self.tg,
            self.pl,
            self.n_kv,
            self.t_pp,
            self.speed_pp,
            self.t_tg,
            self.speed_tg,
            self.t,
            self.speed
        )
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    if args.plot.is_some() {
        let (_, generated) = args.lengths("--plot")?;
        if generated < 2 {
            let message = "--plot shows decoding: --ntg has to be 2 at least";
            return Err(Usage::new(message).into());
        }
    }
    let sequences = most(&args.parallel)?;
    let length = most(&args.prompt_tokens)?.saturating_add(most(&args.generated_tokens)?);
    let bench = args.engine(Some(sequences), length, sequences)?;
    let mut report = Report::begin(args.output_format, bench.info()?, &HEAD)?;
    // The first step touches memory for the first time: it is not counted.
    let warm = (length - 1).clamp(1, 16);
    measure(&bench, (warm, 1, 1), false)?;
    let mut points = Vec::new();
    for &pp in &args.prompt_tokens {
        for &tg in &args.generated_tokens {
            for &pl in &args.parallel {
                let (row, point) = measure(&bench, (pp, tg, pl), args.shared_prompt)?;
                report.row(&row, &row.line())?;
                points.extend(point);
            }
        }
    }
    report.finish()?;
    if let Some(plot) = &args.plot {
        let (prompt, generated) = args.lengths("--plot")?;
        let shared = if args.shared_prompt {
            "one prompt for all"
        } else {
            "prompts"
        };
        let what = format!("{shared} of {prompt} tokens, {generated} new ones each");
        let chart = chart::of_batches(bench.info()?, &what, points)?;
        plot.write(&chart)?;
    }
    Ok(())
}

/// Runs `pl` sequences of `pp` prompt and `tg` new tokens. A step that runs prompt
/// tokens counts as prefill, whatever else rides along in it; the rest of the time from
/// the request to the last answer is decoding, what happens between steps too.
fn measure(
    bench: &Bench,
    (pp, tg, pl): (usize, usize, usize),
    shared_prompt: bool,
) -> Result<(Row, Option<Point>)> {
    let info = bench.info()?;
    let vocab = info.spec.vocab_size;
    let prompt = |which: usize| -> Vec<u32> {
        // Any tokens do: what they are does not change the work.
        (0..pp)
            .map(|i| ((which * 7919 + i * 31 + 5) % vocab) as u32)
            .collect()
    };
    let request = |which: usize, n: u32| {
        Request::new(Prompt::Tokens(prompt(which))).with_params(SamplingParams {
            n,
            max_tokens: Some(tg as u32),
            temperature: 0.0,
            ignore_eos: true,
            ..SamplingParams::default()
        })
    };
    bench.take_steps();
    let requests = if shared_prompt {
        vec![request(0, pl as u32)]
    } else {
        (0..pl).map(|i| request(i, 1)).collect()
    };
    let start = Instant::now();
    for output in bench.engine.generate_requests(requests) {
        output?;
    }
    let t = start.elapsed().as_secs_f64();
    let (mut t_pp, mut decoded) = (0.0, 0);
    let prompts = if shared_prompt { pp } else { pp * pl };
    let steps = bench.take_steps();
    for step in &steps {
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
    let row = Row {
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
    };
    // What is read of keys and values, halfway through the answers.
    let kv = |tokens: usize| {
        let types = info.plan.kv_types;
        info.spec.kv_sequence_bytes(types, tokens, 1) as f64
    };
    let halfway = kv(pp + tg / 2);
    let kv_bytes = if shared_prompt {
        kv(pp) + pl as f64 * (halfway - kv(pp))
    } else {
        pl as f64 * halfway
    };
    let work = chart::decode_work(&steps, pl, kv_bytes);
    let point = work.map(|work| Point {
        batch: pl,
        tokens_per_s: row.speed_tg,
        token_ms: pl as f64 / row.speed_tg * 1e3,
        first_ms: t_pp * 1e3,
        work,
    });
    Ok((row, point))
}
