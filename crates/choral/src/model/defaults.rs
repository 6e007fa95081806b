//! The sampling settings that a model's authors recommend.

use super::ModelError;
use crate::sampling::SamplingParams;
use choral_formats::{FormatError, ModelFile};

/// Settings of `generation_config.json`, or of a GGUF file's `general.sampling`.
/// They apply where the caller says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GenerationDefaults {
    /// 0 where the authors ask for greedy decoding (`do_sample: false`).
    pub temperature: Option<f32>,
    /// See [`SamplingParams::top_k`].
    pub top_k: Option<u32>,
    /// See [`SamplingParams::top_p`].
    pub top_p: Option<f32>,
    /// See [`SamplingParams::min_p`].
    pub min_p: Option<f32>,
    /// See [`SamplingParams::typical_p`].
    pub typical_p: Option<f32>,
    /// See [`SamplingParams::repetition_penalty`].
    pub repetition_penalty: Option<f32>,
}

impl GenerationDefaults {
    /// Reads them.
    ///
    /// # Errors
    /// If one is of another type, or not a value that sampling accepts.
    pub fn read(file: &ModelFile) -> Result<Self, ModelError> {
        let defaults = match file {
            ModelFile::Hf(dir) => match &dir.generation_config {
                None => Self::default(),
                Some(config) => {
                    let greedy = config.optional("do_sample")? == Some(false);
                    Self {
                        temperature: if greedy {
                            Some(0.0)
                        } else {
                            config.optional("temperature")?
                        },
                        top_k: config.optional("top_k")?,
                        top_p: config.optional("top_p")?,
                        min_p: config.optional("min_p")?,
                        typical_p: config.optional("typical_p")?,
                        repetition_penalty: config.optional("repetition_penalty")?,
                    }
                }
            },
            ModelFile::Gguf(gguf) => {
                let metadata = gguf.metadata();
                let number = |name| metadata.optional(&format!("general.sampling.{name}"));
                Self {
                    temperature: number("temp")?,
                    top_k: metadata.optional("general.sampling.top_k")?,
                    top_p: number("top_p")?,
                    min_p: number("min_p")?,
                    typical_p: None,
                    repetition_penalty: number("penalty_repeat")?,
                }
            }
        };
        let mut params = SamplingParams::default();
        defaults.apply(&mut params);
        // Vocabulary-dependent fields are not among these.
        params.validate(usize::MAX).map_err(|error| {
            let path = file.tensors().path();
            let field = format!("recommended {}", error.field());
            FormatError::field(path, field, error.expected(), error.found())
        })?;
        Ok(defaults)
    }

    /// Overwrites the fields of `params` for which there is a recommendation.
    pub fn apply(&self, params: &mut SamplingParams) {
        fn set<T: Copy>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut params.temperature, self.temperature);
        set(&mut params.top_k, self.top_k);
        set(&mut params.top_p, self.top_p);
        set(&mut params.min_p, self.min_p);
        set(&mut params.typical_p, self.typical_p);
        set(&mut params.repetition_penalty, self.repetition_penalty);
    }
}
