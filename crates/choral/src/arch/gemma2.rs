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
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0
    }"#,
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
    let mut window = hyper.usize(WINDOW)?;
    if hyper.is_gguf() {
        // Files without these keys mean the published models, as they do in llama.cpp.
        window = window.or(Some(4096));
        spec.attention.softcap = spec.attention.softcap.or(Some(50.0));
        spec.logit_softcap = spec.logit_softcap.or(Some(30.0));
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
