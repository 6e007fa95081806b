//! What rows of every kind of job have in common: lines with content, ids of which none
//! comes twice, whose format a file is in, and how a fault is said.
//!
//! Knows no field but `custom_id`: what the others mean is `row`'s, and for texts to
//! embed [`crate::embed`]'s.

use super::key::RowKey;
use super::line::Lines;
use super::parameter::{ParameterError, excerpt};
use super::row::{InputFormat, RowCode, RowError, RowHead};
use serde_json::Value;
use std::collections::HashSet;
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

impl Entry {
    /// Which row it is, and what it says.
    pub(crate) fn open(self) -> (RowHead, Result<Content, Fault>) {
        let head = RowHead {
            index: self.index,
            line: self.line,
            file: self.file,
            ..RowHead::default()
        };
        (head, self.content)
    }
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
    /// Gives a row the `custom_id` among its fields. If an earlier row has it, it names
    /// the row, but is no key.
    pub(crate) fn name(
        &mut self,
        head: &mut RowHead,
        fields: &[(String, Value)],
    ) -> Result<(), Fault> {
        let Some((_, value)) = fields.iter().find(|(name, _)| name == "custom_id") else {
            return Ok(());
        };
        match value {
            Value::Null => Ok(()),
            Value::String(id) => {
                if self.0.insert(RowKey::Id(id.clone()).fingerprint()) {
                    head.custom_id = Some(id.clone());
                    return Ok(());
                }
                head.repeated_id = Some(id.clone());
                let message = format!("`custom_id` {} has come before", excerpt(value));
                Err(Fault::new(RowCode::DuplicateCustomId, "custom_id", message))
            }
            other => Err(Fault::value("custom_id", other, "a string")),
        }
    }
}

/// In whose format a file is, for those of its lines that do not show it: that of the
/// first one that does.
#[derive(Debug, Default)]
pub(crate) struct FileForm {
    file: Option<Arc<str>>,
    is_open_ai: Option<bool>,
}

impl FileForm {
    /// Begins anew if `file` is another.
    pub(crate) fn enter(&mut self, file: Option<&Arc<str>>) {
        if self.file.as_ref() != file {
            *self = Self {
                file: file.cloned(),
                is_open_ai: None,
            };
        }
    }

    /// Whether a row with those fields is in OpenAI's format. `own` are names by which
    /// a row of choral's is told.
    pub(crate) fn is_open_ai(&mut self, fields: &[(String, Value)], own: &[&str]) -> bool {
        let has = |names: &[&str]| fields.iter().any(|(name, _)| names.contains(&&**name));
        let shown = if has(&["body", "url"]) {
            Some(true)
        } else {
            has(own).then_some(false)
        };
        if let Some(shown) = shown {
            self.is_open_ai.get_or_insert(shown);
            return shown;
        }
        self.is_open_ai_by_default()
    }

    /// The same for a line of which nothing is known.
    pub(crate) fn is_open_ai_by_default(&self) -> bool {
        self.is_open_ai == Some(true)
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
