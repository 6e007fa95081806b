//! What can be wrong with a model file, as facts.
//!
//! Owns the one error type of this crate. Every variant that comes from a file
//! names the file, the place in it, what was expected and what was found, so
//! that a message can be acted on without a debugger.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::Dtype;

/// Why a model file could not be read (or written).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused to open, read, map or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// Neither a GGUF file nor a directory with a `config.json`.
    #[error("{}: expected a GGUF file or a directory with config.json, found {found}", path.display())]
    NotAModel {
        /// What the caller asked to open.
        path: PathBuf,
        /// What is there instead, with a hint where we know the cure.
        found: String,
    },

    /// A field holds something other than the format allows.
    #[error("{}: {field}: expected {expected}, found {found}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The place in the file: a metadata key, a JSON path, a tensor's property.
        field: String,
        /// What the format (or the caller) requires there.
        expected: String,
        /// What the file says.
        found: String,
    },

    /// A required field is absent.
    #[error("{}: {field} is missing", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The absent field.
        field: String,
    },

    /// A name that must be unique occurs twice.
    #[error("{}: {field} occurs twice", file.display())]
    Duplicate {
        /// The (second) file in which it occurs.
        file: PathBuf,
        /// The repeated key or tensor.
        field: String,
    },

    /// The file ends before something that its header promises.
    #[error("{}: file ends inside {field}: expected {expected} bytes, found {found}", file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// What was being read.
        field: String,
        /// Bytes needed.
        expected: u64,
        /// Bytes left.
        found: u64,
    },

    /// A file that another file names, or that a format requires, does not exist.
    #[error("{}: file not found ({why})", path.display())]
    MissingFile {
        /// The absent file.
        path: PathBuf,
        /// Who needs it.
        why: String,
    },

    /// The text is not JSON, is nested too deeply, or is of another shape.
    #[error("{}: invalid JSON: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },

    /// The element type can be stored and named, but not turned into floats.
    #[error("cannot dequantise {dtype}: not implemented")]
    Unsupported {
        /// The element type.
        dtype: Dtype,
    },

    /// The element type can be read, but choral does not make it.
    #[error("cannot quantise to {dtype}: choral only reads it")]
    NotQuantisable {
        /// The element type.
        dtype: Dtype,
    },

    /// A number that an element type cannot come near.
    #[error("element {index} is {found}: {dtype} stores finite numbers up to 65504 in magnitude")]
    Value {
        /// The element type.
        dtype: Dtype,
        /// Which element.
        index: usize,
        /// The number.
        found: f32,
    },

    /// Bytes and elements do not belong together.
    #[error("{dtype}: {elements} elements take {}, found {found} bytes", size(*expected))]
    ByteLength {
        /// The element type.
        dtype: Dtype,
        /// Elements asked for.
        elements: usize,
        /// Bytes that so many elements take; `None` if they do not fill whole
        /// blocks.
        expected: Option<usize>,
        /// Bytes given.
        found: usize,
    },
}

fn size(bytes: Option<usize>) -> String {
    bytes.map_or_else(
        || "no whole number of blocks".to_owned(),
        |bytes| format!("{bytes} bytes"),
    )
}

impl FormatError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    /// A field that is not what it must be. Public because the code that builds
    /// a model from a file finds errors of the same kind.
    pub fn field(
        file: &Path,
        field: impl Display,
        expected: impl Display,
        found: impl Display,
    ) -> Self {
        Self::Field {
            file: file.to_path_buf(),
            field: field.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// A required field that is absent.
    pub fn missing(file: &Path, field: impl Display) -> Self {
        Self::Missing {
            file: file.to_path_buf(),
            field: field.to_string(),
        }
    }

    pub(crate) fn duplicate(file: &Path, field: impl Display) -> Self {
        Self::Duplicate {
            file: file.to_path_buf(),
            field: field.to_string(),
        }
    }
}

/// Foreign text for use in a message: quoted, escaped, at most `max` characters.
pub(crate) fn excerpt(text: &[u8], max: usize) -> String {
    format!("\"{}\"", shorten(text, max))
}

/// A foreign name for use in a message: `` tensor `blk.0.attn_q` ``.
pub(crate) fn named(kind: &str, name: &str) -> String {
    format!("{kind} `{}`", shorten(name.as_bytes(), 200))
}

fn shorten(text: &[u8], max: usize) -> String {
    // A character takes at most four bytes; the rest of a long string, which can
    // be gigabytes, need not be looked at.
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * (max + 1))]);
    let mut shown: String = text
        .chars()
        .take(max)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(max).is_some() {
        shown.push('…');
    }
    shown
}
