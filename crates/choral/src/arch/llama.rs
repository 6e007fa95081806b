//! Llama 2 and 3, and the many models that share their shape.
//! Source: Hugging Face `modeling_llama.py`; llama.cpp's `llama` architecture,
//! which also holds Mistral and Mixtral and stores Q and K for interleaved rotation.

use super::{Architecture, mixtral};
use crate::model::{DecoderSpec, Hyper, ModelError, Scheme, Stored};

pub(super) static LLAMA: Architecture = Architecture {
    name: "llama",
    hf: &["LlamaForCausalLM"],
    gguf: &["llama"],
    hf_defaults: r#"{"rms_norm_eps": 1e-6, "tie_word_embeddings": false}"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.interleaved_in = &[Scheme::Gguf];
    let bias = |flag| hyper.hf_bool(flag, false).map(Stored::if_set);
    spec.qkv_bias = bias("attention_bias")?;
    spec.attention_output_bias = spec.qkv_bias;
    spec.ffn_bias = bias("mlp_bias")?;
    spec.set_windows(hyper.gguf_window(spec.num_layers)?);
    if hyper.is_gguf() {
        let moe = hyper.experts(&mixtral::EXPERTS)?;
        spec.set_experts(moe, |_| true);
    }
    Ok(spec)
}
