//! `tokenizer.json`, from bytes to parts of the `tokenizers` crate.
//!
//! Nothing reaches the crate unchecked: see [`structure`](super::structure),
//! [`growth`](super::growth) and [`model`](super::model).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use choral_formats::FormatError;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::{
    AddedToken, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

use super::decode::Decoder;
use super::normal::Normal;
use super::{growth, model, structure};
use crate::text::tokenizer::TokenizerError;

/// Largest file that is read. The largest real ones have about 35 MB.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Deserialize)]
struct TokenizerJson<'a> {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<AddedTokenJson>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    #[serde(borrow)]
    model: &'a RawValue,
    // `truncation` and `padding` are not read: what is too long is the caller's
    // to decide.
}

#[derive(Deserialize)]
struct AddedTokenJson {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// What a file holds.
pub(super) struct Loaded {
    pub(super) tokenizer: Tokenizer,
    pub(super) normal: Normal,
    pub(super) decoder: Decoder,
    /// One more than the highest id.
    pub(super) vocab_size: usize,
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Loaded, TokenizerError> {
    let text = read_text(path)?;
    let parsed: TokenizerJson = serde_json::from_str(&text).map_err(|source| {
        let file = path.to_path_buf();
        FormatError::Json { file, source }
    })?;
    let invalid =
        |part: &'static str| move |problem: String| TokenizerError::invalid(path, part, problem);
    if let Some(version) = parsed.version.as_deref().filter(|&v| v != "1.0") {
        return Err(TokenizerError::unsupported(path, "version", version));
    }

    let model = model::parse(parsed.model).map_err(invalid("model"))?;
    let mut vocab_size = model.vocab_size;
    let mut tokenizer = Tokenizer::new(model.model);
    let before_model = [&parsed.normalizer, &parsed.pre_tokenizer];
    if let Some(normalizer) = &parsed.normalizer {
        structure::check_normalizer(normalizer).map_err(invalid("normalizer"))?;
    }
    if let Some(pre_tokenizer) = &parsed.pre_tokenizer {
        structure::check_pre_tokenizer(pre_tokenizer).map_err(invalid("pre_tokenizer"))?;
    }
    growth::check(before_model.into_iter().flatten())
        .map_err(invalid("normalizer and pre_tokenizer"))?;
    if let Some(normalizer) = &parsed.normalizer {
        let normalizer: NormalizerWrapper = build(normalizer).map_err(invalid("normalizer"))?;
        tokenizer
            .with_normalizer(Some(normalizer))
            .map_err(|error| invalid("normalizer")(error.to_string()))?;
    }
    if let Some(pre_tokenizer) = &parsed.pre_tokenizer {
        let pre_tokenizer: PreTokenizerWrapper =
            build(pre_tokenizer).map_err(invalid("pre_tokenizer"))?;
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    }
    let normal = Normal::new(parsed.normalizer.as_ref()).map_err(invalid("normalizer"))?;
    let highest = add_tokens(path, &mut tokenizer, &normal, &parsed.added_tokens)?;
    vocab_size = vocab_size.max(highest);
    if let Some(processor) = &parsed.post_processor {
        let known = |id: u64| u32::try_from(id).is_ok_and(|id| tokenizer.id_to_token(id).is_some());
        structure::check_post_processor(processor, &known).map_err(invalid("post_processor"))?;
        let processor: PostProcessorWrapper =
            build(processor).map_err(invalid("post_processor"))?;
        tokenizer.with_post_processor(Some(processor));
    }
    let decoder = Decoder::new(parsed.decoder.as_ref()).map_err(invalid("decoder"))?;
    Ok(Loaded {
        tokenizer,
        normal,
        decoder,
        vocab_size,
    })
}

/// Turns a checked part into the crate's.
pub(super) fn build<T: for<'de> Deserialize<'de>>(part: &Value) -> Result<T, String> {
    T::deserialize(part).map_err(|error| error.to_string())
}

/// Adds the file's own list of tokens. Returns one more than their highest id.
fn add_tokens(
    path: &Path,
    tokenizer: &mut Tokenizer,
    normal: &Normal,
    entries: &[AddedTokenJson],
) -> Result<usize, TokenizerError> {
    let invalid = |problem: String| TokenizerError::invalid(path, "added_tokens", problem);
    for entry in entries.iter().filter(|entry| entry.token.normalized) {
        normal.check(&entry.token.content).map_err(invalid)?;
    }
    let tokens = entries.iter().map(|entry| entry.token.clone());
    tokenizer
        .add_tokens(tokens)
        .map_err(|error| invalid(error.to_string()))?;

    let strips_right = entries.iter().find(|entry| entry.token.rstrip);
    let mut vocab_size = 0;
    for AddedTokenJson { id, token } in entries {
        // The crate leaves out a token without text, and so do we.
        let Some(found) = tokenizer.token_to_id(&token.content) else {
            continue;
        };
        vocab_size = vocab_size.max(found as usize + 1);
        if found != *id {
            // The crate, which is the reference, numbers tokens by itself.
            tracing::warn!(
                "{}: added token {:?} should have id {id}, but gets {found}",
                path.display(),
                token.content
            );
        }
        // What the crate looks for in a text. It would find nothing everywhere,
        // and could find a token that begins in the white space of another one.
        let pattern = tokenizer.get_added_vocabulary().simple_id_to_token(found);
        let pattern = pattern.unwrap_or_default();
        if pattern.is_empty() {
            let problem = format!(
                "nothing is left of {:?} after the normalizer",
                token.content
            );
            return Err(invalid(problem));
        }
        if let Some(other) = strips_right.filter(|_| pattern.starts_with(char::is_whitespace)) {
            let (token, other) = (&token.content, &other.token.content);
            let problem = format!("{token:?} can begin in the white space that {other:?} strips");
            return Err(invalid(problem));
        }
    }
    Ok(vocab_size)
}

/// Reads a file of at most [`MAX_BYTES`] as UTF-8.
pub(in crate::text) fn read_text(path: &Path) -> Result<String, TokenizerError> {
    let io = |source| FormatError::Io {
        path: path.to_path_buf(),
        source,
    };
    let kind = std::fs::metadata(path).map_err(io)?;
    if !kind.is_file() {
        let problem = "expected a regular file";
        return Err(TokenizerError::invalid(path, "file type", problem));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        let problem = format!("expected at most {MAX_BYTES} bytes, found {}", kind.len());
        return Err(TokenizerError::invalid(path, "file size", problem));
    }
    String::from_utf8(bytes)
        .map_err(|error| TokenizerError::invalid(path, "text", error.utf8_error()))
}
