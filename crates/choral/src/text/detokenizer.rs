//! Token ids that arrive one by one, as text.
//!
//! Owns the state of one stream. How ids become text is the tokenizer's business:
//! see [`Tokenizer::decode`], which every stream agrees with.

#[cfg(test)]
mod tests;

use super::tokenizer::{DecodeState, Tokenizer};

/// Ids of a context that are looked at: more than any character, or any run of
/// byte tokens that a model writes, extends over.
const CONTEXT_IDS: usize = 256;

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

    /// A stream that goes on after `context`, such as a prompt: its pieces are the
    /// text that the new ids add to the context's. A space before the first word is
    /// kept, unless the context has no text yet, and a character that the context
    /// leaves unfinished is completed.
    pub fn after(tokenizer: Tokenizer, skip_special: bool, context: &[u32]) -> Self {
        let mut stream = Self::new(tokenizer, skip_special);
        let mut ids = context.iter();
        // The text may begin in a way of its own; after that the last ids will do.
        while let Some(&id) = ids.next()
            && stream.push(id).is_empty()
        {}
        let rest = ids.as_slice();
        for &id in &rest[rest.len().saturating_sub(CONTEXT_IDS)..] {
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
