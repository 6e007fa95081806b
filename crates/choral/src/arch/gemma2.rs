//! Gemma 2: norms around each part, capped scores and logits, windows in every other
//! layer.
//! Source: Hugging Face `modeling_gemma2.py`. GGUF files do not state the scale of
//! queries; llama.cpp tells the 27B model, whose scale differs, by its 46 layers.

use super::Architecture;
use crate::model::{Activation, DecoderSpec, Hyper, Key, ModelError, Placement, Role};

pub(super) static GEMMA2: Architecture = Architecture {
    name: "gemma2",
    hf: &["Gemma2ForCausalLM"],
    gguf: &["gemma2"],
    hf_names: NAMES,
    spec,
    ..Architecture::BASE
};

pub(super) const NAMES: &[(Role, &str)] = &[
    (
        Role::PostAttentionNorm,
        "model.layers.{l}.post_attention_layernorm",
    ),
    (Role::FfnNorm, "model.layers.{l}.pre_feedforward_layernorm"),
];

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const WINDOW: Key = Key::new("sliding_window", "attention.sliding_window");
    let mut spec = gemma(hyper, 46)?;
    // Files without these keys mean the published models, as llama.cpp and the class's
    // defaults in transformers do; `null` in a config means none.
    let is_silent = |key| hyper.is_gguf() || !hyper.hf_has(key);
    let mut window = hyper.usize(WINDOW)?;
    if window.is_none() && is_silent("sliding_window") {
        window = Some(4096);
    }
    for (cap, key, published) in [
        (&mut spec.attention.softcap, "attn_logit_softcapping", 50.0),
        (&mut spec.logit_softcap, "final_logit_softcapping", 30.0),
    ] {
        if cap.is_none() && is_silent(key) {
            *cap = Some(published);
        }
    }
    spec.set_windows(hyper.windows(spec.num_layers, window, |layer| layer % 2 == 0)?);
    Ok(spec)
}

/// What Gemma 2 and 3 share. The largest model has `largest` layers.
pub(super) fn gemma(hyper: &Hyper<'_>, largest: usize) -> Result<DecoderSpec, ModelError> {
    const SCALAR: Key = Key::hf("query_pre_attn_scalar");
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.norm.hf_offset = 1.0;
    spec.placement = Placement::Around;
    spec.ffn.activation = hyper.activation()?.unwrap_or(Activation::GeluTanh);
    spec.embedding_scale = (spec.hidden_size as f32).sqrt();
    let scalar = match hyper.positive(SCALAR)? {
        Some(scalar) => scalar,
        None if hyper.is_gguf() && spec.num_layers == largest => {
            spec.hidden_size as f32 / spec.num_heads as f32
        }
        None => spec.head_dim as f32,
    };
    spec.attention.scale = 1.0 / scalar.sqrt();
    let cap = |hf, gguf| hyper.positive(Key::new(hf, gguf));
    spec.attention.softcap = cap("attn_logit_softcapping", "attn_logit_softcapping")?;
    spec.logit_softcap = cap("final_logit_softcapping", "final_logit_softcapping")?;
    Ok(spec)
}
