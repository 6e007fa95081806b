//! JSON configuration files with typed, complaining access.
//!
//! Owns reading with limits and the errors of asking for the wrong type. Knows
//! no field by name: what `hidden_size` means is the caller's business.

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::FormatError;
use crate::error::excerpt;
use crate::mmap;

/// Largest JSON file that is read. The largest real ones, indexes of many
/// shards, have about 15 MB. Parsed, a file takes up to ten times its size.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// A JSON object that remembers the file and the path it comes from.
///
/// Typed getters return `Ok(None)` when the field is absent *or null* (Hugging
/// Face configurations write `null` for "not set"), and an error naming file,
/// field, expected and found when it holds something else. Where a field must be
/// there, [`JsonObject::required`] refuses `null` as well.
#[derive(Debug, Clone)]
pub struct JsonObject {
    file: Arc<Path>,
    /// Fields that lead here from the root: empty, or `rope_scaling.`.
    prefix: String,
    map: Map<String, Value>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident -> $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, key: &str) -> Result<Option<$type>, FormatError> {
            self.optional(key)
        }
    )*};
}

impl JsonObject {
    /// Reads the file at `path`, which must hold an object.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::from_slice(path, &read_limited(path)?)
    }

    /// Parses an object; `file` is named in errors.
    pub fn from_slice(file: &Path, json: &[u8]) -> Result<Self, FormatError> {
        let value: Value = serde_json::from_slice(json).map_err(|source| FormatError::Json {
            file: file.to_path_buf(),
            source,
        })?;
        match value {
            Value::Object(map) => Ok(Self {
                file: file.into(),
                prefix: String::new(),
                map,
            }),
            other => Err(FormatError::field(
                file,
                "JSON",
                "an object",
                describe(&other),
            )),
        }
    }

    /// This object with the fields of `defaults`, a JSON object, that it does not have.
    /// A field that is `null` stays so: who writes it means it.
    ///
    /// # Panics
    /// If `defaults` is no JSON object. It is not for foreign text.
    #[must_use]
    pub fn with_defaults(&self, defaults: &str) -> Self {
        let defaults: Map<String, Value> =
            serde_json::from_str(defaults).expect("defaults are a JSON object");
        let mut completed = self.clone();
        for (key, value) in defaults {
            completed.map.entry(key).or_insert(value);
        }
        completed
    }

    /// The file, for messages.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The raw value of `key`, if there is one (it may be `null`).
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Whether `key` is there and not `null`.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !value.is_null())
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key` as a `T`; `None` if it is absent or null.
    pub fn optional<'a, T: FromJson<'a>>(&'a self, key: &str) -> Result<Option<T>, FormatError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.convert(key, value).map(Some),
        }
    }

    /// The value of `key` as a `T`; an error if it is absent or null.
    pub fn required<'a, T: FromJson<'a>>(&'a self, key: &str) -> Result<T, FormatError> {
        self.convert(key, self.get(key).ok_or_else(|| self.missing(key))?)
    }

    fn convert<'a, T: FromJson<'a>>(
        &'a self,
        key: &str,
        value: &'a Value,
    ) -> Result<T, FormatError> {
        T::from_json(value).map_err(|found| self.invalid(key, T::expected(), found))
    }

    /// The object under `key`; `None` if it is absent or null.
    pub fn object(&self, key: &str) -> Result<Option<JsonObject>, FormatError> {
        let map: Option<&Map<String, Value>> = self.optional(key)?;
        Ok(map.map(|map| self.child(key, map)))
    }

    /// The objects in the array under `key`; `None` if it is absent or null.
    pub fn objects(&self, key: &str) -> Result<Option<Vec<JsonObject>>, FormatError> {
        let maps: Option<Vec<&Map<String, Value>>> = self.optional(key)?;
        let child = |(i, map)| self.child(&format!("{key}[{i}]"), map);
        Ok(maps.map(|maps| maps.into_iter().enumerate().map(child).collect()))
    }

    fn child(&self, key: &str, map: &Map<String, Value>) -> Self {
        let prefix = format!("{}{key}.", self.prefix);
        Self {
            file: Arc::clone(&self.file),
            prefix,
            map: map.clone(),
        }
    }

    /// The integers under `key`, which may be one or an array: `eos_token_id`.
    pub fn one_or_more_u32(&self, key: &str) -> Result<Option<Vec<u32>>, FormatError> {
        match self.get(key) {
            Some(Value::Number(_)) => Ok(self.u32(key)?.map(|one| vec![one])),
            _ => self.u32s(key),
        }
    }

    /// The error that says that `key` is absent.
    pub fn missing(&self, key: &str) -> FormatError {
        FormatError::missing(&self.file, format_args!("field `{}{key}`", self.prefix))
    }

    /// The error that says that `key` has a value which makes no sense.
    pub fn invalid(&self, key: &str, expected: impl Display, found: impl Display) -> FormatError {
        let field = format_args!("field `{}{key}`", self.prefix);
        FormatError::field(&self.file, field, expected, found)
    }

    getters! {
        /// An integer from 0 to 2^32 - 1.
        u32 -> u32;
        /// An integer, not negative.
        u64 -> u64;
        /// An integer, not negative.
        usize -> usize;
        /// An integer of 64 bits.
        i64 -> i64;
        /// A number, integer or not, within the range of a single.
        f32 -> f32;
        /// A number, integer or not.
        f64 -> f64;
        /// A bool.
        bool -> bool;
        /// A string.
        str -> &str;
        /// An array of strings.
        strs -> Vec<&str>;
        /// An array of integers from 0 to 2^32 - 1.
        u32s -> Vec<u32>;
        /// An array of integers, not negative.
        usizes -> Vec<usize>;
        /// An array of numbers within the range of singles.
        f32s -> Vec<f32>;
        /// An array of numbers.
        f64s -> Vec<f64>;
        /// An array of bools.
        bools -> Vec<bool>;
    }
}

/// A type that a caller can ask of a JSON value.
///
/// Integers must be written as integers (`64`, not `64.0` and not `"64"`).
pub trait FromJson<'a>: Sized {
    /// What a value must be, for messages: `"a string"`.
    fn expected() -> String;

    /// Converts, or says what is there instead.
    fn from_json(value: &'a Value) -> Result<Self, String>;
}

macro_rules! from_json {
    ($($type:ty, $expected:literal, $convert:expr;)*) => {$(
        impl<'a> FromJson<'a> for $type {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn from_json(value: &'a Value) -> Result<Self, String> {
                let convert: fn(&'a Value) -> Option<$type> = $convert;
                convert(value).ok_or_else(|| describe(value))
            }
        }
    )*};
}

from_json! {
    u32, "an integer from 0 to 4294967295", |v| v.as_u64()?.try_into().ok();
    u64, "a non-negative integer", Value::as_u64;
    usize, "a non-negative integer", |v| v.as_u64()?.try_into().ok();
    i64, "an integer", Value::as_i64;
    f64, "a number", Value::as_f64;
    f32, "a number within the range of f32", |v| Some(v.as_f64()? as f32).filter(|x| x.is_finite());
    bool, "a bool", Value::as_bool;
    &'a str, "a string", Value::as_str;
    &'a Map<String, Value>, "an object", Value::as_object;
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Vec<T> {
    fn expected() -> String {
        format!("an array, each element {}", T::expected())
    }

    fn from_json(value: &'a Value) -> Result<Self, String> {
        let Value::Array(elements) = value else {
            return Err(describe(value));
        };
        let convert =
            |(i, element)| T::from_json(element).map_err(|found| format!("{found} at index {i}"));
        elements.iter().enumerate().map(convert).collect()
    }
}

/// What a value is, in words for a message.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(x) => format!("bool {x}"),
        Value::Number(x) => format!("number {x}"),
        Value::String(x) => format!("string {}", excerpt(x.as_bytes(), 40)),
        Value::Array(x) => format!("array of {}", x.len()),
        Value::Object(x) => format!("object with {} fields", x.len()),
    }
}

/// The contents of a small regular file.
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>, FormatError> {
    let io = |source| FormatError::io(path, source);
    let kind = std::fs::metadata(path).map_err(io)?;
    if !kind.is_file() {
        let found = mmap::describe(&kind);
        return Err(FormatError::field(
            path,
            "file type",
            "a regular file",
            found,
        ));
    }
    // The length in `kind` may be out of date by now: the limit is on what is read.
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_JSON_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_JSON_BYTES {
        let expected = format!("at most {MAX_JSON_BYTES} bytes");
        return Err(FormatError::field(path, "file size", expected, kind.len()));
    }
    Ok(bytes)
}
