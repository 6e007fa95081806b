//! The vectors of Hugging Face transformers and of llama.cpp.

use super::protocol::sample_dist;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The repository's selection, or all of it where `CHORAL_GOLDEN` says.
fn load(file: &str) -> Value {
    let golden = std::env::var_os("CHORAL_GOLDEN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden")),
        PathBuf::from,
    );
    let path = golden.join("sampler").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn floats(base64: &Value) -> Vec<f32> {
    let bytes = STANDARD.decode(base64.as_str().unwrap()).unwrap();
    let (floats, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    floats.iter().copied().map(f32::from_le_bytes).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

/// `[vocab]`: the probabilities that the case expects.
fn expected(case: &Value) -> Vec<f64> {
    if case["probs_f32_b64"].is_string() {
        return floats(&case["probs_f32_b64"])
            .into_iter()
            .map(f64::from)
            .collect();
    }
    let mut dense = vec![0.0; case["n"].as_u64().unwrap() as usize];
    for (id, p) in numbers(&case["ids"])
        .into_iter()
        .zip(numbers(&case["probs"]))
    {
        dense[id as usize] = p;
    }
    dense
}

/// Runs every case of `file` and returns how many there are.
fn check(file: &str, request: impl Fn(&Value, &Value) -> Value) -> usize {
    let golden = load(file);
    let cases = golden["cases"].as_array().unwrap();
    for (index, case) in cases.iter().enumerate() {
        let name = format!("{file}#{index} {} {}", case["params"], case["chain"]);
        let mut request = request(&golden, case);
        request["logits_f32_b64"] = case["logits_f32_b64"].clone();
        request["prev_tokens"] = case["prev_tokens"].clone();
        let answer = sample_dist(&request).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(answer.get("unsupported").is_none(), "{name}: unsupported");

        let want = expected(case);
        let mut got = vec![0.0; want.len()];
        for (id, p) in numbers(&answer["ids"])
            .into_iter()
            .zip(numbers(&answer["probs"]))
        {
            got[id as usize] = p;
        }
        for (id, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!(
                (got - want).abs() < 1e-5,
                "{name}: token {id} has {got}, want {want}"
            );
        }
        if let Some(kept) = case["kept"].as_u64() {
            assert_eq!(
                answer["ids"].as_array().unwrap().len() as u64,
                kept,
                "{name}"
            );
        } else {
            assert_eq!(answer["ids"], case["ids"], "{name}");
        }
    }
    cases.len()
}

#[test]
fn distributions_equal_hugging_faces() {
    let num_cases = check(
        "hf.json",
        |golden, case| json!({"params": case["params"], "order": golden["order"]}),
    );
    println!("hf.json: {num_cases} cases equal");
    assert!(num_cases >= 50);
}

#[test]
fn distributions_equal_llama_cpps() {
    let num_cases = check("llamacpp.json", |_, case| json!({"chain": case["chain"]}));
    println!("llamacpp.json: {num_cases} cases equal");
    assert!(num_cases >= 16);
}

#[test]
fn what_is_not_known_is_unsupported_and_not_ignored() {
    let zero = "AAAAAAAAAAA=";
    let unsupported = json!({"unsupported": true});
    for case in [
        json!({"logits_f32_b64": zero, "chain": [["mirostat", 1]]}),
        json!({"logits_f32_b64": zero, "params": {"dry": 1}}),
        json!({"logits_f32_b64": zero, "params": {"top_k": 1}, "order": ["top_p"]}),
        json!({"logits_f32_b64": zero, "params": {"dry": 1}, "order": ["dry"]}),
    ] {
        assert_eq!(sample_dist(&case).unwrap(), unsupported, "{case}");
    }
}

#[test]
fn malformed_cases_are_errors() {
    for case in [
        json!({}),
        json!([]),
        json!({"logits_f32_b64": "A"}),
        json!({"logits_f32_b64": "AAAA"}),
        json!({"logits_f32_b64": ""}),
        json!({"logits_f32_b64": "AADAfw=="}),
        json!({"logits_f32_b64": "AAAAAAAAAAA=", "chain": [[]]}),
        json!({"logits_f32_b64": "AAAAAAAAAAA=", "chain": [["top_k"]]}),
        json!({"logits_f32_b64": "AAAAAAAAAAA=", "chain": [["top_k", "x"]]}),
        json!({"logits_f32_b64": "AAAAAAAAAAA=", "chain": [["penalties", 1]]}),
        json!({"logits_f32_b64": "AAAAAAAAAAA=", "params": {"logit_bias": {"x": 1}}}),
        json!({
            "logits_f32_b64": "AAAAAAAAAAA=",
            "prev_tokens": [2],
            "params": {"repetition_penalty": 2},
        }),
        json!({"logits_f32_b64": "AAAAAAAAAAA=", "prev_tokens": [0, 1],
               "params": {"no_repeat_ngram": 1}}),
    ] {
        assert!(sample_dist(&case).is_err(), "{case}");
    }
}

#[test]
fn extreme_arguments_leave_a_distribution() {
    let two = "AAAAAAAAgD8="; // 0 and 1
    for chain in [
        json!([["top_k", -1]]),
        json!([["top_p", -3.0]]),
        json!([["top_p", 1e30], ["min_p", 7.0], ["typical", -1.0]]),
        json!([
            ["temp", 1e-44],
            ["temp", 1e-44],
            ["temp", 1e-44],
            ["temp", 1e-44],
            ["temp", 1e-44],
            ["temp", 1e-44],
            ["temp", 1e-44],
            ["temp", 1e-44]
        ]),
        json!([["temp", 1e39]]),
        json!([["temp", -1]]),
    ] {
        let case = json!({"logits_f32_b64": two, "chain": chain});
        let answer = sample_dist(&case).unwrap();
        let total: f64 = numbers(&answer["probs"]).iter().sum();
        assert!((total - 1.0).abs() < 1e-12, "{case} {answer}");
    }
}

#[test]
fn a_nucleus_of_two_equals_is_both() {
    // The logits 0, 0 and -1000.
    let case = json!({"logits_f32_b64": "AAAAAAAAAAAAAHrE", "chain": [["top_p", 0.9]]});
    let answer = sample_dist(&case).expect("a good case");
    assert_eq!(answer, json!({"ids": [0, 1], "probs": [0.5, 0.5]}));
}
