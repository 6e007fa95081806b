//! The `model` of `tokenizer.json`: vocabulary and merges.
//!
//! Parsed here and handed to the `tokenizers` crate checked. The crate would panic
//! on merges that are longer than any token, and decode an id that two tokens
//! share as either of them, by chance.

use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::Model as _;
use tokenizers::ModelWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;

/// Ids from here on are refused: they do not fit the 32-bit signed ids that
/// other software uses, and are never real.
const ID_LIMIT: u32 = 1 << 31;

/// Longest token of a unigram model, in bytes: the crate keeps tokens in a tree
/// that is as deep as they are long, and takes it down by recursion.
const MAX_UNIGRAM_BYTES: usize = 1024;

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<String>,
    merges: Option<serde::de::IgnoredAny>,
}

/// A checked model.
pub(super) struct Parsed {
    pub(super) model: ModelWrapper,
    /// One more than the highest id.
    pub(super) vocab_size: usize,
}

#[derive(Deserialize)]
struct UnigramFields {
    vocab: Vec<(String, f64)>,
    unk_id: Option<usize>,
    byte_fallback: Option<bool>,
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
pub(super) fn parse(json: &RawValue) -> Result<Parsed, String> {
    let head: Head = from_json(json)?;
    let kind = match &head.kind {
        Some(kind) => kind.as_str(),
        // Files from before 2021 do not name the type.
        None if head.merges.is_some() => "BPE",
        None => return Err("no `type`".to_owned()),
    };
    match kind {
        "BPE" => bpe(from_json(json)?),
        "Unigram" => unigram(from_json(json)?),
        "WordPiece" => words(from_json::<WordPiece>(json)?.into()),
        "WordLevel" => words(from_json::<WordLevel>(json)?.into()),
        other => Err(format!("type `{other}` is not supported")),
    }
}

fn from_json<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(json.get()).map_err(|error| error.to_string())
}

/// One more than the highest id, if all ids are different and possible.
fn check_ids(ids: impl Iterator<Item = u32>) -> Result<usize, String> {
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    if let Some([id, _]) = ids.array_windows().find(|[a, b]| a == b) {
        return Err(format!("two tokens have the id {id}"));
    }
    match ids.last() {
        None => Err("the vocabulary is empty".to_owned()),
        Some(&id) if id >= ID_LIMIT => Err(format!("a token has the impossible id {id}")),
        Some(&id) => Ok(id as usize + 1),
    }
}

fn words(model: ModelWrapper) -> Result<Parsed, String> {
    let vocab_size = check_ids(model.get_vocab().into_values())?;
    Ok(Parsed { model, vocab_size })
}

fn unigram(fields: UnigramFields) -> Result<Parsed, String> {
    let vocab_size = check_ids(0..fields.vocab.len() as u32)?;
    let mut tokens = fields.vocab.iter().map(|(token, _)| token);
    if let Some(long) = tokens.find(|token| token.len() > MAX_UNIGRAM_BYTES) {
        let (found, limit) = (long.len(), MAX_UNIGRAM_BYTES);
        return Err(format!("a token has {found} bytes, more than {limit}"));
    }
    let byte_fallback = fields.byte_fallback.unwrap_or(false);
    let model = Unigram::from(fields.vocab, fields.unk_id, byte_fallback)
        .map_err(|error| error.to_string())?;
    Ok(Parsed {
        model: model.into(),
        vocab_size,
    })
}

fn bpe(fields: BpeFields) -> Result<Parsed, String> {
    let vocab_size = check_ids(fields.vocab.values().copied())?;
    if fields.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err("`dropout` would make encoding random".to_owned());
    }
    let prefix = fields.continuing_subword_prefix.as_deref().unwrap_or("");
    let mut merged = String::new();
    for Merge(left, right) in &fields.merges {
        let Some(rest) = right.strip_prefix(prefix) else {
            return Err(format!(
                "merge {left:?} + {right:?} lacks the prefix {prefix:?}"
            ));
        };
        merged.clear();
        merged.push_str(left);
        merged.push_str(rest);
        let parts = [left, right, &merged];
        if let Some(part) = parts.iter().find(|part| !fields.vocab.contains_key(**part)) {
            return Err(format!(
                "merge {left:?} + {right:?}: {part:?} is not in the vocabulary"
            ));
        }
    }
    let unknown = fields.unk_token.as_ref();
    if let Some(unknown) = unknown.filter(|&token| !fields.vocab.contains_key(token)) {
        return Err(format!("`unk_token` {unknown:?} is not in the vocabulary"));
    }
    let merges = fields.merges.into_iter();
    let merges = merges.map(|Merge(left, right)| (left, right)).collect();
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
    let model = builder.build().map_err(|error| error.to_string())?;
    Ok(Parsed {
        model: model.into(),
        vocab_size,
    })
}
