//! What a repository is called, and which of its files are meant.

use super::FetchError;
use std::fmt;
use std::str::FromStr;

/// Longest name that the hub allows.
const MOST_BYTES: usize = 96;

/// The branch unless one is named.
const MAIN: &str = "main";

/// A model repository, and what is wanted of it: `ORG/NAME[@REVISION][:QUANT]`.
///
/// Its parts are safe to make paths and addresses of: [`Repo::from_str`] refuses
/// everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    id: String,
    revision: Option<String>,
    quant: Option<String>,
    file: Option<String>,
}

impl Repo {
    /// Wants this file of the repository, whatever the quantisation. One part of a
    /// split model stands for all of them.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// `ORG/NAME`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The quantisation, if one was named.
    pub fn quant(&self) -> Option<&str> {
        self.quant.as_deref()
    }

    pub(super) fn wanted_file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(quant) = &self.quant {
            write!(f, ":{quant}")?;
        }
        Ok(())
    }
}

impl FromStr for Repo {
    type Err = FetchError;

    fn from_str(text: &str) -> Result<Self, FetchError> {
        let wrong = |reason| FetchError::Name {
            text: text.to_owned(),
            reason,
        };
        let (rest, quant) = split(text, ':');
        let (id, revision) = split(rest, '@');
        if id.len() > MOST_BYTES {
            return Err(wrong("too long"));
        }
        if id.split('/').count() > 2 || !id.split('/').all(is_segment) {
            return Err(wrong("letters, digits, `-`, `_` and `.`, and one `/`"));
        }
        if revision.is_some_and(|text| !text.split('/').all(is_segment)) {
            return Err(wrong("the revision is a branch, tag or commit"));
        }
        if quant.is_some_and(|text| !is_segment(text)) {
            return Err(wrong("the quantisation is a name such as Q4_K_M"));
        }
        Ok(Self {
            id: id.to_owned(),
            revision: revision.map(Into::into),
            quant: quant.map(Into::into),
            file: None,
        })
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((left, right)) => (left, Some(right)),
        None => (text, None),
    }
}

/// A name that is one folder's, and neither hidden nor a way up.
fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(allowed)
}
