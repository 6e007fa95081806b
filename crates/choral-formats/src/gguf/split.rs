//! Models split over several files, `name-00001-of-00003.gguf`.
//!
//! Owns the naming of parts and the `split.*` keys that must agree with it.
//! Source: llama.cpp `llama_split_path` and `gguf-split`.

use std::path::{Path, PathBuf};

use super::metadata::Metadata;
use crate::FormatError;

const KEY_COUNT: &str = "split.count";
const KEY_NUMBER: &str = "split.no";
const KEY_TENSORS: &str = "split.tensors.count";

/// The paths of all parts, if the file at `path` is one of several.
pub(super) fn parts(path: &Path, metadata: &Metadata) -> Result<Option<Vec<PathBuf>>, FormatError> {
    let count = metadata.usize(KEY_COUNT)?.unwrap_or(0);
    let name = path.file_name().and_then(|name| name.to_str());
    let named = name.and_then(PartName::parse);
    if count <= 1 {
        // A renamed whole model may well end in -00001-of-00001.
        return match named {
            Some(named) if named.count > 1 => {
                Err(metadata.invalid(KEY_COUNT, format!("{} (file name)", named.count), count))
            }
            _ => Ok(None),
        };
    }
    let Some(named) = named.filter(|named| named.count == count) else {
        let expected =
            format!("a part named NAME-00001-of-{count:05}.gguf (split.count is {count})");
        let found = name.unwrap_or("a name that is not UTF-8");
        return Err(FormatError::field(path, "file name", expected, found));
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let file = |number| directory.join(format!("{}-{number:05}-of-{count:05}.gguf", named.stem));
    Ok(Some((1..=count).map(file).collect()))
}

/// Refuses a part that came without a path beside which the others could be.
pub(super) fn refuse(metadata: &Metadata) -> Result<(), FormatError> {
    match metadata.usize(KEY_COUNT)? {
        Some(count) if count > 1 => Err(metadata.invalid(
            KEY_COUNT,
            "a whole model in memory",
            format!("{count} parts"),
        )),
        _ => Ok(()),
    }
}

/// Checks that a file is the part, counting from 0, that its name says.
pub(super) fn check_part(
    metadata: &Metadata,
    index: usize,
    count: usize,
) -> Result<(), FormatError> {
    for (key, expected) in [(KEY_NUMBER, index), (KEY_COUNT, count)] {
        let found: usize = metadata.required(key)?;
        if found != expected {
            return Err(metadata.invalid(key, format!("{expected} (file name)"), found));
        }
    }
    Ok(())
}

/// Checks the number of tensors in all parts; `metadata` is that of the first.
pub(super) fn check_total(metadata: &Metadata, found: usize) -> Result<(), FormatError> {
    match metadata.usize(KEY_TENSORS)? {
        Some(expected) if expected != found => Err(metadata.invalid(
            KEY_TENSORS,
            format!("{found}, the tensors in all parts"),
            expected,
        )),
        _ => Ok(()),
    }
}

struct PartName<'a> {
    stem: &'a str,
    count: usize,
}

impl<'a> PartName<'a> {
    /// Takes `stem-00001-of-00003.gguf` apart.
    fn parse(name: &'a str) -> Option<Self> {
        let (rest, count) = five_digits(name.strip_suffix(".gguf")?)?;
        let (rest, number) = five_digits(rest.strip_suffix("-of-")?)?;
        let stem = rest.strip_suffix('-')?;
        (1..=count)
            .contains(&number)
            .then_some(Self { stem, count })
    }
}

fn five_digits(text: &str) -> Option<(&str, usize)> {
    let (rest, digits) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((rest, digits.parse().ok().filter(|_| all)?))
}
