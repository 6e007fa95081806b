//! What an engine says of its model.

use super::ImageEncoderFile;
use crate::model::{DecoderSpec, EnginePlan, GenerationDefaults};
use choral_formats::ModelFile;
use std::path::PathBuf;
use std::sync::Arc;

/// What an engine runs, and how.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// The file or directory; `choral-demo` for the model that ships.
    pub path: PathBuf,
    /// The family.
    pub architecture: &'static str,
    /// What the model is made of.
    pub spec: DecoderSpec,
    /// How memory is shared out.
    pub plan: EnginePlan,
    /// The instruction set of the kernels.
    pub isa: &'static str,
    /// Threads that compute.
    pub threads: usize,
    /// Sampling settings that the model's authors recommend.
    pub generation_defaults: GenerationDefaults,
    /// The open file, for what else is in it.
    pub file: Arc<ModelFile>,
    /// The encoder of pictures that was found, loaded or not.
    pub image_encoder: Option<ImageEncoderFile>,
}
