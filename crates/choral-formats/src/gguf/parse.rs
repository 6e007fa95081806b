//! Bytes of one GGUF file to metadata and tensor descriptions.
//!
//! Owns every rule of the format that one file can break. Knows nothing of
//! split models (see [`super::split`]) or of what keys mean, except for
//! `general.alignment`, which moves the data.
//!
//! Source: the GGUF specification (ggml `docs/gguf.md`) and ggml's `gguf.cpp`.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use super::cursor::Cursor;
use super::metadata::Metadata;
use super::value::{Array, Strings, Value};
use super::{DEFAULT_ALIGNMENT, KEY_ALIGNMENT, MAGIC};
use crate::error::{excerpt, named};
use crate::{Dtype, FormatError, TensorInfo};

/// Longest key, by the specification.
pub(super) const MAX_KEY_BYTES: usize = 65_535;
/// Longest tensor name, by the specification.
pub(super) const MAX_NAME_BYTES: usize = 64;
/// Most dimensions of a tensor, by the specification.
pub(super) const MAX_DIMS: u32 = 4;
/// Real files have about 50 keys. A key costs us ten times its bytes in the file.
const MAX_KEYS: u64 = 1 << 16;
/// The largest models have a few thousand tensors.
const MAX_TENSORS: u64 = 1 << 20;
/// The format allows any depth; real files use none. Bounds recursion.
const MAX_ARRAY_DEPTH: usize = 4;

/// What one file says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) infos: Vec<TensorInfo>,
    /// Where the bytes of each tensor are in the file; in bounds.
    pub(super) ranges: Vec<Range<usize>>,
}

pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<Parsed, FormatError> {
    let mut cursor = Cursor::new(file, bytes);
    let magic = cursor.take(4, &"magic number")?;
    if magic != MAGIC {
        return Err(FormatError::field(
            file,
            "magic number",
            "\"GGUF\"",
            excerpt(magic, 4),
        ));
    }
    let version = version(&mut cursor)?;
    let num_tensors = cursor.u64(&"tensor count")?;
    // Name length, number of dimensions, one dimension, type, offset.
    check_count(
        &cursor,
        "tensor count",
        num_tensors,
        MAX_TENSORS,
        8 + 4 + 8 + 4 + 8,
    )?;
    let num_keys = cursor.u64(&"metadata count")?;
    // Key length, type, one byte of value.
    check_count(&cursor, "metadata count", num_keys, MAX_KEYS, 8 + 4 + 1)?;

    let metadata = read_metadata(&mut cursor, num_keys)?;
    let alignment = alignment(&metadata)?;
    let mut infos = Vec::new();
    let mut offsets = Vec::new();
    let mut names = HashSet::new();
    for i in 0..num_tensors {
        let (info, offset) = read_tensor_info(&mut cursor, i)?;
        if !names.insert(info.name.clone()) {
            return Err(FormatError::duplicate(
                file,
                format_args!("tensor `{}`", info.name),
            ));
        }
        infos.push(info);
        offsets.push(offset);
    }
    let ranges = place(&cursor, alignment, &infos, &offsets)?;
    Ok(Parsed {
        version,
        metadata,
        infos,
        ranges,
    })
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, FormatError> {
    let version = cursor.u32(&"version")?;
    // The version is a small number, so that one whose low half is zero was
    // written with the other byte order. ggml tells them apart the same way.
    if version != 0 && version.trailing_zeros() >= 16 {
        let found = format!("a big-endian file (version {})", version.swap_bytes());
        return Err(FormatError::field(
            cursor.file,
            "byte order",
            "little-endian",
            found,
        ));
    }
    if !(2..=3).contains(&version) {
        return Err(FormatError::field(
            cursor.file,
            "version",
            "2 or 3",
            version,
        ));
    }
    Ok(version)
}

/// Refuses counts that the rest of the file cannot hold, before anything is
/// read or allocated for them.
fn check_count(
    cursor: &Cursor<'_>,
    field: &str,
    count: u64,
    limit: u64,
    min_bytes_each: u64,
) -> Result<(), FormatError> {
    let room = cursor.remaining() as u64 / min_bytes_each;
    if count > limit.min(room) {
        let expected = format!("at most {} in a file of this size", limit.min(room));
        return Err(FormatError::field(cursor.file, field, expected, count));
    }
    Ok(())
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, FormatError> {
    let mut metadata = Metadata::new(cursor.file);
    for i in 0..count {
        let key = cursor.string(&format_args!("metadata key {i}"))?;
        let nth = || format!("metadata key {i}");
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let found = format!("{} bytes", key.len());
            let expected = format!("1 to {MAX_KEY_BYTES} bytes");
            return Err(FormatError::field(cursor.file, nth(), expected, found));
        }
        let Ok(key) = std::str::from_utf8(key) else {
            return Err(FormatError::field(
                cursor.file,
                nth(),
                "UTF-8",
                excerpt(key, 64),
            ));
        };
        let field = named("metadata key", key);
        let kind = cursor.u32(&field)?;
        let value = read_value(cursor, kind, &field)?;
        if !metadata.insert(key.to_owned(), value) {
            return Err(FormatError::duplicate(cursor.file, field));
        }
    }
    Ok(metadata)
}

fn read_value(
    cursor: &mut Cursor<'_>,
    kind: u32,
    field: &dyn Display,
) -> Result<Value, FormatError> {
    Ok(match kind {
        0 => Value::U8(cursor.u8(field)?),
        1 => Value::I8(cursor.u8(field)? as i8),
        2 => Value::U16(one(cursor, field, u16::from_le_bytes)?),
        3 => Value::I16(one(cursor, field, i16::from_le_bytes)?),
        4 => Value::U32(cursor.u32(field)?),
        5 => Value::I32(one(cursor, field, i32::from_le_bytes)?),
        6 => Value::F32(one(cursor, field, f32::from_le_bytes)?),
        7 => {
            let byte = cursor.u8(field)?;
            Value::Bool(bool_of(cursor, byte, field)?)
        }
        8 => Value::String(cursor.string(field)?.into()),
        9 => Value::Array(read_array(cursor, field, 1)?),
        10 => Value::U64(cursor.u64(field)?),
        11 => Value::I64(one(cursor, field, i64::from_le_bytes)?),
        12 => Value::F64(one(cursor, field, f64::from_le_bytes)?),
        _ => return Err(unknown_kind(cursor, kind, field)),
    })
}

fn one<const N: usize, T>(
    cursor: &mut Cursor<'_>,
    field: &dyn Display,
    from_le_bytes: fn([u8; N]) -> T,
) -> Result<T, FormatError> {
    let bytes = cursor.take(N as u64, field)?;
    Ok(from_le_bytes(
        bytes
            .try_into()
            .expect("take returns as many bytes as were asked for"),
    ))
}

fn bool_of(cursor: &Cursor<'_>, byte: u8, field: &dyn Display) -> Result<bool, FormatError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FormatError::field(
            cursor.file,
            field,
            "a bool (0 or 1)",
            byte,
        )),
    }
}

fn unknown_kind(cursor: &Cursor<'_>, kind: u32, field: &dyn Display) -> FormatError {
    FormatError::field(
        cursor.file,
        field,
        "a value type from 0 to 12",
        format!("type {kind}"),
    )
}

fn read_array(
    cursor: &mut Cursor<'_>,
    field: &dyn Display,
    depth: usize,
) -> Result<Array, FormatError> {
    if depth > MAX_ARRAY_DEPTH {
        let expected = format!("arrays nested at most {MAX_ARRAY_DEPTH} deep");
        return Err(FormatError::field(
            cursor.file,
            field,
            expected,
            "deeper nesting",
        ));
    }
    let kind = cursor.u32(field)?;
    let count = cursor.u64(field)?;
    Ok(match kind {
        0 => Array::U8(cursor.numbers(count, field, u8::from_le_bytes)?),
        1 => Array::I8(cursor.numbers(count, field, i8::from_le_bytes)?),
        2 => Array::U16(cursor.numbers(count, field, u16::from_le_bytes)?),
        3 => Array::I16(cursor.numbers(count, field, i16::from_le_bytes)?),
        4 => Array::U32(cursor.numbers(count, field, u32::from_le_bytes)?),
        5 => Array::I32(cursor.numbers(count, field, i32::from_le_bytes)?),
        6 => Array::F32(cursor.numbers(count, field, f32::from_le_bytes)?),
        7 => {
            let bytes = cursor.take(count, field)?;
            let bools = bytes.iter().map(|&byte| bool_of(cursor, byte, field));
            Array::Bool(bools.collect::<Result<_, _>>()?)
        }
        8 => {
            check_elements(cursor, field, count, 8)?;
            let mut strings = Strings::default();
            for i in 0..count {
                strings.push(cursor.string(&format_args!("{field}, string {i} of {count}"))?);
            }
            Array::String(strings)
        }
        9 => {
            check_elements(cursor, field, count, 12)?;
            let mut arrays = Vec::new();
            for _ in 0..count {
                arrays.push(read_array(cursor, field, depth + 1)?);
            }
            Array::Array(arrays)
        }
        10 => Array::U64(cursor.numbers(count, field, u64::from_le_bytes)?),
        11 => Array::I64(cursor.numbers(count, field, i64::from_le_bytes)?),
        12 => Array::F64(cursor.numbers(count, field, f64::from_le_bytes)?),
        _ => return Err(unknown_kind(cursor, kind, field)),
    })
}

/// Refuses an array longer than the file, which would otherwise be noticed only
/// after reading all of the file as its elements.
fn check_elements(
    cursor: &Cursor<'_>,
    field: &dyn Display,
    count: u64,
    min_bytes_each: u64,
) -> Result<(), FormatError> {
    let expected = count.saturating_mul(min_bytes_each);
    let found = cursor.remaining() as u64;
    if expected > found {
        let field = format!("{field}, an array of {count}");
        let file = cursor.file.to_path_buf();
        return Err(FormatError::Truncated {
            file,
            field,
            expected,
            found,
        });
    }
    Ok(())
}

fn alignment(metadata: &Metadata) -> Result<u64, FormatError> {
    let alignment = metadata.u32(KEY_ALIGNMENT)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        return Err(metadata.invalid(KEY_ALIGNMENT, "a power of two", alignment));
    }
    Ok(alignment.into())
}

/// One tensor description, and the offset of its bytes in the data section.
fn read_tensor_info(cursor: &mut Cursor<'_>, i: u64) -> Result<(TensorInfo, u64), FormatError> {
    let file = cursor.file;
    let field = format!("name of tensor {i}");
    let name = cursor.string(&field)?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let found = format!("{} bytes", name.len());
        return Err(FormatError::field(
            file,
            field,
            format!("1 to {MAX_NAME_BYTES} bytes"),
            found,
        ));
    }
    let Ok(name) = std::str::from_utf8(name) else {
        return Err(FormatError::field(
            file,
            field,
            "UTF-8",
            excerpt(name, MAX_NAME_BYTES),
        ));
    };
    let tensor = named("tensor", name);

    let num_dims = cursor.u32(&format_args!("{tensor}: number of dimensions"))?;
    if !(1..=MAX_DIMS).contains(&num_dims) {
        let field = format!("{tensor}: number of dimensions");
        return Err(FormatError::field(
            file,
            field,
            format!("1 to {MAX_DIMS}"),
            num_dims,
        ));
    }
    let mut shape = Vec::new();
    for d in 0..num_dims {
        let dim = cursor.u64(&format_args!("{tensor}: dimension {d}"))?;
        let fits = usize::try_from(dim)
            .ok()
            .filter(|&dim| dim > 0 && isize::try_from(dim).is_ok());
        let Some(dim) = fits else {
            let field = format!("{tensor}: dimension {d}");
            return Err(FormatError::field(file, field, "1 to 2^63 - 1", dim));
        };
        shape.push(dim);
    }
    // The file has the contiguous dimension first.
    shape.reverse();

    let id = cursor.u32(&format_args!("{tensor}: type"))?;
    let Some(dtype) = Dtype::from_ggml(id) else {
        let field = format!("{tensor}: type");
        let names: Vec<&str> = Dtype::ALL
            .iter()
            .filter(|dtype| dtype.to_ggml().is_some())
            .map(|dtype| dtype.name())
            .collect();
        let found = match Dtype::removed_from_ggml(id) {
            Some(name) => format!("type {id} ({name}, which ggml has removed: convert again)"),
            None => format!("type {id}"),
        };
        return Err(FormatError::field(
            file,
            field,
            format!("one of {}", names.join(", ")),
            found,
        ));
    };
    let offset = cursor.u64(&format_args!("{tensor}: offset"))?;
    let info = TensorInfo {
        name: name.to_owned(),
        dtype,
        shape,
    };
    if !info.row_len().is_multiple_of(dtype.block_len()) {
        let expected = format!("rows of whole {dtype} blocks of {}", dtype.block_len());
        let found = format!("{} elements", info.row_len());
        return Err(FormatError::field(
            file,
            format!("{tensor}: row length"),
            expected,
            found,
        ));
    }
    if info.byte_len().is_none() {
        let found = format!("{dtype} {:?}", info.shape);
        let expected = "a size below 2^64 bytes";
        return Err(FormatError::field(
            file,
            format!("{tensor}: shape"),
            expected,
            found,
        ));
    }
    Ok((info, offset))
}

/// Finds the bytes of each tensor. The cursor is at the end of the descriptions.
fn place(
    cursor: &Cursor<'_>,
    alignment: u64,
    infos: &[TensorInfo],
    offsets: &[u64],
) -> Result<Vec<Range<usize>>, FormatError> {
    let file = cursor.file;
    let file_len = (cursor.position() + cursor.remaining()) as u64;
    let data_start = (cursor.position() as u64).checked_next_multiple_of(alignment);
    let mut ranges = Vec::with_capacity(infos.len());
    for (info, &offset) in infos.iter().zip(offsets) {
        let tensor = named("tensor", &info.name);
        if !offset.is_multiple_of(alignment) {
            let field = format!("{tensor}: offset");
            let expected = format!("a multiple of the alignment, {alignment}");
            return Err(FormatError::field(file, field, expected, offset));
        }
        let size = info
            .byte_len()
            .expect("checked when the description was read");
        let start = data_start.and_then(|start| start.checked_add(offset));
        let end = start.and_then(|start| start.checked_add(size as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_len => {
                ranges.push(start as usize..end as usize);
            }
            _ => {
                let field = format!("{tensor}: data");
                let end = end.map_or_else(|| "beyond 2^64".to_owned(), |end| format!("at {end}"));
                let expected = format!("an end within the file, {file_len} bytes");
                return Err(FormatError::field(file, field, expected, end));
            }
        }
    }
    refuse_overlap(file, infos, &ranges)?;
    Ok(ranges)
}

/// No writer shares bytes between tensors; two that overlap mean that an offset
/// or a shape is wrong, and weights would be read from the wrong place.
fn refuse_overlap(
    file: &Path,
    infos: &[TensorInfo],
    ranges: &[Range<usize>],
) -> Result<(), FormatError> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_unstable_by_key(|&i| ranges[i].start);
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if ranges[b].start < ranges[a].end {
            let field = format!("{}: data", named("tensor", &infos[b].name));
            let expected = format!("a start at or after {}", ranges[a].end);
            let found = format!(
                "a start at {}, inside {}",
                ranges[b].start,
                named("tensor", &infos[a].name)
            );
            return Err(FormatError::field(file, field, expected, found));
        }
    }
    Ok(())
}
