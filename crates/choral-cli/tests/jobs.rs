//! Jobs that are killed, run out of disk, or are given what is no row: nothing that was
//! written is lost, and the end is that of a job that was left alone.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn batch(input: &Path, output: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_choral"));
    command.args(["batch", "-s", "11", "-n", "6", "-i"]);
    command.arg(input).arg("-o").arg(output).args(more);
    command
}

fn run(input: &Path, output: &Path, more: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = batch(input, output, more).output().expect("runs");
    (
        status.code(),
        String::from_utf8(stderr).expect("messages are text"),
    )
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Rows with and without ids, of several lengths, some of them wrong.
fn rows(count: usize) -> String {
    let rows = (0..count).map(|i| match i % 50 {
        7 => "{broken\n".to_owned(),
        13 => format!("{}\n", json!({"prompt": "x", "temperature": -1})),
        n => {
            let prompt = format!("{} number {i}", "once upon a time ".repeat(1 + n % 3));
            let mut row = json!({"prompt": prompt, "max_tokens": 1 + i % 11});
            if i % 2 == 0 {
                row["custom_id"] = json!(format!("row {i}"));
            }
            format!("{row}\n")
        }
    });
    rows.collect()
}

/// Numbers from nowhere in particular, but always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn kill(mut child: Child) -> String {
    // It may have ended by itself.
    let _ = child.kill();
    let output = child.wait_with_output().expect("ends");
    String::from_utf8(output.stderr).expect("messages are text")
}

/// How many answers a run found, as it says.
fn num_found(stderr: &str) -> Option<usize> {
    let line = stderr.lines().find(|line| line.contains("there already"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_job_that_is_killed_fifty_times_ends_like_one_that_is_not() {
    const KILLS: u64 = 50;
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    fs::write(&input, rows(2000)).expect("writable");
    let undisturbed = folder.path().join("undisturbed.jsonl");
    let started = Instant::now();
    let (code, stderr) = run(&input, &undisturbed, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    let whole = started.elapsed();
    assert_eq!(lines(&undisturbed).len(), 2000);

    let killed = folder.path().join("killed.jsonl");
    let mut random = Random(99);
    let mut num_kills = 0;
    let mut num_in_the_end = 0;
    while num_kills < KILLS {
        let before = fs::read(&killed).unwrap_or_default();
        let num_whole = before.split(|byte| *byte == b'\n').count() - 1;
        let mut child = batch(&input, &killed, &[])
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        // Most are killed somewhere, and some when they put the answers in order.
        let is_end = num_kills % 5 == 4 || num_whole > 1500;
        let patience = if is_end {
            whole * 4
        } else {
            whole.mul_f64(random.below(100) as f64 / 1000.0)
        };
        let started = Instant::now();
        while started.elapsed() < patience {
            let is_ending = ["journal.sorted", "journal.new"]
                .iter()
                .any(|suffix| beside(&killed, &format!(".{suffix}")).exists());
            if is_ending || child.try_wait().expect("a child").is_some() {
                num_in_the_end += u64::from(is_ending);
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let stderr = kill(child);
        num_kills += 1;
        match num_found(&stderr) {
            // Each whole line is kept, so that its row is not computed again; and more
            // lines than there were cannot be.
            Some(num_found) => assert_eq!(num_found, num_whole, "{stderr}"),
            // It was killed before it said so, or there was nothing to say.
            None => assert!(num_whole == 0 || stderr.is_empty(), "{stderr}"),
        }
        if num_whole == 2000 {
            // There is nothing left to kill: begin anew.
            for suffix in ["", ".journal", ".lock", ".journal.sorted", ".journal.new"] {
                let _ = fs::remove_file(beside(&killed, suffix));
            }
        }
    }
    assert!(num_in_the_end > 0, "none was killed while it ended");
    let (code, stderr) = run(&input, &killed, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(
        fs::read(&killed).expect("readable") == fs::read(&undisturbed).expect("readable"),
        "the files differ"
    );
    // And then there is nothing left to do.
    let (code, stderr) = run(&input, &killed, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("2000 of them done before"), "{stderr}");
}

#[test]
fn a_row_that_was_changed_is_the_only_one_that_is_computed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    let output = folder.path().join("answers.jsonl");
    let row = |id: &str, prompt: &str| format!("{}\n", json!({"custom_id": id, "prompt": prompt}));
    let text = row("a", "Once") + &row("b", "Twice") + &row("c", "Thrice");
    fs::write(&input, &text).expect("writable");
    assert_eq!(run(&input, &output, &[]).0, Some(0));
    let first = lines(&output);
    fs::write(&input, text.replace("Twice", "Two times")).expect("writable");
    let (code, stderr) = run(&input, &output, &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("is finished, and row 1"), "{stderr}");
    assert_eq!(lines(&output), first);
    let (code, stderr) = run(&input, &output, &["--resume"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("3 rows in") && stderr.contains("2 of them done before"),
        "{stderr}"
    );
    let second = lines(&output);
    assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
    assert_ne!(second[1], first[1]);
    // Other options make other answers.
    let (code, stderr) = run(&input, &output, &["--temp", "0"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(lines(&output), second);
    let (code, stderr) = run(&input, &output, &["--numeric", "f32"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("numeric was") && stderr.contains("--overwrite"),
        "{stderr}"
    );
}

#[test]
fn errors_end_a_job_early_if_told_to_and_are_tried_again_if_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    let good = "{\"prompt\": \"Once\"}\n";
    let bad = "{\"prompt\": \"Once\", \"top_p\": 7}\n";
    fs::write(&input, good.repeat(2) + &bad.repeat(3) + &good.repeat(200)).expect("writable");
    for (option, num_bad) in [(&["--fail-fast"][..], 1), (&["--max-errors", "2"], 3)] {
        let output = folder.path().join(format!("{num_bad}.jsonl"));
        let (code, stderr) = run(&input, &output, &[option, &["--no-reorder"]].concat());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("ended because"), "{stderr}");
        let answers = lines(&output);
        let is_bad = |answer: &&Value| !answer["error"].is_null();
        assert_eq!(answers.iter().filter(is_bad).count(), num_bad);
        // Running it again does not go on one error at a time.
        let (code, stderr) = run(&input, &output, option);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains(": 0 rows were answered by this run"),
            "{stderr}"
        );
        // Without the limit, the job goes on to its end.
        assert_eq!(run(&input, &output, &[]).0, Some(3));
        assert_eq!(lines(&output).len(), 205);
        let (code, stderr) = run(&input, &output, &["--retry-errors"]);
        assert_eq!(code, Some(3));
        assert!(stderr.contains("202 of them done before"), "{stderr}");
    }
}

#[test]
fn what_is_no_row_has_its_error_and_all_others_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    let good = |id: &str| {
        json!({"custom_id": id, "prompt": "Once"})
            .to_string()
            .into_bytes()
    };
    let long = "x".repeat(10 << 20);
    let cases: Vec<(Vec<u8>, &str, Value)> = vec![
        (
            b"{\"prompt\": \"Once\"".to_vec(),
            "invalid_json",
            json!(null),
        ),
        (
            b"{\"prompt\": \"Once\", \"tempo\": 1}".to_vec(),
            "unknown_parameter",
            json!("tempo"),
        ),
        (
            b"{\"prompt\": []}".to_vec(),
            "invalid_prompt",
            json!("prompt"),
        ),
        (
            json!({"prompt": long}).to_string().into_bytes(),
            "too_long",
            json!("prompt"),
        ),
        (
            b"{\"prompt\": \"a\xff\"}".to_vec(),
            "invalid_line",
            json!(null),
        ),
        (
            b"{\"prompt\": 7}".to_vec(),
            "invalid_prompt",
            json!("prompt"),
        ),
        (
            b"{\"prompt\": \"x\", \"n\": \"2\"}".to_vec(),
            "invalid_parameter",
            json!("n"),
        ),
        (
            b"{\"prompt\": \"x\", \"model\": \"gpt-9\"}".to_vec(),
            "unknown_model",
            json!("model"),
        ),
        (good("twice"), "duplicate_custom_id", json!("custom_id")),
    ];
    let mut bytes = good("twice");
    for (i, (case, ..)) in cases.iter().enumerate() {
        bytes.push(b'\n');
        bytes.extend(case);
        bytes.push(b'\n');
        bytes.extend(good(&format!("after {i}")));
    }
    fs::write(&input, bytes).expect("writable");
    let output = folder.path().join("answers.jsonl");
    let (code, stderr) = run(&input, &output, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    let answers = lines(&output);
    assert_eq!(answers.len(), 2 * cases.len() + 1);
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(answer["row"], i);
        if i % 2 == 0 {
            assert!(answer["error"].is_null(), "{answer}");
            assert_eq!(answer["outputs"].as_array().map(Vec::len), Some(1));
        } else {
            let (_, code, field) = &cases[i / 2];
            let error = &answer["error"];
            assert_eq!(error["line"], i + 1, "{answer}");
            assert_eq!(
                (&error["code"], &error["field"]),
                (&json!(code), field),
                "{error}"
            );
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|text| text.len() < 300)
            );
        }
    }
}

#[test]
fn several_files_are_one_job_and_errors_name_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("part-1.jsonl"),
        "{\"prompt\": \"Once\"}\n",
    )
    .expect("writable");
    fs::write(folder.path().join("part-2.jsonl"), "{oops\n").expect("writable");
    fs::write(folder.path().join("part-3.txt"), "Twice\n\nThrice\n").expect("writable");
    let output = folder.path().join("answers.jsonl");
    let (code, stderr) = run(&folder.path().join("part-*"), &output, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    let answers = lines(&output);
    assert_eq!(answers.len(), 4);
    let error = &answers[1]["error"];
    let file = error["file"].as_str().expect("a file");
    assert!(
        file.ends_with("part-2.jsonl") && error["line"] == 1,
        "{error}"
    );
    let (code, stderr) = run(&folder.path().join("none-*"), &output, &["--overwrite"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("none-*"), "{stderr}");
}

#[test]
fn a_second_job_on_one_output_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    fs::write(
        &input,
        "{\"prompt\": \"Once\", \"max_tokens\": 400, \"ignore_eos\": true}\n".repeat(64),
    )
    .expect("writable");
    let output = folder.path().join("answers.jsonl");
    let child = batch(&input, &output, &[])
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    while !beside(&output, ".journal").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (code, stderr) = run(&input, &output, &[]);
    kill(child);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("another job is writing to"), "{stderr}");
}

#[test]
fn a_job_that_runs_out_of_room_keeps_what_it_has_and_goes_on_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    fs::write(&input, rows(400)).expect("writable");
    let undisturbed = folder.path().join("undisturbed.jsonl");
    assert_eq!(run(&input, &undisturbed, &[]).0, Some(3));
    let size = fs::metadata(&undisturbed).expect("there").len();
    let output = folder.path().join("answers.jsonl");
    // A file that may not grow fails to be written as on a full disk. The limit, in
    // blocks of 512 bytes or of 1024, lies within the output.
    let limit = size / 1024 / 3;
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\""));
    shell.arg("sh").arg(env!("CARGO_BIN_EXE_choral"));
    shell.args(["batch", "-s", "11", "-n", "6", "-i"]);
    shell.arg(&input).arg("-o").arg(&output);
    let Output { status, stderr, .. } = shell.output().expect("runs");
    let stderr = String::from_utf8(stderr).expect("messages are text");
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("cannot write the output") && stderr.contains("the same command goes on"),
        "{stderr}"
    );
    let partial = fs::read(&output).expect("readable");
    assert!(!partial.is_empty() && partial.ends_with(b"\n"));
    let num_kept = lines(&output).len();
    let (code, stderr) = run(&input, &output, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    assert_eq!(num_found(&stderr), Some(num_kept), "{stderr}");
    assert!(fs::read(&output).expect("readable") == fs::read(&undisturbed).expect("readable"));
}

#[test]
fn shards_share_out_the_rows_and_merge_to_what_one_job_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    fs::write(&input, rows(120)).expect("writable");
    let whole = folder.path().join("whole.jsonl");
    assert_eq!(run(&input, &whole, &[]).0, Some(3));
    let part = |i: usize| folder.path().join(format!("part-{i}.jsonl"));
    for i in 0..3 {
        let (code, stderr) = run(&input, &part(i), &["--shard", &format!("{i}/3")]);
        assert!(matches!(code, Some(0 | 3)), "{stderr}");
        let count = lines(&part(i)).len();
        assert!((20..60).contains(&count), "{count} of 120 rows");
    }
    let merged = folder.path().join("merged.jsonl");
    let merge = |parts: &[PathBuf]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_choral"));
        let output = command
            .arg("merge")
            .args(parts)
            .arg("-o")
            .arg(&merged)
            .output();
        let output = output.expect("runs");
        (
            output.status.code(),
            String::from_utf8(output.stderr).expect("messages are text"),
        )
    };
    let (code, stderr) = merge(&[part(0), part(2)]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("shard 1/3 is in none"), "{stderr}");
    assert!(!merged.exists());
    let (code, stderr) = merge(&[part(0), part(1), part(0)]);
    assert_eq!(code, Some(1), "{stderr}");
    // A journal that lacks its end, and a part of another input.
    let journal = beside(&part(1), ".journal");
    let whole_journal = fs::read(&journal).expect("readable");
    fs::write(&journal, &whole_journal[..whole_journal.len() - 280]).expect("writable");
    let (code, stderr) = merge(&[part(0), part(1), part(2)]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("before its end"), "{stderr}");
    fs::write(&journal, whole_journal).expect("writable");
    let shorter = folder.path().join("shorter.jsonl");
    fs::write(&shorter, rows(100)).expect("writable");
    let other = folder.path().join("other-1.jsonl");
    assert_eq!(run(&shorter, &other, &["--shard", "1/3"]).0, Some(3));
    let (code, stderr) = merge(&[part(0), other, part(2)]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("120 and 100 rows"), "{stderr}");
    assert!(!merged.exists());
    let (code, stderr) = merge(&[folder.path().join("part-*")]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(fs::read(&merged).expect("readable") == fs::read(&whole).expect("readable"));
    let (code, stderr) = run(&input, &part(0), &["--shard", "3/3"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("expected I/N with I from 0 to N - 1"),
        "{stderr}"
    );
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    fs::write(
        &input,
        "{\"prompt\": [1, 2, 3], \"max_tokens\": 5}\n{\"prompt\": [1], \"n\": 2, \"max_tokens\": 7}\n{\n",
    )
    .expect("writable");
    let output = folder.path().join("answers.jsonl");
    let Output { status, stdout, .. } = batch(&input, &output, &["--dry-run"])
        .output()
        .expect("runs");
    let told = String::from_utf8(stdout).expect("text");
    assert_eq!(status.code(), Some(0), "{told}");
    for part in [
        "Rows:           3 (1 would be in error)",
        "line 3: ",
        "Answers:        3",
        "Prompt tokens:  4 (2.0 a row, 3 at most)",
        "New tokens:     at most 19",
        "Time:           at most ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!output.exists() && !beside(&output, ".journal").exists());
}

#[test]
fn a_file_of_open_ai_s_is_answered_in_its_format() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("requests.jsonl");
    let request = |id: &str, url: &str, body: Value| {
        json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string() + "\n"
    };
    let chat = "/v1/chat/completions";
    let messages = json!([
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello world!"},
    ]);
    let text = [
        request(
            "request-1",
            chat,
            json!({"model": "gpt-x", "messages": messages, "max_tokens": 4}),
        ),
        request(
            "request-2",
            chat,
            json!({
                "model": "gpt-x", "messages": messages, "max_completion_tokens": 3, "n": 2,
                "logprobs": true, "top_logprobs": 2, "temperature": 0.5, "user": "u", "stream": false,
            }),
        ),
        request(
            "request-3",
            "/v1/completions",
            json!({
                "model": "gpt-x", "prompt": "Once upon", "max_tokens": 3, "logprobs": 1,
            }),
        ),
        request(
            "request-4",
            chat,
            json!({"model": "gpt-y", "messages": messages}),
        ),
        request(
            "request-5",
            chat,
            json!({"model": "gpt-x", "messages": messages, "stream": true}),
        ),
        request("request-6", "/v1/images", json!({"model": "gpt-x"})),
        request(
            "request-1",
            chat,
            json!({"model": "gpt-x", "messages": messages}),
        ),
    ];
    fs::write(&input, text.concat()).expect("writable");
    let output = folder.path().join("answers.jsonl");
    let (code, stderr) = run(&input, &output, &["--served-model-name", "gpt-x"]);
    assert_eq!(code, Some(3), "{stderr}");
    let answers = lines(&output);
    for (answer, (id, status)) in answers.iter().zip([
        (json!("request-1"), 200),
        (json!("request-2"), 200),
        (json!("request-3"), 200),
        (json!("request-4"), 404),
        (json!("request-5"), 400),
        (json!("request-6"), 400),
        (json!("request-1"), 400),
    ]) {
        assert_eq!(
            (&answer["custom_id"], &answer["error"]),
            (&id, &json!(null))
        );
        let response = &answer["response"];
        assert_eq!(response["status_code"], status, "{answer}");
        assert!(response["request_id"].is_string());
        assert!(
            answer["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("batch_req_"))
        );
        if status != 200 {
            let error = &response["body"]["error"];
            assert!(error["message"].is_string() && error["type"] == "invalid_request_error");
        }
    }
    let body = |i: usize| &answers[i]["response"]["body"];
    assert_eq!(body(0)["object"], "chat.completion");
    assert_eq!(body(0)["model"], "gpt-x");
    let choice = &body(0)["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["content"].is_string() && choice["logprobs"].is_null());
    assert!(matches!(
        choice["finish_reason"].as_str(),
        Some("stop" | "length")
    ));
    let usage = &body(0)["usage"];
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(
            usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
        )
    );
    assert_eq!(body(1)["choices"].as_array().map(Vec::len), Some(2));
    let content = &body(1)["choices"][1]["logprobs"]["content"];
    assert_eq!(content[0]["top_logprobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(body(2)["object"], "text_completion");
    assert_eq!(
        body(2)["choices"][0]["logprobs"]["tokens"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    assert_eq!(body(3)["error"]["param"], "body.model");
    assert_eq!(body(4)["error"]["param"], "body.stream");
    // An answer is the same in both formats.
    let own = folder.path().join("own.jsonl");
    fs::write(
        &own,
        json!({"custom_id": "request-1", "messages": messages, "max_tokens": 4}).to_string(),
    )
    .expect("writable");
    let own_output = folder.path().join("own-answers.jsonl");
    assert_eq!(run(&own, &own_output, &[]).0, Some(0));
    assert_eq!(
        lines(&own_output)[0]["outputs"][0]["text"],
        choice["message"]["content"]
    );
}

#[test]
fn a_file_of_requests_for_embeddings_is_resumed_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("requests.jsonl");
    let output = folder.path().join("vectors.jsonl");
    let request = |id: &str, text: &str| {
        let body = json!({"model": "m", "input": text});
        json!({"custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": body})
            .to_string()
    };
    // Seeds and limits have no meaning there.
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_choral"));
        command.args(["batch", "--any-model", "-i"]);
        command.arg(&input).arg("-o").arg(&output).args(more);
        let Output { status, stderr, .. } = command.output().expect("runs");
        let stderr = String::from_utf8(stderr).expect("messages are text");
        (status.code(), stderr)
    };
    fs::write(&input, request("a", "one") + "\n" + &request("b", "two")).expect("writable");
    let (code, stderr) = run(&[]);
    assert_eq!(code, Some(0), "{stderr}");
    let first = lines(&output);
    assert_eq!(first.len(), 2);
    assert_eq!(first[0]["custom_id"], "a");
    let data = &first[0]["response"]["body"]["data"][0];
    assert!(
        data["embedding"]
            .as_array()
            .is_some_and(|vector| vector.len() > 16)
    );
    let more = fs::read_to_string(&input).expect("readable") + "\n" + &request("c", "three");
    fs::write(&input, more).expect("writable");
    let (code, stderr) = run(&["--resume"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(num_found(&stderr), Some(2));
    assert_eq!(lines(&output)[..2], first[..]);
    assert_eq!(lines(&output).len(), 3);
}

#[test]
fn tables_go_in_and_out_with_all_their_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("people.csv");
    fs::write(
        &input,
        "name,prompt,max_tokens,note\nAnn,\"Once, upon\",3,\nBob,,2,x\nCid,Twice,many,\"a \"\"b\"\"\"\n",
    )
    .expect("writable");
    let output = folder.path().join("answers.csv");
    let (code, stderr) = run(&input, &output, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    let text = fs::read_to_string(&output).expect("readable");
    let header = text.lines().next().expect("a header");
    assert!(
        header.starts_with("name,prompt,max_tokens,note,"),
        "{header}"
    );
    let rows: Vec<&str> = text.lines().skip(1).collect();
    assert!(rows[0].starts_with("Ann,\"Once, upon\",3,,"), "{text}");
    assert!(rows[0].contains(",length,"), "{text}");
    assert!(
        text.contains("invalid_prompt") && text.contains("invalid_parameter"),
        "{text}"
    );
    assert!(text.contains("Cid,Twice,many,\"a \"\"b\"\"\","), "{text}");
    // The record stays beside it: the same command has nothing to compute.
    let (code, stderr) = run(&input, &output, &[]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("3 of them done before"), "{stderr}");
    assert_eq!(fs::read_to_string(&output).expect("readable"), text);
    // What is somebody else's is not replaced.
    let other = folder.path().join("other.csv");
    fs::write(&other, "precious").expect("writable");
    let (code, stderr) = run(&input, &other, &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(fs::read_to_string(&other).expect("readable"), "precious");
}

#[test]
fn a_template_makes_prompts_of_fields_and_carries_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    fs::write(
        &input,
        "{\"title\": \"Once\", \"n\": 7, \"max_tokens\": 2, \"source\": {\"page\": 1}}\n{\"n\": 1}\n",
    )
    .expect("writable");
    let output = folder.path().join("answers.jsonl");
    let template = "{{ title }} there were {{ n }}";
    let (code, stderr) = run(&input, &output, &["--prompt-template", template]);
    assert_eq!(code, Some(3), "{stderr}");
    let answers = lines(&output);
    assert_eq!(
        answers[0]["fields"],
        json!({"title": "Once", "n": 7, "source": {"page": 1}})
    );
    assert_eq!(
        answers[0]["outputs"][0]["token_ids"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    // The same prompt gives the same answer.
    let plain = folder.path().join("plain.jsonl");
    fs::write(
        &plain,
        "{\"prompt\": \"Once there were 7\", \"max_tokens\": 2}\n",
    )
    .expect("writable");
    let plain_output = folder.path().join("plain-answers.jsonl");
    assert_eq!(run(&plain, &plain_output, &[]).0, Some(0));
    assert_eq!(lines(&plain_output)[0]["outputs"], answers[0]["outputs"]);
    let error = &answers[1]["error"];
    assert_eq!(error["code"], "template");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("title")),
        "{error}"
    );
    let (code, stderr) = run(
        &input,
        &output,
        &["--prompt-template", "{{ oops", "--overwrite"],
    );
    assert_eq!(code, Some(1));
    assert!(stderr.contains("prompt template, line 1"), "{stderr}");
}

#[test]
fn an_answer_may_be_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.jsonl");
    fs::write(
        &input,
        "{\"custom_id\": \"a/b\", \"prompt\": \"Once\"}\n{\"prompt\": \"Twice\"}\n",
    )
    .expect("writable");
    let output = folder.path().join("answers");
    assert_eq!(
        run(&input, &output, &["--output-format", "folder"]).0,
        Some(0)
    );
    let names = fs::read_dir(&output).expect("a folder");
    let mut names: Vec<_> = names
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    names.sort();
    assert_eq!(names.len(), 2);
    let records = lines(&folder.path().join("answers.records.jsonl"));
    assert_eq!(records.len(), 2);
}

#[test]
fn a_pattern_means_the_same_when_the_output_is_among_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.jsonl"), "{\"prompt\": \"Once\"}\n").expect("writable");
    let output = folder.path().join("answers.jsonl");
    for _ in 0..2 {
        let (code, stderr) = run(&folder.path().join("*.json*"), &output, &[]);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(lines(&output).len(), 1);
    }
}

#[test]
fn no_input_is_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("answers.jsonl");
    for suffix in [
        ".journal",
        ".journal.new",
        ".journal.sorted",
        ".lock",
        ".new",
    ] {
        let input = beside(&output, suffix);
        fs::write(&input, "{\"prompt\": \"Once\"}\n").expect("writable");
        let (code, stderr) = run(&input, &output, &["--overwrite"]);
        assert_eq!(code, Some(1), "{suffix}: {stderr}");
        assert!(stderr.contains("beside its output"), "{suffix}: {stderr}");
        assert_eq!(fs::read(&input).expect("there").len(), 19);
        fs::remove_file(&input).expect("removable");
    }
    let input = folder.path().join("rows.jsonl");
    fs::write(&input, "{\"prompt\": \"Once\"}\n").expect("writable");
    let (code, stderr) = run(&input, &input, &["--overwrite"]);
    assert_eq!(code, Some(1), "{stderr}");
}
