//! Which pictures are looked at together: files of pairs, and pairs drawn at random.
//!
//! Knows numbers of images only; what they stand for is the list's affair
//! ([`store`](super::store)).

mod random;
#[cfg(test)]
mod tests;

pub use random::{RandomPairs, random_pairs};

use std::io::{self, BufRead};

/// Longest line of a list that is read; numbers are shorter.
const MAX_LINE_BYTES: usize = 4096;

/// What is wrong with a line of a list of images. Which line it is stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Not as many numbers as there should be, or none at all.
    #[error("found `{found}`, expected {expected}")]
    Malformed {
        /// What it says, its beginning if it is long.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// No image has that number.
    #[error("there is no image {index}: there are {images}, from 0")]
    OutOfRange {
        /// The number.
        index: String,
        /// How many images there are.
        images: usize,
    },
}

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which, from 1.
    pub line: u64,
    /// The numbers of its images.
    pub images: Result<Vec<usize>, LineError>,
}

impl Listed {
    /// The same line where there are `num_images` images: a number that none has is an
    /// error.
    #[must_use]
    pub fn within(self, num_images: usize) -> Self {
        let out_of_range = |index: String| LineError::OutOfRange {
            index,
            images: num_images,
        };
        let images = match self.images {
            Ok(images) => match images.iter().find(|index| **index >= num_images) {
                Some(index) => Err(out_of_range(index.to_string())),
                None => Ok(images),
            },
            Err(LineError::OutOfRange { index, .. }) => Err(out_of_range(index)),
            Err(error) => Err(error),
        };
        Self { images, ..self }
    }
}

/// Reads a file of pairs: `a,b` a line, numbers of images from 0. Blank lines are passed
/// over; what is wrong with one is told in its place. Whether there are such images is
/// for [`Listed::within`] to say.
///
/// # Errors
/// The file cannot be read.
pub fn read_pairs(reader: impl BufRead) -> io::Result<Vec<Listed>> {
    let expected = "two numbers of images and a comma between them, as in 0,1";
    read(reader, expected, |text| {
        let (a, b) = text.split_once(',')?;
        Some([a, b])
    })
}

/// Reads a file of numbers of images, one a line, likewise.
///
/// # Errors
/// The file cannot be read.
pub fn read_indices(reader: impl BufRead) -> io::Result<Vec<Listed>> {
    read(reader, "the number of an image", |text| Some([text]))
}

fn read<const N: usize>(
    mut reader: impl BufRead,
    expected: &'static str,
    split: impl Fn(&str) -> Option<[&str; N]>,
) -> io::Result<Vec<Listed>> {
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
            found: shortened(text),
            expected,
        };
        let number = |part: &str| {
            let part = part.trim();
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed());
            }
            // What is too long for a number is one that no image has.
            part.parse().map_err(|_| LineError::OutOfRange {
                index: shortened(part),
                images: usize::MAX,
            })
        };
        let parts = split(text).ok_or_else(malformed);
        let images = parts.and_then(|parts| parts.into_iter().map(number).collect());
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
