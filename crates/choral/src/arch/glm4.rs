//! GLM-4-0414: GLM with norms around each part.
//! Source: Hugging Face `modeling_glm4.py`.

use super::{Architecture, glm};
use crate::model::{DecoderSpec, Hyper, ModelError, Placement, Role};

pub(super) static GLM4: Architecture = Architecture {
    name: "glm4",
    hf: &["Glm4ForCausalLM"],
    gguf: &["glm4"],
    hf_names: &[(Role::PostFfnNorm, "model.layers.{l}.post_mlp_layernorm")],
    hf_defaults: glm::DEFAULTS,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = glm::spec(hyper)?;
    spec.placement = Placement::Around;
    Ok(spec)
}
