//! Rotation, from `config.json` to GGUF's keys and tensors.
//!
//! Owns the spellings of scaled frequencies on both sides: factors, `YaRN`, and the
//! tensors of divisors that stand for Llama 3's scaling and for `LongRoPE`.

use super::ConvertError;
use super::keys::Keys;
use crate::model::rope_config::{self, Layers, Spelled};
use choral_formats::{Dtype, JsonObject, TensorInfo};
use std::f64::consts::TAU;

impl Keys<'_> {
    /// Rotary embedding, in the older spelling (`rope_theta`, `rope_scaling`) or the
    /// newer one (`rope_parameters`).
    pub(super) fn rope(&mut self) -> Result<(), ConvertError> {
        self.rope_of(false)
    }

    /// The same, or two lists of divisors: for texts within the original context, and
    /// for longer ones.
    pub(super) fn rope_or_longrope(&mut self) -> Result<(), ConvertError> {
        self.rope_of(true)
    }

    fn rope_of(&mut self, may_be_long: bool) -> Result<(), ConvertError> {
        let config = self.config().clone();
        let Spelled {
            theta,
            share,
            scaling,
        } = rope_config::spelled(&config, Layers::Main)?;
        self.set("rope.freq_base", theta as f32);
        if !(0.0..=1.0).contains(&share) {
            let expected = "a share of the head, up to 1";
            let error = config.invalid("partial_rotary_factor", expected, share);
            return Err(error.into());
        }
        let rotated = (f64::from(self.head_dim()?) * share) as u32;
        self.set("rope.dimension_count", rotated);
        let Some((kind, scaling)) = scaling else {
            return Ok(());
        };
        match kind.as_str() {
            "default" => Ok(()),
            "linear" => {
                let factor: f32 = scaling.required("factor")?;
                self.set("rope.scaling.type", "linear");
                self.set("rope.scaling.factor", factor);
                Ok(())
            }
            "yarn" => self.yarn(&config, &scaling),
            "llama3" => self.llama3(&config, &scaling, theta, rotated as usize),
            "longrope" if may_be_long => self.longrope(&config, &scaling, rotated as usize),
            other => Err(self.inexpressible("rope_scaling", other)),
        }
    }

    fn yarn(&mut self, config: &JsonObject, scaling: &JsonObject) -> Result<(), ConvertError> {
        let factor = rope_config::stretch(config, scaling)?;
        let original = rope_config::original_context(config, scaling)?;
        self.set("rope.scaling.type", "yarn");
        self.set("rope.scaling.factor", factor as f32);
        self.set("rope.scaling.original_context_length", original as u32);
        for (hf, gguf) in [
            ("beta_fast", "rope.scaling.yarn_beta_fast"),
            ("beta_slow", "rope.scaling.yarn_beta_slow"),
        ] {
            if let Some(beta) = scaling.optional::<f32>(hf)? {
                self.set(gguf, beta);
            }
        }
        // The key holds what comes on top of the paper's own factor.
        let attention = rope_config::hf_yarn_attention_factor(scaling, factor)?;
        let own = rope_config::yarn_attention_factor(factor);
        if attention != own {
            self.set("rope.scaling.attn_factor", (attention / own) as f32);
        }
        if scaling.optional("truncate")? == Some(false) {
            return Err(self.inexpressible("rope_scaling.truncate", false));
        }
        Ok(())
    }

    /// Llama 3's scaling is a tensor: a divisor for each frequency.
    fn llama3(
        &mut self,
        config: &JsonObject,
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
        let original = rope_config::original_context(config, scaling)?;
        if high <= low || low <= 0.0 {
            let expected = format!("above low_freq_factor, {low}");
            return Err(scaling.invalid("high_freq_factor", expected, high).into());
        }
        let divisors = (0..head_dim / 2).map(|i| {
            let frequency = libm::pow(theta, -2.0 * i as f64 / head_dim as f64);
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
        self.divisors("rope_freqs.weight", divisors)
    }

    /// Source: `LongRoPE`, arXiv:2402.13753; Hugging Face `modeling_rope_utils.py`.
    fn longrope(
        &mut self,
        config: &JsonObject,
        scaling: &JsonObject,
        rotated: usize,
    ) -> Result<(), ConvertError> {
        let original = rope_config::original_context(config, scaling)?;
        let attention = rope_config::hf_long_attention_factor(config, scaling)?;
        self.set("rope.scaling.attn_factor", attention as f32);
        self.set("rope.scaling.original_context_length", original as u32);
        for (hf, name) in [
            ("long_factor", "rope_factors_long.weight"),
            ("short_factor", "rope_factors_short.weight"),
        ] {
            let factors: Vec<f32> = scaling.required(hf)?;
            if factors.len() != rotated / 2 {
                let expected = format!("{} factors", rotated / 2);
                return Err(scaling.invalid(hf, expected, factors.len()).into());
            }
            self.divisors(name, factors.into_iter())?;
        }
        Ok(())
    }

    /// A tensor that frequencies are divided by.
    fn divisors(
        &mut self,
        name: &str,
        divisors: impl ExactSizeIterator<Item = f32>,
    ) -> Result<(), ConvertError> {
        let info = TensorInfo {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: vec![divisors.len()],
        };
        let bytes: Vec<u8> = divisors.flat_map(f32::to_le_bytes).collect();
        self.writer.tensor(info, bytes)?;
        Ok(())
    }

    /// Frequencies of layers with a window.
    pub(super) fn local_rope(&mut self) -> Result<(), ConvertError> {
        let local = rope_config::spelled(self.config(), Layers::Windowed)?;
        if let Some((kind, _)) = local.scaling.filter(|(kind, _)| kind != "default") {
            return Err(self.inexpressible("rope_parameters.sliding_attention", kind));
        }
        self.set("rope.freq_base_swa", local.theta as f32);
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
}
