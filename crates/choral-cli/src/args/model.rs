//! Options that choose a model and the engine around it.

use crate::output::download::Download;
use anyhow::{Context as _, Result, bail};
use choral::hub::{Fetcher, Repo};
use choral::model::{KvType, Numeric};
use choral::{Engine, EngineBuilder, ModelInfo};
use clap::Args;
use std::fmt;
use std::path::{Path, PathBuf};

/// Which model.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelChoice {
    /// GGUF file, safetensors folder or hub repository; without it, the small model that ships
    /// with choral
    #[arg(short, long, value_name = "PATH|REPO")]
    pub(crate) model: Option<PathBuf>,
    // Not a doc comment, in which these names would want to be code.
    #[arg(
        help = "Hub repository and quantisation [default: Q4_K_M, else Q8_0, else the first GGUF \
                file, else safetensors]",
        long = "hf",
        visible_alias = "hf-repo",
        value_name = "REPO[@REVISION][:QUANT]",
        conflicts_with = "model"
    )]
    pub(crate) hf: Option<Repo>,
    /// File of the repository, instead of a quantisation
    #[arg(
        long = "hff",
        visible_alias = "hf-file",
        value_name = "FILE",
        requires = "hf"
    )]
    pub(crate) hf_file: Option<String>,
    #[arg(
        help = "Token for repositories that are not open to everyone [default: HF_TOKEN, or that \
                of a login]",
        long,
        value_name = "TOKEN"
    )]
    pub(crate) hf_token: Option<String>,
    /// Never use the network: take models from the cache
    #[arg(long)]
    pub(crate) offline: bool,
    /// Show no progress of downloads; commands set it that have such an option.
    #[arg(skip)]
    pub(crate) quiet: bool,
}

/// Without the token.
impl fmt::Debug for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelChoice")
            .field("model", &self.model)
            .field("hf", &self.hf)
            .field("hf_file", &self.hf_file)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl ModelChoice {
    /// Whether it is the model that ships, because no other was named.
    pub(crate) fn is_default(&self) -> bool {
        self.model.is_none() && self.hf.is_none()
    }

    /// The model's path, downloaded if need be; none for the model that ships.
    pub(crate) fn path(&self) -> Result<Option<PathBuf>> {
        if let Some(repo) = &self.hf {
            return self.fetch(match &self.hf_file {
                Some(file) => repo.clone().file(file),
                None => repo.clone(),
            });
        }
        let Some(path) = &self.model else {
            return Ok(None);
        };
        if path.exists() {
            return Ok(Some(path.clone()));
        }
        match hub_name(path) {
            Some(repo) => self.fetch(repo),
            None => bail!(
                "no model at `{}`: expected a GGUF file, a folder with config.json and \
                 safetensors, or a hub repository ORG/NAME[:QUANT]",
                path.display()
            ),
        }
    }

    fn fetch(&self, repo: Repo) -> Result<Option<PathBuf>> {
        let mut fetcher = Fetcher::from_env()?;
        if let Some(token) = &self.hf_token {
            fetcher = fetcher.token(token)?;
        }
        if self.offline {
            fetcher = fetcher.offline(true);
        }
        let mut download = Download::new(self.quiet);
        let path = fetcher.fetch(&repo, &mut |event| download.tell(&event))?;
        tracing::info!("{repo} is {}", path.display());
        Ok(Some(path))
    }
}

/// What `ORG/NAME` of a path that does not exist means on a hub. A file's ending, or
/// a folder ORG that is there, speak for a path misspelt.
fn hub_name(path: &Path) -> Option<Repo> {
    const ENDINGS: [&str; 4] = ["gguf", "safetensors", "json", "bin"];
    let is_file = |ending: &str| {
        ENDINGS
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    };
    let ending = path.extension().and_then(|ending| ending.to_str());
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())?;
    if folder.exists() || ending.is_some_and(is_file) {
        return None;
    }
    let repo: Repo = path.to_str()?.parse().ok()?;
    Some(repo).filter(|repo| repo.id().contains('/'))
}

/// Which model, and how its engine is built.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) choice: ModelChoice,
    /// The image encoder of a GGUF model [default: the one beside it]
    #[arg(long, value_name = "FILE")]
    pub(crate) mmproj: Option<PathBuf>,
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
        if let Some(path) = &self.mmproj {
            builder = builder.mmproj(path);
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

pub(crate) fn parse_threads(text: &str) -> Result<usize, String> {
    let most = EngineBuilder::MAX_THREADS;
    match text.parse() {
        Ok(threads) if (1..=most).contains(&threads) => Ok(threads),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelChoice, hub_name, parse_size, parse_threads};
    use std::path::{Path, PathBuf};

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
    fn a_path_that_is_not_there_may_name_a_repository() {
        let repo = |path: &str| hub_name(Path::new(path)).map(|repo| repo.to_string());
        assert_eq!(repo("org/name:Q8_0").as_deref(), Some("org/name:Q8_0"));
        // `src` is here, beside Cargo.toml.
        for path in [
            "name",
            "/org/name",
            "./org",
            "../name",
            "a/b/c",
            "org/m.gguf",
            "src/missing",
        ] {
            assert_eq!(repo(path), None, "{path}");
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
    fn a_path_that_is_neither_says_what_was_expected() {
        let choice = ModelChoice {
            model: Some(PathBuf::from("src/missing")),
            ..ModelChoice::default()
        };
        let error = choice.path().expect_err("no such file").to_string();
        assert!(error.contains("no model at `src/missing`"), "{error}");
    }

    #[test]
    fn a_token_is_not_shown() {
        let choice = ModelChoice {
            hf_token: Some("hf_secret".to_owned()),
            ..ModelChoice::default()
        };
        assert!(!format!("{choice:?}").contains("hf_secret"));
    }
}
