//! The commands, one file each.

mod batch;
mod bench;
mod chat;
mod compare;
mod debug;
pub(crate) mod demo;
mod detokenize;
mod embed;
mod export;
mod generate;
pub(crate) mod images;
mod inspect;
mod jsonl;
mod merge;
mod model_file;
mod plan;
mod prompts;
mod quantize;
mod score;
mod template;
mod tokenize;
pub(crate) mod units;

use clap::Subcommand;
use std::process::ExitCode;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Generate(generate::Args),
    #[command(visible_alias = "run-batch")]
    Batch(Box<batch::Args>),
    Merge(merge::Args),
    Export(export::Args),
    Chat(chat::Args),
    Compare(compare::Args),
    Embed(embed::Args),
    Images(images::Args),
    Tokenize(tokenize::Args),
    Detokenize(detokenize::Args),
    Template(template::Args),
    Score(score::Args),
    Inspect(inspect::Args),
    Plan(plan::Args),
    Quantize(quantize::Args),
    Bench(bench::Args),
    Demo(demo::Args),
    Debug(debug::Args),
}

/// Does it.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate(args) => generate::run(args),
        Command::Batch(args) => batch::run(*args),
        Command::Merge(args) => merge::run(&args),
        Command::Export(args) => export::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Embed(args) => embed::run(args),
        Command::Images(args) => images::run(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Detokenize(args) => detokenize::run(args),
        Command::Template(args) => template::run(args),
        Command::Score(args) => score::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Quantize(args) => quantize::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Debug(args) => debug::run(args),
    }
}
