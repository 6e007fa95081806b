//! `choral chat`: an interactive session.

use std::process::ExitCode;

/// Talk with a model
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral chat` is not available in this build")
}
