//! Files of rows, one after another.

use super::entry::{Content, Entries, Entry, Fault};
use super::row::{InputFormat, RowCode};
use super::table::{CsvOptions, CsvRows, ParquetRows, TableRow};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A file of rows, opened when it is its turn.
pub struct InputFile {
    /// What it is called in messages.
    pub name: String,
    /// How it is read.
    pub format: FileFormat,
    /// Where its bytes are.
    pub source: FileSource,
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// A row a line.
    Lines(InputFormat),
    /// Comma-separated values, with a header; or separated by tabulators.
    Csv(CsvOptions),
    /// An Arrow table, which cannot be read from a stream.
    Parquet,
}

/// Where a file's bytes are.
pub enum FileSource {
    /// In a file of that name.
    Path(PathBuf),
    /// In a stream that is open.
    Reader(Box<dyn BufRead + Send>),
}

type EntryIterator = Box<dyn Iterator<Item = io::Result<Entry>> + Send>;

/// The entries of several files, numbered through.
pub struct Inputs {
    files: VecDeque<InputFile>,
    current: Option<(Arc<str>, EntryIterator)>,
    is_one: bool,
    next_index: u64,
    num_blank_lines: Arc<AtomicU64>,
}

impl Inputs {
    /// Reads `files` in their order. If there are several, entries name theirs.
    pub fn new(files: Vec<InputFile>) -> Self {
        Self {
            is_one: files.len() == 1,
            files: files.into(),
            current: None,
            next_index: 0,
            num_blank_lines: Arc::default(),
        }
    }

    /// Counts the lines without content, which are no rows, while another thread reads.
    pub fn num_blank_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.num_blank_lines)
    }

    fn open(&self, format: FileFormat, source: FileSource) -> io::Result<EntryIterator> {
        let reader = |source| -> io::Result<Box<dyn BufRead + Send>> {
            Ok(match source {
                FileSource::Path(path) => Box::new(BufReader::new(File::open(path)?)),
                FileSource::Reader(reader) => reader,
            })
        };
        match (format, source) {
            (FileFormat::Lines(format), source) => {
                let blank = Arc::clone(&self.num_blank_lines);
                let entries = Entries::new(reader(source)?, format);
                Ok(Box::new(entries.counting_blank_lines_in(blank)))
            }
            (FileFormat::Csv(options), source) => {
                let rows = CsvRows::new(reader(source)?, options).map_err(io::Error::other)?;
                Ok(Box::new(rows.map(|row| Ok(entry(row?, true)))))
            }
            (FileFormat::Parquet, FileSource::Path(path)) => {
                let rows = ParquetRows::open(File::open(path)?).map_err(io::Error::other)?;
                Ok(Box::new(rows.map(|row| {
                    let row = row.map_err(io::Error::other)?;
                    Ok(entry(row, false))
                })))
            }
            (FileFormat::Parquet, FileSource::Reader(_)) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a Parquet file is read from its end, so that it cannot be a stream",
            )),
        }
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        loop {
            if let Some((name, entries)) = &mut self.current {
                match entries.next() {
                    Some(Ok(mut entry)) => {
                        entry.index = self.next_index;
                        self.next_index += 1;
                        entry.file = (!self.is_one).then(|| Arc::clone(name));
                        return Ok(Some(entry));
                    }
                    Some(Err(error)) => return Err(named(name, error)),
                    None => self.current = None,
                }
            }
            let Some(file) = self.files.pop_front() else {
                return Ok(None);
            };
            let entries = self.open(file.format, file.source);
            let entries = entries.map_err(|error| named(&file.name, error))?;
            self.current = Some((file.name.into(), entries));
        }
    }
}

impl Iterator for Inputs {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        self.read().transpose()
    }
}

/// A table's row. Its number is given later.
fn entry(row: TableRow, is_text: bool) -> Entry {
    let TableRow { line, fields } = row;
    let content = match fields {
        Ok(fields) => Ok(Content::Fields { fields, is_text }),
        Err(fault) => Err(Fault::new(RowCode::InvalidLine, "", fault.to_string())),
    };
    Entry {
        index: 0,
        line,
        file: None,
        content,
    }
}

/// The same error, which says of which file it is.
fn named(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{name}`: {error}"))
}
