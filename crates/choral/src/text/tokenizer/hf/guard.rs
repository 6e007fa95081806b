//! What the `tokenizers` crate does not check.
//!
//! The crate was written for files of friends: parts of it panic on fields that
//! make no sense, and a chain of short replacements can grow a text without end.
//! All such files are refused here, before the crate sees them.

use std::path::Path;

use serde_json::Value;

use crate::text::tokenizer::TokenizerError;

/// How many times longer the parts together may make a text. Real tokenizers
/// reach about 20.
const MAX_GROWTH: f64 = 1000.0;

/// The `type` of a part.
pub(super) fn kind<'a>(
    file: &Path,
    part: &str,
    value: &'a Value,
) -> Result<&'a str, TokenizerError> {
    value["type"]
        .as_str()
        .ok_or_else(|| TokenizerError::invalid(file, part, "expected an object with a `type`"))
}

/// Refuses normalizers, pre-tokenizers and decoders that would together make a
/// text more than [`MAX_GROWTH`] times longer. Null stands for no part.
pub(super) fn check_growth<'a>(
    file: &Path,
    part: &str,
    values: impl IntoIterator<Item = &'a Value>,
) -> Result<(), TokenizerError> {
    let mut growth = Growth {
        factor: 1.0,
        added: 0.0,
    };
    for value in values.into_iter().filter(|value| !value.is_null()) {
        growth.add(file, part, value)?;
    }
    let total = growth.factor + growth.added;
    if total > MAX_GROWTH {
        let problem = format!(
            "could make a text {total:.3e} times longer, which is more than {MAX_GROWTH}"
        );
        return Err(TokenizerError::invalid(file, part, problem));
    }
    Ok(())
}

/// A bound: a text of `n > 0` bytes has no more than `factor * n + added` after.
struct Growth {
    factor: f64,
    added: f64,
}

impl Growth {
    fn add(&mut self, file: &Path, part: &str, value: &Value) -> Result<(), TokenizerError> {
        for list in ["normalizers", "pretokenizers", "decoders"] {
            for value in value[list].as_array().into_iter().flatten() {
                self.add(file, part, value)?;
            }
        }
        match kind(file, part, value)? {
            "Replace" => {
                let content = value["content"].as_str().map_or(0, str::len) as f64;
                let factor = match value["pattern"]["String"].as_str().map_or(0, str::len) {
                    // An expression may match each character, or between any two.
                    0 => 1.0 + content,
                    pattern => (content / pattern as f64).max(1.0),
                };
                self.factor *= factor;
                self.added *= factor;
            }
            "Prepend" => self.added += value["prepend"].as_str().map_or(0, str::len) as f64,
            // Two bytes at most for each, and perhaps a space before each word.
            "ByteLevel" if part != "decoder" => {
                self.factor *= 3.0;
                self.added *= 3.0;
            }
            // Perhaps a character of four bytes before each word.
            "Metaspace" if part != "decoder" => {
                self.factor *= 5.0;
                self.added *= 5.0;
            }
            _ => {}
        }
        Ok(())
    }
}
