//! What `choral batch` makes of its input: which lines are errors, how they are told, and
//! that a dry run tells the same.

use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with an input and the name of an output.
struct Files {
    folder: tempfile::TempDir,
    input: PathBuf,
    output: PathBuf,
}

impl Files {
    fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join(name);
        fs::write(&input, text).expect("writable");
        let output = folder.path().join("answers.jsonl");
        Self {
            folder,
            input,
            output,
        }
    }

    fn run(&self, more: &[&str]) -> Told {
        run(&[&self.input], &self.output, more)
    }

    fn answers(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        lines(&text)
    }
}

struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn batch(inputs: &[&Path], output: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_choral"));
    command.args(["batch", "-i"]).args(inputs);
    command.arg("-o").arg(output).args(more);
    command
}

fn run<P: AsRef<Path>>(inputs: &[P], output: &Path, more: &[&str]) -> Told {
    let inputs: Vec<&Path> = inputs.iter().map(AsRef::as_ref).collect();
    told(batch(&inputs, output, more).output().expect("runs"))
}

fn told(output: Output) -> Told {
    let text = |bytes| String::from_utf8(bytes).expect("messages are text");
    Told {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn request(id: &str, url: &str, body: &Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string() + "\n"
}

const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

#[test]
fn a_dry_run_counts_the_tokens_and_the_errors_of_the_run() {
    let rows = [
        json!({"prompt": "Once upon a time"}),
        json!({"prompt": ""}),
        json!({"prompt": []}),
        json!({"prompt": [99_999_999]}),
        json!({"prompt": "x", "temperature": -1}),
        json!({"prompt": "word ".repeat(5000)}),
        json!({"prompt": "x", "min_tokens": 100_000, "max_tokens": 100_000}),
        json!({"prompt": "A tale", "n": 2, "max_tokens": 3}),
    ];
    let text = rows.map(|row| row.to_string()).join("\n");
    let files = Files::new("rows.jsonl", text);
    let dry = files.run(&["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(!files.output.exists());
    let wet = files.run(&["-s", "1"]);
    assert_eq!(wet.code, Some(3), "{}", wet.stderr);
    let answers = files.answers();
    let errors: Vec<&Value> = answers.iter().map(|answer| &answer["error"]).collect();
    let failed: Vec<_> = errors.iter().filter(|error| !error.is_null()).collect();
    assert_eq!(failed.len(), 6);
    let count = format!("Rows:           8 ({} would be in error)", failed.len());
    assert!(dry.stdout.contains(&count), "{}", dry.stdout);
    for error in failed.iter().take(5) {
        let text = |name: &str| error[name].as_str().expect("text");
        let line = format!(
            "line {}: {} ({}, `{}`)",
            error["line"],
            text("message"),
            text("code"),
            text("field")
        );
        assert!(dry.stdout.contains(&line), "{line}: {}", dry.stdout);
    }
    // The beginning of the text counts.
    let tokens = answers
        .iter()
        .map(|answer| &answer["usage"]["prompt_tokens"]);
    let tokens: u64 = tokens.map(|count| count.as_u64().expect("a count")).sum();
    let tokens = format!("Prompt tokens:  {tokens} (");
    assert!(dry.stdout.contains(&tokens), "{tokens}: {}", dry.stdout);
    assert!(dry.stdout.contains("measured on 2 rows"), "{}", dry.stdout);
}

#[test]
fn a_dry_run_of_refused_rows_alone_measures_nothing() {
    let files = Files::new(
        "rows.jsonl",
        "{\"prompt\": \"\"}\n{\"prompt\": [99999999]}\n",
    );
    let Told { code, stdout, .. } = files.run(&["--dry-run"]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("Rows:           2 (2 would"), "{stdout}");
    assert!(!stdout.contains("Time:"), "{stdout}");
}

#[test]
fn with_several_files_every_error_names_its_own() {
    let files = Files::new("a.jsonl", "{\"prompt\": \"Once\"}\n");
    let second = files.folder.path().join("b.jsonl");
    fs::write(&second, "{\"prompt\": [1]}\n{\"prompt\": \"\"}\n").expect("writable");
    let inputs = [&files.input, &second];
    let dry = run(&inputs, &files.output, &["--dry-run", "--chat"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    for line in ["b.jsonl, line 1: ", "b.jsonl, line 2: "] {
        assert!(dry.stdout.contains(line), "{}", dry.stdout);
    }
    let wet = run(&inputs, &files.output, &["-s", "1", "-n", "2", "--chat"]);
    assert_eq!(wet.code, Some(3), "{}", wet.stderr);
    for (answer, line) in files.answers()[1..].iter().zip([1, 2]) {
        let error = &answer["error"];
        let file = error["file"].as_str().expect("a file");
        assert!(file.ends_with("b.jsonl"), "{error}");
        assert_eq!(
            (&error["line"], &error["field"]),
            (&json!(line), &json!("prompt"))
        );
    }
}

#[test]
fn a_broken_line_of_an_open_ai_file_is_answered_in_its_shape() {
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    let mut text = request("a", CHAT, &body).into_bytes();
    text.extend(b"{broken\n\"\xff\"\n[1]\n");
    let files = Files::new("requests.jsonl", text);
    let Told { code, stderr, .. } = files.run(&["-s", "1"]);
    assert_eq!(code, Some(3), "{stderr}");
    let answers = files.answers();
    assert_eq!(answers.len(), 4);
    for (i, answer) in answers.iter().enumerate() {
        assert!(
            answer["error"].is_null() && answer["id"].is_string(),
            "{answer}"
        );
        let status = if i == 0 { 200 } else { 400 };
        assert_eq!(answer["response"]["status_code"], status, "{answer}");
    }
}

#[test]
fn a_fault_of_open_ai_s_row_is_one_of_the_body_wherever_it_is_found() {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let long = json!([{"role": "user", "content": "word ".repeat(5000)}]);
    let text = [
        request("a", CHAT, &json!({"messages": messages, "n": "x"})),
        request("b", CHAT, &json!({"messages": messages, "n": 0})),
        request("c", CHAT, &json!({"messages": "x"})),
        request("d", CHAT, &json!({"messages": long})),
        request("a", CHAT, &json!({"messages": messages})),
    ];
    let files = Files::new("requests.jsonl", text.concat());
    let Told { code, stderr, .. } = files.run(&["-s", "1"]);
    assert_eq!(code, Some(3), "{stderr}");
    let answers = files.answers();
    let fields = [
        "body.n",
        "body.n",
        "body.messages",
        "body.messages",
        "custom_id",
    ];
    for (answer, field) in answers.iter().zip(fields) {
        let error = &answer["response"]["body"]["error"];
        assert_eq!(error["param"], field, "{answer}");
    }
    // Whose name another row has keeps it, and has ids of its own.
    assert_eq!(answers[4]["custom_id"], "a");
    assert_ne!(answers[4]["id"], answers[0]["id"]);
}

#[test]
fn what_content_looked_like_is_told_once() {
    let files = Files::new("a", "{\"prompt\": \"Once\"}\n");
    let others = ["b", "c"].map(|name| files.folder.path().join(name));
    for other in &others {
        fs::copy(&files.input, other).expect("writable");
    }
    let inputs = [&files.input, &others[0], &others[1]];
    let Told { code, stderr, .. } = run(&inputs, &files.output, &["-s", "1", "-n", "2"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr.matches("(--input-format)").count(), 1, "{stderr}");
    assert!(
        stderr.contains("each line of 3 files, such as `"),
        "{stderr}"
    );
}

fn embedding(id: &str, input: &Value) -> String {
    request(id, EMBEDDINGS, &json!({"model": "m", "input": input}))
}

#[test]
fn requests_for_embeddings_are_known_however_they_are_written() {
    let body = json!({"input": "word ".repeat(4000), "model": "m"});
    let body = body.to_string();
    let sorted = format!(
        "{{\"body\":{body},\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/embeddings\"}}\n"
    );
    let escaped = format!(
        "\n{{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"\\/v1\\/embeddings\",\"body\":{body}}}\n"
    );
    for text in [sorted, escaped] {
        let files = Files::new("requests.jsonl", &text);
        let told = files.run(&["--served-model-name", "m"]);
        // It is too long for the model, and says so in OpenAI's shape.
        assert_eq!(told.code, Some(3), "{}", told.stderr);
        let error = &files.answers()[0]["response"]["body"]["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("too_long"), &json!("body.input"))
        );
        // A stream is read once, and nothing of it is lost.
        let mut child = batch(
            &[Path::new("-")],
            Path::new("-"),
            &["--any-model", "--quiet"],
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(text.as_bytes()).expect("writable");
        stdin
            .write_all(embedding("b", &json!("x")).as_bytes())
            .expect("writable");
        drop(stdin);
        let told = told_of(child);
        assert_eq!(told.code, Some(3), "{}", told.stderr);
        let answers = lines(&told.stdout);
        let ids: Vec<_> = answers.iter().map(|answer| &answer["custom_id"]).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(answers[1]["response"]["status_code"], 200);
        assert_eq!(answers[1]["response"]["body"]["model"], "m");
    }
}

fn told_of(child: std::process::Child) -> Told {
    told(child.wait_with_output().expect("ends"))
}

#[test]
fn embeddings_have_the_rules_of_other_rows() {
    let named = |model: &str| request("b", EMBEDDINGS, &json!({"model": model, "input": "x"}));
    let text = [
        embedding("a", &json!("one")),
        named("gpt-9"),
        "{broken\n".to_owned(),
        embedding("c", &json!("")),
        embedding("d", &json!(["three", "four"])),
        json!({"method": "POST", "url": EMBEDDINGS, "body": {"model": "m", "input": "x"}})
            .to_string(),
    ];
    let files = Files::new("requests.jsonl", text.concat());
    let told = files.run(&["--served-model-name", "m"]);
    assert_eq!(told.code, Some(3), "{}", told.stderr);
    assert!(told.stderr.contains("6 rows in "), "{}", told.stderr);
    let answers = files.answers();
    let status = |answer: &Value| answer["response"]["status_code"].as_u64();
    let found: Vec<_> = answers.iter().filter_map(status).collect();
    assert_eq!(found, [200, 404, 400, 400, 200, 400]);
    let param = |i: usize| &answers[i]["response"]["body"]["error"]["param"];
    assert_eq!(*param(1), "body.model");
    assert_eq!(*param(3), "body.input");
    assert_eq!(*param(5), "custom_id");
    // Ended early if told to.
    for (option, count) in [(&["--fail-fast"][..], 2), (&["--max-errors", "1"], 3)] {
        let served = ["--served-model-name", "m", "--overwrite"];
        let told = files.run(&[&served, option].concat());
        assert_eq!(told.code, Some(1), "{}", told.stderr);
        assert!(told.stderr.contains("ended because"), "{}", told.stderr);
        assert_eq!(files.answers().len(), count);
    }
    // And goes on from there.
    let told = files.run(&["--served-model-name", "m"]);
    assert_eq!(told.code, Some(3), "{}", told.stderr);
    assert_eq!(files.answers(), answers);
    // A dry run counts them.
    let told = files.run(&["--served-model-name", "m", "--dry-run"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    for part in [
        "Rows:           6 (4 would be in error)",
        "Answers:        3",
    ] {
        assert!(told.stdout.contains(part), "{}", told.stdout);
    }
}

#[test]
fn what_has_no_meaning_for_embeddings_is_refused_by_name() {
    let files = Files::new("requests.jsonl", embedding("a", &json!("one")));
    for (option, name) in [
        (&["-n", "3"][..], "--predict"),
        (&["--parallel", "2"], "--parallel"),
        (&["--chat"], "--chat"),
        (&["--temp", "1"], "--temp"),
        (&["--timings"], "--timings"),
        (&["--output-format", "csv"], "--output-format"),
    ] {
        let Told { code, stderr, .. } = files.run(option);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(name), "{name}: {stderr}");
        assert!(!files.output.exists());
    }
}
