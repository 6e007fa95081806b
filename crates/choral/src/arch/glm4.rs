//! GLM-4-0414: GLM with norms around each part.
//! Source: Hugging Face `modeling_glm4.py`.

use super::{Architecture, glm, glm4v};
use crate::model::{DecoderSpec, Hyper, ModelError, Placement, Role};

pub(super) static GLM4: Architecture = Architecture {
    name: "glm4",
    hf: &["Glm4ForCausalLM"],
    gguf: &["glm4"],
    hf_names: &[(Role::PostFfnNorm, "model.layers.{l}.post_mlp_layernorm")],
    // The text part of GLM-4.xV is `glm4` to llama.cpp.
    images: Some(&glm4v::GLM4V_IMAGES),
    hf_defaults: glm::DEFAULTS,
    spec,
    ..Architecture::BASE
};

pub(super) fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = glm::spec(hyper)?;
    spec.placement = Placement::Around;
    if hyper.is_gguf() && spec.ropes.iter().any(|rope| rope.sections.is_some()) {
        // The text part of a model that sees: its converter puts the rows of Q and K
        // in the order of halves.
        spec.interleaved_in = &[];
    }
    Ok(spec)
}
