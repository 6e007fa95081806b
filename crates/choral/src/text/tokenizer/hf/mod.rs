//! Tokenizers of Hugging Face directories: `tokenizer.json`.
//!
//! Encoding is done by the `tokenizers` crate. This module reads the file with
//! bounds, checks what the crate would trust (`structure.rs`, `model.rs`), and
//! finds the special tokens and the tokens that end a generation in the files
//! beside it. Special tokens are added around a text as the file's
//! post-processor says; like transformers 5, `add_bos_token` in
//! `tokenizer_config.json` is not consulted when there is a `tokenizer.json`.

mod charsmap;
mod growth;
mod model;
mod special;
mod structure;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer,
};

pub(super) use structure::kind;

use super::decode::Style;
use super::{EncodeOptions, TokenizerError};

/// Largest `tokenizer.json` that is read; the largest real ones have 35 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

#[derive(Deserialize)]
struct TokenizerFile<'a> {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<AddedTokenEntry>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    #[serde(borrow)]
    model: &'a RawValue,
    // `truncation` and `padding` are left unread: prompts are never cut.
}

#[derive(Deserialize)]
struct AddedTokenEntry {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// A loaded `tokenizer.json`.
#[derive(Debug)]
pub(super) struct HfTokenizer {
    inner: Tokenizer,
    /// The same, but special tokens in a text are ordinary text. Made when
    /// first asked for: it is a second copy of the vocabulary.
    literal: OnceLock<Box<Tokenizer>>,
    /// Text is split by regular expressions.
    splits_by_regex: bool,
    pub(super) style: Style,
}

/// What the files beside `tokenizer.json` say.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// `bos_token` and the like, by name.
    pub(super) special_tokens: BTreeMap<String, String>,
    pub(super) eos_token_ids: Vec<u32>,
}

impl HfTokenizer {
    /// Loads the tokenizer of the directory `path`.
    pub(super) fn load(path: &Path) -> Result<(Self, Extras), TokenizerError> {
        let file = path.join("tokenizer.json");
        let json = read_text(&file)?;
        let invalid = |what: String| TokenizerError::Invalid {
            file: file.clone(),
            what,
        };
        let mut tokenizer = Self::parse(&json).map_err(invalid)?;
        let extras = special::read(path, &mut tokenizer.inner).map_err(|error| match error {
            special::SpecialError::File(error) => error.into(),
            special::SpecialError::Token(what) => invalid(what),
        })?;
        Ok((tokenizer, extras))
    }

    fn parse(json: &str) -> Result<Self, String> {
        let parsed: TokenizerFile = serde_json::from_str(json).map_err(|e| e.to_string())?;
        if let Some(version) = parsed
            .version
            .as_deref()
            .filter(|version| *version != "1.0")
        {
            return Err(format!("version `{version}` is not supported"));
        }
        let mut tokenizer = Tokenizer::new(model::parse(parsed.model)?);
        if let Some(normalizer) = &parsed.normalizer {
            structure::check_normalizer(normalizer).map_err(in_part("normalizer"))?;
            let normalizer: NormalizerWrapper = build("normalizer", normalizer)?;
            tokenizer
                .with_normalizer(Some(normalizer))
                .map_err(|error| format!("normalizer: {error}"))?;
        }
        if let Some(pre_tokenizer) = &parsed.pre_tokenizer {
            structure::check_pre_tokenizer(pre_tokenizer).map_err(in_part("pre_tokenizer"))?;
            let pre_tokenizer: PreTokenizerWrapper = build("pre_tokenizer", pre_tokenizer)?;
            tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
        }
        if let Some(decoder) = &parsed.decoder {
            structure::check_decoder(decoder).map_err(in_part("decoder"))?;
            let decoder: DecoderWrapper = build("decoder", decoder)?;
            tokenizer.with_decoder(Some(decoder));
        }
        add_tokens(&mut tokenizer, parsed.added_tokens)?;
        if let Some(processor) = &parsed.post_processor {
            let has_token =
                |id: u64| u32::try_from(id).is_ok_and(|id| tokenizer.id_to_token(id).is_some());
            structure::check_post_processor(processor, &has_token)
                .map_err(in_part("post_processor"))?;
            let processor: PostProcessorWrapper = build("post_processor", processor)?;
            tokenizer.with_post_processor(Some(processor));
        }
        Ok(Self {
            inner: tokenizer,
            literal: OnceLock::new(),
            splits_by_regex: parsed
                .pre_tokenizer
                .as_ref()
                .is_some_and(structure::has_regex),
            style: Style::of_decoder(parsed.decoder.as_ref()),
        })
    }

    pub(super) fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
    ) -> Result<Vec<u32>, TokenizerError> {
        if self.splits_by_regex {
            check_runs(text)?;
        }
        let tokenizer = if options.parse_special {
            &self.inner
        } else {
            self.literal.get_or_init(|| {
                let mut literal = Box::new(self.inner.clone());
                literal.set_encode_special_tokens(true);
                literal
            })
        };
        tokenizer
            .encode_fast(text, options.add_special)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| TokenizerError::Encode(error.to_string()))
    }

    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|error| TokenizerError::Decode(error.to_string()))
    }

    pub(super) fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        self.inner
            .id_to_token(id)
            .is_some_and(|token| added.is_special_token(&token))
    }
}

/// Longest run of white space or of digits that a regular expression with
/// lookahead can take; the engine's stack holds twice as many characters.
const MAX_RUN_CHARS: usize = 500_000;

/// Refuses what the regular expressions cannot split. The `tokenizers` crate
/// would leave the rest of the text unsplit without saying so, which gives other
/// tokens.
fn check_runs(text: &str) -> Result<(), TokenizerError> {
    if text.len() <= MAX_RUN_CHARS {
        return Ok(());
    }
    for (what, is_member) in [
        ("white space", char::is_whitespace as fn(char) -> bool),
        ("digits", char::is_numeric),
    ] {
        let mut run = 0;
        for c in text.chars() {
            run = if is_member(c) { run + 1 } else { 0 };
            if run > MAX_RUN_CHARS {
                return Err(TokenizerError::Encode(format!(
                    "the text has a run of more than {MAX_RUN_CHARS} characters of {what}"
                )));
            }
        }
    }
    Ok(())
}

fn in_part(part: &'static str) -> impl Fn(String) -> String {
    move |what| format!("{part}: {what}")
}

fn build<T: for<'de> Deserialize<'de>>(part: &str, value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| format!("{part}: {error}"))
}

/// Adds the file's own list of tokens. The crate numbers tokens that the model
/// does not have by itself; that its numbers are the file's is checked after.
fn add_tokens(tokenizer: &mut Tokenizer, entries: Vec<AddedTokenEntry>) -> Result<(), String> {
    let ids: Vec<(String, u32)> = entries
        .iter()
        .filter(|entry| !entry.token.content.is_empty())
        .map(|entry| (entry.token.content.clone(), entry.id))
        .collect();
    tokenizer
        .add_tokens(entries.into_iter().map(|entry| entry.token))
        .map_err(|error| format!("added_tokens: {error}"))?;
    for (content, id) in ids {
        match tokenizer.token_to_id(&content) {
            Some(found) if found == id => {}
            found => {
                return Err(format!(
                    "added token `{content}` has id {id}, but the vocabulary gives it {found:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Reads a file of at most [`MAX_FILE_BYTES`] as UTF-8.
pub(in crate::text) fn read_text(path: &Path) -> Result<String, TokenizerError> {
    let failed = |source| TokenizerError::Io {
        path: path.to_path_buf(),
        source,
    };
    let kind = std::fs::metadata(path).map_err(failed)?;
    if !kind.is_file() {
        return Err(TokenizerError::Invalid {
            file: path.to_path_buf(),
            what: "not a regular file".into(),
        });
    }
    let bytes = kind.len();
    if bytes > MAX_FILE_BYTES {
        return Err(TokenizerError::TooLarge {
            path: path.to_path_buf(),
            bytes,
            limit: MAX_FILE_BYTES,
        });
    }
    let mut text = String::new();
    File::open(path)
        .map_err(failed)?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}
