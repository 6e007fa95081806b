//! GGUF: one file with metadata, tokenizer and weights.
//!
//! Owns open files and where their tensors lie. Knows nothing of architectures:
//! [`Metadata`] hands out keys by name and [`TensorSource`] tensors by name.
//! Start at [`Gguf::open`]; the rules of the format are in `parse.rs`.

mod cursor;
mod metadata;
mod parse;
mod split;
mod stream;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use metadata::Metadata;
pub use stream::Stream;
pub use value::{Array, ByteString, FromValue, Strings, Value};
pub use writer::Writer;

use crate::error::named;
use crate::mmap::Bytes;
use crate::{FormatError, TensorInfo, TensorSource, TensorView};

/// The first four bytes of every GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";

const KEY_ALIGNMENT: &str = "general.alignment";
const KEY_ARCHITECTURE: &str = "general.architecture";
const DEFAULT_ALIGNMENT: u32 = 32;

/// An open GGUF model: one file, or all parts of a split one.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    version: u32,
    metadata: Metadata,
    parts: Vec<Bytes>,
    infos: Vec<TensorInfo>,
    /// Part and bytes of `infos[i]`; in bounds.
    locations: Vec<(usize, Range<usize>)>,
    by_name: HashMap<String, usize>,
}

impl Gguf {
    /// Maps the file at `path`, and reads and checks everything but the weights.
    ///
    /// Versions 2 and 3, little endian. If the file is a part of a split model
    /// (`name-00001-of-00003.gguf`), all parts are opened, whichever was given;
    /// metadata is that of the first.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let bytes = Bytes::map(path)?;
        let parsed = parse::parse(path, &bytes)?;
        match split::parts(path, &parsed.metadata)? {
            None => Ok(Self::single(path.to_path_buf(), bytes, parsed)),
            Some(parts) => Self::join(path, &parts),
        }
    }

    /// Reads a whole model from memory. `name` stands for the path in messages.
    pub fn from_bytes(
        name: impl Into<PathBuf>,
        bytes: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Self, FormatError> {
        let path = name.into();
        let bytes = Bytes::Owned(bytes.into());
        let parsed = parse::parse(&path, &bytes)?;
        split::refuse(&parsed.metadata)?;
        Ok(Self::single(path, bytes, parsed))
    }

    fn single(path: PathBuf, bytes: Bytes, parsed: parse::Parsed) -> Self {
        let parse::Parsed {
            version,
            metadata,
            infos,
            ranges,
        } = parsed;
        let by_name = infos
            .iter()
            .enumerate()
            .map(|(i, info)| (info.name.clone(), i))
            .collect();
        let locations = ranges.into_iter().map(|range| (0, range)).collect();
        Self {
            path,
            version,
            metadata,
            parts: vec![bytes],
            infos,
            locations,
            by_name,
        }
    }

    fn join(path: &Path, parts: &[PathBuf]) -> Result<Self, FormatError> {
        let mut joined: Option<Self> = None;
        for (i, part) in parts.iter().enumerate() {
            if !part.exists() {
                let why = format!("part {} of {} of {}", i + 1, parts.len(), path.display());
                return Err(FormatError::MissingFile {
                    path: part.clone(),
                    why,
                });
            }
            let bytes = Bytes::map(part)?;
            let parsed = parse::parse(part, &bytes)?;
            split::check_part(&parsed.metadata, i, parts.len())?;
            match &mut joined {
                None => joined = Some(Self::single(path.to_path_buf(), bytes, parsed)),
                Some(model) => model.append(part, bytes, parsed)?,
            }
        }
        let model = joined.expect("a split model has at least one part");
        split::check_total(&model.metadata, model.infos.len())?;
        Ok(model)
    }

    fn append(
        &mut self,
        part: &Path,
        bytes: Bytes,
        parsed: parse::Parsed,
    ) -> Result<(), FormatError> {
        let index = self.parts.len();
        self.parts.push(bytes);
        for (info, range) in parsed.infos.into_iter().zip(parsed.ranges) {
            if self
                .by_name
                .insert(info.name.clone(), self.infos.len())
                .is_some()
            {
                return Err(FormatError::duplicate(part, named("tensor", &info.name)));
            }
            self.infos.push(info);
            self.locations.push((index, range));
        }
        Ok(())
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The key-value part (of the first file, if there are several).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// `general.architecture`: the prefix of the keys that describe the model.
    ///
    /// # Errors
    /// If the key is missing, not a string, or empty.
    pub fn architecture(&self) -> Result<&str, FormatError> {
        let name: &str = self.metadata.required(KEY_ARCHITECTURE)?;
        if name.is_empty() {
            return Err(self
                .metadata
                .invalid(KEY_ARCHITECTURE, "a name", "an empty string"));
        }
        Ok(name)
    }
}

impl TensorSource for Gguf {
    fn infos(&self) -> &[TensorInfo] {
        &self.infos
    }

    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let &i = self.by_name.get(name)?;
        let (part, range) = &self.locations[i];
        Some(TensorView {
            info: &self.infos[i],
            bytes: &self.parts[*part][range.clone()],
        })
    }

    fn release(&self, name: &str) {
        if let Some(&i) = self.by_name.get(name) {
            let (file, range) = &self.locations[i];
            self.parts[*file].release(range.clone());
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
