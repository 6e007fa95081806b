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
    spec,
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const WINDOW: Key = Key::new("sliding_window", "attention.sliding_window");
    const LIMIT: Key = Key::hf("swiglu_limit");
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.attention.sinks = true;
    spec.qkv_bias = Stored::Always;
    spec.attention_output_bias = Stored::Always;
    spec.ffn_bias = Stored::Always;
    spec.ffn.activation = Activation::ClampedSwiglu {
        alpha: 1.702,
        limit: hyper.positive(LIMIT)?.unwrap_or(7.0),
    };
    let window = hyper.usize(WINDOW)?;
    spec.set_windows(hyper.windows(spec.num_layers, window, |layer| layer % 2 == 0)?);
    let mut moe = hyper.experts(&ExpertKeys::counted_as("num_local_experts"))?;
    if let Some(moe) = &mut moe {
        moe.router_bias = Stored::Always;
    }
    spec.set_experts(moe, |_| true);
    Ok(spec)
}
