//! SentencePiece-style BPE: the best-scored neighbours merge first.
//!
//! The whole text is one word. Pairs are merged in order of the score of the
//! token that they form, from the left among equals; a character that is no
//! token becomes the tokens of its bytes.
//!
//! Source: llama.cpp `llm_tokenizer_spm_session`.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::symbols::Symbols;
use super::vocab::Vocab;
use crate::text::tokenizer::TokenizerError;

/// A pair of neighbours that form a token.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both when the pair was found; it is outdated if they changed.
    length: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Appends the tokens of `text`, in which `▁` already stands for spaces.
pub(super) fn encode(text: &str, vocab: &Vocab, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
    let mut symbols = Symbols::new(text);
    let mut queue = BinaryHeap::new();
    let consider = |symbols: &Symbols<'_>, queue: &mut BinaryHeap<Candidate>, left, right| {
        let joined = symbols.joined(left, right);
        if let Some(id) = vocab.id_of(joined) {
            queue.push(Candidate {
                score: vocab.score(id),
                left,
                right,
                length: joined.len(),
            });
        }
    };
    for right in 1..symbols.len() {
        consider(&symbols, &mut queue, right - 1, right);
    }
    while let Some(pair) = queue.pop() {
        let (left, right) = (pair.left, pair.right);
        if !symbols.are_neighbours(left, right) || symbols.joined(left, right).len() != pair.length
        {
            continue;
        }
        symbols.merge(left, right);
        if let Some(before) = symbols.before(left) {
            consider(&symbols, &mut queue, before, left);
        }
        if let Some(after) = symbols.after(left) {
            consider(&symbols, &mut queue, left, after);
        }
    }
    for symbol in symbols.texts() {
        if let Some(id) = vocab.id_of(symbol) {
            out.push(id);
            continue;
        }
        for byte in symbol.bytes() {
            let id = byte_token(vocab, byte).or(vocab.special.unk);
            out.push(id.ok_or(TokenizerError::NoToken(byte))?);
        }
    }
    Ok(())
}

/// The token `<0xNN>` of a byte.
pub(super) fn byte_token(vocab: &Vocab, byte: u8) -> Option<u32> {
    vocab.id_of(&format!("<0x{byte:02X}>"))
}
