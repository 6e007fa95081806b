//! GPT-2: learned positions, layer norms with biases, no gate; safetensors files hold
//! matrices transposed.
//! Source: Hugging Face `modeling_gpt2.py`.

use super::Architecture;
use crate::model::{Activation, DecoderSpec, Hyper, Key, Keys, ModelError, NormKind, Role, Stored};

pub(super) static GPT2: Architecture = Architecture {
    name: "gpt2",
    hf: &["GPT2LMHeadModel"],
    gguf: &["gpt2"],
    hf_names: &[
        (Role::Embedding, "transformer.wte"),
        (Role::Positions, "transformer.wpe"),
        (Role::OutputNorm, "transformer.ln_f"),
        (Role::AttentionNorm, "transformer.h.{l}.ln_1"),
        (Role::Qkv, "transformer.h.{l}.attn.c_attn"),
        (Role::AttentionOutput, "transformer.h.{l}.attn.c_proj"),
        (Role::FfnNorm, "transformer.h.{l}.ln_2"),
        (Role::FfnUp, "transformer.h.{l}.mlp.c_fc"),
        (Role::FfnDown, "transformer.h.{l}.mlp.c_proj"),
    ],
    hf_defaults: r#"{"layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "n_inner": null}"#,
    spec,
    ..Architecture::BASE
};

const KEYS: Keys = Keys {
    hidden: Key::new("n_embd", "embedding_length"),
    layers: Key::new("n_layer", "block_count"),
    heads: Key::new("n_head", "attention.head_count"),
    ffn: Key::new("n_inner", "feed_forward_length"),
    ffn_widths: Some(4),
    context: Key::new("n_positions", "context_length"),
    eps: Key::new("layer_norm_epsilon", "attention.layer_norm_epsilon"),
    ..Keys::LLAMA
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::read(hyper, &KEYS)?;
    for (key, known) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
    ] {
        let found = hyper.hf_bool(key, known)?;
        if found != known {
            return Err(hyper.invalid(Key::hf(key), known, found));
        }
    }
    spec.norm.kind = NormKind::Layer;
    spec.learned_positions = true;
    spec.ropes.clear();
    for layer in &mut spec.layers {
        layer.rope = None;
    }
    spec.ffn.gated = false;
    spec.ffn.activation = hyper.activation()?.unwrap_or(Activation::GeluTanh);
    spec.qkv_bias = Stored::Always;
    spec.attention_output_bias = Stored::Always;
    spec.ffn_bias = Stored::Always;
    spec.hf_transposed = true;
    Ok(spec)
}
