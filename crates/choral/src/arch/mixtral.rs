//! Mixtral: Mistral with experts for its feed-forward parts.
//! Source: Hugging Face `modeling_mixtral.py`. GGUF files call it `llama`.

use super::Architecture;
use crate::model::{DecoderSpec, ExpertKeys, Hyper, Keys, ModelError, Role};

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
    hf_defaults: r#"{
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false,
        "num_key_value_heads": 8,
        "rope_theta": 1e6,
        "num_local_experts": 8,
        "num_experts_per_tok": 2
    }"#,
    spec,
    ..Architecture::BASE
};

/// Experts as wide as the feed-forward part that they stand for.
pub(super) const EXPERTS: ExpertKeys =
    ExpertKeys::counted_as("num_local_experts").sized_as(Keys::LLAMA.ffn);

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    let window = hyper.hf_usize("sliding_window")?;
    spec.set_windows(hyper.windows(spec.num_layers, window, |_| true)?);
    let moe = hyper.experts(&EXPERTS)?;
    spec.set_experts(moe, |_| true);
    Ok(spec)
}
