//! Tokenizers of Hugging Face directories.
//!
//! Owns `tokenizer.json` and what the files beside it say about special tokens.
//! Encoding is the `tokenizers` crate's; decoding is ours ([`decode`]), because a
//! stream of ids must become text piece by piece. The crate trusts its files;
//! [`json`] gives it only what has been checked.

mod charsmap;
mod decode;
mod growth;
mod json;
mod model;
mod normal;
mod roles;
mod structure;
#[cfg(test)]
mod tests;
mod words;

use std::path::Path;

use tokenizers::Model as _;
use tokenizers::tokenizer::{AddedVocabulary, OffsetType};

use super::{EncodeOptions, SpecialTokens, TokenizerError};
use decode::Decoder;
pub(in crate::text) use decode::HfDecodeState;
pub(in crate::text) use json::read_text;
use normal::{Normal, Run};
use words::Words;

#[derive(Debug)]
pub(super) struct HfTokenizer {
    inner: tokenizers::Tokenizer,
    /// As in `inner`, but blind to special tokens in text.
    plain: AddedVocabulary,
    normal: Normal,
    words: Words,
    decoder: Decoder,
    vocab_size: usize,
}

/// Reads the tokenizer of a directory, and which tokens have a role.
pub(super) fn load(directory: &Path) -> Result<(HfTokenizer, SpecialTokens), TokenizerError> {
    let path = directory.join("tokenizer.json");
    if !path.exists() {
        return Err(TokenizerError::Missing {
            path: directory.to_path_buf(),
            expected: "tokenizer.json".to_owned(),
        });
    }
    let loaded = json::read(&path)?;
    let mut inner = loaded.tokenizer;
    let special = roles::apply(directory, &mut inner)?;
    let mut plain = inner.get_added_vocabulary().clone();
    plain.set_encode_special_tokens(true);
    let words = Words::new(inner.get_pre_tokenizer())
        .map_err(|error| TokenizerError::invalid(&path, "pre_tokenizer", error))?;
    let tokenizer = HfTokenizer {
        inner,
        plain,
        normal: loaded.normal,
        words,
        decoder: loaded.decoder,
        vocab_size: loaded.vocab_size,
    };
    Ok((tokenizer, special))
}

impl HfTokenizer {
    pub(super) fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
    ) -> Result<Vec<u32>, TokenizerError> {
        let encode = || {
            let added = if options.parse_special {
                self.inner.get_added_vocabulary()
            } else {
                &self.plain
            };
            let run = Run::new(&self.normal);
            let mut words = added.extract_and_normalize(Some(&run), text);
            run.finish()?;
            self.words.split(&mut words)?;
            let model = self.inner.get_model();
            model.tokenize_in_pretokenized(&mut words, None)?;
            let encoding = words.into_encoding(None, 0, OffsetType::None)?;
            self.inner.post_process(encoding, None, options.add_special)
        };
        match encode() {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(TokenizerError::Failed(error.to_string())),
        }
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub(super) fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub(super) fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.inner.id_to_token(id)?;
        if self.is_special_text(&token) {
            return Some(token.into_bytes());
        }
        Some(self.decoder.bytes(token))
    }

    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        let token = self.token_text(id);
        token.is_some_and(|token| self.is_special_text(&token))
    }

    fn is_special_text(&self, token: &str) -> bool {
        self.inner.get_added_vocabulary().is_special_token(token)
    }

    pub(super) fn decode_state(&self) -> HfDecodeState {
        self.decoder.start()
    }

    pub(super) fn decode_step(
        &self,
        state: &mut HfDecodeState,
        id: u32,
        skip_special: bool,
        out: &mut String,
    ) {
        let Some(token) = self.token_text(id) else {
            return;
        };
        if !(skip_special && self.is_special_text(&token)) {
            self.decoder.push(state, token, out);
        }
    }

    pub(super) fn decode_finish(&self, state: &mut HfDecodeState, out: &mut String) {
        self.decoder.finish(state, out);
    }
}
