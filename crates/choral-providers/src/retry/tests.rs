//! Waits and the headers that ask for them.

use super::*;
use reqwest::header::{HeaderName, HeaderValue};

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    pairs.collect()
}

#[test]
fn waits_lie_within_a_bound_that_doubles() {
    let policy = RetryPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(5),
        ..RetryPolicy::default()
    };
    for (attempt, bound) in [(1, 1), (2, 2), (3, 4), (4, 5), (40, 5)] {
        for _ in 0..200 {
            let wait = policy.wait(attempt, None).unwrap();
            assert!(wait <= Duration::from_secs(bound));
        }
    }
    let waits: Vec<_> = (0..64).map(|_| policy.wait(1, None).unwrap()).collect();
    let mean = waits.iter().sum::<Duration>() / 64;
    // Full jitter is uniform: half of the bound on average.
    assert!((0.25..0.75).contains(&mean.as_secs_f64()), "{mean:?}");
}

#[test]
fn what_a_server_asks_for_is_the_least() {
    let policy = RetryPolicy::default();
    let asked = Duration::from_secs(7);
    let wait = policy.wait(1, Some(asked)).unwrap();
    assert!(wait >= asked && wait <= asked + policy.base);
    assert_eq!(policy.wait(1, Some(Duration::from_hours(1))), None);
}

#[test]
fn retry_after_is_seconds_a_date_or_milliseconds() {
    fn at(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
        retry_after(&headers(pairs), 784_111_770.0)
    }
    let seconds = |s| Some(Duration::from_secs_f64(s));
    assert_eq!(at(&[("retry-after", "2")]), seconds(2.0));
    assert_eq!(at(&[("retry-after", "0.25")]), seconds(0.25));
    // RFC 9110's own example of a date, which is second 784111777.
    let date = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
    assert_eq!(at(&date), seconds(7.0));
    let past = retry_after(&headers(&date), 784_111_999.0);
    assert_eq!(past, seconds(0.0));
    let both = [("retry-after", "9"), ("retry-after-ms", "1500")];
    assert_eq!(at(&both), seconds(1.5));
    for nonsense in ["soon", "-", "inf", "nan", "1e999"] {
        assert_eq!(at(&[("retry-after", nonsense)]), None, "{nonsense}");
    }
    assert_eq!(at(&[]), None);
}

#[test]
fn resets_are_durations_or_times() {
    let seconds = |s| Some(Duration::from_secs_f64(s));
    assert_eq!(reset_after("1s", 0.0), seconds(1.0));
    assert_eq!(reset_after("6m0s", 0.0), seconds(360.0));
    assert_eq!(reset_after("20ms", 0.0), seconds(0.02));
    assert_eq!(reset_after("1h2m3.5s", 0.0), seconds(3723.5));
    assert_eq!(reset_after("1970-01-01T00:01:00Z", 15.0), seconds(45.0));
    for nonsense in ["1", "s", "1x", "m1", "..s"] {
        assert_eq!(reset_after(nonsense, 0.0), None, "{nonsense}");
    }
}
