//! `choral tokenize`: text to token ids.

use std::process::ExitCode;

/// Turn text into token ids
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral tokenize` is not available in this build")
}
