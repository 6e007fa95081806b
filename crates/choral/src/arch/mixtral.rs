//! Mixtral: Mistral with experts for its feed-forward parts.
//! Source: Hugging Face `modeling_mixtral.py`. GGUF files call it `llama`.

use super::Architecture;
use crate::model::{DecoderSpec, ExpertKeys, Hyper, ModelError, Role};

pub(super) static MIXTRAL: Architecture = Architecture {
    name: "mixtral",
    hf: &["MixtralForCausalLM"],
    hf_names: &[
        (Role::Router, "model.layers.{l}.block_sparse_moe.gate"),
        (
            Role::ExpertGate,
            "model.layers.{l}.block_sparse_moe.experts.{e}.w1",
        ),
        (
            Role::ExpertDown,
            "model.layers.{l}.block_sparse_moe.experts.{e}.w2",
        ),
        (
            Role::ExpertUp,
            "model.layers.{l}.block_sparse_moe.experts.{e}.w3",
        ),
    ],
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    let window = hyper.hf_usize("sliding_window")?;
    spec.set_windows(hyper.windows(spec.num_layers, window, |_| true)?);
    let moe = hyper.experts(&ExpertKeys::counted_as("num_local_experts"))?;
    spec.set_experts(moe, |_| true);
    Ok(spec)
}
