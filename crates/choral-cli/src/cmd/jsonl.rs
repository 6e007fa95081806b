//! Lines in, mostly JSON; JSON lines out.
//!
//! Owns a limit on what is read and the place that an error names. Knows nothing
//! of what the lines mean; what a line is, the library's job reader says.

use anyhow::{Context as _, Result};
use choral::job;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

/// Longest line that is read. A row of logits in base64 is far longer than a prompt:
/// a million of them take 5 MB.
const MAX_LINE_BYTES: usize = 256 << 20;

/// The lines of a file or of stdin; empty ones are skipped.
pub(crate) struct Lines {
    source: job::Lines<Box<dyn BufRead>>,
    name: String,
    number: u64,
}

impl Lines {
    /// Opens a file, or stdin for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let stdin = path.as_os_str() == "-";
        let reader: Box<dyn BufRead> = if stdin {
            Box::new(std::io::stdin().lock())
        } else {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            Box::new(BufReader::new(file))
        };
        Ok(Self {
            source: job::Lines::with_limit(reader, MAX_LINE_BYTES),
            name: if stdin {
                "stdin".into()
            } else {
                path.display().to_string()
            },
            number: 0,
        })
    }

    /// The value on the next line that is not empty; none at the end.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        while let Some(line) = self.read()? {
            if !line.trim().is_empty() {
                let value = serde_json::from_str(&line);
                return value.map(Some).with_context(|| self.place());
            }
        }
        Ok(None)
    }

    /// The next line that is not empty, as it is; none at the end.
    pub(crate) fn next_text(&mut self) -> Result<Option<String>> {
        while let Some(line) = self.read()? {
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<String>> {
        self.number += 1;
        let line = self.source.next().transpose();
        let Some(line) = line.with_context(|| self.place())? else {
            return Ok(None);
        };
        line.text.map(Some).with_context(|| self.place())
    }

    /// Whether a line has been read.
    pub(crate) fn has_begun(&self) -> bool {
        self.number > 0
    }

    /// Where the last line came from, for messages: `stdin: line 3`.
    pub(crate) fn place(&self) -> String {
        format!("{}: line {}", self.name, self.number)
    }
}

/// Writes one line to stdout, at once: a caller may wait for it before it sends
/// the next.
pub(crate) fn print(value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    Ok(stdout.flush()?)
}
