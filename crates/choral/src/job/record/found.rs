//! What an earlier run left, found without writing anything.

use super::journal::{Header, JournalReader, read_at};
use super::paths::{Paths, resolved};
use super::{Description, RecordError};
use crate::job::id::{RowId, Settings};
use crate::job::shard::Shard;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

/// What was there when the record was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    pub(super) was_complete: bool,
    /// Rows that have answers.
    pub(super) num_answers: u64,
    pub(super) num_damaged: u64,
    /// There was a journal, but not its output.
    pub(super) is_output_gone: bool,
}

/// How many rows have answers in the record at `output`; `None` if there is no record.
///
/// # Errors
/// Its journal cannot be read.
pub fn num_recorded(output: &Path) -> Result<Option<u64>, RecordError> {
    let Some(mut journal) = JournalReader::open(&Paths::new(&resolved(output)).journal)? else {
        return Ok(None);
    };
    let mut known = Vec::new();
    while let Some(entry) = journal.next() {
        known.extend(entry.ok().map(|entry| (prefix(entry.id), 0)));
    }
    known.sort_unstable();
    Ok(Some(num_distinct(&known)))
}

/// Of sorted ids, how many differ.
pub(super) fn num_distinct(known: &[(u64, u64)]) -> u64 {
    known.chunk_by(|one, other| one.0 == other.0).count() as u64
}

/// What an earlier run left. Nothing was written to find it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) journal: Option<(JournalReader, WhatIsKept)>,
    /// First bits of ids, and entries.
    pub(super) known: Vec<(u64, u64)>,
    pub(super) before: Before,
}

/// How much of the files an earlier run left is of use.
#[derive(Default)]
pub(super) struct WhatIsKept {
    /// The lines are in the second file, which has not taken the first one's name yet.
    pub(super) in_sorted: bool,
    /// Bytes up to the last line that is as it was written.
    pub(super) length: u64,
    /// Entries up to that line's.
    pub(super) num_entries: u64,
    /// Where the first line begins that is not.
    pub(super) first_mismatch: u64,
}

impl Found {
    pub(super) fn read(paths: &Paths) -> Result<Self, RecordError> {
        let Some(mut reader) = JournalReader::open(&paths.journal)? else {
            return if paths.output.exists() {
                let path = paths.output.clone();
                Err(RecordError::Exists { path })
            } else {
                Ok(Self::default())
            };
        };
        let complete = reader.header.complete;
        let files = [(&paths.sorted, true), (&paths.output, false)];
        for (path, in_sorted) in files {
            // The second file counts only if its journal is in place.
            if (in_sorted && complete.is_none()) || !path.exists() {
                continue;
            }
            let file = File::open(path).map_err(|error| RecordError::io(path, error))?;
            let size = file
                .metadata()
                .map_err(|error| RecordError::io(path, error))?;
            let (mut kept, known) = match_lines(&mut reader, &file, size.len(), path)?;
            let num_matching = known.len() as u64;
            let is_all = complete.is_none_or(|complete| {
                complete.num_lines == num_matching && complete.num_bytes == size.len()
            });
            if is_all {
                kept.in_sorted = in_sorted;
                let num_damaged = kept.num_entries - num_matching;
                return Ok(Self {
                    before: Before {
                        num_damaged,
                        ..Before::default()
                    },
                    journal: Some((reader, kept)),
                    known,
                });
            }
            if !in_sorted {
                return Err(RecordError::Changed {
                    path: path.clone(),
                    offset: kept.first_mismatch,
                });
            }
            reader = match JournalReader::open(&paths.journal)? {
                Some(reader) => reader,
                None => return Ok(Self::default()),
            };
        }
        Ok(Self {
            before: Before {
                is_output_gone: true,
                ..Before::default()
            },
            ..Self::default()
        })
    }
}

/// Compares the lines of `file` with the entries of its journal.
pub(super) fn match_lines(
    journal: &mut JournalReader,
    file: &File,
    size: u64,
    path: &Path,
) -> Result<(WhatIsKept, Vec<(u64, u64)>), RecordError> {
    let mut kept = WhatIsKept::default();
    let mut known = Vec::new();
    let mut line = Vec::new();
    let mut number = 0;
    let mut has_mismatch = false;
    while let Some(entry) = journal.next() {
        number += 1;
        let entry = entry.ok();
        let is_there = entry.as_ref().is_some_and(|entry| entry.end() <= size);
        let mut matches = false;
        if let Some(entry) = &entry
            && is_there
        {
            line.resize(entry.length as usize, 0);
            read_at(file, &mut line, entry.offset).map_err(|error| RecordError::io(path, error))?;
            matches = entry.is_of(&line);
            if matches {
                known.push((prefix(entry.id), number - 1));
                kept.length = kept.length.max(entry.end());
                kept.num_entries = number;
            }
        }
        if !matches && !has_mismatch {
            has_mismatch = true;
            kept.first_mismatch = entry.map_or(kept.length, |entry| entry.offset);
        }
    }
    if !has_mismatch {
        kept.first_mismatch = kept.length;
    }
    Ok((kept, known))
}

/// Whether a record is of a job with those settings.
pub(super) fn compare(
    output: &Path,
    header: &Header,
    job: &Description,
    seed: Option<u64>,
) -> Result<(), RecordError> {
    let mut differences = Vec::new();
    let mut differ = |name: &str, found: &str, expected: &str| {
        if found != expected {
            differences.push(format!("{name} was {found}, and is {expected} now"));
        }
    };
    let names: BTreeSet<_> = header.settings.keys().chain(job.settings.keys()).collect();
    for name in names {
        let said = |settings: &Settings| settings.get(name).map_or("not set", |v| v).to_owned();
        differ(name, &said(&header.settings), &said(&job.settings));
    }
    let all = |inputs: &[String]| inputs.join(", ");
    differ("the input", &all(&header.inputs), &all(&job.inputs));
    let shard = |shard: Option<Shard>| shard.map_or("all rows".to_owned(), |s| s.to_string());
    differ("the shard", &shard(header.shard), &shard(job.shard));
    if let Some(seed) = seed {
        differ("the seed", &header.seed.to_string(), &seed.to_string());
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(RecordError::OtherJob {
        path: output.to_owned(),
        differences,
    })
}

/// The first 64 bits of an id.
pub(super) fn prefix(id: RowId) -> u64 {
    (id.0 >> 64) as u64
}
