//! How far a batch has come: a bar on a terminal, now and then a line elsewhere.

use super::latency::Latencies;
use super::terminal::tell_plainly;
use choral::Engine;
use choral::engine::{EngineMetrics, RequestMetrics};
use choral::job::JobSummary;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Time between two lines, where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two states of the bar.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// Shows progress on standard error.
pub(crate) struct Progress {
    shown: Shown,
    num_rows: Option<u64>,
    started: Instant,
    last: Instant,
    /// What runs the rows, to tell how full it is.
    engine: Option<Engine>,
    latencies: Latencies,
}

enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// Progress towards `num_rows`, if their number is known, on `engine`, if there is
    /// one.
    pub(crate) fn new(num_rows: Option<u64>, is_quiet: bool, engine: Option<Engine>) -> Self {
        let shown = if is_quiet {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            Shown::Bar(bar(num_rows))
        } else {
            Shown::Lines
        };
        let now = Instant::now();
        Self {
            shown,
            num_rows,
            started: now,
            last: now,
            engine,
            latencies: Latencies::default(),
        }
    }

    /// Takes note of what is done by now, and of how long the last row took.
    pub(crate) fn show(&mut self, summary: &JobSummary, metrics: Option<&RequestMetrics>) {
        if let Some(metrics) = metrics {
            self.latencies.add(metrics);
        }
        let interval = match &self.shown {
            Shown::Nothing => return,
            Shown::Bar(_) => BAR_INTERVAL,
            Shown::Lines => LINE_INTERVAL,
        };
        let is_last = self.num_rows == Some(summary.num_done);
        let is_bar = matches!(self.shown, Shown::Bar(_));
        if self.last.elapsed() < interval && !(is_bar && is_last) {
            return;
        }
        self.last = Instant::now();
        let state = State {
            summary,
            num_rows: self.num_rows,
            seconds: self.started.elapsed().as_secs_f64(),
            engine: self.engine.as_ref().map(Engine::metrics),
        };
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(summary.num_done);
                bar.set_message(state.details());
            }
            Shown::Lines => {
                tell_plainly(&state.line());
            }
        }
    }

    /// Ends the display. How long it was, in seconds, unless nothing is shown.
    pub(crate) fn end(self) -> Option<f64> {
        let seconds = self.started.elapsed().as_secs_f64();
        match self.shown {
            Shown::Nothing => return None,
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines => {}
        }
        Some(seconds)
    }

    /// Ends the display and says how it went. `seed` is the job's, if it has one.
    pub(crate) fn finish(mut self, summary: &JobSummary, seed: Option<u64>) {
        let latencies = std::mem::take(&mut self.latencies);
        let Some(seconds) = self.end() else {
            return;
        };
        let speed = Speed::of(summary, seconds);
        let JobSummary {
            num_done,
            num_failed,
            num_kept,
            prompt_tokens,
            completion_tokens,
            ..
        } = *summary;
        let kept = match num_kept {
            0 => String::new(),
            kept => format!("{kept} of them done before, "),
        };
        let seed = seed.map_or_else(String::new, |seed| format!("; seed {seed}"));
        tell_plainly(&format!(
            "{num_done} rows in {seconds:.1} s, {kept}{num_failed} of them in error; {prompt_tokens} \
             prompt and {completion_tokens} new tokens; {speed}{seed}"
        ));
        if !latencies.is_empty() {
            tell_plainly(&latencies.to_string());
        }
    }
}

fn bar(num_rows: Option<u64>) -> ProgressBar {
    let template = match num_rows {
        Some(_) => "[{bar:20}] {pos}/{len} rows, {msg}",
        None => "{spinner} {pos} rows, {msg}, {elapsed}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is right");
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(num_rows, target);
    bar.set_style(style.progress_chars("=> "));
    bar
}

/// Rows and tokens a second, of those that were computed.
struct Speed {
    rows: f64,
    prompt_tokens: f64,
    tokens: f64,
}

impl Speed {
    fn of(summary: &JobSummary, seconds: f64) -> Self {
        let rate = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        Self {
            rows: rate(summary.num_done - summary.num_kept),
            prompt_tokens: rate(summary.prompt_tokens),
            tokens: rate(summary.completion_tokens),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rows,
            prompt_tokens,
            tokens,
        } = self;
        write!(
            f,
            "{rows:.1} rows/s, {prompt_tokens:.0} tokens/s in, {tokens:.0} out"
        )
    }
}

/// Where a job stands.
struct State<'a> {
    summary: &'a JobSummary,
    num_rows: Option<u64>,
    seconds: f64,
    engine: Option<EngineMetrics>,
}

impl State<'_> {
    /// All but the rows.
    fn details(&self) -> String {
        let speed = Speed::of(self.summary, self.seconds);
        let mut parts = vec![speed.to_string()];
        if let Some(engine) = &self.engine {
            let EngineMetrics {
                num_running,
                num_waiting,
                ..
            } = engine;
            let kv = engine.kv_blocks_used as f64 / engine.kv_blocks_total.max(1) as f64;
            let kv = 100.0 * kv;
            parts.push(format!(
                "{num_running} running, {num_waiting} waiting, KV {kv:.0} %"
            ));
        }
        if let Some(all) = self.num_rows {
            let rows_left = all.saturating_sub(self.summary.num_done) as f64;
            let seconds = rows_left / speed.rows.max(f64::MIN_POSITIVE);
            parts.push(format!("{} left", duration(seconds)));
        }
        if self.summary.num_failed > 0 {
            parts.push(format!("{} failed", self.summary.num_failed));
        }
        parts.join(", ")
    }

    fn line(&self) -> String {
        let done = self.summary.num_done;
        let details = self.details();
        match self.num_rows {
            None => format!("{done} rows, {details}"),
            Some(all) => format!("{done}/{all} rows, {details}"),
        }
    }
}

/// A time for people: seconds, minutes or hours.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        // No row is done yet, so that nothing is known.
        u64::MAX => "?".to_owned(),
        0..=99 => format!("{whole} s"),
        100..=5_999 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{State, duration};
    use choral::engine::EngineMetrics;
    use choral::job::JobSummary;

    #[test]
    fn a_line_has_rows_rates_and_the_time_left() {
        let summary = JobSummary {
            num_done: 60,
            num_kept: 10,
            num_failed: 2,
            prompt_tokens: 3000,
            completion_tokens: 1000,
            ..JobSummary::default()
        };
        let engine = EngineMetrics {
            num_running: 4,
            num_waiting: 7,
            kv_blocks_used: 5,
            kv_blocks_total: 20,
            ..EngineMetrics::default()
        };
        let mut state = State {
            summary: &summary,
            num_rows: Some(210),
            seconds: 10.0,
            engine: Some(engine),
        };
        assert_eq!(
            state.line(),
            "60/210 rows, 5.0 rows/s, 300 tokens/s in, 100 out, 4 running, 7 waiting, KV 25 %, \
             30 s left, 2 failed"
        );
        (state.num_rows, state.engine) = (None, None);
        assert_eq!(
            state.line(),
            "60 rows, 5.0 rows/s, 300 tokens/s in, 100 out, 2 failed"
        );
    }

    #[test]
    fn times_are_as_long_as_they_need() {
        assert_eq!(duration(7.4), "7 s");
        assert_eq!(duration(125.0), "2 min 05 s");
        assert_eq!(duration(7_260.0), "2 h 01 min");
        assert_eq!(duration(f64::INFINITY), "?");
    }
}
