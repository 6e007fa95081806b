//! `choral bench --rate`: how long people wait, when requests come as they will.

use super::report::Report;
use super::{Args, Format, workload};
use anyhow::Result;
use choral::load::{Load, LoadReport, Pace, poisson};
use serde::Serialize;

/// One rate's results.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Requests a second that were to come; none for all at once.
    pub(super) request_rate: Option<f64>,
    #[serde(flatten)]
    pub(super) report: LoadReport,
}

pub(super) fn run(args: &Args) -> Result<()> {
    args.lengths("--rate")?;
    let workload = workload::Workload::of(args, 1)?;
    let count = workload.count();
    let bench = args.engine(None, workload.longest(), count)?;
    let requests = workload.requests(&bench.engine)?;
    // Its columns are the rates, so the table comes in one piece at the end.
    let mut report = Report::begin(args.output_format, bench.info()?, &[])?;
    workload::warm_up(&bench.engine, &requests)?;
    let seed = args.seed.unwrap_or(0);
    let mut rows = Vec::new();
    for &rate in &args.rate {
        let run = Load::new(&bench.engine, requests.clone())
            .pace(Pace::Arrivals(poisson(rate, count, seed)))
            .run();
        workload::check(&run)?;
        let row = Row {
            request_rate: Some(rate).filter(|rate| rate.is_finite()),
            report: LoadReport::new(&run, args.slo.as_ref()),
        };
        report.data(&row)?;
        rows.push(row);
    }
    if args.output_format == Format::Md {
        for line in table(&rows) {
            report.line(&line)?;
        }
    }
    report.finish()
}

/// Measures down, rates across.
pub(super) fn table(rows: &[Row]) -> Vec<String> {
    type Of = fn(&LoadReport) -> Option<f64>;
    let measures: [(&str, Of); 18] = [
        ("Requests", |r| Some((r.completed + r.failed) as f64)),
        ("Duration (s)", |r| Some(r.duration)),
        ("Requests/s", |r| Some(r.request_throughput)),
        ("Goodput (requests/s)", |r| r.request_goodput),
        ("Output tokens/s", |r| Some(r.output_throughput)),
        ("Total tokens/s", |r| Some(r.total_token_throughput)),
        ("TTFT mean (ms)", |r| r.mean_ttft_ms),
        ("TTFT median (ms)", |r| r.median_ttft_ms),
        ("TTFT p99 (ms)", |r| r.p99_ttft_ms),
        ("TPOT mean (ms)", |r| r.mean_tpot_ms),
        ("TPOT median (ms)", |r| r.median_tpot_ms),
        ("TPOT p99 (ms)", |r| r.p99_tpot_ms),
        ("ITL mean (ms)", |r| r.mean_itl_ms),
        ("ITL median (ms)", |r| r.median_itl_ms),
        ("ITL p99 (ms)", |r| r.p99_itl_ms),
        ("E2EL mean (ms)", |r| r.mean_e2el_ms),
        ("E2EL median (ms)", |r| r.median_e2el_ms),
        ("E2EL p99 (ms)", |r| r.p99_e2el_ms),
    ];
    let line = |name: &str, cells: Vec<String>| {
        let cells = cells.iter().map(|cell| format!(" {cell:>10} |"));
        format!("| {name:<20} |{}", cells.collect::<String>())
    };
    let heads = rows.iter().map(|row| match row.request_rate {
        Some(rate) => format!("{rate}/s"),
        None => "inf".to_owned(),
    });
    let mut lines = vec![
        line("", heads.collect()),
        format!(
            "|:---------------------|{}",
            "-----------:|".repeat(rows.len())
        ),
    ];
    for (name, of) in measures {
        let values: Vec<Option<f64>> = rows.iter().map(|row| of(&row.report)).collect();
        // Nobody asked for it, or requests of one token do not have it.
        if values.iter().all(Option::is_none) {
            continue;
        }
        let digits = if name == "Requests" { 0 } else { 2 };
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        lines.push(line(name, values.into_iter().map(cell).collect()));
    }
    lines
}
