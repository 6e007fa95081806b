//! Text to token ids, and back.
//!
//! Owns the one interface to the two sources of tokenizers. The rules of each
//! live below: [`hf`] wraps the `tokenizers` crate, which is the reference for
//! `tokenizer.json`; [`gguf`] follows llama.cpp, the reference for GGUF files.
//! Knows nothing of chat templates, and of models only their files.

mod bytes;
mod error;
mod gguf;
mod hf;
mod special;
#[cfg(test)]
mod tests;
mod utf8;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use choral_formats::ModelFile;
use choral_formats::gguf::Metadata;

pub use error::TokenizerError;
use gguf::{GgufDecodeState, GgufTokenizer};
pub(in crate::text) use hf::read_text;
use hf::{HfDecodeState, HfTokenizer};

/// Steps back that a regular expression may take in one match. The usual limit of
/// a million is less than a long run of white space needs: one for a character.
const MAX_REGEX_STEPS: usize = 100_000_000;

/// A loaded tokenizer. Cloning is cheap: clones share everything.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

struct Inner {
    source: Source,
    special: SpecialTokens,
}

enum Source {
    Hf(Box<HfTokenizer>),
    Gguf(Box<GgufTokenizer>),
}

/// The tokens that a model's files give a role.
#[derive(Debug, Default)]
struct SpecialTokens {
    bos: Option<u32>,
    /// Ascending, each once.
    eos: Vec<u32>,
    /// `bos_token` and its like, with their texts.
    texts: BTreeMap<String, String>,
}

/// How a text becomes ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Add what the tokenizer adds to a whole text, such as a BOS token.
    pub add_special: bool,
    /// Read the text of a special token as that token, rather than as text. Right
    /// for a rendered chat template and for prompts that write special tokens on
    /// purpose; wrong for text from strangers, who could write an end of turn.
    pub parse_special: bool,
}

/// The state of one stream of ids on its way to text.
#[derive(Debug, Clone)]
pub(in crate::text) enum DecodeState {
    Hf(HfDecodeState),
    Gguf(GgufDecodeState),
}

impl fmt::Debug for Tokenizer {
    /// Without the vocabulary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("special", &self.0.special)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Loads the tokenizer of an open model.
    pub fn from_file(file: &ModelFile) -> Result<Self, TokenizerError> {
        match file {
            ModelFile::Hf(directory) => Self::from_hf_dir(&directory.path),
            ModelFile::Gguf(gguf) => Self::from_gguf(gguf.metadata()),
        }
    }

    /// Loads `tokenizer.json` from a directory, with what the files beside it say
    /// about special tokens: `tokenizer_config.json`, `special_tokens_map.json`,
    /// `config.json` and `generation_config.json`. Only the first must be there.
    pub fn from_hf_dir(directory: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let (tokenizer, special) = hf::load(directory.as_ref())?;
        let source = Source::Hf(Box::new(tokenizer));
        Ok(Self(Arc::new(Inner { source, special })))
    }

    /// Loads the tokenizer inside a GGUF file.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let (tokenizer, special) = gguf::load(metadata)?;
        let source = Source::Gguf(Box::new(tokenizer));
        Ok(Self(Arc::new(Inner { source, special })))
    }

    /// The ids of `text`.
    ///
    /// # Errors
    /// If the vocabulary has no token for a part of the text and no token for
    /// unknown text either, or if the tokenizer itself gives up.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        match &self.0.source {
            Source::Hf(tokenizer) => tokenizer.encode(text, options),
            Source::Gguf(tokenizer) => tokenizer.encode(text, options),
        }
    }

    /// The text of `ids`, without special tokens if `skip_special`.
    ///
    /// Bytes that are not UTF-8 become U+FFFD. Ids that are not in the vocabulary
    /// (a model may have more rows than its tokenizer has tokens) give no text, as
    /// in the references.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let mut text = String::new();
        let mut state = self.decode_state();
        for &id in ids {
            self.decode_step(&mut state, id, skip_special, &mut text);
        }
        self.decode_finish(&mut state, &mut text);
        Ok(text)
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> usize {
        match &self.0.source {
            Source::Hf(tokenizer) => tokenizer.vocab_size(),
            Source::Gguf(tokenizer) => tokenizer.vocab_size(),
        }
    }

    /// The name of a token as the vocabulary spells it: `▁the`, `Ġthe`, `<0x0A>`.
    pub fn token_text(&self, id: u32) -> Option<String> {
        match &self.0.source {
            Source::Hf(tokenizer) => tokenizer.token_text(id),
            Source::Gguf(tokenizer) => tokenizer.token_text(id),
        }
    }

    /// The bytes that a token adds in the middle of a text: ` the`, a line feed.
    /// They need not be UTF-8. Special tokens have the bytes of their names.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        match &self.0.source {
            Source::Hf(tokenizer) => tokenizer.token_bytes(id),
            Source::Gguf(tokenizer) => tokenizer.token_bytes(id),
        }
    }

    /// The id of the token of that name, spelled as in [`token_text`](Self::token_text).
    pub fn id_of(&self, token: &str) -> Option<u32> {
        match &self.0.source {
            Source::Hf(tokenizer) => tokenizer.id_of(token),
            Source::Gguf(tokenizer) => tokenizer.id_of(token),
        }
    }

    /// The token that begins a text, if the model has one (whether encoding adds
    /// it is another matter).
    pub fn bos_token_id(&self) -> Option<u32> {
        self.0.special.bos
    }

    /// The ids after which generation ends: end of text, of turn, of message.
    /// Ascending, and all in the vocabulary.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.0.special.eos
    }

    /// Special tokens by role, as chat templates want them: `bos_token` to `<s>`.
    pub fn special_tokens(&self) -> &BTreeMap<String, String> {
        &self.0.special.texts
    }

    /// Whether a token has a meaning but no text, so that `skip_special` skips it.
    pub fn is_special(&self, id: u32) -> bool {
        match &self.0.source {
            Source::Hf(tokenizer) => tokenizer.is_special(id),
            Source::Gguf(tokenizer) => tokenizer.is_special(id),
        }
    }

    pub(in crate::text) fn decode_state(&self) -> DecodeState {
        match &self.0.source {
            Source::Hf(tokenizer) => DecodeState::Hf(tokenizer.decode_state()),
            Source::Gguf(tokenizer) => DecodeState::Gguf(tokenizer.decode_state()),
        }
    }

    /// Adds an id to a stream; writes the text that is certain by now.
    pub(in crate::text) fn decode_step(
        &self,
        state: &mut DecodeState,
        id: u32,
        skip_special: bool,
        out: &mut String,
    ) {
        match (&self.0.source, state) {
            (Source::Hf(tokenizer), DecodeState::Hf(state)) => {
                tokenizer.decode_step(state, id, skip_special, out);
            }
            (Source::Gguf(tokenizer), DecodeState::Gguf(state)) => {
                tokenizer.decode_step(state, id, skip_special, out);
            }
            _ => unreachable!("a state comes from `decode_state` of the same tokenizer"),
        }
    }

    /// Ends a stream; writes the text that was still open.
    pub(in crate::text) fn decode_finish(&self, state: &mut DecodeState, out: &mut String) {
        match (&self.0.source, state) {
            (Source::Hf(tokenizer), DecodeState::Hf(state)) => tokenizer.decode_finish(state, out),
            (_, DecodeState::Gguf(state)) => state.finish(out),
            _ => unreachable!("a state comes from `decode_state` of the same tokenizer"),
        }
    }
}
