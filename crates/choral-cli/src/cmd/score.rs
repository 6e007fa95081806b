//! `choral score`: log-probabilities and perplexity of texts.

use std::process::ExitCode;

/// Score texts: log-probability of each token, perplexity
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does it.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`choral score` is not available in this build")
}
