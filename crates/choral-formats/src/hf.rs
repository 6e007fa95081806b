//! Hugging Face model directories.
//!
//! Owns which files belong to a model and which of them must be there. Does not
//! read tokenizers or chat templates: whoever does finds them by [`HfDir::file`].

use std::path::{Path, PathBuf};

use crate::json::JsonObject;
use crate::safetensors::Safetensors;
use crate::{FormatError, TensorInfo, TensorSource, TensorView};

/// An open model directory: configuration and weights.
#[derive(Debug)]
pub struct HfDir {
    /// The directory.
    pub path: PathBuf,
    /// `config.json`.
    pub config: JsonObject,
    /// `generation_config.json`: defaults for sampling.
    pub generation_config: Option<JsonObject>,
    /// `tokenizer_config.json`: special tokens and, often, the chat template.
    pub tokenizer_config: Option<JsonObject>,
    /// The weights.
    pub tensors: Safetensors,
}

impl HfDir {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// If `config.json` or the weights are missing, or if any file that is there
    /// is not what it should be. A broken `generation_config.json` is an error
    /// too: to go on without it would sample with other settings than asked for.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let config = path.join("config.json");
        if !config.exists() {
            let why = "a model directory needs it".to_owned();
            return Err(FormatError::MissingFile { path: config, why });
        }
        Ok(Self {
            path: path.to_path_buf(),
            config: JsonObject::open(&config)?,
            generation_config: open_if_there(path.join("generation_config.json"))?,
            tokenizer_config: open_if_there(path.join("tokenizer_config.json"))?,
            tensors: Safetensors::open_dir(path)?,
        })
    }

    /// The path of another file of the model, if it is there.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.path.join(name)).filter(|path| path.is_file())
    }
}

fn open_if_there(path: PathBuf) -> Result<Option<JsonObject>, FormatError> {
    if path.exists() {
        JsonObject::open(path).map(Some)
    } else {
        Ok(None)
    }
}

impl TensorSource for HfDir {
    fn infos(&self) -> &[TensorInfo] {
        self.tensors.infos()
    }

    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.tensors.tensor(name)
    }

    fn release(&self, name: &str) {
        self.tensors.release(name);
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
