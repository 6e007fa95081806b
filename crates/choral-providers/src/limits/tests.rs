//! Buckets and pauses, on a clock that stands still.

use super::*;

fn limiter(requests: Option<u32>, tokens: Option<u32>) -> Limiter {
    Limiter::new(RateLimits {
        requests_per_minute: requests,
        tokens_per_minute: tokens,
    })
}

#[tokio::test(start_paused = true)]
async fn requests_go_out_at_the_rate_that_is_allowed() {
    let limiter = limiter(Some(120), None);
    let start = Instant::now();
    // Two a second: two at once, then one each half second.
    let at: Vec<_> = (0..6).map(|_| limiter.reserve(0) - start).collect();
    let expected = [0, 0, 500, 1000, 1500, 2000].map(Duration::from_millis);
    assert_eq!(at, expected);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_fills_again_but_not_beyond_its_rim() {
    let limiter = limiter(Some(60), None);
    limiter.reserve(0);
    tokio::time::advance(Duration::from_secs(100)).await;
    let now = Instant::now();
    assert_eq!(limiter.reserve(0), now);
    assert_eq!(limiter.reserve(0), now + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn tokens_count_as_well_and_more_than_a_bucket_is_not_stuck() {
    let limiter = limiter(None, Some(6000));
    let start = Instant::now();
    assert_eq!(limiter.reserve(100), start);
    // A hundred a second: a thousand take ten.
    assert_eq!(limiter.reserve(1000), start + Duration::from_secs(10));
    limiter.give_back(1000);
    assert_eq!(limiter.reserve(100), start + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_with_nothing_left_is_left_alone() {
    let limiter = limiter(None, None);
    let start = Instant::now();
    let headers = |remaining: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining-requests", remaining.parse().unwrap());
        headers.insert("x-ratelimit-reset-requests", "6s".parse().unwrap());
        headers
    };
    let most = Duration::from_mins(1);
    limiter.note(&headers("3"), 0.0, most);
    assert_eq!(limiter.reserve(0), start);
    limiter.note(&headers("0"), 0.0, most);
    assert_eq!(limiter.reserve(0), start + Duration::from_secs(6));
    limiter.note(&headers("0"), 0.0, Duration::from_secs(1));
    assert_eq!(limiter.paused_until(), Some(start + Duration::from_secs(6)));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(limiter.paused_until(), None);
}
