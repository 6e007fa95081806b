//! Granite 3: Llama with embeddings, scores, residuals and logits scaled.
//! Source: Hugging Face `modeling_granite.py`; llama.cpp's `granite`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, Key, ModelError, Scheme, Stored};

pub(super) static GRANITE: Architecture = Architecture {
    name: "granite",
    hf: &["GraniteForCausalLM"],
    gguf: &["granite"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false,
        "attention_multiplier": 1.0
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.interleaved_in = &[Scheme::Gguf];
    spec.qkv_bias = hyper.hf_bool("attention_bias", false).map(Stored::if_set)?;
    spec.attention_output_bias = spec.qkv_bias;
    spec.ffn_bias = hyper.hf_bool("mlp_bias", false).map(Stored::if_set)?;
    let number = |hf, gguf| hyper.positive(Key::new(hf, gguf));
    let one = |x: Option<f32>| x.unwrap_or(1.0);
    spec.embedding_scale = one(number("embedding_multiplier", "embedding_scale")?);
    spec.residual_scale = one(number("residual_multiplier", "residual_scale")?);
    let logits = Key::new("logits_scaling", "logit_scale");
    spec.logit_scale = match hyper.positive(logits)? {
        None if hyper.is_gguf() => return Err(hyper.missing(logits)),
        scale => 1.0 / one(scale),
    };
    if let Some(scale) = number("attention_multiplier", "attention.scale")? {
        spec.attention.scale = scale;
    }
    Ok(spec)
}
