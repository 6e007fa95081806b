//! `SmolLM3`: Llama without rotation in every fourth layer.
//! Source: Hugging Face `modeling_smollm3.py`; GGUF files do not say which layers,
//! llama.cpp leaves out every fourth.

use super::Architecture;
use crate::model::{DecoderSpec, Hyper, ModelError, Scheme, Stored};

pub(super) static SMOLLM3: Architecture = Architecture {
    name: "smollm3",
    hf: &["SmolLM3ForCausalLM"],
    gguf: &["smollm3"],
    hf_defaults: r#"{
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true,
        "num_key_value_heads": 4,
        "rope_theta": 2e6,
        "no_rope_layer_interval": 4
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
    let interval = hyper
        .hf_usize("no_rope_layer_interval")?
        .unwrap_or(4)
        .max(1);
    let rotates = hyper.hf_flags("no_rope_layers", spec.num_layers)?;
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        let by_interval = !(index + 1).is_multiple_of(interval);
        let rotates = rotates.as_ref().map_or(by_interval, |flags| flags[index]);
        layer.rope = rotates.then_some(0);
    }
    // Windows are in the layers that do not rotate, unless `layer_types` says otherwise.
    let rotates: Vec<bool> = spec.layers.iter().map(|l| l.rope.is_some()).collect();
    let used = hyper.hf_bool("use_sliding_window", false)?;
    let window = hyper.hf_usize("sliding_window")?.filter(|_| used);
    spec.set_windows(hyper.windows(spec.num_layers, window, |layer| !rotates[layer])?);
    Ok(spec)
}
