//! What can go wrong with a tokenizer.

use std::path::PathBuf;

use choral_formats::FormatError;

/// A tokenizer that cannot be loaded, or text or ids that it cannot convert.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A configuration file or metadata key is missing or malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is larger than any real tokenizer.
    #[error("{} has {bytes} bytes, more than {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A file does not say what a tokenizer must say.
    #[error("{}: {what}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The place and what is wrong there.
        what: String,
    },
    /// A kind of tokenizer that choral does not have.
    #[error("tokenizer model `{0}` is not supported")]
    UnsupportedModel(String),
    /// A GGUF file names a way to split text that choral does not know. Another
    /// way would give other tokens, so none is tried.
    #[error("pre-tokenizer `{0}` is not supported")]
    UnsupportedPre(String),
    /// The text has a byte for which the vocabulary has no token.
    #[error("the vocabulary has no token for byte 0x{0:02x}")]
    NoToken(u8),
    /// Encoding failed.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// Decoding failed.
    #[error("cannot decode: {0}")]
    Decode(String),
}
