//! A model's settings, under the names of either file format.
//!
//! Owns how a setting is found and what its value may be; a `config.json` is completed
//! with what the family's class takes where it is silent. Knows no family. What several
//! settings make together (windows, experts, rotation) is in `parts.rs`.

mod parts;
#[cfg(test)]
mod tests;

pub use parts::ExpertKeys;

use super::{Activation, ModelError, Names};
use crate::arch::{self, Architecture, EncoderFamily, ImageFamily};
use choral_formats::{FormatError, Gguf, HfDir, JsonObject, ModelFile, TensorSource};
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

    /// A setting that only a `config.json` has.
    pub const fn hf(hf: &'static str) -> Self {
        Self { hf, gguf: hf }
    }

    /// A setting that only GGUF files have.
    pub const fn gguf(gguf: &'static str) -> Self {
        Self { hf: gguf, gguf }
    }
}

#[derive(Debug)]
pub(super) enum Source<'a> {
    Gguf {
        file: &'a Gguf,
        prefix: &'a str,
    },
    Hf {
        dir: &'a HfDir,
        /// `config.json`, and where it is silent what the family's class takes.
        config: JsonObject,
    },
}

impl<'a> Source<'a> {
    fn hf(dir: &'a HfDir, defaults: &str) -> Self {
        let config = dir.config.with_defaults(defaults);
        Self::Hf { dir, config }
    }

    /// The same for settings that are an object of `config.json`, if it is there.
    fn hf_part(dir: &'a HfDir, part: &str, defaults: &str) -> Result<Self, FormatError> {
        let own = dir.config.object(part)?;
        let config = own.as_ref().unwrap_or(&dir.config).with_defaults(defaults);
        Ok(Self::Hf { dir, config })
    }
}

/// The settings of one open model.
#[derive(Debug)]
pub struct Hyper<'a> {
    pub(super) source: Source<'a>,
    /// What the family calls its tensors.
    pub(super) names: Names,
}

impl<'a> Hyper<'a> {
    /// Finds the family that the file names, and its settings.
    ///
    /// # Errors
    /// If the file names no family, or one that choral does not run.
    pub fn open(file: &'a ModelFile) -> Result<(&'static Architecture, Self), ModelError> {
        Self::open_by(file, arch::by_hf)
    }

    /// The same for whoever needs hidden states and no logits: a Hugging Face class may
    /// be one without a head, such as `Qwen3Model`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_headless(file: &'a ModelFile) -> Result<(&'static Architecture, Self), ModelError> {
        Self::open_by(file, |class| {
            arch::by_hf(class).or_else(|| arch::headless_by_hf(class))
        })
    }

    fn open_by(
        file: &'a ModelFile,
        by_class: impl Fn(&str) -> Option<&'static Architecture>,
    ) -> Result<(&'static Architecture, Self), ModelError> {
        match file {
            ModelFile::Gguf(gguf) => {
                let prefix = gguf.architecture()?;
                let arch = arch::by_gguf(prefix).ok_or_else(|| {
                    let is_encoder = arch::encoder_by_gguf(prefix).is_some();
                    unknown(prefix, is_encoder, |a| a.gguf)
                })?;
                let source = Source::Gguf { file: gguf, prefix };
                Ok((arch, Self::new(source, arch.names())))
            }
            ModelFile::Hf(dir) => {
                let classes: Vec<&str> = dir.config.required("architectures")?;
                let arch = classes
                    .iter()
                    .find_map(|class| by_class(class))
                    .ok_or_else(|| {
                        let is_encoder = classes.iter().any(|c| arch::encoder_by_hf(c).is_some());
                        unknown(&classes.join(", "), is_encoder, |a| a.hf)
                    })?;
                let source = match arch.hf_text {
                    Some(part) => Source::hf_part(dir, part, arch.hf_defaults)?,
                    None => Source::hf(dir, arch.hf_defaults),
                };
                Ok((arch, Self::new(source, arch.names())))
            }
        }
    }

    /// The same for encoders: `None` if the file names none.
    ///
    /// # Errors
    /// If the file names no family at all.
    pub fn open_encoder(
        file: &'a ModelFile,
    ) -> Result<Option<(&'static EncoderFamily, Self)>, ModelError> {
        let (family, source) = match file {
            ModelFile::Gguf(gguf) => {
                let prefix = gguf.architecture()?;
                let source = Source::Gguf { file: gguf, prefix };
                (arch::encoder_by_gguf(prefix), source)
            }
            ModelFile::Hf(dir) => {
                let classes: Vec<&str> = dir.config.required("architectures")?;
                let family = classes.iter().find_map(|c| arch::encoder_by_hf(c));
                let defaults = family.map_or("{}", |family| family.hf_defaults);
                (family, Source::hf(dir, defaults))
            }
        };
        Ok(family.map(|family| (family, Self::new(source, family.names))))
    }

    /// The same for encoders of pictures: of a Hugging Face directory, or of an `mmproj`
    /// file of llama.cpp's. `None` if a directory has none.
    ///
    /// # Errors
    /// If a GGUF file is something else, or holds an encoder that choral does not run.
    pub(super) fn open_images(
        file: &'a ModelFile,
    ) -> Result<Option<(&'static ImageFamily, Self)>, ModelError> {
        const PROJECTORS: [&str; 2] = ["clip.projector_type", "clip.vision.projector_type"];
        let (family, source) = match file {
            ModelFile::Gguf(gguf) => {
                let name = gguf.architecture()?;
                if name != "clip" {
                    let key = "general.architecture";
                    let expected = "clip, an image encoder (`mmproj`)";
                    return Err(FormatError::field(gguf.path(), key, expected, name).into());
                }
                let mut found = "none";
                for key in PROJECTORS {
                    found = gguf.metadata().optional(key)?.unwrap_or(found);
                }
                let family = arch::images_by_gguf(found).ok_or_else(|| {
                    let known: Vec<&str> = arch::IMAGE_ENCODERS
                        .iter()
                        .flat_map(|a| a.gguf)
                        .copied()
                        .collect();
                    let expected = known.join(", ");
                    FormatError::field(gguf.path(), PROJECTORS[0], expected, found)
                })?;
                let prefix = "clip.vision";
                (family, Source::Gguf { file: gguf, prefix })
            }
            ModelFile::Hf(dir) => {
                let classes: Vec<&str> = dir.config.required("architectures")?;
                let family = classes.iter().find_map(|c| arch::images_by_hf(c));
                let (Some(family), true) = (family, dir.config.has("vision_config")) else {
                    return Ok(None);
                };
                let source = Source::hf_part(dir, "vision_config", family.hf_defaults)?;
                (family, source)
            }
        };
        let names = Names {
            gguf: &[],
            hf: &[],
            hf_root: "model",
        };
        Ok(Some((family, Self::new(source, names))))
    }

    fn new(source: Source<'a>, names: Names) -> Self {
        Self { source, names }
    }

    pub(super) fn name(&self, key: Key) -> String {
        match &self.source {
            Source::Gguf { prefix, .. } => format!("{prefix}.{}", key.gguf),
            Source::Hf { .. } => key.hf.to_owned(),
        }
    }

    /// An error about a setting's value.
    pub fn invalid(&self, key: Key, expected: impl Display, found: impl Display) -> ModelError {
        match &self.source {
            Source::Gguf { file, .. } => {
                FormatError::field(file.path(), self.name(key), expected, found)
            }
            Source::Hf { config, .. } => config.invalid(key.hf, expected, found),
        }
        .into()
    }

    /// An error that says that a setting is not there.
    pub fn missing(&self, key: Key) -> ModelError {
        match &self.source {
            Source::Gguf { file, .. } => file.metadata().missing(&self.name(key)),
            Source::Hf { config, .. } => config.missing(key.hf),
        }
        .into()
    }

    /// An optional count.
    pub fn usize(&self, key: Key) -> Result<Option<usize>, ModelError> {
        match &self.source {
            Source::Gguf { .. } => self.gguf_usize(key),
            Source::Hf { config, .. } => Ok(config.optional(key.hf)?),
        }
    }

    /// An optional count that only GGUF files state.
    pub fn gguf_usize(&self, key: Key) -> Result<Option<usize>, ModelError> {
        let Source::Gguf { file, .. } = &self.source else {
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
        match &self.source {
            Source::Gguf { file, .. } => Ok(file.metadata().optional(&self.name(key))?),
            Source::Hf { config, .. } => Ok(config.optional(key.hf)?),
        }
    }

    /// An optional flag that only GGUF files state.
    pub fn gguf_bool(&self, key: Key) -> Result<Option<bool>, ModelError> {
        match &self.source {
            Source::Gguf { file, .. } => Ok(file.metadata().optional(&self.name(key))?),
            Source::Hf { .. } => Ok(None),
        }
    }

    /// A flag of `config.json`; `default` where neither it nor its class says, and in GGUF
    /// files, which have no such flags.
    pub fn hf_bool(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match &self.source {
            Source::Gguf { .. } => Ok(default),
            Source::Hf { config, .. } => Ok(config.optional(key)?.unwrap_or(default)),
        }
    }

    /// A flag of `config.json` itself, where the settings are an object in it.
    pub fn hf_root_bool(&self, key: &str) -> Result<bool, ModelError> {
        match &self.source {
            Source::Gguf { .. } => Ok(false),
            Source::Hf { dir, .. } => Ok(dir.config.optional(key)?.unwrap_or(false)),
        }
    }

    /// A count of `config.json`; `None` in GGUF files.
    pub fn hf_usize(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match &self.source {
            Source::Gguf { .. } => Ok(None),
            Source::Hf { config, .. } => Ok(config.optional(key)?),
        }
    }

    /// A flag a layer, as numbers, of `config.json`.
    pub fn hf_flags(&self, key: &str, layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
        let Source::Hf { config, .. } = &self.source else {
            return Ok(None);
        };
        let Some(flags) = config.optional::<Vec<usize>>(key)? else {
            return Ok(None);
        };
        if flags.len() != layers {
            let expected = format!("{layers} entries");
            return Err(config.invalid(key, expected, flags.len()).into());
        }
        Ok(Some(flags.into_iter().map(|flag| flag != 0).collect()))
    }

    /// How many tensors the file holds: more layers than that cannot be.
    pub fn tensor_count(&self) -> usize {
        match &self.source {
            Source::Gguf { file, .. } => file.infos().len(),
            Source::Hf { dir, .. } => dir.infos().len(),
        }
    }

    /// Rows of the embedding. A GGUF file need not state it; what it states, as a
    /// number or by its list of tokens, must agree with what it holds.
    pub fn vocab_size(&self) -> Result<usize, ModelError> {
        const VOCAB: Key = Key::new("vocab_size", "vocab_size");
        let Source::Gguf { file, .. } = &self.source else {
            return self.bounded(VOCAB, 1..=u32::MAX as usize);
        };
        let embedding = "token_embd.weight";
        let rows = file
            .tensor(embedding)
            .map(|t| t.rows())
            .ok_or_else(|| ModelError::missing_tensor(*file, embedding))?;
        let expected = || format!("{rows}, the rows of {embedding}");
        if let Some(stated) = self.usize(VOCAB)?.filter(|&n| n != rows) {
            return Err(self.invalid(VOCAB, expected(), stated));
        }
        Ok(rows)
    }

    /// Whether the output matrix is the embedding: as `config.json` or its class says,
    /// or if a GGUF file has no other.
    pub fn tied_embeddings(&self) -> Result<bool, ModelError> {
        match &self.source {
            Source::Gguf { file, .. } => Ok(file.tensor("output.weight").is_none()),
            Source::Hf { .. } => self.hf_bool("tie_word_embeddings", false),
        }
    }

    /// The nonlinearity that `config.json` names; GGUF files name none.
    pub fn activation(&self) -> Result<Option<Activation>, ModelError> {
        let Source::Hf { config, .. } = &self.source else {
            return Ok(None);
        };
        for key in ["hidden_activation", "hidden_act", "activation_function"] {
            let Some(name) = config.optional::<&str>(key)? else {
                continue;
            };
            return match name {
                "silu" | "swish" => Ok(Some(Activation::Silu)),
                "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(Some(Activation::GeluTanh)),
                "gelu" => Ok(Some(Activation::Gelu)),
                other => {
                    let expected = "silu, gelu, gelu_new or gelu_pytorch_tanh";
                    Err(config.invalid(key, expected, other).into())
                }
            };
        }
        Ok(None)
    }

    /// Whether the settings are a GGUF file's.
    pub fn is_gguf(&self) -> bool {
        matches!(&self.source, Source::Gguf { .. })
    }

    /// A text of `config.json`; `None` in GGUF files.
    pub fn hf_str(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match &self.source {
            Source::Gguf { .. } => Ok(None),
            Source::Hf { config, .. } => Ok(config.optional(key)?),
        }
    }

    /// A number that must be there and not negative: what norms add.
    pub fn epsilon(&self, key: Key) -> Result<f32, ModelError> {
        let eps = self.f32(key)?.ok_or_else(|| self.missing(key))?;
        if eps.is_finite() && eps >= 0.0 {
            return Ok(eps);
        }
        Err(self.invalid(key, "a number that is not negative", eps))
    }

    /// An optional positive number.
    pub fn positive(&self, key: Key) -> Result<Option<f32>, ModelError> {
        match self.f32(key)? {
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            None => Ok(None),
            Some(x) => Err(self.invalid(key, "a positive number", x)),
        }
    }
}

fn unknown(
    name: &str,
    is_encoder: bool,
    names: fn(&Architecture) -> &'static [&'static str],
) -> ModelError {
    if is_encoder {
        let found = name.to_owned();
        return ModelError::Encoder { found };
    }
    let known: Vec<&str> = arch::ALL.iter().flat_map(|a| names(a)).copied().collect();
    ModelError::UnknownArchitecture {
        found: name.to_owned(),
        known: known.join(", "),
    }
}
