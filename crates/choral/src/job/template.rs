//! Prompts made of a row's fields: `Summarise: {{ text }}`.
//!
//! The language is that of chat templates, in the same interpreter and with the same
//! bounds on time and memory, but strict: a name that no field has is an error, and
//! so is an attribute or an element that a value has not. `x is defined` and
//! `x | default(..)` may ask for them. A field that is null prints as nothing.

#[cfg(test)]
mod tests;

use crate::text::jinja::{DateTime, Error, Kind, OnUndefined, RenderLimits, Template};
use serde_json::Value;
use std::sync::Arc;

/// Most fields that an error names.
const MAX_NAMED_FIELDS: usize = 24;

/// A parsed template; cheap to clone and to share between threads.
#[derive(Debug, Clone)]
pub struct PromptTemplate {
    template: Template,
    variables: Vec<Arc<str>>,
    limits: RenderLimits,
}

/// A prompt template that cannot be parsed, or not be rendered for a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptTemplateError {
    /// It does not parse.
    #[error("prompt template, line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It uses something that the row does not have.
    #[error("prompt template, line {line}: {message}; {fields}")]
    Undefined {
        /// Counted from 1.
        line: usize,
        /// What there is not.
        message: String,
        /// What there is.
        fields: String,
    },
    /// It refuses the row (`raise_exception`).
    #[error("prompt template: {0}")]
    Raised(String),
    /// Rendering failed.
    #[error("prompt template, line {line}: {message}")]
    Failed {
        /// Counted from 1.
        line: usize,
        /// What went wrong.
        message: String,
    },
    /// It does more than a template may: see [`RenderLimits`].
    #[error("prompt template, line {line}: {message}")]
    Limit {
        /// Counted from 1; 0 when the template as a whole is meant.
        line: usize,
        /// The limit.
        message: String,
    },
}

impl PromptTemplate {
    /// Parses `source`.
    pub fn parse(source: &str) -> Result<Self, PromptTemplateError> {
        let template = Template::parse(source).map_err(|error| failure(error, String::new))?;
        Ok(Self {
            variables: template.free_names(),
            template,
            limits: RenderLimits::default(),
        })
    }

    /// Sets how much one render may do.
    #[must_use]
    pub fn with_limits(mut self, limits: RenderLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The fields that it uses, in the order of their first use. It may do without
    /// those that it asks for with `is defined` or `default`.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|name| &**name)
    }

    /// The prompt of a row with these fields.
    ///
    /// # Errors
    /// It uses a field that there is not, fails, or goes beyond its limits. No
    /// template makes this panic, hang or exhaust memory.
    pub fn render(&self, fields: &[(String, Value)]) -> Result<String, PromptTemplateError> {
        // The others may be long, and are of no use to it.
        let is_used = |name: &str| self.variables.iter().any(|used| **used == *name);
        let used = fields.iter().filter(|(name, _)| is_used(name));
        let used = used.map(|(name, value)| (name.as_str(), value));
        let now = DateTime::now_utc();
        let rendered = self
            .template
            .render_with(used, now, self.limits, OnUndefined::Fail);
        rendered.map_err(|error| failure(error, || list(fields)))
    }
}

fn failure(error: Error, fields: impl FnOnce() -> String) -> PromptTemplateError {
    let Error {
        kind,
        message,
        line,
    } = error;
    match kind {
        Kind::Syntax => PromptTemplateError::Syntax { line, message },
        Kind::Raised => PromptTemplateError::Raised(message),
        Kind::Limit => PromptTemplateError::Limit { line, message },
        Kind::Undefined => PromptTemplateError::Undefined {
            line,
            message,
            fields: fields(),
        },
        Kind::Type | Kind::Security => PromptTemplateError::Failed { line, message },
    }
}

fn list(fields: &[(String, Value)]) -> String {
    let names = fields.iter().take(MAX_NAMED_FIELDS);
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    match fields.len() - names.len() {
        _ if fields.is_empty() => "the row has no fields".to_owned(),
        0 => format!("the row's fields are {}", names.join(", ")),
        rest => format!("the row's fields are {} and {rest} more", names.join(", ")),
    }
}
