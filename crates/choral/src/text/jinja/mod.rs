//! A Jinja interpreter for chat templates.
//!
//! Chat templates come with model files, from strangers. They were written for
//! jinja2 under Python, as transformers sets it up: an immutable sandbox, with
//! `trim_blocks`, `lstrip_blocks`, loop controls and a `tojson` of its own.
//! This module gives the same text, byte for byte, and bounds the time, the
//! memory and the stack that a template can take.
//!
//! It is an interpreter of our own because no bound holds from outside: counting
//! the instructions of an engine does not limit what one `a ~ a` allocates,
//! and a failed allocation ends the process. Here every operation pays from a
//! [`budget`] before it allocates. It also lets values be Python's: what
//! `{{ value }}` prints, `%` on strings, slices, methods.
//!
//! Knows nothing of messages or models; see `text::template` for that. The way
//! through: `lexer`, `parser`, `ast`, `eval`; values are in `value`, `ops`,
//! `text`; what templates call is in `filters`, `predicates`, `methods`.

mod args;
mod ast;
mod budget;
mod error;
mod eval;
mod filters;
mod format;
mod free;
mod json;
mod lexer;
mod methods;
mod ops;
mod parser;
mod predicates;
mod strftime;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::sync::Arc;

pub use budget::RenderLimits;
pub(crate) use error::{Error, Kind};
pub(crate) use eval::OnUndefined;
pub use strftime::DateTime;

use budget::Budget;
use value::Value;

/// Longest template source.
const MAX_SOURCE_BYTES: usize = 4 << 20;

/// A parsed template; cheap to clone and to share between threads.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    body: Arc<Vec<ast::Stmt>>,
}

impl Template {
    pub(crate) fn parse(source: &str) -> Result<Self, Error> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::limit(format!(
                "template has {} bytes, more than {MAX_SOURCE_BYTES}",
                source.len()
            )));
        }
        Ok(Self {
            body: Arc::new(parser::parse(source)?),
        })
    }

    /// The names that a render looks for among its variables, in the order of their
    /// first use.
    pub(crate) fn free_names(&self) -> Vec<Arc<str>> {
        free::names(&self.body)
    }

    /// Renders with `variables` as the global names.
    pub(crate) fn render<'v>(
        &self,
        variables: impl IntoIterator<Item = (&'v str, &'v serde_json::Value)>,
        now: DateTime,
        limits: RenderLimits,
    ) -> Result<String, Error> {
        self.render_with(variables, now, limits, OnUndefined::Pass)
    }

    /// As [`Self::render`], with a say in what becomes of undefined values.
    pub(crate) fn render_with<'v>(
        &self,
        variables: impl IntoIterator<Item = (&'v str, &'v serde_json::Value)>,
        now: DateTime,
        limits: RenderLimits,
        undefined: OnUndefined,
    ) -> Result<String, Error> {
        let variables = variables
            .into_iter()
            .map(|(name, value)| Ok((name.into(), Value::from_json(value)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        eval::render(&self.body, variables, now, Budget::new(limits), undefined)
    }
}
