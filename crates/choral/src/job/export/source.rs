//! Where records come from: files of lines, which can be read more than once.

use super::{AnswerRecord, ExportError, RecordFault};
use crate::job::Lines;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Longest line that is read, in bytes: answers with log-probabilities are long.
const MAX_LINE_BYTES: usize = 256 << 20;

/// Records, one after the other.
pub type Records<'a> = Box<dyn Iterator<Item = Result<AnswerRecord, ExportError>> + 'a>;

/// Records that can be read more than once, the same each time.
pub trait Source {
    /// All of them, from the first.
    ///
    /// # Errors
    /// They cannot be read.
    fn records(&self) -> Result<Records<'_>, ExportError>;
}

impl Source for [AnswerRecord] {
    fn records(&self) -> Result<Records<'_>, ExportError> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }
}

impl Source for Vec<AnswerRecord> {
    fn records(&self) -> Result<Records<'_>, ExportError> {
        self.as_slice().records()
    }
}

/// The lines of files, one file after the other. Blank lines are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFiles {
    paths: Vec<PathBuf>,
}

impl RecordFiles {
    /// Those of `paths`, in that order.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }
}

impl Source for RecordFiles {
    fn records(&self) -> Result<Records<'_>, ExportError> {
        Ok(Box::new(FileRecords {
            paths: self.paths.iter(),
            open: None,
            has_failed: false,
        }))
    }
}

struct FileRecords<'a> {
    paths: std::slice::Iter<'a, PathBuf>,
    open: Option<(&'a Path, Lines<BufReader<File>>)>,
    has_failed: bool,
}

impl FileRecords<'_> {
    fn read(&mut self) -> Result<Option<AnswerRecord>, ExportError> {
        loop {
            let Some((path, lines)) = &mut self.open else {
                let Some(path) = self.paths.next() else {
                    return Ok(None);
                };
                let file = File::open(path).map_err(read_error(path))?;
                let lines = Lines::with_limit(BufReader::new(file), MAX_LINE_BYTES);
                self.open = Some((path, lines));
                continue;
            };
            let Some(line) = lines.next() else {
                self.open = None;
                continue;
            };
            let line = line.map_err(read_error(path))?;
            let fault = |fault: RecordFault| ExportError::Line {
                path: path.to_owned(),
                line: line.number,
                fault,
            };
            let text = line.text.map_err(|error| fault(error.into()))?;
            if !text.trim().is_empty() {
                return AnswerRecord::parse(&text).map(Some).map_err(fault);
            }
        }
    }
}

impl Iterator for FileRecords<'_> {
    type Item = Result<AnswerRecord, ExportError>;

    fn next(&mut self) -> Option<Result<AnswerRecord, ExportError>> {
        if self.has_failed {
            return None;
        }
        let record = self.read().transpose();
        self.has_failed = matches!(record, Some(Err(_)));
        record
    }
}

fn read_error(path: &Path) -> impl Fn(std::io::Error) -> ExportError + '_ {
    |source| ExportError::Read {
        path: path.to_owned(),
        source,
    }
}
