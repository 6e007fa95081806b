//! What a model's files say about embeddings: pooling, length, further modules.
//!
//! Hugging Face directories say it in the files of sentence-transformers, GGUF files
//! in metadata. What is named there and not done here is refused: vectors that are
//! nearly right would be worse than none.

use super::pooling::{self, Pooling};
use crate::builder::BuildError;
use choral_formats::{FormatError, HfDir, JsonObject, ModelFile};
use serde::Deserialize;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// Largest list of modules that is read. Real ones have three entries.
const MAX_MODULES_BYTES: u64 = 1 << 20;

/// Why there is no embedder of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedderError {
    /// As for engines.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A pooling that choral does not have.
    #[error("the model asks for pooling by `{found}`; choral has mean, cls, last and none")]
    Pooling {
        /// What the model asks for.
        found: String,
    },
    /// A step behind pooling that choral does not have.
    #[error("the model's module `{kind}` is not supported: its vectors would be others")]
    Module {
        /// The module's type.
        kind: String,
    },
    /// A model that scores pairs of texts.
    #[error("{}: the model ranks pairs of texts and makes no embeddings", file.display())]
    Ranker {
        /// The file.
        file: PathBuf,
    },
    /// A decoder whose tokens see those behind them.
    #[error("{}: `{setting}` asks for attention in both directions, which choral has for encoders only", file.display())]
    Bidirectional {
        /// The file.
        file: PathBuf,
        /// The setting that says so.
        setting: String,
    },
    /// A list of modules that is none.
    #[error("{}: {problem}", file.display())]
    Modules {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl From<FormatError> for EmbedderError {
    fn from(error: FormatError) -> Self {
        Self::Build(error.into())
    }
}

/// What a model's files say.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) pooling: Option<Pooling>,
    /// Tokens of the longest text that the authors meant.
    pub(super) max_tokens: Option<usize>,
    /// Texts are put into lower case first.
    pub(super) lowercase: bool,
}

impl Settings {
    /// Reads them; `width` is that of the model's vectors.
    pub(super) fn read(file: &ModelFile, width: usize) -> Result<Self, EmbedderError> {
        match file {
            ModelFile::Hf(dir) => Self::from_hf(dir, width),
            ModelFile::Gguf(gguf) => {
                let key = format!("{}.pooling_type", gguf.architecture()?);
                let metadata = gguf.metadata();
                let pooling = match metadata.u32(&key)? {
                    None => None,
                    Some(4) => {
                        let file = metadata.file().to_owned();
                        return Err(EmbedderError::Ranker { file });
                    }
                    Some(number) => Some(Pooling::from_gguf(number).ok_or_else(|| {
                        metadata.invalid(&key, "0 (none), 1 (mean), 2 (cls) or 3 (last)", number)
                    })?),
                };
                Ok(Self {
                    pooling,
                    ..Self::default()
                })
            }
        }
    }

    fn from_hf(dir: &HfDir, width: usize) -> Result<Self, EmbedderError> {
        let mut settings = Self::default();
        let pooling = pooling_folder(dir)?.join("config.json");
        if let Some(path) = dir.file(&pooling.to_string_lossy()) {
            let config = JsonObject::open(path)?;
            let stated = config.usize("word_embedding_dimension")?;
            if let Some(stated) = stated.filter(|&stated| stated != width) {
                let expected = format!("{width}, the model's width");
                return Err(config
                    .invalid("word_embedding_dimension", expected, stated)
                    .into());
            }
            let mut modes = Vec::new();
            for (key, _) in config.iter() {
                if key.starts_with("pooling_mode_") {
                    modes.push((key, config.bool(key)?.unwrap_or(false)));
                }
            }
            settings.pooling = pooling::from_modes(&modes)?;
            // Newer files name the mode.
            if let (None, Some(mode)) = (settings.pooling, config.str("pooling_mode")?) {
                settings.pooling = Some(match mode {
                    "mean" => Pooling::Mean,
                    "cls" => Pooling::Cls,
                    "lasttoken" => Pooling::Last,
                    other => {
                        let found = other.to_owned();
                        return Err(EmbedderError::Pooling { found });
                    }
                });
            }
        }
        if let Some(path) = dir.file("sentence_bert_config.json") {
            let config = JsonObject::open(path)?;
            settings.max_tokens = config.usize("max_seq_length")?.filter(|&n| n > 0);
            settings.lowercase = config.bool("do_lower_case")?.unwrap_or(false);
        }
        warn_of_prompt(dir)?;
        Ok(settings)
    }
}

/// Refuses decoders that were made to see what is behind a token.
pub(super) fn check_causal(file: &ModelFile) -> Result<(), EmbedderError> {
    let setting = match file {
        ModelFile::Gguf(gguf) => {
            let key = format!("{}.attention.causal", gguf.architecture()?);
            let is_causal = gguf.metadata().bool(&key)?;
            (is_causal == Some(false)).then_some(key)
        }
        ModelFile::Hf(dir) => {
            let is = |key, wanted| Ok::<_, FormatError>(dir.config.bool(key)? == Some(wanted));
            if is("is_causal", false)? {
                Some("is_causal".to_owned())
            } else {
                let key = "use_bidirectional_attention";
                is(key, true)?.then(|| key.to_owned())
            }
        }
    };
    match setting {
        None => Ok(()),
        Some(setting) => Err(EmbedderError::Bidirectional {
            file: file.path().to_owned(),
            setting,
        }),
    }
}

/// A text that sentence-transformers would put before every other.
fn warn_of_prompt(dir: &HfDir) -> Result<(), EmbedderError> {
    let Some(path) = dir.file("config_sentence_transformers.json") else {
        return Ok(());
    };
    let config = JsonObject::open(path)?;
    let (Some(name), Some(prompts)) = (
        config.str("default_prompt_name")?,
        config.object("prompts")?,
    ) else {
        return Ok(());
    };
    if let Some(prompt) = prompts.str(name)?.filter(|prompt| !prompt.is_empty()) {
        tracing::warn!(
            "{}: the authors put {prompt:?} before each text; choral embeds texts as they are",
            config.file().display()
        );
    }
    Ok(())
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Where the settings of the pooling are, after a look at all modules.
fn pooling_folder(dir: &HfDir) -> Result<PathBuf, EmbedderError> {
    let mut folder = PathBuf::from("1_Pooling");
    let Some(path) = dir.file("modules.json") else {
        return Ok(folder);
    };
    for module in read_modules(&path)? {
        // `sentence_transformers.models.Pooling`, or with a longer path in newer files.
        match module.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" => folder = PathBuf::from(module.path),
            other => {
                let kind = other.to_owned();
                return Err(EmbedderError::Module { kind });
            }
        }
    }
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_));
    if folder.components().all(is_inside) {
        return Ok(folder);
    }
    Err(EmbedderError::Modules {
        problem: format!(
            "the folder `{}` is outside of the model's",
            folder.display()
        ),
        file: path,
    })
}

fn read_modules(path: &Path) -> Result<Vec<Module>, EmbedderError> {
    let broken = |problem: String| EmbedderError::Modules {
        file: path.to_owned(),
        problem,
    };
    let io = |error: std::io::Error| broken(error.to_string());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_MODULES_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_MODULES_BYTES {
        return Err(broken(format!("more than {MAX_MODULES_BYTES} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| broken(format!("no list of modules: {error}")))
}
