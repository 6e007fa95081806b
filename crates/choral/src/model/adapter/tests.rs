//! Names, ranks and scales. Whole adapters are tested in `tests/lora.rs`.

use super::peft::{self, Peft};
use super::{AdapterError, gguf};
use choral_formats::JsonObject;
use std::path::Path;

fn here() -> &'static Path {
    Path::new("adapter")
}

fn config(text: &str) -> Peft {
    let config = JsonObject::from_slice(here(), text.as_bytes()).expect("an object");
    Peft::read(here(), &config).expect("a good configuration")
}

#[test]
fn a_change_is_scaled_by_alpha_over_the_rank_or_its_root() {
    let scale = |text: &str, rank| config(text).scale(here(), "m", rank).expect("its rank");
    let plain = r#"{"peft_type": "LORA", "r": 16, "lora_alpha": 8}"#;
    assert_eq!(scale(plain, 16), 0.5);
    let root = r#"{"peft_type": "LORA", "r": 16, "lora_alpha": 6.0, "use_rslora": true}"#;
    assert_eq!(scale(root, 16), 1.5);
}

/// As `get_pattern_key` of PEFT has it: a key is a regular expression for the end of
/// a name, from a dot on, and the first that matches counts.
#[test]
fn a_pattern_is_for_whole_ends_of_names_and_the_first_counts() {
    let peft = config(
        r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 8,
            "rank_pattern": {"q_proj": 4, "layers.1.*_proj": 2, "up": 1},
            "alpha_pattern": {"^model.layers.0.k_proj": 1, "mlp\\.down_proj": 16}}"#,
    );
    let name = "model.layers.0.self_attn.q_proj";
    assert_eq!(peft.scale(here(), name, 4).expect("4"), 2.0);
    let name = "model.layers.1.self_attn.q_proj";
    assert_eq!(peft.scale(here(), name, 4).expect("the first"), 2.0);
    let name = "model.layers.1.self_attn.k_proj";
    assert_eq!(peft.scale(here(), name, 2).expect("2"), 4.0);
    // `layers.11` is not `layers.1` with something behind it, but `.*` is anything.
    let name = "model.layers.11.mlp.down_proj";
    assert_eq!(peft.scale(here(), name, 2).expect("2"), 8.0);
    let name = "model.layers.2.mlp.down_proj";
    assert_eq!(peft.scale(here(), name, 8).expect("the default"), 2.0);
    let name = "model.layers.2.mlp.gate_up";
    assert_eq!(peft.scale(here(), name, 8).expect("no `.up`"), 1.0);
    let error = peft.scale(here(), "a.up", 8).expect_err("rank 1");
    assert_eq!(
        error.to_string(),
        "adapter: `a.up` has rank 8, expected 1 by adapter_config.json"
    );
}

#[test]
fn names_of_tensors_say_what_they_change() {
    let q = "model.layers.0.self_attn.q_proj";
    for (name, is_a) in [
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            true,
        ),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
            false,
        ),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight",
            false,
        ),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", true),
    ] {
        assert_eq!(peft::module(here(), name).expect(name), (q, is_a));
    }
    for (name, part) in [
        ("m.lora_magnitude_vector", "DoRA"),
        ("m.lora_embedding_A", "the embedding"),
        ("m.lora_B.bias", "biases"),
        ("m.modules_to_save.weight", "whole modules"),
        ("m.weight", "`m.weight` is no low-rank matrix"),
        ("m.lora_A.a.b.weight", "no low-rank matrix"),
    ] {
        let error = peft::module(here(), name).expect_err(name).to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
    let module = |name| gguf::module(here(), name);
    assert_eq!(
        module("blk.0.attn_q.weight.lora_a").expect("a"),
        ("blk.0.attn_q", true)
    );
    assert_eq!(
        module("blk.0.attn_q.weight.lora_b").expect("b"),
        ("blk.0.attn_q", false)
    );
    for name in ["blk.0.attn_norm.weight", "blk.0.attn_q.weight.lora_c"] {
        let error = module(name).expect_err(name);
        assert!(matches!(error, AdapterError::UnknownTensor { .. }));
    }
}
