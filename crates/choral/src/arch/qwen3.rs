//! Qwen3 dense decoders: Llama with an RMS norm on each head of Q and K.
//! Source: Hugging Face `modeling_qwen3.py`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, QkNorm, Stored};

pub(super) static QWEN3: Architecture = Architecture {
    name: "qwen3",
    hf: &["Qwen3ForCausalLM"],
    gguf: &["qwen3"],
    spec,
    ..Architecture::BASE
};

pub(super) fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.qk_norm = QkNorm::Head;
    spec.qkv_bias = hyper.hf_bool("attention_bias", false).map(Stored::if_set)?;
    spec.attention_output_bias = spec.qkv_bias;
    spec.set_windows(hyper.qwen_windows(spec.num_layers)?);
    Ok(spec)
}
