//! A model's settings, under the names of either file format.
//!
//! Owns how a setting is found and what its value may be. Knows no family.

use super::{
    Activation, Keys, ModelError, MoeSpec, Names, RopeScaling, RopeSpec, Stored, rope_config,
};
use crate::arch::{self, Architecture, EncoderFamily};
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

    /// A setting that only a `config.json` has.
    pub const fn hf(hf: &'static str) -> Self {
        Self { hf, gguf: hf }
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
                let source = Source::Hf(dir);
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
                (family, Source::Hf(dir))
            }
        };
        Ok(family.map(|family| (family, Self::new(source, family.names))))
    }

    fn new(source: Source<'a>, names: Names) -> Self {
        Self { source, names }
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

    /// An optional flag that only GGUF files state.
    pub fn gguf_bool(&self, key: Key) -> Result<Option<bool>, ModelError> {
        match self.source {
            Source::Gguf { file, .. } => Ok(file.metadata().optional(&self.name(key))?),
            Source::Hf(_) => Ok(None),
        }
    }

    /// A flag of `config.json`; `default` in GGUF files, which have no such flags.
    pub fn hf_bool(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.source {
            Source::Gguf { .. } => Ok(default),
            Source::Hf(dir) => Ok(dir.config.optional(key)?.unwrap_or(default)),
        }
    }

    /// Whether `config.json` has a key, be it `null`; never in GGUF files.
    pub fn hf_has(&self, key: &str) -> bool {
        match self.source {
            Source::Gguf { .. } => false,
            Source::Hf(dir) => dir.config.get(key).is_some(),
        }
    }

    /// Whether `config.json` states a rotation for each kind of layer.
    pub fn hf_rope_by_kind(&self) -> Result<bool, ModelError> {
        match self.source {
            Source::Gguf { .. } => Ok(false),
            Source::Hf(dir) => {
                let parameters = dir.config.object("rope_parameters")?;
                Ok(parameters.is_some_and(|p| p.has("full_attention")))
            }
        }
    }

    /// A count of `config.json`; `None` in GGUF files.
    pub fn hf_usize(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.source {
            Source::Gguf { .. } => Ok(None),
            Source::Hf(dir) => Ok(dir.config.optional(key)?),
        }
    }

    /// A flag a layer, as numbers, of `config.json`.
    pub fn hf_flags(&self, key: &str, layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
        let Source::Hf(dir) = self.source else {
            return Ok(None);
        };
        let Some(flags) = dir.config.optional::<Vec<usize>>(key)? else {
            return Ok(None);
        };
        if flags.len() != layers {
            let expected = format!("{layers} entries");
            return Err(dir.config.invalid(key, expected, flags.len()).into());
        }
        Ok(Some(flags.into_iter().map(|flag| flag != 0).collect()))
    }

    /// Which layers of a Qwen model have experts.
    pub fn qwen_sparse_layers(&self) -> Result<impl Fn(usize) -> bool, ModelError> {
        let step = self.hf_usize("decoder_sparse_step")?.unwrap_or(1).max(1);
        let dense: Vec<usize> = match self.source {
            Source::Gguf { .. } => Vec::new(),
            Source::Hf(dir) => dir.config.optional("mlp_only_layers")?.unwrap_or_default(),
        };
        Ok(move |layer: usize| !dense.contains(&layer) && (layer + 1).is_multiple_of(step))
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

    /// Whether the output matrix is the embedding: as the settings say, or else if
    /// the file has no other.
    pub fn tied_embeddings(&self) -> Result<bool, ModelError> {
        match self.source {
            Source::Gguf { file, .. } => Ok(file.tensor("output.weight").is_none()),
            Source::Hf(dir) => {
                let stated = dir.config.optional("tie_word_embeddings")?;
                // Of a quantised head there are several tensors, none of that name.
                let has_head = || dir.infos().iter().any(|t| t.name.starts_with("lm_head."));
                Ok(stated.unwrap_or_else(|| !has_head()))
            }
        }
    }

    /// The nonlinearity that `config.json` names; GGUF files name none.
    pub fn activation(&self) -> Result<Option<Activation>, ModelError> {
        let Source::Hf(dir) = self.source else {
            return Ok(None);
        };
        for key in ["hidden_activation", "hidden_act", "activation_function"] {
            let Some(name) = dir.config.optional::<&str>(key)? else {
                continue;
            };
            return match name {
                "silu" | "swish" => Ok(Some(Activation::Silu)),
                "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(Some(Activation::GeluTanh)),
                "gelu" => Ok(Some(Activation::Gelu)),
                other => {
                    let expected = "silu, gelu, gelu_new or gelu_pytorch_tanh";
                    Err(dir.config.invalid(key, expected, other).into())
                }
            };
        }
        Ok(None)
    }

    /// Whether the settings are a GGUF file's.
    pub fn is_gguf(&self) -> bool {
        matches!(self.source, Source::Gguf { .. })
    }

    /// A text of `config.json`; `None` in GGUF files.
    pub fn hf_str(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        match self.source {
            Source::Gguf { .. } => Ok(None),
            Source::Hf(dir) => Ok(dir.config.optional(key)?),
        }
    }

    /// An optional positive number.
    pub fn positive(&self, key: Key) -> Result<Option<f32>, ModelError> {
        match self.f32(key)? {
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            None => Ok(None),
            Some(x) => Err(self.invalid(key, "a positive number", x)),
        }
    }

    /// Experts, under the names that most families give them: how many, how many are
    /// chosen, and how wide; `None` if there are none.
    pub fn experts(&self, names: &ExpertKeys) -> Result<Option<MoeSpec>, ModelError> {
        const MOST: usize = 1 << 16;
        let num_experts = match self.usize(names.count)? {
            None | Some(0) => return Ok(None),
            Some(_) => self.bounded(names.count, 1..=MOST)?,
        };
        Ok(Some(MoeSpec {
            num_experts,
            num_chosen: self.bounded(names.chosen, 1..=num_experts)?,
            size: match self.usize(names.size)? {
                Some(_) => self.bounded(names.size, 1..=1 << 20)?,
                None => self.bounded(Keys::LLAMA.ffn, 1..=1 << 20)?,
            },
            normalised: true,
            router_bias: Stored::IfPresent,
            shared_size: 0,
        }))
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
        let first = config.optional("max_window_layers")?.unwrap_or(28_usize);
        self.windows(layers, window, |layer| layer >= first)
    }

    /// Windows of `window` positions in the layers that `layer_types` names, or where
    /// it is not there, in those that `is_windowed`.
    pub fn windows(
        &self,
        layers: usize,
        window: Option<usize>,
        is_windowed: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<usize>>, ModelError> {
        let by_rule = || {
            let windows = (0..layers).map(|layer| window.filter(|_| is_windowed(layer)));
            Ok(windows.collect())
        };
        let Source::Hf(dir) = self.source else {
            return by_rule();
        };
        let config = &dir.config;
        let Some(types) = config.optional::<Vec<&str>>("layer_types")? else {
            return by_rule();
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

    /// Rotary embedding over `head_dim` elements, or over the part of them that the
    /// settings name.
    pub fn rope(&self, head_dim: usize) -> Result<RopeSpec, ModelError> {
        self.rope_of(head_dim, None)
    }

    /// That of the layers of one kind, where a `config.json` has one for each.
    pub fn rope_of(&self, head_dim: usize, kind: Option<&str>) -> Result<RopeSpec, ModelError> {
        const DIM: Key = Key::new("partial_rotary_factor", "rope.dimension_count");
        let (theta, dim, scaling) = match self.source {
            Source::Gguf { .. } => {
                let dim = self.gguf_usize(DIM)?.unwrap_or(head_dim);
                let (theta, scaling) = rope_config::from_gguf(self)?;
                (theta, dim, scaling)
            }
            Source::Hf(dir) => {
                let rope = rope_config::from_hf(&dir.config, kind)?;
                let dim = (head_dim as f64 * rope.share) as usize;
                (rope.theta, dim, rope.scaling)
            }
        };
        if dim == 0 || dim > head_dim || !dim.is_multiple_of(2) {
            let expected = format!("an even number up to the head's {head_dim}");
            return Err(self.invalid(DIM, expected, dim));
        }
        if !(theta.is_finite() && theta > 0.0) {
            let key = Key::new("rope_theta", "rope.freq_base");
            return Err(self.invalid(key, "a positive number", theta));
        }
        if let RopeScaling::Long { short, long, .. } = &scaling {
            for (key, list) in [("short_factor", short), ("long_factor", long)] {
                if !list.is_empty() && list.len() != dim / 2 {
                    let expected = format!("{} numbers", dim / 2);
                    let key = Key::new(key, key);
                    return Err(self.invalid(key, expected, list.len()));
                }
            }
        }
        Ok(RopeSpec {
            theta,
            dim,
            scaling,
        })
    }
}

/// What a family calls its experts.
#[derive(Debug, Clone, Copy)]
pub struct ExpertKeys {
    /// How many there are.
    pub count: Key,
    /// How many a token goes through.
    pub chosen: Key,
    /// Inner width of each; that of the feed-forward part if not said.
    pub size: Key,
}

impl ExpertKeys {
    /// With this name of their number in `config.json`.
    pub const fn counted_as(hf: &'static str) -> Self {
        Self {
            count: Key::new(hf, "expert_count"),
            chosen: Key::new("num_experts_per_tok", "expert_used_count"),
            size: Key::new("moe_intermediate_size", "expert_feed_forward_length"),
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
