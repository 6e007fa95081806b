//! What is found in files, and what is refused.

use super::*;
use crate::model::{Hyper, Role};
use serde_json::json;

const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "vocab_size": 64, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
    "max_position_embeddings": 128
}"#;

/// Rows of the embedding are read one by one, as floats: scaled 8-bit floats have their
/// scale elsewhere.
#[test]
fn a_quantised_table_is_refused_by_name_and_method() {
    let folder = tempfile::tempdir().expect("a folder");
    let header = json!({
        "model.embed_tokens.weight":
            {"dtype": "F8_E4M3", "shape": [64, 64], "data_offsets": [0, 4096]},
        "model.embed_tokens.weight_scale":
            {"dtype": "F32", "shape": [1], "data_offsets": [4096, 4100]},
    })
    .to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 4100, 0);
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("room");
    std::fs::write(folder.path().join("config.json"), CONFIG).expect("room");
    let file = ModelFile::open(folder.path()).expect("a folder of a model");
    let (architecture, hyper) = Hyper::open(&file).expect("a known family");
    let spec = (architecture.spec)(&hyper).expect("understood");
    let tensors = Tensors::new(&file, &spec).expect("a known method");
    let error = tensors
        .table(Role::Embedding, [64, 64])
        .expect_err("refused");
    let error = error.to_string();
    assert!(
        error.ends_with("`model.embed_tokens.weight` is quantised with FP8, expected floats"),
        "{error}"
    );
    // As a matrix, which an output is, it is read.
    tensors
        .matrix(Role::Embedding, At::default(), [64, 64])
        .expect("a matrix");
}
