//! `OLMo` 2: norms after each part, and over all heads of Q and K.
//! Source: Hugging Face `modeling_olmo2.py`.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, Placement, QkNorm, Role, Stored};

pub(super) static OLMO2: Architecture = Architecture {
    name: "olmo2",
    hf: &["Olmo2ForCausalLM"],
    gguf: &["olmo2"],
    hf_names: &[(
        Role::PostAttentionNorm,
        "model.layers.{l}.post_attention_layernorm",
    )],
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = DecoderSpec::standard(hyper)?;
    spec.placement = Placement::After;
    spec.qk_norm = QkNorm::Whole;
    spec.qkv_bias = hyper.hf_bool("attention_bias", false).map(Stored::if_set)?;
    spec.attention_output_bias = spec.qkv_bias;
    Ok(spec)
}
