//! Qwen3 dense decoders: Llama with an RMS norm on each head of Q and K.
//! Source: Hugging Face `modeling_qwen3.py`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, QkNorm, Stored};

pub(super) static QWEN3: Architecture = Architecture {
    name: "qwen3",
    hf: &["Qwen3ForCausalLM"],
    gguf: &["qwen3"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "sliding_window": 4096,
        "max_window_layers": 28
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = attention(hyper)?;
    spec.set_windows(hyper.qwen_windows(spec.num_layers)?);
    Ok(spec)
}

/// What it shares with Qwen3-MoE.
pub(super) fn attention(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.qk_norm = QkNorm::Head;
    spec.qkv_bias = hyper.hf_bool("attention_bias", false).map(Stored::if_set)?;
    spec.attention_output_bias = spec.qkv_bias;
    Ok(spec)
}
