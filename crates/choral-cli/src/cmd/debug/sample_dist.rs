//! `choral debug sample-dist`: what sampling leaves of a row of logits.

mod protocol;
#[cfg(test)]
mod tests;

use crate::cmd::jsonl::{self, Lines};
use anyhow::Context as _;
use protocol::sample_dist;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print which tokens sampling leaves of given logits, and their probabilities
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON lines with `logits_f32_b64`, `prev_tokens`, and `params` or a `chain` (- for stdin)
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
}

/// Does it.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::open(&args.input)?;
    while let Some(case) = lines.next::<Value>()? {
        let answer = sample_dist(&case).with_context(|| lines.place())?;
        jsonl::print(&answer)?;
    }
    Ok(ExitCode::SUCCESS)
}
