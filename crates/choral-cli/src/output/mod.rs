//! What the user gets to see: texts, statistics, progress.
//!
//! Knows terminals; knows nothing of how an answer came about. Everything writes
//! to a `Write` that it is given, so that a closed pipe is an error value and not
//! a panic.

pub(crate) mod config;
pub(crate) mod download;
pub(crate) mod latency;
pub(crate) mod live;
pub(crate) mod logprobs;
pub(crate) mod progress;
pub(crate) mod statistics;
pub(crate) mod steps;
pub(crate) mod terminal;
