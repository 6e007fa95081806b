//! `choral quantize` as a process: plans, files, error reports and refusals.

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/models/qwen2/hf");

fn quantize(output: &Path, words: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("choral"));
    command.args(["quantize", FOLDER]).arg(output).args(words);
    command.timeout(std::time::Duration::from_mins(5)).assert()
}

fn json(assert: assert_cmd::assert::Assert) -> Value {
    let output = assert.success().get_output().stdout.clone();
    serde_json::from_slice(&output).expect("one JSON object")
}

fn embedding(plan: &Value) -> &Value {
    let tensors = plan["tensors"].as_array().expect("tensors");
    let found = tensors.iter().find(|t| t["name"] == "token_embd.weight");
    found.expect("an embedding")
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("q.gguf");
    let words = ["--type", "Q4_K_M", "--dry-run"];
    let plan = json(quantize(&path, &[&words[..], &["--json"]].concat()));
    assert!(!path.exists());
    let embedding = embedding(&plan);
    // Tied, and rows of 64: the output's type, and its stand-in.
    assert_eq!(embedding["from"], "BF16");
    assert_eq!(embedding["to"], "Q8_0");
    assert_eq!(embedding["shape"], serde_json::json!([768, 64]));
    assert_eq!(embedding["bytes"], 768 * 64 / 32 * 34);

    let shown = quantize(&path, &words).success();
    shown.stdout(
        predicate::str::contains("BF16 -> Q5_0").and(predicate::str::contains("(not written)")),
    );
    let words = [
        "--type",
        "Q4_0",
        "--token-embedding-type",
        "f16",
        "--dry-run",
        "--json",
    ];
    let plan = json(quantize(&path, &words));
    assert_eq!(self::embedding(&plan)["to"], "F16");
}

#[test]
fn the_error_report_compares_with_the_source() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("q.gguf");
    let text = folder.path().join("text.txt");
    std::fs::write(&text, "The sky is blue, and so is the sea. ".repeat(3)).expect("writes");
    let text = text.to_str().expect("UTF-8");
    let words = ["--type", "Q8_0", "--test-text", text, "--json", "-t", "2"];
    let report = json(quantize(&path, &words));
    let error = &report["error"];
    let number = |key: &str| error[key].as_f64().expect(key);
    assert!(
        number("tokens") > 10.0 && number("same_top") > 0.8,
        "{error}"
    );
    assert!(
        number("mean_kl") > 0.0 && number("mean_kl") < 0.05,
        "{error}"
    );
    let ratio = number("result_perplexity") / number("source_perplexity");
    assert!((ratio - 1.0).abs() < 0.1, "{error}");

    let again = quantize(&path, &["--type", "Q8_0"]).code(1);
    again.stderr(predicate::str::contains("exists: --overwrite"));
    quantize(&path, &["--type", "Q8_0", "--overwrite"]).success();
}

#[test]
fn wrong_words_are_answered_with_the_right_ones() {
    let path = Path::new("unused.gguf");
    let unknown = quantize(path, &["--type", "Q9"]).code(2);
    unknown.stderr(
        predicate::str::contains("unknown type `Q9`").and(predicate::str::contains("Q4_K_M")),
    );
    let unknown = quantize(path, &["--type", "Q8_0", "--output-tensor-type", "IQ1_S"]).code(2);
    unknown.stderr(predicate::str::contains("unknown type `IQ1_S`"));
    let missing = quantize(path, &["--type", "Q8_0", "--test-text", "/no/such/file"]).code(1);
    missing.stderr(predicate::str::contains("/no/such/file"));
}
