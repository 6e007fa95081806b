//! What directories mean where they are silent, and what is refused.

mod gguf;

use super::*;
use crate::model::{DecoderSpec, EncoderSpec, Ffn, RopeScaling, RopeSpec, Stored};
use serde_json::{Value, json};

/// A folder of a `config.json`, with tensors of one number each.
fn folder(config: &Value, tensors: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut names: Vec<String> = (0..40).map(|i| format!("filler.{i}")).collect();
    names.extend(tensors.iter().map(|&name| name.to_owned()));
    let mut header = serde_json::Map::new();
    for (i, name) in names.iter().enumerate() {
        let entry = json!({"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 4 * names.len(), 0);
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("room");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("room");
    folder
}

/// `config`, as that of a class.
fn of_class(class: &str, config: &Value) -> Value {
    let mut config = config.clone();
    config["architectures"] = json!([class]);
    config
}

fn try_read(class: &str, config: &Value, tensors: &[&str]) -> Result<DecoderSpec, ModelError> {
    let folder = folder(&of_class(class, config), tensors);
    let file = ModelFile::open(folder.path()).expect("a folder of a model");
    let (architecture, hyper) = Hyper::open(&file)?;
    (architecture.spec)(&hyper)
}

fn read(class: &str, config: &Value) -> DecoderSpec {
    try_read(class, config, &[]).expect("understood")
}

/// Sizes, and what else a test says.
fn with(own: &Value) -> Value {
    let mut config = json!({
        "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 8,
        "num_attention_heads": 4, "max_position_embeddings": 8192,
        "num_key_value_heads": 2, "head_dim": 16,
    });
    for (key, value) in own.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config
}

fn refused(class: &str, own: &Value, parts: &[&str]) {
    let error = try_read(class, &with(own), &[]).expect_err("refused");
    let error = error.to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

fn number(value: &Value) -> f32 {
    value.as_f64().expect("a number") as f32
}

fn count(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

fn activation(value: &Value) -> Activation {
    match value.as_str().expect("a name") {
        "silu" => Activation::Silu,
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        other => panic!("{other}"),
    }
}

fn is_rope(spec: &DecoderSpec, rope: &RopeSpec, want: &Value) -> bool {
    let share = want["partial_rotary_factor"].as_f64().unwrap_or(1.0);
    let scaling = match want["rope_type"].as_str().expect("a kind") {
        "default" => RopeScaling::None,
        "yarn" => RopeScaling::Yarn {
            factor: want["factor"].as_f64().expect("a number"),
            original_context: want["original_max_position_embeddings"]
                .as_f64()
                .expect("a number"),
            beta_fast: want["beta_fast"].as_f64().expect("a number"),
            beta_slow: want["beta_slow"].as_f64().expect("a number"),
            // 0.1 ln(32) + 1, the paper's.
            attention_factor: 1.346_573_590_279_972_7,
            truncate: want["truncate"].as_bool().expect("a flag"),
        },
        other => panic!("{other}"),
    };
    Some(rope.theta) == want["rope_theta"].as_f64()
        && rope.dim == (spec.head_dim as f64 * share) as usize
        && rope.scaling == scaling
}

/// Whether a spec has what a field of a class says; every field must be known here.
fn has(spec: &DecoderSpec, field: &str, value: &Value) -> bool {
    let moe = || spec.moe.as_ref().expect("experts");
    let stored = |flag: &Value| Stored::if_set(flag == true);
    let scale = |head: f32| 1.0 / head.sqrt();
    match field {
        "hidden_act" | "hidden_activation" | "activation_function" => {
            let clamped = matches!(spec.ffn.activation, Activation::ClampedSwiglu { .. });
            clamped || spec.ffn.activation == activation(value)
        }
        "rms_norm_eps" | "norm_epsilon" | "layer_norm_epsilon" => spec.norm.eps == number(value),
        "num_key_value_heads" => spec.num_kv_heads == count(value),
        "head_dim" if value.is_null() => spec.head_dim == spec.hidden_size / spec.num_heads,
        "head_dim" => spec.head_dim == count(value),
        "n_inner" => value.is_null() && spec.ffn.size == 4 * spec.hidden_size,
        "tie_word_embeddings" => spec.tied_embeddings == (value == true),
        "rope_parameters" => match value.get("full_attention") {
            Some(full) => {
                is_rope(spec, &spec.ropes[0], full)
                    && is_rope(spec, &spec.ropes[1], &value["sliding_attention"])
            }
            None => spec.ropes.len() == 1 && is_rope(spec, &spec.ropes[0], value),
        },
        "windows" => {
            let windows: Vec<Value> = spec.layers.iter().map(|l| json!(l.window)).collect();
            *value == json!(windows)
        }
        "no_rope_layers" => {
            let rotates = spec.layers.iter().map(|l| u8::from(l.rope.is_some()));
            *value == json!(rotates.collect::<Vec<_>>())
        }
        "attention_bias" | "qkv_bias" => spec.qkv_bias == stored(value),
        "use_bias" => {
            let biases = [spec.qkv_bias, spec.attention_output_bias, spec.ffn_bias];
            biases == [stored(value); 3]
        }
        "mlp_bias" => spec.ffn_bias == stored(value),
        "attn_logit_softcapping" => json!(spec.attention.softcap) == *value,
        "final_logit_softcapping" => json!(spec.logit_softcap) == *value,
        "query_pre_attn_scalar" => spec.attention.scale == scale(number(value)),
        "attention_multiplier" => spec.attention.scale == number(value),
        "embedding_multiplier" => spec.embedding_scale == number(value),
        "residual_multiplier" => spec.residual_scale == number(value),
        "logits_scaling" => spec.logit_scale == 1.0 / number(value),
        "scale_attn_weights" => {
            value == true && spec.attention.scale == scale(spec.head_dim as f32)
        }
        "scale_attn_by_inverse_layer_idx" => value == false,
        "use_bidirectional_attention" => value != true && !spec.attention.bidirectional,
        "num_experts" | "num_local_experts" => moe().num_experts == count(value),
        "num_experts_per_tok" => moe().num_chosen == count(value),
        "moe_intermediate_size" => moe().size == count(value),
        "shared_expert_intermediate_size" => moe().shared_size == count(value),
        "norm_topk_prob" => moe().normalised == (value == true),
        "decoder_sparse_step" => *value == 1 && spec.layers.iter().all(|l| l.ffn == Ffn::Experts),
        "mlp_only_layers" => value.as_array().is_some_and(Vec::is_empty),
        "swiglu_alpha" => match spec.ffn.activation {
            Activation::ClampedSwiglu { alpha, .. } => alpha == number(value),
            _ => false,
        },
        "swiglu_limit" => match spec.ffn.activation {
            Activation::ClampedSwiglu { limit, .. } => limit == number(value),
            _ => false,
        },
        // Parts of `no_rope_layers`, and of LongRoPE, which has a test of its own.
        "no_rope_layer_interval" | "original_max_position_embeddings" => true,
        other => panic!("what does choral make of `{other}`?"),
    }
}

fn encoder_has(spec: &EncoderSpec, class: &str, field: &str, value: &Value) -> bool {
    match field {
        "hidden_act" => spec.activation == activation(value),
        "layer_norm_eps" => spec.norm_eps == number(value),
        // BERT's positions begin at 0, the others' behind the padding's.
        "pad_token_id" if class == "BertModel" => spec.first_position == 0,
        "pad_token_id" => spec.first_position == count(value) + 1,
        "is_decoder" => value == false,
        // It has no output matrix.
        "tie_word_embeddings" => true,
        other => panic!("what does choral make of `{other}`?"),
    }
}

/// `golden/class_defaults.json` has what each class of transformers takes.
#[test]
fn a_config_of_sizes_only_means_what_its_class_means() {
    let text = include_str!("../../../../../../golden/class_defaults.json");
    let golden: Value = serde_json::from_str(text).expect("JSON");
    let rows = golden["rows"].as_array().expect("rows");
    let mut wrong = Vec::new();
    let mut families: Vec<&str> = Vec::new();
    for row in rows {
        let class = row["class"].as_str().expect("a class");
        let fields = row["fields"].as_object().expect("fields");
        let folder = folder(&of_class(class, &row["config"]), &[]);
        let file = ModelFile::open(folder.path()).expect("a folder of a model");
        let mut miss = |field: &str, value: &Value| {
            wrong.push(format!("{class}: {field} is {value} in transformers"));
        };
        if let Some((family, hyper)) = Hyper::open_encoder(&file).expect("it names a class") {
            let spec = (family.spec)(&hyper).expect("sizes are enough");
            families.push(family.name);
            for (field, value) in fields {
                if !encoder_has(&spec, class, field, value) {
                    miss(field, value);
                }
            }
            continue;
        }
        let (family, hyper) = Hyper::open(&file).expect("a known class");
        let spec = (family.spec)(&hyper).unwrap_or_else(|e| panic!("{class}: {e}"));
        families.push(family.name);
        for (field, value) in fields {
            if !has(&spec, field, value) {
                miss(field, value);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let all = arch::ALL.iter().map(|family| family.name);
    for family in all.chain(arch::ENCODERS.iter().map(|family| family.name)) {
        assert!(families.contains(&family), "{family} is not in the table");
    }
}

#[test]
fn sizes_must_be_said() {
    for key in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
    ] {
        for class in ["LlamaForCausalLM", "GptOssForCausalLM", "GlmForCausalLM"] {
            refused(class, &json!({key: null}), &["config.json", key]);
        }
    }
}

#[test]
fn null_is_said_and_not_silence() {
    let spec = read(
        "MistralForCausalLM",
        &with(&json!({"sliding_window": null})),
    );
    assert!(spec.layers.iter().all(|layer| layer.window.is_none()));
    let caps = json!({"attn_logit_softcapping": null, "final_logit_softcapping": null});
    let spec = read("Gemma2ForCausalLM", &with(&caps));
    assert_eq!((spec.attention.softcap, spec.logit_softcap), (None, None));
    let none = json!({"num_key_value_heads": null, "head_dim": null});
    let spec = read("MixtralForCausalLM", &with(&none));
    assert_eq!((spec.num_kv_heads, spec.head_dim), (4, 16));
}

/// Newer transformers call the number of Qwen3-MoE's experts as Mixtral does.
#[test]
fn experts_are_counted_under_either_name() {
    for (class, key) in [
        ("Qwen3MoeForCausalLM", "num_local_experts"),
        ("Qwen3MoeForCausalLM", "num_experts"),
        ("MixtralForCausalLM", "num_experts"),
    ] {
        let spec = read(class, &with(&json!({key: 24})));
        assert_eq!(
            spec.moe.map(|moe| moe.num_experts),
            Some(24),
            "{class} {key}"
        );
    }
}

#[test]
fn gemma3_has_a_rotation_for_each_kind_of_layer() {
    let linear = json!({"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6});
    let ropes = |own: Value| {
        let spec = read("Gemma3ForCausalLM", &with(&own));
        let kinds = spec.layers.iter().map(|l| (l.window.is_some(), l.rope));
        for (windowed, rope) in kinds {
            assert_eq!(rope, Some(usize::from(windowed)));
        }
        assert_eq!(spec.ropes.len(), 2);
        spec.ropes
            .into_iter()
            .map(|r| (r.theta, r.scaling))
            .collect::<Vec<_>>()
    };
    let scaled = RopeScaling::Linear { factor: 8.0 };
    let newer = json!({"rope_parameters": {
        "full_attention": linear,
        "sliding_attention": {"rope_type": "default", "rope_theta": 5e3},
    }});
    assert_eq!(
        ropes(newer),
        [(2e6, scaled.clone()), (5e3, RopeScaling::None)]
    );
    // A kind that states no base has its own default, not the other's.
    let silent = json!({"rope_parameters": {
        "full_attention": {"rope_type": "default"},
        "sliding_attention": {"rope_type": "default"},
    }});
    assert_eq!(
        ropes(silent),
        [(1e6, RopeScaling::None), (1e4, RopeScaling::None)]
    );
    let older = json!({
        "rope_theta": 3e6, "rope_local_base_freq": 7e3,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    });
    assert_eq!(ropes(older), [(3e6, scaled), (7e3, RopeScaling::None)]);
}

#[test]
fn gpt2_whose_scores_are_scaled_otherwise_is_refused() {
    let sizes =
        json!({"vocab_size": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32});
    for (key, value) in [
        ("scale_attn_by_inverse_layer_idx", true),
        ("scale_attn_weights", false),
    ] {
        let mut config = sizes.clone();
        config[key] = json!(value);
        let error = try_read("GPT2LMHeadModel", &config, &[]).expect_err("refused");
        assert!(error.to_string().contains(key), "{error}");
    }
    try_read("GPT2LMHeadModel", &sizes, &[]).expect("as published");
}

#[test]
fn a_quantised_head_is_not_taken_for_tied() {
    let head = ["lm_head.qweight", "lm_head.scales", "lm_head.qzeros"];
    let tied = |own: Value| {
        let spec = try_read("LlamaForCausalLM", &with(&own), &head);
        spec.expect("understood").tied_embeddings
    };
    assert!(!tied(json!({})));
    assert!(tied(json!({"tie_word_embeddings": true})));
}

#[test]
fn smollm3_has_windows_where_it_does_not_rotate_or_as_layer_types_say() {
    let windows = |own: Value| -> Vec<Option<usize>> {
        let spec = read("SmolLM3ForCausalLM", &with(&own));
        spec.layers.iter().map(|layer| layer.window).collect()
    };
    let w = Some(16);
    let used = json!({"use_sliding_window": true, "sliding_window": 16});
    let fourth = [None, None, None, w, None, None, None, w];
    assert_eq!(windows(used.clone()), fourth);
    assert_eq!(windows(json!({"sliding_window": 16})), [None; 8]);
    let mut own = used.clone();
    own["no_rope_layers"] = json!([0, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(windows(own), [w, None, None, None, None, None, None, None]);
    let mut own = used;
    let (full, sliding) = ("full_attention", "sliding_attention");
    own["layer_types"] = json!([full, sliding, full, full, full, full, full, full]);
    assert_eq!(windows(own), [None, w, None, None, None, None, None, None]);
}

#[test]
fn a_model_that_sees_has_settings_in_an_object_and_positions_of_three_numbers() {
    const CLASS: &str = "Glm4vForConditionalGeneration";
    let text = |sections: Value| {
        with(&json!({
            "partial_rotary_factor": 0.5,
            "rope_scaling": {"type": "default", "mrope_section": sections},
        }))
    };
    let own = text(json!([1, 1, 2]));
    let nested = read(
        CLASS,
        &json!({"text_config": own, "tie_word_embeddings": true}),
    );
    assert_eq!(nested.ropes[0].sections, Some([1, 1, 2]));
    assert_eq!(nested.ropes[0].dim, 8);
    assert!(nested.tied_embeddings && nested.takes_images());
    // Its first files had no such object.
    let flat = read(CLASS, &own);
    assert_eq!(flat.ropes, nested.ropes);
    assert!(!flat.tied_embeddings);
    for (sections, expected) in [
        (json!([1, 1, 1]), "expected a sum of 4"),
        (json!([1, 3]), "expected three numbers"),
        (json!([1, 1, 1, 1]), "expected three numbers"),
        (json!([usize::MAX, 2, 3]), "expected a sum of 4"),
    ] {
        let error = try_read(CLASS, &json!({"text_config": text(sections)}), &[]);
        let error = error.expect_err("refused").to_string();
        assert!(
            error.contains("mrope_section") && error.contains(expected),
            "{error}"
        );
    }
    assert!(!read("Glm4ForCausalLM", &with(&json!({}))).takes_images());
}
