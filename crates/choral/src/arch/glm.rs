//! GLM-4-9B-chat and GLM-Edge: Llama with gate and up as one matrix, biases on Q, K
//! and V, and half of each head rotated, neighbour with neighbour.
//! Source: Hugging Face `modeling_glm.py`; llama.cpp calls it `chatglm`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, Scheme, Stored};

pub(super) static GLM: Architecture = Architecture {
    name: "glm",
    hf: &["GlmForCausalLM"],
    gguf: &["chatglm"],
    hf_defaults: DEFAULTS,
    spec,
    ..Architecture::BASE
};

pub(super) const DEFAULTS: &str = r#"{
    "rms_norm_eps": 1.5625e-7,
    "tie_word_embeddings": false,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "partial_rotary_factor": 0.5,
    "attention_bias": true
}"#;

pub(super) fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.interleaved_in = &[Scheme::Hf, Scheme::Gguf];
    // GGUF files have no flag: their biases are used where they are there.
    spec.qkv_bias = hyper.hf_bool("attention_bias", false).map(Stored::if_set)?;
    Ok(spec)
}
