//! `choral images pairs`: two pictures and a question, many times.

use super::answer::{self, AnswerArgs, Plan, Question, open_list};
use crate::NOTES;
use crate::args::model::parse_count;
use crate::message::Usage;
use anyhow::{Context as _, Result, bail};
use choral::sampling::Rng;
use choral::vision::pairs::{Listed, random_pairs, read_pairs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked where nobody says.
const QUESTION: &str = "Compare these two images, the first (A) and the second (B). Say what each \
                        one shows and how they differ. Then say which of the two is better, A or \
                        B, and why.";

/// Pairs of a batch where pair tools are not told how many.
const DEFAULT_BATCH: usize = 4;

/// The stream of random numbers that a lone image's partner is drawn from.
const PARTNER_CHOICE: u32 = u32::MAX - 1;

/// Ask the same question about pairs of pictures
///
/// Of a store of embeddings (--embeds), or of files that are encoded first (--images).
/// Pairs are numbers of images, from 0, in the order of filenames.txt or of the sorted
/// files. Without a choice one pair is drawn at random; -a and -b also take two files.
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
    /// So many pairs, drawn at random; --seed makes them the same again
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
    let chosen = args.chosen()?;
    let select = |num_images: usize, seed: u64| match &chosen {
        Chosen::File(path) => from_file(path, num_images),
        Chosen::Random(count) => drawn(num_images, *count, seed),
        Chosen::Pair(first, second) => one(*first, *second, num_images, seed),
    };
    let plan = Plan {
        default_prompt: QUESTION,
        names: &["image_a", "image_b"],
        file: args.pairs.as_deref(),
        select: &select,
    };
    answer::run(args.answer, &plan)
}

/// Which pairs.
enum Chosen {
    File(PathBuf),
    Random(usize),
    /// Numbers; the missing one is drawn.
    Pair(Option<usize>, Option<usize>),
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
            return Ok(Chosen::File(path.clone()));
        }
        if self.first.is_some() || self.second.is_some() {
            return Ok(Chosen::Pair(number(&self.first)?, number(&self.second)?));
        }
        let batch = self.answer.batch_size;
        let usual = if self.batch_generate {
            batch.unwrap_or(DEFAULT_BATCH)
        } else {
            1
        };
        Ok(Chosen::Random(self.random.unwrap_or(usual)))
    }
}

fn from_file(path: &Path, num_images: usize) -> Result<Vec<Question>> {
    let listed = open_list(path).and_then(|list| read_pairs(list, num_images));
    let listed = listed.with_context(|| format!("cannot read the pairs `{}`", path.display()))?;
    if listed.is_empty() {
        bail!("`{}` has no pair, expected `A,B` a line", path.display());
    }
    let question = |listed: Listed<2>| Question {
        line: listed.line,
        images: listed.images.map(Into::into),
    };
    Ok(listed.into_iter().map(question).collect())
}

fn drawn(num_images: usize, count: usize, seed: u64) -> Result<Vec<Question>> {
    let pairs = random_pairs(num_images, count, seed).map_err(|most| {
        anyhow::anyhow!("{count} pairs of {num_images} images were asked for, but there are {most}")
    })?;
    let question = |(line, pair): (u64, [usize; 2])| Question {
        line,
        images: Ok(pair.into()),
    };
    Ok((1..).zip(pairs).map(question).collect())
}

fn one(
    first: Option<usize>,
    second: Option<usize>,
    num_images: usize,
    seed: u64,
) -> Result<Vec<Question>> {
    for index in [first, second].into_iter().flatten() {
        if index >= num_images {
            bail!("there is no image {index}: there are {num_images}, from 0");
        }
    }
    let partner = |of: usize| -> Result<usize> {
        if num_images < 2 {
            bail!("there is one image, expected two to make a pair");
        }
        let drawn = Rng::for_choice(seed, PARTNER_CHOICE).next_uniform();
        let drawn = ((drawn * (num_images - 1) as f64) as usize).min(num_images - 2);
        Ok(drawn + usize::from(drawn >= of))
    };
    let pair = match (first, second) {
        (Some(first), Some(second)) => [first, second],
        (Some(first), None) => [first, partner(first)?],
        (None, Some(second)) => [partner(second)?, second],
        (None, None) => bail!("no image was named"),
    };
    Ok(vec![Question {
        line: 1,
        images: Ok(pair.into()),
    }])
}

#[cfg(test)]
mod tests {
    use super::{drawn, one};

    fn pair(
        first: Option<usize>,
        second: Option<usize>,
        images: usize,
    ) -> Result<Vec<usize>, String> {
        let asked = one(first, second, images, 7).map_err(|error| error.to_string())?;
        Ok(asked[0].images.clone().expect("numbers"))
    }

    #[test]
    fn one_pair_is_two_numbers_of_which_one_may_be_drawn() {
        assert_eq!(pair(Some(1), Some(0), 2), Ok(vec![1, 0]));
        assert_eq!(pair(Some(1), Some(1), 2), Ok(vec![1, 1]));
        assert_eq!(pair(Some(1), None, 2), Ok(vec![1, 0]));
        assert_eq!(pair(None, Some(0), 2), Ok(vec![1, 0]));
        for first in 0..5 {
            let found = pair(Some(first), None, 5).expect("a pair");
            assert!(found[1] < 5 && found[1] != first);
        }
        let error = pair(Some(0), Some(2), 2).expect_err("no image");
        assert_eq!(error, "there is no image 2: there are 2, from 0");
        assert!(
            pair(Some(0), None, 1)
                .expect_err("alone")
                .contains("expected two")
        );
    }

    #[test]
    fn more_pairs_than_there_are_cannot_be_drawn() {
        assert_eq!(drawn(4, 6, 1).expect("all of them").len(), 6);
        let error = drawn(4, 7, 1).err().expect("too many").to_string();
        assert_eq!(error, "7 pairs of 4 images were asked for, but there are 6");
    }
}
