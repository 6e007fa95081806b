//! Which pictures are looked at together: files of pairs, and pairs drawn at random.
//!
//! Knows numbers of images only; what they stand for is the list's affair
//! ([`store`](super::store)).

#[cfg(test)]
mod tests;

use crate::sampling::Rng;
use std::collections::HashSet;
use std::io::{self, BufRead};

/// Longest line of a list that is read; numbers are shorter.
const MAX_LINE_BYTES: usize = 4096;

/// The stream of random numbers that pairs are drawn from, so that they are not those
/// which an answer's tokens are drawn from.
const CHOICE: u32 = u32::MAX;

/// What is wrong with a line of a list of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Not as many numbers as there should be, or none at all.
    #[error("line {line} is `{found}`, expected {expected}")]
    Malformed {
        /// Which, from 1.
        line: u64,
        /// What it says, its beginning if it is long.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// No image has that number.
    #[error("line {line}: there is no image {index}: there are {images}, from 0")]
    OutOfRange {
        /// Which line, from 1.
        line: u64,
        /// The number.
        index: String,
        /// How many images there are.
        images: usize,
    },
}

impl LineError {
    /// Which line it is, from 1.
    pub fn line(&self) -> u64 {
        match self {
            Self::Malformed { line, .. } | Self::OutOfRange { line, .. } => *line,
        }
    }
}

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<const N: usize> {
    /// Which, from 1.
    pub line: u64,
    /// The numbers of its images.
    pub images: Result<[usize; N], LineError>,
}

/// Reads a file of pairs: `a,b` a line, numbers of images from 0, of which there are
/// `num_images`. Blank lines are passed over; what is wrong with one is told in its place.
///
/// # Errors
/// The file cannot be read.
pub fn read_pairs(reader: impl BufRead, num_images: usize) -> io::Result<Vec<Listed<2>>> {
    let expected = "two numbers of images and a comma between them, as in 0,1";
    read(reader, num_images, expected, |text| {
        let (a, b) = text.split_once(',')?;
        Some([a, b])
    })
}

/// Reads a file of numbers of images, one a line, likewise.
///
/// # Errors
/// The file cannot be read.
pub fn read_indices(reader: impl BufRead, num_images: usize) -> io::Result<Vec<Listed<1>>> {
    let expected = "the number of an image";
    read(reader, num_images, expected, |text| Some([text]))
}

fn read<const N: usize>(
    mut reader: impl BufRead,
    num_images: usize,
    expected: &'static str,
    split: impl Fn(&str) -> Option<[&str; N]>,
) -> io::Result<Vec<Listed<N>>> {
    let mut listed = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        if !read_line(&mut reader, &mut bytes)? {
            break;
        }
        let text = String::from_utf8_lossy(&bytes);
        // Editors on Windows put a mark before the first line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim();
        if text.is_empty() {
            continue;
        }
        let malformed = || LineError::Malformed {
            line,
            found: shortened(text),
            expected,
        };
        let parse = |parts: [&str; N]| -> Result<[usize; N], LineError> {
            let mut images = [0; N];
            for (image, part) in images.iter_mut().zip(parts) {
                let part = part.trim();
                if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(malformed());
                }
                let index = part.parse().ok().filter(|index| *index < num_images);
                *image = index.ok_or_else(|| LineError::OutOfRange {
                    line,
                    index: shortened(part),
                    images: num_images,
                })?;
            }
            Ok(images)
        };
        let images = split(text).ok_or_else(malformed).and_then(parse);
        listed.push(Listed { line, images });
    }
    Ok(listed)
}

/// The next line without its end, as far as it is read; false at the end of the file.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut is_any = false;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(is_any);
        }
        is_any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = MAX_LINE_BYTES.saturating_sub(line.len());
        line.extend(&part[..part.len().min(room)]);
        let taken = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The beginning of what a file says, safe to show.
fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    let mut shown: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

/// Draws `count` pairs of `num_images` images. Each two images are together once at most,
/// and either may be first; the same numbers and seed give the same pairs.
///
/// # Errors
/// There are fewer pairs; gives how many there are.
pub fn random_pairs(num_images: usize, count: usize, seed: u64) -> Result<Vec<[usize; 2]>, u64> {
    let images = num_images as u128;
    let total = u64::try_from(images * images.saturating_sub(1) / 2).unwrap_or(u64::MAX);
    if count as u64 > total {
        return Err(total);
    }
    let mut rng = Rng::for_choice(seed, CHOICE);
    // Below 2^53, doubles are exact; nobody has more pairs on a disk.
    let mut below = |bound: u64| ((rng.next_uniform() * bound as f64) as u64).min(bound - 1);
    // Robert Floyd's sample without replacement, then a shuffle, for it draws in an order
    // of its own.
    let mut drawn = HashSet::with_capacity(count);
    let mut numbers = Vec::with_capacity(count);
    for last in total - count as u64..total {
        let number = below(last + 1);
        let number = if drawn.insert(number) { number } else { last };
        drawn.insert(number);
        numbers.push(number);
    }
    for i in (1..numbers.len()).rev() {
        numbers.swap(i, below(i as u64 + 1) as usize);
    }
    let pairs = numbers.into_iter().map(|number| {
        let [a, b] = pair(number);
        if below(2) == 0 { [a, b] } else { [b, a] }
    });
    Ok(pairs.collect())
}

/// Pair `number` of those in the order `01 02 12 03 13 23 ...`.
fn pair(number: u64) -> [usize; 2] {
    // The greatest b with b (b - 1) / 2 <= number.
    let b = (u128::from(number) * 8 + 1).isqrt().div_ceil(2);
    let before = b * (b - 1) / 2;
    [(u128::from(number) - before) as usize, b as usize]
}
