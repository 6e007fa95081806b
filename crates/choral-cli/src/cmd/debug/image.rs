//! `choral debug image`: what a vision model sees.

use crate::args::model::ModelChoice;
use anyhow::bail;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the patches and embeddings of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelChoice,
    /// The vision part of a GGUF model
    #[arg(long, value_name = "FILE")]
    mmproj: Option<PathBuf>,
    /// The image
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
}

/// Does it.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    bail!(
        "{}: images are unsupported: this build has no vision models",
        args.image.display()
    );
}
