//! `choral images pairs`: two pictures and a question, many times.

use super::answer::{self, AnswerArgs, Plan};
use super::chosen::Chosen;
use crate::NOTES;
use crate::args::model::parse_count;
use crate::message::Usage;
use crate::output::terminal::tell;
use anyhow::Result;
use choral::vision::pairs::read_pairs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked where nobody says.
const QUESTION: &str = "Compare these two images, the first (A) and the second (B). Say what each \
                        one shows and how they differ. Then say which of the two is better, A or \
                        B, and why.";

/// Pairs of a batch where pair tools are not told how many.
const DEFAULT_BATCH: usize = 4;

/// Ask the same question about pairs of pictures
///
/// Of a store of embeddings (--embeds), or of files that are encoded on the way (--images).
/// Pairs are numbers of images, from 0, in the order of filenames.txt or of the sorted
/// files. Without a choice one pair is drawn at random; -a and -b also take two files.
///
/// Pairs that share their first picture share its computation; those that share only the
/// second share nothing, for what a model makes of a picture depends on all before it. Put
/// the picture that many pairs have first.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Args {
    /// First picture: its number, or a file
    #[arg(short = 'a', long, value_name = "N|FILE")]
    first: Option<String>,
    /// Second picture
    #[arg(short = 'b', long, value_name = "N|FILE")]
    second: Option<String>,
    /// File of pairs, `A,B` a line (- for standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["first", "second", "random"])]
    pairs: Option<PathBuf>,
    /// So many pairs, drawn at random; --seed makes them the same again. When every two pictures
    /// were together once, another round begins
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with_all = ["first", "second"])]
    random: Option<usize>,
    /// Draw as many pairs as run together, as pair tools do
    #[arg(long, hide = true)]
    batch_generate: bool,
    #[command(flatten)]
    answer: AnswerArgs,
}

pub(super) fn run(mut args: Args) -> Result<ExitCode> {
    args.take_files()?;
    args.answer.check_list(args.pairs.as_deref())?;
    let plan = Plan {
        default_prompt: QUESTION,
        fields: &["image_a", "image_b"],
        list: args.pairs.as_deref(),
        chosen: args.chosen()?,
    };
    answer::run(args.answer, &plan)
}

impl Args {
    /// Two files given as `-a` and `-b` are the images, numbers 0 and 1.
    fn take_files(&mut self) -> Result<()> {
        let is_file = |given: &Option<String>| {
            given
                .as_ref()
                .is_some_and(|given| given.parse::<usize>().is_err())
        };
        match (is_file(&self.first), is_file(&self.second)) {
            (false, false) => Ok(()),
            (true, true) if self.answer.images.is_empty() => {
                for (at, given) in [&mut self.first, &mut self.second].into_iter().enumerate() {
                    let file = given.replace(at.to_string()).unwrap_or_default();
                    anyhow::ensure!(
                        Path::new(&file).is_file(),
                        "`{file}` is neither the number of an image nor a file"
                    );
                    self.answer.images.push(file.into());
                }
                if let Some(store) = self.answer.embeds.take() {
                    tell(&format!(
                        "two files are compared: the store `{}` is not looked at",
                        store.display()
                    ));
                }
                Ok(())
            }
            _ => Err(Usage::new(
                "-a and -b are two numbers, or two files without --images, and not one of each",
            )
            .into()),
        }
    }

    fn chosen(&self) -> Result<Chosen> {
        let number = |given: &Option<String>| given.as_ref().map(|n| n.parse()).transpose();
        if let Some(path) = &self.pairs {
            return Chosen::read(path, "pair", "`A,B`", read_pairs);
        }
        if self.first.is_some() || self.second.is_some() {
            return Ok(Chosen::Pair(number(&self.first)?, number(&self.second)?));
        }
        let usual = if self.batch_generate {
            self.answer.batch_size.unwrap_or(DEFAULT_BATCH)
        } else {
            1
        };
        Ok(Chosen::Drawn(self.random.unwrap_or(usual) as u64))
    }
}
