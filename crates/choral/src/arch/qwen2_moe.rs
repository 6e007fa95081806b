//! Qwen1.5-MoE and Qwen2-MoE: Qwen2 with experts, one of which all tokens go through.
//! Source: Hugging Face `modeling_qwen2_moe.py`.

use super::Architecture;
use crate::model::{DecoderSpec, ExpertKeys, Hyper, Key, ModelError, Stored};

pub(super) static QWEN2_MOE: Architecture = Architecture {
    name: "qwen2_moe",
    hf: &["Qwen2MoeForCausalLM"],
    gguf: &["qwen2moe"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
        "num_key_value_heads": 16,
        "sliding_window": 4096,
        "max_window_layers": 28,
        "qkv_bias": true,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const SHARED: Key = Key::new(
        "shared_expert_intermediate_size",
        "expert_shared_feed_forward_length",
    );
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.qkv_bias = Stored::if_set(hyper.hf_bool("qkv_bias", true)?);
    let windows = if hyper.is_gguf() {
        hyper.gguf_window(spec.num_layers)?
    } else {
        // Not Qwen2's layers: every other one, and the first ones.
        let most = hyper.bounded(Key::hf("max_window_layers"), 0..=usize::MAX)?;
        let is_windowed = |layer| layer % 2 == 0 && layer < most;
        hyper.windows(spec.num_layers, hyper.qwen_window()?, is_windowed)?
    };
    spec.set_windows(windows);
    let mut moe = hyper.experts(&ExpertKeys::counted_as("num_experts"))?;
    if let Some(moe) = &mut moe {
        moe.normalised = hyper.hf_bool("norm_topk_prob", false)?;
        moe.shared_size = match hyper.gguf_usize(SHARED)? {
            // Files from before the key.
            None if hyper.is_gguf() => spec.ffn.size,
            _ => hyper.bounded(SHARED, 1..=1 << 20)?,
        };
    }
    let is_sparse = hyper.qwen_sparse_layers()?;
    spec.set_experts(moe, is_sparse);
    Ok(spec)
}
