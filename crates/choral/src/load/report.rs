//! The usual figures.

use super::run::{LoadRun, Trace};
use super::slo::Slo;
use super::statistics::Spread;
use serde::Serialize;

/// A run in figures, by the names of vLLM's benchmark: rates a second, times in
/// milliseconds. What no request has is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// Requests that were answered.
    pub completed: usize,
    /// Requests that failed; no other figure counts them.
    pub failed: usize,
    /// From the first request's coming to the last answer, in seconds.
    pub duration: f64,
    /// Tokens of the prompts.
    pub total_input_tokens: usize,
    /// Tokens of the answers.
    pub total_output_tokens: usize,
    /// Requests a second.
    pub request_throughput: f64,
    /// Requests a second that met the [`Slo`], if there is one.
    pub request_goodput: Option<f64>,
    /// Tokens of answers a second.
    pub output_throughput: f64,
    /// Tokens of prompts and answers a second.
    pub total_token_throughput: f64,
    /// Time to the first token, from the request's coming.
    pub mean_ttft_ms: Option<f64>,
    /// Its median.
    pub median_ttft_ms: Option<f64>,
    /// Its 99th percentile.
    pub p99_ttft_ms: Option<f64>,
    /// Time for each further token: of a request, its time after the first token over
    /// its number of tokens less 1.
    pub mean_tpot_ms: Option<f64>,
    /// Its median.
    pub median_tpot_ms: Option<f64>,
    /// Its 99th percentile.
    pub p99_tpot_ms: Option<f64>,
    /// Time between two tokens, over all gaps of all requests.
    pub mean_itl_ms: Option<f64>,
    /// Its median.
    pub median_itl_ms: Option<f64>,
    /// Its 99th percentile.
    pub p99_itl_ms: Option<f64>,
    /// Time to the end, from the request's coming.
    pub mean_e2el_ms: Option<f64>,
    /// Its median.
    pub median_e2el_ms: Option<f64>,
    /// Its 99th percentile.
    pub p99_e2el_ms: Option<f64>,
}

impl LoadReport {
    /// The figures of `run`; goodput too, if there is a `slo`.
    pub fn new(run: &LoadRun, slo: Option<&Slo>) -> Self {
        let answered = || run.traces.iter().filter(|trace| trace.error.is_none());
        let completed = answered().count();
        let input: usize = answered().map(|trace| trace.num_prompt_tokens).sum();
        let output: usize = answered().map(|trace| trace.num_tokens).sum();
        let rate = |count: usize| {
            if run.seconds > 0.0 {
                count as f64 / run.seconds
            } else {
                0.0
            }
        };
        let spread = |times: Vec<f64>| {
            let spread = Spread::of(&times);
            let ms = |of: fn(&Spread) -> f64| spread.as_ref().map(|spread| of(spread) * 1e3);
            (ms(|s| s.mean), ms(|s| s.median), ms(|s| s.p99))
        };
        let ttft = spread(answered().filter_map(|trace| trace.ttft).collect());
        let tpot = spread(answered().filter_map(Trace::tpot).collect());
        let itl = spread(answered().flat_map(|trace| &trace.gaps).copied().collect());
        let e2el = spread(answered().map(|trace| trace.e2e).collect());
        Self {
            completed,
            failed: run.traces.len() - completed,
            duration: run.seconds,
            total_input_tokens: input,
            total_output_tokens: output,
            request_throughput: rate(completed),
            request_goodput: slo
                .map(|slo| rate(run.traces.iter().filter(|t| slo.is_met(t)).count())),
            output_throughput: rate(output),
            total_token_throughput: rate(input + output),
            mean_ttft_ms: ttft.0,
            median_ttft_ms: ttft.1,
            p99_ttft_ms: ttft.2,
            mean_tpot_ms: tpot.0,
            median_tpot_ms: tpot.1,
            p99_tpot_ms: tpot.2,
            mean_itl_ms: itl.0,
            median_itl_ms: itl.1,
            p99_itl_ms: itl.2,
            mean_e2el_ms: e2el.0,
            median_e2el_ms: e2el.1,
            p99_e2el_ms: e2el.2,
        }
    }
}
