//! What files say of their frequencies, and what llama.cpp makes of it.

use super::{Layers, from_hf};
use crate::model::{Hyper, ModelError, RopeScaling};
use choral_formats::gguf::Writer;
use choral_formats::{Gguf, JsonObject, ModelFile};
use serde_json::{Value, json};
use std::path::Path;

fn scaling(kind: Option<&str>, numbers: &[(&str, f32)]) -> Result<RopeScaling, ModelError> {
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama");
    if let Some(kind) = kind {
        writer.set("llama.rope.scaling.type", kind);
    }
    for (key, number) in numbers {
        writer.set(format!("llama.rope.{key}"), *number);
    }
    let bytes = writer.to_bytes().expect("writes");
    let file = ModelFile::Gguf(Gguf::from_bytes("test.gguf", bytes).expect("reads"));
    let (_, hyper) = Hyper::open(&file).expect("a known family");
    Ok(hyper.rope(64)?.scaling)
}

#[test]
fn a_gguf_factor_without_a_type_is_linear() {
    let linear = |factor| RopeScaling::Linear { factor };
    let factor = |x| ("scaling.factor", x);
    let old = |x| ("scale_linear", x);
    for (kind, numbers, want) in [
        (None, vec![], RopeScaling::None),
        (None, vec![factor(4.0)], linear(4.0)),
        (None, vec![old(2.0)], linear(2.0)),
        (None, vec![factor(4.0), old(2.0)], linear(4.0)),
        (None, vec![factor(0.0)], RopeScaling::None),
        (None, vec![factor(1.0), old(2.0)], RopeScaling::None),
        (Some("linear"), vec![factor(4.0)], linear(4.0)),
        (Some("linear"), vec![old(8.0)], linear(8.0)),
        (Some("linear"), vec![], RopeScaling::None),
        (Some("none"), vec![factor(4.0)], RopeScaling::None),
    ] {
        let found = scaling(kind, &numbers).expect("understood");
        assert_eq!(found, want, "{kind:?} {numbers:?}");
    }
}

#[test]
fn a_gguf_factor_that_is_no_scale_is_refused() {
    for (kind, key, number) in [
        (None, "scaling.factor", -2.0),
        (None, "scale_linear", f32::NAN),
        (Some("yarn"), "scaling.factor", 0.0),
    ] {
        let error = scaling(kind, &[(key, number)])
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains(&format!("llama.rope.{key}")) && error.contains("a positive number"),
            "{error}"
        );
    }
}

/// Base and scaling of a `config.json` with a context of 8192 and `own` fields.
fn hf(own: &Value) -> Result<(f64, RopeScaling), ModelError> {
    let mut config = json!({"max_position_embeddings": 8192});
    for (key, value) in own.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let config = JsonObject::from_slice(Path::new("config.json"), config.to_string().as_bytes());
    let (theta, _, scaling) = from_hf(&config.expect("an object"), Layers::Main)?;
    Ok((theta, scaling))
}

/// Values of transformers 5.23, `_compute_yarn_parameters`.
#[test]
fn yarn_multiplies_by_what_mscale_says_or_the_paper_or_the_config() {
    for (own, want) in [
        (
            json!({"factor": 40.0, "mscale": 0.707, "mscale_all_dim": 1.0}),
            0.921_042_355_316_339_9,
        ),
        (
            json!({"factor": 40.0, "mscale": 1.0}),
            1.368_887_945_411_393_6,
        ),
        (json!({"factor": 4.0}), 1.138_629_436_111_989),
        (
            json!({"factor": 4.0, "attention_factor": 1.5, "mscale": 0.707, "mscale_all_dim": 1.0}),
            1.5,
        ),
    ] {
        let mut own = own;
        own["rope_type"] = json!("yarn");
        let (_, scaling) = hf(&json!({"rope_scaling": own})).expect("understood");
        let RopeScaling::Yarn {
            attention_factor, ..
        } = scaling
        else {
            panic!("{scaling:?}")
        };
        assert!(
            (attention_factor - want).abs() < 1e-15,
            "{attention_factor} {want}"
        );
    }
}

/// Values of transformers 5.23, `_compute_longrope_parameters`.
#[test]
fn longrope_multiplies_by_what_its_contexts_make() {
    const ORIGINAL: &str = "original_max_position_embeddings";
    for (kind, top, own, context, want) in [
        (
            "longrope",
            json!({ORIGINAL: 4096}),
            json!({}),
            4096,
            1.040_832_999_733_066_3,
        ),
        // What the first Phi-3 files called it.
        (
            "su",
            json!({ORIGINAL: 4096}),
            json!({}),
            4096,
            1.040_832_999_733_066_3,
        ),
        (
            "yarn",
            json!({ORIGINAL: 4096}),
            json!({}),
            4096,
            1.040_832_999_733_066_3,
        ),
        // The config goes before its scaling.
        (
            "longrope",
            json!({ORIGINAL: 1024}),
            json!({ORIGINAL: 512}),
            1024,
            1.140_175_425_099_138,
        ),
        (
            "longrope",
            json!({ORIGINAL: 4096}),
            json!({"factor": 16.0}),
            4096,
            1.154_700_538_379_251_7,
        ),
        (
            "longrope",
            json!({}),
            json!({ORIGINAL: 512}),
            512,
            1.201_850_425_154_663_1,
        ),
        ("longrope", json!({}), json!({}), 8192, 1.0),
    ] {
        let (mut top, mut own) = (top, own);
        own["type"] = json!(kind);
        own["short_factor"] = json!([1.0, 1.0]);
        own["long_factor"] = json!([2.0, 2.0]);
        top["rope_scaling"] = own;
        let (_, scaling) = hf(&top).unwrap_or_else(|e| panic!("{top}: {e}"));
        let RopeScaling::Long {
            attention_factor,
            original_context,
            ..
        } = scaling
        else {
            panic!("{scaling:?}")
        };
        assert_eq!(original_context, context, "{top}");
        assert!(
            (attention_factor - want).abs() < 1e-15,
            "{top}: {attention_factor}"
        );
    }
}

#[test]
fn the_older_spelling_goes_before_the_newer() {
    let linear = || RopeScaling::Linear { factor: 2.0 };
    let newer = json!({"rope_type": "default", "rope_theta": 5e5});
    let older = json!({"rope_type": "linear", "factor": 2.0});
    for (own, want) in [
        (json!({}), (1e4, RopeScaling::None)),
        (
            json!({"rope_parameters": {"rope_theta": 5e5}}),
            (5e5, RopeScaling::None),
        ),
        (
            json!({"rope_theta": 3e4, "rope_parameters": newer}),
            (5e5, RopeScaling::None),
        ),
        (
            json!({"rope_scaling": older, "rope_parameters": newer}),
            (1e4, linear()),
        ),
        (
            json!({"rope_scaling": null, "rope_parameters": newer}),
            (5e5, RopeScaling::None),
        ),
    ] {
        assert_eq!(hf(&own).expect("understood"), want, "{own}");
    }
    let error = hf(&json!({"rope_scaling": {"factor": 2.0}})).expect_err("refused");
    assert!(error.to_string().contains("rope_scaling.type"), "{error}");
}
