//! Why a store cannot be read, or written on.

use choral_formats::FormatError;
use std::io;
use std::path::PathBuf;

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file of it cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of it cannot be mapped.
    #[error(transparent)]
    Map(#[from] FormatError),
    /// There is none.
    #[error(
        "`{}` is no store of embeddings: it has no {missing} (`choral images precompute` makes one)",
        path.display()
    )]
    Missing {
        /// The folder.
        path: PathBuf,
        /// The file that is not there.
        missing: &'static str,
    },
    /// The sidecar is none.
    #[error("{}: {reason}", path.display())]
    Sidecar {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The array is not as long as its shape says.
    #[error("{} has {found} bytes, expected {expected} for {rows} images of {tokens} tokens, {hidden} numbers each", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// As many as it has.
        found: u64,
        /// As many as the shape takes.
        expected: u64,
        /// Images.
        rows: usize,
        /// Tokens of an image.
        tokens: usize,
        /// Numbers of a token.
        hidden: usize,
    },
    /// No shape gives as many bytes.
    #[error(
        "{} has {found} bytes, {tokens:.3} tokens an image; expected 2 bytes x {rows} images x S x S \
         tokens x {hidden} numbers, as the names beside it and the model's width have it",
        path.display()
    )]
    NoShape {
        /// The file.
        path: PathBuf,
        /// As many as it has.
        found: u64,
        /// Names in the list.
        rows: usize,
        /// Numbers of a token, as the model has it.
        hidden: usize,
        /// Tokens that an image would have.
        tokens: f64,
    },
    /// Images of a size that the model does not take.
    #[error(
        "`{}` has {side} x {side} tokens an image, which are pictures of {pixels} pixels a side; \
         the model takes up to {most}",
        path.display()
    )]
    Grid {
        /// The folder.
        path: PathBuf,
        /// Tokens of an image in height and in width.
        side: usize,
        /// Pixels that they stand for.
        pixels: usize,
        /// The longest side that the model takes.
        most: usize,
    },
    /// There are fewer names than rows, or more.
    #[error("{} has {}, expected {expected}", path.display(), names(*found, *expected))]
    Names {
        /// The file.
        path: PathBuf,
        /// As many as it has; no more than one too many are counted.
        found: usize,
        /// As many as there are rows.
        expected: usize,
    },
    /// A line of the list is no name.
    #[error("{}: line {line} {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Its numbers are of another model, or of other pictures of it.
    #[error("`{}` was made with another {what}: it has {found}, expected {expected}", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the store has.
        found: String,
        /// What is at work now.
        expected: String,
    },
    /// There is no such image.
    #[error("there is no image {index}: the store has {rows}, from 0")]
    Index {
        /// As asked for.
        index: usize,
        /// Images that there are.
        rows: usize,
    },
    /// A row holds what is no number.
    #[error("row {index} of {}: {source}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Which row.
        index: usize,
        /// Why.
        source: crate::vision::VisionError,
    },
    /// An embedding of another shape than the others'.
    #[error("`{name}` has {found:?} tokens and width, expected {expected:?}")]
    Shape {
        /// The image.
        name: String,
        /// Tokens in height, in width, and numbers of a token.
        found: [usize; 3],
        /// The store's.
        expected: [usize; 3],
    },
    /// A path that the list of names cannot hold.
    #[error(
        "`{name}` cannot be listed: {FILENAMES} has a path a line, of UTF-8 text and up to {most} bytes",
        FILENAMES = super::FILENAMES,
        most = super::names::MAX_NAME_BYTES
    )]
    Name {
        /// The path, made readable.
        name: String,
    },
    /// There is something that would be destroyed.
    #[error("`{}` has embeddings without an {SIDECAR}, so that nothing can be added to them", path.display(), SIDECAR = super::SIDECAR)]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// An unfinished store has an image that the one it was to become is not to have.
    #[error("`{}` has `{name}`, which is not among the pictures of this run", path.display())]
    NotAsked {
        /// The folder.
        path: PathBuf,
        /// The image.
        name: String,
    },
    /// An unfinished store has an image as it is not any more.
    #[error("`{}` has `{name}` as it was before it was changed", path.display())]
    Changed {
        /// The folder.
        path: PathBuf,
        /// The image.
        name: String,
    },
    /// Somebody else writes to it.
    #[error("another run writes to `{}`", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

impl StoreError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Whether this is about what the store is, and will be the same another time; else
    /// something kept it from being read or written, and it may be as good as ever.
    pub(super) fn is_of_contents(&self) -> bool {
        matches!(
            self,
            Self::Sidecar { .. }
                | Self::Length { .. }
                | Self::Names { .. }
                | Self::Line { .. }
                | Self::Other { .. }
                | Self::NotAsked { .. }
                | Self::Changed { .. }
        )
    }

    /// Whether a file of the store is not there.
    pub(super) fn is_not_found(&self) -> bool {
        let (Self::Io { source, .. } | Self::Map(FormatError::Io { source, .. })) = self else {
            return false;
        };
        source.kind() == io::ErrorKind::NotFound
    }
}

fn names(found: usize, expected: usize) -> String {
    if found > expected {
        return "more names".to_owned();
    }
    format!("{found} names")
}
