//! The `bert` model: WordPiece, as llama.cpp has it.
//!
//! A text loses its case and its accents and is cut at white space and around signs
//! and Chinese characters; a word is then spelled by the longest tokens that fit, from
//! left to right. Tokens that begin a word have U+2581 in front (and not, as in the
//! original, the others `##`). A word that cannot be spelled is unknown as a whole.
//!
//! The `tokenizers` crate's WordPiece gives up on words of over a hundred characters;
//! llama.cpp does not.

use choral_formats::gguf::Metadata;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::decompose_canonical;

use super::spm::SPACE;
use super::vocab::Vocab;
use crate::text::tokenizer::TokenizerError;

#[derive(Debug)]
pub(super) struct Wpm {
    /// For a word that cannot be spelled.
    unknown: u32,
    /// In bytes.
    longest_token: usize,
}

impl Wpm {
    pub(super) fn new(
        vocab: &Vocab,
        unknown: Option<u32>,
        metadata: &Metadata,
    ) -> Result<Self, TokenizerError> {
        let unknown = unknown.ok_or_else(|| metadata.missing("tokenizer.ggml.unknown_token_id"))?;
        let lengths = vocab.iter().map(|(_, token, _)| token.len());
        Ok(Self {
            unknown,
            longest_token: lengths.max().unwrap_or(0),
        })
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) {
        let mut word = String::from(SPACE);
        for original in text.chars() {
            if original.is_whitespace() {
                self.end_word(vocab, &mut word, ids);
                continue;
            }
            let c = without_accent(original);
            if c == '\u{fffd}' || is_control(c) || c.is_mark() {
                continue;
            }
            if stands_alone(c) {
                self.end_word(vocab, &mut word, ids);
                word.push(lowercase(c));
                self.end_word(vocab, &mut word, ids);
            } else {
                word.push(lowercase(c));
            }
        }
        self.end_word(vocab, &mut word, ids);
    }

    /// Spells a word, if there is one, and begins the next.
    fn end_word(&self, vocab: &Vocab, word: &mut String, ids: &mut Vec<u32>) {
        if word.len() > SPACE.len() {
            let before = ids.len();
            if !self.spell(vocab, word.as_bytes(), ids) {
                ids.truncate(before);
                ids.push(self.unknown);
            }
        }
        word.truncate(SPACE.len());
    }

    /// Whether there are tokens for all of the word.
    fn spell(&self, vocab: &Vocab, word: &[u8], ids: &mut Vec<u32>) -> bool {
        let mut start = 0;
        while start < word.len() {
            let most = word.len().min(start + self.longest_token);
            let longest = (start + 1..=most)
                .rev()
                .find_map(|end| Some((vocab.id(&word[start..end])?, end)));
            let Some((id, end)) = longest else {
                return false;
            };
            ids.push(id);
            start = end;
        }
        true
    }
}

/// The first character of the canonical decomposition; of a letter with accents, the
/// letter.
fn without_accent(c: char) -> char {
    let mut first = None;
    decompose_canonical(c, |part| {
        first.get_or_insert(part);
    });
    first.unwrap_or(c)
}

/// A letter whose small form is several characters keeps the first.
fn lowercase(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Unassigned characters are not among them: newer Unicode may have them.
fn is_control(c: char) -> bool {
    c.is_other_control() || c.is_other_format() || c.is_other_private_use()
}

/// Whether a character is a word of its own.
fn stands_alone(c: char) -> bool {
    let is_sign = if c.is_ascii() {
        c.is_ascii_punctuation()
    } else {
        c.is_punctuation()
    };
    is_sign || is_chinese(c)
}

/// The blocks that BERT takes for Chinese. The sixth begins where the `tokenizers`
/// crate and llama.cpp have it.
fn is_chinese(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x2_0000..=0x2_A6DF
            | 0x2_A700..=0x2_B73F
            | 0x2_B740..=0x2_B81F
            | 0x2_B920..=0x2_CEAF
            | 0xF900..=0xFAFF
            | 0x2_F800..=0x2_FA1F
    )
}
