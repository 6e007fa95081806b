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
            let is_ending = ["sorted", "journal.new"]
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
        if let Some(num_found) = num_found(&stderr) {
            // Each whole line is kept, so that its row is not computed again; and more
            // lines than there were cannot be.
            assert_eq!(num_found, num_whole, "{stderr}");
        }
        if num_whole == 2000 {
            // There is nothing left to kill: begin anew.
            for suffix in ["", ".journal", ".lock", ".sorted", ".journal.new"] {
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
        assert!(stderr.contains("ended because of"), "{stderr}");
        let answers = lines(&output);
        let is_bad = |answer: &&Value| !answer["error"].is_null();
        assert_eq!(answers.iter().filter(is_bad).count(), num_bad);
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
