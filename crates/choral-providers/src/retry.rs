//! When to try again, and how long to wait before.
//!
//! Decisions only: no clock is read and nothing sleeps here.

use reqwest::header::HeaderMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How often and after how long a request is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Most attempts, the first included; at least 1.
    pub max_attempts: u32,
    /// The wait before the second attempt is up to this long; it doubles from attempt to
    /// attempt.
    pub base: Duration,
    /// Up to here.
    pub cap: Duration,
    /// The longest that a server may ask to wait. If it asks for more, the error is
    /// returned at once.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            max_retry_after: Duration::from_mins(5),
        }
    }
}

impl RetryPolicy {
    /// One attempt and no more.
    pub fn never() -> Self {
        Self {
            max_attempts: 1,
            ..Self::default()
        }
    }

    /// How long to wait after attempt number `attempt` (from 1) failed, if the server
    /// said nothing or `retry_after`. `None`: the server asks for too long.
    ///
    /// Full jitter: uniformly random up to the doubling bound, so that requests that
    /// failed together do not come again together. (Brooker, "Exponential backoff and
    /// jitter", AWS 2015.) What a server asks for is a lower bound, and the jitter comes
    /// on top.
    pub fn wait(&self, attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let doublings = attempt.saturating_sub(1).min(31);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let jitter = bound.mul_f64(random_fraction());
        match retry_after {
            None => Some(jitter),
            Some(asked) if asked > self.max_retry_after => None,
            Some(asked) => Some(asked.saturating_add(jitter.min(self.base))),
        }
    }
}

/// Uniform in `[0, 1)`.
fn random_fraction() -> f64 {
    // Every `RandomState` is keyed anew.
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A name for a request that no other has.
pub(crate) fn random_key() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("choral-{:016x}{:016x}", half(), half())
}

/// How long a server asks to wait: OpenAI's `retry-after-ms`, or `Retry-After` in seconds
/// or as a date. `now` is the wall clock, in seconds since 1970.
pub(crate) fn retry_after(headers: &HeaderMap, now: f64) -> Option<Duration> {
    if let Some(ms) = number(headers, "retry-after-ms") {
        return duration(ms / 1000.0);
    }
    if let Some(seconds) = number(headers, "retry-after") {
        return duration(seconds);
    }
    let date = text(headers, "retry-after")?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    duration(date.timestamp().as_millisecond() as f64 / 1000.0 - now)
}

/// How long a limit lasts: `1m30.5s`, `20ms`, or (Anthropic) an RFC 3339 time.
pub(crate) fn reset_after(text: &str, now: f64) -> Option<Duration> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return duration(at.as_millisecond() as f64 / 1000.0 - now);
    }
    let mut seconds = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        // Longer names first: `ms` is no `m`.
        let units = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (name, unit) = units.iter().find(|(name, _)| rest.starts_with(name))?;
        rest = &rest[name.len()..];
        seconds += value * unit;
    }
    duration(seconds)
}

/// Times in the past are no wait. What is no sensible time is none.
fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    let number: f64 = text(headers, name)?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests;
