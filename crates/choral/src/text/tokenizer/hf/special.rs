//! Special tokens and end-of-generation ids, from the files beside
//! `tokenizer.json`.
//!
//! Source: transformers `tokenization_utils_base.py` (which file wins) and
//! `generation/configuration_utils.py`.

use std::path::Path;

use choral_formats::{FormatError, JsonObject};
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use super::Extras;

/// The special tokens that have a name of their own.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Tokens that end a turn or a text in published models; only consulted when no
/// configuration names any end.
pub(in crate::text::tokenizer) const KNOWN_ENDS: [&str; 14] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
];

pub(super) enum SpecialError {
    File(FormatError),
    Token(String),
}

impl From<FormatError> for SpecialError {
    fn from(error: FormatError) -> Self {
        Self::File(error)
    }
}

/// Reads the directory's configuration files, and marks the tokens that they
/// name as special.
pub(super) fn read(path: &Path, tokenizer: &mut Tokenizer) -> Result<Extras, SpecialError> {
    let open = |name: &str| {
        let file = path.join(name);
        file.is_file().then(|| JsonObject::open(file)).transpose()
    };
    let config = open("tokenizer_config.json")?;
    let map = open("special_tokens_map.json")?;
    let mut extras = Extras::default();
    for name in NAMES {
        let named = |file: &Option<JsonObject>| {
            file.as_ref()?
                .get(name)
                .and_then(token_content)
                .map(str::to_owned)
        };
        // An explicit null in the configuration means that there is none.
        let from_map = config
            .as_ref()
            .is_none_or(|config| config.get(name).is_none());
        let token = named(&config).or_else(|| from_map.then(|| named(&map)).flatten());
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            extras.special_tokens.insert(name.into(), token);
        }
    }
    mark_special(tokenizer, extras.special_tokens.values())?;

    let mut ends = Vec::new();
    for name in ["generation_config.json", "config.json"] {
        if let Some(file) = open(name)?
            && ends.is_empty()
        {
            ends = eos_ids(&file)?;
        }
    }
    let own = extras.special_tokens.get("eos_token");
    ends.extend(own.and_then(|token| tokenizer.token_to_id(token)));
    if ends.is_empty() {
        let known = KNOWN_ENDS.iter();
        ends.extend(known.filter_map(|token| tokenizer.token_to_id(token)));
    }
    ends.sort_unstable();
    ends.dedup();
    extras.eos_token_ids = ends;
    Ok(extras)
}

/// A token is a string, or an object that describes an added token.
fn token_content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// `eos_token_id`: absent, one id or several. Models of text and images keep it
/// in the part that describes the text model.
fn eos_ids(file: &JsonObject) -> Result<Vec<u32>, FormatError> {
    if let Some(ids) = file.one_or_more_u32("eos_token_id")? {
        return Ok(ids);
    }
    match file.object("text_config")? {
        Some(part) => Ok(part.one_or_more_u32("eos_token_id")?.unwrap_or_default()),
        None => Ok(Vec::new()),
    }
}

/// transformers makes sure that named tokens are found in texts and skipped in
/// output. Names of tokens that the vocabulary does not have are ignored:
/// giving them new ids would point beyond the model's embedding.
fn mark_special<'t>(
    tokenizer: &mut Tokenizer,
    tokens: impl Iterator<Item = &'t String>,
) -> Result<(), SpecialError> {
    let mut marked = Vec::new();
    for token in tokens {
        let Some(id) = tokenizer.token_to_id(token) else {
            tracing::warn!("special token `{token}` is not in the vocabulary");
            continue;
        };
        let added = tokenizer.get_added_vocabulary();
        if added.is_special_token(token) {
            continue;
        }
        let as_added = added.get_added_tokens_decoder().get(&id).cloned();
        let as_added = as_added.unwrap_or_else(|| AddedToken::from(token.as_str(), true));
        marked.push(as_added.special(true));
    }
    if !marked.is_empty() {
        tokenizer
            .add_special_tokens(marked)
            .map_err(|error| SpecialError::Token(format!("special tokens: {error}")))?;
    }
    Ok(())
}
