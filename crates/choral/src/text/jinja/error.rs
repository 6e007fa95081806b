//! What can go wrong while a template is parsed or rendered.

use std::fmt;

/// The family of a failure, named after the Python exception that the
/// reference engine raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The template does not parse.
    Syntax,
    /// The template called `raise_exception`.
    Raised,
    /// An undefined value was used.
    Undefined,
    /// A value of the wrong type, range or shape was used.
    Type,
    /// Something that a sandboxed template may not do.
    Security,
    /// A bound on work, memory or nesting was reached.
    Limit,
}

/// One failure, with the line of the template where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// Counted from 1; 0 until a statement has claimed the error.
    pub(crate) line: usize,
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            line: 0,
        }
    }

    pub(crate) fn syntax(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            ..Self::new(Kind::Syntax, message)
        }
    }

    pub(crate) fn raised(message: impl Into<String>) -> Self {
        Self::new(Kind::Raised, message)
    }

    pub(crate) fn undefined(message: impl Into<String>) -> Self {
        Self::new(Kind::Undefined, message)
    }

    pub(crate) fn type_error(message: impl Into<String>) -> Self {
        Self::new(Kind::Type, message)
    }

    pub(crate) fn security(message: impl Into<String>) -> Self {
        Self::new(Kind::Security, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(Kind::Limit, message)
    }

    /// Names the line, unless a statement further inside already did.
    pub(crate) fn at(mut self, line: usize) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
