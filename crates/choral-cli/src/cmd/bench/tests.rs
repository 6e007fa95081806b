//! Tables, workloads and what is asked of the command line.

use super::chart::decode_work;
use super::rate::{Row, table};
use super::workload::spread;
use super::{concurrency, parse_rate, parse_ratio};
use choral::engine::StepStats;
use choral::load::{LoadReport, LoadRun, Trace};

#[test]
fn the_table_of_concurrency_has_the_four_columns() {
    let [head, rule] = concurrency::HEAD;
    assert!(head.contains("Concurrency | Time (ms) | Throughput (items/s) | Speedup"));
    let line = concurrency::line(8, 2250.4, 8.889, 3.789);
    assert_eq!(
        line,
        "|           8 |      2250 |                 8.89 |   3.79x |"
    );
    assert_eq!((head.len(), rule.len()), (line.len(), line.len()));
}

#[test]
fn the_table_of_rates_leaves_out_what_nobody_measured() {
    let run = LoadRun {
        traces: vec![Trace {
            num_prompt_tokens: 4,
            num_tokens: 1,
            ttft: Some(0.25),
            e2e: 0.25,
            ..Trace::default()
        }],
        outputs: vec![None],
        seconds: 0.5,
        is_stopped: false,
    };
    let row = |request_rate| Row {
        request_rate,
        report: LoadReport::new(&run, None),
    };
    let lines = table(&[row(Some(2.5)), row(None)]);
    assert_eq!(
        lines[0],
        "|                      |      2.5/s |        inf |"
    );
    assert!(
        lines.iter().all(|line| line.len() == lines[0].len()),
        "{lines:#?}"
    );
    assert!(lines.contains(&"| TTFT mean (ms)       |     250.00 |     250.00 |".to_owned()));
    assert!(lines.contains(&"| Total tokens/s       |      10.00 |      10.00 |".to_owned()));
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("TPOT") || line.contains("Goodput"))
    );
}

#[test]
fn lengths_spread_evenly_over_their_range_and_are_never_0() {
    assert_eq!(spread(128, 0.0, 0.999), 128);
    assert_eq!((spread(100, 0.2, 0.0), spread(100, 0.2, 0.9999)), (80, 120));
    assert_eq!(spread(1, 0.9, 0.0), 1);
    let mean = (0..1000)
        .map(|i| spread(100, 0.5, f64::from(i) / 1000.0) as f64)
        .sum::<f64>();
    assert!((mean / 1000.0 - 100.0).abs() < 1.0, "{mean}");
}

#[test]
fn the_work_of_a_step_is_that_of_steps_that_only_continue() {
    let step = |prefill, decode, weight_bytes, tile_products| StepStats {
        num_prefill_tokens: prefill,
        num_decode_tokens: decode,
        weight_bytes,
        tile_products,
        ..StepStats::default()
    };
    let steps = [
        step(9, 1, 7777, 7777),
        step(0, 4, 1000, 40),
        step(0, 2, 800, 20),
    ];
    let work = decode_work(&steps, 8, 50.0).expect("two steps only continue");
    assert_eq!((work.tokens, work.bytes), (8.0, 950.0));
    // Ten products a token, of 1024 operations each.
    assert_eq!(work.operations, 10.0 * 1024.0 * 8.0);
    assert_eq!(decode_work(&steps[..1], 8, 50.0), None);
}

#[test]
fn rates_and_ratios_have_their_ranges() {
    assert_eq!(parse_rate("inf"), Ok(f64::INFINITY));
    assert_eq!(parse_rate("0.5"), Ok(0.5));
    for wrong in ["0", "-1", "NaN", "1e-9", "fast", ""] {
        assert!(parse_rate(wrong).is_err(), "{wrong}");
    }
    assert_eq!(parse_ratio("0.5"), Ok(0.5));
    for wrong in ["1", "-0.1", "NaN", ""] {
        assert!(parse_ratio(wrong).is_err(), "{wrong}");
    }
}
