//! The outputs of a job's shards as one.

use super::record::{PartReader, RecordError, journal_of, lock, temporary};
use super::shard::Shard;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Why parts cannot be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A part cannot be read.
    #[error(transparent)]
    Part(#[from] RecordError),
    /// A part has not come to its end.
    #[error("`{}` is not finished: run its job to its end", path.display())]
    Unfinished {
        /// The part.
        path: PathBuf,
    },
    /// A part is of another job.
    #[error("`{}` and `{}` are parts of different jobs: {difference}", one.display(), other.display())]
    Different {
        /// One part.
        one: PathBuf,
        /// Another.
        other: PathBuf,
        /// What differs.
        difference: String,
    },
    /// Two parts have one row.
    #[error("row {row} is in `{}` and in `{}`", one.display(), other.display())]
    Twice {
        /// The row.
        row: u64,
        /// One part.
        one: PathBuf,
        /// Another.
        other: PathBuf,
    },
    /// Rows of the input are in no part.
    #[error("the parts have {found} rows, and the input has {expected}")]
    Gaps {
        /// Those of the parts.
        found: u64,
        /// Those of the input.
        expected: u64,
    },
    /// A shard is not among the parts.
    #[error("shard {shard} is in none of the parts")]
    Missing {
        /// The shard.
        shard: Shard,
    },
    /// The output cannot be written.
    #[error("{}", path.display())]
    Output {
        /// The output.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Rows in the output.
    pub num_rows: u64,
    /// Those of them that are in error.
    pub num_failed: u64,
}

/// Writes the lines of finished outputs to `output`, in the order of their rows. It
/// appears there when it is complete.
///
/// # Errors
/// A part is not finished, or not of the same job as the others; a shard is missing; a
/// row comes twice; or a file cannot be read or written.
pub fn merge(parts: &[PathBuf], output: &Path) -> Result<Merged, MergeError> {
    let mut readers = Vec::new();
    for path in parts {
        let reader = PartReader::open(path)?;
        if !reader.is_complete() {
            return Err(MergeError::Unfinished { path: path.clone() });
        }
        readers.push(reader);
    }
    let _lock = lock(output)?;
    check_same_job(parts, &readers)?;
    check_shards(&readers)?;
    let failed = |source| MergeError::Output {
        path: output.to_owned(),
        source,
    };
    let path = temporary(output);
    let written = write(parts, readers, &path, &failed);
    if written.is_err() {
        // It takes room, and is of no use.
        let _ = fs::remove_file(&path);
    }
    let merged = written?;
    fs::rename(&path, output).map_err(failed)?;
    // A journal of what was there is none of what is there now.
    if let Err(error) = fs::remove_file(journal_of(output))
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    Ok(merged)
}

fn check_same_job(parts: &[PathBuf], readers: &[PartReader]) -> Result<(), MergeError> {
    for (reader, path) in readers.iter().zip(parts).skip(1) {
        if let Some(difference) = readers[0].difference(reader) {
            return Err(MergeError::Different {
                one: parts[0].clone(),
                other: path.clone(),
                difference,
            });
        }
    }
    Ok(())
}

/// Parts that are shards are to be all of them.
fn check_shards(readers: &[PartReader]) -> Result<(), MergeError> {
    let shards: Vec<Shard> = readers.iter().filter_map(PartReader::shard).collect();
    let Some(count) = shards.iter().map(|shard| shard.count()).max() else {
        return Ok(());
    };
    let missing = (0..count)
        .filter_map(|index| Shard::new(index, count))
        .find(|shard| !shards.contains(shard));
    match missing {
        Some(shard) => Err(MergeError::Missing { shard }),
        None => Ok(()),
    }
}

fn write(
    parts: &[PathBuf],
    mut readers: Vec<PartReader>,
    path: &Path,
    failed: &dyn Fn(io::Error) -> MergeError,
) -> Result<Merged, MergeError> {
    let file = File::create_new(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    let mut merged = Merged::default();
    // The next row of each part.
    let mut next = BinaryHeap::new();
    let mut lines = Vec::new();
    for (part, reader) in readers.iter_mut().enumerate() {
        let line = reader.next()?;
        next.extend(line.as_ref().map(|line| Reverse((line.row, part))));
        lines.push(line);
    }
    let expected = readers.first().and_then(PartReader::num_input_rows);
    let mut last = None;
    while let Some(Reverse((row, part))) = next.pop() {
        if let Some((last_row, other)) = last
            && last_row == row
        {
            let one: &PathBuf = &parts[other];
            return Err(MergeError::Twice {
                row,
                one: one.clone(),
                other: parts[part].clone(),
            });
        }
        last = Some((row, part));
        if let Some(line) = lines[part].take() {
            out.write_all(&line.bytes).map_err(failed)?;
            merged.num_rows += 1;
            merged.num_failed += u64::from(line.is_failed);
        }
        lines[part] = readers[part].next()?;
        next.extend(lines[part].as_ref().map(|line| Reverse((line.row, part))));
    }
    if let Some(expected) = expected
        && merged.num_rows != expected
    {
        return Err(MergeError::Gaps {
            found: merged.num_rows,
            expected,
        });
    }
    out.flush().map_err(failed)?;
    drop(out);
    file.sync_all().map_err(failed)?;
    Ok(merged)
}
