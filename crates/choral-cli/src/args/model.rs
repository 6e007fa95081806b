//! Options that choose a model and the engine around it.

use anyhow::{Context as _, Result, bail};
use choral::model::{KvType, Numeric};
use choral::{Engine, EngineBuilder, ModelInfo};
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
    /// Whether it is the model that ships, because no other was named.
    pub(crate) fn is_default(&self) -> bool {
        self.model.is_none() && self.hf.is_none()
    }

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
    /// Arithmetic of the engine: q8, bf16 or f32 (strict) [default: q8 for quantised files, else bf16]
    #[arg(long, visible_alias = "dtype", value_name = "NUMERIC")]
    pub(crate) numeric: Option<Numeric>,
    /// Compute threads [default: physical cores]
    #[arg(short, long, value_name = "N", value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
    /// Context of each sequence, in tokens [default: the model's]
    #[arg(short, long, visible_aliases = ["ctx", "max-model-len"], value_name = "N", value_parser = parse_count)]
    pub(crate) ctx_size: Option<usize>,
    /// Most sequences in one step [default: automatic]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) max_num_seqs: Option<usize>,
    /// Most tokens in one step [default: automatic]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) max_num_batched_tokens: Option<usize>,
    /// Most tokens of one prompt in one step [default: automatic]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) prefill_chunk: Option<usize>,
    /// Memory for keys and values, such as 512M or 2G [default: automatic]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) kv_memory: Option<u64>,
    /// Do not keep computed prefixes for later requests
    #[arg(long)]
    pub(crate) no_prefix_cache: bool,
    /// Type of cached keys: f32, f16, bf16 or q8_0 [default: f16, f32 with --numeric f32]
    #[arg(long = "ctk", visible_alias = "cache-type-k", value_name = "TYPE")]
    pub(crate) cache_type_k: Option<KvType>,
    /// Type of cached values, likewise
    #[arg(long = "ctv", visible_alias = "cache-type-v", value_name = "TYPE")]
    pub(crate) cache_type_v: Option<KvType>,
}

impl ModelArgs {
    /// An engine's builder with everything that was given.
    pub(crate) fn builder(&self) -> Result<EngineBuilder> {
        let mut builder = Engine::builder();
        if let Some(numeric) = self.numeric {
            builder = builder.numeric(numeric);
        }
        if let Some(path) = self.choice.path()? {
            builder = builder.model(path);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(tokens) = self.ctx_size {
            builder = builder.max_model_len(tokens);
        }
        if let Some(sequences) = self.max_num_seqs {
            builder = builder.max_num_seqs(sequences);
        }
        if let Some(tokens) = self.max_num_batched_tokens {
            builder = builder.max_num_batched_tokens(tokens);
        }
        if let Some(tokens) = self.prefill_chunk {
            builder = builder.prefill_chunk(tokens);
        }
        if let Some(bytes) = self.kv_memory {
            builder = builder.kv_memory(bytes);
        }
        if let Some(kind) = self.cache_type_k {
            builder = builder.key_type(kind);
        }
        if let Some(kind) = self.cache_type_v {
            builder = builder.value_type(kind);
        }
        if self.no_prefix_cache {
            builder = builder.prefix_caching(false);
        }
        Ok(builder)
    }
}

/// What an engine runs.
pub(crate) fn info(engine: &Engine) -> Result<&ModelInfo> {
    engine.info().context("the engine does not know its model")
}

/// Parses `512M`: a whole number and an optional K, M, G or T (powers of 1024).
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
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
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number
        .checked_mul(1_u64 << (10 * exponent))
        .ok_or_else(|| format!("`{text}` is more than any machine has"))
}

/// A number of sequences or tokens.
pub(crate) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("expected a whole number from 1".to_owned()),
    }
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let most = EngineBuilder::MAX_THREADS;
    match text.parse() {
        Ok(threads) if (1..=most).contains(&threads) => Ok(threads),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelChoice, parse_size, parse_threads};
    use std::path::PathBuf;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("2g"), Ok(2 << 30));
        assert_eq!(parse_size("3KiB"), Ok(3 << 10));
        for wrong in [
            "",
            "M",
            "1.5G",
            "-1M",
            "5X",
            "5 M",
            "99999999999999999999",
            "20000000T",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn threads_are_few() {
        assert_eq!(parse_threads("1"), Ok(1));
        assert_eq!(parse_threads("1024"), Ok(1024));
        for wrong in ["0", "1025", "18446744073709551615", "-1", "two"] {
            assert!(parse_threads(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hub_name_says_what_to_do_instead() {
        let choice = ModelChoice {
            hf: Some("org/name:Q4_K_M".to_owned()),
            ..ModelChoice::default()
        };
        let error = choice.path().expect_err("no downloads").to_string();
        assert!(
            error.contains("download org/name`)") && error.contains("--model PATH"),
            "{error}"
        );

        let choice = ModelChoice {
            model: Some(PathBuf::from("org/name")),
            ..ModelChoice::default()
        };
        let error = choice.path().expect_err("no such file").to_string();
        assert!(error.contains("no model at `org/name`"), "{error}");
    }
}
