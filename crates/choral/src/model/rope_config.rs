//! Reads how rotary frequencies are scaled, from either file format.

#[cfg(test)]
mod tests;

use super::hyper::{Hyper, Key, Source};
use super::{ModelError, RopeScaling};
use choral_formats::{FormatError, JsonObject, TensorSource as _};

/// Whose rotation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layers {
    /// All layers', or where those with a window have their own, the others'.
    Main,
    /// That of the layers with a window.
    Windowed,
}

/// `0.1 ln(factor) + 1`, from the `YaRN` paper.
pub(crate) fn yarn_attention_factor(factor: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * libm::log(factor) + 1.0
    }
}

/// Base and scaling of a GGUF file. Llama 3's factors are a tensor there, which
/// the loader finds.
///
/// A file that states no type is scaled linearly if it has a factor, which files from
/// before the types have under another name. (llama.cpp, `load_hparams`.)
pub(super) fn from_gguf(
    hyper: &Hyper<'_>,
    layers: Layers,
) -> Result<(f64, RopeScaling), ModelError> {
    const WINDOWED: Key = Key::gguf("rope.freq_base_swa");
    const KIND: Key = Key::gguf("rope.scaling.type");
    const FACTOR: Key = Key::gguf("rope.scaling.factor");
    const OLD_FACTOR: Key = Key::gguf("rope.scale_linear");
    const CONTEXT: Key = Key::gguf("rope.scaling.original_context_length");
    let number = |key| Ok::<_, ModelError>(hyper.f32(key)?.map(f64::from));
    if layers == Layers::Windowed {
        let theta = number(WINDOWED)?.unwrap_or(10_000.0);
        return Ok((theta, RopeScaling::None));
    }
    let theta = number(Key::gguf("rope.freq_base"))?.unwrap_or(10_000.0);
    let Source::Gguf { file, .. } = &hyper.source else {
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

/// Rotary embedding as a `config.json` spells it.
pub(crate) struct Spelled {
    pub(crate) theta: f64,
    /// Of a head's elements.
    pub(crate) share: f64,
    /// The kind of scaling, and its settings.
    pub(crate) scaling: Option<(String, JsonObject)>,
}

/// `rope_theta` and `rope_scaling` of a `config.json`, or the `rope_parameters` of
/// newer ones, which may hold one such object for each kind of layer.
///
/// Source: Hugging Face `modeling_rope_utils.py`, `convert_rope_params_to_dict` there
/// and in `configuration_gemma3.py`.
pub(crate) fn spelled(config: &JsonObject, layers: Layers) -> Result<Spelled, FormatError> {
    const FULL: &str = "full_attention";
    const SLIDING: &str = "sliding_attention";
    let newer = config.object("rope_parameters")?;
    let by_kind = newer.as_ref().filter(|p| p.has(FULL) || p.has(SLIDING));
    let (base, own) = match (layers, by_kind) {
        (Layers::Main, Some(kinds)) => ("rope_theta", kinds.object(FULL)?),
        (Layers::Main, None) => ("rope_theta", config.object("rope_scaling")?.or(newer)),
        // `rope_scaling` was never theirs.
        (Layers::Windowed, Some(kinds)) => ("rope_local_base_freq", kinds.object(SLIDING)?),
        (Layers::Windowed, None) => ("rope_local_base_freq", None),
    };
    let number = |own_key, key| -> Result<Option<f64>, FormatError> {
        let own = own.as_ref().map(|own| own.optional(own_key)).transpose()?;
        Ok(own.flatten().or(config.optional(key)?))
    };
    let theta = number("rope_theta", base)?;
    let share = number("partial_rotary_factor", "partial_rotary_factor")?;
    let kind = |own: &JsonObject| -> Result<String, FormatError> {
        let kind = match own.optional::<&str>("rope_type")? {
            Some(kind) => kind,
            // An object of the newer kind that only states the base.
            None if !own.has("factor") && !own.has("type") => "default",
            None => own.required("type")?,
        };
        // What the first Phi-3 files called it.
        let is_long = matches!(kind, "su" | "yarn") && own.has("long_factor");
        Ok(if is_long { "longrope" } else { kind }.to_owned())
    };
    Ok(Spelled {
        // These two are those of all classes that do not have their own.
        theta: theta.unwrap_or(10_000.0),
        share: share.unwrap_or(1.0),
        scaling: match own {
            Some(own) => Some((kind(&own)?, own)),
            None => None,
        },
    })
}

/// Base, rotated share of a head, and scaling.
pub(super) fn from_hf(
    config: &JsonObject,
    layers: Layers,
) -> Result<(f64, f64, RopeScaling), ModelError> {
    let rope = spelled(config, layers)?;
    let scaling = match &rope.scaling {
        Some((kind, scaling)) => hf_scaling(config, scaling, kind)?,
        None => RopeScaling::None,
    };
    Ok((rope.theta, rope.share, scaling))
}

fn positive(object: &JsonObject, key: &str, value: f64) -> Result<f64, FormatError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(object.invalid(key, "a positive number", value))
}

const ORIGINAL: &str = "original_max_position_embeddings";

/// The context of the original training. Where both state it, the config goes before
/// its scaling.
pub(crate) fn original_context(
    config: &JsonObject,
    scaling: &JsonObject,
) -> Result<f64, FormatError> {
    if let Some(value) = config.optional(ORIGINAL)? {
        return positive(config, ORIGINAL, value);
    }
    if let Some(value) = scaling.optional(ORIGINAL)? {
        return positive(scaling, ORIGINAL, value);
    }
    let context = "max_position_embeddings";
    positive(config, context, config.required(context)?)
}

fn hf_scaling(
    config: &JsonObject,
    scaling: &JsonObject,
    kind: &str,
) -> Result<RopeScaling, ModelError> {
    let number = |key: &str| positive(scaling, key, scaling.required(key)?);
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: number("factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_context: original_context(config, scaling)?,
        },
        "yarn" => {
            let factor = stretch(config, scaling)?;
            RopeScaling::Yarn {
                factor,
                original_context: original_context(config, scaling)?,
                beta_fast: scaling.optional("beta_fast")?.unwrap_or(32.0),
                beta_slow: scaling.optional("beta_slow")?.unwrap_or(1.0),
                attention_factor: hf_yarn_attention_factor(scaling, factor)?,
                truncate: scaling.optional("truncate")?.unwrap_or(true),
            }
        }
        "dynamic" => RopeScaling::Ntk {
            factor: number("factor")?,
            original_context: config.required("max_position_embeddings")?,
        },
        "longrope" => hf_long(config, scaling)?,
        other => {
            let expected = "default, linear, dynamic, llama3, yarn or longrope";
            return Err(scaling.invalid("rope_type", expected, other).into());
        }
    })
}

/// How many original contexts long the model's is: as stated, or as it is.
pub(crate) fn stretch(config: &JsonObject, scaling: &JsonObject) -> Result<f64, FormatError> {
    if let Some(factor) = scaling.optional("factor")? {
        return positive(scaling, "factor", factor);
    }
    let context: f64 = config.required("max_position_embeddings")?;
    Ok(context / original_context(config, scaling)?)
}

/// What `YaRN` multiplies cosines and sines by: as stated, or where a config has `mscale`
/// and `mscale_all_dim`, the ratio of the factors that each makes, or the paper's.
pub(crate) fn hf_yarn_attention_factor(
    scaling: &JsonObject,
    factor: f64,
) -> Result<f64, FormatError> {
    if let Some(stated) = scaling.optional("attention_factor")? {
        return positive(scaling, "attention_factor", stated);
    }
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

/// What `LongRoPE` multiplies cosines and sines by: as stated, or the paper's.
pub(crate) fn hf_long_attention_factor(
    config: &JsonObject,
    scaling: &JsonObject,
) -> Result<f64, FormatError> {
    if let Some(stated) = scaling.optional("attention_factor")? {
        return positive(scaling, "attention_factor", stated);
    }
    let (factor, original) = (
        stretch(config, scaling)?,
        original_context(config, scaling)?,
    );
    if factor <= 1.0 {
        return Ok(1.0);
    }
    if original < 2.0 {
        return Err(scaling.invalid(ORIGINAL, "at least 2", original));
    }
    Ok((1.0 + libm::log(factor) / libm::log(original)).sqrt())
}

/// `LongRoPE` of a `config.json`. Source: Hugging Face `modeling_rope_utils.py`.
fn hf_long(config: &JsonObject, scaling: &JsonObject) -> Result<RopeScaling, ModelError> {
    let list = |key: &str| -> Result<Vec<f32>, ModelError> {
        let list: Vec<f64> = scaling.required(key)?;
        if list.is_empty() || !list.iter().all(|x| x.is_finite() && *x > 0.0) {
            return Err(scaling
                .invalid(key, "positive numbers", "others, or none")
                .into());
        }
        Ok(list.into_iter().map(|x| x as f32).collect())
    };
    Ok(RopeScaling::Long {
        short: list("short_factor")?,
        long: list("long_factor")?,
        original_context: original_context(config, scaling)? as usize,
        attention_factor: hf_long_attention_factor(config, scaling)?,
    })
}
