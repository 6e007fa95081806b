//! Token ids that arrive one by one, as text.
//!
//! Owns the state of one stream. How ids become text is the tokenizer's business:
//! see [`Tokenizer::decode`], which every stream agrees with.

#[cfg(test)]
mod tests;

use super::tokenizer::{DecodeState, Tokenizer};

/// Turns a stream of token ids into a stream of text.
///
/// The pieces of [`push`](Self::push) and the rest from [`finish`](Self::finish),
/// joined, equal [`Tokenizer::decode`] of all ids. A piece holds whole characters
/// only, and U+FFFD only where no later id can change it. One id takes time
/// proportional to its text.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    state: DecodeState,
}

impl Detokenizer {
    /// A stream at its beginning; special tokens give no text if `skip_special`.
    pub fn new(tokenizer: Tokenizer, skip_special: bool) -> Self {
        let state = tokenizer.decode_state();
        Self {
            tokenizer,
            skip_special,
            state,
        }
    }

    /// A stream that goes on after `prompt`: its pieces are the text that the new
    /// ids add to the prompt's. The difference is the space that a tokenizer of
    /// the `SentencePiece` kind drops at the beginning of a text, and there only.
    pub fn after(tokenizer: Tokenizer, skip_special: bool, prompt: &[u32]) -> Self {
        let mut stream = Self::new(tokenizer, skip_special);
        for &id in prompt {
            stream.push(id);
        }
        stream
    }

    /// Adds an id; returns the text that is certain by now.
    pub fn push(&mut self, id: u32) -> String {
        let mut text = String::new();
        self.tokenizer
            .decode_step(&mut self.state, id, self.skip_special, &mut text);
        text
    }

    /// Ends the stream; returns the text that was still open.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.tokenizer.decode_finish(&mut self.state, &mut text);
        text
    }
}
