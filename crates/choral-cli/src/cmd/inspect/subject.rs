//! What is inspected: more kinds of files than can be run.

use anyhow::{Result, bail};
use choral::demo;
use choral::model::{DecoderSpec, Hyper};
use choral::text::Tokenizer;
use choral_formats::{Gguf, JsonObject, ModelFile, Safetensors, TensorInfo, TensorSource};
use std::path::{Path, PathBuf};

/// An open file or folder.
pub(super) enum Subject {
    /// Everything is there.
    Model(Box<ModelFile>),
    /// Weights alone: one safetensors file, or a folder of them.
    Weights(Safetensors),
    /// An adapter in a folder of PEFT's.
    Adapter(Safetensors, JsonObject),
    /// A folder with a configuration and no weights.
    Config(PathBuf, JsonObject),
}

impl Subject {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let adapter = path.join("adapter_config.json");
        if adapter.is_file() && !path.join("config.json").exists() {
            let weights = Safetensors::open_dir(path)?;
            return Ok(Self::Adapter(weights, JsonObject::open(adapter)?));
        }
        if path.is_dir() {
            let config = path.join("config.json");
            return match (config.is_file(), holds_weights(path)) {
                (true, false) => Ok(Self::Config(path.to_owned(), JsonObject::open(config)?)),
                (false, true) => Ok(Self::Weights(Safetensors::open_dir(path)?)),
                _ => Ok(Self::Model(Box::new(ModelFile::open(path)?))),
            };
        }
        if path.extension().is_some_and(|e| e == "safetensors") {
            return Ok(Self::Weights(Safetensors::open_file(path)?));
        }
        if path.file_name().is_some_and(|name| name == "config.json") {
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            return Ok(Self::Config(folder, JsonObject::open(path)?));
        }
        if !path.exists() {
            bail!(
                "{}: no such file: expected a GGUF file, a safetensors file or a model folder",
                path.display()
            );
        }
        Ok(Self::Model(Box::new(ModelFile::open(path)?)))
    }

    fn model(&self) -> Option<&ModelFile> {
        match self {
            Self::Model(model) => Some(model),
            _ => None,
        }
    }

    pub(super) fn gguf(&self) -> Option<&Gguf> {
        match self.model()? {
            ModelFile::Gguf(gguf) => Some(gguf),
            ModelFile::Hf(_) => None,
        }
    }

    pub(super) fn config(&self) -> Option<&JsonObject> {
        match self {
            Self::Config(_, config) | Self::Adapter(_, config) => Some(config),
            _ => match self.model()? {
                ModelFile::Hf(folder) => Some(&folder.config),
                ModelFile::Gguf(_) => None,
            },
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Model(model) => model.path(),
            // Of an adapter the folder, and not the file in it.
            Self::Weights(weights) | Self::Adapter(weights, _) => weights.path(),
            Self::Config(folder, _) => folder,
        }
    }

    /// The folder, if it is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        Some(self.path()).filter(|path| path.is_dir())
    }

    pub(super) fn tensors(&self) -> &[TensorInfo] {
        match self {
            Self::Model(model) => model.tensors().infos(),
            Self::Weights(weights) | Self::Adapter(weights, _) => weights.infos(),
            Self::Config(..) => &[],
        }
    }

    pub(super) fn format(&self) -> String {
        match self {
            Self::Model(model) => match &**model {
                ModelFile::Gguf(gguf) if is_adapter(gguf) => {
                    format!("adapter in GGUF version {}", gguf.version())
                }
                ModelFile::Gguf(gguf) => format!("GGUF version {}", gguf.version()),
                ModelFile::Hf(_) => "Hugging Face folder".into(),
            },
            Self::Weights(_) => "safetensors".into(),
            Self::Adapter(..) => "adapter in a folder of PEFT's".into(),
            Self::Config(..) => "Hugging Face configuration without weights".into(),
        }
    }

    /// The families that the file names, in its own words.
    pub(super) fn architectures(&self) -> Vec<String> {
        if let Some(gguf) = self.gguf() {
            return gguf.architecture().into_iter().map(Into::into).collect();
        }
        let classes = self.config().and_then(|c| c.strs("architectures").ok()?);
        classes.into_iter().flatten().map(Into::into).collect()
    }

    /// What choral would run, or why it cannot.
    pub(super) fn spec(&self) -> Result<(&'static str, DecoderSpec), String> {
        let in_gguf = self.gguf().is_some_and(is_adapter);
        if in_gguf || matches!(self, Self::Adapter(..)) {
            return Err("an adapter: run a model with it (--lora)".to_owned());
        }
        let model = self.model().ok_or("not a whole model")?;
        let (architecture, hyper) = Hyper::open(model).map_err(|e| e.to_string())?;
        let spec = (architecture.spec)(&hyper).map_err(|e| e.to_string())?;
        Ok((architecture.name, spec))
    }

    /// Why choral cannot use its tokenizer, if it cannot.
    pub(super) fn tokenizer_problem(&self) -> Option<String> {
        let loaded = match (self.gguf(), self.folder()) {
            (Some(gguf), _) => Tokenizer::from_gguf(gguf.metadata()),
            (None, Some(folder)) => Tokenizer::from_hf_dir(folder),
            (None, None) => return None,
        };
        loaded.err().map(|error| error.to_string())
    }

    /// Bytes of the file, or of all files in the folder.
    pub(super) fn file_bytes(&self) -> u64 {
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
        let Some(folder) = self.folder() else {
            let shipped = Path::new(demo::NAME);
            return match self.path() {
                path if path == shipped && !path.exists() => demo::MODEL.len() as u64,
                path => size(path.to_owned()),
            };
        };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .map(size)
            .sum()
    }
}

fn is_adapter(gguf: &Gguf) -> bool {
    matches!(gguf.metadata().str("general.type"), Ok(Some("adapter")))
}

fn holds_weights(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| path.extension().is_some_and(|e| e == "safetensors"))
}
