//! Why a file does not become patches.

use std::io;
use std::path::PathBuf;

/// What is wrong with a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
    /// A folder, a device or a pipe.
    #[error("is {found}, expected a file")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// There is nothing in it.
    #[error("is empty, expected {}", super::FORMATS)]
    Empty,
    /// A file of another kind.
    #[error(
        "is not a picture that is known: begins with {found}, expected {}",
        super::FORMATS
    )]
    Format {
        /// Its first bytes, or the format's name.
        found: String,
    },
    /// The file is larger than may be read.
    #[error("has {found} bytes, expected at most {most}")]
    TooManyBytes {
        /// As many as it has.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// It says that it is larger than may be decoded.
    #[error("is {width} x {height} pixels, expected at most {most} in all")]
    TooManyPixels {
        /// Pixels from left to right.
        width: u64,
        /// Pixels from top to bottom.
        height: u64,
        /// The limit.
        most: u64,
    },
    /// It would take more memory than it may.
    #[error("takes {found} bytes when decoded, expected at most {most}")]
    TooMuchMemory {
        /// As much as it takes.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// No pixels at all.
    #[error("is {width} x {height} pixels, expected at least 1 x 1")]
    NoPixels {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
    },
    /// The file ends before the picture does.
    #[error("is a JPEG file cut short: ends at byte {length} without its end marker")]
    CutShort {
        /// Bytes that are there.
        length: usize,
    },
    /// The decoder gave up.
    #[error("is a damaged {format} file: {reason}")]
    Damaged {
        /// What the file's first bytes say it is.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// A kind of pixel that the decoder does not know.
    #[error("is a {format} file of a kind that is not supported: {reason}")]
    Unsupported {
        /// What the file's first bytes say it is.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// A thin strip, which resizing would make huge or empty.
    #[error(
        "is {width} x {height} pixels: one side is {ratio:.0} times the other, expected at most {}",
        super::MAX_ASPECT_RATIO
    )]
    AspectRatio {
        /// Pixels from left to right.
        width: usize,
        /// Pixels from top to bottom.
        height: usize,
        /// The longer side in units of the shorter.
        ratio: f64,
    },
    /// Sizes of a model that no picture can have.
    #[error("the model's {what} is {found}, expected {expected}")]
    Geometry {
        /// Which.
        what: &'static str,
        /// What was found.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A fixed size that the model does not take.
    #[error("the image size is {found}, expected {expected}")]
    Size {
        /// The size asked for.
        found: usize,
        /// What would have been accepted.
        expected: String,
    },
}

/// What is wrong with the picture in a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct ImageFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub error: ImageError,
}
