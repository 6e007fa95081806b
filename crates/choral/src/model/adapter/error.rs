//! Why an adapter cannot be used.

use choral_formats::{Dtype, FormatError};
use std::path::{Path, PathBuf};

/// Why an adapter cannot be used with a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The file itself, or a setting in it.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Two adapters were given one name, or one none.
    #[error("the name `{name}` of an adapter is {problem}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something else is there.
    #[error(
        "{}: expected an adapter (a directory with adapter_config.json, or a GGUF file of type \
         adapter), found {found}", path.display()
    )]
    NotAnAdapter {
        /// What was to be opened.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A kind of adapter that choral does not apply.
    #[error("{}: adapters with {what} are not supported", path.display())]
    Unsupported {
        /// The adapter.
        path: PathBuf,
        /// What it has.
        what: String,
    },
    /// The adapter is for another family of models.
    #[error("{}: the adapter is for `{found}`, expected {expected}", path.display())]
    Architecture {
        /// The adapter.
        path: PathBuf,
        /// Its architecture.
        found: String,
        /// The model's.
        expected: String,
    },
    /// The model has nothing of that name that could be changed.
    #[error("{}: the model has no matrix `{module}` to change", path.display())]
    UnknownModule {
        /// The adapter.
        path: PathBuf,
        /// The name.
        module: String,
    },
    /// A tensor that is no low-rank matrix.
    #[error("{}: tensor `{name}` is no low-rank matrix", path.display())]
    UnknownTensor {
        /// The adapter.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// One of the two matrices is not there.
    #[error("{}: `{module}` has only one of its two low-rank matrices", path.display())]
    Unpaired {
        /// The adapter.
        path: PathBuf,
        /// What they would change.
        module: String,
    },
    /// A tensor does not fit the model, or its counterpart.
    #[error("{}: tensor `{name}` is {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The adapter.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What would fit.
        expected: Vec<usize>,
        /// What the file states.
        found: Vec<usize>,
    },
    /// The tensors have another rank than the configuration says.
    #[error("{}: `{module}` has rank {found}, expected {expected} by adapter_config.json", path.display())]
    Rank {
        /// The adapter.
        path: PathBuf,
        /// What is changed.
        module: String,
        /// By the configuration.
        expected: usize,
        /// By the tensors.
        found: usize,
    },
    /// A tensor is of a type that it cannot be of.
    #[error("{}: tensor `{name}` is of type {found}, expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The adapter.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
    },
}

impl AdapterError {
    pub(super) fn unsupported(path: &Path, what: impl Into<String>) -> Self {
        Self::Unsupported {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}
