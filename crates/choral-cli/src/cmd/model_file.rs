//! Opens what the options name, for commands that load no weights.

use crate::args::model::ModelChoice;
use anyhow::{Context as _, Result};
use choral_formats::ModelFile;

/// The file or folder that was named.
pub(crate) fn open(choice: &ModelChoice) -> Result<ModelFile> {
    let path = choice.path()?.context("name a model with --model PATH")?;
    Ok(ModelFile::open(path)?)
}
