//! Readers (and, for GGUF, a writer) of model files: GGUF, safetensors and Hugging Face
//! configuration files.
//!
//! Owns everything between bytes on a disk and named, typed, checked things:
//! metadata, configuration fields, and tensors as rows of floats. Knows no
//! architecture, no tokenizer and no field by its meaning. The bytes are those
//! of strangers: nothing here panics on them, reads outside them, or allocates
//! a size that they claim before it is checked against the size that they have.
//!
//! | Module | Owns |
//! |---|---|
//! | [`ModelFile`] | which of the two kinds a path is |
//! | [`gguf`] | GGUF files, whole or split: metadata and tensors; and a writer |
//! | [`HfDir`], [`JsonObject`] | model directories and their JSON files |
//! | [`safetensors`] | weights in one file or in shards |
//! | [`TensorSource`], [`TensorView`] | what both kinds of weights have in common |
//! | [`Quantization`], [`QuantMatrix`] | matrices of several tensors: scaled 8-bit floats, GPTQ, AWQ |
//! | [`Dtype`], [`dequant`] | element types, and their values as floats |
//! | [`mod@quantize`] | floats as elements of a type |
//! | [`FormatError`] | what was expected and found, where |
//!
//! Start at [`ModelFile::open`].
//!
//! # Example
//!
//! ```
//! use choral_formats::gguf::{Gguf, Writer};
//! use choral_formats::{Dtype, FormatError, TensorInfo, TensorSource};
//!
//! // A file with one tensor of two rows.
//! let info = TensorInfo { name: "output".into(), dtype: Dtype::BF16, shape: vec![2, 3] };
//! let bf16: Vec<u8> = [0x3f80u16, 0x4000, 0x4040, 0xbf80, 0, 0x3f00]
//!     .into_iter()
//!     .flat_map(u16::to_le_bytes)
//!     .collect();
//! let mut writer = Writer::new();
//! writer.set("general.architecture", "llama").set("llama.block_count", 22u32);
//! writer.tensor(info, bf16)?;
//!
//! let file = Gguf::from_bytes("example.gguf", writer.to_bytes()?)?;
//! assert_eq!(file.architecture()?, "llama");
//! assert_eq!(file.metadata().usize("llama.block_count")?, Some(22));
//!
//! let output = file.required("output")?;
//! let mut row = [0.0; 3];
//! output.dequantize_row(1, &mut row)?;
//! assert_eq!(row, [-1.0, 0.0, 0.5]);
//!
//! // Whatever is wrong says where, what was expected, and what was found.
//! let error = file.metadata().str("llama.block_count").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "example.gguf: metadata key `llama.block_count`: \
//!      expected a string of UTF-8, found integer 22",
//! );
//! # Ok::<(), FormatError>(())
//! ```
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
pub mod quantize;
mod quantized;
pub mod safetensors;
mod tensor;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use dequant::dequantize;
pub use dtype::Dtype;
pub use error::FormatError;
pub use gguf::Gguf;
pub use hf::HfDir;
pub use json::{FromJson, JsonObject};
pub use mmap::MappedFile;
pub use quantize::quantize;
pub use quantized::{QuantMatrix, Quantization};
pub use safetensors::Safetensors;
pub use tensor::{TensorInfo, TensorSource, TensorView};

/// An open model, of whichever kind the path turned out to be.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of them a model, behind an Arc"
)]
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
            return Err(not_a_model(path, describe_file(path, kind.len())));
        }
        Gguf::open(path).map(Self::Gguf)
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        self.tensors().path()
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

fn describe_file(path: &Path, len: u64) -> String {
    let beside = path
        .parent()
        .is_some_and(|parent| parent.join("config.json").exists());
    if beside {
        "another file; the directory that it is in is a model: name that".to_owned()
    } else if len == 0 {
        "an empty file".to_owned()
    } else {
        "a file of another kind".to_owned()
    }
}
