//! From normalised text to words.
//!
//! A pre-tokenizer is run member by member here, for one reason: where an
//! expression needs too many steps, the crate quietly stops splitting, and the ids
//! would be wrong. We allow more steps, and fail after those.

use fancy_regex::{Regex, RegexBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::pattern::Invert;
use tokenizers::tokenizer::{PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior};

use crate::text::tokenizer::MAX_REGEX_STEPS;

/// The members of a pre-tokenizer.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<Member>);

#[derive(Debug)]
enum Member {
    Split {
        regex: Regex,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    /// A space before each word that has none.
    PrefixSpace,
    Other(PreTokenizerWrapper),
}

/// The expression that `ByteLevel` has built in.
///
/// Source: OpenAI's GPT-2 `encoder.py`.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

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
                    SplitPattern::Regex(expression) => expression.into(),
                    SplitPattern::String(text) => fancy_regex::escape(text),
                };
                self.add_split(&expression, split.behavior, split.invert)?;
            }
            PreTokenizerWrapper::ByteLevel(part) => {
                if part.add_prefix_space {
                    self.0.push(Member::PrefixSpace);
                }
                if part.use_regex {
                    self.add_split(GPT2, SplitDelimiterBehavior::Isolated, false)?;
                }
                let rest = part.add_prefix_space(false).use_regex(false);
                self.0.push(Member::Other(rest.into()));
            }
            part => self.0.push(Member::Other(part.clone())),
        }
        Ok(())
    }

    fn add_split(
        &mut self,
        expression: &str,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    ) -> Result<(), String> {
        let regex = RegexBuilder::new(expression)
            .backtrack_limit(MAX_REGEX_STEPS)
            .build()
            .map_err(|error| error.to_string())?;
        self.0.push(Member::Split {
            regex,
            behavior,
            invert,
        });
        Ok(())
    }

    /// Splits what is not a token yet.
    pub(super) fn split(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        for member in &self.0 {
            match member {
                Member::Other(part) => part.pre_tokenize(text)?,
                Member::PrefixSpace => text.normalize(|part| {
                    if !part.get().starts_with(' ') {
                        part.prepend(" ");
                    }
                    Ok(())
                })?,
                Member::Split {
                    regex,
                    behavior,
                    invert: true,
                } => text.split(|_, part| part.split(Invert(regex), *behavior))?,
                Member::Split {
                    regex, behavior, ..
                } => text.split(|_, part| part.split(regex, *behavior))?,
            }
        }
        Ok(())
    }
}
