//! The files of a batch: what may be read, and what may be written over.

#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result, bail};
use choral::job::table::CsvOptions;
use choral::job::{FileFormat, InputFormat, side_files};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

/// Counting the rows of a larger file would take longer than the estimate of the
/// time left is worth.
const MAX_COUNTED_BYTES: u64 = 1 << 30;

/// An opened file of prompts.
pub(in crate::cmd) struct Input {
    pub(in crate::cmd) reader: Box<dyn BufRead + Send>,
    pub(in crate::cmd) format: InputFormat,
    /// Neither an option nor the name said so: the content looked like it.
    pub(in crate::cmd) is_format_guessed: bool,
    /// Rows in it, if they could be counted.
    pub(in crate::cmd) num_rows: Option<u64>,
}

impl Input {
    /// Opens `path`, or standard input for `-`. The format is the one that is given,
    /// or that of the name, or that of the first bytes.
    pub(in crate::cmd) fn open(path: &Path, format: Option<InputFormat>) -> Result<Self> {
        let named = format.or_else(|| format_of_name(path));
        let is_json_by_name = named.is_none() && has_extension(path, &["json"]);
        let opened = || -> Result<Self> {
            let (mut reader, num_rows): (Box<dyn BufRead + Send>, _) = if is_stdio(path) {
                (Box::new(BufReader::new(io::stdin())), None)
            } else {
                let mut file = File::open(path)?;
                let num_rows = count_rows(&mut file)?;
                (Box::new(BufReader::new(file)), num_rows)
            };
            let format = match named {
                Some(format) => format,
                None => InputFormat::sniff(reader.fill_buf()?)
                    .filter(|_| !is_json_by_name)
                    .context(
                        "expected a prompt or a JSON object on each line, found one JSON document; \
                         `jq -c '.[]'` makes lines of an array, and --input-format jsonl or txt \
                         reads the lines as they are",
                    )?,
            };
            Ok(Self {
                reader,
                format,
                is_format_guessed: named.is_none(),
                num_rows,
            })
        };
        opened().with_context(|| format!("cannot read the input `{}`", path.display()))
    }
}

/// The files that `patterns` name: paths, `-`, or patterns with `*`, `?` and `[...]`,
/// whose files come in the order of their names.
///
/// Patterns leave out `output` and what a job makes beside it, so that they mean the same
/// when the job is run again.
pub(in crate::cmd) fn expand(patterns: &[PathBuf], output: &Path) -> Result<Vec<PathBuf>> {
    let ours = ours(output);
    let mut paths = Vec::new();
    for pattern in patterns {
        let text = pattern.to_string_lossy();
        // What is there by that very name is meant.
        if is_stdio(pattern) || pattern.exists() || !text.contains(['*', '?', '[']) {
            paths.push(pattern.clone());
            continue;
        }
        let before = paths.len();
        let found = glob::glob(&text).with_context(|| format!("the pattern `{text}`"))?;
        for path in found {
            let path = path.with_context(|| format!("the pattern `{text}`"))?;
            if path.is_file() && !ours.iter().any(|our| is_same_file(our, &path)) {
                paths.push(path);
            }
        }
        if paths.len() == before {
            bail!("no file is called `{text}`");
        }
    }
    Ok(paths)
}

/// An opened file for answers.
pub(in crate::cmd) struct Output {
    pub(in crate::cmd) writer: Box<dyn Write>,
    pub(in crate::cmd) is_terminal: bool,
}

impl Output {
    /// Opens `path`, or standard output for `-`.
    pub(in crate::cmd) fn open(path: &Path, may_overwrite: bool) -> Result<Self> {
        if is_stdio(path) {
            let stdout = io::stdout();
            return Ok(Self {
                is_terminal: stdout.is_terminal(),
                writer: Box::new(BufWriter::new(stdout)),
            });
        }
        let mut options = OpenOptions::new();
        options.write(true);
        // Not `create_new` for what is no file, such as /dev/null or a pipe.
        if may_overwrite || is_special(path) {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let file = options
            .open(path)
            .with_context(|| format!("cannot write the output `{}`", path.display()))?;
        Ok(Self {
            is_terminal: file.is_terminal(),
            writer: Box::new(BufWriter::new(file)),
        })
    }
}

/// The output and all that a job makes beside it.
fn ours(output: &Path) -> Vec<PathBuf> {
    if is_stream(output) {
        return Vec::new();
    }
    let mut ours = side_files(output);
    ours.push(output.to_owned());
    // Of an output that is no file of lines, the record.
    let mut record = output.components().collect::<PathBuf>().into_os_string();
    record.push(".records.jsonl");
    let record = PathBuf::from(record);
    ours.extend(side_files(&record));
    ours.push(record);
    ours
}

/// Refuses inputs that a job on `output` would write to.
pub(in crate::cmd) fn check_side_files(output: &Path, input: &Path) -> Result<()> {
    let name = |path: &Path| path.components().collect::<PathBuf>();
    for our in ours(output) {
        if our != output && (is_same_file(&our, input) || name(&our) == name(input)) {
            bail!(
                "`{}` is a file that the job makes beside its output, and an input",
                input.display()
            );
        }
    }
    Ok(())
}

/// Refuses an output that would destroy something, before any work is done.
pub(in crate::cmd) fn check_output(output: &Path, input: &Path, may_overwrite: bool) -> Result<()> {
    if is_stdio(output) || is_special(output) {
        return Ok(());
    }
    let shown = output.display();
    if output.is_dir() {
        bail!("the output `{shown}` is a folder, expected a file");
    }
    if output.exists() {
        if !is_stdio(input) && is_same_file(output, input) {
            bail!("the output `{shown}` is the input");
        }
        if !may_overwrite {
            bail!("the output `{shown}` exists: --overwrite replaces it");
        }
    }
    match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            bail!("the output's folder `{}` does not exist", folder.display())
        }
        _ => Ok(()),
    }
}

/// Whether the output is that of a job, which may go on there.
pub(in crate::cmd) fn has_journal(output: &Path) -> bool {
    let mut journal = output.as_os_str().to_owned();
    journal.push(".journal");
    Path::new(&journal).is_file()
}

fn is_stdio(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether answers can only be streamed there: they are not kept for another run.
pub(in crate::cmd) fn is_stream(path: &Path) -> bool {
    is_stdio(path) || is_special(path)
}

fn is_special(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

pub(in crate::cmd) fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Which table a name stands for.
pub(in crate::cmd) fn table_of_name(path: &Path) -> Option<FileFormat> {
    if has_extension(path, &["csv"]) {
        Some(FileFormat::Csv(CsvOptions::CSV))
    } else if has_extension(path, &["tsv"]) {
        Some(FileFormat::Csv(CsvOptions::TSV))
    } else if has_extension(path, &["parquet", "pq"]) {
        Some(FileFormat::Parquet)
    } else {
        None
    }
}

fn format_of_name(path: &Path) -> Option<InputFormat> {
    if has_extension(path, &["txt", "text"]) {
        Some(InputFormat::Text)
    } else if has_extension(path, &["jsonl", "ndjson"]) {
        Some(InputFormat::Jsonl)
    } else {
        None
    }
}

fn has_extension(path: &Path, names: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default();
    names
        .iter()
        .any(|name| extension.eq_ignore_ascii_case(name))
}

/// Counts the lines of a file that are not blank, and goes back to its beginning.
fn count_rows(file: &mut File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_COUNTED_BYTES {
        return Ok(None);
    }
    let num_rows = count_lines(&mut *file)?;
    file.rewind()?;
    Ok(Some(num_rows))
}

fn count_lines(mut reader: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut num_lines = 0;
    let mut has_content = false;
    loop {
        let num_read = reader.read(&mut buffer)?;
        if num_read == 0 {
            return Ok(num_lines + u64::from(has_content));
        }
        for &byte in &buffer[..num_read] {
            if byte == b'\n' {
                num_lines += u64::from(has_content);
                has_content = false;
            } else {
                has_content |= !byte.is_ascii_whitespace();
            }
        }
    }
}
