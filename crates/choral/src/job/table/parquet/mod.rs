//! Parquet files, a few rows at a time.
//!
//! The columns' types are those that the file itself declares; an Arrow schema that
//! a writer has left beside them is not asked, so that a column has one form in
//! JSON, however it was held in memory before. [`json`] says which.
//!
//! The `parquet` crate does the reading. It is made for files of friends: where it
//! panics, that is an error of the file here.

mod json;
mod nesting;
#[cfg(test)]
mod tests;

use super::{TableError, TableRow, check_names};
use arrow_array::{Array as _, RecordBatch, StructArray};
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;
use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// What a batch of rows should take at most, uncompressed, by what the file says.
const BATCH_BYTES: u64 = 16 << 20;

/// Most rows of a batch.
const MAX_BATCH_ROWS: u64 = 1 << 8;

/// Reads the rows of a Parquet file. Yields an error only when the file cannot be
/// read on.
pub struct ParquetRows {
    reader: ParquetRecordBatchReader,
    columns: Arc<[String]>,
    num_rows: u64,
    batch: Option<StructArray>,
    /// The next row of `batch`.
    next: usize,
    num_read: u64,
    is_done: bool,
}

impl ParquetRows {
    /// Reads the footer of `file`.
    ///
    /// # Errors
    /// It is no Parquet file, or has columns that JSON has no place for.
    pub fn open(file: File) -> Result<Self, TableError> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = open(file, options)?;
        let schema = Arc::clone(builder.schema());
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        check_names(names())?;
        for field in schema.fields() {
            if !json::is_readable(field.data_type()) {
                return Err(TableError::Type {
                    column: field.name().clone(),
                    found: field.data_type().to_string(),
                });
            }
        }
        let num_rows = builder.metadata().file_metadata().num_rows();
        let num_rows = u64::try_from(num_rows).map_err(|_| {
            TableError::Parquet(format!("its footer says that it has {num_rows} rows"))
        })?;
        let batch_size = rows_per_batch(builder.metadata());
        let reader = guarded(|| builder.with_batch_size(batch_size).build())?;
        Ok(Self {
            reader,
            columns: names().map(str::to_owned).collect(),
            num_rows,
            batch: None,
            next: 0,
            num_read: 0,
            is_done: false,
        })
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows the file's footer says there are.
    pub fn num_rows(&self) -> u64 {
        self.num_rows
    }

    fn read(&mut self) -> Result<Option<TableRow>, TableError> {
        while self
            .batch
            .as_ref()
            .is_none_or(|batch| batch.len() == self.next)
        {
            let reader = &mut self.reader;
            let batch: Option<RecordBatch> = guarded(|| reader.next().transpose())?;
            let Some(batch) = batch else {
                return self.end();
            };
            self.batch = Some(StructArray::from(batch));
            self.next = 0;
        }
        let batch = self.batch.as_ref().expect("the loop ends with a batch");
        let row = self.next;
        self.next += 1;
        self.num_read += 1;
        let columns = self.columns.iter().zip(batch.columns());
        // Guarded: offsets and the like come from the file.
        let fields = guarded(|| {
            let field = |(name, column): (&String, _)| (name.clone(), json::value(column, row));
            Ok::<_, TableError>(columns.map(field).collect::<Vec<(String, Value)>>())
        })?;
        Ok(Some(TableRow {
            line: self.num_read,
            fields: Ok(fields),
        }))
    }

    fn end(&self) -> Result<Option<TableRow>, TableError> {
        if self.num_read == self.num_rows {
            return Ok(None);
        }
        Err(TableError::Parquet(format!(
            "it has {} rows, expected {} as its footer says",
            self.num_read, self.num_rows
        )))
    }
}

impl fmt::Debug for ParquetRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetRows")
            .field("columns", &self.columns)
            .field("num_rows", &self.num_rows)
            .field("num_read", &self.num_read)
            .finish_non_exhaustive()
    }
}

impl Iterator for ParquetRows {
    type Item = io::Result<TableRow>;

    fn next(&mut self) -> Option<io::Result<TableRow>> {
        if self.is_done {
            return None;
        }
        let row = self.read().transpose();
        self.is_done = !matches!(row, Some(Ok(_)));
        row.map(|row| row.map_err(io::Error::from))
    }
}

/// The batches of a file, with the Arrow types that its writer had.
pub(in crate::job) fn open_batches(
    path: &Path,
) -> Result<(SchemaRef, ParquetRecordBatchReader), TableError> {
    let builder = open(File::open(path)?, ArrowReaderOptions::new())?;
    let schema = Arc::clone(builder.schema());
    let batch_size = rows_per_batch(builder.metadata());
    let reader = guarded(|| builder.with_batch_size(batch_size).build())?;
    Ok((schema, reader))
}

fn open(
    file: File,
    options: ArrowReaderOptions,
) -> Result<ParquetRecordBatchReaderBuilder<File>, TableError> {
    nesting::check(&file)?;
    guarded(|| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
}

/// How many rows of a file to have in memory at a time.
fn rows_per_batch(metadata: &ParquetMetaData) -> usize {
    let groups = metadata.row_groups().iter();
    let row_bytes = |num_bytes: i64, num_rows: i64| {
        let num_bytes = u64::try_from(num_bytes).unwrap_or(u64::MAX);
        num_bytes / u64::try_from(num_rows).unwrap_or(1).max(1)
    };
    let row_bytes = groups.map(|group| row_bytes(group.total_byte_size(), group.num_rows()));
    let most = row_bytes.max().unwrap_or(0).max(1);
    (BATCH_BYTES / most).clamp(1, MAX_BATCH_ROWS) as usize
}

/// Runs `read`, and makes an error of whatever goes wrong in it.
pub(in crate::job) fn guarded<T, E: Into<TableError>>(
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, TableError> {
    // Whoever gets the error gives up what was being read.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(Into::into),
        Err(panic) => Err(TableError::Parquet(format!(
            "what it says of itself is wrong ({})",
            panic_message(&*panic)
        ))),
    }
}

fn panic_message(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no cause is given")
}

impl From<parquet::errors::ParquetError> for TableError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

impl From<arrow_schema::ArrowError> for TableError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::Parquet(error.to_string())
    }
}
