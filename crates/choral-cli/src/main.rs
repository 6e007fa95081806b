//! The `choral` command line: the only crate that prints or exits.
//!
//! `args` turns words into typed options, each file in `cmd` is one command. A
//! command returns an [`ExitCode`] or an error; this file prints the error.

// What is computed here is shown and reaches no token.
#![allow(clippy::disallowed_methods)]

mod args;
mod cmd;
mod input;
mod interrupt;
mod listen;
mod message;
mod output;
mod plot;

use clap::{CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Exit code of a command line that makes no sense, as clap has it.
const EXIT_USAGE: u8 = 2;

/// Exit code when some rows are in error.
const EXIT_SOME_FAILED: u8 = 3;

/// Exit code after Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// What holds for all commands.
const NOTES: &str = "\
Options of several letters may also have a single dash: -np 4, -prompt TEXT, -n-predict=64.
Every option can also be set by the environment: --top-k by CHORAL_TOP_K, and so on.
What a model's authors recommend for sampling (generation_config.json) comes before choral's \
defaults, and options come before both.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 a batch finished with some rows in error; \
130 interrupted.";

/// Batched text generation: one prompt or a million, run through a model together.
#[derive(Debug, Parser)]
#[command(name = "choral", version, after_help = NOTES)]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    let command = Cli::command();
    let cli = args::normalize::normalize(&command, words())
        .and_then(|words| args::env::bind(command, &words).try_get_matches_from(words))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    start_logging();
    match cmd::run(cli.command) {
        Ok(code) => code,
        // Whoever reads our output has enough of it.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error has nobody to tell.
            let _ = writeln!(io::stderr(), "choral: {}", message::message(&error));
            if error.is::<message::Usage>() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// The words of the command line. Nobody who types `choral` and nothing else knows what
/// to ask for yet: on a terminal the demo shows what there is. Image-pair tools are told
/// by the environment what to do.
fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.len() == 1 && cmd::demo::has_terminal() {
        words.push("demo".into());
    }
    cmd::images::complete(&mut words);
    words
}

/// Log lines go to standard error: warnings, or what `RUST_LOG` asks for.
fn start_logging() {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let usual = || EnvFilter::new("warn");
    let filter = if wanted.is_empty() {
        usual()
    } else {
        EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
            let _ = writeln!(io::stderr(), "choral: RUST_LOG is not understood: {error}");
            usual()
        })
    };
    let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(wants_colour && io::stderr().is_terminal())
        .init();
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
}
