//! Keys, and keeping them out of everything that is written down.

use choral::provider::{ErrorKind, GenerateError};
use std::fmt;
use std::path::Path;

/// Shorter ones are placeholders ("none", "ollama"), which occur in honest text.
const LEAST_SCRUBBED: usize = 8;

/// Longest key file that is read, in bytes.
const MAX_KEY_FILE: u64 = 64 << 10;

/// A key. It has no `Display`, and its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// Takes a key; white space around it is no part of it.
    ///
    /// # Errors
    /// If it is empty, or holds what no HTTP header may.
    pub fn new(key: &str) -> Result<Self, GenerateError> {
        let key = key.trim();
        let is_header = key.bytes().all(|byte| (0x21..0x7f).contains(&byte));
        if key.is_empty() || !is_header {
            let message = "a key is empty, or has characters that no header may have";
            return Err(GenerateError::new(ErrorKind::Config, message));
        }
        Ok(Self(key.to_owned()))
    }

    /// Reads a key from a file.
    ///
    /// # Errors
    /// If it cannot be read, or holds no key.
    pub fn from_file(path: &Path) -> Result<Self, GenerateError> {
        let refuse = |problem: String| {
            let message = format!("key file {}: {problem}", path.display());
            GenerateError::new(ErrorKind::Config, message)
        };
        let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
        if size.len() > MAX_KEY_FILE {
            return Err(refuse(format!(
                "{} bytes, expected at most {MAX_KEY_FILE}",
                size.len()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        Self::new(&text).map_err(|error| refuse(error.message().to_owned()))
    }

    /// Reads a key from the environment: from `name`, or from the file that `name_FILE`
    /// names.
    ///
    /// # Errors
    /// If there is something that is no key.
    pub fn from_env(name: &str) -> Result<Option<Self>, GenerateError> {
        let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(key) = value(name) {
            let in_variable = |error: GenerateError| {
                let message = format!("{name}: {}", error.message());
                GenerateError::new(ErrorKind::Config, message)
            };
            return Self::new(&key).map(Some).map_err(in_variable);
        }
        let file = value(&format!("{name}_FILE"));
        file.map(|file| Self::from_file(Path::new(&file)))
            .transpose()
    }

    /// Whatever may be secret, whether or not a header may have it.
    pub(crate) fn of_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The key itself, for the header that carries it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` without the key.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.len() < LEAST_SCRUBBED {
            return text.to_owned();
        }
        text.replace(&self.0, "***")
    }
}

/// `text` without any of the keys; the longest first, since one may be a part of another.
pub(crate) fn scrub(secrets: &[Secret], text: &str) -> String {
    let scrubbed = |text: String, secret: &Secret| secret.scrub(&text);
    secrets.iter().fold(text.to_owned(), scrubbed)
}
