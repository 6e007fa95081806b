//! Llama 2 and 3, and the many models that share their shape.
//! Source: Hugging Face `modeling_llama.py`; llama.cpp's `llama` architecture,
//! which also holds Mistral and stores Q and K for interleaved rotation.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, Stored};

pub(super) static LLAMA: Architecture = Architecture {
    name: "llama",
    hf: &["LlamaForCausalLM"],
    gguf: &["llama"],
    spec,
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.qk_interleaved_in_gguf = true;
    let bias = |flag| hyper.hf_bool(flag, false).map(Stored::if_set);
    spec.qkv_bias = bias("attention_bias")?;
    spec.attention_output_bias = spec.qkv_bias;
    spec.ffn_bias = bias("mlp_bias")?;
    spec.windows = hyper.gguf_window(spec.num_layers)?;
    Ok(spec)
}
