//! Reads how rotary frequencies are scaled, from either file format.

#[cfg(test)]
mod tests;

use super::hyper::{Hyper, Key, Source};
use super::{ModelError, RopeScaling};
use choral_formats::{JsonObject, TensorSource as _};

/// `0.1 ln(factor) + 1`, from the `YaRN` paper.
fn yarn_attention_factor(factor: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * factor.ln() + 1.0
    }
}

/// Base and scaling of a GGUF file. Llama 3's factors are a tensor there, which
/// the loader finds.
///
/// A file that states no type is scaled linearly if it has a factor, which files from
/// before the types have under another name. (llama.cpp, `load_hparams`.)
pub(super) fn from_gguf(hyper: &Hyper<'_>) -> Result<(f64, RopeScaling), ModelError> {
    const KIND: Key = Key::gguf("rope.scaling.type");
    const FACTOR: Key = Key::gguf("rope.scaling.factor");
    const OLD_FACTOR: Key = Key::gguf("rope.scale_linear");
    const CONTEXT: Key = Key::gguf("rope.scaling.original_context_length");
    let number = |key| Ok::<_, ModelError>(hyper.f32(key)?.map(f64::from));
    let theta = number(Key::gguf("rope.freq_base"))?.unwrap_or(10_000.0);
    let Source::Gguf { file, .. } = hyper.source else {
        return Ok((theta, RopeScaling::None));
    };
    let positive = |key, factor: f64| {
        if factor.is_finite() && factor > 0.0 {
            return Ok(factor);
        }
        Err(hyper.invalid(key, "a positive number", factor))
    };
    let linear = || {
        let (key, factor) = match number(FACTOR)? {
            Some(factor) => (FACTOR, factor),
            None => (OLD_FACTOR, number(OLD_FACTOR)?.unwrap_or(0.0)),
        };
        Ok::<_, ModelError>(match factor {
            // Both mean that there is none.
            0.0 | 1.0 => RopeScaling::None,
            factor => RopeScaling::Linear {
                factor: positive(key, factor)?,
            },
        })
    };
    let scaling = match file.metadata().optional::<&str>(&hyper.name(KIND))? {
        Some("none") => RopeScaling::None,
        None if file.tensor("rope_factors_long.weight").is_some() => gguf_long(hyper)?,
        None | Some("linear") => linear()?,
        Some("yarn") => {
            let factor = number(FACTOR)?.ok_or_else(|| hyper.missing(FACTOR))?;
            let factor = positive(FACTOR, factor)?;
            let original = hyper
                .usize(CONTEXT)?
                .ok_or_else(|| hyper.missing(CONTEXT))?;
            let extra = number(Key::gguf("rope.scaling.attn_factor"))?.unwrap_or(1.0);
            RopeScaling::Yarn {
                factor,
                original_context: original as f64,
                beta_fast: number(Key::gguf("rope.scaling.yarn_beta_fast"))?.unwrap_or(32.0),
                beta_slow: number(Key::gguf("rope.scaling.yarn_beta_slow"))?.unwrap_or(1.0),
                attention_factor: yarn_attention_factor(factor) * extra,
                truncate: true,
            }
        }
        Some("longrope") => gguf_long(hyper)?,
        Some(other) => {
            return Err(hyper.invalid(KIND, "none, linear, yarn or longrope", other));
        }
    };
    Ok((theta, scaling))
}

/// `LongRoPE` of a GGUF file, whose divisors are tensors.
fn gguf_long(hyper: &Hyper<'_>) -> Result<RopeScaling, ModelError> {
    const CONTEXT: Key = Key::gguf("rope.scaling.original_context_length");
    const FACTOR: Key = Key::gguf("rope.scaling.attn_factor");
    let original_context = hyper.usize(CONTEXT)?;
    Ok(RopeScaling::Long {
        short: Vec::new(),
        long: Vec::new(),
        original_context: original_context.ok_or_else(|| hyper.missing(CONTEXT))?,
        attention_factor: hyper.positive(FACTOR)?.map_or(1.0, f64::from),
    })
}

/// What a `config.json` says of rotary embedding.
pub(super) struct HfRope {
    pub(super) theta: f64,
    /// Of a head's elements.
    pub(super) share: f64,
    pub(super) scaling: RopeScaling,
}

/// `rope_theta` and `rope_scaling` of a `config.json`, or the `rope_parameters` of
/// newer ones, which may hold one such object for each `kind` of layer.
pub(super) fn from_hf(config: &JsonObject, kind: Option<&str>) -> Result<HfRope, ModelError> {
    let mut newer = config.object("rope_parameters")?;
    // Where each kind has its own and none is asked for, full attention's stands for all.
    let kind = kind.unwrap_or("full_attention");
    if let Some(parameters) = &newer
        && let Some(own) = parameters.object(kind)?
    {
        newer = Some(own);
    }
    let mut theta: Option<f64> = config.optional("rope_theta")?;
    let mut share: Option<f64> = config.optional("partial_rotary_factor")?;
    if let Some(parameters) = &newer {
        theta = parameters.optional("rope_theta")?.or(theta);
        share = parameters.optional("partial_rotary_factor")?.or(share);
    }
    let mut rope = HfRope {
        theta: theta.unwrap_or(10_000.0),
        share: share.unwrap_or(1.0),
        scaling: RopeScaling::None,
    };
    let scaling = match newer {
        Some(parameters) => Some(parameters),
        None => config.object("rope_scaling")?,
    };
    let Some(scaling) = scaling else {
        return Ok(rope);
    };
    let kind = match scaling.optional::<&str>("rope_type")? {
        Some(kind) => kind,
        None => scaling.required("type")?,
    };
    rope.scaling = hf_scaling(config, &scaling, kind)?;
    Ok(rope)
}

fn hf_scaling(
    config: &JsonObject,
    scaling: &JsonObject,
    kind: &str,
) -> Result<RopeScaling, ModelError> {
    let positive = |key: &str, value: f64| {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(ModelError::from(scaling.invalid(
            key,
            "a positive number",
            value,
        )))
    };
    let number = |key: &str| positive(key, scaling.required(key)?);
    let context = "original_max_position_embeddings";
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: number("factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_context: number(context)?,
        },
        "yarn" => {
            let factor = number("factor")?;
            let original = match scaling.optional(context)?.or(config.optional(context)?) {
                Some(value) => positive(context, value)?,
                None => config.required("max_position_embeddings")?,
            };
            RopeScaling::Yarn {
                factor,
                original_context: original,
                beta_fast: scaling.optional("beta_fast")?.unwrap_or(32.0),
                beta_slow: scaling.optional("beta_slow")?.unwrap_or(1.0),
                attention_factor: match scaling.optional("attention_factor")? {
                    Some(value) => positive("attention_factor", value)?,
                    None => hf_yarn_attention_factor(scaling, factor)?,
                },
                truncate: scaling.optional("truncate")?.unwrap_or(true),
            }
        }
        "dynamic" => RopeScaling::Ntk {
            factor: number("factor")?,
            original_context: config.required("max_position_embeddings")?,
        },
        // "su" is what the first Phi-3 files called it.
        "longrope" | "su" => hf_long(config, scaling)?,
        other => {
            let expected = "default, linear, dynamic, llama3, yarn or longrope";
            return Err(scaling.invalid("rope_type", expected, other).into());
        }
    })
}

/// `LongRoPE` of a `config.json`. Source: Hugging Face `modeling_rope_utils.py`.
/// Where a config states `mscale` and `mscale_all_dim`, the ratio of the factors that each
/// makes.
fn hf_yarn_attention_factor(scaling: &JsonObject, factor: f64) -> Result<f64, ModelError> {
    let plain = yarn_attention_factor(factor);
    let m: Option<f64> = scaling.optional("mscale")?;
    let all: Option<f64> = scaling.optional("mscale_all_dim")?;
    Ok(match (m, all) {
        (Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
            (1.0 + m * (plain - 1.0)) / (1.0 + all * (plain - 1.0))
        }
        _ => plain,
    })
}

fn hf_long(config: &JsonObject, scaling: &JsonObject) -> Result<RopeScaling, ModelError> {
    let key = "original_max_position_embeddings";
    let context: usize = config.required("max_position_embeddings")?;
    let original: Option<usize> = scaling.optional(key)?.or(config.optional(key)?);
    let original_context = original.unwrap_or(context).max(1);
    let list = |key: &str| -> Result<Vec<f32>, ModelError> {
        let list: Vec<f64> = scaling.required(key)?;
        if list.is_empty() || !list.iter().all(|x| x.is_finite() && *x > 0.0) {
            return Err(scaling
                .invalid(key, "positive numbers", "others, or none")
                .into());
        }
        Ok(list.into_iter().map(|x| x as f32).collect())
    };
    let factor = match scaling.optional::<f64>("factor")? {
        Some(factor) if original.is_none() => factor,
        _ => context as f64 / original_context as f64,
    };
    let computed = if factor <= 1.0 {
        1.0
    } else {
        (1.0 + factor.ln() / (original_context as f64).ln()).sqrt()
    };
    Ok(RopeScaling::Long {
        short: list("short_factor")?,
        long: list("long_factor")?,
        original_context,
        attention_factor: scaling.optional("attention_factor")?.unwrap_or(computed),
    })
}
