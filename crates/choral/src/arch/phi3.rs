//! Phi-3, Phi-4 and Phi-4-mini: Llama with Q, K, V and gate, up as one matrix each,
//! and `LongRoPE` for long contexts.
//! Source: Hugging Face `modeling_phi3.py`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, Key, ModelError};

pub(super) static PHI3: Architecture = Architecture {
    name: "phi3",
    hf: &["Phi3ForCausalLM"],
    gguf: &["phi3"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false,
        "original_max_position_embeddings": 4096
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const WINDOW: Key = Key::new("sliding_window", "attention.sliding_window");
    let mut spec = DecoderSpec::standard(hyper)?;
    let window = hyper.usize(WINDOW)?.filter(|&window| window > 0);
    spec.set_windows(hyper.windows(spec.num_layers, window, |_| true)?);
    Ok(spec)
}
