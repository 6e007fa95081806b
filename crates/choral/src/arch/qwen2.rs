//! Qwen2 and Qwen2.5: Llama with biases on Q, K and V.
//! Source: Hugging Face `modeling_qwen2.py`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, Stored};

pub(super) static QWEN2: Architecture = Architecture {
    name: "qwen2",
    hf: &["Qwen2ForCausalLM"],
    gguf: &["qwen2"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
        "num_key_value_heads": 32,
        "sliding_window": 4096,
        "max_window_layers": 28
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.qkv_bias = Stored::Always;
    spec.set_windows(hyper.qwen_windows(spec.num_layers)?);
    Ok(spec)
}
