//! Answers as tables and documents.
//!
//! [`AnswerRecord`] is one row's answers, read from a line of choral's own output or of
//! OpenAI's batches. [`export`] writes records as CSV, Parquet, Markdown or one text
//! file each; [`append_to_parquet`] puts them beside the columns of the Parquet files
//! that the prompts came from. Records are read twice, once to see which columns
//! there are, so that memory does not grow with their number.
//!
//! What is written is complete or not there: it is made beside its target and takes
//! the target's name when it is done (`staged.rs`). Knows no engine and no prompt.

mod append;
mod columns;
mod csv;
mod folder;
mod markdown;
mod parquet;
mod record;
mod source;
mod staged;
#[cfg(test)]
mod tests;

pub use append::append_to_parquet;
pub use record::{AnswerRecord, RecordFault, RecordedAnswer, RecordedError};
pub use source::{RecordFiles, Records, Source};

use super::table::TableError;
use columns::Survey;
use std::io;
use std::path::{Path, PathBuf};

/// What records are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// Comma-separated values, one line for each answer.
    Csv,
    /// The same, with tabulators.
    Tsv,
    /// An Arrow table, one row for each answer.
    Parquet,
    /// A document with a section for each record.
    Markdown,
    /// A folder with a text file for each answer.
    Folder,
}

impl ExportFormat {
    /// The format that a name's ending stands for: `.csv`, `.tsv`, `.parquet`, `.md`;
    /// a name without one is a folder's.
    pub fn of_path(path: &Path) -> Option<Self> {
        let Some(extension) = path.extension() else {
            return Some(Self::Folder);
        };
        let is = |name: &str| extension.eq_ignore_ascii_case(name);
        if is("csv") {
            Some(Self::Csv)
        } else if is("tsv") {
            Some(Self::Tsv)
        } else if is("parquet") || is("pq") {
            Some(Self::Parquet)
        } else if is("md") || is("markdown") {
            Some(Self::Markdown)
        } else {
            None
        }
    }
}

/// How to export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Replaces what has the target's name.
    pub overwrite: bool,
}

/// What was exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// Records read.
    pub num_records: u64,
    /// Those of them that are in error.
    pub num_failed: u64,
    /// Rows of the table, sections of the document, or files.
    pub num_written: u64,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// An input cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is no record.
    #[error("`{}`, line {line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// The target cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The target.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is something of the target's name.
    #[error("`{}` exists", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// A folder of that name holds other things than exported answers.
    #[error("`{}` is not replaced: `{}` in it is no exported answer", path.display(), other.display())]
    NotReplaced {
        /// The target.
        path: PathBuf,
        /// What is in it.
        other: PathBuf,
    },
    /// An input table cannot be read.
    #[error("cannot read `{}`", path.display())]
    Table {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: TableError,
    },
    /// Input tables that do not go together.
    #[error("`{}` has other columns than `{}`: {difference}", path.display(), first.display())]
    Columns {
        /// A later one.
        path: PathBuf,
        /// The first.
        first: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The records are not those of the input tables' rows.
    #[error(
        "record {number} is of row {found}, expected row {expected}: records must be in the order of the rows, each once"
    )]
    Order {
        /// Which, from 1.
        number: u64,
        /// The row that it says it is of, from 0.
        found: u64,
        /// The row whose turn it is.
        expected: u64,
    },
    /// There are more rows than records, or fewer.
    #[error("there are {num_records} records for {num_rows} rows of the input")]
    Count {
        /// Records.
        num_records: u64,
        /// Rows.
        num_rows: u64,
    },
    /// Arrow or Parquet refused what it was to write.
    #[error("cannot make the table")]
    Made(#[source] TableError),
}

/// Writes `records` to `target`.
///
/// In tables each answer has a row, and so has a record without answers. First come
/// the columns of the input that the records carry along (`fields`), with the union
/// of their names; then `custom_id`, `row`, `index` (only if a record has several
/// answers), `text`, `tool_calls` (only if there are any), `finish_reason`,
/// `prompt_tokens`, `completion_tokens`, `error_code` and `error_message`. Where a
/// column of the input has one of these names, ours gets `_answer` behind it; a
/// `custom_id` of the input that is the records' own stands for both.
/// `completion_tokens` are those of the answer, and null where the record counts
/// only those of several answers together. Token ids, log-probabilities and timings
/// are left out.
///
/// In Parquet carried columns are of booleans, 64-bit integers, floats or strings;
/// where records disagree, or have lists or objects, the column has JSON as text.
///
/// # Errors
/// A record cannot be read, or the target not be written. There is no target then,
/// or the one that was there.
pub fn export(
    records: &dyn Source,
    format: ExportFormat,
    target: &Path,
    options: ExportOptions,
) -> Result<ExportSummary, ExportError> {
    // Before the records are read, which may take long.
    staged::check(target, format == ExportFormat::Folder, options)?;
    let survey = Survey::of(records)?;
    let num_written = match format {
        ExportFormat::Csv => csv::write(records, &survey, b',', target, options)?,
        ExportFormat::Tsv => csv::write(records, &survey, b'\t', target, options)?,
        ExportFormat::Parquet => parquet::write(records, &survey, target, options)?,
        ExportFormat::Markdown => markdown::write(records, target, options)?,
        ExportFormat::Folder => folder::write(records, &survey, target, options)?,
    };
    Ok(survey.summary(num_written))
}

/// Whatever goes wrong while `path` is written.
fn write_error(path: &Path) -> impl Fn(io::Error) -> ExportError + '_ {
    |source| ExportError::Write {
        path: path.to_owned(),
        source,
    }
}
