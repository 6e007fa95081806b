//! GLM-4.1V and GLM-4.6V-Flash: GLM-4-0414 with positions in time, height and width, and
//! an encoder of pictures.
//! Source: Hugging Face `modeling_glm4v.py`; llama.cpp has the text model as `glm4`, with
//! sections of its rotation, and the encoder in a file of its own (`mmproj`).

use super::{Architecture, ImageFamily, glm4};
use crate::model::{DecoderSpec, Hyper, ImagePart, ModelError, Role, Stored};

pub(super) static GLM4V: Architecture = Architecture {
    name: "glm4v",
    hf: &["Glm4vForConditionalGeneration"],
    images: Some(&GLM4V_IMAGES),
    hf_text: Some("text_config"),
    hf_root: "model.language_model",
    hf_names: &[(Role::PostFfnNorm, "model.layers.{l}.post_mlp_layernorm")],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false,
        "num_key_value_heads": 2,
        "partial_rotary_factor": 1.0
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = glm4::spec(hyper)?;
    // The class has no flag for them.
    spec.qkv_bias = Stored::Always;
    for rope in &mut spec.ropes {
        // The class's own, where a file says none.
        rope.sections = rope.sections.or(Some([8, 12, 12]));
        hyper.check_sections(rope)?;
    }
    // Either part of the configuration may say it.
    spec.tied_embeddings |= hyper.hf_root_bool("tie_word_embeddings")?;
    Ok(spec)
}

pub(super) static GLM4V_IMAGES: ImageFamily = ImageFamily {
    name: "glm4v",
    hf: &["Glm4vForConditionalGeneration"],
    gguf: &["glm4v"],
    hf_defaults: r#"{
        "in_channels": 3,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu"
    }"#,
    placeholder: "<|image|>",
    default_placeholder_id: 151_343,
    names: &[
        (ImagePart::Patch, "patch_embed.proj", "v.patch_embd"),
        (ImagePart::PatchNorm, "post_conv_layernorm", "v.norm_embd"),
        (
            ImagePart::Positions,
            "embeddings.position_embedding",
            "v.position_embd",
        ),
        (
            ImagePart::AttentionNorm,
            "blocks.{l}.norm1",
            "v.blk.{l}.ln1",
        ),
        (ImagePart::Qkv, "blocks.{l}.attn.qkv", "v.blk.{l}.attn_qkv"),
        (
            ImagePart::AttentionOutput,
            "blocks.{l}.attn.proj",
            "v.blk.{l}.attn_out",
        ),
        (ImagePart::FfnNorm, "blocks.{l}.norm2", "v.blk.{l}.ln2"),
        (
            ImagePart::FfnGate,
            "blocks.{l}.mlp.gate_proj",
            "v.blk.{l}.ffn_gate",
        ),
        (
            ImagePart::FfnUp,
            "blocks.{l}.mlp.up_proj",
            "v.blk.{l}.ffn_up",
        ),
        (
            ImagePart::FfnDown,
            "blocks.{l}.mlp.down_proj",
            "v.blk.{l}.ffn_down",
        ),
        (ImagePart::PostNorm, "post_layernorm", "v.post_ln"),
        (ImagePart::Downsample, "downsample", "mm.patch_merger"),
        (ImagePart::MergerProjection, "merger.proj", "mm.model.fc"),
        (
            ImagePart::MergerNorm,
            "merger.post_projection_norm",
            "mm.post_norm",
        ),
        (ImagePart::MergerGate, "merger.gate_proj", "mm.gate"),
        (ImagePart::MergerUp, "merger.up_proj", "mm.up"),
        (ImagePart::MergerDown, "merger.down_proj", "mm.down"),
    ],
};
