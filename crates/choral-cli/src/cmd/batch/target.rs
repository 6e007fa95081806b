//! What the output is written as. Lines are the record itself; anything else is made of
//! the record when the job has come to its end.

use super::files;
use crate::message::Usage;
use anyhow::{Context as _, Result, bail};
use choral::job::export::{ExportFormat, ExportOptions, RecordFiles, append_to_parquet, export};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// A JSON object a line
    #[value(alias = "json")]
    Jsonl,
    /// Comma-separated values
    Csv,
    /// Values separated by tabulators
    Tsv,
    /// An Arrow table
    Parquet,
    /// A document with a section for each row
    #[value(alias = "markdown")]
    Md,
    /// A folder with a text file for each answer
    Folder,
}

/// Where answers go.
pub(super) struct Target {
    /// The file of lines that is kept while the job runs, and after it.
    pub(super) record: PathBuf,
    /// What is made of it, if not the same.
    export: Option<(ExportFormat, PathBuf)>,
}

impl Target {
    /// The output's format is the one that is given, or that of its name.
    pub(super) fn new(output: &Path, format: Option<OutputFormat>) -> Result<Self> {
        let named = || match ExportFormat::of_path(output) {
            // Without an ending it is a file of lines, unless it is a folder by its slash.
            Some(ExportFormat::Folder) => {
                let text = output.as_os_str().to_string_lossy();
                text.ends_with('/').then_some(ExportFormat::Folder)
            }
            format => format,
        };
        let format = match format {
            None if files::is_stream(output) => None,
            None => named(),
            Some(OutputFormat::Jsonl) => None,
            Some(OutputFormat::Csv) => Some(ExportFormat::Csv),
            Some(OutputFormat::Tsv) => Some(ExportFormat::Tsv),
            Some(OutputFormat::Parquet) => Some(ExportFormat::Parquet),
            Some(OutputFormat::Md) => Some(ExportFormat::Markdown),
            Some(OutputFormat::Folder) => Some(ExportFormat::Folder),
        };
        let Some(format) = format else {
            return Ok(Self {
                record: output.to_owned(),
                export: None,
            });
        };
        if files::is_stream(output) {
            let message = "only lines of JSON can be written to a stream: name a file (--output)";
            return Err(Usage::new(message).into());
        }
        // Without a slash at its end.
        let output: PathBuf = output.components().collect();
        let mut record = output.clone().into_os_string();
        record.push(".records.jsonl");
        Ok(Self {
            record: record.into(),
            export: Some((format, output)),
        })
    }

    /// Refuses to write over what is not this job's.
    pub(super) fn check(&self, inputs: &[PathBuf], may_overwrite: bool) -> Result<()> {
        let may_write = may_overwrite || files::has_journal(&self.record);
        for input in inputs {
            files::check_side_files(&self.record, input)?;
            files::check_output(&self.record, input, may_write)?;
        }
        if let Some((_, output)) = &self.export
            && output.exists()
        {
            let shown = output.display();
            for input in inputs {
                if files::is_same_file(output, input) {
                    bail!("the output `{shown}` is the input");
                }
            }
            if !may_write {
                bail!("the output `{shown}` exists: --overwrite replaces it");
            }
        }
        Ok(())
    }

    /// Makes the output of the record. Where prompts came from Parquet files
    /// (`parquet`), a table has their columns as they are there.
    pub(super) fn write(&self, parquet: Option<&[PathBuf]>) -> Result<()> {
        let Some((format, output)) = &self.export else {
            return Ok(());
        };
        let records = RecordFiles::new(vec![self.record.clone()]);
        // What was there is an earlier output of this job, or may go.
        let options = ExportOptions { overwrite: true };
        let written = match (format, parquet) {
            (ExportFormat::Parquet, Some(inputs)) => {
                append_to_parquet(inputs, &records, output, options)
            }
            _ => export(&records, *format, output, options),
        };
        written.with_context(|| {
            format!(
                "cannot write `{}`; the answers are in `{}`, and the same command tries again",
                output.display(),
                self.record.display()
            )
        })?;
        Ok(())
    }
}
