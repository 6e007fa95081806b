//! What can be wrong with a conversion, as facts.

use crate::model::ModelError;
use crate::text::TokenizerError;
use choral_formats::{Dtype, FormatError};
use std::path::PathBuf;

/// Why a model could not be written as a GGUF file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file, or a setting in one.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The source is not a model that can be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The source's tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A folder of a family that choral cannot write as GGUF.
    #[error("cannot convert `{found}` to GGUF, expected one of: {known}")]
    Family {
        /// What `config.json` says.
        found: String,
        /// What could be converted.
        known: String,
    },
    /// The folder's weights are quantised already, in a way that GGUF cannot hold.
    #[error("{}: the weights are quantised already ({method}): convert the original model", path.display())]
    Quantised {
        /// The folder.
        path: PathBuf,
        /// `quant_method` of its configuration.
        method: String,
    },
    /// A tensor that the family's GGUF files have no name for.
    #[error("tensor `{name}` is none that `{family}` has: it would be lost")]
    UnknownTensor {
        /// The tensor.
        name: String,
        /// The family.
        family: &'static str,
    },
    /// A tensor that the family needs is not there.
    #[error("{}: tensor `{name}` is missing", path.display())]
    MissingTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor, as the folder would call it.
        name: String,
    },
    /// A tensor of a shape or type that does not go with the others.
    #[error("tensor `{name}`: expected {expected}, found {found}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What would be right.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Quantised weights would be quantised again.
    #[error(
        "tensor `{name}` is quantised already ({found}): what is lost is lost; start from the \
         original model, or say --allow-requantize"
    )]
    Requantise {
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
    },
    /// A tensor's values cannot be stored as the type chosen for it.
    #[error("tensor `{name}`, row {row}: {source}")]
    Values {
        /// The tensor.
        name: String,
        /// The row.
        row: usize,
        /// What is wrong.
        source: Box<FormatError>,
    },
    /// A setting that GGUF has no key for.
    #[error("{}: `{setting}` is {found}, which GGUF files of `{family}` cannot say", path.display())]
    Inexpressible {
        /// The folder.
        path: PathBuf,
        /// The setting.
        setting: String,
        /// Its value.
        found: String,
        /// The family.
        family: &'static str,
    },
    /// A tokenizer whose rules have no name in GGUF.
    #[error("{}: GGUF has no name for the tokenizer's {part} {found}", path.display())]
    UnknownTokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// Which part.
        part: &'static str,
        /// What it is.
        found: String,
    },
    /// The converted tokenizer gives other ids than the original.
    #[error(
        "the tokenizer cannot be converted: {text:?} would be {found:?}, expected {expected:?}"
    )]
    TokenizerDiffers {
        /// The text.
        text: String,
        /// The original's ids.
        expected: Vec<u32>,
        /// The converted one's.
        found: Vec<u32>,
    },
    /// Something is there already.
    #[error("the output {} exists: --overwrite replaces it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The output is a folder.
    #[error("the output {} is a folder, expected the name of a file", path.display())]
    IsFolder {
        /// The output.
        path: PathBuf,
    },
    /// Whoever asked for it wants it no more.
    #[error("interrupted: nothing is written")]
    Interrupted,
    /// The output would overwrite what is being read.
    #[error("{} is part of the input: choose another name", path.display())]
    IsInput {
        /// The output.
        path: PathBuf,
    },
}
