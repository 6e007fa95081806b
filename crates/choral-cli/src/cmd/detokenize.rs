//! `choral detokenize`: token ids to text.

use std::process::ExitCode;

/// Turn token ids into text
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral detokenize` is not available in this build")
}
