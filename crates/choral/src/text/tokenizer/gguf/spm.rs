//! The `llama` model: byte-pair encoding by scores, as `SentencePiece` has it.
//!
//! Merging starts from characters and joins, again and again, the neighbours that
//! make up the token with the highest score, the leftmost of equals. A character
//! that is no token at the end is spelled by tokens for its bytes, or is unknown.
//!
//! The `tokenizers` crate has merges with ranks instead. One score for all ways
//! to make up a token cannot be said in ranks, so the merging is our own.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

use choral_formats::gguf::Metadata;

use super::vocab::Vocab;
use crate::text::tokenizer::TokenizerError;

/// U+2581, which stands for a space in tokens.
pub(super) const SPACE: &str = "\u{2581}";

#[derive(Debug)]
pub(super) struct Spm {
    /// By id.
    scores: Vec<f32>,
    /// The token of each byte, if there is one.
    byte_tokens: Box<[Option<u32>; 256]>,
    /// For a character that cannot be spelled.
    unknown: Option<u32>,
    longest_token: usize,
}

/// Spaces instead of the characters that stand for them.
pub(super) fn unescape(token: &[u8]) -> Cow<'_, [u8]> {
    let sign = SPACE.as_bytes();
    if !token.windows(sign.len()).any(|window| window == sign) {
        return Cow::Borrowed(token);
    }
    let mut text = Vec::with_capacity(token.len());
    let mut rest = token;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(sign) {
            text.push(b' ');
            rest = tail;
        } else {
            text.push(first);
            rest = tail;
        }
    }
    Cow::Owned(text)
}

/// A run of text that may have become a token.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    /// Bytes; 0 once it is part of the symbol to its left.
    len: usize,
    prev: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that make up a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Spm {
    /// Reads `tokenizer.ggml.scores`; without them all tokens are equal.
    pub(super) fn new(
        vocab: &Vocab,
        unknown: Option<u32>,
        metadata: &Metadata,
    ) -> Result<Self, TokenizerError> {
        let key = "tokenizer.ggml.scores";
        let scores = match metadata.optional::<Cow<'_, [f32]>>(key) {
            Ok(scores) => scores.map(Cow::into_owned),
            // Some files have whole numbers.
            Err(error) => match metadata.i32s(key) {
                Ok(scores) => scores.map(|s| s.into_iter().map(|x| x as f32).collect()),
                Err(_) => return Err(error.into()),
            },
        };
        let mut scores = scores.unwrap_or_else(|| vec![0.0; vocab.len()]);
        if scores.len() < vocab.len() {
            let expected = format!("one for each of {} tokens", vocab.len());
            return Err(metadata.invalid(key, expected, scores.len()).into());
        }
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(metadata
                .invalid(key, "numbers", format!("NaN for token {id}"))
                .into());
        }
        for score in &mut scores {
            // The two zeros are equal, and are to sort as equals.
            *score += 0.0;
        }
        let mut byte_tokens = Box::new([None; 256]);
        for (byte, token) in (0u8..=255).zip(byte_tokens.iter_mut()) {
            let name = format!("<0x{byte:02X}>");
            *token = vocab.id(name.as_bytes()).or_else(|| vocab.id(&[byte]));
        }
        Ok(Self {
            scores,
            byte_tokens,
            unknown,
            longest_token: vocab
                .iter()
                .map(|(_, token, _)| token.len())
                .max()
                .unwrap_or(0),
        })
    }

    /// Appends the ids of a text without special tokens, after a space if `prefix`.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        prefix: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let escaped = text.replace(' ', SPACE);
        let text = if prefix {
            format!("{SPACE}{escaped}")
        } else {
            escaped
        };
        for symbol in self.merge(vocab, &text) {
            let piece = &text.as_bytes()[symbol.start..symbol.start + symbol.len];
            if let Some(id) = vocab.id(piece) {
                ids.push(id);
                continue;
            }
            let spelled = piece
                .iter()
                .map(|&byte| self.byte_tokens[usize::from(byte)])
                .collect::<Option<Vec<u32>>>();
            match (spelled, self.unknown) {
                (Some(spelled), _) => ids.extend(spelled),
                (None, Some(unknown)) => ids.push(unknown),
                (None, None) => {
                    let piece = String::from_utf8_lossy(piece).into_owned();
                    return Err(TokenizerError::NoToken { piece });
                }
            }
        }
        Ok(())
    }

    /// The symbols of `text` when there is nothing left to merge, in order.
    fn merge(&self, vocab: &Vocab, text: &str) -> impl Iterator<Item = Symbol> + use<> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| Symbol {
                start,
                len: c.len_utf8(),
                prev: i.checked_sub(1),
                next: Some(i + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.len() {
            self.consider(vocab, text, &symbols, right - 1, right, &mut queue);
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            // One of the two may have been merged with another symbol since.
            if left.len == 0 || right.len == 0 || left.len + right.len != pair.len {
                continue;
            }
            symbols[pair.left].len = pair.len;
            symbols[pair.left].next = right.next;
            symbols[pair.right].len = 0;
            if let Some(next) = right.next {
                symbols[next].prev = Some(pair.left);
                self.consider(vocab, text, &symbols, pair.left, next, &mut queue);
            }
            if let Some(prev) = left.prev {
                self.consider(vocab, text, &symbols, prev, pair.left, &mut queue);
            }
        }
        symbols.into_iter().filter(|symbol| symbol.len > 0)
    }

    /// Queues two neighbours if they make up a token.
    fn consider(
        &self,
        vocab: &Vocab,
        text: &str,
        symbols: &[Symbol],
        left: usize,
        right: usize,
        queue: &mut BinaryHeap<Pair>,
    ) {
        let start = symbols[left].start;
        let len = symbols[left].len + symbols[right].len;
        // Saves hashing a text that is too long for any token.
        if len > self.longest_token {
            return;
        }
        if let Some(id) = vocab.id(&text.as_bytes()[start..start + len]) {
            let score = self.scores[id as usize];
            queue.push(Pair {
                score,
                left,
                right,
                len,
            });
        }
    }
}
