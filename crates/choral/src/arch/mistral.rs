//! Mistral 7B: Llama with an optional sliding window in every layer.
//! Source: Hugging Face `modeling_mistral.py`. GGUF files call it `llama`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError};

pub(super) static MISTRAL: Architecture = Architecture {
    name: "mistral",
    hf: &["MistralForCausalLM"],
    gguf: &[],
    spec,
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    let window = hyper.hf_usize("sliding_window")?;
    spec.windows = vec![window; spec.num_layers];
    Ok(spec)
}
