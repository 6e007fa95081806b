//! From text to normalised text.
//!
//! A normalizer is run member by member here, for the replacements by expression:
//! the crate panics where one matches an empty text, and quietly stops where one
//! needs too many steps.

use std::sync::OnceLock;

use fancy_regex::{Regex, RegexBuilder};
use serde_json::Value;
use tokenizers::tokenizer::pattern::Pattern;
use tokenizers::tokenizer::{NormalizedString, Normalizer, Offsets};
use tokenizers::{NormalizerWrapper, Result as CrateResult};

use super::json::build;
use super::structure::{kind, members};
use crate::text::tokenizer::MAX_REGEX_STEPS;

/// The members of a normalizer.
#[derive(Debug, Default)]
pub(super) struct Normal(Vec<Member>);

#[derive(Debug)]
enum Member {
    Replace { pattern: NotEmpty, content: String },
    Other(Box<NormalizerWrapper>),
}

/// An expression that must not match an empty text.
#[derive(Debug)]
struct NotEmpty(Regex);

impl Normal {
    /// From the `normalizer` of a file, if it has one.
    pub(super) fn new(normalizer: Option<&Value>) -> Result<Self, String> {
        let mut normal = Self::default();
        normalizer.map_or(Ok(()), |part| normal.add(part))?;
        Ok(normal)
    }

    fn add(&mut self, part: &Value) -> Result<(), String> {
        if let Some(parts) = members(part) {
            return parts.iter().try_for_each(|part| self.add(part));
        }
        let expression = part["pattern"]["Regex"].as_str();
        let member = match expression.filter(|_| kind(part) == "Replace") {
            None => Member::Other(Box::new(build(part)?)),
            Some(expression) => Member::Replace {
                pattern: NotEmpty::new(expression)?,
                content: build(&part["content"])?,
            },
        };
        if kind(part) == "Replace" && part["pattern"]["String"] == "" {
            return Err("a replacement of nothing".to_owned());
        }
        self.0.push(member);
        Ok(())
    }

    fn normalize(&self, text: &mut NormalizedString) -> CrateResult<()> {
        for member in &self.0 {
            match member {
                Member::Replace { pattern, content } => text.replace(pattern, content)?,
                Member::Other(part) => part.normalize(text)?,
            }
        }
        Ok(())
    }

    /// Whether a text can be normalised.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let mut text = NormalizedString::from(text);
        self.normalize(&mut text).map_err(|error| error.to_string())
    }
}

impl NotEmpty {
    fn new(expression: &str) -> Result<Self, String> {
        let mut builder = RegexBuilder::new(expression);
        let regex = builder.backtrack_limit(MAX_REGEX_STEPS).build();
        regex.map(Self).map_err(|error| error.to_string())
    }
}

impl Pattern for &NotEmpty {
    fn find_matches(&self, inside: &str) -> CrateResult<Vec<(Offsets, bool)>> {
        let matches = (&self.0).find_matches(inside)?;
        let is_empty = |&((start, end), found): &(Offsets, bool)| found && start == end;
        if matches.iter().any(is_empty) {
            return Err(format!("the expression {:?} matches an empty text", self.0).into());
        }
        Ok(matches)
    }
}

/// One use of a normalizer. The crate drops its errors; they are kept here.
pub(super) struct Run<'n> {
    normal: &'n Normal,
    error: OnceLock<tokenizers::Error>,
}

impl<'n> Run<'n> {
    pub(super) fn new(normal: &'n Normal) -> Self {
        let error = OnceLock::new();
        Self { normal, error }
    }

    /// The first error, if there was one.
    pub(super) fn finish(self) -> CrateResult<()> {
        self.error.into_inner().map_or(Ok(()), Err)
    }
}

impl Normalizer for Run<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> CrateResult<()> {
        if let Err(error) = self.normal.normalize(text) {
            // Only the first counts.
            let _ = self.error.set(error);
        }
        Ok(())
    }
}
