//! `choral compare` from outside, on the model that ships.

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

fn choral(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("choral").expect("built");
    command.args(words);
    command
}

fn compare(words: &[&str]) -> Assert {
    let mut command = choral(&["compare", "-s", "42", "-n", "6", "-t", "1"]);
    command.args(words).assert()
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("written");
    let parse = |line: &str| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

#[test]
fn a_cell_answers_as_generate_would_with_its_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.jsonl");
    let path = file.to_str().expect("UTF-8");
    let grid = [
        "-p",
        "The little fox",
        "-np",
        "2",
        "--vary",
        "temp=0.2,1.2",
        "--vary",
        "top-k=3,40",
    ];
    compare(&[&grid[..], &["-o", path, "-q"]].concat()).success();
    let cells = lines(&file);
    assert_eq!(cells.len(), 4);
    for cell in &cells {
        let [temp, top_k] = ["temp", "top-k"].map(|name| cell["settings"][name].to_string());
        let words = [
            "generate", "--json", "-s", "42", "-n", "6", "-np", "2", "-t", "1",
        ];
        let settings = ["-p", "The little fox", "--temp", &temp, "--top-k", &top_k];
        let output = choral(&[&words[..], &settings].concat())
            .output()
            .expect("runs");
        let alone: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            cell["answers"][0]["outputs"], alone["outputs"],
            "{temp} {top_k}"
        );
        assert_eq!(cell["figures"]["answers"], 2);
        assert!(cell["figures"]["perplexity"].as_f64().expect("a number") >= 1.0);
        assert!(cell.get("times").is_none());
    }
}

#[test]
fn files_are_the_same_for_the_same_seed_and_have_times_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.jsonl", "a.csv", "a.html"] {
        let file = folder.path().join(name);
        let path = file.to_str().expect("UTF-8");
        let mut texts = Vec::new();
        for words in [&[][..], &["--overwrite"], &["--overwrite", "--timings"]] {
            compare(&[&["--vary", "temp=0,1", "-q", "-o", path], words].concat()).success();
            texts.push(std::fs::read_to_string(&file).expect("written"));
        }
        assert_eq!(texts[0], texts[1], "{name}");
        assert!(
            texts[2].contains("seconds") && !texts[0].contains("seconds"),
            "{name}"
        );
        compare(&["-q", "-o", path])
            .code(1)
            .stderr(predicate::str::contains("--overwrite"));
    }
}

#[test]
fn errors_of_a_cell_do_not_lose_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.csv");
    let path = file.to_str().expect("UTF-8");
    // Six tokens, of which nine are wanted.
    let words = ["--vary", "min-tokens=0,9", "-o", path];
    let result = compare(&words).code(3);
    let text = stdout(&result);
    assert!(
        text.contains("[min-tokens 0]\n") && text.contains("(error: `min_tokens` is 9"),
        "{text}"
    );
    let mut reader = csv::Reader::from_path(&file).expect("written");
    let heads = reader.headers().expect("heads").clone();
    let at = |name: &str| heads.iter().position(|head| head == name).expect(name);
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.expect("CSV")).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(&rows[0][at("tokens")], "6");
    assert_eq!((&rows[0][at("error")], &rows[1][at("text")]), ("", ""));
    assert!(rows[1][at("error")].starts_with("`min_tokens` is 9"));
}

#[test]
fn a_model_that_is_not_there_does_not_lose_the_others() {
    let text = {
        let result = compare(&[
            "-m",
            "nowhere/at/all.gguf",
            "-m",
            "../../models/choral-demo-q8_0.gguf",
        ]);
        let result = result
            .code(3)
            .stderr(predicate::str::contains("no model at"));
        stdout(&result)
    };
    assert!(text.contains("[nowhere/at/all.gguf]"), "{text}");
    assert!(
        text.contains("| ../../models/choral-demo-q8_0.gguf |       1 |"),
        "{text}"
    );
    compare(&["-m", "nowhere/at/all.gguf"]).code(1);
}

#[test]
fn prompts_come_from_rows_and_vary_comes_before_what_they_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, file) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    let rows = [
        json!({"custom_id": "a", "prompt": "Once", "temperature": 0.3, "max_tokens": 2}),
        json!({"custom_id": "b", "messages": [{"role": "user", "content": "Who are you?"}]}),
        json!({"custom_id": "c", "prompt": "Once", "temprature": 0.3}),
    ];
    std::fs::write(&input, rows.map(|row| row.to_string()).join("\n")).expect("written");
    let [path, out] = [&input, &file].map(|path| path.to_str().expect("UTF-8"));
    compare(&[
        "-i",
        path,
        "--vary",
        "max_tokens=1,3",
        "-o",
        out,
        "-q",
        "--ignore-eos",
    ])
    .code(3);
    let cells = lines(&file);
    for (cell, tokens) in cells.iter().zip([1, 3]) {
        let ids: Vec<&Value> = cell["answers"]
            .as_array()
            .expect("answers")
            .iter()
            .map(|a| &a["custom_id"])
            .collect();
        assert_eq!(ids, ["a", "b", "c"]);
        for answer in 0..2 {
            let outputs = &cell["answers"][answer]["outputs"];
            assert_eq!(
                outputs[0]["token_ids"].as_array().map(Vec::len),
                Some(tokens)
            );
        }
        assert_eq!(cell["answers"][2]["error"]["code"], "unknown_parameter");
    }
}

#[test]
fn without_a_terminal_there_are_no_colours() {
    let text = stdout(&compare(&["-p", "One", "-p", "Two", "--vary", "temp=0,1"]).success());
    assert!(!text.contains('\u{1b}'));
    assert!(text.starts_with("Prompt 0: One\n\n[temp 0]\n"), "{text}");
    assert!(text.contains("\nPrompt 1: Two\n\n[temp 0]\n") && text.ends_with("\nseed 42\n"));
    let table = text.lines().filter(|line| line.starts_with("| temp "));
    assert_eq!(table.count(), 2);
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    for words in [
        &["--vary", "temp"][..],
        &["--vary", "temp=warm"],
        &["--vary", "speed=1"],
        &["--vary", "temp=1", "--vary", "temperature=2"],
        &["-o", "out.pdf"],
        &["-p", "a", "-f", "b"],
        &["--timings"],
        &["--system", "x"],
        &["-hf", "a/b", "-m", "c"],
    ] {
        compare(words).code(2);
    }
}
