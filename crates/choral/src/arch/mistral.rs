//! Mistral 7B: Llama with an optional sliding window in every layer.
//! Source: Hugging Face `modeling_mistral.py`. GGUF files call it `llama`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError};

pub(super) static MISTRAL: Architecture = Architecture {
    name: "mistral",
    hf: &["MistralForCausalLM"],
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    let window = hyper.hf_usize("sliding_window")?;
    spec.set_windows(hyper.windows(spec.num_layers, window, |_| true)?);
    Ok(spec)
}
