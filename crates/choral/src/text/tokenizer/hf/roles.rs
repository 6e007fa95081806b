//! Which tokens have a role, by the files beside `tokenizer.json`.
//!
//! Source: transformers, `tokenization_utils_base.py` (which file says what),
//! `tokenization_utils_fast.py` (what is added to the tokenizer) and
//! `tokenization_llama_fast.py` (`add_bos_token`).

use std::collections::BTreeMap;
use std::path::Path;

use choral_formats::JsonObject;
use serde_json::Value;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer};

use crate::text::tokenizer::{SpecialTokens, TokenizerError, special};

/// Reads the files in `directory`. Makes the tokens that they name special, and
/// has the tokenizer add the ones that they want added.
pub(super) fn apply(
    directory: &Path,
    tokenizer: &mut Tokenizer,
) -> Result<SpecialTokens, TokenizerError> {
    let config = open(directory, "tokenizer_config.json")?;
    let map = open(directory, "special_tokens_map.json")?;
    let texts = texts(map.as_ref(), config.as_ref());
    make_special(directory, tokenizer, texts.values())?;
    if let Some(config) = &config {
        add_bos_and_eos(tokenizer, config, &texts)?;
    }
    ends(directory, tokenizer, texts)
}

fn open(directory: &Path, name: &str) -> Result<Option<JsonObject>, TokenizerError> {
    let path = directory.join(name);
    Ok(path.exists().then(|| JsonObject::open(path)).transpose()?)
}

/// Tokens by role: whatever ends in `_token` and is a text, or an object with one.
/// The configuration overrules the older map, with a null too.
fn texts(map: Option<&JsonObject>, config: Option<&JsonObject>) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (key, value) in map.into_iter().chain(config).flat_map(JsonObject::iter) {
        if !key.ends_with("_token") {
            continue;
        }
        let text = value.as_str().or_else(|| value["content"].as_str());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            texts.insert(key.to_owned(), text.to_owned());
        } else if *value == Value::Null {
            texts.remove(key);
        }
    }
    texts
}

/// Tokens with a role are to be found in texts and skipped in output, whatever
/// `tokenizer.json` calls them. One that is not in the vocabulary stays out: a new
/// id would point beyond the model's embedding.
fn make_special<'t>(
    directory: &Path,
    tokenizer: &mut Tokenizer,
    texts: impl Iterator<Item = &'t String>,
) -> Result<(), TokenizerError> {
    let added = tokenizer.get_added_vocabulary();
    let as_special = |text: &String| {
        let id = tokenizer.token_to_id(text)?;
        let token = added.get_added_tokens_decoder().get(&id).cloned();
        let token = token.unwrap_or_else(|| AddedToken::from(text.as_str(), true));
        Some(token.special(true))
    };
    let new: Vec<AddedToken> = texts
        .filter(|text| !added.is_special_token(text))
        .filter_map(as_special)
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let invalid = |error: tokenizers::Error| {
        let file = directory.join("tokenizer_config.json");
        TokenizerError::invalid(&file, "special tokens", error)
    };
    tokenizer.add_special_tokens(new).map_err(invalid)?;
    Ok(())
}

/// Whether the reference lets `add_bos_token` and `add_eos_token` overrule what
/// `tokenizer.json` adds to a text: it does for these classes only.
fn obeys_add_bos(class: &str) -> bool {
    matches!(
        class.strip_suffix("Fast").unwrap_or(class),
        "LlamaTokenizer" | "CodeLlamaTokenizer" | "GemmaTokenizer" | "CohereTokenizer"
    )
}

fn add_bos_and_eos(
    tokenizer: &mut Tokenizer,
    config: &JsonObject,
    texts: &BTreeMap<String, String>,
) -> Result<(), TokenizerError> {
    let class = config.str("tokenizer_class")?.unwrap_or_default();
    let add_bos = config.bool("add_bos_token")?;
    let add_eos = config.bool("add_eos_token")?;
    if !obeys_add_bos(class) || (add_bos.is_none() && add_eos.is_none()) {
        return Ok(());
    }
    let token = |key: &str, role: &str, add: bool| {
        if !add {
            return Ok(None);
        }
        let text = texts.get(role);
        let id = text.and_then(|text| tokenizer.token_to_id(text));
        text.cloned().zip(id).map(Some).ok_or_else(|| {
            config.invalid(
                key,
                format!("false, for the vocabulary has no `{role}`"),
                true,
            )
        })
    };
    let bos = token("add_bos_token", "bos_token", add_bos.unwrap_or(true))?;
    let eos = token("add_eos_token", "eos_token", add_eos.unwrap_or(false))?;
    // Built from JSON: in the crate's own notation a colon in a token would have
    // a meaning.
    let piece = |kind: &str, id: &str| serde_json::json!({kind: {"id": id, "type_id": 0}});
    let special = |token: &Option<(String, u32)>| {
        token
            .iter()
            .map(|(text, _)| piece("SpecialToken", text))
            .collect::<Vec<_>>()
    };
    let (before, text, after) = (special(&bos), piece("Sequence", "A"), special(&eos));
    let single: Vec<Value> = before
        .into_iter()
        .chain([text.clone()])
        .chain(after)
        .collect();
    let tokens: serde_json::Map<String, Value> = [bos, eos]
        .into_iter()
        .flatten()
        .map(|(text, id)| {
            let token = serde_json::json!({"id": text, "ids": [id], "tokens": [text]});
            (text, token)
        })
        .collect();
    let template = serde_json::json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": [text, piece("Sequence", "B")],
        "special_tokens": tokens,
    });
    let template: TemplateProcessing = serde_json::from_value(template)
        .map_err(|error| TokenizerError::invalid(config.file(), "add_bos_token", error))?;
    tokenizer.with_post_processor(Some(PostProcessorWrapper::Template(template)));
    Ok(())
}

/// Which ids begin and end a text.
///
/// The configuration for generation has the ends; without it, or if it names none,
/// the model's configuration does. The tokenizer's own end comes on top: chat
/// models often kept the configurations of their base models.
fn ends(
    directory: &Path,
    tokenizer: &Tokenizer,
    texts: BTreeMap<String, String>,
) -> Result<SpecialTokens, TokenizerError> {
    let id_of = |role: &str| texts.get(role).and_then(|text| tokenizer.token_to_id(text));
    let (mut bos, mut eos) = (id_of("bos_token"), Vec::from_iter(id_of("eos_token")));
    let generation = open(directory, "generation_config.json")?;
    let config = open(directory, "config.json")?;
    // Models of images and text have the text model's part apart.
    let part = config.as_ref().map(|config| config.object("text_config"));
    let part = part.transpose()?.flatten();
    let mut named = Vec::new();
    for file in [&generation, &config, &part].into_iter().flatten() {
        let ids = file.one_or_more_u32("eos_token_id")?.unwrap_or_default();
        if named.is_empty() {
            named = ids;
        }
        bos = bos.or(file.u32("bos_token_id")?);
    }
    eos.append(&mut named);
    let known = |id: &u32| tokenizer.id_to_token(*id).is_some();
    if let Some(id) = eos.iter().chain(&bos).find(|id| !known(id)) {
        tracing::warn!(
            "{}: BOS or EOS id {id} is not in the vocabulary: ignored",
            directory.display()
        );
    }
    eos.retain(known);
    if eos.is_empty() {
        let named = special::END
            .iter()
            .filter_map(|name| tokenizer.token_to_id(name));
        eos.extend(named);
    }
    eos.sort_unstable();
    eos.dedup();
    Ok(SpecialTokens {
        bos: bos.filter(known),
        eos,
        texts,
    })
}
