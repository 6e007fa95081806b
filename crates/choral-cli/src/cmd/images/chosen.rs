//! Which pictures are asked about: by numbers, by a list, or drawn.
//!
//! Chosen before there is a model, as far as that can be, so that a list that is not there
//! is told at once; made questions when it is known how many images there are.

use anyhow::{Context as _, Result, bail};
use choral::sampling::Rng;
use choral::vision::pairs::{Listed, RandomPairs, random_pairs};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

/// The stream of random numbers that a lone image's partner is drawn from.
const PARTNER_CHOICE: u32 = u32::MAX - 1;

/// Which pictures are asked about.
pub(super) enum Chosen {
    /// Those of a list; a line with a number that no image has is an error of its own.
    List(Arc<[Listed]>),
    /// Each alone.
    All,
    /// One alone.
    One(usize),
    /// So many pairs, drawn.
    Drawn(u64),
    /// One pair, of which a number that is missing is drawn.
    Pair(Option<usize>, Option<usize>),
}

/// Reads the lines of a list.
pub(super) type ReadList = fn(Box<dyn BufRead>) -> io::Result<Vec<Listed>>;

impl Chosen {
    /// The list in the file `path`, - for standard input. `what` names its lines, `form`
    /// says what one looks like.
    pub(super) fn read(path: &Path, what: &str, form: &str, read: ReadList) -> Result<Self> {
        let shown = path.display();
        let open = || -> io::Result<Box<dyn BufRead>> {
            if path.as_os_str() == "-" {
                return Ok(Box::new(BufReader::new(io::stdin())));
            }
            Ok(Box::new(BufReader::new(File::open(path)?)))
        };
        let listed = open().and_then(read);
        let listed = listed.with_context(|| format!("cannot read the {what}s `{shown}`"))?;
        if listed.is_empty() {
            bail!("`{shown}` has no {what}, expected {form} a line");
        }
        Ok(Self::List(listed.into()))
    }

    /// How many questions there will be of `num_images` images.
    pub(super) fn num_questions(&self, num_images: usize) -> u64 {
        match self {
            Self::List(list) => list.len() as u64,
            Self::All => num_images as u64,
            Self::Drawn(count) => *count,
            Self::One(_) | Self::Pair(..) => 1,
        }
    }

    /// The questions; random ones follow from the seed.
    pub(super) fn questions(&self, num_images: usize, seed: u64) -> Result<Questions> {
        let exists = |index: usize| {
            if index >= num_images {
                bail!("there is no image {index}: there are {num_images}, from 0");
            }
            Ok(())
        };
        let source = match *self {
            Self::List(ref list) => Source::List(Arc::clone(list)),
            Self::All => Source::All,
            Self::One(index) => {
                exists(index)?;
                Source::One(vec![index])
            }
            Self::Drawn(_) => match random_pairs(num_images, seed) {
                Some(pairs) => Source::Drawn(pairs),
                None => bail!("there are {num_images} images, expected two to make a pair"),
            },
            Self::Pair(first, second) => {
                for index in [first, second].into_iter().flatten() {
                    exists(index)?;
                }
                Source::One(pair(first, second, num_images, seed)?.into())
            }
        };
        Ok(Questions {
            source,
            num_images,
            len: self.num_questions(num_images),
        })
    }
}

fn pair(
    first: Option<usize>,
    second: Option<usize>,
    num_images: usize,
    seed: u64,
) -> Result<[usize; 2]> {
    let partner = |of: usize| -> Result<usize> {
        if num_images < 2 {
            bail!("there is one image, expected two to make a pair");
        }
        let drawn = Rng::for_choice(seed, PARTNER_CHOICE).next_uniform();
        let drawn = ((drawn * (num_images - 1) as f64) as usize).min(num_images - 2);
        Ok(drawn + usize::from(drawn >= of))
    };
    Ok(match (first, second) {
        (Some(first), Some(second)) => [first, second],
        (Some(first), None) => [first, partner(first)?],
        (None, Some(second)) => [partner(second)?, second],
        (None, None) => bail!("no image was named"),
    })
}

/// Questions, of which there may be more than memory holds: they are made when they are
/// asked for.
pub(super) struct Questions {
    source: Source,
    num_images: usize,
    len: u64,
}

#[derive(Clone)]
enum Source {
    List(Arc<[Listed]>),
    All,
    One(Vec<usize>),
    Drawn(RandomPairs),
}

impl Questions {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// All of them, with the lines where they were asked for: those of a list, or counted
    /// from 1.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = Listed> + Send> {
        let num_images = self.num_images;
        let counted = |images: Box<dyn Iterator<Item = Vec<usize>> + Send>| {
            let lines = (1..).zip(images);
            let listed = |(line, images)| Listed {
                line,
                images: Ok(images),
            };
            Box::new(lines.map(listed))
        };
        match self.source.clone() {
            Source::List(list) => {
                let lines = (0..list.len()).map(move |at| list[at].clone());
                Box::new(lines.map(move |listed| listed.within(num_images)))
            }
            Source::All => counted(Box::new((0..num_images).map(|index| vec![index]))),
            Source::One(images) => counted(Box::new(std::iter::once(images))),
            Source::Drawn(pairs) => {
                let most = usize::try_from(self.len).unwrap_or(usize::MAX);
                counted(Box::new(pairs.take(most).map(Into::into)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Chosen;
    use choral::vision::pairs::read_pairs;
    use std::path::Path;

    /// The images of all questions.
    fn asked(chosen: &Chosen, num_images: usize) -> Result<Vec<Vec<usize>>, String> {
        let questions = chosen.questions(num_images, 7);
        let questions = questions.map_err(|error| error.to_string())?;
        let found: Vec<_> = questions.iter().collect();
        assert_eq!(found.len() as u64, questions.len());
        let lines: Vec<u64> = found.iter().map(|listed| listed.line).collect();
        assert_eq!(lines, (1..=questions.len()).collect::<Vec<_>>());
        let images = found.into_iter().map(|listed| listed.images);
        Ok(images.map(|images| images.expect("numbers")).collect())
    }

    #[test]
    fn one_pair_is_two_numbers_of_which_one_may_be_drawn() {
        let pair = |first, second, images| asked(&Chosen::Pair(first, second), images);
        assert_eq!(pair(Some(1), Some(0), 2), Ok(vec![vec![1, 0]]));
        assert_eq!(pair(Some(1), Some(1), 2), Ok(vec![vec![1, 1]]));
        assert_eq!(pair(Some(1), None, 2), Ok(vec![vec![1, 0]]));
        assert_eq!(pair(None, Some(0), 2), Ok(vec![vec![1, 0]]));
        for first in 0..5 {
            let found = pair(Some(first), None, 5).expect("a pair");
            assert!(found[0][1] < 5 && found[0][1] != first);
        }
        let error = pair(Some(0), Some(2), 2).expect_err("no image");
        assert_eq!(error, "there is no image 2: there are 2, from 0");
        let error = pair(Some(0), None, 1).expect_err("alone");
        assert!(error.contains("expected two"), "{error}");
    }

    #[test]
    fn any_number_of_pairs_is_drawn_without_a_list_of_them() {
        assert_eq!(asked(&Chosen::Drawn(7), 4).expect("pairs").len(), 7);
        let error = asked(&Chosen::Drawn(1), 1).expect_err("alone");
        assert_eq!(error, "there are 1 images, expected two to make a pair");
        let many = Chosen::Drawn(u64::MAX).questions(4, 7).expect("pairs");
        assert_eq!(many.len(), u64::MAX);
        assert_eq!(many.iter().take(3).count(), 3);
    }

    #[test]
    fn one_or_all_are_asked_about_alone() {
        assert_eq!(asked(&Chosen::All, 3), Ok(vec![vec![0], vec![1], vec![2]]));
        assert_eq!(asked(&Chosen::One(2), 3), Ok(vec![vec![2]]));
        let error = asked(&Chosen::One(3), 3).expect_err("no image");
        assert_eq!(error, "there is no image 3: there are 3, from 0");
    }

    #[test]
    fn a_list_that_is_not_there_is_told_before_anything_else() {
        let read = Chosen::read(Path::new("nowhere.txt"), "pair", "`A,B`", read_pairs);
        let error = read.err().expect("no list").to_string();
        assert_eq!(error, "cannot read the pairs `nowhere.txt`");
    }
}
