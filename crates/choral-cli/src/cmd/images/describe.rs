//! `choral images describe`: one picture and a question, many times.

use super::answer::{self, AnswerArgs, Plan, Question, open_list};
use crate::NOTES;
use anyhow::{Context as _, Result, bail};
use choral::vision::pairs::{Listed, read_indices};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked where nobody says.
const QUESTION: &str = "Describe this image.";

/// Ask the same question about pictures, one at a time
///
/// Of a store of embeddings (--embeds), or of files that are encoded first: the arguments,
/// or --images. All of them, unless some are chosen.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Args {
    /// Picture files and folders, which are encoded first
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
    let select = |num_images: usize, _seed: u64| match (args.index, &args.indices) {
        (Some(index), _) => one(index, num_images),
        (None, Some(path)) => from_file(path, num_images),
        (None, None) => Ok((0..num_images)
            .map(|index| chosen(index as u64 + 1, index))
            .collect()),
    };
    let plan = Plan {
        default_prompt: QUESTION,
        names: &["image"],
        file: args.indices.as_deref(),
        select: &select,
    };
    answer::run(args.answer, &plan)
}

fn chosen(line: u64, index: usize) -> Question {
    Question {
        line,
        images: Ok(vec![index]),
    }
}

fn one(index: usize, num_images: usize) -> Result<Vec<Question>> {
    if index >= num_images {
        bail!("there is no image {index}: there are {num_images}, from 0");
    }
    Ok(vec![chosen(1, index)])
}

fn from_file(path: &Path, num_images: usize) -> Result<Vec<Question>> {
    let listed = open_list(path).and_then(|list| read_indices(list, num_images));
    let listed = listed.with_context(|| format!("cannot read the numbers `{}`", path.display()))?;
    if listed.is_empty() {
        bail!("`{}` has no number, expected one a line", path.display());
    }
    let question = |listed: Listed<1>| Question {
        line: listed.line,
        images: listed.images.map(Into::into),
    };
    Ok(listed.into_iter().map(question).collect())
}
