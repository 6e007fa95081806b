//! How long requests took.

use choral::engine::RequestMetrics;
use hdrhistogram::Histogram;
use std::fmt;

/// Distributions of the time to the first token (TTFT) and to the end, in microseconds
/// and to three digits, in memory that does not grow.
pub(crate) struct Latencies {
    first_token: Histogram<u64>,
    end: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let empty = || Histogram::new(3).expect("three digits are allowed");
        Self {
            first_token: empty(),
            end: empty(),
        }
    }
}

impl Latencies {
    pub(crate) fn add(&mut self, metrics: &RequestMetrics) {
        let micros = |seconds: f64| (seconds * 1e6).round() as u64;
        // They grow with what they are given, so that nothing is out of their range.
        // A service that answers at once does not tell.
        if metrics.time_to_first_token_s > 0.0 {
            self.first_token += micros(metrics.time_to_first_token_s);
        }
        self.end += micros(metrics.e2e_s);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end.is_empty()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = [
            ("time to first token", &self.first_token),
            ("time to the end", &self.end),
        ];
        let known = times.into_iter().filter(|(_, times)| !times.is_empty());
        for (i, (name, times)) in known.enumerate() {
            let seconds = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
            write!(
                f,
                "{}{name} p50 {:.3} s, p90 {:.3} s, p99 {:.3} s",
                if i == 0 { "" } else { "; " },
                seconds(0.5),
                seconds(0.9),
                seconds(0.99)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;
    use choral::engine::RequestMetrics;

    #[test]
    fn half_of_the_times_are_below_the_median() {
        let mut latencies = Latencies::default();
        for i in 1..=100 {
            latencies.add(&RequestMetrics {
                time_to_first_token_s: f64::from(i) / 1000.0,
                e2e_s: f64::from(i),
                ..RequestMetrics::default()
            });
        }
        assert_eq!(
            latencies.to_string(),
            "time to first token p50 0.050 s, p90 0.090 s, p99 0.099 s; \
             time to the end p50 50.004 s, p90 90.046 s, p99 99.025 s"
        );
    }
}
