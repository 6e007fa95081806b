//! Tokenizers of Hugging Face directories.
//!
//! Owns which files are read and what they say about special tokens. Encoding is
//! the `tokenizers` crate's; decoding is ours, in [`decode`], because a stream of
//! ids must become text piece by piece. [`json`] and [`guard`] stand between
//! foreign files and the crate, which trusts them.

mod decode;
mod guard;
mod json;

use std::collections::BTreeMap;
use std::path::Path;

use choral_formats::JsonObject;
use serde_json::Value;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::tokenizer::{AddedVocabulary, OffsetType, PreTokenizer as _};
use tokenizers::{Model as _, PostProcessorWrapper};

use super::{EncodeOptions, SpecialTokens, TokenizerError};
use decode::Decoder;
pub(in crate::text) use decode::HfDecodeState;

#[derive(Debug)]
pub(super) struct HfTokenizer {
    inner: tokenizers::Tokenizer,
    /// As in `inner`, but blind to special tokens in text.
    plain: AddedVocabulary,
    decoder: Decoder,
    vocab_size: usize,
}

/// Reads the tokenizer of a directory, and which tokens have a role.
pub(super) fn load(directory: &Path) -> Result<(HfTokenizer, SpecialTokens), TokenizerError> {
    let path = directory.join("tokenizer.json");
    if !path.is_file() {
        return Err(TokenizerError::Missing {
            path: directory.to_path_buf(),
            expected: "tokenizer.json".to_owned(),
        });
    }
    let parts = json::read(&path)?;
    let config = open_if_there(directory, "tokenizer_config.json")?;
    let roles = open_if_there(directory, "special_tokens_map.json")?;
    let texts = special_token_texts(roles.as_ref(), config.as_ref());

    let (mut inner, vocab_size) = json::build(&path, &parts)?;
    if let Some(config) = &config {
        add_bos_and_eos(&mut inner, config, &texts)?;
    }
    let mut plain = inner.get_added_vocabulary().clone();
    plain.set_encode_special_tokens(true);
    let tokenizer = HfTokenizer {
        decoder: Decoder::from_json(&path, &parts.decoder)?,
        inner,
        plain,
        vocab_size,
    };
    let special = special_tokens(directory, &tokenizer, texts)?;
    Ok((tokenizer, special))
}

fn open_if_there(directory: &Path, name: &str) -> Result<Option<JsonObject>, TokenizerError> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(JsonObject::open(path)?))
}

/// Tokens by role: what ends in `_token` and is a text, or an object with one.
/// The configuration overrules the older map.
fn special_token_texts(
    roles: Option<&JsonObject>,
    config: Option<&JsonObject>,
) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (key, value) in roles.into_iter().chain(config).flat_map(JsonObject::iter) {
        let text = match value {
            Value::String(text) => Some(text.as_str()),
            Value::Object(token) => token.get("content").and_then(Value::as_str),
            _ => None,
        };
        if let Some(text) = text.filter(|_| key.ends_with("_token")) {
            texts.insert(key.to_owned(), text.to_owned());
        }
    }
    texts
}

/// Whether the reference lets `add_bos_token` and `add_eos_token` overrule what
/// `tokenizer.json` adds to a text: it does for these classes only.
fn rebuilds_post_processor(class: &str) -> bool {
    let class = class.strip_suffix("Fast").unwrap_or(class);
    matches!(
        class,
        "LlamaTokenizer" | "CodeLlamaTokenizer" | "GemmaTokenizer" | "CohereTokenizer"
    )
}

fn add_bos_and_eos(
    inner: &mut tokenizers::Tokenizer,
    config: &JsonObject,
    texts: &BTreeMap<String, String>,
) -> Result<(), TokenizerError> {
    let class = config.str("tokenizer_class")?.unwrap_or_default();
    let add_bos = config.bool("add_bos_token")?;
    let add_eos = config.bool("add_eos_token")?;
    if !rebuilds_post_processor(class) || (add_bos, add_eos) == (None, None) {
        return Ok(());
    }
    let token = |key: &str, role: &str, add: bool| {
        if !add {
            return Ok(None);
        }
        let id = texts.get(role).and_then(|text| inner.token_to_id(text));
        let found = texts.get(role).zip(id);
        found
            .map(Some)
            .ok_or_else(|| config.invalid(key, format!("false, or a `{role}` in the vocabulary"), "true"))
    };
    let bos = token("add_bos_token", "bos_token", add_bos.unwrap_or(true))?;
    let eos = token("add_eos_token", "eos_token", add_eos.unwrap_or(false))?;
    let failed = |error: String| TokenizerError::Failed(error);
    let pieces: Vec<String> = bos
        .iter()
        .map(|(text, _)| (*text).clone())
        .chain(["$A".to_owned()])
        .chain(eos.iter().map(|(text, _)| (*text).clone()))
        .collect();
    let specials: Vec<(String, u32)> = [bos, eos]
        .into_iter()
        .flatten()
        .map(|(text, id)| (text.clone(), id))
        .collect();
    let template = TemplateProcessing::builder()
        .try_single(pieces)
        .map_err(failed)?
        .special_tokens(specials)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    inner.with_post_processor(Some(PostProcessorWrapper::Template(template)));
    Ok(())
}

/// Which ids begin and end a text, from all files that say so.
///
/// Files disagree more often than not (a base model's configuration under a chat
/// model's tokenizer); generation ends at any token that one of them names.
fn special_tokens(
    directory: &Path,
    tokenizer: &HfTokenizer,
    texts: BTreeMap<String, String>,
) -> Result<SpecialTokens, TokenizerError> {
    let id_of = |role: &str| texts.get(role).and_then(|text| tokenizer.id_of(text));
    let (mut bos, mut eos) = (id_of("bos_token"), Vec::from_iter(id_of("eos_token")));
    let config = open_if_there(directory, "config.json")?;
    let text_config = match &config {
        Some(config) => config.object("text_config")?,
        None => None,
    };
    let generation = open_if_there(directory, "generation_config.json")?;
    for file in [&generation, &config, &text_config].into_iter().flatten() {
        eos.extend(file.one_or_more_u32("eos_token_id")?.unwrap_or_default());
        if bos.is_none() {
            bos = file.u32("bos_token_id")?;
        }
    }
    let known = |id: &u32| tokenizer.token_text(*id).is_some();
    if let Some(id) = eos.iter().chain(&bos).find(|id| !known(id)) {
        tracing::warn!(
            "{}: a BOS or EOS token has id {id}, which is not in the vocabulary: ignored",
            directory.display()
        );
    }
    eos.retain(known);
    eos.sort_unstable();
    eos.dedup();
    Ok(SpecialTokens {
        bos: bos.filter(known),
        eos,
        texts,
    })
}

impl HfTokenizer {
    pub(super) fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
    ) -> Result<Vec<u32>, TokenizerError> {
        let ids = || {
            let added = if options.parse_special {
                self.inner.get_added_vocabulary()
            } else {
                &self.plain
            };
            let mut words = added.extract_and_normalize(self.inner.get_normalizer(), text);
            if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut words)?;
            }
            self.inner.get_model().tokenize_in_pretokenized(&mut words, None)?;
            let encoding = words.into_encoding(None, 0, OffsetType::None)?;
            let encoding = self.inner.post_process(encoding, None, options.add_special)?;
            Ok(encoding.get_ids().to_vec())
        };
        ids().map_err(|error: tokenizers::Error| TokenizerError::Failed(error.to_string()))
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
        self.token_text(id).is_some_and(|token| self.is_special_text(&token))
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
        let Some(token) = self.token_text(id) else { return };
        if skip_special && self.is_special_text(&token) {
            return;
        }
        self.decoder.push(state, token, out);
    }

    pub(super) fn decode_finish(&self, state: &mut HfDecodeState, out: &mut String) {
        self.decoder.finish(state, out);
    }
}
