//! An error and its causes as one line.

use std::fmt;

/// The command line makes no sense, whatever the model and the files.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What `{error:#}` gives, without the causes that a message has told already:
/// some libraries put a cause into their own message, and some do not.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::message;
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_cause_is_told_once() {
        let cause = || Error::new(ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::new(cause()).context("config.json");
        assert_eq!(message(&error), "config.json: no such file");
        let error = anyhow::Error::new(cause()).context("config.json: no such file");
        assert_eq!(
            message(&error.context("model")),
            "model: config.json: no such file"
        );
    }
}
