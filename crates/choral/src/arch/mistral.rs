//! Mistral 7B: Llama with an optional sliding window in every layer.
//! Source: Hugging Face `modeling_mistral.py`. GGUF files call it `llama`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError};

pub(super) static MISTRAL: Architecture = Architecture {
    name: "mistral",
    hf: &["MistralForCausalLM"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
        "num_key_value_heads": 8,
        "sliding_window": 4096
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    let window = hyper.hf_usize("sliding_window")?;
    spec.set_windows(hyper.windows(spec.num_layers, window, |_| true)?);
    Ok(spec)
}
