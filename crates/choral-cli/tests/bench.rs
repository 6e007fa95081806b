//! `choral bench` from outside, on the model that ships: formats, files and what is
//! refused. How fast it is, no test says.

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;

/// Small and quick.
const SMALL: [&str; 6] = ["--npp", "8", "--ntg", "4", "-t", "1"];

fn bench(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("choral").expect("built");
    command.arg("bench").args(SMALL).args(words);
    command
}

fn stdout(words: &[&str]) -> String {
    let output = bench(words).assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("UTF-8")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn concurrency_prints_its_table() {
    let table = stdout(&["--concurrency", "1,2,4", "--num-requests", "4"]);
    let head = "| Concurrency | Time (ms) | Throughput (items/s) | Speedup |";
    let lines: Vec<&str> = table.lines().skip_while(|line| *line != head).collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[2].starts_with("|           1 |") && lines[2].ends_with("1.00x |"));
}

#[test]
fn one_json_document_has_the_machine_and_all_rows() {
    let words = ["--concurrency", "1,2", "--output-format", "json"];
    let document: Value = serde_json::from_str(&stdout(&words)).expect("JSON");
    assert_eq!(document["model"], "choral-demo");
    assert_eq!(document["threads"], 1);
    let rows = document["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["items"], 32);
        assert_eq!(row["completed"], 32);
        assert_eq!(row["total_output_tokens"], 4 * 32);
        let throughput = number(&row["throughput"]);
        let expected = 32.0 / (number(&row["time_ms"]) / 1e3);
        assert!((throughput / expected - 1.0).abs() < 1e-9);
        let speedup = throughput / number(&rows[0]["throughput"]);
        assert!((number(&row["speedup"]) - speedup).abs() < 1e-9);
    }
}

#[test]
fn rates_report_latency_and_goodput() {
    let words = ["--rate", "200,inf", "--num-requests", "6"];
    let slo = ["--slo", "ttft=100s,itl=100s", "--output-format", "jsonl"];
    let rows = stdout(&[words, slo].concat());
    let rows: Vec<Value> = rows
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["request_rate"], 200.0);
    assert!(rows[1]["request_rate"].is_null());
    for row in &rows {
        // Nobody waits for 100 seconds.
        assert_eq!(row["request_goodput"], row["request_throughput"]);
        let [median, p99] = ["median_ttft_ms", "p99_ttft_ms"].map(|name| number(&row[name]));
        assert!(0.0 < median && median <= p99);
    }
    let table = stdout(&["--rate", "200", "--num-requests", "2", "--slo", "e2el=100s"]);
    for line in [
        "TTFT p99 (ms)",
        "TPOT mean (ms)",
        "ITL median (ms)",
        "Goodput",
    ] {
        assert!(table.contains(line), "{table}");
    }
}

#[test]
fn csv_has_a_line_a_row_under_its_names() {
    for (words, rows, first) in [
        (["--npl", "1,2"], 2, "pp,tg,pl,"),
        (["--rate", "500"], 1, "request_rate,completed,"),
    ] {
        let text = stdout(&[&words[..], &["--output-format", "csv"]].concat());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records: Vec<_> = reader.records().map(|r| r.expect("CSV")).collect();
        assert_eq!(records.len(), rows);
        assert!(text.starts_with(first), "{text}");
    }
}

#[test]
fn requests_can_come_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prompts.jsonl");
    std::fs::write(
        &file,
        "{\"prompt\": \"Once\", \"max_tokens\": 2, \"ignore_eos\": true}\n\
         {\"messages\": [{\"role\": \"user\", \"content\": \"Who are you?\"}]}\n",
    )
    .expect("written");
    let run = |words: &[&str]| {
        let mut command = Command::cargo_bin("choral").expect("built");
        command.args(["bench", "-t", "1", "--concurrency", "2", "--prompts"]);
        command.arg(&file).args(words);
        command.assert()
    };
    let output = run(&[
        "--num-requests",
        "3",
        "--ntg",
        "3",
        "--output-format",
        "jsonl",
    ]);
    let row: Value = serde_json::from_slice(&output.success().get_output().stdout).expect("JSON");
    // The first, the second and the first again.
    assert_eq!(row["items"], 3);
    let tokens = number(&row["total_output_tokens"]);
    assert!((5.0..=7.0).contains(&tokens), "{tokens}");

    std::fs::write(&file, "{\"prompt\": \"Once\", \"temprature\": 1}\n").expect("written");
    let message = "line 1 of the prompts";
    run(&[]).code(1).stderr(predicate::str::contains(message));
}

#[test]
fn a_plot_is_what_its_name_says_and_replaces_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (svg, png) = (path("batch.svg"), path("concurrency.png"));
    stdout(&["--npl", "1,2", "--plot", &svg]);
    let text = std::fs::read_to_string(&svg).expect("written");
    assert!(text.starts_with("<svg "), "{text}");
    for part in [
        "choral-demo",
        "limit: reading memory",
        "Sequences in the batch",
        "Latency",
    ] {
        assert!(text.contains(part), "{part}");
    }
    stdout(&[
        "--concurrency",
        "1,2",
        "--num-requests",
        "2",
        "--plot",
        &png,
    ]);
    assert!(
        std::fs::read(&png)
            .expect("written")
            .starts_with(b"\x89PNG")
    );

    let again = bench(&["--npl", "1", "--plot", &svg]).assert().code(1);
    again.stderr(predicate::str::contains("--overwrite"));
    stdout(&["--npl", "1", "--plot", &svg, "--overwrite"]);
}

#[test]
fn options_that_contradict_each_other_are_wrong_usage() {
    for words in [
        &["--rate", "1", "--concurrency", "2"][..],
        &["--rate", "1", "--npl", "2"],
        &["--rate", "1", "--plot", "a.svg"],
        &["--rate", "0"],
        &["--concurrency", "0"],
        &["--slo", "ttft=1s"],
        &["--rate", "1", "--slo", "ttft"],
        &["--plot", "a.pdf"],
        &["--limits", "--rate", "1"],
        &["--pps", "--concurrency", "1"],
        &["--concurrency", "1", "--npp", "1,2"],
        &["--ntg", "1", "--plot", "a.svg"],
    ] {
        let mut command = Command::cargo_bin("choral").expect("built");
        command.arg("bench").args(words).assert().code(2);
    }
}
