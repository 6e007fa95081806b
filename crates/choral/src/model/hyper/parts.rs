//! What several settings make together: windows, experts, rotation.

use super::{Hyper, Key, Source};
use crate::model::{Keys, ModelError, MoeSpec, RopeScaling, RopeSpec, Stored, rope_config};
use rope_config::Layers;

const SECTIONS: Key = Key::new("mrope_section", "rope.dimension_sections");

/// What a family calls its experts.
#[derive(Debug, Clone, Copy)]
pub struct ExpertKeys {
    /// How many there are.
    pub count: Key,
    /// How many a token goes through.
    pub chosen: Key,
    /// Inner width of each. GGUF files of before that key mean the dense width over the
    /// number of the chosen.
    pub size: Key,
}

impl ExpertKeys {
    /// With this name of their number in `config.json`, and a width of their own.
    pub const fn counted_as(hf: &'static str) -> Self {
        Self {
            count: Key::new(hf, "expert_count"),
            chosen: Key::new("num_experts_per_tok", "expert_used_count"),
            size: Key::new("moe_intermediate_size", "expert_feed_forward_length"),
        }
    }

    /// With another name of their width.
    #[must_use]
    pub const fn sized_as(mut self, size: Key) -> Self {
        self.size = size;
        self
    }
}

impl Hyper<'_> {
    /// Experts, under the names that most families give them: how many, how many are
    /// chosen, and how wide; `None` if there are none.
    pub fn experts(&self, names: &ExpertKeys) -> Result<Option<MoeSpec>, ModelError> {
        const MOST: usize = 1 << 16;
        let mut count = names.count;
        if let Source::Hf { dir, .. } = &self.source {
            // transformers takes either name for most families.
            let either = ["num_local_experts", "num_experts"];
            let stated = either.into_iter().find(|key| dir.config.has(key));
            count.hf = stated.unwrap_or(count.hf);
        }
        let num_experts = match self.usize(count)? {
            None | Some(0) => return Ok(None),
            Some(_) => self.bounded(count, 1..=MOST)?,
        };
        let num_chosen = self.bounded(names.chosen, 1..=num_experts)?;
        let size = match self.gguf_usize(names.size)? {
            None if self.is_gguf() => self.bounded(Keys::LLAMA.ffn, 1..=1 << 20)? / num_chosen,
            _ => self.bounded(names.size, 1..=1 << 20)?,
        };
        Ok(Some(MoeSpec {
            num_experts,
            num_chosen,
            size,
            normalised: true,
            router_bias: Stored::IfPresent,
            shared_size: 0,
        }))
    }

    /// Which layers of a Qwen model have experts.
    pub fn qwen_sparse_layers(&self) -> Result<impl Fn(usize) -> bool + use<>, ModelError> {
        let step = self.hf_usize("decoder_sparse_step")?.unwrap_or(1).max(1);
        let dense: Vec<usize> = match &self.source {
            Source::Gguf { .. } => Vec::new(),
            Source::Hf { config, .. } => config.optional("mlp_only_layers")?.unwrap_or_default(),
        };
        Ok(move |layer: usize| !dense.contains(&layer) && (layer + 1).is_multiple_of(step))
    }

    /// A GGUF file's sliding window, the same in every layer.
    pub fn gguf_window(&self, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
        let window = self.gguf_usize(Key::gguf("attention.sliding_window"))?;
        Ok(vec![window.filter(|&w| w > 0); layers])
    }

    /// Qwen's window, if `use_sliding_window` says so.
    pub fn qwen_window(&self) -> Result<Option<usize>, ModelError> {
        let window = self.hf_usize("sliding_window")?;
        let used = self.hf_bool("use_sliding_window", false)?;
        Ok(window.filter(|_| used))
    }

    /// Qwen's windows: `layer_types` where given, else the layers from
    /// `max_window_layers` on.
    pub fn qwen_windows(&self, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
        if self.is_gguf() {
            return self.gguf_window(layers);
        }
        let first = self.bounded(Key::hf("max_window_layers"), 0..=usize::MAX)?;
        self.windows(layers, self.qwen_window()?, |layer| layer >= first)
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
        let Source::Hf { config, .. } = &self.source else {
            return by_rule();
        };
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
        self.rope_of(head_dim, Layers::Main)
    }

    /// That of the layers with a window, where they have one of their own.
    pub fn window_rope(&self, head_dim: usize) -> Result<RopeSpec, ModelError> {
        self.rope_of(head_dim, Layers::Windowed)
    }

    fn rope_of(&self, head_dim: usize, layers: Layers) -> Result<RopeSpec, ModelError> {
        const DIM: Key = Key::new("partial_rotary_factor", "rope.dimension_count");
        let (theta, dim, scaling) = match &self.source {
            Source::Gguf { .. } => {
                let dim = self.gguf_usize(DIM)?.unwrap_or(head_dim);
                let (theta, scaling) = rope_config::from_gguf(self, layers)?;
                (theta, dim, scaling)
            }
            Source::Hf { config, .. } => {
                let (theta, share, scaling) = rope_config::from_hf(config, layers)?;
                let dim = (head_dim as f64 * share) as usize;
                (theta, dim, scaling)
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
        let rope = RopeSpec {
            theta,
            dim,
            scaling,
            sections: match layers {
                Layers::Main => self.rope_sections()?,
                Layers::Windowed => None,
            },
        };
        self.check_sections(&rope)?;
        Ok(rope)
    }

    /// How many pairs turn with a token's time, height and width; `None` where a
    /// position is one number.
    fn rope_sections(&self) -> Result<Option<[usize; 3]>, ModelError> {
        let stated = match &self.source {
            Source::Gguf { file, .. } => {
                let name = self.name(SECTIONS);
                file.metadata().optional::<Vec<u64>>(&name)?.map(|all| {
                    all.into_iter()
                        .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
                        .collect::<Vec<_>>()
                })
            }
            Source::Hf { config, .. } => {
                let newer = config.object("rope_parameters")?;
                let rope = config.object("rope_scaling")?.or(newer);
                let stated = rope.map(|rope| rope.optional(SECTIONS.hf)).transpose()?;
                stated.flatten()
            }
        };
        let Some(stated) = stated else {
            return Ok(None);
        };
        match stated[..] {
            // llama.cpp takes zeros for none, and has a fourth that stays 0 here.
            [0, 0, ..] => Ok(None),
            [t, h, w] | [t, h, w, 0] => Ok(Some([t, h, w])),
            _ => {
                let found = format!("{stated:?}");
                Err(self.invalid(SECTIONS, "three numbers: of time, height and width", found))
            }
        }
    }

    /// Whether the sections of `rope` are all of its pairs.
    ///
    /// # Errors
    /// If they are not.
    pub fn check_sections(&self, rope: &RopeSpec) -> Result<(), ModelError> {
        let Some(sections) = rope.sections else {
            return Ok(());
        };
        let sum = sections
            .iter()
            .fold(0, |sum: usize, &n| sum.saturating_add(n));
        if sum == rope.dim / 2 {
            return Ok(());
        }
        let expected = format!("a sum of {}, half of what is rotated", rope.dim / 2);
        Err(self.invalid(SECTIONS, expected, format!("{sections:?}")))
    }
}
