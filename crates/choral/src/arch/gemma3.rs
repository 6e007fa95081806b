//! Gemma 3 (text): Gemma 2 with norms of heads instead of caps, and windows in five of
//! six layers, which rotate with a base of their own.
//! Source: Hugging Face `modeling_gemma3.py`; llama.cpp's `gemma3`.

use super::{Architecture, gemma2};
use crate::model::{DecoderSpec, Hyper, Key, ModelError, QkNorm, RopeScaling};

pub(super) static GEMMA3: Architecture = Architecture {
    name: "gemma3",
    hf: &["Gemma3ForCausalLM"],
    gguf: &["gemma3"],
    hf_names: gemma2::NAMES,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const WINDOW: Key = Key::new("sliding_window", "attention.sliding_window");
    const PATTERN: Key = Key::new("sliding_window_pattern", "attention.sliding_window_pattern");
    const LOCAL_BASE: Key = Key::new("rope_local_base_freq", "rope.freq_base_swa");
    let mut spec = gemma2::gemma(hyper, 62)?;
    spec.qk_norm = QkNorm::Head;
    let window = hyper.usize(WINDOW)?;
    let pattern = hyper.usize(PATTERN)?.unwrap_or(6).max(1);
    let is_local = |layer| (layer + 1) % pattern != 0;
    spec.set_windows(hyper.windows(spec.num_layers, window, is_local)?);

    let global = hyper.rope_of(spec.head_dim, Some("full_attention"))?;
    let mut local = hyper.rope_of(spec.head_dim, Some("sliding_attention"))?;
    if !hyper.hf_rope_by_kind()? {
        // Older files state one, and a base for the others, which are not scaled.
        local.theta = hyper.positive(LOCAL_BASE)?.map_or(10_000.0, f64::from);
        local.scaling = RopeScaling::None;
    }
    spec.ropes = vec![global, local];
    for layer in &mut spec.layers {
        layer.rope = Some(usize::from(layer.window.is_some()));
    }
    Ok(spec)
}
