//! Which columns a table of records has, and what stands in them.

use super::{AnswerRecord, ExportError, ExportSummary, RecordedAnswer, Source};
use indexmap::IndexMap;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;

/// What a look through all records tells.
#[derive(Debug, Default)]
pub(super) struct Survey {
    num_records: u64,
    num_failed: u64,
    /// The greatest row.
    pub(super) max_row: u64,
    /// The carried columns and what is in them, in the order in which they first come.
    pub(super) fields: IndexMap<String, FieldType>,
    has_several: bool,
    has_tool_calls: bool,
    /// Records whose carried `custom_id` is not their own.
    has_other_ids: bool,
}

/// What all values of a carried column are; each is more than the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldType {
    /// Nothing but nulls so far.
    Null,
    Bool,
    Int,
    Float,
    Text,
    /// Lists, objects, or several of the others.
    Json,
}

/// The greatest integer up to which a float has all.
const MAX_FLOAT_INT: u64 = 1 << 53;

impl Survey {
    pub(super) fn of(records: &dyn Source) -> Result<Self, ExportError> {
        let mut survey = Self::default();
        // Integers that a float cannot hold, in columns that may turn out to have floats.
        let mut large = HashSet::new();
        for record in records.records()? {
            survey.note(&record?, &mut large);
        }
        Ok(survey)
    }

    fn note(&mut self, record: &AnswerRecord, large: &mut HashSet<String>) {
        self.max_row = self.max_row.max(record.row.unwrap_or(self.num_records));
        self.num_records += 1;
        self.num_failed += u64::from(record.error.is_some());
        self.has_several |= record.answers.len() > 1;
        self.has_tool_calls |= record.answers.iter().any(|one| one.tool_calls.is_some());
        for (name, value) in &record.fields {
            let found = FieldType::of(value);
            if let Some(number) = value.as_i64()
                && number.unsigned_abs() > MAX_FLOAT_INT
            {
                large.insert(name.clone());
            }
            let merged = match self.fields.get(name) {
                Some(known) => known.and(found),
                None => found,
            };
            let is_rounded = merged == FieldType::Float && large.contains(name);
            let merged = if is_rounded { FieldType::Json } else { merged };
            // Not `insert(name.clone())` for each value of each record.
            match self.fields.get_mut(name) {
                Some(known) => *known = merged,
                None => {
                    self.fields.insert(name.clone(), merged);
                }
            }
        }
        if let Some(carried) = record.fields.get("custom_id") {
            self.has_other_ids |= carried.as_str() != record.custom_id.as_deref();
        }
    }

    pub(super) fn summary(&self, num_written: u64) -> ExportSummary {
        ExportSummary {
            num_records: self.num_records,
            num_failed: self.num_failed,
            num_written,
        }
    }

    /// The columns of the answers behind carried ones of the names `carried`.
    pub(super) fn answer_columns(&self, carried: &[&str]) -> Vec<(String, AnswerColumn)> {
        let mut taken: HashSet<String> = carried.iter().map(|&name| name.to_owned()).collect();
        let is_there = |column: &AnswerColumn| match column {
            AnswerColumn::CustomId => !taken.contains("custom_id") || self.has_other_ids,
            AnswerColumn::Index => self.has_several,
            AnswerColumn::ToolCalls => self.has_tool_calls,
            _ => true,
        };
        let columns: Vec<_> = AnswerColumn::ALL.into_iter().filter(is_there).collect();
        let mut named = Vec::new();
        for column in columns {
            let mut name = column.name().to_owned();
            while !taken.insert(name.clone()) {
                name.push_str("_answer");
            }
            named.push((name, column));
        }
        named
    }

    pub(super) fn field_names(&self) -> Vec<&str> {
        self.fields.keys().map(String::as_str).collect()
    }
}

impl FieldType {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Int,
            // Beyond 64 bits with a sign, a table has no place for it.
            Value::Number(number) if number.is_u64() => Self::Json,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::Text,
            Value::Array(_) | Value::Object(_) => Self::Json,
        }
    }

    /// What holds values of both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Null, other) => other,
            (one, Self::Null) => one,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::Json,
        }
    }
}

/// A column of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerColumn {
    CustomId,
    Row,
    Index,
    Text,
    ToolCalls,
    FinishReason,
    PromptTokens,
    CompletionTokens,
    ErrorCode,
    ErrorMessage,
}

/// What stands in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
}

impl AnswerColumn {
    const ALL: [Self; 10] = [
        Self::CustomId,
        Self::Row,
        Self::Index,
        Self::Text,
        Self::ToolCalls,
        Self::FinishReason,
        Self::PromptTokens,
        Self::CompletionTokens,
        Self::ErrorCode,
        Self::ErrorMessage,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::CustomId => "custom_id",
            Self::Row => "row",
            Self::Index => "index",
            Self::Text => "text",
            Self::ToolCalls => "tool_calls",
            Self::FinishReason => "finish_reason",
            Self::PromptTokens => "prompt_tokens",
            Self::CompletionTokens => "completion_tokens",
            Self::ErrorCode => "error_code",
            Self::ErrorMessage => "error_message",
        }
    }

    pub(super) fn is_text(self) -> bool {
        !matches!(
            self,
            Self::Row | Self::Index | Self::PromptTokens | Self::CompletionTokens
        )
    }

    /// What stands in the column for one answer of a record, or for a record without;
    /// `position` is the record's among all, from 0.
    pub(super) fn cell<'a>(
        self,
        record: &'a AnswerRecord,
        position: u64,
        answer: Option<&'a RecordedAnswer>,
    ) -> Cell<'a> {
        let text = |text: Option<&'a String>| match text {
            Some(text) => Cell::Text(Cow::Borrowed(text)),
            None => Cell::Null,
        };
        let int = |number: Option<u64>| {
            let number = number.and_then(|number| i64::try_from(number).ok());
            number.map_or(Cell::Null, Cell::Int)
        };
        let error = record.error.as_ref();
        match self {
            Self::CustomId => text(record.custom_id.as_ref()),
            Self::Row => int(Some(record.row.unwrap_or(position))),
            Self::Index => int(answer.map(|answer| u64::from(answer.index))),
            Self::Text => text(answer.and_then(|answer| answer.text.as_ref())),
            Self::ToolCalls => text(answer.and_then(|answer| answer.tool_calls.as_ref())),
            Self::FinishReason => text(answer.and_then(|answer| answer.finish_reason.as_ref())),
            Self::PromptTokens => int(record.prompt_tokens),
            Self::CompletionTokens => int(answer.and_then(|answer| answer.completion_tokens)),
            Self::ErrorCode => text(error.and_then(|error| error.code.as_ref())),
            Self::ErrorMessage => text(error.and_then(|error| error.message.as_ref())),
        }
    }
}

/// The answers of a record, each a row of a table; a record without has one, too.
pub(super) fn rows(record: &AnswerRecord) -> impl Iterator<Item = Option<&RecordedAnswer>> {
    let none = record.answers.is_empty().then_some(None);
    record.answers.iter().map(Some).chain(none)
}

/// A carried value as text.
pub(super) fn plain(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}
