//! What rows of every kind of job have in common: lines with content, fields of which
//! none comes twice, ids of which none does either, and how a fault is said.
//!
//! Knows no field but `custom_id`: what the others mean is `row`'s, and for texts to
//! embed [`crate::embed`]'s.

use super::key::RowKey;
use super::line::Lines;
use super::parameter::{ParameterError, excerpt};
use super::row::{RowCode, RowError};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A line that has content.
pub(crate) struct Entry {
    /// Its number among those, from 0.
    pub(crate) index: u64,
    /// Its line in the input, from 1.
    pub(crate) line: u64,
    pub(crate) text: Result<String, Fault>,
}

/// Reads the entries of an input, and knows the ids that have come.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    lines: Lines<R>,
    next_index: u64,
    num_blank_lines: Arc<AtomicU64>,
    /// The ids so far, to find the one that comes twice: 16 bytes a row.
    seen: HashSet<u128>,
}

impl<R: BufRead> Entries<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            lines: Lines::new(reader),
            next_index: 0,
            num_blank_lines: Arc::default(),
            seen: HashSet::new(),
        }
    }

    /// Lines so far without content, which are no rows.
    pub(crate) fn num_blank_lines(&self) -> &Arc<AtomicU64> {
        &self.num_blank_lines
    }

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
                if self.seen.insert(RowKey::Id(id.clone()).fingerprint()) {
                    return Ok(Some(id.clone()));
                }
                let message = format!("`custom_id` {} has come before", excerpt(value));
                Err(Fault::new(RowCode::DuplicateCustomId, "custom_id", message))
            }
            other => Err(Fault::value("custom_id", other, "a string")),
        }
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
            let fault =
                |fault: super::LineFault| Fault::new(RowCode::InvalidLine, "", fault.to_string());
            return Some(Ok(Entry {
                index,
                line: line.number,
                text: line.text.map_err(fault),
            }));
        }
    }
}

/// A [`RowError`] that does not know its line yet.
pub(crate) struct Fault {
    pub(crate) code: RowCode,
    pub(crate) message: String,
    field: Option<String>,
}

impl Fault {
    /// `field` is empty where none is at fault.
    pub(crate) fn new(code: RowCode, field: &str, message: impl Into<String>) -> Self {
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
        }
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
