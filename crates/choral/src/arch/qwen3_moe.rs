//! Qwen3-MoE: Qwen3 with experts.
//! Source: Hugging Face `modeling_qwen3_moe.py`. GGUF files cannot say that shares are
//! not made to sum to 1; llama.cpp always does it.

use super::{Architecture, qwen3};
use crate::model::{DecoderSpec, ExpertKeys, Hyper, ModelError};

pub(super) static QWEN3_MOE: Architecture = Architecture {
    name: "qwen3_moe",
    hf: &["Qwen3MoeForCausalLM"],
    gguf: &["qwen3moe"],
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = qwen3::spec(hyper)?;
    let mut moe = hyper.experts(&ExpertKeys::counted_as("num_experts"))?;
    if let Some(moe) = &mut moe {
        moe.normalised = hyper.is_gguf() || hyper.hf_bool("norm_topk_prob", false)?;
    }
    let is_sparse = hyper.qwen_sparse_layers()?;
    spec.set_experts(moe, is_sparse);
    Ok(spec)
}
