//! What files say of their frequencies, and what llama.cpp makes of it.

use crate::model::{Hyper, ModelError, RopeScaling};
use choral_formats::gguf::Writer;
use choral_formats::{Gguf, ModelFile};

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
