//! Options that say which pictures messages may name.

use anyhow::{Context as _, Result};
use choral::Engine;
use choral::vision::message::{ImageAccess, MessageImages};
use clap::Args;
use std::path::PathBuf;

/// Which pictures messages may name.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct ImageArgs {
    /// Let messages name picture files of this folder and those below; else pictures are data URLs
    #[arg(long, value_name = "DIR")]
    pub(crate) allow_images_from: Option<PathBuf>,
}

impl ImageArgs {
    /// What makes embeddings of the pictures in messages, for the engine's model.
    pub(crate) fn open(&self, engine: &Engine) -> Result<MessageImages> {
        let access = match &self.allow_images_from {
            None => ImageAccess::data_only("--allow-images-from DIR allows those of a folder"),
            Some(folder) => ImageAccess::folder(folder)
                .with_context(|| format!("--allow-images-from {}", folder.display()))?,
        };
        Ok(MessageImages::new(access, engine.geometry())?)
    }
}
