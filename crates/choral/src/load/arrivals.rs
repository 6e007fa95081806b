//! When requests come.

use crate::sampling::Rng;
use std::time::Duration;

/// The times at which `count` requests come, `rate` a second on average, from 0 on:
/// independent gaps, exponentially distributed, so that the number of requests in a
/// second has a Poisson distribution. The first comes at once, as in vLLM's benchmark.
///
/// The same `seed` gives the same times, and twice the rate the same times halved. An
/// infinite rate has all of them come at once.
///
/// # Panics
/// If `rate` is not above 0.
pub fn poisson(rate: f64, count: usize, seed: u64) -> Vec<Duration> {
    assert!(rate > 0.0, "{rate} requests a second");
    let mut rng = Rng::new(seed);
    let mut at = 0.0;
    (0..count)
        .map(|nth| {
            if nth > 0 {
                // The logarithm of 0 is never taken: numbers are below 1.
                at -= libm::log(1.0 - rng.next_uniform());
            }
            // Where the rate is so low that no clock goes that far, the last time
            // that there is.
            Duration::try_from_secs_f64(at / rate).unwrap_or(Duration::MAX)
        })
        .collect()
}
