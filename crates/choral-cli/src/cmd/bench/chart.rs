//! Draws measurements and the machine's limits over the batch size.

use super::limits;
use crate::cmd::units;
use crate::plot::{Chart, Look, Panel, Series};
use anyhow::Result;
use choral::ModelInfo;
use choral::engine::StepStats;
use choral::load::{Ceiling, StepWork, peak_for};
use choral::machine::limits::PeakInput;

/// Multiplications and additions of one of the products that steps count.
const OPERATIONS_A_PRODUCT: f64 = 2.0 * 512.0;

/// What was measured with a batch size.
pub(super) struct Point {
    pub(super) batch: usize,
    pub(super) tokens_per_s: f64,
    /// Time between two tokens of a sequence.
    pub(super) token_ms: f64,
    /// Time to the first token.
    pub(super) first_ms: f64,
    /// A step that continues all sequences.
    pub(super) work: StepWork,
}

/// What a step that continues `batch` sequences costs, from those of `steps` that
/// did nothing but continue some. `kv_bytes` are read beside the weights. `None` if no
/// step did.
pub(super) fn decode_work(steps: &[StepStats], batch: usize, kv_bytes: f64) -> Option<StepWork> {
    let only_decoding = || {
        steps
            .iter()
            .filter(|step| step.num_prefill_tokens == 0 && step.num_decode_tokens > 0)
    };
    let sum = |of: fn(&StepStats) -> u64| only_decoding().map(of).sum::<u64>() as f64;
    let tokens = sum(|step| step.num_decode_tokens as u64);
    let num_steps = only_decoding().count() as f64;
    let products_a_token = sum(|step| step.tile_products) / tokens;
    (num_steps > 0.0).then(|| StepWork {
        tokens: batch as f64,
        bytes: sum(|step| step.weight_bytes) / num_steps + kv_bytes,
        operations: products_a_token * OPERATIONS_A_PRODUCT * batch as f64,
    })
}

/// Whole batches: the time to the first token is that of all prompts.
pub(super) fn of_batches(info: &ModelInfo, what: &str, points: Vec<Point>) -> Result<Chart> {
    let names = ["Sequences in the batch", "Decoding", "all prompts read"];
    chart(info, what, points, names)
}

/// Requests so many at a time.
pub(super) fn of_concurrency(info: &ModelInfo, what: &str, points: Vec<Point>) -> Result<Chart> {
    let names = [
        "Requests at a time",
        "Throughput of new tokens",
        "first token (mean TTFT)",
    ];
    chart(info, what, points, names)
}

fn chart(
    info: &ModelInfo,
    what: &str,
    mut points: Vec<Point>,
    [x_label, heading, first]: [&str; 3],
) -> Result<Chart> {
    points.sort_by_key(|point| point.batch);
    points.dedup_by_key(|point| point.batch);
    let limits = limits::of_machine(Some(info.threads))?;
    let numeric = info.plan.numeric;
    let ceiling = |point: &Point| Ceiling::new(&point.work, &limits, numeric);
    let peak = peak_for(numeric, &limits);
    let series = |label: &str, look, of: &dyn Fn(&Point) -> Option<f64>| Series {
        label: label.to_owned(),
        look,
        points: points
            .iter()
            .filter_map(|point| Some((point.batch as f64, of(point)?)))
            .collect(),
    };
    // A step takes as long for each of its sequences.
    let step_ms = |point: &Point, tokens_per_s: f64| point.work.tokens / tokens_per_s * 1e3;
    let mut speed = vec![
        series("measured", Look::Measured, &|p| Some(p.tokens_per_s)),
        series("limit: reading memory", Look::MemoryLimit, &|p| {
            Some(ceiling(p).memory)
        }),
    ];
    let mut latency = vec![
        series("next token", Look::Measured, &|p| Some(p.token_ms)),
        series(first, Look::Second, &|p| Some(p.first_ms)),
        series("limit of next: memory", Look::MemoryLimit, &|p| {
            Some(step_ms(p, ceiling(p).memory))
        }),
    ];
    if peak.is_some() {
        speed.push(series("limit: arithmetic", Look::ArithmeticLimit, &|p| {
            ceiling(p).arithmetic
        }));
        latency.push(series(
            "limit of next: arithmetic",
            Look::ArithmeticLimit,
            &|p| Some(step_ms(p, ceiling(p).arithmetic?)),
        ));
    }
    let model = info.path.file_name().map_or_else(
        || info.path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let arithmetic = match peak {
        Some(peak) => {
            let unit = if peak.input == PeakInput::Int8 {
                "TOP/s"
            } else {
                "TFLOP/s"
            };
            format!("{} {:.2} {unit}", peak.name, peak.operations_per_s / 1e12)
        }
        None => "arithmetic not known".to_owned(),
    };
    let weights = points.first().map_or(0.0, |point| point.work.bytes);
    Ok(Chart {
        title: format!("{model}: tokens a second, and how long they take"),
        subtitle: format!(
            "{what}; {}, {}, {} threads",
            numeric.name(),
            info.isa,
            info.threads
        ),
        notes: vec![
            format!(
                "Limits as measured on this machine: reading memory {:.1} GB/s, {arithmetic}.",
                limits.read_bytes_per_s / 1e9
            ),
            format!(
                "Memory: weights once a step and each sequence's keys and values, {} at the \
                 smallest batch; a model that fits in the caches may be faster.",
                units::bytes(weights as u64)
            ),
        ],
        panels: vec![
            Panel {
                heading: format!("{heading} (tokens/s)"),
                x_label: x_label.to_owned(),
                series: speed,
            },
            Panel {
                heading: "Latency (ms)".to_owned(),
                x_label: x_label.to_owned(),
                series: latency,
            },
        ],
    })
}
