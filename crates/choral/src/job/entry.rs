//! What rows of every kind of job have in common: lines with content, fields of which
//! none comes twice, ids of which none does either, and how a fault is said.
//!
//! Knows no field but `custom_id`: what the others mean is `row`'s, and for texts to
//! embed [`crate::embed`]'s.

use super::key::RowKey;
use super::line::Lines;
use super::parameter::{ParameterError, excerpt};
use super::row::{InputFormat, RowCode, RowError};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A row as its file has it: a line that has content, or a record of a table.
#[derive(Debug)]
pub struct Entry {
    /// Its number among those of all files, from 0.
    pub index: u64,
    /// Its line in its file, from 1; in a file without lines, its number.
    pub line: u64,
    /// Its file, where there are several.
    pub file: Option<Arc<str>>,
    /// What it says.
    pub content: Result<Content, Fault>,
}

/// What an [`Entry`] says.
#[derive(Debug)]
pub enum Content {
    /// Text as it is.
    Text(String),
    /// Text that is to be a JSON object.
    Json(String),
    /// The columns of a record. `is_text`: all values are strings, whatever they mean.
    Fields {
        /// Names, none of them twice, and values.
        fields: Vec<(String, Value)>,
        /// Whether numbers are written as strings.
        is_text: bool,
    },
}

/// Reads the entries of an input of lines.
#[derive(Debug)]
pub struct Entries<R> {
    lines: Lines<R>,
    format: InputFormat,
    next_index: u64,
    num_blank_lines: Arc<AtomicU64>,
}

impl<R: BufRead> Entries<R> {
    /// Reads `reader`.
    pub fn new(reader: R, format: InputFormat) -> Self {
        Self {
            lines: Lines::new(reader),
            format,
            next_index: 0,
            num_blank_lines: Arc::default(),
        }
    }

    /// Counts blank lines there.
    #[must_use]
    pub fn counting_blank_lines_in(mut self, count: Arc<AtomicU64>) -> Self {
        self.num_blank_lines = count;
        self
    }

    /// Lines so far without content, which are no rows.
    pub fn num_blank_lines(&self) -> &Arc<AtomicU64> {
        &self.num_blank_lines
    }
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        loop {
            let line = match self.lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if line.text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
                self.num_blank_lines.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let index = self.next_index;
            self.next_index += 1;
            let content = match self.format {
                InputFormat::Text => line.text.map(Content::Text),
                InputFormat::Jsonl => line.text.map(Content::Json),
            };
            let fault =
                |fault: super::LineFault| Fault::new(RowCode::InvalidLine, "", fault.to_string());
            return Some(Ok(Entry {
                index,
                line: line.number,
                file: None,
                content: content.map_err(fault),
            }));
        }
    }
}

/// The ids that have come so far, to find the one that comes twice: 16 bytes a row that
/// has one.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashSet<u128>);

impl Ids {
    /// The `custom_id` among a row's fields, which no earlier row may have.
    pub(crate) fn custom_id(
        &mut self,
        fields: &[(String, Value)],
    ) -> Result<Option<String>, Fault> {
        let Some((_, value)) = fields.iter().find(|(name, _)| name == "custom_id") else {
            return Ok(None);
        };
        match value {
            Value::Null => Ok(None),
            Value::String(id) => {
                if self.0.insert(RowKey::Id(id.clone()).fingerprint()) {
                    return Ok(Some(id.clone()));
                }
                let message = format!("`custom_id` {} has come before", excerpt(value));
                Err(Fault::new(RowCode::DuplicateCustomId, "custom_id", message))
            }
            other => Err(Fault::value("custom_id", other, "a string")),
        }
    }
}

/// A [`RowError`] that does not know its line yet.
#[derive(Debug)]
pub struct Fault {
    pub(crate) code: RowCode,
    pub(crate) message: String,
    pub(crate) field: Option<String>,
}

impl Fault {
    /// `field` is empty where none is at fault.
    pub fn new(code: RowCode, field: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: (!field.is_empty()).then(|| field.to_owned()),
        }
    }

    pub(crate) fn value(field: &str, found: &Value, expected: &str) -> Self {
        let message = format!("`{field}` is {}, expected {expected}", excerpt(found));
        Self::new(RowCode::InvalidParameter, field, message)
    }

    pub(crate) fn at(self, line: u64) -> RowError {
        RowError {
            code: self.code,
            message: self.message,
            line,
            field: self.field,
            file: None,
        }
    }

    /// The same fault, of a field inside of `field`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.field = Some(match self.field {
            Some(inner) => format!("{outer}.{inner}"),
            None => outer.to_owned(),
        });
        self
    }
}

impl From<ParameterError> for Fault {
    fn from(error: ParameterError) -> Self {
        let code = match error {
            ParameterError::Unknown { .. } => RowCode::UnknownParameter,
            ParameterError::Type { .. } => RowCode::InvalidParameter,
        };
        Self::new(code, error.name(), error.to_string())
    }
}

/// The fields of a line that is a JSON object, none of them twice.
pub(crate) fn fields(text: &str) -> Result<Vec<(String, Value)>, Fault> {
    let Fields(fields) = serde_json::from_str(text)
        .map_err(|error| Fault::new(RowCode::InvalidJson, "", json_message(&error)))?;
    Ok(fields)
}

/// `serde_json` counts lines inside of the one that it is given.
fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = match message.rfind(" at line ") {
        Some(end) => &message[..end],
        None => &message,
    };
    format!("{message} (column {})", error.column())
}

struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.iter().any(|(earlier, _)| *earlier == name) {
                        return Err(serde::de::Error::custom(format!(
                            "field `{name}` comes twice"
                        )));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}
