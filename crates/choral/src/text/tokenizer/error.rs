//! What can be wrong with a tokenizer or with a text for it, as facts.

use std::path::{Path, PathBuf};

use choral_formats::FormatError;

/// Why a tokenizer could not be loaded, or a text not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file of the model is not what its format asks for.
    #[error(transparent)]
    Format(#[from] FormatError),

    /// The model comes without a tokenizer.
    #[error("{}: no tokenizer: {expected} is missing", path.display())]
    Missing {
        /// The directory or file of the model.
        path: PathBuf,
        /// The file or key that would hold the tokenizer.
        expected: String,
    },

    /// A part of the tokenizer makes no sense or is not safe to use.
    #[error("{}: {part}: {problem}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The place in the file: a JSON field or a metadata key.
        part: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A part of the tokenizer is of a kind that we do not have.
    #[error("{}: unsupported {part} `{name}`", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// Which part it is.
        part: String,
        /// The kind that the file names.
        name: String,
    },

    /// The vocabulary has no token for a piece of the text.
    #[error("the vocabulary has no token for {piece:?}")]
    NoToken {
        /// The piece of text, cut to a few characters.
        piece: String,
    },

    /// The tokenizer failed on a text, for a reason of its own.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

impl TokenizerError {
    pub(super) fn invalid(
        file: &Path,
        part: impl Into<String>,
        problem: impl std::fmt::Display,
    ) -> Self {
        Self::Invalid {
            file: file.to_path_buf(),
            part: part.into(),
            problem: problem.to_string(),
        }
    }

    pub(super) fn unsupported(
        file: &Path,
        part: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self::Unsupported {
            file: file.to_path_buf(),
            part: part.into(),
            name: name.into(),
        }
    }
}
