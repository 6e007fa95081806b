//! `choral debug`: raw values, for checkers.

use std::process::ExitCode;

/// Raw values, for checking choral from outside
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral debug` is not available in this build")
}
