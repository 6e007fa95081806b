//! gpt-oss: experts with biases, sinks, and windows in every other layer.
//! Source: Hugging Face `modeling_gpt_oss.py`; llama.cpp's `gpt-oss`.

use super::Architecture;
use crate::model::{Activation, DecoderSpec, ExpertKeys, Hyper, Key, ModelError, Role, Stored};

pub(super) static GPT_OSS: Architecture = Architecture {
    name: "gpt_oss",
    hf: &["GptOssForCausalLM"],
    gguf: &["gpt-oss"],
    hf_names: &[
        (Role::Router, "model.layers.{l}.mlp.router"),
        // All experts are one tensor.
        (Role::ExpertGate, "model.layers.{l}.mlp.experts.gate"),
        (Role::ExpertUp, "model.layers.{l}.mlp.experts.up"),
        (Role::ExpertDown, "model.layers.{l}.mlp.experts.down"),
    ],
    gguf_names: &[(Role::FfnNorm, "blk.{l}.post_attention_norm")],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "sliding_window": 128,
        "rope_theta": 150000.0,
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": false,
            "original_max_position_embeddings": 4096
        },
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const WINDOW: Key = Key::new("sliding_window", "attention.sliding_window");
    const ALPHA: Key = Key::hf("swiglu_alpha");
    const LIMIT: Key = Key::hf("swiglu_limit");
    const EXPERT_SIZE: Key = Key::new("intermediate_size", "expert_feed_forward_length");
    const EXPERTS: ExpertKeys = ExpertKeys::counted_as("num_local_experts").sized_as(EXPERT_SIZE);
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.attention.sinks = true;
    spec.qkv_bias = Stored::Always;
    spec.attention_output_bias = Stored::Always;
    spec.ffn_bias = Stored::Always;
    spec.ffn.activation = Activation::ClampedSwiglu {
        alpha: hyper.positive(ALPHA)?.unwrap_or(1.702),
        limit: hyper.positive(LIMIT)?.unwrap_or(7.0),
    };
    let window = hyper.usize(WINDOW)?;
    if hyper.is_gguf() {
        // No file without it would be this model.
        hyper.bounded(WINDOW, 1..=usize::MAX)?;
        hyper.bounded(EXPERT_SIZE, 1..=usize::MAX)?;
    }
    spec.set_windows(hyper.windows(spec.num_layers, window, |layer| layer % 2 == 0)?);
    let mut moe = hyper.experts(&EXPERTS)?;
    if let Some(moe) = &mut moe {
        moe.router_bias = Stored::Always;
    }
    spec.set_experts(moe, |_| true);
    Ok(spec)
}
