//! A record that is only read.

use super::journal::JournalReader;
use super::{Paths, RecordError, Shard};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

/// Reads a record's lines in the order of the file.
pub(in crate::job) struct PartReader {
    paths: Paths,
    file: BufReader<File>,
    journal: JournalReader,
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
        })
    }

    pub(in crate::job) fn is_complete(&self) -> bool {
        // A rename that was cut short is made good by the job itself.
        self.journal.header.is_complete && !self.paths.sorted.exists()
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
        let names = one.settings.keys().chain(other.settings.keys());
        let differs = |name: &&String| one.settings.get(*name) != other.settings.get(*name);
        let name = names.into_iter().find(differs);
        name.map(|name| format!("their settings differ in {name}"))
    }

    pub(in crate::job) fn next(&mut self) -> Result<Option<PartLine>, RecordError> {
        let Some(entry) = self.journal.next() else {
            return Ok(None);
        };
        let path = &self.paths.output;
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
        Ok(Some(PartLine {
            row: entry.row,
            bytes,
            is_failed: entry.is_failed,
        }))
    }
}
