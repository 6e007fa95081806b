//! Writes GGUF files, version 3.
//!
//! Owns the layout of the file; tensors come encoded, either all at once
//! ([`Writer::save`]) or one after the other for files larger than memory
//! ([`Writer::stream`]). Refuses what [`super::Gguf`] would refuse.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::parse::{MAX_DIMS, MAX_KEY_BYTES, MAX_NAME_BYTES};
use super::stream::{Stream, pad};
use super::value::{Array, Value};
use super::{DEFAULT_ALIGNMENT, KEY_ALIGNMENT, MAGIC};
use crate::{FormatError, TensorInfo, TensorView};

/// A file in the making: metadata and tensors in the order in which they were
/// added.
#[derive(Debug, Default)]
pub struct Writer<'a> {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(TensorInfo, Cow<'a, [u8]>)>,
}

impl<'a> Writer<'a> {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key, or replaces the value of one that is there.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        let (key, value) = (key.into(), value.into());
        match self.metadata.iter_mut().find(|(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => self.metadata.push((key, value)),
        }
        self
    }

    /// Adds a tensor; `bytes` are its encoded rows.
    ///
    /// # Errors
    /// If the bytes are not as many as the description needs.
    pub fn tensor(
        &mut self,
        info: TensorInfo,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<&mut Self, FormatError> {
        let bytes = bytes.into();
        TensorView::new(&info, &bytes)?;
        self.tensors.push((info, bytes));
        Ok(self)
    }

    /// Writes everything to a new file, or over an old one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), FormatError> {
        let path = path.as_ref();
        let io = |source| FormatError::io(path, source);
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(io)?);
        self.write(path, &mut file)?;
        file.flush().map_err(io)
    }

    /// The file as bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::new();
        self.write(&PathBuf::from("memory"), &mut bytes)?;
        Ok(bytes)
    }

    /// Begins a file whose tensors come later: those that were added to `self` first,
    /// then `infos`, whose bytes [`Stream::write`] takes in that order.
    ///
    /// The file appears at `path` when [`Stream::finish`] is called, and not at all
    /// if it never is: until then it is a hidden file beside it.
    ///
    /// # Errors
    /// If a name or shape cannot be stored, or the file cannot be made. Nothing is
    /// left behind.
    pub fn stream(
        &self,
        path: impl AsRef<Path>,
        infos: &[TensorInfo],
    ) -> Result<Stream, FormatError> {
        let path = path.as_ref();
        let alignment = self.alignment(path)?;
        let own = self.tensors.iter().map(|(info, _)| info);
        let all: Vec<&TensorInfo> = own.chain(infos).collect();
        let header = self.header(path, alignment, &all)?;
        let mut stream = Stream::create(path, &header, alignment, infos)?;
        for (_, bytes) in &self.tensors {
            stream.put(bytes)?;
            stream.end_tensor()?;
        }
        Ok(stream)
    }

    fn write(&self, path: &Path, out: &mut impl Write) -> Result<(), FormatError> {
        let alignment = self.alignment(path)?;
        let infos: Vec<&TensorInfo> = self.tensors.iter().map(|(info, _)| info).collect();
        let header = self.header(path, alignment, &infos)?;
        let io = |source| FormatError::io(path, source);
        out.write_all(&header).map_err(io)?;
        let mut position = header.len();
        for (_, bytes) in &self.tensors {
            pad(out, &mut position, alignment).map_err(io)?;
            out.write_all(bytes).map_err(io)?;
            position += bytes.len();
        }
        // ggml demands that the last tensor is padded as well.
        pad(out, &mut position, alignment).map_err(io)
    }

    fn alignment(&self, path: &Path) -> Result<usize, FormatError> {
        let set = self.metadata.iter().find(|(key, _)| key == KEY_ALIGNMENT);
        let alignment = match set {
            None => DEFAULT_ALIGNMENT,
            Some((_, Value::U32(alignment))) if alignment.is_power_of_two() => *alignment,
            Some((_, value)) => {
                let expected = "a power of two as u32";
                return Err(FormatError::field(
                    path,
                    KEY_ALIGNMENT,
                    expected,
                    value.describe(),
                ));
            }
        };
        Ok(alignment as usize)
    }

    /// Everything before the data. Tensors follow at the next aligned position.
    fn header(
        &self,
        path: &Path,
        alignment: usize,
        infos: &[&TensorInfo],
    ) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(3u32.to_le_bytes());
        out.extend((infos.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                let found = format!("{} bytes", key.len());
                let expected = format!("1 to {MAX_KEY_BYTES} bytes");
                return Err(FormatError::field(path, "metadata key", expected, found));
            }
            put_string(&mut out, key.as_bytes());
            put_value(&mut out, value);
        }
        let mut names = HashSet::new();
        let mut offset: usize = 0;
        for info in infos {
            if !names.insert(&info.name) {
                return Err(FormatError::duplicate(
                    path,
                    format_args!("tensor `{}`", info.name),
                ));
            }
            let invalid = |property, expected: String, found: String| {
                let field = format!("tensor `{}`: {property}", info.name);
                FormatError::field(path, field, expected, found)
            };
            if info.name.is_empty() || info.name.len() > MAX_NAME_BYTES {
                let found = format!("{} bytes", info.name.len());
                return Err(invalid(
                    "name",
                    format!("1 to {MAX_NAME_BYTES} bytes"),
                    found,
                ));
            }
            let dims = info.shape.len();
            if dims == 0 || dims > MAX_DIMS as usize || info.shape.contains(&0) {
                let expected = format!("1 to {MAX_DIMS} dimensions, none 0");
                return Err(invalid("shape", expected, format!("{:?}", info.shape)));
            }
            let Some(id) = info.dtype.to_ggml() else {
                return Err(invalid(
                    "type",
                    "a ggml type".into(),
                    info.dtype.to_string(),
                ));
            };
            put_string(&mut out, info.name.as_bytes());
            out.extend((info.shape.len() as u32).to_le_bytes());
            for &dim in info.shape.iter().rev() {
                out.extend((dim as u64).to_le_bytes());
            }
            out.extend(id.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            let end = info.byte_len().and_then(|len| offset.checked_add(len));
            let Some(end) = end.and_then(|end| end.checked_next_multiple_of(alignment)) else {
                let expected = format!("rows of whole blocks of {}", info.dtype.block_len());
                return Err(invalid("shape", expected, format!("{:?}", info.shape)));
            };
            offset = end;
        }
        Ok(out)
    }
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend((string.len() as u64).to_le_bytes());
    out.extend(string);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! put {
        ($id:literal, $x:expr) => {{
            out.extend(u32::to_le_bytes($id));
            out.extend($x);
        }};
    }
    match value {
        Value::U8(x) => put!(0, x.to_le_bytes()),
        Value::I8(x) => put!(1, x.to_le_bytes()),
        Value::U16(x) => put!(2, x.to_le_bytes()),
        Value::I16(x) => put!(3, x.to_le_bytes()),
        Value::U32(x) => put!(4, x.to_le_bytes()),
        Value::I32(x) => put!(5, x.to_le_bytes()),
        Value::F32(x) => put!(6, x.to_le_bytes()),
        Value::Bool(x) => put!(7, [u8::from(*x)]),
        Value::String(x) => {
            put!(8, [0u8; 0]);
            put_string(out, x.as_bytes());
        }
        Value::Array(array) => {
            put!(9, [0u8; 0]);
            put_array(out, array);
        }
        Value::U64(x) => put!(10, x.to_le_bytes()),
        Value::I64(x) => put!(11, x.to_le_bytes()),
        Value::F64(x) => put!(12, x.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    macro_rules! put {
        ($id:literal, $v:expr) => {{
            out.extend(u32::to_le_bytes($id));
            out.extend(($v.len() as u64).to_le_bytes());
            out.extend($v.iter().flat_map(|x| x.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(v) => put!(0, v),
        Array::I8(v) => put!(1, v),
        Array::U16(v) => put!(2, v),
        Array::I16(v) => put!(3, v),
        Array::U32(v) => put!(4, v),
        Array::I32(v) => put!(5, v),
        Array::F32(v) => put!(6, v),
        Array::Bool(v) => {
            let bytes: Vec<u8> = v.iter().map(|&x| x.into()).collect();
            put!(7, bytes);
        }
        Array::String(v) => {
            out.extend(8u32.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            for string in v.iter() {
                put_string(out, string);
            }
        }
        Array::Array(v) => {
            out.extend(9u32.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            for array in v {
                put_array(out, array);
            }
        }
        Array::U64(v) => put!(10, v),
        Array::I64(v) => put!(11, v),
        Array::F64(v) => put!(12, v),
    }
}
