//! Qwen3-MoE: Qwen3 with experts.
//! Source: Hugging Face `modeling_qwen3_moe.py`. GGUF files cannot say that shares are
//! not made to sum to 1; llama.cpp always does it.

use super::{Architecture, qwen3};
use crate::model::{DecoderSpec, ExpertKeys, Hyper, ModelError};

pub(super) static QWEN3_MOE: Architecture = Architecture {
    name: "qwen3_moe",
    hf: &["Qwen3MoeForCausalLM"],
    gguf: &["qwen3moe"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = qwen3::attention(hyper)?;
    let windows = if hyper.is_gguf() {
        hyper.gguf_window(spec.num_layers)?
    } else {
        // Its class knows no kinds of layers.
        vec![hyper.qwen_window()?; spec.num_layers]
    };
    spec.set_windows(windows);
    let mut moe = hyper.experts(&ExpertKeys::counted_as("num_experts"))?;
    if let Some(moe) = &mut moe {
        moe.normalised = hyper.is_gguf() || hyper.hf_bool("norm_topk_prob", false)?;
    }
    let is_sparse = hyper.qwen_sparse_layers()?;
    spec.set_experts(moe, is_sparse);
    Ok(spec)
}
