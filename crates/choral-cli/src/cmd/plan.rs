//! `choral plan`: what fits into memory.

use std::process::ExitCode;

/// Show what a model needs and what fits
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral plan` is not available in this build")
}
