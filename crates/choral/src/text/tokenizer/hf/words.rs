//! From normalised text to words.
//!
//! A pre-tokenizer is run member by member here, for one reason: where an
//! expression needs too many steps, the crate quietly stops splitting, and the ids
//! would be wrong. We allow more steps, and fail after those.

use fancy_regex::{Regex, RegexBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::pattern::Invert;
use tokenizers::tokenizer::{PreTokenizedString, PreTokenizer as _};

use crate::text::tokenizer::MAX_REGEX_STEPS;

/// The members of a pre-tokenizer.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<Member>);

#[derive(Debug)]
enum Member {
    Split(Box<Split>, Regex),
    Other(PreTokenizerWrapper),
}

impl Words {
    pub(super) fn new(pre_tokenizer: Option<&PreTokenizerWrapper>) -> Result<Self, String> {
        let mut words = Self::default();
        pre_tokenizer.map_or(Ok(()), |part| words.add(part))?;
        Ok(words)
    }

    fn add(&mut self, part: &PreTokenizerWrapper) -> Result<(), String> {
        match part {
            PreTokenizerWrapper::Sequence(parts) => {
                return parts.as_ref().iter().try_for_each(|part| self.add(part));
            }
            PreTokenizerWrapper::Split(split) => {
                let expression = match &split.pattern {
                    SplitPattern::Regex(expression) => expression.clone(),
                    SplitPattern::String(text) => fancy_regex::escape(text).into_owned(),
                };
                let regex = RegexBuilder::new(&expression)
                    .backtrack_limit(MAX_REGEX_STEPS)
                    .build()
                    .map_err(|error| error.to_string())?;
                self.0.push(Member::Split(Box::new(split.clone()), regex));
            }
            part => self.0.push(Member::Other(part.clone())),
        }
        Ok(())
    }

    /// Splits what is not a token yet.
    pub(super) fn split(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        for member in &self.0 {
            match member {
                Member::Other(part) => part.pre_tokenize(text)?,
                Member::Split(split, regex) if split.invert => {
                    text.split(|_, part| part.split(Invert(regex), split.behavior))?;
                }
                Member::Split(split, regex) => {
                    text.split(|_, part| part.split(regex, split.behavior))?;
                }
            }
        }
        Ok(())
    }
}
