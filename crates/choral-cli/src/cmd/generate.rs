//! `choral generate`: several sequences from one prompt.

use std::process::ExitCode;

/// Generate several sequences from one prompt, together
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral generate` is not available in this build")
}
