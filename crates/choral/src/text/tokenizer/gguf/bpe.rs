//! The `gpt2` model: byte-pair encoding by ranks.
//!
//! Merging is the `tokenizers` crate's. Splitting is not: where an expression
//! needs too many steps the crate quietly stops, and the ids would be wrong.

use std::collections::HashSet;

use choral_formats::gguf::Metadata;
use tokenizers::models::bpe::{BPE, Merges, Vocab as BpeVocab};
use tokenizers::tokenizer::Model as _;

use super::pre::{PreTokenizer, Splitter};
use super::spm;
use super::vocab::Vocab;
use crate::text::tokenizer::{TokenizerError, bytes};

#[derive(Debug)]
pub(super) struct Bpe {
    model: BPE,
    splitter: Splitter,
    is_raw: bool,
}

impl Bpe {
    /// Reads `tokenizer.ggml.merges`.
    pub(super) fn new(
        vocab: &Vocab,
        pre: &PreTokenizer,
        metadata: &Metadata,
    ) -> Result<Self, TokenizerError> {
        let key = "tokenizer.ggml.merges";
        let invalid = |problem: String| {
            TokenizerError::invalid(metadata.file(), format!("metadata key `{key}`"), problem)
        };
        let strings = metadata
            .strings(key)?
            .ok_or_else(|| metadata.missing(key))?;
        // A token that is not UTF-8 cannot come from text.
        let tokens: BpeVocab = vocab
            .iter()
            .filter_map(|(id, token, _)| Some((std::str::from_utf8(token).ok()?.to_owned(), id)))
            .collect();
        let longest_token = tokens.keys().map(String::len).max().unwrap_or(0);
        let mut merges = Merges::with_capacity(strings.len());
        let mut seen = HashSet::with_capacity(strings.len());
        for (rank, merge) in strings.iter().enumerate() {
            // Of a repeated merge the first counts.
            if !seen.insert(merge) {
                continue;
            }
            let Some((left, right)) = split_merge(merge) else {
                let merge = String::from_utf8_lossy(merge);
                return Err(invalid(format!(
                    "merge {rank} is {merge:?}, not two tokens"
                )));
            };
            // The crate looks for the three tokens of a merge, but would panic on one
            // that is longer than any.
            if left.len() + right.len() > longest_token {
                let merged = format!("{left}{right}");
                return Err(invalid(format!(
                    "merge {rank} makes {merged:?}, which is no token"
                )));
            }
            merges.push((left.to_owned(), right.to_owned()));
        }
        let model = BPE::builder()
            .vocab_and_merges(tokens, merges)
            .ignore_merges(pre.ignore_merges)
            .byte_fallback(pre.raw)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Self {
            model,
            splitter: pre.compile()?,
            is_raw: pre.raw,
        })
    }

    /// Whether words are text rather than spelled bytes.
    pub(super) fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Appends the ids of a text without special tokens.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if self.is_raw {
            let text = text.replace(' ', spm::SPACE);
            return self
                .splitter
                .words(&text)?
                .into_iter()
                .try_for_each(|word| {
                    // A run of line feeds is one token, merges or not.
                    let lines = word.bytes().all(|byte| byte == b'\n');
                    match self.model.token_to_id(word).filter(|_| lines) {
                        Some(id) => ids.push(id),
                        None => self.encode_word(word, ids)?,
                    }
                    Ok(())
                });
        }
        let mut spelled = String::new();
        self.splitter.words(text)?.into_iter().try_for_each(|word| {
            spelled.clear();
            spelled.extend(word.bytes().map(bytes::char_of));
            self.encode_word(&spelled, ids)
        })
    }

    fn encode_word(&self, word: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let tokens = self.model.tokenize(word);
        let tokens = tokens.map_err(|error| TokenizerError::Failed(error.to_string()))?;
        // The crate passes over what it has no token for.
        let end = tokens.last().map_or(0, |token| token.offsets.1);
        if end != word.len() {
            let piece = word.chars().take(20).collect();
            return Err(TokenizerError::NoToken { piece });
        }
        ids.extend(tokens.into_iter().map(|token| token.id));
        Ok(())
    }
}

/// The two tokens of a merge. The first may begin with a space, as in llama.cpp.
fn split_merge(merge: &[u8]) -> Option<(&str, &str)> {
    let merge = std::str::from_utf8(merge).ok()?;
    let first = merge.chars().next()?.len_utf8();
    let space = first + merge[first..].find(' ')?;
    let (left, right) = (&merge[..space], &merge[space + 1..]);
    (!right.is_empty()).then_some((left, right))
}
