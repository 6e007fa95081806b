//! Lines in, mostly JSON; JSON lines out.
//!
//! Owns limits on what is read and the place that an error names. Knows nothing
//! of what the lines mean.

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;

/// Longest line that is read. A million logits in base64 take 5 MB.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// The lines of a file or of stdin; empty ones are skipped.
pub(crate) struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    number: usize,
    line: Vec<u8>,
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
            reader,
            name: if stdin {
                "stdin".into()
            } else {
                path.display().to_string()
            },
            number: 0,
            line: Vec::new(),
        })
    }

    /// The value on the next line that is not empty; none at the end.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        while self.read()? {
            if !self.line.trim_ascii().is_empty() {
                let value = serde_json::from_slice(&self.line);
                return value.map(Some).with_context(|| self.place());
            }
        }
        Ok(None)
    }

    /// The next line that is not empty, as it is; none at the end.
    pub(crate) fn next_text(&mut self) -> Result<Option<String>> {
        while self.read()? {
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                let text = String::from_utf8(line.to_vec());
                return text.map(Some).with_context(|| self.place());
            }
        }
        Ok(None)
    }

    /// Reads a line; false at the end.
    fn read(&mut self) -> Result<bool> {
        self.line.clear();
        self.number += 1;
        let mut limited = (&mut self.reader).take(MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.with_context(|| self.place())?;
        if self.line.len() as u64 == MAX_LINE_BYTES && self.line.last() != Some(&b'\n') {
            bail!("{}: longer than {MAX_LINE_BYTES} bytes", self.place());
        }
        Ok(read > 0)
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
