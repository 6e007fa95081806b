//! Qwen1.5-MoE and Qwen2-MoE: Qwen2 with experts, one of which all tokens go through.
//! Source: Hugging Face `modeling_qwen2_moe.py`.

use super::Architecture;
use crate::model::{DecoderSpec, ExpertKeys, Hyper, Key, ModelError, Stored};

pub(super) static QWEN2_MOE: Architecture = Architecture {
    name: "qwen2_moe",
    hf: &["Qwen2MoeForCausalLM"],
    gguf: &["qwen2moe"],
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
    spec.set_windows(hyper.qwen_windows(spec.num_layers)?);
    let mut moe = hyper.experts(&ExpertKeys::counted_as("num_experts"))?;
    if let Some(moe) = &mut moe {
        moe.normalised = hyper.hf_bool("norm_topk_prob", false)?;
        moe.shared_size = hyper.bounded(SHARED, 1..=1 << 20)?;
    }
    let is_sparse = hyper.qwen_sparse_layers()?;
    spec.set_experts(moe, is_sparse);
    Ok(spec)
}
