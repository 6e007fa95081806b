//! A model's settings, under the names of either file format.
//!
//! Owns how a setting is found and what its value may be. Knows no family.

use super::{ModelError, RopeSpec, rope_config};
use crate::arch::{self, Architecture};
use choral_formats::{FormatError, Gguf, HfDir, ModelFile, TensorSource};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// One setting's name in both formats (GGUF's without the architecture's prefix).
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// In `config.json`.
    pub hf: &'static str,
    /// In GGUF metadata.
    pub gguf: &'static str,
}

impl Key {
    /// A setting that both formats have.
    pub const fn new(hf: &'static str, gguf: &'static str) -> Self {
        Self { hf, gguf }
    }

    /// A setting that only GGUF files have.
    pub const fn gguf(gguf: &'static str) -> Self {
        Self { hf: gguf, gguf }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Gguf { file: &'a Gguf, prefix: &'a str },
    Hf(&'a HfDir),
}

/// The settings of one open model.
#[derive(Debug)]
pub struct Hyper<'a> {
    pub(super) source: Source<'a>,
}

impl<'a> Hyper<'a> {
    /// Finds the family that the file names, and its settings.
    ///
    /// # Errors
    /// If the file names no family, or one that choral does not run.
    pub fn open(file: &'a ModelFile) -> Result<(&'static Architecture, Self), ModelError> {
        match file {
            ModelFile::Gguf(gguf) => {
                let prefix = gguf.architecture()?;
                let arch = arch::by_gguf(prefix).ok_or_else(|| unknown(prefix, |a| a.gguf))?;
                let source = Source::Gguf { file: gguf, prefix };
                Ok((arch, Self { source }))
            }
            ModelFile::Hf(dir) => {
                let classes: Vec<&str> = dir.config.required("architectures")?;
                let arch = classes
                    .iter()
                    .find_map(|class| arch::by_hf(class))
                    .ok_or_else(|| unknown(&classes.join(", "), |a| a.hf))?;
                let source = Source::Hf(dir);
                Ok((arch, Self { source }))
            }
        }
    }

    pub(super) fn name(&self, key: Key) -> String {
        match self.source {
            Source::Gguf { prefix, .. } => format!("{prefix}.{}", key.gguf),
            Source::Hf(_) => key.hf.to_owned(),
        }
    }

    /// An error about a setting's value.
    pub fn invalid(&self, key: Key, expected: impl Display, found: impl Display) -> ModelError {
        match self.source {
            Source::Gguf { file, .. } => {
                FormatError::field(file.path(), self.name(key), expected, found)
            }
            Source::Hf(dir) => dir.config.invalid(key.hf, expected, found),
        }
        .into()
    }

    pub(super) fn missing(&self, key: Key) -> ModelError {
        match self.source {
            Source::Gguf { file, .. } => file.metadata().missing(&self.name(key)),
            Source::Hf(dir) => dir.config.missing(key.hf),
        }
        .into()
    }

    /// An optional count.
    pub fn usize(&self, key: Key) -> Result<Option<usize>, ModelError> {
        match self.source {
            Source::Gguf { .. } => self.gguf_usize(key),
            Source::Hf(dir) => Ok(dir.config.optional(key.hf)?),
        }
    }

    /// An optional count that only GGUF files state.
    pub fn gguf_usize(&self, key: Key) -> Result<Option<usize>, ModelError> {
        let Source::Gguf { file, .. } = self.source else {
            return Ok(None);
        };
        let value = file.metadata().optional::<u64>(&self.name(key))?;
        Ok(value.map(|v| v as usize))
    }

    /// A required count within bounds.
    pub fn bounded(&self, key: Key, range: RangeInclusive<usize>) -> Result<usize, ModelError> {
        let value = self.usize(key)?.ok_or_else(|| self.missing(key))?;
        if range.contains(&value) {
            return Ok(value);
        }
        let expected = match (*range.start(), *range.end()) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) => format!("{least} to {most}"),
        };
        Err(self.invalid(key, expected, value))
    }

    /// An optional number.
    pub fn f32(&self, key: Key) -> Result<Option<f32>, ModelError> {
        match self.source {
            Source::Gguf { file, .. } => Ok(file.metadata().optional(&self.name(key))?),
            Source::Hf(dir) => Ok(dir.config.optional(key.hf)?),
        }
    }

    /// A flag of `config.json`; `default` in GGUF files, which have no such flags.
    pub fn hf_bool(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.source {
            Source::Gguf { .. } => Ok(default),
            Source::Hf(dir) => Ok(dir.config.optional(key)?.unwrap_or(default)),
        }
    }

    /// A count of `config.json`; `None` in GGUF files.
    pub fn hf_usize(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.source {
            Source::Gguf { .. } => Ok(None),
            Source::Hf(dir) => Ok(dir.config.optional(key)?),
        }
    }

    /// How many tensors the file holds: more layers than that cannot be.
    pub fn tensor_count(&self) -> usize {
        match self.source {
            Source::Gguf { file, .. } => file.infos().len(),
            Source::Hf(dir) => dir.infos().len(),
        }
    }

    /// Rows of the embedding. A GGUF file need not state it; what it states, as a
    /// number or by its list of tokens, must agree with what it holds.
    pub fn vocab_size(&self) -> Result<usize, ModelError> {
        const VOCAB: Key = Key::new("vocab_size", "vocab_size");
        let Source::Gguf { file, .. } = self.source else {
            return self.bounded(VOCAB, 1..=u32::MAX as usize);
        };
        let embedding = "token_embd.weight";
        let rows = file
            .tensor(embedding)
            .map(|t| t.rows())
            .ok_or_else(|| ModelError::missing_tensor(file, embedding))?;
        let expected = || format!("{rows}, the rows of {embedding}");
        if let Some(stated) = self.usize(VOCAB)?.filter(|&n| n != rows) {
            return Err(self.invalid(VOCAB, expected(), stated));
        }
        Ok(rows)
    }

    /// Whether the output matrix is the embedding.
    pub fn tied_embeddings(&self) -> Result<bool, ModelError> {
        match self.source {
            Source::Gguf { file, .. } => Ok(file.tensor("output.weight").is_none()),
            Source::Hf(_) => self.hf_bool("tie_word_embeddings", false),
        }
    }

    /// Refuses activations other than `SiLU`.
    pub fn require_silu(&self) -> Result<(), ModelError> {
        let Source::Hf(dir) = self.source else {
            return Ok(());
        };
        match dir.config.optional("hidden_act")? {
            None | Some("silu" | "swish") => Ok(()),
            Some(other) => Err(dir.config.invalid("hidden_act", "silu", other).into()),
        }
    }

    /// A GGUF file's sliding window, the same in every layer.
    pub fn gguf_window(&self, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
        let window = self.gguf_usize(Key::gguf("attention.sliding_window"))?;
        Ok(vec![window.filter(|&w| w > 0); layers])
    }

    /// Qwen's windows: `layer_types` where given, else the layers from
    /// `max_window_layers` on, if `use_sliding_window` says so.
    pub fn qwen_windows(&self, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
        let Source::Hf(dir) = self.source else {
            return self.gguf_window(layers);
        };
        let config = &dir.config;
        let window: Option<usize> = match config.optional("use_sliding_window")? {
            Some(true) => config.optional("sliding_window")?,
            _ => None,
        };
        let Some(types) = config.optional::<Vec<&str>>("layer_types")? else {
            let first = config.optional("max_window_layers")?.unwrap_or(28_usize);
            return Ok((0..layers)
                .map(|layer| window.filter(|_| layer >= first))
                .collect());
        };
        if types.len() != layers {
            let expected = format!("{layers} entries");
            return Err(config.invalid("layer_types", expected, types.len()).into());
        }
        types
            .into_iter()
            .map(|kind| match kind {
                "full_attention" => Ok(None),
                "sliding_attention" if window.is_some() => Ok(window),
                other => {
                    let expected = "full_attention, or sliding_attention with a sliding_window";
                    Err(config.invalid("layer_types", expected, other).into())
                }
            })
            .collect()
    }

    /// Rotary embedding over `head_dim` elements.
    pub fn rope(&self, head_dim: usize) -> Result<RopeSpec, ModelError> {
        let (theta, dim, scaling) = match self.source {
            Source::Gguf { .. } => {
                let key = Key::gguf("rope.dimension_count");
                let dim = self.gguf_usize(key)?.unwrap_or(head_dim);
                if dim == 0 || dim > head_dim || !dim.is_multiple_of(2) {
                    let expected = format!("an even number up to the head's {head_dim}");
                    return Err(self.invalid(key, expected, dim));
                }
                let (theta, scaling) = rope_config::from_gguf(self)?;
                (theta, dim, scaling)
            }
            Source::Hf(dir) => {
                let (theta, scaling) = rope_config::from_hf(&dir.config)?;
                (theta, head_dim, scaling)
            }
        };
        if !(theta.is_finite() && theta > 0.0) {
            let key = Key::new("rope_theta", "rope.freq_base");
            return Err(self.invalid(key, "a positive number", theta));
        }
        Ok(RopeSpec {
            theta,
            dim,
            scaling,
        })
    }
}

fn unknown(name: &str, names: fn(&Architecture) -> &'static [&'static str]) -> ModelError {
    let known: Vec<&str> = arch::ALL.iter().flat_map(|a| names(a)).copied().collect();
    ModelError::UnknownArchitecture {
        found: name.to_owned(),
        known: known.join(", "),
    }
}
