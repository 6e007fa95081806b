//! A model's settings, from `config.json` to GGUF's keys.
//!
//! Owns how each setting is spelled on both sides. What GGUF cannot say is an error,
//! not a model that is subtly another.

use super::ConvertError;
use super::family::Family;
use choral_formats::gguf::{Value, Writer};
use choral_formats::{Dtype, FromJson, HfDir, JsonObject, TensorInfo};
use std::f64::consts::TAU;

/// Where settings come from and go to.
pub(super) struct Keys<'a> {
    pub(super) folder: &'a HfDir,
    pub(super) family: &'static Family,
    pub(super) writer: Writer<'static>,
    /// Remarks for whoever converts.
    pub(super) notes: Vec<String>,
}

impl Keys<'_> {
    fn config(&self) -> &JsonObject {
        &self.folder.config
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        let key = format!("{}.{key}", self.family.name);
        self.writer.set(key, value);
    }

    fn inexpressible(&self, setting: &str, found: impl std::fmt::Display) -> ConvertError {
        ConvertError::Inexpressible {
            path: self.folder.path.clone(),
            setting: setting.to_owned(),
            found: found.to_string(),
            family: self.family.name,
        }
    }

    fn required_u32(&self, hf: &str) -> Result<u32, ConvertError> {
        Ok(self.config().required(hf)?)
    }

    /// A count that must be there.
    pub(super) fn count(&mut self, hf: &str, gguf: &str) -> Result<(), ConvertError> {
        let count = self.required_u32(hf)?;
        self.set(gguf, count);
        Ok(())
    }

    /// A setting that has only one value in GGUF.
    pub(super) fn fixed<T>(&self, hf: &str, only: T, default: T) -> Result<(), ConvertError>
    where
        T: for<'a> FromJson<'a> + PartialEq + std::fmt::Display,
    {
        let found = self.config().optional::<T>(hf)?.unwrap_or(default);
        if found == only {
            return Ok(());
        }
        Err(self.inexpressible(hf, found))
    }

    /// Elements of a head.
    pub(super) fn head_dim(&self) -> Result<u32, ConvertError> {
        if let Some(dim) = self.config().optional("head_dim")? {
            return Ok(dim);
        }
        let (width, heads) = (
            self.required_u32("hidden_size")?,
            self.required_u32("num_attention_heads")?,
        );
        match width.checked_div(heads) {
            Some(dim) if dim * heads == width => Ok(dim),
            _ => {
                let expected = format!("a divisor of the width {width}");
                let config = self.config();
                Err(config
                    .invalid("num_attention_heads", expected, heads)
                    .into())
            }
        }
    }

    /// What all decoders of Llama's shape have.
    pub(super) fn decoder(&mut self) -> Result<(), ConvertError> {
        self.sizes()?;
        self.activation("hidden_act", &["silu", "swish"])
    }

    /// What Gemma's decoders have. llama.cpp scales queries by the head's size, but in
    /// the family's largest model, told by its layers, by the width over the heads.
    pub(super) fn gemma_decoder(&mut self, layers_of_largest: u32) -> Result<(), ConvertError> {
        self.sizes()?;
        self.activation("hidden_activation", &["gelu_pytorch_tanh"])?;
        let implied = if self.required_u32("num_hidden_layers")? == layers_of_largest {
            let heads = self.required_u32("num_attention_heads")?;
            self.required_u32("hidden_size")? / heads.max(1)
        } else {
            self.head_dim()?
        };
        let key = "query_pre_attn_scalar";
        let scalar: f64 = self.config().optional(key)?.unwrap_or(256.0);
        if scalar != f64::from(implied) {
            return Err(self.inexpressible(key, scalar));
        }
        Ok(())
    }

    fn activation(&self, hf: &str, known: &[&str]) -> Result<(), ConvertError> {
        match self.config().optional::<&str>(hf)? {
            Some(other) if !known.contains(&other) => Err(self.inexpressible(hf, other)),
            _ => Ok(()),
        }
    }

    /// A cap on logits, if there is one.
    pub(super) fn soft_cap(&mut self, hf: &str, gguf: &str) -> Result<(), ConvertError> {
        let cap: Option<f32> = self.config().optional(hf)?;
        match cap {
            Some(cap) => self.set(gguf, cap),
            // Files without the key get the published models' caps.
            None => return Err(self.inexpressible(hf, "null")),
        }
        Ok(())
    }

    /// Layers whose windows are llama.cpp's: all but each `period`-th.
    pub(super) fn layer_pattern(&self, period: u32) -> Result<(), ConvertError> {
        self.fixed("sliding_window_pattern", period, period)?;
        let types = self.config().optional::<Vec<&str>>("layer_types")?;
        for (layer, kind) in (1u32..).zip(types.into_iter().flatten()) {
            if (kind == "full_attention") != layer.is_multiple_of(period) {
                return Err(self.inexpressible("layer_types", format!("{kind} in layer {layer}")));
            }
        }
        Ok(())
    }

    /// Frequencies of layers with a window.
    pub(super) fn local_rope(&mut self) -> Result<(), ConvertError> {
        let base: f32 = self
            .config()
            .optional("rope_local_base_freq")?
            .unwrap_or(10_000.0);
        self.set("rope.freq_base_swa", base);
        Ok(())
    }

    /// Layers without rotation, which llama.cpp takes to be every fourth.
    pub(super) fn every_fourth_without_rope(&self) -> Result<(), ConvertError> {
        let key = "no_rope_layers";
        // One for layers that rotate.
        let rotates = self.config().optional::<Vec<u32>>(key)?;
        for (layer, rotates) in (1u32..).zip(rotates.into_iter().flatten()) {
            if (rotates == 0) != layer.is_multiple_of(4) {
                return Err(self.inexpressible(key, format!("{rotates} for layer {layer}")));
            }
        }
        self.fixed("no_rope_layer_interval", 4u32, 4)
    }

    fn sizes(&mut self) -> Result<(), ConvertError> {
        self.count("num_hidden_layers", "block_count")?;
        self.count("max_position_embeddings", "context_length")?;
        self.count("hidden_size", "embedding_length")?;
        self.count("intermediate_size", "feed_forward_length")?;
        self.count("num_attention_heads", "attention.head_count")?;
        let heads = self.required_u32("num_attention_heads")?;
        let kv_heads: Option<u32> = self.config().optional("num_key_value_heads")?;
        self.set("attention.head_count_kv", kv_heads.unwrap_or(heads));
        let eps: f32 = self.config().optional("rms_norm_eps")?.unwrap_or(1e-6);
        self.set("attention.layer_norm_rms_epsilon", eps);
        let head_dim = self.head_dim()?;
        self.set("attention.key_length", head_dim);
        self.set("attention.value_length", head_dim);
        Ok(())
    }

    /// Rotary embedding, in the older spelling (`rope_theta`, `rope_scaling`) or the
    /// newer one (`rope_parameters`).
    pub(super) fn rope(&mut self) -> Result<(), ConvertError> {
        let config = self.config().clone();
        let newer = config.object("rope_parameters")?;
        let mut theta: Option<f32> = config.optional("rope_theta")?;
        if let Some(parameters) = &newer {
            theta = parameters.optional("rope_theta")?.or(theta);
        }
        let theta = theta.unwrap_or(10_000.0);
        self.set("rope.freq_base", theta);
        let head_dim = self.head_dim()?;
        self.set("rope.dimension_count", head_dim);
        let scaling = match newer {
            Some(parameters) => Some(parameters),
            None => config.object("rope_scaling")?,
        };
        let Some(scaling) = scaling else {
            return Ok(());
        };
        let kind = match scaling.optional::<&str>("rope_type")? {
            Some(kind) => kind,
            None => scaling.required("type")?,
        };
        match kind {
            "default" => Ok(()),
            "linear" => {
                let factor: f32 = scaling.required("factor")?;
                self.set("rope.scaling.type", "linear");
                self.set("rope.scaling.factor", factor);
                Ok(())
            }
            "yarn" => self.yarn(&config, &scaling),
            "llama3" => self.llama3(&scaling, f64::from(theta), head_dim as usize),
            other => Err(self.inexpressible("rope_scaling", other)),
        }
    }

    fn yarn(&mut self, config: &JsonObject, scaling: &JsonObject) -> Result<(), ConvertError> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let factor: f32 = scaling.required("factor")?;
        let original: u32 = match scaling.optional(ORIGINAL)?.or(config.optional(ORIGINAL)?) {
            Some(original) => original,
            None => config.required("max_position_embeddings")?,
        };
        self.set("rope.scaling.type", "yarn");
        self.set("rope.scaling.factor", factor);
        self.set("rope.scaling.original_context_length", original);
        for (hf, gguf) in [
            ("beta_fast", "rope.scaling.yarn_beta_fast"),
            ("beta_slow", "rope.scaling.yarn_beta_slow"),
        ] {
            if let Some(beta) = scaling.optional::<f32>(hf)? {
                self.set(gguf, beta);
            }
        }
        if let Some(attention) = scaling.optional::<f32>("attention_factor")? {
            // The key holds what comes on top of the paper's own factor.
            let own = if factor > 1.0 {
                0.1 * factor.ln() + 1.0
            } else {
                1.0
            };
            self.set("rope.scaling.attn_factor", attention / own);
        }
        if scaling.optional("truncate")? == Some(false) {
            return Err(self.inexpressible("rope_scaling.truncate", false));
        }
        Ok(())
    }

    /// Llama 3's scaling is a tensor: a divisor for each frequency.
    fn llama3(
        &mut self,
        scaling: &JsonObject,
        theta: f64,
        head_dim: usize,
    ) -> Result<(), ConvertError> {
        let number = |key: &str| scaling.required::<f64>(key);
        let (factor, low, high) = (
            number("factor")?,
            number("low_freq_factor")?,
            number("high_freq_factor")?,
        );
        let original = number("original_max_position_embeddings")?;
        if high <= low || low <= 0.0 {
            let expected = format!("above low_freq_factor, {low}");
            return Err(scaling.invalid("high_freq_factor", expected, high).into());
        }
        let divisors = (0..head_dim / 2).map(|i| {
            let frequency = theta.powf(-2.0 * i as f64 / head_dim as f64);
            let rotations = original * frequency / TAU;
            let divisor = if rotations > high {
                1.0
            } else if rotations < low {
                factor
            } else {
                let smooth = (rotations - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            };
            divisor as f32
        });
        let bytes: Vec<u8> = divisors.flat_map(f32::to_le_bytes).collect();
        let info = TensorInfo {
            name: "rope_freqs.weight".to_owned(),
            dtype: Dtype::F32,
            shape: vec![head_dim / 2],
        };
        self.writer.tensor(info, bytes)?;
        Ok(())
    }

    /// One window for all layers.
    pub(super) fn window(&mut self, hf: &str) -> Result<(), ConvertError> {
        let window: Option<u32> = self.config().optional(hf)?;
        let context = self.required_u32("max_position_embeddings")?;
        let Some(window) = window.filter(|&window| window < context) else {
            return Ok(());
        };
        self.set("attention.sliding_window", window);
        self.notes.push(format!(
            "the sliding window of {window} tokens is written, but llama.cpp ignores it in \
             `{}`: there, texts longer than that give other results",
            self.family.name
        ));
        Ok(())
    }

    /// Qwen's window, which is off in all published models.
    pub(super) fn qwen_window(&mut self) -> Result<(), ConvertError> {
        if self.config().optional("use_sliding_window")? != Some(true)
            || !self.config().has("sliding_window")
        {
            return Ok(());
        }
        let layers = self.required_u32("num_hidden_layers")?;
        let first: u32 = self.config().optional("max_window_layers")?.unwrap_or(28);
        let all_alike = match self.config().optional::<Vec<&str>>("layer_types")? {
            Some(types) => types.windows(2).all(|pair| pair[0] == pair[1]),
            None => first == 0 || first >= layers,
        };
        if !all_alike {
            return Err(self.inexpressible("sliding_window", "of some layers only"));
        }
        let has_window = match self.config().optional::<Vec<&str>>("layer_types")? {
            Some(types) => types.first() == Some(&"sliding_attention"),
            None => first == 0,
        };
        if has_window {
            self.window("sliding_window")?;
        }
        Ok(())
    }

    /// What the authors recommend for sampling.
    pub(super) fn sampling(&mut self) -> Result<(), ConvertError> {
        let Some(config) = &self.folder.generation_config else {
            return Ok(());
        };
        let writer = &mut self.writer;
        if let Some(top_k) = config.optional::<u32>("top_k")? {
            writer.set("general.sampling.top_k", top_k as i32);
        }
        for (hf, gguf) in [
            ("top_p", "general.sampling.top_p"),
            ("min_p", "general.sampling.min_p"),
            ("temperature", "general.sampling.temp"),
            ("repetition_penalty", "general.sampling.penalty_repeat"),
        ] {
            if let Some(value) = config.optional::<f32>(hf)? {
                writer.set(gguf, value);
            }
        }
        Ok(())
    }
}
