//! Builds the model part (vocabulary and merges) of `tokenizer.json`.
//!
//! BPE, which nearly every language model uses, is parsed here and handed to
//! the `tokenizers` crate checked: the crate copies merges into a buffer of the
//! longest token's length and would panic on merges that do not belong to the
//! vocabulary.

use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::ModelWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{Model as _, Result as CrateResult};

/// Ids from here on are refused: they do not fit the 32-bit signed ids that
/// other software uses, and are never real.
pub(super) const ID_LIMIT: u32 = 1 << 31;

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<String>,
    merges: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct BpeFields {
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: Vocab,
    merges: Vec<Merge>,
}

/// `"left right"` in older files, `["left", "right"]` in newer ones.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge(left.into(), right.into()))
                    }
                    _ => Err(E::custom(format!("merge `{text}` is not two tokens"))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Merge, A::Error> {
                let left = parts.next_element()?;
                let right = parts.next_element()?;
                match (left, right, parts.next_element::<String>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::custom("a merge that is not two tokens")),
                }
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

/// Parses and checks the `model` of a tokenizer.
pub(super) fn parse(json: &RawValue) -> Result<ModelWrapper, String> {
    let text = |error: serde_json::Error| format!("model: {error}");
    let head: Head = serde_json::from_str(json.get()).map_err(text)?;
    let kind = match &head.kind {
        Some(kind) => kind.as_str(),
        // Files from before 2021 do not name the type.
        None if head.merges.is_some() => "BPE",
        None => return Err("model: no type".into()),
    };
    let model = match kind {
        "BPE" => bpe(serde_json::from_str(json.get()).map_err(text)?)?.into(),
        "WordPiece" => {
            ModelWrapper::from(serde_json::from_str::<WordPiece>(json.get()).map_err(text)?)
        }
        "WordLevel" => {
            ModelWrapper::from(serde_json::from_str::<WordLevel>(json.get()).map_err(text)?)
        }
        "Unigram" => ModelWrapper::from(serde_json::from_str::<Unigram>(json.get()).map_err(text)?),
        other => return Err(format!("model type `{other}` is not supported")),
    };
    if model.get_vocab_size() == 0 {
        return Err("the vocabulary is empty".into());
    }
    if let Some((token, id)) = model.get_vocab().iter().find(|(_, id)| **id >= ID_LIMIT) {
        return Err(format!("token `{token}` has the impossible id {id}"));
    }
    Ok(model)
}

fn bpe(fields: BpeFields) -> Result<BPE, String> {
    if fields.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err("model: dropout would make encoding random".into());
    }
    let prefix = fields.continuing_subword_prefix.as_deref().unwrap_or("");
    let mut merged = String::new();
    for Merge(left, right) in &fields.merges {
        merged.clear();
        merged.push_str(left);
        merged.push_str(right.strip_prefix(prefix).unwrap_or(right));
        let parts = [left, right, &merged];
        if let Some(part) = parts.iter().find(|part| !fields.vocab.contains_key(**part)) {
            return Err(format!(
                "merge `{left}` + `{right}`: `{part}` is not in the vocabulary"
            ));
        }
        if !right.starts_with(prefix) {
            return Err(format!(
                "merge `{left}` + `{right}` lacks the prefix `{prefix}`"
            ));
        }
    }
    if let Some(unknown) = &fields.unk_token
        && !fields.vocab.contains_key(unknown)
    {
        return Err(format!(
            "the unknown token `{unknown}` is not in the vocabulary"
        ));
    }
    let merges = fields
        .merges
        .into_iter()
        .map(|Merge(left, right)| (left, right))
        .collect();
    let mut builder = BPE::builder()
        .vocab_and_merges(fields.vocab, merges)
        .fuse_unk(fields.fuse_unk.unwrap_or(false))
        .byte_fallback(fields.byte_fallback.unwrap_or(false))
        .ignore_merges(fields.ignore_merges.unwrap_or(false));
    if let Some(unknown) = fields.unk_token {
        builder = builder.unk_token(unknown);
    }
    if let Some(prefix) = fields.continuing_subword_prefix {
        builder = builder.continuing_subword_prefix(prefix);
    }
    if let Some(suffix) = fields.end_of_word_suffix {
        builder = builder.end_of_word_suffix(suffix);
    }
    let model: CrateResult<BPE> = builder.build();
    model.map_err(|error| format!("model: {error}"))
}
