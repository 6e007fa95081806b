//! Text to token ids and back.
//!
//! A [`Tokenizer`] comes from a Hugging Face directory (`hf/`, through the
//! `tokenizers` crate) or from the metadata of a GGUF file (`gguf/`, our own
//! SentencePiece-style and byte-level BPE, after llama.cpp). Both give the ids
//! of their reference exactly. Knows nothing of models or chats. Streaming is in
//! [`super::Detokenizer`]; how tokens become text is in `decode.rs`.

mod byte_level;
mod decode;
mod error;
mod gguf;
mod hf;

pub(in crate::text) use hf::read_text;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use choral_formats::ModelFile;
use choral_formats::gguf::Metadata;

pub(in crate::text) use decode::{Piece, Stream};
pub use error::TokenizerError;

use gguf::GgufTokenizer;
use hf::HfTokenizer;

/// How a text is to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Put the tokens around the text that the tokenizer puts there, such as a
    /// beginning-of-sequence token.
    pub add_special: bool,
    /// Recognise special tokens written out in the text. Without it `<|im_end|>`
    /// is eight harmless tokens; with it, one that ends a turn.
    pub parse_special: bool,
}

/// A loaded tokenizer. Clones share it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    bos_token_id: Option<u32>,
    eos_token_ids: Vec<u32>,
    special_tokens: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Backend {
    Hf(Box<HfTokenizer>),
    Gguf(Box<GgufTokenizer>),
}

impl Tokenizer {
    /// The tokenizer of an open model.
    ///
    /// # Errors
    /// As [`Tokenizer::from_hf_dir`] or [`Tokenizer::from_gguf`].
    pub fn from_file(file: &ModelFile) -> Result<Self, TokenizerError> {
        match file {
            ModelFile::Gguf(gguf) => Self::from_gguf(gguf.metadata()),
            ModelFile::Hf(dir) => Self::from_hf_dir(&dir.path),
        }
    }

    /// Loads `tokenizer.json` of the directory `path`, with
    /// `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json` and `config.json` where they exist.
    ///
    /// # Errors
    /// If a file is unreadable or malformed, or if the tokenizer has a part that
    /// choral does not know.
    pub fn from_hf_dir(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let (tokenizer, extras) = HfTokenizer::load(path.as_ref())?;
        let bos = extras.special_tokens.get("bos_token");
        let bos_token_id = bos.and_then(|token| tokenizer.id_of(token));
        Ok(Self::new(Inner {
            backend: Backend::Hf(Box::new(tokenizer)),
            bos_token_id,
            eos_token_ids: extras.eos_token_ids,
            special_tokens: extras.special_tokens,
        }))
    }

    /// Builds the tokenizer that a GGUF file carries in its metadata.
    ///
    /// # Errors
    /// If metadata is missing or malformed, or if the file names a kind of
    /// tokenizer that choral does not have.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let tokenizer = GgufTokenizer::load(metadata)?;
        Ok(Self::new(Inner {
            bos_token_id: tokenizer.vocab.special.bos,
            eos_token_ids: tokenizer.vocab.eog.clone(),
            special_tokens: tokenizer.vocab.special_tokens(),
            backend: Backend::Gguf(Box::new(tokenizer)),
        }))
    }

    fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        match &self.inner.backend {
            Backend::Hf(tokenizer) => tokenizer.encode(text, options),
            Backend::Gguf(tokenizer) => tokenizer.encode(text, options),
        }
    }

    /// The text of `ids`, without special tokens if `skip_special`. Bytes that
    /// are no UTF-8 become U+FFFD; ids that are no tokens give nothing.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        match &self.inner.backend {
            Backend::Hf(tokenizer) => tokenizer.decode(ids, skip_special),
            Backend::Gguf(tokenizer) => Ok(tokenizer.decode(ids, skip_special)),
        }
    }

    /// Number of tokens. Ids are below this number unless the vocabulary has
    /// holes; a model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        match &self.inner.backend {
            Backend::Hf(tokenizer) => tokenizer.vocab_size(),
            Backend::Gguf(tokenizer) => tokenizer.vocab.len(),
        }
    }

    /// The vocabulary entry of `id`, as the file has it: `Ġhello`, `▁hello`,
    /// `<0x0A>`.
    pub fn token_text(&self, id: u32) -> Option<String> {
        match &self.inner.backend {
            Backend::Hf(tokenizer) => tokenizer.token_text(id),
            Backend::Gguf(tokenizer) => tokenizer.vocab.text(id).map(str::to_owned),
        }
    }

    /// The bytes that `id` adds to a text: part of a character for some tokens.
    /// Special tokens give their names. A space at the beginning of a text is
    /// not cut off here.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        match self.piece(id, false) {
            Some(Piece::Text(text)) => Some(text.into_bytes()),
            Some(Piece::Bytes(bytes)) => Some(bytes),
            Some(Piece::RunByte(byte)) => Some(vec![byte]),
            Some(Piece::Nothing) => None,
            None => self.decode(&[id], false).ok().map(String::into_bytes),
        }
    }

    /// The id of a vocabulary entry or an added token.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        match &self.inner.backend {
            Backend::Hf(tokenizer) => tokenizer.id_of(token),
            Backend::Gguf(tokenizer) => tokenizer.vocab.id_of(token),
        }
    }

    /// The token that begins a sequence.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.inner.bos_token_id
    }

    /// All tokens that end a generation: end of sequence, of turn, of message.
    /// Ascending.
    ///
    /// For a Hugging Face directory these are the ids of `generation_config.json`
    /// (or else `config.json`) and the tokenizer's own end-of-sequence token;
    /// tokens known by name only if none of these says anything. For a GGUF file
    /// they are those that llama.cpp finds.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.inner.eos_token_ids
    }

    /// The special tokens that have a name, for templates: `bos_token` and so on.
    pub fn special_tokens(&self) -> &BTreeMap<String, String> {
        &self.inner.special_tokens
    }

    /// Whether decoding with `skip_special` leaves `id` out.
    pub fn is_special(&self, id: u32) -> bool {
        match &self.inner.backend {
            Backend::Hf(tokenizer) => tokenizer.is_special(id),
            Backend::Gguf(tokenizer) => tokenizer.vocab.is_special(id),
        }
    }

    /// What `id` contributes to a text, if tokens can be taken one by one.
    pub(super) fn piece(&self, id: u32, skip_special: bool) -> Option<Piece> {
        if skip_special && self.is_special(id) {
            return Some(Piece::Nothing);
        }
        match &self.inner.backend {
            Backend::Hf(tokenizer) => match tokenizer.token_text(id) {
                Some(token) => tokenizer.style.piece(&token),
                None => Some(Piece::Nothing),
            },
            Backend::Gguf(tokenizer) => Some(Piece::Bytes(tokenizer.bytes(id))),
        }
    }

    /// Begins a text that is decoded token by token, if that is possible.
    pub(super) fn stream(&self) -> Option<Stream> {
        match &self.inner.backend {
            Backend::Hf(tokenizer) => tokenizer.style.stream(),
            Backend::Gguf(tokenizer) => Some(tokenizer.stream()),
        }
    }
}
