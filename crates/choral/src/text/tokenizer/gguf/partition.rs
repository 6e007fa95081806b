//! Finds tokens that are written out in a text.
//!
//! llama.cpp looks for one special token after the other, the longest first, in
//! what the earlier ones left over. That order decides between overlapping
//! tokens, so it is kept; an automaton only tells beforehand which tokens occur
//! at all.
//!
//! Source: llama.cpp `tokenizer_st_partition`.

use aho_corasick::AhoCorasick;

use super::vocab::{Kind, Vocab};
use crate::text::tokenizer::TokenizerError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

#[derive(Debug)]
pub(super) struct Partition {
    /// Longest text first.
    ids: Vec<u32>,
    /// Pattern `i` is the text of `ids[i]`.
    automaton: AhoCorasick,
    /// White space after these tokens is part of them (Phi-3).
    strips_right: Vec<bool>,
}

impl Partition {
    /// `strips_right` says which tokens swallow the white space after them.
    pub(super) fn new(
        vocab: &Vocab,
        strips_right: impl Fn(&str) -> bool,
    ) -> Result<Self, TokenizerError> {
        let ids = vocab.whole_tokens();
        let texts: Vec<&str> = ids.iter().filter_map(|&id| vocab.text(id)).collect();
        let automaton = AhoCorasick::new(&texts)
            .map_err(|error| TokenizerError::Encode(format!("special tokens: {error}")))?;
        let strips_right = texts.iter().map(|text| strips_right(text)).collect();
        Ok(Self {
            ids,
            automaton,
            strips_right,
        })
    }

    /// Cuts `text` into tokens and the text between them. Control tokens count
    /// as text unless `parse_special`; user-defined tokens never do.
    pub(super) fn split<'t>(
        &self,
        text: &'t str,
        vocab: &Vocab,
        parse_special: bool,
    ) -> Vec<Fragment<'t>> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut present: Vec<usize> = self
            .automaton
            .find_overlapping_iter(text)
            .map(|found| found.pattern().as_usize())
            .collect();
        present.sort_unstable();
        present.dedup();
        let mut fragments = vec![Fragment::Text(text)];
        for at in present {
            let id = self.ids[at];
            if !parse_special && vocab.is_special(id) && !vocab.kind(id).is(Kind::USER_DEFINED) {
                continue;
            }
            let token = vocab.text(id).unwrap_or_default();
            let mut finer = Vec::with_capacity(fragments.len());
            for fragment in fragments {
                match fragment {
                    Fragment::Text(text) => self.split_at_token(text, token, at, &mut finer),
                    token @ Fragment::Token(_) => finer.push(token),
                }
            }
            fragments = finer;
        }
        fragments
    }

    fn split_at_token<'t>(
        &self,
        text: &'t str,
        token: &str,
        at: usize,
        out: &mut Vec<Fragment<'t>>,
    ) {
        let mut rest = text;
        while let Some(found) = rest.find(token) {
            if found > 0 {
                out.push(Fragment::Text(&rest[..found]));
            }
            out.push(Fragment::Token(self.ids[at]));
            rest = &rest[found + token.len()..];
            if self.strips_right[at] {
                rest = rest.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
            }
        }
        if !rest.is_empty() {
            out.push(Fragment::Text(rest));
        }
    }
}
