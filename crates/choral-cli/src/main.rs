//! The `choral` command line: the only crate that prints or exits.
//!
//! `args` turns words into typed options, each file in `cmd` is one command. A
//! command returns an [`ExitCode`] or an error; this file prints the error.

mod cmd;

use clap::Parser;
use std::process::ExitCode;

/// Batched text generation: one prompt or a million, run through a model together.
#[derive(Debug, Parser)]
#[command(name = "choral", version, about)]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    match cmd::run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("choral: {error:#}");
            ExitCode::FAILURE
        }
    }
}
