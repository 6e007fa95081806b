//! `choral export`: answers as tables and documents.

use super::batch::files::is_same_file;
use crate::message::Usage;
use crate::output::terminal::tell;
use anyhow::{Result, bail};
use choral::job::export::{
    ExportError, ExportFormat, ExportOptions, ExportSummary, RecordFiles, append_to_parquet, export,
};
use clap::ValueEnum;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is written, for `--help`.
const COLUMNS: &str = "\
Inputs are outputs of `choral batch`, in its own form or OpenAI's; they are read twice.

Tables have a row for each answer, and one for each record without answers. Columns of the \
batch's input come first, if the answers carry them (\"fields\"); then custom_id, row, index (only \
if a record has several answers), text, tool_calls (only if there are any), finish_reason, \
prompt_tokens, completion_tokens, error_code and error_message. Where a column of the input has one \
of these names, the answers' gets _answer behind it. Token ids, log-probabilities and timings stay \
behind.

A folder has a text file for each answer, named by custom_id (what file systems do not allow \
becomes _), or else by row; an error goes to NAME.error.txt.

Nothing has the output's name until it is complete.";

/// Write the answers of a batch as CSV, Parquet, Markdown or text files
#[derive(Debug, clap::Args)]
#[command(after_long_help = COLUMNS)]
pub(crate) struct Args {
    /// Answers, as `choral batch` or OpenAI write them
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// File or folder to write
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// What to write [default: by the output's name: .csv, .tsv, .parquet, .md; without an ending, a
    /// folder]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Put the answers beside the columns of these Parquet files, the batch's input; there must be
    /// an answer for each row, in order
    #[arg(long, value_name = "FILE", num_args = 1..)]
    columns_from: Vec<PathBuf>,
    /// Replace the output if it exists
    #[arg(long)]
    overwrite: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each answer
    Csv,
    /// The same with tabulators
    Tsv,
    /// An Arrow table
    Parquet,
    /// A section for each record
    #[value(name = "md", alias = "markdown")]
    Markdown,
    /// A folder with a text file for each answer
    #[value(name = "txt", aliases = ["text", "folder"])]
    Folder,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::Tsv => Self::Tsv,
            Format::Parquet => Self::Parquet,
            Format::Markdown => Self::Markdown,
            Format::Folder => Self::Folder,
        }
    }
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let format = format(&args)?;
    for input in args.inputs.iter().chain(&args.columns_from) {
        if is_same_file(input, &args.output) {
            bail!("the output `{}` is an input", args.output.display());
        }
    }
    let options = ExportOptions {
        overwrite: args.overwrite,
    };
    let records = RecordFiles::new(args.inputs);
    let exported = if args.columns_from.is_empty() {
        export(&records, format, &args.output, options)
    } else {
        append_to_parquet(&args.columns_from, &records, &args.output, options)
    };
    let summary = match exported {
        Ok(summary) => summary,
        Err(error @ ExportError::Exists { .. }) => bail!("{error}: --overwrite replaces it"),
        Err(error) => return Err(error.into()),
    };
    if !args.quiet {
        tell(&told(&summary, format));
    }
    Ok(ExitCode::SUCCESS)
}

fn format(args: &Args) -> Result<ExportFormat> {
    let named = ExportFormat::of_path(&args.output);
    let format = args.format.map(ExportFormat::from).or(named);
    let Some(format) = format else {
        return Err(Usage::new(format_args!(
            "the format of `{}` is not known by its name: say --format",
            args.output.display()
        ))
        .into());
    };
    if !args.columns_from.is_empty() && format != ExportFormat::Parquet {
        let message = "--columns-from writes Parquet, the output's format is another";
        return Err(Usage::new(message).into());
    }
    Ok(format)
}

fn told(summary: &ExportSummary, format: ExportFormat) -> String {
    let unit = match format {
        ExportFormat::Markdown => "sections",
        ExportFormat::Folder => "files",
        _ => "rows",
    };
    let failed = match summary.num_failed {
        0 => String::new(),
        num_failed => format!(", {num_failed} records in error"),
    };
    format!(
        "{} records, {} {unit} written{failed}",
        summary.num_records, summary.num_written
    )
}
