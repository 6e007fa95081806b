//! Records as Parquet, compressed with Snappy as readers expect it.

use super::columns::{AnswerColumn, Cell, FieldType, Survey, plain, rows};
use super::{
    AnswerRecord, ExportError, ExportOptions, RecordedAnswer, Source, staged, write_error,
};
use crate::job::table::{TableError, guarded};
use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

/// Most rows that wait to be encoded.
const MAX_BATCH_ROWS: usize = 1 << 10;

/// Most bytes of text that wait to be encoded, but for the last row's.
const BATCH_BYTES: usize = 8 << 20;

/// A group of rows is closed when it takes this many bytes.
const GROUP_BYTES: usize = 64 << 20;

pub(super) fn write(
    records: &dyn Source,
    survey: &Survey,
    target: &Path,
    options: ExportOptions,
) -> Result<u64, ExportError> {
    let mut carried: Vec<(&str, FieldType, Builder)> = Vec::new();
    let mut schema = Vec::new();
    for (name, &field_type) in &survey.fields {
        let builder = Builder::new(field_type);
        schema.push(Field::new(name, builder.data_type(), true));
        carried.push((name, field_type, builder));
    }
    let mut answers = AnswerBuilders::new(survey, &survey.field_names());
    schema.extend(answers.fields());
    let schema = Arc::new(Schema::new(schema));
    let mut table = TableWriter::create(target, &schema, options)?;
    let mut num_rows = 0;
    for (position, record) in records.records()?.enumerate() {
        let record = record?;
        for answer in rows(&record) {
            for (name, field_type, builder) in &mut carried {
                let value = record.fields.get(*name).unwrap_or(&Value::Null);
                answers.num_bytes += builder.push(*field_type, value);
            }
            answers.push(&record, position as u64, answer);
            num_rows += 1;
        }
        if answers.is_full() {
            let columns = carried.iter_mut().map(|(_, _, builder)| builder.finish());
            let columns: Vec<ArrayRef> = columns.chain(answers.finish()).collect();
            table.write(&schema, columns)?;
        }
    }
    if !answers.is_empty() {
        let columns = carried.iter_mut().map(|(_, _, builder)| builder.finish());
        let columns: Vec<ArrayRef> = columns.chain(answers.finish()).collect();
        table.write(&schema, columns)?;
    }
    table.finish()?;
    Ok(num_rows)
}

/// A Parquet file in the making.
pub(super) struct TableWriter<'a> {
    target: &'a Path,
    staged: staged::Staged,
    writer: ArrowWriter<BufWriter<File>>,
}

impl<'a> TableWriter<'a> {
    pub(super) fn create(
        target: &'a Path,
        schema: &SchemaRef,
        options: ExportOptions,
    ) -> Result<Self, ExportError> {
        let (staged, file) = staged::file(target, options)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("choral ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let open =
            || ArrowWriter::try_new(BufWriter::new(file), Arc::clone(schema), Some(properties));
        let writer = guarded(open).map_err(ExportError::Made)?;
        Ok(Self {
            target,
            staged,
            writer,
        })
    }

    pub(super) fn write(
        &mut self,
        schema: &SchemaRef,
        columns: Vec<ArrayRef>,
    ) -> Result<(), ExportError> {
        let batch = RecordBatch::try_new(Arc::clone(schema), columns);
        let batch = batch.map_err(|error| ExportError::Made(error.into()))?;
        let writer = &mut self.writer;
        let written = guarded(|| {
            let written = writer.write(&batch);
            let is_full = writer.in_progress_size() > GROUP_BYTES;
            let flushed = written.and_then(|()| if is_full { writer.flush() } else { Ok(()) });
            Ok::<_, TableError>(flushed)
        });
        let written = written.map_err(ExportError::Made)?;
        written.map_err(|error| failure(self.target, error))
    }

    pub(super) fn finish(self) -> Result<(), ExportError> {
        let target = self.target;
        let writer = self.writer.into_inner();
        let writer = writer.map_err(|error| failure(target, error))?;
        let file = writer
            .into_inner()
            .map_err(|error| write_error(target)(error.into_error()))?;
        self.staged.finish(&file)
    }
}

/// A full disk is told as such.
fn failure(target: &Path, error: ParquetError) -> ExportError {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => write_error(target)(*cause),
            Err(cause) => ExportError::Made(ParquetError::External(cause).into()),
        },
        other => ExportError::Made(other.into()),
    }
}

/// The columns of the answers as they fill.
pub(super) struct AnswerBuilders {
    columns: Vec<(String, AnswerColumn, Builder)>,
    num_rows: usize,
    /// Of text that waits to be encoded.
    num_bytes: usize,
}

impl AnswerBuilders {
    /// Those behind carried columns of the names `carried`.
    pub(super) fn new(survey: &Survey, carried: &[&str]) -> Self {
        let builder = |column: AnswerColumn| {
            Builder::new(if column.is_text() {
                FieldType::Text
            } else {
                FieldType::Int
            })
        };
        let columns = survey.answer_columns(carried).into_iter();
        Self {
            columns: columns
                .map(|(name, column)| (name, column, builder(column)))
                .collect(),
            num_rows: 0,
            num_bytes: 0,
        }
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = Field> {
        let columns = self.columns.iter();
        columns.map(|(name, _, builder)| Field::new(name, builder.data_type(), true))
    }

    pub(super) fn push(
        &mut self,
        record: &AnswerRecord,
        position: u64,
        answer: Option<&RecordedAnswer>,
    ) {
        for (_, column, builder) in &mut self.columns {
            self.num_bytes += builder.push_cell(&column.cell(record, position, answer));
        }
        self.num_rows += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.num_rows >= MAX_BATCH_ROWS || self.num_bytes >= BATCH_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.num_rows == 0
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.num_rows = 0;
        self.num_bytes = 0;
        let columns = self.columns.iter_mut();
        columns.map(|(_, _, builder)| builder.finish()).collect()
    }
}

/// A column as it fills.
enum Builder {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
}

impl Builder {
    fn new(field_type: FieldType) -> Self {
        match field_type {
            FieldType::Bool => Self::Bool(BooleanBuilder::new()),
            FieldType::Int => Self::Int(Int64Builder::new()),
            FieldType::Float => Self::Float(Float64Builder::new()),
            // A column without values is one of strings: not every reader knows a
            // type of nulls.
            FieldType::Null | FieldType::Text | FieldType::Json => Self::Text(StringBuilder::new()),
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Bool(_) => DataType::Boolean,
            Self::Int(_) => DataType::Int64,
            Self::Float(_) => DataType::Float64,
            Self::Text(_) => DataType::Utf8,
        }
    }

    /// Appends a value of the column's type, which the survey has found. Returns the
    /// bytes of text.
    fn push(&mut self, field_type: FieldType, value: &Value) -> usize {
        match self {
            Self::Bool(builder) => builder.append_option(value.as_bool()),
            Self::Int(builder) => builder.append_option(value.as_i64()),
            Self::Float(builder) => builder.append_option(value.as_f64()),
            Self::Text(builder) if value.is_null() => builder.append_null(),
            Self::Text(builder) => {
                let text = if field_type == FieldType::Json {
                    value.to_string().into()
                } else {
                    plain(value)
                };
                builder.append_value(&text);
                return text.len();
            }
        }
        0
    }

    fn push_cell(&mut self, cell: &Cell) -> usize {
        match (self, cell) {
            (Self::Int(builder), Cell::Int(number)) => builder.append_value(*number),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Text(builder), Cell::Text(text)) => {
                builder.append_value(text);
                return text.len();
            }
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Bool(_) | Self::Float(_), _) => {
                unreachable!("columns of answers have integers or text")
            }
        }
        0
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
        }
    }
}
