//! Readers for GGUF, safetensors and Hugging Face configuration files.
#![deny(unsafe_code)]

pub mod dequant;
mod dtype;
mod error;
pub mod gguf;
mod hf;
mod json;
#[allow(
    unsafe_code,
    reason = "mapping a file is unsafe by nature; see the proof there"
)]
mod mmap;
pub mod safetensors;
mod tensor;

use std::path::Path;

pub use dequant::dequantize;
pub use dtype::Dtype;
pub use error::FormatError;
pub use gguf::Gguf;
pub use hf::HfDir;
pub use json::{FromJson, JsonObject};
pub use safetensors::Safetensors;
pub use tensor::{TensorInfo, TensorSource, TensorView};

/// An open model, of whichever kind the path turned out to be.
#[derive(Debug)]
pub enum ModelFile {
    /// A GGUF file, or all parts of a split one.
    Gguf(Gguf),
    /// A Hugging Face directory.
    Hf(HfDir),
}

impl ModelFile {
    /// Opens what is at `path`, judging by content, not by name: a file that
    /// starts with the GGUF magic number, or a directory with a `config.json`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let kind = std::fs::metadata(path).map_err(|source| FormatError::io(path, source))?;
        if kind.is_dir() {
            return if path.join("config.json").exists() {
                HfDir::open(path).map(Self::Hf)
            } else {
                Err(not_a_model(path, describe_directory(path)))
            };
        }
        if kind.is_file() && !starts_with_magic(path)? {
            return Err(not_a_model(path, describe_file(path)));
        }
        Gguf::open(path).map(Self::Gguf)
    }

    /// The weights.
    pub fn tensors(&self) -> &dyn TensorSource {
        match self {
            Self::Gguf(gguf) => gguf,
            Self::Hf(directory) => directory,
        }
    }
}

fn starts_with_magic(path: &Path) -> Result<bool, FormatError> {
    use std::io::Read;
    let io = |source| FormatError::io(path, source);
    let mut start = Vec::new();
    std::fs::File::open(path)
        .map_err(io)?
        .take(4)
        .read_to_end(&mut start)
        .map_err(io)?;
    Ok(start == gguf::MAGIC)
}

fn not_a_model(path: &Path, found: String) -> FormatError {
    FormatError::NotAModel {
        path: path.to_path_buf(),
        found,
    }
}

fn describe_directory(path: &Path) -> String {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut gguf: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        })
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    gguf.sort();
    match gguf.as_slice() {
        [] => "a directory without config.json".to_owned(),
        [first, ..] => format!(
            "a directory without config.json but with {} GGUF files: name one, such as {first}",
            gguf.len()
        ),
    }
}

fn describe_file(path: &Path) -> String {
    let beside = path
        .parent()
        .is_some_and(|parent| parent.join("config.json").exists());
    if beside {
        "another file; the directory that it is in is a model: name that".to_owned()
    } else {
        "a file of another kind".to_owned()
    }
}
