//! GLM-4-9B-chat and GLM-Edge: Llama with gate and up as one matrix, biases on Q, K
//! and V, and half of each head rotated, neighbour with neighbour.
//! Source: Hugging Face `modeling_glm.py`; llama.cpp calls it `chatglm`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, Scheme, Stored};

pub(super) static GLM: Architecture = Architecture {
    name: "glm",
    hf: &["GlmForCausalLM"],
    gguf: &["chatglm"],
    spec,
    ..Architecture::BASE
};

pub(super) fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.interleaved_in = &[Scheme::Hf, Scheme::Gguf];
    spec.qkv_bias = hyper.hf_bool("attention_bias", false).map(Stored::if_set)?;
    Ok(spec)
}
