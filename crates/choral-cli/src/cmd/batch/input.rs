//! Finds out what the input is, before a model is loaded.

use super::{Args, files, tell};
use anyhow::{Context as _, Result};
use choral::job::table::ParquetRows;
use choral::job::{FileFormat, FileSource, InputFile, InputFormat, Inputs};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read as _};
use std::path::{Path, PathBuf};

/// The path of OpenAI's API for embeddings.
const ENDPOINT_EMBEDDINGS: &str = "/v1/embeddings";

/// A longer first line is no row anyway.
const MAX_FIRST_BYTES: u64 = 16 << 20;

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
        let mut guessed = Guessed::default();
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
                Some(FileFormat::Lines(lines)) => {
                    self.open_lines(path, Some(lines), &mut facts, &mut guessed)?
                }
                None => self.open_lines(path, None, &mut facts, &mut guessed)?,
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
        facts.is_format_guessed = guessed.is_any();
        if !self.quiet {
            guessed.tell(paths.len());
        }
        Ok((Inputs::new(inputs), facts))
    }

    fn open_lines(
        &self,
        path: &Path,
        format: Option<InputFormat>,
        facts: &mut Facts,
        guessed: &mut Guessed,
    ) -> Result<Opened> {
        let mut input = files::Input::open(path, format)?;
        let is_template = self.prompt_template.is_some() || self.prompt_template_file.is_some();
        if facts.num_rows == Some(0) && !is_template {
            let (is_embeddings, reader) = asks_for_embeddings(input.reader, input.format)
                .with_context(|| format!("cannot read the input `{}`", path.display()))?;
            facts.is_embeddings = is_embeddings;
            input.reader = reader;
        }
        if input.format == InputFormat::Text {
            self.template_needs_chat()?;
        }
        if input.is_format_guessed {
            guessed.add(input.format, path);
        }
        let reader = files::is_stream(path).then_some(input.reader);
        Ok(Opened {
            format: FileFormat::Lines(input.format),
            num_rows: input.num_rows,
            reader,
        })
    }

    /// Refuses a chat template where nothing is a chat. A service makes chats of prompts
    /// by itself.
    fn template_needs_chat(&self) -> Result<()> {
        if !self.chat && self.provider.provider.is_none() {
            self.template.refuse("--chat")?;
        }
        Ok(())
    }
}

/// Files whose content looked like what they are read as: how many, and the first.
#[derive(Default)]
struct Guessed {
    text: (usize, PathBuf),
    json: (usize, PathBuf),
}

impl Guessed {
    fn add(&mut self, format: InputFormat, path: &Path) {
        let (count, first) = match format {
            InputFormat::Text => &mut self.text,
            InputFormat::Jsonl => &mut self.json,
        };
        if *count == 0 {
            path.clone_into(first);
        }
        *count += 1;
    }

    fn is_any(&self) -> bool {
        self.text.0 + self.json.0 > 0
    }

    /// Says so, once for all of the `num_files`.
    fn tell(&self, num_files: usize) {
        for ((count, first), what) in [(&self.text, "a prompt"), (&self.json, "JSON")] {
            let of = match count {
                0 => continue,
                1 if num_files == 1 => "the input".to_owned(),
                1 => format!("`{}`", first.display()),
                _ => format!("{count} files, such as `{}`,", first.display()),
            };
            tell(&format!(
                "each line of {of} is read as {what} (--input-format)"
            ));
        }
    }
}

type Reader = Box<dyn BufRead + Send>;

/// Whether the first row is a request for embeddings, of OpenAI's batch format. The
/// reader that comes back has not read it.
fn asks_for_embeddings(mut reader: Reader, format: InputFormat) -> io::Result<(bool, Reader)> {
    /// Of a line, what is looked at.
    #[derive(Deserialize)]
    struct Request {
        url: String,
    }

    if format != InputFormat::Jsonl {
        return Ok((false, reader));
    }
    let mut bytes = Vec::new();
    let mut begin = 0;
    let mut left = MAX_FIRST_BYTES;
    while bytes[begin..].trim_ascii().is_empty() {
        begin = bytes.len();
        let num_read = reader.by_ref().take(left).read_until(b'\n', &mut bytes)?;
        if num_read == 0 {
            break;
        }
        left -= num_read as u64;
    }
    let first = &bytes[begin..];
    let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first);
    let request = serde_json::from_slice::<Request>(first);
    let is_embeddings = request.is_ok_and(|request| request.url == ENDPOINT_EMBEDDINGS);
    Ok((is_embeddings, Box::new(Cursor::new(bytes).chain(reader))))
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
