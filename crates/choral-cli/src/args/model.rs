//! Options that choose a model and the engine around it.

use anyhow::{Result, bail};
use choral::model::Numeric;
use clap::Args;
use std::path::PathBuf;

/// Which model.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelChoice {
    /// GGUF file or safetensors folder; without it, the small model that ships with choral
    #[arg(short, long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// Hub repository and quantisation (downloads are not built in: the error says what to do)
    #[arg(long = "hf", visible_alias = "hf-repo", value_name = "REPO[:QUANT]")]
    pub(crate) hf: Option<String>,
    /// Never use the network (it never is used)
    #[arg(long)]
    pub(crate) offline: bool,
}

impl ModelChoice {
    /// The model's path; none for the model that ships.
    pub(crate) fn path(&self) -> Result<Option<PathBuf>> {
        if let Some(repo) = &self.hf {
            bail!(
                "cannot download `{repo}`: this build has no downloads; fetch the file yourself \
                 (for example with `huggingface-cli download {}`) and name it with --model PATH",
                repo.split(':').next().unwrap_or(repo)
            );
        }
        let Some(path) = &self.model else {
            return Ok(None);
        };
        if !path.exists() {
            bail!(
                "no model at `{}`: expected a GGUF file or a folder with config.json and \
                 safetensors (hub names are not downloaded: fetch the files first)",
                path.display()
            );
        }
        Ok(Some(path.clone()))
    }
}

/// Which model, and how its engine is built.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) choice: ModelChoice,
    /// Arithmetic of the engine: bf16 or f32 (strict) [default: bf16]
    #[arg(long, visible_alias = "dtype", value_name = "NUMERIC")]
    pub(crate) numeric: Option<Numeric>,
    /// Compute threads [default: physical cores]
    #[arg(short, long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Context of each sequence, in tokens [default: the model's]
    #[arg(short, long, visible_aliases = ["ctx", "max-model-len"], value_name = "N")]
    pub(crate) ctx_size: Option<usize>,
    /// Most sequences in one step [default: automatic]
    #[arg(long, value_name = "N")]
    pub(crate) max_num_seqs: Option<usize>,
    /// Most tokens in one step [default: automatic]
    #[arg(long, value_name = "N")]
    pub(crate) max_num_batched_tokens: Option<usize>,
    /// Most tokens of one prompt in one step [default: automatic]
    #[arg(long, value_name = "N")]
    pub(crate) prefill_chunk: Option<usize>,
    /// Memory for keys and values, such as 512M or 2G [default: automatic]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) kv_memory: Option<usize>,
    /// Do not keep computed prefixes for later requests
    #[arg(long)]
    pub(crate) no_prefix_cache: bool,
    /// Type of cached keys: the one of the numeric [default: bf16]
    #[arg(long = "ctk", visible_alias = "cache-type-k", value_name = "TYPE")]
    pub(crate) cache_type_k: Option<String>,
    /// Type of cached values: the one of the numeric [default: bf16]
    #[arg(long = "ctv", visible_alias = "cache-type-v", value_name = "TYPE")]
    pub(crate) cache_type_v: Option<String>,
}

/// Parses `512M`: a whole number and an optional K, M, G or T (powers of 1024).
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let expected = || format!("`{text}` is not a size, expected a number with K, M, G or T");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let exponent = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(expected()),
    };
    let number: usize = digits.parse().map_err(|_| expected())?;
    number
        .checked_mul(1_usize << (10 * exponent))
        .ok_or_else(|| format!("`{text}` is more than this machine can address"))
}
