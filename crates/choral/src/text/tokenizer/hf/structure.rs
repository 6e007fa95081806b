//! Checks the parts of `tokenizer.json` before the `tokenizers` crate builds
//! them.
//!
//! The crate trusts its input in places: a template that names an unknown
//! token or a second sequence, or a chunk length of zero, would panic. Types
//! are listed here, so that a new one is refused until it has been looked at.

use std::collections::HashMap;

use serde_json::Value;

const NORMALIZERS: [&str; 14] = [
    "BertNormalizer",
    "ByteLevel",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Replace",
    "Sequence",
    "Strip",
    "StripAccents",
];
const PRE_TOKENIZERS: [&str; 12] = [
    "BertPreTokenizer",
    "ByteLevel",
    "CharDelimiterSplit",
    "Digits",
    "FixedLength",
    "Metaspace",
    "Punctuation",
    "Sequence",
    "Split",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
];
const DECODERS: [&str; 9] = [
    "BPEDecoder",
    "ByteFallback",
    "ByteLevel",
    "Fuse",
    "Metaspace",
    "Replace",
    "Sequence",
    "Strip",
    "WordPiece",
];

/// The `type` of a component; empty if it has none.
pub(super) fn kind(component: &Value) -> &str {
    component.get("type").and_then(Value::as_str).unwrap_or("")
}

/// The parts of a component of type `Sequence`.
pub(super) fn members(component: &Value) -> Option<&Vec<Value>> {
    if kind(component) != "Sequence" {
        return None;
    }
    ["normalizers", "pretokenizers", "decoders", "processors"]
        .iter()
        .find_map(|name| component.get(name)?.as_array())
}

/// Applies `check` to a component, or to the parts of a sequence.
fn for_each(
    component: &Value,
    known: &[&str],
    check: &dyn Fn(&Value) -> Result<(), String>,
) -> Result<(), String> {
    let kind = kind(component);
    if !known.contains(&kind) {
        return Err(format!("type `{kind}` is not supported"));
    }
    if kind != "Sequence" {
        return check(component);
    }
    let members = members(component).ok_or("a sequence without members")?;
    members
        .iter()
        .try_for_each(|member| for_each(member, known, check))
}

pub(super) fn check_normalizer(normalizer: &Value) -> Result<(), String> {
    for_each(normalizer, &NORMALIZERS, &|_| Ok(()))
}

pub(super) fn check_pre_tokenizer(pre_tokenizer: &Value) -> Result<(), String> {
    for_each(pre_tokenizer, &PRE_TOKENIZERS, &|step| {
        let length = step.get("length").and_then(Value::as_u64);
        if kind(step) == "FixedLength" && length == Some(0) {
            return Err("FixedLength has length 0".into());
        }
        Ok(())
    })
}

pub(super) fn check_decoder(decoder: &Value) -> Result<(), String> {
    for_each(decoder, &DECODERS, &|_| Ok(()))
}

/// `has_token` tells whether an id is in the vocabulary.
pub(super) fn check_post_processor(
    processor: &Value,
    has_token: &dyn Fn(u64) -> bool,
) -> Result<(), String> {
    let kinds = [
        "BertProcessing",
        "ByteLevel",
        "RobertaProcessing",
        "Sequence",
        "TemplateProcessing",
    ];
    for_each(processor, &kinds, &|step| match kind(step) {
        "TemplateProcessing" => check_template(step, has_token),
        "BertProcessing" | "RobertaProcessing" => ["sep", "cls"].iter().try_for_each(|name| {
            let id = step.get(name).and_then(|token| token.get(1)?.as_u64());
            match id {
                Some(id) if has_token(id) => Ok(()),
                _ => Err(format!("`{name}` is not a token with its id")),
            }
        }),
        _ => Ok(()),
    })
}

fn check_template(template: &Value, has_token: &dyn Fn(u64) -> bool) -> Result<(), String> {
    let declared = template.get("special_tokens").and_then(Value::as_object);
    let mut tokens: HashMap<&str, &Value> = HashMap::new();
    for (name, token) in declared.into_iter().flatten() {
        let ids = token.get("ids").and_then(Value::as_array);
        let texts = token.get("tokens").and_then(Value::as_array);
        let (Some(ids), Some(texts)) = (ids, texts) else {
            return Err(format!("special token `{name}` has no ids"));
        };
        if ids.len() != texts.len() {
            return Err(format!("special token `{name}` has ids without texts"));
        }
        if !ids.iter().all(|id| id.as_u64().is_some_and(has_token)) {
            return Err(format!(
                "special token `{name}` has an id outside the vocabulary"
            ));
        }
        tokens.insert(name, token);
    }
    for (name, sequences) in [("single", &["A"][..]), ("pair", &["A", "B"])] {
        let pieces = template.get(name).and_then(Value::as_array);
        let mut wanted = sequences.to_vec();
        for piece in pieces.ok_or_else(|| format!("the template has no `{name}`"))? {
            let id = |piece: &Value| piece.get("id").and_then(Value::as_str).map(str::to_owned);
            if let Some(id) = piece.get("SpecialToken").and_then(id) {
                if !tokens.contains_key(id.as_str()) {
                    return Err(format!("the template names the unknown token `{id}`"));
                }
            } else if let Some(id) = piece.get("Sequence").and_then(id) {
                let at = wanted.iter().position(|sequence| *sequence == id);
                wanted.swap_remove(at.ok_or_else(|| {
                    format!("sequence `{id}` does not belong once into `{name}`")
                })?);
            } else {
                return Err(format!("`{name}` has a piece of unknown kind"));
            }
        }
    }
    Ok(())
}
