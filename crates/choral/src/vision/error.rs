//! Why a picture cannot be encoded or stand in a prompt.

/// What is wrong with a picture, or with asking for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// The model reads text only.
    #[error("the model has no image encoder{hint}")]
    NoEncoder {
        /// What may help, beginning with its own separator; or empty.
        hint: &'static str,
    },
    /// Patches that no picture of this model has.
    #[error("image {image} has a grid of {grid:?} patches, expected {expected}")]
    Grid {
        /// Which of the pictures, from 0.
        image: usize,
        /// The grid in time, height and width.
        grid: [usize; 3],
        /// What would have been accepted.
        expected: String,
    },
    /// Values that do not fill the grid, or more.
    #[error("image {image} has {found} values, expected {expected}")]
    Values {
        /// Which of the pictures, from 0.
        image: usize,
        /// As many as the grid has.
        expected: usize,
        /// As many as came.
        found: usize,
    },
    /// A pixel or an embedding that is not a number.
    #[error("image {image} has a value that is not finite")]
    NotFinite {
        /// Which of the pictures, from 0.
        image: usize,
    },
    /// An embedding without tokens, or whose rows are not as its shape says.
    #[error(
        "an embedding of {rows} x {columns} tokens of width {hidden} has {found} values, expected {expected}"
    )]
    Shape {
        /// Tokens in height.
        rows: usize,
        /// Tokens in width.
        columns: usize,
        /// Numbers of a token.
        hidden: usize,
        /// What would have been accepted.
        expected: String,
        /// As many as came.
        found: usize,
    },
    /// The operating system refused memory.
    #[error("{0}")]
    NoMemory(String),
}

impl VisionError {
    /// The same error about another picture.
    pub(super) fn of_image(self, index: usize) -> Self {
        match self {
            Self::NotFinite { .. } => Self::NotFinite { image: index },
            other => other,
        }
    }
}
