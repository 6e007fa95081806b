//! Which files are taken.

use crate::hub::Repo;
use crate::hub::choose::{Choice, choose};

fn chosen(repo: &str, paths: &[&str]) -> Result<Vec<String>, String> {
    let repo: Repo = repo.parse().expect("a name");
    match choose(&repo, paths) {
        Ok(Choice::Gguf(files) | Choice::Folder { files, .. }) => Ok(files),
        Err(error) => Err(error.to_string()),
    }
}

#[track_caller]
fn assert_chosen(repo: &str, paths: &[&str], expected: &[&str]) {
    let found = chosen(repo, paths).expect("a choice");
    assert_eq!(found, expected, "{repo}");
}

#[test]
fn without_a_quantisation_q4_k_m_then_q8_0_then_the_first() {
    let all = [
        "README.md",
        "m-Q2_K.gguf",
        "m-Q4_K_M.gguf",
        "m-Q4_K_S.gguf",
        "m-Q8_0.gguf",
    ];
    assert_chosen("o/m", &all, &["m-Q4_K_M.gguf"]);
    assert_chosen("o/m", &["m-f16.gguf", "m.q8_0.gguf"], &["m.q8_0.gguf"]);
    assert_chosen("o/m", &["x/only.gguf", "config.json"], &["x/only.gguf"]);
    assert_chosen("o/m", &["m-Q6_K.gguf", "m-Q3_K_S.gguf"], &["m-Q3_K_S.gguf"]);
}

#[test]
fn a_quantisation_is_a_whole_word_in_any_case() {
    let all = [
        "m-IQ4_XS.gguf",
        "m-Q4_K_M.gguf",
        "m-UD-Q4_K_XL.gguf",
        "m_q5_k_m.gguf",
        "BF16/m.gguf",
    ];
    assert_chosen("o/m:q4_k_m", &all, &["m-Q4_K_M.gguf"]);
    assert_chosen("o/m:UD-Q4_K_XL", &all, &["m-UD-Q4_K_XL.gguf"]);
    assert_chosen("o/m:Q5_K_M", &all, &["m_q5_k_m.gguf"]);
    assert_chosen("o/m:bf16", &all, &["BF16/m.gguf"]);
    for wrong in ["o/m:Q4_K", "o/m:Q4", "o/m:4_XS", "o/m:F16"] {
        let error = chosen(wrong, &all).expect_err("no such thing");
        let has = "it has BF16, IQ4_XS, Q4_K_M, Q4_K_XL, Q5_K_M";
        assert!(error.ends_with(has), "{error}");
    }
}

#[test]
fn a_split_model_comes_whole_or_not_at_all() {
    let parts = [
        "q/m-Q8_0-00002-of-00003.gguf",
        "q/m-Q8_0-00003-of-00003.gguf",
        "q/m-Q8_0-00001-of-00003.gguf",
    ];
    let sorted = [
        "q/m-Q8_0-00001-of-00003.gguf",
        "q/m-Q8_0-00002-of-00003.gguf",
        "q/m-Q8_0-00003-of-00003.gguf",
    ];
    assert_chosen("o/m:Q8_0", &parts, &sorted);
    let repo: Repo = "o/m".parse().expect("a name");
    let any = repo.clone().file(parts[0]);
    assert_eq!(
        choose(&any, &parts).ok(),
        Some(Choice::Gguf(sorted.map(Into::into).to_vec()))
    );
    let error = chosen("o/m", &parts[..2]).expect_err("a part is missing");
    assert!(error.contains("q/m-Q8_0-00001-of-00003.gguf"), "{error}");
}

#[test]
fn a_vision_tower_is_not_a_model() {
    let all = ["mmproj-m-Q4_K_M.gguf", "m-Q8_0.gguf", "m.imatrix.gguf"];
    assert_chosen("o/m", &all, &["m-Q8_0.gguf"]);
    let error = chosen("o/m:Q4_K_M", &all).expect_err("only the tower has it");
    assert!(
        error.contains("`o/m` has no Q4_K_M, it has Q8_0"),
        "{error}"
    );
    let repo: Repo = "o/m".parse().expect("a name");
    assert!(choose(&repo.file("mmproj-m-Q4_K_M.gguf"), &all).is_ok());
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let repo: Repo = "o/m".parse().expect("a name");
    let error = choose(&repo.file("x.gguf"), &["a.gguf", "b.txt"]).expect_err("no such file");
    assert_eq!(
        error.to_string(),
        "`o/m` has no file `x.gguf`, it has a.gguf"
    );
}

#[test]
fn without_gguf_the_folder_is_taken_as_it_is_opened() {
    let side = [
        "config.json",
        "tokenizer.json",
        "README.md",
        "onnx/model.onnx",
    ];
    let of = |weights: &[&'static str]| [&side[..], weights].concat();
    let single = of(&["model.safetensors", "consolidated.safetensors"]);
    assert_chosen(
        "o/m",
        &single,
        &["config.json", "tokenizer.json", "model.safetensors"],
    );
    let only = of(&["pytorch.safetensors"]);
    assert_chosen(
        "o/m",
        &only,
        &["config.json", "tokenizer.json", "pytorch.safetensors"],
    );
    let repo: Repo = "o/m".parse().expect("a name");
    let sharded = of(&[
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
    ]);
    let choice = choose(&repo, &sharded).expect("a choice");
    assert_eq!(
        choice,
        Choice::Folder {
            files: vec!["config.json".into(), "tokenizer.json".into()],
            index: Some("model.safetensors.index.json".into()),
        }
    );
    for lacking in [
        of(&[]),
        vec!["model.safetensors"],
        of(&["a.safetensors", "b.safetensors"]),
    ] {
        assert!(chosen("o/m", &lacking).is_err(), "{lacking:?}");
    }
    let error = chosen("o/m:Q4_K_M", &single).expect_err("no GGUF");
    assert!(
        error.contains("no GGUF file of Q4_K_M, it has model.safetensors"),
        "{error}"
    );
}

#[test]
fn a_folder_of_sentence_transformers_brings_its_modules() {
    let all = [
        ".gitattributes",
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "config_sentence_transformers.json",
        "data/config.json",
        "model.safetensors",
        "modules.json",
        "onnx/1_x/config.json",
        "sentence_bert_config.json",
        "tokenizer.json",
    ];
    let expected = [
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "model.safetensors",
    ];
    assert_chosen("o/m", &all, &expected);
}
