//! `choral images describe`: one picture and a question, many times.

use super::answer::{self, AnswerArgs, Plan};
use super::chosen::Chosen;
use crate::NOTES;
use anyhow::Result;
use choral::vision::pairs::read_indices;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is asked where nobody says.
const QUESTION: &str = "Describe this image.";

/// Ask the same question about pictures, one at a time
///
/// Of a store of embeddings (--embeds), or of files that are encoded on the way: the arguments,
/// or --images. All of them, unless some are chosen.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Args {
    /// Picture files and folders, which are encoded on the way
    #[arg(value_name = "PATH", conflicts_with_all = ["embeds", "images"])]
    paths: Vec<PathBuf>,
    /// The picture of this number, from 0
    #[arg(short, long, value_name = "N")]
    index: Option<usize>,
    /// File of numbers, one a line (- for standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "index")]
    indices: Option<PathBuf>,
    /// All pictures, as is done where none is chosen
    #[arg(long, conflicts_with_all = ["index", "indices"])]
    all: bool,
    #[command(flatten)]
    answer: AnswerArgs,
}

pub(super) fn run(mut args: Args) -> Result<ExitCode> {
    args.answer.images.append(&mut args.paths);
    args.answer.check_list(args.indices.as_deref())?;
    let chosen = match (args.index, &args.indices) {
        (Some(index), _) => Chosen::One(index),
        (None, Some(path)) => Chosen::read(path, "number", "one", read_indices)?,
        (None, None) => Chosen::All,
    };
    let plan = Plan {
        default_prompt: QUESTION,
        fields: &["image"],
        list: args.indices.as_deref().filter(|_| args.index.is_none()),
        chosen,
    };
    answer::run(args.answer, &plan)
}
