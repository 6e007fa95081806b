//! Byte-pair encoding: the neighbours that were merged first in training merge
//! first.
//!
//! Source: llama.cpp `llm_tokenizer_bpe_session`; Sennrich et al.,
//! arXiv:1508.07909.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use choral_formats::gguf::Metadata;

use super::pre::{Pre, Splitter};
use super::spm;
use super::symbols::Symbols;
use super::vocab::Vocab;
use crate::text::tokenizer::{TokenizerError, byte_level};

/// Texts that occur in merges, numbered.
type Number = u32;

#[derive(Debug)]
pub(super) struct Bpe {
    splitter: Splitter,
    numbers: HashMap<Box<str>, Number>,
    /// Rank and result of merging two texts.
    merges: HashMap<(Number, Number), (u32, Number)>,
    ignore_merges: bool,
    raw: bool,
}

impl Bpe {
    pub(super) fn load(metadata: &Metadata, pre: Pre) -> Result<Self, TokenizerError> {
        let key = "tokenizer.ggml.merges";
        let lines = metadata
            .strings(key)?
            .ok_or_else(|| metadata.missing(key))?;
        let mut bpe = Self {
            splitter: Splitter::new(pre)?,
            numbers: HashMap::new(),
            merges: HashMap::with_capacity(lines.len()),
            ignore_merges: pre.ignore_merges,
            raw: pre.raw,
        };
        for (rank, line) in lines.iter().enumerate() {
            // A space may begin the left part, but not separate it: the first
            // character is never the separator.
            let separator = line.iter().skip(1).position(|&byte| byte == b' ');
            let parts = separator.and_then(|at| {
                let line = std::str::from_utf8(line).ok()?;
                line.split_at_checked(at + 1)
            });
            let Some((left, right)) = parts else {
                return Err(metadata
                    .invalid(
                        key,
                        "two tokens of UTF-8 and a space",
                        format!("line {rank}"),
                    )
                    .into());
            };
            bpe.add_merge(left, &right[1..], rank as u32);
        }
        Ok(bpe)
    }

    fn number(&mut self, text: &str) -> Number {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as Number;
        self.numbers.insert(text.into(), number);
        number
    }

    fn add_merge(&mut self, left: &str, right: &str, rank: u32) {
        let merged = self.number(&[left, right].concat());
        let pair = (self.number(left), self.number(right));
        self.merges.entry(pair).or_insert((rank, merged));
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(
        &self,
        text: &str,
        vocab: &Vocab,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let escaped;
        let text = if self.raw {
            escaped = text.replace(' ', "▁");
            &escaped
        } else {
            text
        };
        let mut encoded = String::new();
        for piece in self.splitter.split(text)? {
            if self.raw {
                self.encode_word(piece, vocab, out)?;
            } else {
                encoded.clear();
                encoded.extend(piece.bytes().map(byte_level::char_of));
                self.encode_word(&encoded, vocab, out)?;
            }
        }
        Ok(())
    }

    fn encode_word(
        &self,
        word: &str,
        vocab: &Vocab,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        // Lines of newlines are single tokens of raw vocabularies.
        let is_whole = self.ignore_merges || (self.raw && word.bytes().all(|b| b == b'\n'));
        if is_whole && let Some(id) = vocab.id_of(word) {
            out.push(id);
            return Ok(());
        }
        for symbol in self.merged(word).texts() {
            if let Some(id) = vocab.id_of(symbol) {
                out.push(id);
            } else {
                self.encode_bytes(symbol, vocab, out)?;
            }
        }
        Ok(())
    }

    /// The symbols of `word` after all merges.
    fn merged<'w>(&self, word: &'w str) -> Symbols<'w> {
        let mut symbols = Symbols::new(word);
        // `numbers[i]` belongs to symbol `i`; a text in no merge has none.
        let mut numbers: Vec<Option<Number>> = (0..symbols.len())
            .map(|at| self.numbers.get(symbols.text(at)).copied())
            .collect();
        let mut queue = BinaryHeap::new();
        let merge_of = |numbers: &[Option<Number>], left: usize, right: usize| {
            let pair = (numbers[left]?, numbers[right]?);
            self.merges.get(&pair).copied()
        };
        let consider = |numbers: &[Option<Number>], queue: &mut BinaryHeap<_>, left, right| {
            if let Some((rank, merged)) = merge_of(numbers, left, right) {
                queue.push(Reverse((rank, left, right, merged)));
            }
        };
        for right in 1..symbols.len() {
            consider(&numbers, &mut queue, right - 1, right);
        }
        while let Some(Reverse((rank, left, right, merged))) = queue.pop() {
            if !symbols.are_neighbours(left, right)
                || merge_of(&numbers, left, right) != Some((rank, merged))
            {
                continue;
            }
            symbols.merge(left, right);
            numbers[left] = Some(merged);
            if let Some(before) = symbols.before(left) {
                consider(&numbers, &mut queue, before, left);
            }
            if let Some(after) = symbols.after(left) {
                consider(&numbers, &mut queue, left, after);
            }
        }
        symbols
    }

    /// A symbol that is no token, byte by byte.
    fn encode_bytes(
        &self,
        symbol: &str,
        vocab: &Vocab,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if self.raw {
            for byte in symbol.bytes() {
                out.push(spm::byte_token(vocab, byte).ok_or(TokenizerError::NoToken(byte))?);
            }
            return Ok(());
        }
        for c in symbol.chars() {
            let id = vocab.id_of(c.encode_utf8(&mut [0; 4]));
            let byte = byte_level::byte_of(c).unwrap_or(b'?');
            out.push(id.ok_or(TokenizerError::NoToken(byte))?);
        }
        Ok(())
    }
}
