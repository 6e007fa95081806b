//! Opens what the options name, for commands that load no weights.

use crate::args::model::ModelChoice;
use anyhow::Result;
use choral::Engine;
use choral::text::{ChatTemplate, Tokenizer};
use choral_formats::{Gguf, ModelFile};
use std::path::PathBuf;

/// The file or folder that was named, or the model that ships.
pub(crate) fn open(choice: &ModelChoice) -> Result<ModelFile> {
    open_path(choice.path()?)
}

fn open_path(path: Option<PathBuf>) -> Result<ModelFile> {
    let builder = match path {
        Some(path) => Engine::builder().model(path),
        None => Engine::builder(),
    };
    Ok(builder.open()?)
}

/// The part of a model that knows characters. Its weights need not be there: a
/// folder with a `tokenizer.json` alone will do, and so will a GGUF file with a
/// vocabulary alone.
pub(crate) struct TextPart {
    source: Source,
    pub(crate) tokenizer: Tokenizer,
}

enum Source {
    Folder(PathBuf),
    Gguf(Box<Gguf>),
}

impl TextPart {
    /// That of the model that was named, or of the one that ships.
    pub(crate) fn open(choice: &ModelChoice) -> Result<Self> {
        let path = choice.path()?;
        if let Some(folder) = path.as_ref().filter(|path| path.is_dir())
            && folder.join("tokenizer.json").exists()
        {
            let tokenizer = Tokenizer::from_hf_dir(folder)?;
            let source = Source::Folder(folder.clone());
            return Ok(Self { source, tokenizer });
        }
        Ok(match open_path(path)? {
            ModelFile::Gguf(gguf) => Self {
                tokenizer: Tokenizer::from_gguf(gguf.metadata())?,
                source: Source::Gguf(Box::new(gguf)),
            },
            ModelFile::Hf(folder) => Self {
                tokenizer: Tokenizer::from_hf_dir(&folder.path)?,
                source: Source::Folder(folder.path),
            },
        })
    }

    /// The model's own chat template, if it has one.
    pub(crate) fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        Ok(match &self.source {
            Source::Folder(folder) => ChatTemplate::from_hf_dir(folder, &self.tokenizer)?,
            Source::Gguf(gguf) => ChatTemplate::from_gguf(gguf.metadata(), &self.tokenizer)?,
        })
    }
}
