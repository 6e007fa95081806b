//! Everything that knows characters: from text to token ids and back.
//!
//! Owns tokenizers, the streaming of token ids as text, and stop strings. Knows
//! nothing of models, sequences or threads. Read [`Tokenizer`] first; a stream of
//! generated ids goes through a [`Detokenizer`] and then a [`StopMatcher`].

mod detokenizer;
mod stop;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use stop::{StopMatcher, StopPush};
pub use tokenizer::{EncodeOptions, Tokenizer, TokenizerError};
