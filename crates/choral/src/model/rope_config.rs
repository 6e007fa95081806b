//! Reads how rotary frequencies are scaled, from either file format.

#[cfg(test)]
mod tests;

use super::hyper::{Hyper, Key, Source};
use super::{ModelError, RopeScaling};
use choral_formats::JsonObject;

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
        Some(other) => return Err(hyper.invalid(KIND, "none, linear or yarn", other)),
    };
    Ok((theta, scaling))
}

/// `rope_theta` and `rope_scaling` of a `config.json`, or the `rope_parameters` of
/// newer ones.
pub(super) fn from_hf(config: &JsonObject) -> Result<(f64, RopeScaling), ModelError> {
    let newer = config.object("rope_parameters")?;
    let mut theta: Option<f64> = config.optional("rope_theta")?;
    if let Some(parameters) = &newer {
        theta = parameters.optional("rope_theta")?.or(theta);
    }
    let theta = theta.unwrap_or(10_000.0);
    let scaling = match newer {
        Some(parameters) => Some(parameters),
        None => config.object("rope_scaling")?,
    };
    let Some(scaling) = scaling else {
        return Ok((theta, RopeScaling::None));
    };
    let kind = match scaling.optional::<&str>("rope_type")? {
        Some(kind) => kind,
        None => scaling.required("type")?,
    };
    Ok((theta, hf_scaling(config, &scaling, kind)?))
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
                    None => yarn_attention_factor(factor),
                },
                truncate: scaling.optional("truncate")?.unwrap_or(true),
            }
        }
        other => {
            let expected = "default, linear, llama3 or yarn";
            return Err(scaling.invalid("rope_type", expected, other).into());
        }
    })
}
