//! Runs the mock server until it is killed. The first line of its output is its URL.

use std::time::Duration;

use anyhow::{Context, Result};
use choral_mock::{BatchEnd, BatchPace, Fault, MockServer, RateLimit, Script};
use clap::{Parser, ValueEnum};

/// A server that speaks the vendors' published APIs, and fails on demand.
#[derive(Debug, Parser)]
struct Options {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Repeats the same random faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The part of all requests that fails at random, of 1.
    #[arg(long, default_value_t = 0.0)]
    fault_rate: f64,
    /// A fault that happens at random, such as `429;retry-after=1`; may be repeated.
    #[arg(long = "fault")]
    faults: Vec<Fault>,
    /// Faults of the attempts of every request, such as `429*2,reset`.
    #[arg(long, default_value = "ok")]
    script: Script,
    /// Script and random faults concern only paths with this in them; may be repeated.
    #[arg(long)]
    faults_on: Vec<String>,
    /// Requests that a key has in each window.
    #[arg(long)]
    max_requests: Option<u64>,
    /// Tokens that a key has in each window.
    #[arg(long)]
    max_tokens: Option<u64>,
    /// Length of a window.
    #[arg(long, default_value_t = 60.0)]
    window_seconds: f64,
    /// Wait before every answer.
    #[arg(long, default_value_t = 0.0)]
    latency_seconds: f64,
    /// Pause after every event of a stream.
    #[arg(long, default_value_t = 0.0)]
    pace_seconds: f64,
    /// A key that is taken; may be repeated. Without it, any is.
    #[arg(long = "key")]
    keys: Vec<String>,
    /// Asks for no key.
    #[arg(long)]
    without_keys: bool,
    /// Time that a batch spends in each state; without it, it moves on at every poll.
    #[arg(long)]
    batch_seconds: Option<f64>,
    /// How batches end.
    #[arg(long, default_value = "completed")]
    batch_end: End,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum End {
    Completed,
    Expired,
    Failed,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut builder = MockServer::builder()
        .port(options.port)
        .seed(options.seed)
        .script(options.script)
        .latency(seconds(options.latency_seconds, "latency-seconds")?)
        .pace(seconds(options.pace_seconds, "pace-seconds")?)
        .batch_end(match options.batch_end {
            End::Completed => BatchEnd::Completed,
            End::Expired => BatchEnd::Expired,
            End::Failed => BatchEnd::Failed,
        });
    if options.fault_rate > 0.0 {
        anyhow::ensure!(!options.faults.is_empty(), "--fault-rate without --fault");
        builder = builder.random_faults(options.fault_rate, options.faults);
    }
    for path in &options.faults_on {
        builder = builder.faults_on(path);
    }
    for key in &options.keys {
        builder = builder.key(key);
    }
    if options.without_keys {
        builder = builder.without_keys();
    }
    if options.max_requests.is_some() || options.max_tokens.is_some() {
        builder = builder.rate_limit(RateLimit {
            requests: options.max_requests.unwrap_or(u64::MAX),
            tokens: options.max_tokens.unwrap_or(u64::MAX),
            window: seconds(options.window_seconds, "window-seconds")?,
        });
    }
    if let Some(pause) = options.batch_seconds {
        builder = builder.batch_pace(BatchPace::Every(seconds(pause, "batch-seconds")?));
    }
    let server = builder.start().context("cannot listen")?;
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}

fn seconds(seconds: f64, name: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("--{name} {seconds}"))
}
