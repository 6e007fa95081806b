//! `--lora` and `--lora-modules`, on golden models and adapters.

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden(path: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    golden.join(path)
}

fn adapter(name: &str) -> String {
    golden("lora/tinyllama").join(name).display().to_string()
}

fn choral(command: &str) -> Command {
    let mut choral = Command::cargo_bin("choral").expect("the binary");
    choral
        .timeout(std::time::Duration::from_mins(5))
        .arg(command);
    choral
}

/// A command that runs the golden model, greedily.
fn on_model(command: &str) -> Command {
    let mut choral = choral(command);
    choral.arg("-m").arg(golden("models/tinyllama/hf")).args([
        "--temp",
        "0",
        "-n",
        "12",
        "--ignore-eos",
        "-q",
    ]);
    choral
}

fn stdout(command: &mut Command) -> String {
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("UTF-8")
}

fn stderr_of_failure(command: &mut Command) -> String {
    let output = command.assert().failure().get_output().stderr.clone();
    String::from_utf8(output).expect("UTF-8")
}

/// The tokens that `generate` gives with these options.
fn generate(options: &[&str]) -> Value {
    let mut command = on_model("generate");
    command.args(["-np", "1", "--json", "-p", "once upon a time"]);
    let output = stdout(command.args(options));
    let output: Value = serde_json::from_str(&output).expect("JSON");
    output["outputs"][0]["token_ids"].clone()
}

#[test]
fn generate_runs_with_the_adapters_that_it_is_given() {
    let (peft, gguf) = (adapter("attention"), adapter("attention.gguf"));
    let (base, with) = (generate(&[]), generate(&["--lora", &peft]));
    assert_ne!(base, with);
    assert_eq!(with, generate(&["--lora", &gguf]));
    assert_eq!(with, generate(&["-lora", &format!("x={gguf}:1.0")]));
    assert_eq!(base, generate(&["--lora-scaled", &format!("{gguf}:0")]));
    let twice = generate(&["--lora", &format!("{gguf}:2")]);
    assert_ne!(with, twice);
    // The same again under another name adds up.
    let both = format!("{peft},other={gguf}");
    assert_ne!(base, generate(&["--lora", &both]));
}

#[test]
fn rows_of_a_batch_choose_their_adapters() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    let rows = [
        r#"{"prompt": "once upon a time"}"#,
        r#"{"prompt": "once upon a time", "lora": []}"#,
        r#"{"prompt": "once upon a time", "lora": "named"}"#,
        r#"{"prompt": "once upon a time", "model": "named"}"#,
        r#"{"prompt": "once upon a time", "lora": [{"id": 0, "scale": 0.5}]}"#,
        r#"{"prompt": "once upon a time", "lora": "nowhere"}"#,
    ];
    std::fs::write(&input, rows.join("\n")).expect("written");
    let mut command = on_model("batch");
    command
        .arg("-i")
        .arg(&input)
        .arg("-o")
        .arg(&output)
        .args(["--lora", &format!("{}:0.5", adapter("attention"))])
        .args(["--lora-modules", &format!("named={}", adapter("patterns"))]);
    command.assert().code(3);
    let answers = std::fs::read_to_string(&output).expect("answers");
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let tokens = |row: usize| &answers[row]["outputs"][0]["token_ids"];
    let half = format!("{}:0.5", adapter("attention"));
    assert_eq!(tokens(0), &generate(&["--lora", &half]));
    assert_eq!(tokens(1), &generate(&[]));
    assert_eq!(tokens(2), &generate(&["--lora", &adapter("patterns")]));
    assert_eq!(tokens(2), tokens(3));
    assert_eq!(tokens(0), tokens(4));
    let distinct = [tokens(0), tokens(1), tokens(2)];
    assert!(distinct[0] != distinct[1] && distinct[1] != distinct[2]);
    let error = &answers[5]["error"];
    assert_eq!(error["field"], "lora");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("attention, named"), "{message}");
}

#[test]
fn an_adapter_that_does_not_fit_is_an_error_of_the_command() {
    let mut command = choral("generate");
    let error = stderr_of_failure(command.args(["--lora", &adapter("attention")]));
    assert!(error.contains("lora_"), "{error}");
    let mut command = on_model("chat");
    let error = stderr_of_failure(command.args(["--lora", "nowhere"]));
    assert!(error.contains("no adapter at `nowhere`"), "{error}");
}

#[test]
fn inspect_says_that_an_adapter_is_one() {
    for (path, format) in [
        ("attention", "adapter in a folder of PEFT's"),
        ("attention.gguf", "adapter in GGUF version 3"),
    ] {
        let text = stdout(choral("inspect").arg(adapter(path)));
        assert!(text.contains(format), "{text}");
        assert!(text.contains("run a model with it (--lora)"), "{text}");
        assert!(
            text.contains("lora_alpha") || text.contains("adapter.lora.alpha"),
            "{text}"
        );
    }
}
