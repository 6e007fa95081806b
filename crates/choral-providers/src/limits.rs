//! How fast requests may go out: what the caller allows, and what the server says it
//! does.
//!
//! A bucket goes into debt: who takes from it reserves at once and is told how long to
//! wait. So requests go out in the order in which they came, and one that is larger than
//! the bucket is not stuck.

use super::retry::{reset_after, text};
use reqwest::header::HeaderMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What the caller allows; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute: an estimate of the prompt's (four bytes a token) and
    /// `max_tokens`.
    pub tokens_per_minute: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Limiter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// The server takes nothing until then.
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    per_s: f64,
    capacity: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: u32, now: Instant) -> Self {
        let per_s = f64::from(per_minute.max(1)) / 60.0;
        // A second's worth may go at once, and at least one.
        let capacity = per_s.max(1.0);
        Self {
            per_s,
            capacity,
            level: capacity,
            at: now,
        }
    }

    /// Takes `amount` and returns how long to wait for it.
    fn take(&mut self, amount: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = self.capacity.min(passed.mul_add(self.per_s, self.level));
        self.at = now;
        self.level -= amount;
        let wait = (-self.level / self.per_s).max(0.0);
        // Beyond a day the deadline has long decided.
        Duration::from_secs_f64(wait.min(86_400.0))
    }
}

impl Limiter {
    pub(crate) fn new(limits: RateLimits) -> Self {
        let now = Instant::now();
        let bucket = |per_minute| Bucket::new(per_minute, now);
        Self {
            state: Mutex::new(State {
                requests: limits.requests_per_minute.map(bucket),
                tokens: limits.tokens_per_minute.map(bucket),
                paused_until: None,
            }),
        }
    }

    /// Takes a request of about `tokens` tokens, and says when it may go.
    pub(crate) fn reserve(&self, tokens: u64) -> Instant {
        let now = Instant::now();
        let mut state = self.lock();
        let requests = state.requests.as_mut();
        let requests = requests.map_or(Duration::ZERO, |bucket| bucket.take(1.0, now));
        let bucket = state.tokens.as_mut();
        let tokens = bucket.map_or(Duration::ZERO, |bucket| bucket.take(tokens as f64, now));
        let at = now + requests.max(tokens);
        state.paused_until.map_or(at, |until| at.max(until))
    }

    /// Gives back what was reserved for a request that did not go.
    pub(crate) fn give_back(&self, tokens: u64) {
        let mut state = self.lock();
        if let Some(bucket) = &mut state.requests {
            bucket.level += 1.0;
        }
        if let Some(bucket) = &mut state.tokens {
            bucket.level += tokens as f64;
        }
    }

    /// Until when the server takes nothing, if that is in the future.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.lock()
            .paused_until
            .filter(|until| *until > Instant::now())
    }

    /// Holds everything back for a while.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        state.paused_until = state.paused_until.max(Some(until));
    }

    /// Takes note of what the server says is left: OpenAI's and Anthropic's headers.
    /// Where nothing is, everything waits until it is counted anew, but no longer than
    /// `most`.
    pub(crate) fn note(&self, headers: &HeaderMap, now: f64, most: Duration) {
        for (remaining, reset) in [
            (
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ),
            ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
            (
                "anthropic-ratelimit-requests-remaining",
                "anthropic-ratelimit-requests-reset",
            ),
            (
                "anthropic-ratelimit-tokens-remaining",
                "anthropic-ratelimit-tokens-reset",
            ),
        ] {
            if text(headers, remaining).map(str::trim) != Some("0") {
                continue;
            }
            let wait = text(headers, reset).and_then(|reset| reset_after(reset, now));
            if let Some(wait) = wait {
                tracing::debug!(?wait, header = remaining, "the server's limit is reached");
                self.pause(wait.min(most));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers, each of which makes sense alone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
