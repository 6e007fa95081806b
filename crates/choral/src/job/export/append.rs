//! Answers beside the columns of the Parquet files that the prompts came from.
//!
//! The columns go through as Arrow has them, with their types and metadata; only
//! columns of answers are added, and rows repeated for records of several answers.

use super::columns::{Survey, rows};
use super::parquet::{AnswerBuilders, TableWriter};
use super::{ExportError, ExportOptions, ExportSummary, Source, staged};
use crate::job::table::{TableError, guarded, open_batches};
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::take::take;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes the rows of `inputs`, one file after the other, to the Parquet file
/// `target`, each with its record's columns as [`super::export`] names them.
///
/// There is a record for each row, in the order of the rows. A record that says
/// which row it is of (`row`) must be of that one, where rows count from 0 over all
/// files. Columns keep their Arrow types and their values, and the first file's
/// metadata is kept; fields that records carry along are not used.
///
/// # Errors
/// An input cannot be read or has other columns than the first, records are missing
/// or in another order, or the target cannot be written. There is no target then,
/// or the one that was there.
pub fn append_to_parquet(
    inputs: &[PathBuf],
    records: &dyn Source,
    target: &Path,
    options: ExportOptions,
) -> Result<ExportSummary, ExportError> {
    staged::check(target, false, options)?;
    let survey = Survey::of(records)?;
    let (first, reader) = match inputs {
        [] => (Path::new(""), None),
        [first, ..] => (first.as_path(), Some(open(first)?)),
    };
    let schema = reader.map_or_else(|| Arc::new(Schema::empty()), |(schema, _)| schema);
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let mut answers = AnswerBuilders::new(&survey, &names);
    let fields = schema.fields().iter().cloned();
    let fields: Vec<_> = fields.chain(answers.fields().map(Arc::new)).collect();
    let out_schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let out_schema = Arc::new(out_schema);

    let mut table = TableWriter::create(target, &out_schema, options)?;
    let mut records = records.records()?;
    let (mut num_rows, mut num_written) = (0, 0);
    for path in inputs {
        let (found, reader) = open(path)?;
        check_columns(&schema, &found, path, first)?;
        for batch in batches(path, reader) {
            let batch = batch?;
            // For each row that is written, the one of the batch that it repeats.
            let mut sources = Vec::with_capacity(batch.num_rows());
            for source in 0..batch.num_rows() as u64 {
                let record = records.next().ok_or(ExportError::Count {
                    num_records: survey.summary(0).num_records,
                    num_rows: num_rows + 1,
                })??;
                if let Some(row) = record.row
                    && row != num_rows
                {
                    return Err(ExportError::Order {
                        number: num_rows + 1,
                        found: row,
                        expected: num_rows,
                    });
                }
                for answer in rows(&record) {
                    answers.push(&record, num_rows, answer);
                    sources.push(source);
                }
                num_rows += 1;
            }
            num_written += sources.len() as u64;
            let mut columns = repeated(&batch, sources).map_err(ExportError::Made)?;
            columns.extend(answers.finish());
            table.write(&out_schema, columns)?;
        }
    }
    let num_records = survey.summary(0).num_records;
    if num_records != num_rows {
        return Err(ExportError::Count {
            num_records,
            num_rows,
        });
    }
    table.finish()?;
    Ok(survey.summary(num_written))
}

fn open(path: &Path) -> Result<(SchemaRef, ParquetRecordBatchReader), ExportError> {
    open_batches(path).map_err(|source| ExportError::Table {
        path: path.to_owned(),
        source,
    })
}

fn batches(
    path: &Path,
    mut reader: ParquetRecordBatchReader,
) -> impl Iterator<Item = Result<RecordBatch, ExportError>> {
    let mut read = move || guarded(|| reader.next().transpose());
    std::iter::from_fn(move || {
        let batch = read().map_err(|source| ExportError::Table {
            path: path.to_owned(),
            source,
        });
        batch.transpose()
    })
}

/// The columns of `batch` with the rows `sources`.
fn repeated(batch: &RecordBatch, sources: Vec<u64>) -> Result<Vec<ArrayRef>, TableError> {
    let is_each_once = sources.len() == batch.num_rows();
    if is_each_once {
        return Ok(batch.columns().to_vec());
    }
    let sources = UInt64Array::from(sources);
    guarded(|| {
        let columns = batch.columns().iter();
        columns.map(|column| take(column, &sources, None)).collect()
    })
}

/// Names and types must be the first file's; metadata need not.
fn check_columns(
    expected: &Schema,
    found: &Schema,
    path: &Path,
    first: &Path,
) -> Result<(), ExportError> {
    let differs = |difference: String| ExportError::Columns {
        path: path.to_owned(),
        first: first.to_owned(),
        difference,
    };
    let (num_expected, num_found) = (expected.fields().len(), found.fields().len());
    if num_expected != num_found {
        return Err(differs(format!(
            "it has {num_found}, expected {num_expected}"
        )));
    }
    for (expected, found) in expected.fields().iter().zip(found.fields()) {
        if expected.name() != found.name() || expected.data_type() != found.data_type() {
            return Err(differs(format!(
                "`{}` of type {}, expected `{}` of type {}",
                found.name(),
                found.data_type(),
                expected.name(),
                expected.data_type()
            )));
        }
        // A file without nulls may have said so, and the next may have some.
        if found.is_nullable() && !expected.is_nullable() {
            return Err(differs(format!(
                "`{}` may be null, which it may not in the first",
                found.name()
            )));
        }
    }
    Ok(())
}
