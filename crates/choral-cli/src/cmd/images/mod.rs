//! `choral images`: pictures encoded once, then compared in pairs or described.
//!
//! `precompute` makes a store of embeddings, `pairs` and `describe` answer from one (or
//! from files, encoded on the way) through `answer`, `report` makes a page of answers.
//! What is computed is the library's; names of the environment are in `environment`.

mod answer;
mod chosen;
mod coming;
mod contents;
mod describe;
mod environment;
mod model;
mod outcome;
mod page;
mod pairs;
mod precompute;
mod question;
mod report;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use environment::{complete, names, overruled_by};

use crate::NOTES;
use choral::vision::ImageGeometry;
use choral::vision::image::ImageSize;
use std::process::ExitCode;

/// What holds for all of its commands.
const GLM: &str = "\
The names of the environment that image-pair tools document work too, below options and CHORAL_ \
names: GLM_WEIGHTS_DIR, GLM_INPUT_DIR, GLM_OUTPUT_DIR, GLM_EMBEDS_DIR, GLM_BATCH_SIZE, \
GLM_PAIRS_FILE, GLM_IDX_A, GLM_IDX_B, GLM_IDX, GLM_INDICES_FILE, GLM_MAX_TOKENS, GLM_DO_SAMPLE, \
GLM_TEMPERATURE, GLM_TOP_K, GLM_TOP_P, GLM_REP_PENALTY, GLM_SEED, GLM_IMAGE_SIZE. With \
GLM_PRECOMPUTE=1, GLM_GENERATE=1, GLM_BATCH_GENERATE=1 or GLM_DESCRIBE=1, `choral images` alone \
is the command that is meant. Where both numbers and a list are set (GLM_IDX_A and GLM_PAIRS_FILE), \
GLM_GENERATE takes the numbers, GLM_BATCH_GENERATE the list, and without a mode it is the numbers.";

/// Compare pictures in pairs, or describe them, many at a time
///
/// Pictures are encoded once, by `precompute`; `pairs` and `describe` then answer from
/// what it kept.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES, after_long_help = format!("{GLM}\n\n{NOTES}"))]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Precompute(Box<precompute::Args>),
    Pairs(Box<pairs::Args>),
    Describe(Box<describe::Args>),
    Report(report::Args),
}

/// Does it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Precompute(args) => precompute::run(*args),
        Command::Pairs(args) => pairs::run(*args),
        Command::Describe(args) => describe::run(*args),
        Command::Report(args) => report::run(&args),
    }
}

/// `448`, or `dynamic`.
fn parse_image_size(text: &str) -> Result<ImageSize, String> {
    if text == "dynamic" {
        return Ok(ImageSize::Dynamic);
    }
    match text.parse() {
        Ok(side @ 1..) => Ok(ImageSize::Fixed(side)),
        _ => Err("expected a number of pixels, such as 448 or 336, or dynamic".to_owned()),
    }
}

/// An image size as the option takes it.
fn shown_size(size: ImageSize) -> String {
    match size {
        ImageSize::Dynamic => "dynamic".to_owned(),
        ImageSize::Fixed(side) => side.to_string(),
    }
}

/// The size that was asked for, or the one that pair tools use, if the model takes it.
fn image_size(given: Option<ImageSize>, geometry: &ImageGeometry) -> ImageSize {
    given.unwrap_or_else(|| ImageSize::fixed_for(geometry))
}
