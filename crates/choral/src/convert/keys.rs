//! A model's settings, from `config.json` to GGUF's keys.
//!
//! Owns how each setting is spelled on both sides; those of rotation are in `rope.rs`.
//! What GGUF cannot say is an error, not a model that is subtly another.

use super::ConvertError;
use super::family::Family;
use choral_formats::gguf::{Value, Writer};
use choral_formats::{FromJson, HfDir, JsonObject};

/// Where settings come from and go to.
pub(super) struct Keys<'a> {
    pub(super) folder: &'a HfDir,
    /// `config.json`, and where it is silent what the family's class takes.
    pub(super) config: JsonObject,
    pub(super) family: &'static Family,
    pub(super) writer: Writer<'static>,
    /// Remarks for whoever converts.
    pub(super) notes: Vec<String>,
}

/// Names of the sizes that every model has, GPT-2's last.
const LAYERS: &[&str] = &["num_hidden_layers", "n_layer"];
const CONTEXT: &[&str] = &["max_position_embeddings", "n_positions"];
const WIDTH: &[&str] = &["hidden_size", "n_embd"];
const HEADS: &[&str] = &["num_attention_heads", "n_head"];
const FEED_FORWARD: &[&str] = &["intermediate_size", "n_inner"];

impl Keys<'_> {
    pub(super) fn config(&self) -> &JsonObject {
        &self.config
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let key = format!("{}.{key}", self.family.name);
        self.writer.set(key, value);
    }

    pub(super) fn inexpressible(
        &self,
        setting: &str,
        found: impl std::fmt::Display,
    ) -> ConvertError {
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

    /// A count under the first of its names that is there.
    fn first_u32(&self, names: &[&str]) -> Result<Option<u32>, ConvertError> {
        for name in names {
            if let Some(count) = self.config().optional(name)? {
                return Ok(Some(count));
            }
        }
        Ok(None)
    }

    fn first_required(&self, names: &[&str]) -> Result<u32, ConvertError> {
        match self.first_u32(names)? {
            Some(count) => Ok(count),
            None => self.required_u32(names[0]),
        }
    }

    /// How many layers there are.
    pub(super) fn layers(&self) -> Result<u32, ConvertError> {
        self.first_required(LAYERS)
    }

    /// A factor, 1 where it is not given.
    pub(super) fn factor(&mut self, hf: &str, gguf: &str) -> Result<(), ConvertError> {
        let factor: f32 = self.config().optional(hf)?.unwrap_or(1.0);
        self.set(gguf, factor);
        Ok(())
    }

    /// What the file calls the number of its experts, or where it is silent, its class.
    pub(super) fn experts_name(&self) -> Option<&'static str> {
        let names = ["num_local_experts", "num_experts"];
        let in_file = names.into_iter().find(|key| self.folder.config.has(key));
        in_file.or_else(|| names.into_iter().find(|key| self.config.has(key)))
    }

    /// How many experts there are.
    pub(super) fn experts(&mut self) -> Result<(), ConvertError> {
        let name = self.experts_name().unwrap_or("num_experts");
        self.count(name, "expert_count")
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
        let (width, heads) = (self.first_required(WIDTH)?, self.first_required(HEADS)?);
        match width.checked_div(heads) {
            Some(dim) if dim * heads == width => Ok(dim),
            _ => {
                let expected = format!("a divisor of the width {width}");
                let config = self.config();
                Err(config.invalid(HEADS[0], expected, heads).into())
            }
        }
    }

    /// What all decoders of Llama's shape have.
    pub(super) fn decoder(&mut self) -> Result<(), ConvertError> {
        self.sizes()?;
        self.rms_epsilon()?;
        self.activation("hidden_act", &["silu", "swish"])
    }

    /// What decoders of GPT's shape have: layer norms, and no gate.
    pub(super) fn layer_norm_decoder(
        &mut self,
        activation: &str,
        epsilon: &str,
    ) -> Result<(), ConvertError> {
        self.sizes()?;
        let eps: f32 = self.config().required(epsilon)?;
        self.set("attention.layer_norm_epsilon", eps);
        self.activation(activation, &["gelu_new", "gelu_pytorch_tanh", "gelu_fast"])
    }

    /// What Gemma's decoders have. llama.cpp scales queries by the head's size, but in
    /// the family's largest model, told by its layers, by the width over the heads.
    pub(super) fn gemma_decoder(&mut self, layers_of_largest: u32) -> Result<(), ConvertError> {
        self.sizes()?;
        self.rms_epsilon()?;
        self.activation("hidden_activation", &["gelu_pytorch_tanh"])?;
        let implied = if self.required_u32("num_hidden_layers")? == layers_of_largest {
            let heads = self.required_u32("num_attention_heads")?;
            self.required_u32("hidden_size")? / heads.max(1)
        } else {
            self.head_dim()?
        };
        let key = "query_pre_attn_scalar";
        let scalar: f64 = self.config().required(key)?;
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

    fn sizes(&mut self) -> Result<(), ConvertError> {
        let width = self.first_required(WIDTH)?;
        let heads = self.first_required(HEADS)?;
        let feed_forward = match self.first_u32(FEED_FORWARD)? {
            // GPT-2's may be left out.
            None if self.config().has("n_embd") => width.saturating_mul(4),
            _ => self.first_required(FEED_FORWARD)?,
        };
        self.set("block_count", self.layers()?);
        self.set("context_length", self.first_required(CONTEXT)?);
        self.set("embedding_length", width);
        self.set("feed_forward_length", feed_forward);
        self.set("attention.head_count", heads);
        let kv_heads: Option<u32> = self.config().optional("num_key_value_heads")?;
        self.set("attention.head_count_kv", kv_heads.unwrap_or(heads));
        let head_dim = self.head_dim()?;
        self.set("attention.key_length", head_dim);
        self.set("attention.value_length", head_dim);
        Ok(())
    }

    fn rms_epsilon(&mut self) -> Result<(), ConvertError> {
        let eps: f32 = self.config().required("rms_norm_eps")?;
        self.set("attention.layer_norm_rms_epsilon", eps);
        Ok(())
    }

    /// Experts in every layer, which is how llama.cpp builds the family.
    pub(super) fn every_layer_has_experts(&self) -> Result<(), ConvertError> {
        let without: Option<Vec<u32>> = self.config().optional("mlp_only_layers")?;
        if let Some(layer) = without.and_then(|layers| layers.first().copied()) {
            return Err(self.inexpressible("mlp_only_layers", format!("layer {layer}")));
        }
        self.fixed("decoder_sparse_step", 1u32, 1)
    }

    /// Says that there is no window, where llama.cpp would wonder.
    pub(super) fn no_window(&mut self) {
        self.set("attention.sliding_window", 0u32);
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
