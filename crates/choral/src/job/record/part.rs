//! A record that is only read.

use super::RecordError;
use super::journal::{Damaged, Header, JournalReader};
use super::paths::Paths;
use crate::job::shard::Shard;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

/// Reads a record's lines in the order of the file.
pub(in crate::job) struct PartReader {
    paths: Paths,
    file: BufReader<File>,
    journal: JournalReader,
    num_read: u64,
    offset: u64,
}

/// A line, with its end.
pub(in crate::job) struct PartLine {
    pub(in crate::job) row: u64,
    pub(in crate::job) bytes: Vec<u8>,
    pub(in crate::job) is_failed: bool,
}

impl PartReader {
    pub(in crate::job) fn open(output: &Path) -> Result<Self, RecordError> {
        let paths = Paths::new(output);
        let file = File::open(output).map_err(|error| RecordError::io(output, error))?;
        let journal = JournalReader::open(&paths.journal)?;
        let journal = journal.ok_or_else(|| RecordError::NoJournal {
            path: output.to_owned(),
        })?;
        Ok(Self {
            file: BufReader::with_capacity(1 << 18, file),
            paths,
            journal,
            num_read: 0,
            offset: 0,
        })
    }

    pub(in crate::job) fn is_complete(&self) -> bool {
        // A rename that was cut short is made good by the job itself.
        self.journal.header.complete.is_some() && !self.paths.sorted.exists()
    }

    pub(in crate::job) fn shard(&self) -> Option<Shard> {
        self.journal.header.shard
    }

    /// What makes the two parts of different jobs.
    pub(in crate::job) fn difference(&self, other: &Self) -> Option<String> {
        let (one, other) = (&self.journal.header, &other.journal.header);
        if one.seed != other.seed {
            return Some(format!("the seeds are {} and {}", one.seed, other.seed));
        }
        let rows = |header: &Header| header.complete.map(|complete| complete.census);
        if let (Some(one), Some(other)) = (rows(one), rows(other))
            && one != other
        {
            let (one, other) = (one.num_rows, other.num_rows);
            return Some(if one == other {
                "their inputs have other rows".to_owned()
            } else {
                format!("their inputs have {one} and {other} rows")
            });
        }
        let names = one.settings.keys().chain(other.settings.keys());
        let differs = |name: &&String| one.settings.get(*name) != other.settings.get(*name);
        let name = names.into_iter().find(differs);
        name.map(|name| format!("their settings differ in {name}"))
    }

    pub(in crate::job) fn next(&mut self) -> Result<Option<PartLine>, RecordError> {
        let path = &self.paths.output;
        let damaged = |reason: String| RecordError::Journal {
            path: self.paths.journal.clone(),
            reason,
        };
        let entry = match self.journal.next() {
            Some(Ok(entry)) => entry,
            Some(Err(Damaged)) => {
                let number = self.num_read + 1;
                return Err(damaged(format!("entry {number} is not what was written")));
            }
            None => return self.end(),
        };
        if entry.offset != self.offset {
            return Err(damaged(format!(
                "entry {} is of byte {}, expected {}",
                self.num_read + 1,
                entry.offset,
                self.offset
            )));
        }
        let mut bytes = Vec::new();
        let mut limited = self.file.by_ref().take(entry.length);
        let read = limited.read_to_end(&mut bytes);
        read.map_err(|error| RecordError::io(path, error))?;
        if bytes.len() as u64 != entry.length || !entry.is_of(&bytes) {
            return Err(RecordError::Changed {
                path: path.clone(),
                offset: entry.offset,
            });
        }
        self.num_read += 1;
        self.offset = entry.end();
        Ok(Some(PartLine {
            row: entry.row,
            bytes,
            is_failed: entry.is_failed,
        }))
    }

    /// All of the lines must have come.
    fn end(&self) -> Result<Option<PartLine>, RecordError> {
        let path = &self.paths.output;
        let size = std::fs::metadata(path).map_err(|error| RecordError::io(path, error))?;
        let expected = self.journal.header.complete;
        let expected = expected.map(|complete| (complete.num_lines, complete.num_bytes));
        if expected != Some((self.num_read, self.offset)) {
            return Err(RecordError::Journal {
                path: self.paths.journal.clone(),
                reason: format!("it ends after {} entries, before its end", self.num_read),
            });
        }
        if size.len() != self.offset {
            return Err(RecordError::Changed {
                path: path.clone(),
                offset: self.offset,
            });
        }
        Ok(None)
    }

    /// Rows of the whole input.
    pub(in crate::job) fn num_input_rows(&self) -> Option<u64> {
        let complete = self.journal.header.complete;
        complete.map(|complete| complete.census.num_rows)
    }
}
