//! What GGUF files mean where they are silent, and what is refused.

use crate::arch;
use crate::model::{DecoderSpec, Hyper, ModelError};
use choral_formats::{Dtype, Gguf, ModelFile, TensorInfo, gguf::Writer};

/// A GGUF header of sizes, with `own` keys besides, without `left_out`.
fn gguf(family: &str, own: &[(&str, Number)], left_out: &str) -> Result<DecoderSpec, ModelError> {
    let mut writer = Writer::new();
    writer.set("general.architecture", family);
    let norm = match family {
        "gpt2" | "starcoder2" => "attention.layer_norm_epsilon",
        _ => "attention.layer_norm_rms_epsilon",
    };
    let sizes = [
        ("embedding_length", Number::Count(64)),
        ("block_count", Number::Count(1)),
        ("attention.head_count", Number::Count(4)),
        ("attention.key_length", Number::Count(16)),
        ("attention.value_length", Number::Count(16)),
        ("feed_forward_length", Number::Count(96)),
        ("context_length", Number::Count(100)),
        (norm, Number::Float(1e-5)),
    ];
    for (key, value) in sizes.iter().chain(own) {
        if *key == left_out {
            continue;
        }
        let key = format!("{family}.{key}");
        match *value {
            Number::Count(count) => writer.set(key, count),
            Number::Float(float) => writer.set(key, float),
        };
    }
    let info = TensorInfo {
        name: "token_embd.weight".into(),
        dtype: Dtype::F32,
        shape: vec![40, 64],
    };
    writer.tensor(info, vec![0; 40 * 64 * 4]).expect("a tensor");
    let bytes = writer.to_bytes().expect("a file");
    let file = ModelFile::Gguf(Gguf::from_bytes("test.gguf", bytes).expect("a good file"));
    let (architecture, hyper) = Hyper::open(&file)?;
    (architecture.spec)(&hyper)
}

#[derive(Clone, Copy)]
enum Number {
    Count(u32),
    Float(f32),
}

#[test]
fn a_gguf_file_without_a_key_that_llama_cpp_requires_is_refused_by_its_name() {
    for family in arch::ALL.iter().flat_map(|family| family.gguf) {
        let norm = match *family {
            "gpt2" | "starcoder2" => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        };
        let own: &[_] = match *family {
            "granite" => &[("logit_scale", Number::Float(8.0))],
            "gpt-oss" => &[
                ("attention.sliding_window", Number::Count(128)),
                ("expert_feed_forward_length", Number::Count(96)),
            ],
            _ => &[],
        };
        gguf(family, own, "").unwrap_or_else(|e| panic!("{family}: {e}"));
        let sizes = ["embedding_length", "block_count", "context_length", norm];
        let required = own.iter().map(|(key, _)| *key).chain(sizes);
        for key in required {
            let error = gguf(family, own, key).expect_err(family).to_string();
            assert!(error.contains(&format!("{family}.{key}")), "{error}");
        }
    }
    // llama.cpp finds out when the tensors do not fit; nothing is guessed here.
    for key in ["attention.head_count", "feed_forward_length"] {
        let error = gguf("llama", &[], key).expect_err("refused").to_string();
        assert!(error.contains(&format!("llama.{key}")), "{error}");
    }
}

#[test]
fn a_gemma2_gguf_without_caps_and_window_has_the_published_models() {
    let spec = gguf("gemma2", &[], "").expect("understood");
    assert_eq!(spec.layers[0].window, Some(4096));
    assert_eq!(spec.attention.softcap, Some(50.0));
    assert_eq!(spec.logit_softcap, Some(30.0));
    let own = [
        ("attention.sliding_window", Number::Count(32)),
        ("attn_logit_softcapping", Number::Float(20.0)),
        ("final_logit_softcapping", Number::Float(10.0)),
    ];
    let spec = gguf("gemma2", &own, "").expect("understood");
    assert_eq!(spec.layers[0].window, Some(32));
    assert_eq!(spec.attention.softcap, Some(20.0));
    assert_eq!(spec.logit_softcap, Some(10.0));
}

/// llama.cpp's name for `OLMo` 3 is that of `OLMo` 2.
#[test]
fn an_olmo2_gguf_with_windows_is_another_model() {
    let own = [("attention.sliding_window", Number::Count(32))];
    let error = gguf("olmo2", &own, "").expect_err("refused").to_string();
    assert!(error.contains("olmo2.attention.sliding_window"), "{error}");
}

#[test]
fn experts_of_a_gguf_without_their_width_share_the_dense_one() {
    let own = [
        ("expert_count", Number::Count(8)),
        ("expert_used_count", Number::Count(4)),
    ];
    let moe = |family| {
        gguf(family, &own, "")
            .expect("understood")
            .moe
            .expect("experts")
    };
    assert_eq!(
        (moe("qwen2moe").size, moe("qwen2moe").shared_size),
        (24, 96)
    );
    assert_eq!(moe("qwen3moe").size, 24);
    // Mixtral's are each as wide as the key says.
    assert_eq!(moe("llama").size, 96);
}

/// As in transformers. llama.cpp lets every token of a Phi-3 file see everything.
#[test]
fn the_window_of_a_phi3_gguf_holds_in_every_layer() {
    let own = |window| [("attention.sliding_window", Number::Count(window))];
    let spec = gguf("phi3", &own(2047), "").expect("understood");
    assert!(spec.layers.iter().all(|layer| layer.window == Some(2047)));
    // What files of models without one have.
    let spec = gguf("phi3", &own(0), "").expect("understood");
    assert!(spec.layers.iter().all(|layer| layer.window.is_none()));
}
