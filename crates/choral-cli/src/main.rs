//! The `choral` command line: the only crate that prints or exits.
//!
//! `args` turns words into typed options, each file in `cmd` is one command. A
//! command returns an [`ExitCode`] or an error; this file prints the error.

mod args;
mod cmd;

use clap::{CommandFactory, FromArgMatches, Parser};
use std::process::ExitCode;

/// Batched text generation: one prompt or a million, run through a model together.
#[derive(Debug, Parser)]
#[command(name = "choral", version, about)]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    let command = args::env::bind(Cli::command());
    let cli = args::normalize::normalize(&command, std::env::args_os())
        .and_then(|words| command.try_get_matches_from(words))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cmd::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("choral: {error:#}");
            ExitCode::FAILURE
        }
    }
}
