//! Figures against values computed by hand, and runs on the model that ships.

use super::*;
use crate::engine::Request;
use crate::machine::limits::{Limits, Peak, PeakInput};
use crate::model::Numeric;
use crate::sampling::SamplingParams;
use crate::{Engine, engine::Prompt};
use std::num::NonZeroUsize;
use std::time::Duration;

#[test]
fn percentiles_lie_between_neighbours_as_in_numpy() {
    // numpy.percentile([15, 20, 35, 40, 50], [0, 40, 50, 99, 100])
    let values = [15.0, 20.0, 35.0, 40.0, 50.0];
    let close = |percent: f64, expected: f64| {
        let found = percentile(&values, percent).expect("there are values");
        assert!((found - expected).abs() < 1e-12, "{percent} %: {found}");
    };
    close(0.0, 15.0);
    close(40.0, 29.0);
    close(50.0, 35.0);
    close(99.0, 49.6);
    close(100.0, 50.0);
    assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
    assert_eq!(percentile(&[], 50.0), None);
}

#[test]
fn a_spread_has_mean_median_and_p99_of_values_in_any_order() {
    let spread = Spread::of(&[4.0, 1.0, 10.0, 1.0]).expect("there are values");
    assert_eq!((spread.mean, spread.median), (4.0, 2.5));
    // The place is 0.99 * 3 = 2.97: between 4 and 10.
    assert!((spread.p99 - 9.82).abs() < 1e-12, "{}", spread.p99);
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn poisson_arrivals_have_exponential_gaps() {
    let times = poisson(4.0, 20_001, 7);
    assert_eq!(times[0], Duration::ZERO);
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]).as_secs_f64())
        .collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    // An exponential distribution of rate 4: mean 1/4, variance 1/16; the standard
    // error of the mean of 20,000 is 0.0018.
    assert!((mean - 0.25).abs() < 0.008, "{mean}");
    assert!((variance - 0.0625).abs() < 0.006, "{variance}");
    let longer = gaps.iter().filter(|gap| **gap > 0.25).count();
    // exp(-1) of the gaps are longer than the mean.
    assert!(
        (longer as f64 / 20_000.0 - 0.3679).abs() < 0.012,
        "{longer}"
    );
}

#[test]
fn arrivals_follow_from_seed_and_rate() {
    assert_eq!(poisson(2.0, 9, 1), poisson(2.0, 9, 1));
    assert_ne!(poisson(2.0, 9, 1), poisson(2.0, 9, 2));
    let (slow, fast) = (poisson(1.0, 9, 3), poisson(2.0, 9, 3));
    for (slow, fast) in slow.iter().zip(fast) {
        assert!((slow.as_secs_f64() - 2.0 * fast.as_secs_f64()).abs() < 1e-8);
    }
    assert_eq!(poisson(f64::INFINITY, 3, 0), [Duration::ZERO; 3]);
    assert!(poisson(1.0, 0, 0).is_empty());
}

/// A request whose tokens came after so many seconds.
fn trace(came: f64, at: &[f64]) -> Trace {
    Trace {
        came,
        num_prompt_tokens: 10,
        num_tokens: at.len(),
        ttft: at.first().copied(),
        gaps: at.windows(2).map(|pair| pair[1] - pair[0]).collect(),
        e2e: at.last().copied().unwrap_or_default(),
        error: None,
    }
}

fn run_of(traces: Vec<Trace>, seconds: f64) -> LoadRun {
    LoadRun {
        outputs: vec![None; traces.len()],
        traces,
        seconds,
        is_stopped: false,
    }
}

#[test]
fn figures_of_three_requests_are_what_a_pencil_gives() {
    let failed = Trace {
        error: Some("no".to_owned()),
        ..trace(0.0, &[9.0])
    };
    let traces = vec![
        trace(0.0, &[0.1, 0.2, 0.4]),
        trace(1.0, &[0.3, 0.5]),
        failed,
    ];
    let slo = "ttft=200ms".parse().expect("an SLO");
    let report = LoadReport::new(&run_of(traces, 2.0), Some(&slo));
    assert_eq!((report.completed, report.failed), (2, 1));
    assert_eq!(report.total_input_tokens, 20);
    assert_eq!(report.total_output_tokens, 5);
    assert_eq!(report.request_throughput, 1.0);
    assert_eq!(report.request_goodput, Some(0.5));
    assert_eq!(report.output_throughput, 2.5);
    assert_eq!(report.total_token_throughput, 12.5);
    let close = |found: Option<f64>, expected: f64| {
        let found = found.expect("measured");
        assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
    };
    close(report.mean_ttft_ms, 200.0);
    close(report.median_ttft_ms, 200.0);
    close(report.p99_ttft_ms, 298.0);
    // (0.4 - 0.1) / 2 and (0.5 - 0.3) / 1.
    close(report.mean_tpot_ms, 175.0);
    // Gaps of 0.1, 0.2 and 0.2.
    close(report.mean_itl_ms, 500.0 / 3.0);
    close(report.median_itl_ms, 200.0);
    close(report.mean_e2el_ms, 450.0);
}

#[test]
fn requests_of_one_token_have_no_gaps() {
    let report = LoadReport::new(&run_of(vec![trace(0.0, &[0.1])], 1.0), None);
    assert_eq!((report.mean_tpot_ms, report.p99_itl_ms), (None, None));
    assert_eq!(report.request_goodput, None);
    let nothing = LoadReport::new(&LoadRun::default(), None);
    assert_eq!(nothing.request_throughput, 0.0);
}

#[test]
fn a_request_is_good_if_it_meets_every_limit() {
    let slo = |text: &str| text.parse::<Slo>().expect("an SLO");
    let request = trace(0.0, &[0.1, 0.2, 0.5]);
    for good in [
        "ttft=100ms",
        "tpot=200",
        "itl=0.31s",
        "e2el=0.5s",
        "ttft=1s,itl=1s",
    ] {
        assert!(slo(good).is_met(&request), "{good}");
    }
    // The mean gap is 0.2, but one is 0.3.
    for bad in [
        "ttft=99ms",
        "tpot=199ms",
        "itl=250ms",
        "e2el=499",
        "ttft=1s,itl=250ms",
    ] {
        assert!(!slo(bad).is_met(&request), "{bad}");
    }
}

#[test]
fn an_slo_that_is_none_says_why() {
    let error = |text: &str| text.parse::<Slo>().expect_err(text).to_string();
    assert_eq!(error("ttft"), "`ttft` is not NAME=TIME, such as ttft=500ms");
    assert_eq!(
        error("speed=1s"),
        "`speed` is not measured, expected ttft, tpot, itl or e2el"
    );
    assert_eq!(error("ttft=1s,ttft=2s"), "`ttft` is given twice");
    for time in ["fast", "0", "-1ms", "infs", "NaN", ""] {
        assert!(error(&format!("itl={time}")).contains("is not a time"));
    }
}

#[test]
fn ceilings_are_the_formulas() {
    let peak = |name, input, operations_per_s| Peak {
        name,
        input,
        operations_per_s,
    };
    let limits = Limits {
        threads: 2,
        read_bytes_per_s: 20e9,
        peaks: vec![
            peak("fma", PeakInput::F32, 100e9),
            peak("dot", PeakInput::Int8, 400e9),
        ],
    };
    // 8 sequences; weights of 1 GB; 2 billion operations a token.
    let work = StepWork {
        tokens: 8.0,
        bytes: 1e9,
        operations: 16e9,
    };
    let ceiling = Ceiling::new(&work, &limits, Numeric::Q8);
    assert_eq!(ceiling.memory, 160.0);
    assert_eq!(ceiling.arithmetic, Some(200.0));
    assert_eq!(ceiling.lowest(), 160.0);
    let ceiling = Ceiling::new(&work, &limits, Numeric::Bf16);
    assert_eq!((ceiling.arithmetic, ceiling.lowest()), (Some(50.0), 50.0));
    let none = Limits {
        peaks: Vec::new(),
        ..limits
    };
    assert_eq!(Ceiling::new(&work, &none, Numeric::F32).arithmetic, None);
}

fn engine() -> Engine {
    let builder = Engine::builder().threads(1).max_num_seqs(4);
    builder.build().expect("the model that ships")
}

fn requests(count: u32, tokens: u32) -> Vec<Request> {
    let request = |i| {
        Request::new(Prompt::Tokens(vec![5 + i, 9, 20])).with_params(SamplingParams {
            max_tokens: Some(tokens),
            ignore_eos: true,
            seed: Some(u64::from(i)),
            ..SamplingParams::default()
        })
    };
    (0..count).map(request).collect()
}

#[test]
fn every_request_has_a_trace_that_adds_up_and_the_engine_s_answer() {
    let engine = engine();
    let expected = engine.generate_requests(requests(5, 6));
    let run = Load::new(&engine, requests(5, 6))
        .pace(Pace::Concurrency(NonZeroUsize::new(2).expect("2")))
        .run();
    assert_eq!(run.traces.len(), 5);
    for ((trace, output), expected) in run.traces.iter().zip(&run.outputs).zip(expected) {
        assert_eq!(trace.error, None);
        assert_eq!((trace.num_prompt_tokens, trace.num_tokens), (3, 6));
        assert_eq!(trace.gaps.len(), 5);
        let ttft = trace.ttft.expect("there are tokens");
        let sum = ttft + trace.gaps.iter().sum::<f64>();
        assert!(sum <= trace.e2e + 1e-9 && trace.came + trace.e2e <= run.seconds + 1e-3);
        let text = |output: &crate::RequestOutput| output.outputs[0].text.clone();
        let output = output.as_ref().expect("answered");
        assert_eq!(text(output), text(&expected.expect("answered")));
    }
}

#[test]
fn no_more_run_than_asked_for() {
    let engine = engine();
    let (mut most, mut ended) = (0, 0);
    Load::new(&engine, requests(7, 3))
        .pace(Pace::Concurrency(NonZeroUsize::new(3).expect("3")))
        .on_end(|one| {
            let metrics = engine.metrics();
            most = most.max(metrics.num_running + metrics.num_waiting);
            ended = one.num_ended;
            let tokens = one.output.map(|output| output.outputs[0].token_ids.len());
            assert_eq!((tokens, one.trace.num_tokens), (Some(3), 3));
        })
        .run();
    assert_eq!(ended, 7);
    assert!(most <= 3, "{most}");
}

#[test]
fn requests_come_when_they_are_due_and_not_before() {
    let engine = engine();
    let due = [0, 40, 80].map(Duration::from_millis);
    let run = Load::new(&engine, requests(3, 2))
        .pace(Pace::Arrivals(due.to_vec()))
        .run();
    for (trace, due) in run.traces.iter().zip(due) {
        assert!((trace.came - due.as_secs_f64()).abs() < 1e-9);
        assert_eq!(trace.error, None);
    }
    assert!(run.seconds >= 0.08, "{}", run.seconds);
}

#[test]
fn a_refused_request_fails_alone() {
    let engine = engine();
    let mut some = requests(3, 2);
    some[1].prompt = Prompt::Tokens(Vec::new());
    let run = Load::new(&engine, some).run();
    let errors: Vec<bool> = run.traces.iter().map(|t| t.error.is_some()).collect();
    assert_eq!(errors, [false, true, false]);
    assert_eq!(run.outputs.iter().filter(|o| o.is_none()).count(), 1);
}

#[test]
fn a_run_that_is_stopped_ends_at_once_and_keeps_what_is_done() {
    let engine = engine();
    let load = Load::new(&engine, requests(50, 4));
    let stopper = load.stopper();
    let run = load
        .on_end(|ended| {
            if ended.num_ended == 2 {
                stopper.stop();
            }
        })
        .run();
    assert!(run.is_stopped);
    let done = run.traces.iter().filter(|t| t.error.is_none()).count();
    assert!((2..=3).contains(&done), "{done}");
    // Those that were never sent have no trace.
    assert!(run.traces.len() <= done + 1, "{}", run.traces.len());

    let load =
        Load::new(&engine, requests(1, 2)).pace(Pace::Arrivals(vec![Duration::from_hours(1)]));
    load.stopper().stop();
    assert!(load.run().traces.is_empty());
}
