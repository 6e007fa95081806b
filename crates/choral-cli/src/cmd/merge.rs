//! `choral merge`: the outputs of a job's shards as one.

use super::batch::files;
use crate::EXIT_SOME_FAILED;
use anyhow::{Result, bail};
use choral::job::merge;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Join the outputs of a batch's shards
///
/// The outputs of `choral batch --shard 0/N` to `N-1/N`, with their journals beside them,
/// become one, in the order of the input. All of them must be there and be finished.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Outputs of the shards, or patterns such as 'answers-*.jsonl'
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,
    /// File for all answers
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the output file if it exists
    #[arg(long)]
    overwrite: bool,
    /// Do not say what was merged
    #[arg(short, long)]
    quiet: bool,
}

/// Does it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut parts = files::expand(&args.parts, &args.output)?;
    // A pattern may match the journals too.
    parts.retain(|path| {
        path.extension()
            .is_none_or(|extension| extension != "journal")
    });
    if files::is_stream(&args.output) {
        bail!("the merged answers are written to a file, which appears when it is complete");
    }
    for part in &parts {
        files::check_side_files(&args.output, part)?;
        for beside in choral::job::side_files(part) {
            if files::is_same_file(&beside, &args.output) {
                bail!(
                    "the output `{}` belongs to the part `{}`",
                    args.output.display(),
                    part.display()
                );
            }
        }
        files::check_output(&args.output, part, args.overwrite)?;
    }
    let merged = merge(&parts, &args.output)?;
    if !args.quiet {
        writeln!(
            io::stderr(),
            "{} rows of {} files, {} of them in error",
            merged.num_rows,
            parts.len(),
            merged.num_failed
        )?;
    }
    Ok(if merged.num_failed > 0 {
        ExitCode::from(EXIT_SOME_FAILED)
    } else {
        ExitCode::SUCCESS
    })
}
