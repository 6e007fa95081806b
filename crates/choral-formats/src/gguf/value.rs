//! Values of GGUF metadata.
//!
//! Owns the types that a file can store and the conversions to the types that
//! a caller wants. Knows nothing of keys or files: see [`super::Metadata`].

use std::borrow::Cow;
use std::fmt;

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants are named after what they hold")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(ByteString),
    Array(Array),
}

/// An array value, elements side by side without a tag each.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants are named after what they hold")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Strings),
    Array(Vec<Array>),
}

/// A string of the file, byte for byte.
///
/// GGUF promises UTF-8, but token strings of real files break that promise.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ByteString(Box<[u8]>);

impl ByteString {
    /// The bytes as they are in the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if the bytes are UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl From<&[u8]> for ByteString {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// Many strings in one buffer.
///
/// A vocabulary has 10^5 entries of a few bytes; one allocation each would take
/// several times the memory and most of the time to open a file.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Strings {
    bytes: Vec<u8>,
    /// End of string `i` in `bytes`; its start is the end of the one before.
    ends: Vec<usize>,
}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i` as it is in the file.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)?;
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends
            .iter()
            .map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }

    /// Appends a string.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(String::from_utf8_lossy))
            .finish()
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(iter: I) -> Self {
        let mut strings = Self::default();
        for string in iter {
            strings.push(string.as_ref());
        }
        strings
    }
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Array(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as integers, or where and what the first one is that does
    /// not fit. `None` if the array is not one of integers.
    fn integers<T: TryFrom<i128>>(&self) -> Option<Result<Vec<T>, (usize, i128)>> {
        fn cast<S: Copy + Into<i128>, T: TryFrom<i128>>(v: &[S]) -> Result<Vec<T>, (usize, i128)> {
            let fit = |(i, &x): (usize, &S)| T::try_from(x.into()).map_err(|_| (i, x.into()));
            v.iter().enumerate().map(fit).collect()
        }
        Some(match self {
            Self::U8(v) => cast(v),
            Self::I8(v) => cast(v),
            Self::U16(v) => cast(v),
            Self::I16(v) => cast(v),
            Self::U32(v) => cast(v),
            Self::I32(v) => cast(v),
            Self::U64(v) => cast(v),
            Self::I64(v) => cast(v),
            _ => return None,
        })
    }
}

impl Value {
    /// The value as an integer of any stored width.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(x) => x.into(),
            Self::I8(x) => x.into(),
            Self::U16(x) => x.into(),
            Self::I16(x) => x.into(),
            Self::U32(x) => x.into(),
            Self::I32(x) => x.into(),
            Self::U64(x) => x.into(),
            Self::I64(x) => x.into(),
            _ => return None,
        })
    }

    /// What the value is, in words for a message: `"array of 3 strings"`.
    pub fn describe(&self) -> String {
        match self {
            Self::String(s) => format!("string {}", crate::error::excerpt(s.as_bytes(), 40)),
            Self::Bool(x) => format!("bool {x}"),
            Self::F32(x) => format!("f32 {x}"),
            Self::F64(x) => format!("f64 {x}"),
            Self::Array(array) => {
                let of = match array {
                    Array::U8(_) => "u8",
                    Array::I8(_) => "i8",
                    Array::U16(_) => "u16",
                    Array::I16(_) => "i16",
                    Array::U32(_) => "u32",
                    Array::I32(_) => "i32",
                    Array::U64(_) => "u64",
                    Array::I64(_) => "i64",
                    Array::F32(_) => "f32",
                    Array::F64(_) => "f64",
                    Array::Bool(_) => "bool",
                    Array::String(_) => "string",
                    Array::Array(_) => "array",
                };
                format!("array of {} x {of}", array.len())
            }
            integer => format!("integer {}", integer.as_integer().unwrap_or_default()),
        }
    }
}

/// A type that a caller can ask of a metadata value.
///
/// Integers take any stored integer type whose value fits, floats take `f32`
/// and `f64`; nothing else converts.
pub trait FromValue<'a>: Sized {
    /// What a value must be, for messages: `"a string"`.
    const EXPECTED: &'static str;

    /// Converts, or says what is there instead.
    fn from_value(value: &'a Value) -> Result<Self, String>;
}

macro_rules! integers {
    ($($type:ident: $one:literal, $many:literal;)*) => {$(
        impl FromValue<'_> for $type {
            const EXPECTED: &'static str = $one;
            fn from_value(value: &Value) -> Result<Self, String> {
                let fit = value.as_integer().and_then(|x| x.try_into().ok());
                fit.ok_or_else(|| value.describe())
            }
        }

        impl FromValue<'_> for Vec<$type> {
            const EXPECTED: &'static str = $many;
            fn from_value(value: &Value) -> Result<Self, String> {
                let Value::Array(array) = value else { return Err(value.describe()) };
                match array.integers() {
                    Some(Ok(fit)) => Ok(fit),
                    Some(Err((i, x))) => Err(format!("{x} at index {i}")),
                    None => Err(value.describe()),
                }
            }
        }
    )*};
}

integers! {
    u32: "an integer from 0 to 4294967295", "an array of integers from 0 to 4294967295";
    u64: "a non-negative integer", "an array of non-negative integers";
    usize: "a non-negative integer", "an array of non-negative integers";
    i32: "an integer of 32 bits", "an array of integers of 32 bits";
    i64: "an integer", "an array of integers";
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a float";
    fn from_value(value: &Value) -> Result<Self, String> {
        match *value {
            Value::F32(x) => Ok(x),
            Value::F64(x) => Ok(x as f32),
            _ => Err(value.describe()),
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a bool";
    fn from_value(value: &Value) -> Result<Self, String> {
        if let Value::Bool(x) = *value {
            Ok(x)
        } else {
            Err(value.describe())
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string of UTF-8";
    fn from_value(value: &'a Value) -> Result<Self, String> {
        let Value::String(s) = value else {
            return Err(value.describe());
        };
        s.as_str().ok_or_else(|| value.describe())
    }
}

impl<'a> FromValue<'a> for &'a ByteString {
    const EXPECTED: &'static str = "a string";
    fn from_value(value: &'a Value) -> Result<Self, String> {
        if let Value::String(s) = value {
            Ok(s)
        } else {
            Err(value.describe())
        }
    }
}

impl<'a> FromValue<'a> for &'a Strings {
    const EXPECTED: &'static str = "an array of strings";
    fn from_value(value: &'a Value) -> Result<Self, String> {
        if let Value::Array(Array::String(s)) = value {
            Ok(s)
        } else {
            Err(value.describe())
        }
    }
}

impl<'a> FromValue<'a> for Vec<&'a str> {
    const EXPECTED: &'static str = "an array of strings of UTF-8";
    fn from_value(value: &'a Value) -> Result<Self, String> {
        let strings = <&Strings>::from_value(value)?;
        let utf8 = |(i, bytes)| {
            std::str::from_utf8(bytes)
                .map_err(|_| format!("{} at index {i}", crate::error::excerpt(bytes, 40)))
        };
        strings.iter().enumerate().map(utf8).collect()
    }
}

impl<'a> FromValue<'a> for Cow<'a, [f32]> {
    const EXPECTED: &'static str = "an array of floats";
    fn from_value(value: &'a Value) -> Result<Self, String> {
        match value {
            Value::Array(Array::F32(v)) => Ok(Cow::Borrowed(v)),
            Value::Array(Array::F64(v)) => Ok(v.iter().map(|&x| x as f32).collect()),
            _ => Err(value.describe()),
        }
    }
}

impl<'a> FromValue<'a> for &'a [bool] {
    const EXPECTED: &'static str = "an array of bools";
    fn from_value(value: &'a Value) -> Result<Self, String> {
        if let Value::Array(Array::Bool(v)) = value {
            Ok(v)
        } else {
            Err(value.describe())
        }
    }
}

macro_rules! into_value {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Value {
            fn from(x: $type) -> Self {
                Self::$variant(x)
            }
        }

        impl From<Vec<$type>> for Value {
            fn from(v: Vec<$type>) -> Self {
                Self::Array(Array::$variant(v))
            }
        }
    )*};
}

into_value!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32);
into_value!(u64 => U64, i64 => I64, f32 => F32, f64 => F64, bool => Bool);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.as_bytes().into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::String(bytes.into())
    }
}

impl From<Strings> for Value {
    fn from(strings: Strings) -> Self {
        Self::Array(Array::String(strings))
    }
}

impl From<Vec<&str>> for Value {
    fn from(v: Vec<&str>) -> Self {
        Self::from(v.into_iter().collect::<Strings>())
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}
