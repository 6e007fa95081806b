//! Limits of requests and tokens in a window of time, per key.
//!
//! Owns the windows. Knows no vendor's headers: `vendor` writes them from a [`Standing`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What the headers say when nothing is limited.
const NOMINAL: RateLimit = RateLimit {
    requests: 10_000,
    tokens: 2_000_000,
    window: Duration::from_mins(1),
};

/// So many requests and tokens in each window. Windows follow each other; the first
/// begins with a key's first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in a window.
    pub requests: u64,
    /// Tokens in a window: those of prompts, and the longest answers asked for, roughly.
    pub tokens: u64,
    /// Its length.
    pub window: Duration,
}

impl RateLimit {
    /// Limits requests alone.
    pub fn requests(requests: u64, window: Duration) -> Self {
        Self {
            requests,
            tokens: u64::MAX,
            window,
        }
    }
}

/// A key's place in its window after a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) limit: RateLimit,
    pub(crate) requests_left: u64,
    pub(crate) tokens_left: u64,
    pub(crate) reset_in: Duration,
    pub(crate) allowed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Limiter {
    limit: Option<RateLimit>,
    windows: HashMap<String, Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    requests: u64,
    tokens: u64,
}

impl Limiter {
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self {
            limit,
            windows: HashMap::new(),
        }
    }

    /// Counts a request of about `tokens` tokens. A refused one costs nothing.
    pub(crate) fn count(&mut self, key: &str, tokens: u64, now: Instant) -> Standing {
        let limit = self.limit.unwrap_or(NOMINAL);
        let window = self.windows.entry(key.to_owned()).or_insert(Window {
            began: now,
            requests: 0,
            tokens: 0,
        });
        if now.duration_since(window.began) >= limit.window {
            *window = Window {
                began: now,
                requests: 0,
                tokens: 0,
            };
        }
        let allowed = self.limit.is_none()
            || (window.requests < limit.requests
                && window.tokens.saturating_add(tokens) <= limit.tokens);
        if allowed {
            window.requests += 1;
            window.tokens = window.tokens.saturating_add(tokens);
        }
        Standing {
            limit,
            requests_left: limit.requests.saturating_sub(window.requests),
            tokens_left: limit.tokens.saturating_sub(window.tokens),
            reset_in: limit
                .window
                .saturating_sub(now.duration_since(window.began)),
            allowed,
        }
    }
}
