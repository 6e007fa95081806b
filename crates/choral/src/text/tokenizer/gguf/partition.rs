//! Special tokens in a text.
//!
//! llama.cpp looks for one token after the other, the longest first; we find all
//! in one pass, the leftmost first and of those the longest, as the `tokenizers`
//! crate does. The two differ only where special tokens of one text overlap.

use aho_corasick::{AhoCorasick, MatchKind};
use choral_formats::gguf::Metadata;

use super::vocab::{Kind, Vocab};
use crate::text::tokenizer::TokenizerError;

/// A part of a text.
pub(super) enum Fragment<'a> {
    Text(&'a str),
    Token(u32),
}

/// Finds the special tokens of one vocabulary.
#[derive(Debug)]
pub(super) struct Partition {
    /// Tokens that are found wherever they are.
    always: Finder,
    /// Those, and the ones that are found only on request.
    all: Finder,
}

#[derive(Debug)]
struct Finder {
    searcher: Option<AhoCorasick>,
    tokens: Vec<Special>,
}

#[derive(Debug, Clone, Copy)]
struct Special {
    id: u32,
    /// Whether white space after the token belongs to it.
    strip_right: bool,
}

impl Partition {
    pub(super) fn new(vocab: &Vocab, metadata: &Metadata) -> Result<Self, TokenizerError> {
        // A property of Phi-3 that GGUF has no field for.
        let name = metadata
            .str("general.name")
            .ok()
            .flatten()
            .unwrap_or_default();
        let name = name.to_lowercase();
        let is_phi3 = name.contains("phi-3") || name.contains("phi3");
        let strips_right =
            |token: &[u8]| is_phi3 && !matches!(token, b"<unk>" | b"<s>" | b"<|endoftext|>");
        let finder = |kinds: &[Kind]| {
            let of_kind = |&(_, _, kind): &(u32, &[u8], Kind)| kinds.contains(&kind);
            let (patterns, tokens): (Vec<&[u8]>, Vec<Special>) = vocab
                .iter()
                .filter(of_kind)
                .map(|(id, token, _)| {
                    (
                        token,
                        Special {
                            id,
                            strip_right: strips_right(token),
                        },
                    )
                })
                .unzip();
            Finder::new(&patterns, tokens).map_err(|problem| {
                TokenizerError::invalid(
                    metadata.file(),
                    "metadata key `tokenizer.ggml.tokens`",
                    problem,
                )
            })
        };
        Ok(Self {
            always: finder(&[Kind::UserDefined])?,
            all: finder(&[Kind::UserDefined, Kind::Control, Kind::Unknown])?,
        })
    }

    /// The parts of `text`, none of them empty.
    pub(super) fn split<'a>(&self, text: &'a str, parse_special: bool) -> Vec<Fragment<'a>> {
        if parse_special {
            self.all.split(text)
        } else {
            self.always.split(text)
        }
    }
}

impl Finder {
    fn new(patterns: &[&[u8]], tokens: Vec<Special>) -> Result<Self, aho_corasick::BuildError> {
        let searcher = if patterns.is_empty() {
            None
        } else {
            let mut builder = AhoCorasick::builder();
            Some(
                builder
                    .match_kind(MatchKind::LeftmostLongest)
                    .build(patterns)?,
            )
        };
        Ok(Self { searcher, tokens })
    }

    fn split<'a>(&self, text: &'a str) -> Vec<Fragment<'a>> {
        let mut fragments = Vec::new();
        let mut rest = 0;
        for found in self.searcher.iter().flat_map(|s| s.find_iter(text)) {
            // A token that is not UTF-8 could begin inside a character.
            let (start, end) = (found.start(), found.end());
            if start < rest || !text.is_char_boundary(start) || !text.is_char_boundary(end) {
                continue;
            }
            if rest < start {
                fragments.push(Fragment::Text(&text[rest..start]));
            }
            let token = self.tokens[found.pattern().as_usize()];
            fragments.push(Fragment::Token(token.id));
            rest = end;
            if token.strip_right {
                let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
                rest = text.len() - text[end..].trim_start_matches(is_space).len();
            }
        }
        if rest < text.len() {
            fragments.push(Fragment::Text(&text[rest..]));
        }
        fragments
    }
}
