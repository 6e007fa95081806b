//! Safetensors: weights in one file, or in shards with an index.
//!
//! Owns open files and where their tensors lie. The types of the header and its
//! final validation are those of the `safetensors` crate; the checks before it
//! are ours, because they can name the tensor.
//! Start at [`Safetensors::open_dir`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo as Entry};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::{excerpt, named};
use crate::json::JsonObject;
use crate::mmap::Bytes;
use crate::{Dtype, FormatError, TensorInfo, TensorSource, TensorView};

/// Longest header that is read. A thousand tensors take about 100 kB; the
/// format's own limit, 100 MB, costs a gigabyte to parse.
const MAX_HEADER_BYTES: u64 = 32 << 20;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Open safetensors files.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    shards: Vec<Bytes>,
    infos: Vec<TensorInfo>,
    /// Shard and bytes of `infos[i]`; in bounds.
    locations: Vec<(usize, Range<usize>)>,
    by_name: HashMap<String, usize>,
}

impl Safetensors {
    /// Opens the weights in a directory: `model.safetensors`, else the shards of
    /// `model.safetensors.index.json`, else the only `*.safetensors` file.
    pub fn open_dir(directory: impl AsRef<Path>) -> Result<Self, FormatError> {
        let directory = directory.as_ref();
        let mut model = Self::empty(directory);
        let single = directory.join(SINGLE);
        let index = directory.join(INDEX);
        if single.exists() {
            model.add_file(&single)?;
        } else if index.exists() {
            model.add_shards(directory, &index)?;
        } else {
            model.add_file(&only_file(directory)?)?;
        }
        Ok(model)
    }

    /// Opens one file.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let mut model = Self::empty(path);
        model.add_file(path)?;
        Ok(model)
    }

    /// Reads one file from memory. `name` stands for the path in messages.
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self, FormatError> {
        let path = name.into();
        let mut model = Self::empty(&path);
        model.add(&path, Bytes::Owned(bytes.into()))?;
        Ok(model)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            shards: Vec::new(),
            infos: Vec::new(),
            locations: Vec::new(),
            by_name: HashMap::new(),
        }
    }

    fn add_shards(&mut self, directory: &Path, index: &Path) -> Result<(), FormatError> {
        for (shard, names) in read_index(index)? {
            let path = directory.join(&shard);
            if !path.exists() {
                let why = format!("named in {INDEX}");
                return Err(FormatError::MissingFile { path, why });
            }
            let number = self.shards.len();
            self.add_file(&path)?;
            for name in &names {
                let found = self.by_name.get(name).map(|&at| self.locations[at].0);
                if found != Some(number) {
                    let tensor = named("tensor", name);
                    let field = format!("{tensor}, which {INDEX} promises,");
                    return Err(FormatError::missing(&path, field));
                }
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), FormatError> {
        self.add(path, Bytes::map(path)?)
    }

    fn add(&mut self, file: &Path, bytes: Bytes) -> Result<(), FormatError> {
        let shard = self.shards.len();
        for (info, range) in parse(file, &bytes)? {
            if self
                .by_name
                .insert(info.name.clone(), self.infos.len())
                .is_some()
            {
                let tensor = named("tensor", &info.name);
                return Err(FormatError::duplicate(file, tensor));
            }
            self.infos.push(info);
            self.locations.push((shard, range));
        }
        self.shards.push(bytes);
        Ok(())
    }
}

impl TensorSource for Safetensors {
    fn infos(&self) -> &[TensorInfo] {
        &self.infos
    }

    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let &i = self.by_name.get(name)?;
        let (shard, range) = &self.locations[i];
        Some(TensorView {
            info: &self.infos[i],
            bytes: &self.shards[*shard][range.clone()],
        })
    }

    fn release(&self, name: &str) {
        if let Some(&i) = self.by_name.get(name) {
            let (file, range) = &self.locations[i];
            self.shards[*file].release(range.clone());
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// The one `*.safetensors` file of a directory without a well-known name.
fn only_file(directory: &Path) -> Result<PathBuf, FormatError> {
    let io = |source| FormatError::io(directory, source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            found.push(path);
        }
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let why = format!("no weights: neither it nor {INDEX} nor another .safetensors file");
            Err(FormatError::MissingFile {
                path: directory.join(SINGLE),
                why,
            })
        }
        several => {
            let why = format!("{} .safetensors files but no index", several.len());
            Err(FormatError::MissingFile {
                path: directory.join(INDEX),
                why,
            })
        }
    }
}

/// The tensors that each shard holds; every shard is a plain file name.
fn read_index(index: &Path) -> Result<BTreeMap<String, Vec<String>>, FormatError> {
    let root = JsonObject::open(index)?;
    let Some(weight_map) = root.object("weight_map")? else {
        return Err(root.missing("weight_map"));
    };
    let mut shards = BTreeMap::<String, Vec<String>>::new();
    for (name, _) in weight_map.iter() {
        let shard: &str = weight_map.required(name)?;
        if !is_plain_file_name(shard) {
            let expected = "the name of a file beside the index";
            return Err(weight_map.invalid(name, expected, excerpt(shard.as_bytes(), 100)));
        }
        shards
            .entry(shard.to_owned())
            .or_default()
            .push(name.to_owned());
    }
    Ok(shards)
}

/// Whether a path is one name, and not one that leads elsewhere on any system.
fn is_plain_file_name(path: &str) -> bool {
    let mut components = Path::new(path).components();
    matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    ) && !path.contains(['/', '\\', ':', '\0'])
}

/// Header of a file to descriptions and positions, in the order of the data.
fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<(TensorInfo, Range<usize>)>, FormatError> {
    let truncated = |field: &str, expected, found: usize| FormatError::Truncated {
        file: file.to_path_buf(),
        field: field.to_owned(),
        expected,
        found: found as u64,
    };
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(truncated("header length", 8, bytes.len()));
    };
    let len = u64::from_le_bytes(*len);
    if len > MAX_HEADER_BYTES {
        let expected = format!("at most {MAX_HEADER_BYTES} bytes");
        return Err(FormatError::field(file, "header length", expected, len));
    }
    let Some((header, data)) = rest.split_at_checked(len as usize) else {
        return Err(truncated("header", len, rest.len()));
    };
    let mut entries = read_header(file, header)?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in &entries {
        let info = describe(file, name, entry, data.len())?;
        let data_start = bytes.len() - data.len();
        let (start, end) = entry.data_offsets;
        tensors.push((info, data_start + start..data_start + end));
    }
    check_cover(file, entries, data.len())?;
    Ok(tensors)
}

/// Checks one entry by itself.
fn describe(
    file: &Path,
    name: &str,
    entry: &Entry,
    data_len: usize,
) -> Result<TensorInfo, FormatError> {
    let tensor = named("tensor", name);
    let Some(dtype) = Dtype::from_safetensors(entry.dtype) else {
        let field = format!("{tensor}: dtype");
        return Err(FormatError::field(file, field, "a known type", entry.dtype));
    };
    let info = TensorInfo {
        name: name.to_owned(),
        dtype,
        shape: entry.shape.clone(),
    };
    let Some(byte_len) = info.byte_len() else {
        let field = format!("{tensor}: shape");
        let found = format!("{dtype} {}", shown(&info.shape));
        return Err(FormatError::field(
            file,
            field,
            "whole bytes, fewer than 2^64",
            found,
        ));
    };
    let (start, end) = entry.data_offsets;
    if start > end || end > data_len {
        let field = format!("{tensor}: data_offsets");
        let expected = format!("start <= end <= {data_len}");
        return Err(FormatError::field(
            file,
            field,
            expected,
            format!("[{start}, {end}]"),
        ));
    }
    if end - start != byte_len {
        let field = format!("{tensor}: data_offsets");
        let shape = shown(&info.shape);
        let expected = format!("{byte_len} bytes for {dtype} {shape}");
        return Err(FormatError::field(
            file,
            field,
            expected,
            format!("{} bytes", end - start),
        ));
    }
    Ok(info)
}

/// A shape for a message; a hostile one can have a million dimensions.
fn shown(shape: &[usize]) -> String {
    match shape.get(..8) {
        Some(first) if shape.len() > 8 => format!("{first:?}… ({} dimensions)", shape.len()),
        _ => format!("{shape:?}"),
    }
}

/// Checks that tensors, sorted by position, cover the data without gap or overlap.
fn check_cover(
    file: &Path,
    entries: Vec<(String, Entry)>,
    data_len: usize,
) -> Result<(), FormatError> {
    let mut expected = 0;
    for (name, entry) in &entries {
        let (start, end) = entry.data_offsets;
        if start != expected {
            let field = format!("{}: data_offsets", named("tensor", name));
            let expected = format!("a start at {expected}, where the tensor before ends");
            return Err(FormatError::field(file, field, expected, start));
        }
        expected = end;
    }
    if expected != data_len {
        let expected = format!("{expected} bytes, where the last tensor ends");
        return Err(FormatError::field(
            file,
            "data",
            expected,
            format!("{data_len} bytes"),
        ));
    }
    // The reference implementation has the last word.
    Metadata::new(None, entries).map_err(|error| {
        FormatError::field(file, "header", "what the safetensors crate accepts", error)
    })?;
    Ok(())
}

/// The entries of the header, in file order.
///
/// The crate's own type keeps the last of several entries with one name, and
/// buffers the header as untyped values first; this visitor does neither.
fn read_header(file: &Path, header: &[u8]) -> Result<Vec<(String, Entry)>, FormatError> {
    let json = |source| FormatError::Json {
        file: file.to_path_buf(),
        source,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    let entries = deserializer.deserialize_map(HeaderVisitor).map_err(json)?;
    deserializer.end().map_err(json)?;
    Ok(entries)
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Vec<(String, Entry)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header: an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let shown = named("tensor", &name);
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("{shown} occurs twice")));
            }
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let entry = map
                .next_value::<Entry>()
                .map_err(|error| A::Error::custom(format!("{shown}: {error}")))?;
            entries.push((name, entry));
        }
        Ok(entries)
    }
}
