//! `generate`, `batch` and `chat` on the model that ships.

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

fn choral() -> Command {
    let mut command = Command::cargo_bin("choral").expect("the binary");
    command
        .env_remove("CHORAL_SEED")
        .timeout(std::time::Duration::from_mins(5));
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("UTF-8")
}

/// The texts under `Sequence i:`.
fn sequences(output: &str) -> Vec<String> {
    let (texts, _) = output
        .split_once("Performance Statistics:")
        .expect("statistics");
    let mut sequences: Vec<String> = Vec::new();
    for line in texts.lines() {
        if line.starts_with("Sequence ") && line.ends_with(':') {
            sequences.push(String::new());
        } else if let Some(last) = sequences.last_mut() {
            last.push_str(line);
        }
    }
    sequences
}

#[test]
fn the_batched_example_runs_as_written_and_its_seed_holds() {
    let run = || {
        stdout(choral().args([
            "generate",
            "-prompt",
            "Hello my name is",
            "-n-parallel",
            "4",
            "-n-predict",
            "32",
            "-temperature",
            "0.8",
            "-top-k",
            "40",
            "-top-p",
            "0.9",
            "-s",
            "42",
        ]))
    };
    let first = sequences(&run());
    assert_eq!(first.len(), 4);
    for (i, text) in first.iter().enumerate() {
        assert!(text.starts_with("Hello my name is"), "{text}");
        assert!(
            !first[..i].contains(text),
            "sequence {i} is not new: {text}"
        );
    }
    assert_eq!(sequences(&run()), first);
}

#[test]
fn every_command_line_of_the_example_documents_is_accepted() {
    for words in [
        &["-prompt", "The future of AI is", "-n-parallel", "4"][..],
        &[
            "-prompt",
            "Once upon a time",
            "-n-parallel",
            "2",
            "-n-predict",
            "64",
        ],
        &[
            "-prompt",
            "// Function to calculate",
            "-n-parallel",
            "3",
            "-temperature",
            "0.3",
        ],
        &[
            "-prompt",
            "Innovation means",
            "-temperature",
            "1.2",
            "-n-parallel",
            "4",
        ],
        &[
            "-prompt",
            "The solution is",
            "-top-k",
            "10",
            "-top-p",
            "0.8",
            "-n-parallel",
            "3",
        ],
        &[
            "-prompt",
            "Machine learning",
            "-verbose",
            "-n-parallel",
            "2",
            "-n-predict",
            "20",
        ],
        &[
            "-prompt",
            "Hi",
            "-ctx",
            "512",
            "-threads",
            "2",
            "-n-predict",
            "4",
        ],
    ] {
        let output = stdout(choral().arg("generate").args(words));
        assert!(output.contains("Parallel sequences:"), "{words:?}");
    }
}

#[test]
fn json_has_tokens_logprobs_seeds_and_finish_reasons() {
    let output = stdout(choral().args([
        "generate",
        "-p",
        "Once upon a time",
        "-np",
        "2",
        "-n",
        "5",
        "-s",
        "3",
        "--logprobs",
        "2",
        "--json",
    ]));
    let result: Value = serde_json::from_str(&output).expect("one JSON object");
    let outputs = result["outputs"].as_array().expect("outputs");
    assert_eq!(outputs.len(), 2);
    for output in outputs {
        assert_eq!(output["token_ids"].as_array().expect("ids").len(), 5);
        assert_eq!(output["logprobs"].as_array().expect("logprobs").len(), 5);
        assert_eq!(output["finish_reason"], "length");
        assert!(output["seed"].is_u64());
    }
    assert_eq!(result["usage"]["completion_tokens"], 10);
}

fn batch(folder: &Path, name: &str, input: &str, extra: &[&str]) -> (i32, Vec<Value>) {
    let (from, to) = (folder.join(name), folder.join(format!("{name}.out")));
    std::fs::write(&from, input).expect("a file");
    let output = choral()
        .args(["batch", "-n", "8", "-s", "5", "-q", "-i"])
        .arg(&from)
        .arg("-o")
        .arg(&to)
        .args(extra)
        .output()
        .expect("runs");
    let answers = std::fs::read_to_string(&to).unwrap_or_default();
    let rows = answers
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    (output.status.code().expect("an exit code"), rows)
}

#[test]
fn answers_come_in_the_order_of_the_prompts_whatever_the_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let prompts: Vec<String> = (0..300)
        .map(|i| format!("{} {i}", "word ".repeat(1 + i * 7 % 60)))
        .collect();
    let prompts = prompts.join("\n");
    let (code, rows) = batch(folder.path(), "plenty.txt", &prompts, &[]);
    assert_eq!((code, rows.len()), (0, 300));
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["row"], i);
        assert!(row["error"].is_null());
    }
    let (code, scarce) = batch(
        folder.path(),
        "scarce.txt",
        &prompts,
        &["--kv-memory", "1M"],
    );
    assert_eq!(code, 0);
    assert_eq!(scarce, rows);
}

#[test]
fn a_bad_row_is_an_error_of_its_own_and_the_job_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = [
        json!({"custom_id": "a", "prompt": "Once", "temperature": 0}).to_string(),
        "{not json".to_owned(),
        json!({"custom_id": "c", "prompt": "Once", "temperature": -3}).to_string(),
        json!({"custom_id": "d", "prompt": "Once", "tempo": 3}).to_string(),
        json!({"custom_id": "e", "messages": [{"role": "user", "content": "Who are you?"}]})
            .to_string(),
    ]
    .join("\n");
    let (code, rows) = batch(folder.path(), "rows.jsonl", &input, &[]);
    assert_eq!((code, rows.len()), (3, 5));
    for (row, line, field) in [
        (1, 2, None),
        (2, 3, Some("temperature")),
        (3, 4, Some("tempo")),
    ] {
        let error = &rows[row]["error"];
        assert_eq!(error["line"], line, "{error}");
        if let Some(field) = field {
            assert_eq!(error["field"], field, "{error}");
        }
        assert_eq!(rows[row]["outputs"], json!([]));
    }
    for row in [0, 4] {
        assert!(rows[row]["error"].is_null(), "{}", rows[row]);
        assert!(
            !rows[row]["outputs"][0]["token_ids"]
                .as_array()
                .expect("ids")
                .is_empty()
        );
    }
}

#[test]
fn content_in_parts_is_what_its_text_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = |content: Value| {
        json!({"messages": [{"role": "user", "content": content}], "seed": 1}).to_string()
    };
    let parts = json!([{"type": "text", "text": "Who"}, {"type": "text", "text": "are you?"}]);
    let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
    let audio = json!([{"type": "input_audio", "input_audio": {}}]);
    let rows = [
        row(json!("Who\nare you?")),
        row(parts),
        row(image),
        row(audio),
    ];
    let input = rows.join("\n");
    let (code, rows) = batch(folder.path(), "parts.jsonl", &input, &[]);
    assert_eq!((code, rows.len()), (3, 4));
    assert!(rows[0]["error"].is_null());
    assert_eq!(rows[1]["outputs"], rows[0]["outputs"]);
    assert_eq!(rows[1]["usage"], rows[0]["usage"]);
    for (row, code, said) in [
        (2, "invalid_image", "the model has no image encoder"),
        (3, "template", "input_audio"),
    ] {
        let error = &rows[row]["error"];
        assert_eq!(error["code"], code);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_guessed_format_is_told() {
    let run = |input: &str, more: &[&str]| {
        let args = ["batch", "-i", "-", "-n", "2"];
        let output = choral().args(args).args(more).write_stdin(input).output();
        let output = output.expect("runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, _, told) = run("Once\n", &[]);
    assert_eq!(code, Some(0));
    assert!(told.contains("read as a prompt (--input-format)"), "{told}");
    let (code, answers, told) = run("{not json\n", &[]);
    assert_eq!(code, Some(3));
    assert!(told.contains("read as JSON (--input-format)"), "{told}");
    assert!(answers.contains("say --input-format txt"), "{answers}");
    let (_, answers, told) = run("{not json\n", &["--input-format", "jsonl", "-q"]);
    assert!(!told.contains("--input-format") && !answers.contains("--input-format"));
    let (code, answers, told) = run("[{\"prompt\": \"x\"}]", &[]);
    assert_eq!((code, answers.as_str()), (Some(1), ""));
    assert!(told.contains("jq -c"), "{told}");
}

#[test]
fn an_output_that_exists_is_not_overwritten_unasked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, _) = batch(folder.path(), "p.txt", "Once\n", &[]);
    assert_eq!(code, 0);
    let (code, rows) = batch(folder.path(), "p.txt", "Other\nprompts\n", &[]);
    assert_eq!((code, rows.len()), (1, 1));
    let (code, rows) = batch(folder.path(), "p.txt", "Other\nprompts\n", &["--overwrite"]);
    assert_eq!((code, rows.len()), (0, 2));
}

#[test]
fn batch_reads_standard_input_and_writes_standard_output() {
    let output = stdout(
        choral()
            .args(["batch", "-i", "-", "-o", "-", "-n", "4", "-q"])
            .write_stdin("One\nTwo\n"),
    );
    assert_eq!(output.lines().count(), 2);
}

#[test]
fn chat_answers_each_line_and_obeys_commands() {
    let output = stdout(
        choral()
            .args(["chat", "-q", "-n", "12", "-s", "1"])
            .write_stdin("/set temp 0\nWho are you?\n/show\n/exit\nnot reached\n"),
    );
    assert!(output.contains("choral"), "{output}");
    assert!(output.contains("2 messages so far"), "{output}");
}

#[test]
fn wrong_usage_is_exit_code_2_and_a_bad_model_1() {
    choral()
        .args(["generate", "--no-such-option"])
        .assert()
        .code(2);
    choral()
        .args(["generate", "-p", "x", "--temp", "cold"])
        .assert()
        .code(2);
    choral()
        .args(["generate", "-p", "x", "-m", "/no/such/model.gguf"])
        .assert()
        .code(1)
        .stderr(predicate::str::contains("/no/such/model.gguf"));
}

#[test]
fn help_names_every_command() {
    let help = stdout(choral().arg("--help"));
    for command in [
        "generate",
        "batch",
        "chat",
        "tokenize",
        "detokenize",
        "template",
        "score",
        "inspect",
        "plan",
        "bench",
        "debug",
    ] {
        assert!(help.contains(command), "{command}");
    }
}
