//! The key-value part of a GGUF file.
//!
//! Owns keys, their order, and the errors of asking for the wrong type. Knows
//! no key by name: what `llama.block_count` means is the caller's business.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::value::{ByteString, FromValue, Strings, Value};
use crate::FormatError;

/// Metadata of one file, in file order.
///
/// Typed getters return `Ok(None)` when the key is absent and an error, naming
/// file, key, expected and found, when it holds something else.
#[derive(Debug, Clone)]
pub struct Metadata {
    file: PathBuf,
    entries: Vec<(String, Value)>,
    by_key: HashMap<String, usize>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident -> $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, key: &str) -> Result<Option<$type>, FormatError> {
            self.optional(key)
        }
    )*};
}

impl Metadata {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            entries: Vec::new(),
            by_key: HashMap::new(),
        }
    }

    /// Appends an entry; false if the key is there already.
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        if self.by_key.contains_key(&key) {
            return false;
        }
        self.by_key.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        true
    }

    /// The file that the metadata comes from, for messages.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key` as it is stored.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.by_key.get(key).map(|&i| &self.entries[i].1)
    }

    /// The value of `key` as a `T`; `None` if the key is absent.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, FormatError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        T::from_value(value)
            .map(Some)
            .map_err(|found| self.invalid(key, T::EXPECTED, found))
    }

    /// The value of `key` as a `T`; an error if the key is absent.
    pub fn required<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, FormatError> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    /// The error that says that `key` is absent.
    pub fn missing(&self, key: &str) -> FormatError {
        FormatError::missing(&self.file, format_args!("metadata key `{key}`"))
    }

    /// The error that says that `key` has a value which makes no sense.
    pub fn invalid(
        &self,
        key: &str,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> FormatError {
        FormatError::field(
            &self.file,
            format_args!("metadata key `{key}`"),
            expected,
            found,
        )
    }

    getters! {
        /// An integer of any stored type, from 0 to 2^32 - 1.
        u32 -> u32;
        /// An integer of any stored type, not negative.
        u64 -> u64;
        /// An integer of any stored type, not negative.
        usize -> usize;
        /// An integer of any stored type, from -2^31 to 2^31 - 1.
        i32 -> i32;
        /// An integer of any stored type, from -2^63 to 2^63 - 1.
        i64 -> i64;
        /// A float of either width, as single.
        f32 -> f32;
        /// A bool.
        bool -> bool;
        /// A string that must be UTF-8.
        str -> &str;
        /// A string as it is in the file.
        bytes -> &ByteString;
        /// An array of strings as they are in the file.
        strings -> &Strings;
        /// An array of strings, each of which must be UTF-8.
        strs -> Vec<&str>;
        /// An array of floats of either width.
        f32s -> Cow<'_, [f32]>;
        /// An array of integers of any stored type, each from 0 to 2^32 - 1.
        u32s -> Vec<u32>;
        /// An array of integers of any stored type, not negative.
        usizes -> Vec<usize>;
        /// An array of integers of any stored type, each from -2^31 to 2^31 - 1.
        i32s -> Vec<i32>;
        /// An array of bools.
        bools -> &[bool];
    }
}
