//! Gemma 3 (text): Gemma 2 with norms of heads instead of caps, and windows in five of
//! six layers, which rotate with a base of their own.
//! Source: Hugging Face `modeling_gemma3.py`; llama.cpp's `gemma3`.

use super::{Architecture, gemma2};
use crate::model::{DecoderSpec, Hyper, Key, ModelError, QkNorm};

pub(super) static GEMMA3: Architecture = Architecture {
    name: "gemma3",
    hf: &["Gemma3ForCausalLM"],
    gguf: &["gemma3"],
    hf_names: gemma2::NAMES,
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "sliding_window_pattern": 6
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const WINDOW: Key = Key::new("sliding_window", "attention.sliding_window");
    const PATTERN: Key = Key::new("sliding_window_pattern", "attention.sliding_window_pattern");
    let mut spec = gemma2::gemma(hyper, 62)?;
    spec.qk_norm = QkNorm::Head;
    let window = hyper.usize(WINDOW)?;
    let pattern = hyper.usize(PATTERN)?.unwrap_or(6).max(1);
    let is_local = |layer| (layer + 1) % pattern != 0;
    spec.set_windows(hyper.windows(spec.num_layers, window, is_local)?);
    let local = hyper.window_rope(spec.head_dim)?;
    spec.ropes.push(local);
    for layer in &mut spec.layers {
        layer.rope = Some(usize::from(layer.window.is_some()));
    }
    Ok(spec)
}
