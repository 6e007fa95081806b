//! Text that a command works on: from an option, a file or stdin.

use anyhow::{Context as _, Result, bail, ensure};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of text that are read at once.
const MAX_BYTES: u64 = 1 << 30;

/// Where the text comes from; stdin, if nothing is said.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TextInput {
    /// The text itself
    #[arg(
        short,
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "file"
    )]
    prompt: Option<String>,
    /// A file that holds the text (- for stdin)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TextInput {
    /// The text, byte for byte.
    pub(crate) fn read(self) -> Result<String> {
        match (self.prompt, self.file) {
            (Some(text), _) => Ok(text),
            (None, file) => read(&file.unwrap_or_else(|| "-".into())),
        }
    }

    /// Whether a text was given on the command line.
    pub(crate) fn has_prompt(&self) -> bool {
        self.prompt.is_some()
    }

    /// The file, or `-`.
    pub(crate) fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new("-"))
    }
}

/// A file's text, or stdin's for `-`.
pub(crate) fn read(path: &Path) -> Result<String> {
    let (name, text) = if path.as_os_str() == "-" {
        ("stdin".to_owned(), limited(std::io::stdin().lock()))
    } else {
        let file = File::open(path).map_err(Into::into);
        (path.display().to_string(), file.and_then(limited))
    };
    text.context(name)
}

/// The prompt in a file, or stdin's for `-`. The line feed that editors leave at the end is
/// not meant.
pub(crate) fn read_prompt(path: &Path) -> Result<String> {
    let text = read(path)?;
    let line = text.strip_suffix('\n');
    let line = line.map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

fn limited(reader: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "more than {MAX_BYTES} bytes"
    );
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            bail!("not UTF-8: byte {at} is no part of a character")
        }
    }
}
