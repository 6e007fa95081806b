//! Token ids to text while they are being generated.
//!
//! Owns the text that is not certain yet: part of a character, a run of byte
//! tokens. Everything given out, joined, is what [`Tokenizer::decode`] gives for
//! all ids at once. The work for a token does not grow with the text.

#[cfg(test)]
mod tests;

use super::Tokenizer;
use super::tokenizer::Stream;

/// Longest run of ids that a [`Window`] decodes again, and how much of a context
/// is looked at.
const WINDOW_IDS: usize = 64;

/// Decodes one answer, token by token.
///
/// ```no_run
/// # use choral::text::{Detokenizer, Tokenizer};
/// let tokenizer = Tokenizer::from_hf_dir("model")?;
/// let mut detokenizer = Detokenizer::new(tokenizer, true);
/// let mut text = String::new();
/// for id in [15496, 995] {
///     text += &detokenizer.push(id);
/// }
/// text += &detokenizer.finish();
/// # Ok::<(), choral::text::TokenizerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Stream(Stream),
    Window(Window),
}

/// For decoders that only decode whole sequences: decodes the last few ids with
/// and without the new one, and gives the difference.
#[derive(Debug, Clone, Default)]
struct Window {
    ids: Vec<u32>,
    /// `ids[..given]` have been given out as text.
    given: usize,
}

impl Detokenizer {
    /// For a text that begins with the first id. Special tokens are left out if
    /// `skip_special`.
    pub fn new(tokenizer: Tokenizer, skip_special: bool) -> Self {
        let state = match tokenizer.stream() {
            Some(stream) => State::Stream(stream),
            None => State::Window(Window::default()),
        };
        Self {
            tokenizer,
            skip_special,
            state,
        }
    }

    /// For a text that goes on after `context`, such as a prompt: a space before
    /// the first word is kept, and a character that the context leaves unfinished
    /// is completed.
    pub fn after(tokenizer: Tokenizer, skip_special: bool, context: &[u32]) -> Self {
        let mut detokenizer = Self::new(tokenizer, skip_special);
        let recent = &context[context.len().saturating_sub(WINDOW_IDS)..];
        for &id in recent {
            // The context's own text is the caller's already.
            let _ = detokenizer.push(id);
        }
        if let State::Stream(stream) = &mut detokenizer.state
            && !context.is_empty()
        {
            stream.continue_after_context();
        }
        detokenizer
    }

    /// Takes the next id; returns the text that has become certain, often of this
    /// id, sometimes nothing, sometimes of several.
    pub fn push(&mut self, id: u32) -> String {
        match &mut self.state {
            State::Stream(stream) => {
                let mut text = String::new();
                if let Some(piece) = self.tokenizer.piece(id, self.skip_special) {
                    stream.push(&piece, &mut text);
                }
                text
            }
            State::Window(window) => window.push(&self.tokenizer, self.skip_special, id),
        }
    }

    /// Ends the text: returns what was held back. Incomplete characters become
    /// U+FFFD.
    pub fn finish(&mut self) -> String {
        match &mut self.state {
            State::Stream(stream) => {
                let mut text = String::new();
                stream.finish(&mut text);
                text
            }
            State::Window(window) => window.finish(&self.tokenizer, self.skip_special),
        }
    }
}

impl Window {
    fn push(&mut self, tokenizer: &Tokenizer, skip_special: bool, id: u32) -> String {
        self.ids.push(id);
        let text = self.new_text(tokenizer, skip_special);
        // U+FFFD at the end may be a character that is not complete; but nothing
        // waits for ever.
        let is_open = text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER);
        if is_open && self.ids.len() - self.given < WINDOW_IDS {
            return String::new();
        }
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        text
    }

    fn finish(&mut self, tokenizer: &Tokenizer, skip_special: bool) -> String {
        let text = self.new_text(tokenizer, skip_special);
        self.given = self.ids.len();
        text
    }

    /// The text that the ids after `given` add to those before.
    fn new_text(&self, tokenizer: &Tokenizer, skip_special: bool) -> String {
        let decode = |ids: &[u32]| tokenizer.decode(ids, skip_special).unwrap_or_default();
        let before = decode(&self.ids[..self.given]);
        let all = decode(&self.ids);
        all.strip_prefix(&before).unwrap_or(&all).to_owned()
    }
}
