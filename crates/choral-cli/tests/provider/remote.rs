//! Vendors' batches.

use crate::job::{Job, expected, kill, outcome, row, told, wait_for};
use choral_mock::{BatchEnd, BatchPace, MockServer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Providers, and where they are asked for batches.
const VENDORS: [(&str, &str); 2] = [
    ("openai/gpt-4o-mini", "/v1/batches"),
    ("anthropic/claude-haiku-4-5", "/v1/messages/batches"),
];

fn words<'a>(provider: &'a str, how: &'a str) -> [&'a str; 8] {
    [
        "--provider",
        provider,
        "--remote",
        how,
        "--poll-interval",
        "0.05",
        "-n",
        "300",
    ]
}

fn prompt(i: usize) -> String {
    format!("Question {i}.")
}

fn rows(count: usize) -> String {
    let rows = (0..count).map(|i| row(&format!("row {i}"), &prompt(i)));
    rows.collect()
}

/// How many batches were made.
fn num_made(server: &MockServer, path: &str) -> usize {
    let requests = server.log().requests_to(path).into_iter();
    requests.filter(|request| request.method == "POST").count()
}

/// Whether a batch has been made, and its id is stored.
fn has_ticket(tickets: &Path) -> bool {
    fs::read_to_string(tickets).is_ok_and(|text| text.contains("\"id\""))
}

#[test]
fn a_batch_is_taken_up_again_by_its_stored_id_and_answers_come_in_order() {
    for (provider, path) in VENDORS {
        let pace = BatchPace::Every(Duration::from_millis(700));
        let server = MockServer::builder().batch_pace(pace);
        let server = server.start().expect("listens");
        // Rows of which the vendor, or the client, refuses one.
        let bad = row("refused", "[[mock:422*]] Question.")
            + &format!(
                "{}\n",
                json!({"custom_id": "odd", "prompt": "x", "min_p": 0.5})
            )
            + "{broken\n";
        let job = Job::new(&server, &(bad + &rows(40)));
        let words = words(provider, "batch");
        let tickets = job.path("answers.jsonl.remote.json");
        let child = job.spawn("answers.jsonl", &words);
        wait_for("a ticket", || has_ticket(&tickets));
        std::thread::sleep(Duration::from_millis(300));
        let stderr = kill(child);
        assert!(tickets.exists(), "{stderr}");
        assert_eq!(num_made(&server, path), 1);
        // While it is waited for, what is wrong with rows is known already.
        assert_eq!(job.lines("answers.jsonl").len(), 2);

        let (code, stderr) = job.run("answers.jsonl", &words);
        assert_eq!(code, Some(3), "{provider}: {stderr}");
        assert_eq!(num_made(&server, path), 1, "it was made once");
        assert!(!tickets.exists());
        let lines = job.lines("answers.jsonl");
        assert_eq!(lines.len(), 43);
        let codes = lines[..3].iter().map(outcome).collect::<Vec<_>>();
        let refused = [Err("provider"), Err("provider"), Err("invalid_json")];
        assert_eq!(codes, refused, "{provider}");
        assert_eq!(lines[1]["error"]["field"], "min_p");
        for (i, line) in lines[3..].iter().enumerate() {
            assert_eq!(line["custom_id"], format!("row {i}"));
            assert_eq!(outcome(line), Ok(&*expected(&prompt(i))), "{provider}");
        }
        // What a vendor's batch says is what a request a row says.
        let live = ["--provider", provider, "-n", "300"];
        assert_eq!(job.run("live.jsonl", &live).0, Some(3));
        for (one, other) in lines[3..].iter().zip(&job.lines("live.jsonl")[3..]) {
            assert_eq!(one, other);
        }
        let (code, stderr) = job.run("answers.jsonl", &words);
        assert_eq!(code, Some(3), "{stderr}");
        assert_eq!(num_made(&server, path), 1, "nothing is left to do");
    }
}

#[test]
fn a_batch_that_is_cancelled_gives_what_it_has_and_the_rest_can_be_asked_again() {
    for (provider, path) in VENDORS {
        let pace = BatchPace::Every(Duration::from_secs(1));
        let server = MockServer::builder().batch_pace(pace);
        let server = server.start().expect("listens");
        let job = Job::new(&server, &rows(20));
        let tickets = job.path("answers.jsonl.remote.json");
        let child = job.spawn("answers.jsonl", &words(provider, "batch"));
        wait_for("a ticket", || has_ticket(&tickets));
        kill(child);
        let (code, stderr) = job.run("answers.jsonl", &words(provider, "cancel"));
        assert_eq!(code, Some(0), "{provider}: {stderr}");
        assert!(stderr.contains("have no answer"), "{stderr}");
        assert!(!tickets.exists());
        assert_eq!(server.log().requests_to("/cancel").len(), 1);
        // Rows that were cancelled are no errors: they are asked again.
        let lines = job.lines("answers.jsonl");
        assert!(lines.iter().all(|line| outcome(line).is_ok()));
        let (code, stderr) = job.run("answers.jsonl", &words(provider, "batch"));
        assert_eq!(code, Some(0), "{provider}: {stderr}");
        assert_eq!(num_made(&server, path), 2);
        for (i, line) in job.lines("answers.jsonl").iter().enumerate() {
            assert_eq!(outcome(line), Ok(&*expected(&prompt(i))));
        }
        // Then there is nothing to cancel.
        let (code, _) = job.run("answers.jsonl", &words(provider, "cancel"));
        assert_eq!(code, Some(0));
    }
}

#[test]
fn rows_that_expire_are_errors_that_can_be_tried_again() {
    for (provider, path) in VENDORS {
        let server = MockServer::builder().batch_end(BatchEnd::Expired);
        let server = server.start().expect("listens");
        let mut job = Job::new(&server, &rows(20));
        let (code, stderr) = job.run("answers.jsonl", &words(provider, "batch"));
        assert_eq!(code, Some(3), "{provider}: {stderr}");
        let lines = job.lines("answers.jsonl");
        let num_failed = lines.iter().filter(|line| outcome(line).is_err()).count();
        assert_eq!((lines.len(), num_failed), (20, 10));
        let server = MockServer::start().expect("listens");
        job.move_to(&server);
        let again = [&words(provider, "batch")[..], &["--retry-errors"]].concat();
        let (code, stderr) = job.run("answers.jsonl", &again);
        assert_eq!(code, Some(0), "{provider}: {stderr}");
        assert_eq!(num_made(&server, path), 1);
        for (i, line) in job.lines("answers.jsonl").iter().enumerate() {
            assert_eq!(outcome(line), Ok(&*expected(&prompt(i))));
        }
    }
}

#[test]
fn a_batch_that_is_refused_says_why_and_its_rows_stay_open() {
    let server = MockServer::builder().batch_end(BatchEnd::Failed);
    let server = server.start().expect("listens");
    let mut job = Job::new(&server, &rows(5));
    let words = words("openai/gpt-4o-mini", "batch");
    let (code, stderr) = job.run("answers.jsonl", &words);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("Enqueued token limit reached"), "{stderr}");
    assert!(stderr.contains("the same command goes on"), "{stderr}");
    assert_eq!(job.lines("answers.jsonl").len(), 0);
    let server = MockServer::start().expect("listens");
    job.move_to(&server);
    let (code, stderr) = job.run("answers.jsonl", &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(job.lines("answers.jsonl").len(), 5);
}

#[test]
fn a_signal_leaves_the_batch_to_the_vendor() {
    let pace = BatchPace::Every(Duration::from_millis(500));
    let server = MockServer::builder().batch_pace(pace);
    let server = server.start().expect("listens");
    let job = Job::new(&server, &rows(5));
    let words = words("openai/gpt-4o-mini", "batch");
    let child = job.spawn("answers.jsonl", &words);
    let tickets = job.path("answers.jsonl.remote.json");
    wait_for("a ticket", || has_ticket(&tickets));
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::INT).expect("sent");
    let begun = Instant::now();
    let output = child.wait_with_output().expect("ends");
    assert!(begun.elapsed() < Duration::from_secs(1));
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("go on at the vendor"), "{stderr}");
    // Rows that are paid for are not asked again one by one.
    let (code, stderr) = job.run("answers.jsonl", &words[..2]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("--remote cancel"), "{stderr}");
    let (code, stderr) = job.run("answers.jsonl", &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(num_made(&server, "/v1/batches"), 1);
    // Unless the job begins anew.
    let child = job.spawn("answers.jsonl", &[&words[..], &["--overwrite"]].concat());
    wait_for("a ticket", || has_ticket(&tickets));
    kill(child);
    let (code, stderr) = job.run("answers.jsonl", &[&words[..2], &["--overwrite"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("is cancelled"), "{stderr}");
    assert_eq!(server.log().requests_to("/cancel").len(), 1);
    assert!(!tickets.exists());
}

#[test]
fn rows_that_may_be_in_a_batch_are_not_handed_over_twice() {
    for (provider, path) in VENDORS {
        let server = MockServer::builder()
            .script("reset*".parse().expect("a script"))
            .faults_on(path);
        let server = server.start().expect("listens");
        let mut job = Job::new(&server, &rows(3));
        let words = words(provider, "batch");
        let (code, stderr) = job.run("answers.jsonl", &words);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("nobody knows whether"), "{stderr}");
        assert!(!stderr.contains("the same command goes on"), "{stderr}");
        let server = MockServer::start().expect("listens");
        job.move_to(&server);
        for how in [&words[..], &words[..2]] {
            let (code, stderr) = job.run("answers.jsonl", how);
            assert_eq!(code, Some(1), "{stderr}");
            assert!(stderr.contains("--remote-forget"), "{stderr}");
        }
        assert_eq!(num_made(&server, path), 0);
        let (code, stderr) = job.run(
            "answers.jsonl",
            &[&words[..], &["--remote-forget"]].concat(),
        );
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(num_made(&server, path), 1);
        assert_eq!(job.lines("answers.jsonl").len(), 3);
    }
}

#[test]
fn what_runs_at_the_vendor_is_never_let_go_in_silence() {
    for (provider, path) in VENDORS {
        let pace = BatchPace::Every(Duration::from_secs(1));
        let server = MockServer::builder().batch_pace(pace);
        let server = server.start().expect("listens");
        let mut job = Job::new(&server, &rows(6));
        let tickets = job.path("answers.jsonl.remote.json");
        let words = words(provider, "batch");
        let child = job.spawn("answers.jsonl", &words);
        wait_for("a ticket", || has_ticket(&tickets));
        kill(child);
        // Rows that were changed since need another batch, and the old one is cancelled.
        fs::write(job.path("rows.jsonl"), rows(6).replace("Question", "Task")).expect("writable");
        let (code, stderr) = job.run("answers.jsonl", &[&words[..], &["--resume"]].concat());
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("is cancelled"), "{stderr}");
        assert_eq!(server.log().requests_to("/cancel").len(), 1);
        assert_eq!(num_made(&server, path), 2);
        // A job that is cancelled is cancelled, whatever its settings are now.
        let child = job.spawn("other.jsonl", &words);
        wait_for("a ticket", || {
            has_ticket(&job.path("other.jsonl.remote.json"))
        });
        kill(child);
        let changed = [&["--temp", "0.5"][..], &self::words(provider, "cancel")].concat();
        job.run("other.jsonl", &changed);
        assert_eq!(server.log().requests_to("/cancel").len(), 2);
        // A batch that the vendor does not know is given up only when that is said.
        let child = job.spawn("third.jsonl", &words);
        wait_for("a ticket", || {
            has_ticket(&job.path("third.jsonl.remote.json"))
        });
        kill(child);
        let server = MockServer::start().expect("listens");
        job.move_to(&server);
        let (code, stderr) = job.run("third.jsonl", &words);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("--remote-forget"), "{stderr}");
        assert_eq!(num_made(&server, path), 0);
        let (code, stderr) = job.run("third.jsonl", &[&words[..], &["--remote-forget"]].concat());
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(num_made(&server, path), 1);
    }
}

#[test]
fn what_cannot_be_a_batch_is_refused() {
    let server = MockServer::start().expect("listens");
    let job = Job::new(&server, &rows(2));
    let mut command = job.command("answers.jsonl", &words("ollama/llama3.2", "batch"));
    command.env("OLLAMA_BASE_URL", server.url());
    let (code, stderr) = told(command);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("ollama has no service for batches"),
        "{stderr}"
    );
    let mut command = crate::job::bare(&words("openai/gpt-4o-mini", "batch"));
    command.arg("-i").arg(job.path("rows.jsonl"));
    command.env("OPENAI_API_KEY", "x");
    let (code, stderr) = told(command);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("--remote needs an output"), "{stderr}");
    fs::write(job.path("lost.jsonl.remote.json"), "no list").expect("writable");
    let (code, stderr) = job.run("lost.jsonl", &words("openai/gpt-4o-mini", "batch"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("is no list of batches"), "{stderr}");
    assert_eq!(server.log().num_requests(), 0);
}

#[test]
fn too_many_errors_end_a_job_before_anything_is_handed_over() {
    let server = MockServer::start().expect("listens");
    let job = Job::new(&server, &("{broken\n".to_owned() + &rows(5)));
    let words = [&words("openai/gpt-4o-mini", "batch")[..], &["--fail-fast"]].concat();
    let (code, stderr) = job.run("answers.jsonl", &words);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("ended because 1 rows are in error"),
        "{stderr}"
    );
    assert_eq!(server.log().num_requests(), 0);
}
