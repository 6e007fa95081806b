//! The `gpt2` model: byte-pair encoding by ranks, over spelled bytes.

use std::collections::HashSet;

use choral_formats::gguf::Metadata;
use tokenizers::models::bpe::{BPE, Merges, Vocab as BpeVocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{Model, PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior};

use super::pre::PreTokenizer;
use super::vocab::Vocab;
use crate::text::tokenizer::TokenizerError;

#[derive(Debug)]
pub(super) struct Bpe {
    model: BPE,
    splits: Vec<Split>,
    spell: ByteLevel,
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
        let strings = metadata.strings(key)?.ok_or_else(|| metadata.missing(key))?;
        let mut merges = Merges::with_capacity(strings.len());
        let mut seen = HashSet::with_capacity(strings.len());
        for (rank, merge) in strings.iter().enumerate() {
            // Of a repeated merge the first counts.
            if !seen.insert(merge) {
                continue;
            }
            let (left, right) = split_merge(merge).ok_or_else(|| {
                invalid(format!("merge {rank} is {:?}, not two tokens", String::from_utf8_lossy(merge)))
            })?;
            // The crate would panic on a merge that is longer than any token.
            if let Some(absent) = [left, right, &format!("{left}{right}")]
                .into_iter()
                .find(|token| vocab.id(token.as_bytes()).is_none())
            {
                return Err(invalid(format!("merge {rank} is of {absent:?}, which is not a token")));
            }
            merges.push((left.to_owned(), right.to_owned()));
        }
        // A token that is not UTF-8 cannot come from text.
        let tokens: BpeVocab = vocab
            .iter()
            .filter_map(|(id, token, _)| Some((std::str::from_utf8(token).ok()?.to_owned(), id)))
            .collect();
        let model = BPE::builder()
            .vocab_and_merges(tokens, merges)
            .ignore_merges(pre.ignore_merges)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let split = |regex: &&str| {
            Split::new(
                SplitPattern::Regex((*regex).to_owned()),
                SplitDelimiterBehavior::Isolated,
                false,
            )
        };
        let splits: Result<Vec<Split>, _> = pre.regexes.iter().map(split).collect();
        Ok(Self {
            model,
            splits: splits.map_err(|error| TokenizerError::Failed(error.to_string()))?,
            spell: ByteLevel::new(false, false, false),
        })
    }

    /// Appends the ids of a text without special tokens.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Failed(error.to_string());
        let mut words = PreTokenizedString::from(text);
        for split in &self.splits {
            split.pre_tokenize(&mut words).map_err(failed)?;
        }
        self.spell.pre_tokenize(&mut words).map_err(failed)?;
        self.model.tokenize_in_pretokenized(&mut words, None).map_err(failed)?;
        let words = words.get_splits(
            tokenizers::OffsetReferential::Normalized,
            tokenizers::OffsetType::None,
        );
        for (word, _, tokens) in words {
            let tokens = tokens.as_deref().unwrap_or_default();
            // The crate passes over what it has no token for.
            if tokens.iter().map(|token| token.value.len()).sum::<usize>() != word.len() {
                let piece = word.chars().take(20).collect();
                return Err(TokenizerError::NoToken { piece });
            }
            ids.extend(tokens.iter().map(|token| token.id));
        }
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
