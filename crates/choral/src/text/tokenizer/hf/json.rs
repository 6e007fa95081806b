//! `tokenizer.json`, as far as we take it apart ourselves.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use choral_formats::FormatError;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::models::ModelWrapper;

use super::guard;
use crate::text::tokenizer::TokenizerError;

/// Largest file that is read. The largest real ones have about 35 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The parts of the file. Limits on length (`truncation`, `padding`) are not
/// among them: the caller decides what is too long.
#[derive(Deserialize)]
pub(super) struct Parts {
    #[serde(default)]
    added_tokens: Vec<AddedTokenJson>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    model: Value,
}

#[derive(Deserialize)]
struct AddedTokenJson {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

pub(super) fn read(path: &Path) -> Result<Parts, TokenizerError> {
    let io = |source| FormatError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        let problem = format!("larger than {MAX_BYTES} bytes");
        return Err(TokenizerError::invalid(path, "file size", problem));
    }
    serde_json::from_slice(&bytes).map_err(|source| {
        let file = path.to_path_buf();
        FormatError::Json { file, source }.into()
    })
}

/// Builds the crate's tokenizer; returns it and one more than its highest id.
pub(super) fn build(
    path: &Path,
    parts: &Parts,
) -> Result<(tokenizers::Tokenizer, usize), TokenizerError> {
    guard::check_growth(path, "normalizer and pre_tokenizer", [&parts.normalizer, &parts.pre_tokenizer])?;
    let model: ModelWrapper = part(path, "model", &parts.model)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let normalizer: Option<tokenizers::NormalizerWrapper> = part(path, "normalizer", &parts.normalizer)?;
    let failed = |error: tokenizers::Error| TokenizerError::Failed(error.to_string());
    tokenizer.with_normalizer(normalizer).map_err(failed)?;
    let pre: Option<tokenizers::PreTokenizerWrapper> = part(path, "pre_tokenizer", &parts.pre_tokenizer)?;
    tokenizer.with_pre_tokenizer(pre);
    let post: Option<tokenizers::PostProcessorWrapper> = part(path, "post_processor", &parts.post_processor)?;
    tokenizer.with_post_processor(post);
    tokenizer
        .add_tokens(parts.added_tokens.iter().map(|added| added.token.clone()))
        .map_err(failed)?;
    for added in &parts.added_tokens {
        let id = tokenizer.token_to_id(&added.token.content);
        if id != Some(added.id) {
            tracing::warn!("{}: added token {:?} should have id {}, has {id:?}", path.display(), added.token.content, added.id);
        }
    }
    let size = tokenizer.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
    Ok((tokenizer, size))
}

fn part<T: serde::de::DeserializeOwned>(
    path: &Path,
    name: &str,
    value: &Value,
) -> Result<T, TokenizerError> {
    serde_json::from_value(value.clone()).map_err(|error| TokenizerError::invalid(path, name, error))
}
