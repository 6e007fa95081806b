//! What is told of a job's record, for all commands that keep one.

use super::tell;
use anyhow::{Result, anyhow};
use choral::job::{Description, Record, RecordError, Reuse};
use std::io;
use std::path::Path;

/// What holds for every job with a record.
pub(super) const GOES_ON: &str =
    "the job is not done; what is done is kept, and the same command goes on";

/// Opens the record `output`, and tells what is found there.
///
/// # Errors
/// As [`Record::open`]; with the options that help.
pub(in crate::cmd) fn open(
    output: &Path,
    job: Description,
    given_seed: Option<u64>,
    fresh_seed: u64,
    reuse: Reuse,
    is_quiet: bool,
) -> Result<Record> {
    let record = Record::open(output, job, given_seed, fresh_seed, reuse);
    let record = record.map_err(|error| {
        let hint = match &error {
            RecordError::OtherJob { .. } => {
                "--resume keeps what is still right of it, --overwrite begins anew"
            }
            RecordError::Exists { .. }
            | RecordError::Changed { .. }
            | RecordError::Journal { .. } => "--overwrite begins anew",
            _ => return error.into(),
        };
        anyhow!("{}: {hint}", crate::message::message(&error.into()))
    })?;
    if record.num_found() > 0 && !is_quiet {
        tell(&format!("{} answers are there already", record.num_found()));
    }
    if record.num_damaged() > 0 {
        tell(&format!(
            "{} answers are not what was written, and are computed again",
            record.num_damaged()
        ));
    }
    if record.is_output_gone() {
        tell("the journal's output is gone: all rows are computed again");
    }
    Ok(record)
}

/// Why a job ended before its rows did, and what there is to do.
pub(in crate::cmd) fn explained(error: anyhow::Error, is_record: bool) -> anyhow::Error {
    // It is wrapped in errors of the system's, and of the job's.
    let of_record = error.chain().find_map(|cause| {
        let cause = cause.downcast_ref::<io::Error>()?;
        cause.get_ref()?.downcast_ref::<RecordError>()
    });
    match of_record {
        Some(what @ (RecordError::Finished { .. } | RecordError::Surplus { .. })) => {
            anyhow!(
                "{what}: --resume computes what was changed and leaves out what is gone, \
                 --overwrite begins anew"
            )
        }
        _ if is_record => error.context(GOES_ON),
        _ => error,
    }
}
