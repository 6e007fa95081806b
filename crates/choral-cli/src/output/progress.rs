//! How far a batch has come: a bar on a terminal, now and then a line elsewhere.

use choral::job::JobSummary;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Time between two lines, where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress on standard error.
pub(crate) struct Progress {
    shown: Shown,
    num_rows: Option<u64>,
    started: Instant,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
    Nothing,
}

impl Progress {
    /// Progress towards `num_rows`, if their number is known.
    pub(crate) fn new(num_rows: Option<u64>, is_quiet: bool) -> Self {
        let started = Instant::now();
        let shown = if is_quiet {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            Shown::Bar(bar(num_rows))
        } else {
            Shown::Lines { last: started }
        };
        Self {
            shown,
            num_rows,
            started,
        }
    }

    /// Takes note of what is done by now.
    pub(crate) fn show(&mut self, summary: &JobSummary) {
        let seconds = self.started.elapsed().as_secs_f64();
        let speed = Speed::of(summary, seconds);
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(summary.num_done);
                bar.set_message(match summary.num_failed {
                    0 => speed.to_string(),
                    failed => format!("{speed}, {failed} failed"),
                });
            }
            Shown::Lines { last } if last.elapsed() < LINE_INTERVAL => {}
            Shown::Lines { last } => {
                *last = Instant::now();
                let line = line(summary, self.num_rows, &speed);
                // A closed standard error has nobody to tell.
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    }

    /// Ends the display. How long it was, in seconds, unless nothing is shown.
    pub(crate) fn end(self) -> Option<f64> {
        let seconds = self.started.elapsed().as_secs_f64();
        match self.shown {
            Shown::Nothing => return None,
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines { .. } => {}
        }
        Some(seconds)
    }

    /// Ends the display and says how it went.
    pub(crate) fn finish(self, summary: &JobSummary, seed: u64) {
        let Some(seconds) = self.end() else {
            return;
        };
        let speed = Speed::of(summary, seconds);
        let JobSummary {
            num_handed_out,
            num_failed,
            prompt_tokens,
            completion_tokens,
            ..
        } = *summary;
        let _ = writeln!(
            io::stderr(),
            "{num_handed_out} rows in {seconds:.1} s, {num_failed} of them in error; {prompt_tokens} \
             prompt and {completion_tokens} new tokens; {speed}; seed {seed}"
        );
    }
}

fn bar(num_rows: Option<u64>) -> ProgressBar {
    let template = match num_rows {
        Some(_) => "[{bar:30}] {pos}/{len} rows, {msg}, {eta} left",
        None => "{spinner} {pos} rows, {msg}, {elapsed}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is right");
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(num_rows, target);
    bar.set_style(style.progress_chars("=> "));
    bar
}

/// Rows and tokens a second.
struct Speed {
    rows: f64,
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
            rows: rate(summary.num_done),
            tokens: rate(summary.completion_tokens),
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} rows/s, {:.0} tokens/s", self.rows, self.tokens)
    }
}

fn line(summary: &JobSummary, num_rows: Option<u64>, speed: &Speed) -> String {
    let done = summary.num_done;
    let line = match num_rows {
        None => format!("{done} rows, {speed}"),
        Some(all) => {
            let seconds_left = all.saturating_sub(done) as f64 / speed.rows.max(f64::MIN_POSITIVE);
            format!("{done}/{all} rows, {speed}, {seconds_left:.0} s left")
        }
    };
    match summary.num_failed {
        0 => line,
        failed => format!("{line}, {failed} failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Speed, line};
    use choral::job::JobSummary;

    #[test]
    fn a_line_has_rows_rates_and_the_time_left() {
        let summary = JobSummary {
            num_done: 50,
            num_failed: 2,
            completion_tokens: 1000,
            ..JobSummary::default()
        };
        let speed = Speed::of(&summary, 10.0);
        assert_eq!(
            line(&summary, Some(200), &speed),
            "50/200 rows, 5.0 rows/s, 100 tokens/s, 30 s left, 2 failed"
        );
        let summary = JobSummary {
            num_failed: 0,
            ..summary
        };
        assert_eq!(
            line(&summary, None, &speed),
            "50 rows, 5.0 rows/s, 100 tokens/s"
        );
    }
}
