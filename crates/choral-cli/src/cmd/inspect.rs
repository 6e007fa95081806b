//! `choral inspect`: what a model file holds.

use std::process::ExitCode;

/// Show what a model file holds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral inspect` is not available in this build")
}
