//! Finds out what the input is, before a model is loaded.

use super::{Args, files, tell};
use anyhow::{Context as _, Result};
use choral::job::table::ParquetRows;
use choral::job::{FileFormat, FileSource, InputFile, InputFormat, Inputs};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The path of OpenAI's API for embeddings.
const ENDPOINT_EMBEDDINGS: &str = "/v1/embeddings";

/// What is known of the input before it is read.
pub(super) struct Facts {
    pub(super) num_rows: Option<u64>,
    pub(super) is_format_guessed: bool,
    pub(super) is_quiet: bool,
    /// All rows are of Parquet files.
    pub(super) is_parquet: bool,
    /// The first row asks for an embedding, in OpenAI's format.
    pub(super) is_embeddings: bool,
}

/// One file of it.
struct Opened {
    format: FileFormat,
    /// If that is known.
    num_rows: Option<u64>,
    /// If it can be opened only once.
    reader: Option<Box<dyn BufRead + Send>>,
}

impl Args {
    /// The files of rows. Formats are found out now, so that what is no file of rows is
    /// refused before a model is loaded.
    pub(super) fn open_inputs(&self, paths: &[PathBuf]) -> Result<(Inputs, Facts)> {
        let mut facts = Facts {
            num_rows: Some(0),
            is_format_guessed: false,
            is_quiet: self.quiet,
            is_parquet: true,
            is_embeddings: false,
        };
        let mut inputs = Vec::new();
        for path in paths {
            let given = self.input_format.map(FileFormat::from);
            let format = given.or_else(|| files::table_of_name(path));
            let Opened {
                format,
                num_rows,
                reader,
            } = match format {
                Some(table @ (FileFormat::Csv(_) | FileFormat::Parquet)) => {
                    self.template_needs_chat()?;
                    Opened {
                        format: table,
                        num_rows: table_rows(table, path)?,
                        reader: None,
                    }
                }
                Some(FileFormat::Lines(lines)) => self.open_lines(path, Some(lines), &mut facts)?,
                None => self.open_lines(path, None, &mut facts)?,
            };
            facts.is_parquet &= format == FileFormat::Parquet;
            facts.num_rows = facts.num_rows.zip(num_rows).map(|(a, b)| a + b);
            // Which rows are a shard's is known when they are read.
            facts.num_rows = facts.num_rows.filter(|_| self.shard.is_none());
            inputs.push(InputFile {
                name: path.display().to_string(),
                format,
                // Thousands of files are not open at a time.
                source: match reader {
                    Some(reader) => FileSource::Reader(reader),
                    None if files::is_stream(path) => {
                        FileSource::Reader(Box::new(BufReader::new(io::stdin())))
                    }
                    None => FileSource::Path(path.clone()),
                },
            });
        }
        Ok((Inputs::new(inputs), facts))
    }

    fn open_lines(
        &self,
        path: &Path,
        format: Option<InputFormat>,
        facts: &mut Facts,
    ) -> Result<Opened> {
        let mut input = files::Input::open(path, format)?;
        if facts.num_rows == Some(0) && asks_for_embeddings(&mut input)? {
            facts.is_embeddings = true;
        }
        if input.format == InputFormat::Text {
            self.template_needs_chat()?;
        }
        if input.is_format_guessed && !self.quiet {
            tell(match input.format {
                InputFormat::Text => "each line of the input is read as a prompt (--input-format)",
                InputFormat::Jsonl => "each line of the input is read as JSON (--input-format)",
            });
        }
        facts.is_format_guessed |= input.is_format_guessed;
        let reader = files::is_stream(path).then_some(input.reader);
        Ok(Opened {
            format: FileFormat::Lines(input.format),
            num_rows: input.num_rows,
            reader,
        })
    }

    /// Refuses a chat template where nothing is a chat.
    fn template_needs_chat(&self) -> Result<()> {
        if !self.chat {
            self.template.refuse("--chat")?;
        }
        Ok(())
    }
}

/// Whether the first line is a request for embeddings, of OpenAI's batch format. It
/// stays unread.
fn asks_for_embeddings(input: &mut files::Input) -> Result<bool> {
    if input.format != InputFormat::Jsonl {
        return Ok(false);
    }
    let bytes = input.reader.fill_buf().context("cannot read the input")?;
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
    // A line may be longer than what is in the buffer, which has its beginning; there
    // is the `url`, for everybody writes `body` last.
    let first = String::from_utf8_lossy(first);
    let head = first.split("\"body\"").next().unwrap_or_default();
    Ok(head.contains("\"url\"") && head.contains(ENDPOINT_EMBEDDINGS))
}

/// How many rows a table has, if that is written in it.
fn table_rows(format: FileFormat, path: &Path) -> Result<Option<u64>> {
    if files::is_stream(path) {
        anyhow::ensure!(
            format != FileFormat::Parquet,
            "a Parquet file is read from its end, so that it cannot be a stream"
        );
        return Ok(None);
    }
    let opened = || -> Result<Option<u64>> {
        let file = File::open(path)?;
        Ok(match format {
            FileFormat::Parquet => Some(ParquetRows::open(file)?.num_rows()),
            _ => None,
        })
    };
    opened().with_context(|| format!("cannot read the input `{}`", path.display()))
}
