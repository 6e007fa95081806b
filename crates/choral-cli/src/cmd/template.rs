//! `choral template`: messages to prompt text.

use std::process::ExitCode;

/// Render messages with a chat template
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral template` is not available in this build")
}
