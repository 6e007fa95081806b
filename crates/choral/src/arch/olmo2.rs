//! `OLMo` 2: norms after each part, and over all heads of Q and K.
//! Source: Hugging Face `modeling_olmo2.py`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, Key, ModelError, Placement, QkNorm, Role, Stored};

pub(super) static OLMO2: Architecture = Architecture {
    name: "olmo2",
    hf: &["Olmo2ForCausalLM"],
    gguf: &["olmo2"],
    hf_names: &[(
        Role::PostAttentionNorm,
        "model.layers.{l}.post_attention_layernorm",
    )],
    hf_defaults: r#"{"rms_norm_eps": 1e-5, "tie_word_embeddings": false}"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    const WINDOW: Key = Key::gguf("attention.sliding_window");
    let mut spec = DecoderSpec::standard(hyper)?;
    // llama.cpp calls OLMo 3 the same, whose layers have windows.
    if let Some(window) = hyper.gguf_usize(WINDOW)?.filter(|&window| window > 0) {
        return Err(hyper.invalid(WINDOW, "none", window));
    }
    spec.placement = Placement::After;
    spec.qk_norm = QkNorm::Whole;
    spec.qkv_bias = hyper.hf_bool("attention_bias", false).map(Stored::if_set)?;
    spec.attention_output_bias = spec.qkv_bias;
    Ok(spec)
}
