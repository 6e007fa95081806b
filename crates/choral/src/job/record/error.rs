//! Why a record cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A file of it cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another job is writing there.
    #[error("another job is writing to `{}`", path.display())]
    InUse {
        /// The output.
        path: PathBuf,
    },
    /// There is a file, and nothing says that it is a record.
    #[error("`{}` exists, and no journal of a job is beside it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Nothing says which rows its lines are of.
    #[error("no journal is beside `{}`, to say which rows its lines are of", path.display())]
    NoJournal {
        /// The output.
        path: PathBuf,
    },
    /// The record is of another job.
    #[error(
        "`{}` is the output of another job: {}",
        path.display(),
        differences.join("; ")
    )]
    OtherJob {
        /// The output.
        path: PathBuf,
        /// What differs: its name, what it was, and what it is in this job.
        differences: Vec<String>,
    },
    /// The record was finished, and is not what it was then.
    #[error("`{}` was changed after its job had finished: byte {offset} is not what the journal says", path.display())]
    Changed {
        /// The output.
        path: PathBuf,
        /// Where the line that differs begins.
        offset: u64,
    },
    /// The record was finished, and this job would change it.
    #[error(
        "`{}` is finished, and row {row} of the input is not the one that was answered there",
        path.display()
    )]
    Finished {
        /// The output.
        path: PathBuf,
        /// The first row that is new or was changed.
        row: u64,
    },
    /// The record was finished, and has answers that this job would leave out.
    #[error(
        "`{}` is finished, and has {found} answers to the {expected} rows of the input",
        path.display()
    )]
    Surplus {
        /// The output.
        path: PathBuf,
        /// Its answers.
        found: u64,
        /// The job's rows.
        expected: u64,
    },
    /// The journal is none.
    #[error("`{}` is no journal that can be read: {reason}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl RecordError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
