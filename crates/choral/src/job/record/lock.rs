//! One job at a time on one output.

use super::RecordError;
use super::paths::is_same_file;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// Held while a job writes. The system gives it up when the process ends, however it
/// does.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of `output`, or says that another job has it.
    pub(super) fn take(output: &Path, path: PathBuf) -> Result<Self, RecordError> {
        let io = |error| RecordError::io(&path, error);
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(RecordError::InUse {
                        path: output.to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            // Its last holder may have removed it in between.
            if is_same_file(&file, &path) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left behind, it is taken again by the next job.
        let _ = fs::remove_file(&self.path);
    }
}
