//! `choral batch`: a file of prompts to a file of answers.

use std::process::ExitCode;

/// Answer a file of prompts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral batch` is not available in this build")
}
