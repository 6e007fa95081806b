//! `StarCoder2`: layer norms, biases, no gate.
//! Source: Hugging Face `modeling_starcoder2.py`.

use super::Architecture;
use crate::model::{Activation, DecoderSpec, Hyper, Key, Keys, ModelError, NormKind, Role, Stored};

pub(super) static STARCODER2: Architecture = Architecture {
    name: "starcoder2",
    hf: &["Starcoder2ForCausalLM"],
    gguf: &["starcoder2"],
    hf_names: &[
        (Role::FfnUp, "model.layers.{l}.mlp.c_fc"),
        (Role::FfnDown, "model.layers.{l}.mlp.c_proj"),
    ],
    hf_defaults: r#"{
        "norm_epsilon": 1e-5,
        "tie_word_embeddings": true,
        "num_key_value_heads": 2
    }"#,
    spec,
    ..Architecture::BASE
};

fn spec(hyper: &Hyper<'_>) -> Result<DecoderSpec, ModelError> {
    let keys = Keys {
        eps: Key::new("norm_epsilon", "attention.layer_norm_epsilon"),
        ..Keys::LLAMA
    };
    let mut spec = DecoderSpec::read(hyper, &keys)?;
    spec.norm.kind = NormKind::Layer;
    spec.ffn.gated = false;
    spec.ffn.activation = hyper.activation()?.unwrap_or(Activation::GeluTanh);
    spec.qkv_bias = hyper.hf_bool("use_bias", true).map(Stored::if_set)?;
    spec.attention_output_bias = spec.qkv_bias;
    spec.ffn_bias = spec.qkv_bias;
    let window = hyper.hf_usize("sliding_window")?;
    spec.set_windows(hyper.windows(spec.num_layers, window, |_| true)?);
    Ok(spec)
}
