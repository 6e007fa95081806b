//! The model that looks at pictures.

use crate::args::ModelArgs;
use crate::output::terminal::tell;
use anyhow::{Context as _, Result};
use choral::model::{ModelFile, Numeric, fingerprint};
use choral::vision::store::StoreModel;
use choral::{Engine, EngineBuilder, ImageEncoderFile, demo};

/// An engine's builder with everything that was given; without a model, one for the small
/// one that ships, and that is said.
pub(super) fn builder(args: &ModelArgs, is_quiet: bool) -> Result<EngineBuilder> {
    let builder = args.builder()?;
    if !args.choice.is_default() {
        return Ok(builder);
    }
    if !is_quiet {
        tell("no model was named (-m): the small one that ships looks at the pictures");
    }
    let shipped = demo::vision_model();
    let shipped = shipped.context(
        "the small model that ships has no place to be unpacked to: name another with --model",
    )?;
    Ok(builder.model(shipped))
}

/// What a store says of the model that made it, or that is to answer from it: of `file`,
/// and of its encoder, where that is a file of its own and is there.
pub(super) fn described(
    file: &ModelFile,
    encoder: Option<&ImageEncoderFile>,
    numeric: Numeric,
) -> Result<StoreModel> {
    let path = file.path();
    let name = path.file_name().unwrap_or(path.as_os_str());
    let encoder = encoder.filter(|encoder| encoder.is_own);
    let encoder = encoder.map(|encoder| fingerprint(&encoder.file));
    Ok(StoreModel {
        name: name.to_string_lossy().into_owned(),
        fingerprint: fingerprint(file)?,
        encoder_fingerprint: encoder.transpose()?,
        numeric: numeric.name().to_owned(),
    })
}

/// Numbers of a token of the model.
pub(super) fn hidden_size(engine: &Engine) -> Result<usize> {
    let images = engine.images();
    let images =
        images.context("the model reads text only, expected one that looks at pictures")?;
    Ok(images.hidden_size)
}
