//! Tables as rows of JSON fields.
//!
//! [`CsvRows`] and [`ParquetRows`] read a file lazily and give each row's fields in
//! the order of the columns. What is wrong with one row is that row's
//! [`TableFault`], and reading goes on; what is wrong with the file is an error.
//! Knows nothing of what a column means: that is the job's.

mod csv;
mod parquet;

pub use csv::{CsvOptions, CsvRows};
pub use parquet::ParquetRows;
pub(in crate::job) use parquet::{guarded, open_batches};

use serde_json::Value;
use std::collections::HashSet;
use std::io;

/// Most columns that a table may have.
const MAX_COLUMNS: usize = 1 << 16;

/// One row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// Where it stands, from 1: in CSV the file's line on which the row begins, in
    /// Parquet the row's number.
    pub line: u64,
    /// Its columns' names and values, in the table's order.
    pub fields: Result<Vec<(String, Value)>, TableFault>,
}

/// What is wrong with one row of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableFault {
    /// Ragged.
    #[error("the row has {found} cells, expected {expected}, one for each column of the header")]
    Cells {
        /// Those of the header.
        expected: usize,
        /// Those of the row.
        found: usize,
    },
    /// Not text.
    #[error("column `{column}` is not UTF-8: byte {offset} of the cell cannot stand there")]
    NotUtf8 {
        /// The column's name.
        column: String,
        /// The first byte that is no part of a character, from 0.
        offset: usize,
    },
    /// Longer than what is read.
    #[error("the row is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// The file ends inside of a quoted cell.
    #[error("a quoted cell of this row is never closed, so the rest of the file is part of it")]
    OpenQuote,
}

/// Why a table cannot be read, or not be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("the table is empty, expected a header with the columns' names")]
    NoHeader,
    /// The header is a row with a fault.
    #[error("the header cannot be read: {0}")]
    Header(TableFault),
    /// UTF-16, as spreadsheets save "Unicode text".
    #[error("the file is UTF-16, expected UTF-8")]
    Utf16,
    /// A column without a name.
    #[error("column {number} has no name in the header")]
    NoName {
        /// From 1.
        number: usize,
    },
    /// Two columns of one name.
    #[error("there are two columns `{name}`")]
    DuplicateName {
        /// Their name.
        name: String,
    },
    /// More columns than are read.
    #[error("there are more than {max} columns")]
    TooManyColumns {
        /// The limit.
        max: usize,
    },
    /// A column whose values JSON has no place for.
    #[error("column `{column}` has the type {found}, which cannot be read")]
    Type {
        /// The column.
        column: String,
        /// Its Arrow type.
        found: String,
    },
    /// Not a Parquet file, or one with a fault.
    #[error("the Parquet file cannot be read: {0}")]
    Parquet(String),
}

impl From<TableError> for io::Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Columns need names, each its own.
fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), TableError> {
    let mut seen = HashSet::new();
    for (index, name) in names.enumerate() {
        if index == MAX_COLUMNS {
            return Err(TableError::TooManyColumns { max: MAX_COLUMNS });
        }
        if name.is_empty() {
            return Err(TableError::NoName { number: index + 1 });
        }
        if !seen.insert(name) {
            return Err(TableError::DuplicateName {
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}
