//! `choral bench --concurrency`: what running requests together gains.

use super::chart::{self, Point};
use super::report::Report;
use super::{Args, workload};
use anyhow::Result;
use choral::load::{Load, LoadReport, Pace};
use serde::Serialize;

pub(in crate::cmd) const HEAD: [&str; 2] = [
    "| Concurrency | Time (ms) | Throughput (items/s) | Speedup |",
    "|------------:|----------:|---------------------:|--------:|",
];

/// One line of results, with what readers saw.
#[derive(Debug, Serialize)]
struct Row {
    concurrency: usize,
    items: usize,
    time_ms: f64,
    /// Items a second.
    throughput: f64,
    /// Over the first row's throughput.
    speedup: f64,
    #[serde(flatten)]
    report: LoadReport,
}

/// A line of the table.
pub(in crate::cmd) fn line(
    concurrency: usize,
    time_ms: f64,
    throughput: f64,
    speedup: f64,
) -> String {
    format!("| {concurrency:11} | {time_ms:9.0} | {throughput:20.2} | {speedup:6.2}x |")
}

pub(super) fn run(args: &Args) -> Result<()> {
    let (prompt, generated) = args.lengths("--concurrency")?;
    let sequences = args.concurrency.iter().map(|n| n.get()).max().unwrap_or(1);
    let workload = workload::Workload::of(args, sequences)?;
    let bench = args.engine(Some(sequences), workload.longest(), workload.count())?;
    let requests = workload.requests(&bench.engine)?;
    let mut report = Report::begin(args.output_format, bench.info()?, &HEAD)?;
    workload::warm_up(&bench.engine, &requests)?;
    let mut first = None;
    let mut points = Vec::new();
    for &concurrency in &args.concurrency {
        bench.take_steps();
        let run = Load::new(&bench.engine, requests.clone())
            .pace(Pace::Concurrency(concurrency))
            .run();
        workload::check(&run)?;
        let figures = LoadReport::new(&run, args.slo.as_ref());
        let throughput = figures.request_throughput;
        let row = Row {
            concurrency: concurrency.get(),
            items: requests.len(),
            time_ms: run.seconds * 1e3,
            throughput,
            speedup: throughput / *first.get_or_insert(throughput),
            report: figures,
        };
        report.row(
            &row,
            &line(row.concurrency, row.time_ms, throughput, row.speedup),
        )?;
        let info = bench.info()?;
        let halfway = info.spec.kv_sequence_bytes(
            info.plan.kv_types,
            (row.report.total_input_tokens + row.report.total_output_tokens / 2) / row.items,
            1,
        );
        let kv_bytes = halfway as f64 * concurrency.get() as f64;
        let work = chart::decode_work(&bench.take_steps(), concurrency.get(), kv_bytes);
        if let (Some(work), Some(token_ms), Some(first_ms)) =
            (work, row.report.mean_itl_ms, row.report.mean_ttft_ms)
        {
            points.push(Point {
                batch: concurrency.get(),
                tokens_per_s: row.report.output_throughput,
                token_ms,
                first_ms,
                work,
            });
        }
    }
    report.finish()?;
    if let Some(plot) = &args.plot {
        let count = requests.len();
        let what = match &args.prompts {
            Some(file) => format!("{count} requests of {}", file.display()),
            None => format!("{count} requests of {prompt} tokens, {generated} new ones each"),
        };
        plot.write(&chart::of_concurrency(bench.info()?, &what, points)?)?;
    }
    Ok(())
}
