//! A request a row.

use crate::job::{Job, KEY, expected, kill, outcome, prompt_of, row, told, wait_for};
use choral_mock::{Fault, INVALID_KEY, MockServer, RetryHint, chat_answer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

const WORDS: [&str; 4] = ["--provider", "openai", "--model", "gpt-4o-mini"];

#[test]
fn a_job_that_is_killed_ends_like_one_that_is_not_and_asks_no_finished_row_twice() {
    const ROWS: usize = 300;
    let server = MockServer::builder().latency(Duration::from_millis(10));
    let server = server.start().expect("listens");
    let prompt = |i: usize| match i % 50 {
        13 => format!("Question {i}. [[mock:400*]]"),
        _ => format!("Question {i}."),
    };
    let rows = (0..ROWS).map(|i| match i {
        _ if i % 50 == 7 => "{broken\n".to_owned(),
        _ if i % 2 == 0 => row(&format!("row {i}"), &prompt(i)),
        _ => format!("{}\n", json!({"prompt": prompt(i), "max_tokens": 5 + i})),
    });
    let job = Job::new(&server, &rows.collect::<String>());
    let words = [&WORDS[..], &["--max-concurrency", "8", "-s", "5"]].concat();
    let (code, stderr) = job.run("undisturbed.jsonl", &words);
    assert_eq!(code, Some(3), "{stderr}");
    let undisturbed = job.lines("undisturbed.jsonl");
    assert_eq!(undisturbed.len(), ROWS);
    for (i, line) in undisturbed.iter().enumerate() {
        assert_eq!(line["row"], i);
        match i % 50 {
            7 => assert_eq!(outcome(line), Err("invalid_json")),
            13 => assert_eq!(outcome(line), Err("provider")),
            _ if i % 2 == 0 => assert_eq!(outcome(line), Ok(&*expected(&prompt(i)))),
            _ => assert!(outcome(line).is_ok()),
        }
    }
    // Errors of the service are not tried again where they would come again.
    assert_eq!(server.log().num_requests(), ROWS - ROWS / 50);

    let mut num_kills = 0;
    loop {
        server.log().clear();
        let finished: HashSet<String> = job
            .lines("killed.jsonl")
            .iter()
            .map(|line| prompt(line["row"].as_u64().expect("a number") as usize))
            .collect();
        let more = finished.len() + 7 + 11 * (num_kills % 4);
        let mut child = job.spawn("killed.jsonl", &words);
        wait_for("more answers", || {
            job.lines("killed.jsonl").len() >= more.min(ROWS)
        });
        let is_whole = more >= ROWS;
        if is_whole {
            child.wait().expect("ends");
        }
        let stderr = kill(child);
        num_kills += 1;
        let mut asked = HashMap::new();
        for request in server.log().requests() {
            let prompt = prompt_of(&request.json().expect("JSON"));
            assert!(
                !finished.contains(&prompt),
                "asked again: {prompt}\n{stderr}"
            );
            *asked.entry(prompt).or_insert(0) += 1;
        }
        assert!(asked.values().all(|count| *count == 1), "{asked:?}");
        if is_whole {
            break;
        }
    }
    assert!(num_kills >= 10, "{num_kills}");
    let read = |name: &str| fs::read(job.path(name)).expect("readable");
    assert!(
        read("killed.jsonl") == read("undisturbed.jsonl"),
        "they differ"
    );
    server.log().clear();
    assert_eq!(job.run("killed.jsonl", &words).0, Some(3));
    assert_eq!(server.log().num_requests(), 0, "nothing is left to do");
    let retry = [&words[..], &["--retry-errors"]].concat();
    assert_eq!(job.run("killed.jsonl", &retry).0, Some(3));
    assert_eq!(server.log().num_requests(), ROWS / 50);
    println!("{num_kills} kills");
}

#[test]
fn what_is_wrong_with_a_row_is_its_error_and_the_others_are_answered() {
    let server = MockServer::start().expect("listens");
    let chat = json!([{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Hi"}]);
    let openai = |id: &str, url: &str, body: Value| json!({"custom_id": id, "method": "POST", "url": url, "body": body});
    let rows = [
        json!({"custom_id": "plain", "prompt": "One"}),
        json!({"custom_id": "own", "messages": chat}),
        json!({"custom_id": "refused", "prompt": "[[mock:422*]] Two"}),
        json!({"custom_id": "filtered", "prompt": "Three", "min_p": 0.5}),
        json!({"custom_id": "plain", "prompt": "Four"}),
        json!({"custom_id": "odd", "prompt": "Five", "tempo": 1}),
        openai(
            "chat",
            "/v1/chat/completions",
            json!({"model": "gpt-4o-mini", "messages": chat}),
        ),
        openai(
            "other",
            "/v1/chat/completions",
            json!({"model": "gpt-9", "messages": chat}),
        ),
        openai(
            "bad",
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "[[mock:422*]] Six"}]}),
        ),
    ];
    let rows = rows.map(|row| format!("{row}\n"));
    let job = Job::new(&server, &rows.concat());
    let words = [&WORDS[..], &["--system", "Be brief."]].concat();
    let (code, stderr) = job.run("answers.jsonl", &words);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("6 of 9 rows are in error"), "{stderr}");
    let lines = job.lines("answers.jsonl");
    let brief = chat_answer(&[("system", "Be brief."), ("user", "One")]);
    let rhyme = chat_answer(&[("system", "Rhyme."), ("user", "Hi")]);
    let outcomes: Vec<_> = lines[..6].iter().map(outcome).collect();
    assert_eq!(
        outcomes,
        [
            Ok(&*brief),
            Ok(&*rhyme),
            Err("provider"),
            Err("provider"),
            Err("duplicate_custom_id"),
            Err("unknown_parameter"),
        ]
    );
    assert_eq!(lines[3]["error"]["field"], "min_p");
    assert_eq!(lines[2]["error"]["line"], 3);
    let body = |i: usize| &lines[i]["response"]["body"];
    assert_eq!(body(6)["choices"][0]["message"]["content"], rhyme.as_str());
    assert_eq!(body(6)["model"], "gpt-4o-mini");
    assert_eq!(body(7)["error"]["code"], "unknown_model");
    assert_eq!(lines[7]["response"]["status_code"], 404);
    assert_eq!(body(8)["error"]["code"], "provider");
}

#[test]
fn every_kind_of_service_gives_the_same_answers_in_order() {
    let server = MockServer::start().expect("listens");
    let prompts: Vec<_> = (0..20).map(|i| format!("Question {i}.")).collect();
    let rows = prompts.iter().enumerate();
    let rows: String = rows
        .map(|(i, prompt)| row(&format!("r{i}"), prompt))
        .collect();
    let job = Job::new(&server, &rows);
    let url = format!("{}/v1", server.url());
    for (provider, url) in [
        ("openai/gpt-4o-mini", &url),
        ("anthropic/claude-haiku-4-5", &server.url()),
        ("ollama/llama3.2:latest", &server.url()),
        ("lmstudio/qwen2.5-7b-instruct", &url),
        ("vllm/qwen2.5-7b-instruct", &url),
        ("llamacpp/qwen2.5-7b-instruct", &url),
        ("compatible/gpt-4o-mini", &url),
    ] {
        let key = job.path("key");
        fs::write(&key, KEY).expect("writable");
        let key = key.display().to_string();
        let words = [
            "--provider",
            provider,
            "--base-url",
            url,
            "--api-key-file",
            &key,
        ];
        let name = provider.split('/').next().unwrap_or_default();
        let output = format!("{name}.jsonl");
        let (code, stderr) = job.run(&output, &[&words[..], &["-n", "50"]].concat());
        assert_eq!(code, Some(0), "{provider}: {stderr}");
        let lines = job.lines(&output);
        assert_eq!(lines.len(), 20);
        for (prompt, line) in prompts.iter().zip(&lines) {
            assert_eq!(outcome(line), Ok(&*expected(prompt)), "{provider}");
            assert!(line["usage"]["completion_tokens"].as_u64() > Some(0));
        }
    }
}

#[test]
fn tables_and_streams_go_through() {
    let server = MockServer::start().expect("listens");
    let job = Job::new(&server, "");
    fs::write(job.path("rows.csv"), "name,age\nAda,36\nAlan,41\n").expect("writable");
    let input = job.path("rows.csv").display().to_string();
    let template = "Write about {{ name }}.";
    let mut command = job.command("unused", &WORDS);
    command = rebuilt(
        &command,
        &["-i", &input, "--prompt-template", template, "-o", "-"],
    );
    let output = command.output().expect("runs");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(outcome(&lines[1]), Ok(&*expected("Write about Alan.")));
    assert_eq!(lines[1]["fields"], json!({"name": "Alan", "age": "41"}));

    let table = job.path("answers.csv").display().to_string();
    let command = job.command("unused", &WORDS);
    let words = ["-i", &input, "--prompt-template", template, "-o", &table];
    let (code, stderr) = told(rebuilt(&command, &words));
    assert_eq!(code, Some(0), "{stderr}");
    let text = fs::read_to_string(&table).expect("readable");
    assert!(text.contains(&expected("Write about Ada.")), "{text}");
}

/// The same provider and environment with other words.
fn rebuilt(command: &std::process::Command, words: &[&str]) -> std::process::Command {
    let mut new = crate::job::bare(&[&WORDS[..], words].concat());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => new.env(name, value),
            None => new.env_remove(name),
        };
    }
    new
}

#[test]
fn a_fifth_of_all_requests_may_fail() {
    const ROWS: usize = 300;
    let server = MockServer::builder()
        .seed(3)
        .random_faults(
            0.2,
            [
                Fault::Status(429, Some(RetryHint::Millis(20))),
                Fault::Status(500, None),
                Fault::Status(503, None),
                Fault::Reset,
                Fault::Close,
            ],
        )
        .start()
        .expect("listens");
    let prompt = |i: usize| format!("Question {i}.");
    let rows = (0..ROWS).map(|i| row(&format!("r{i}"), &prompt(i)));
    let job = Job::new(&server, &rows.collect::<String>());
    let (code, stderr) = job.run("answers.jsonl", &WORDS);
    assert_eq!(code, Some(0), "{stderr}");
    let lines = job.lines("answers.jsonl");
    assert_eq!(lines.len(), ROWS);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(outcome(line), Ok(&*expected(&prompt(i))));
    }
    let num_requests = server.log().num_requests();
    assert!(
        (ROWS + 30..ROWS * 3 / 2).contains(&num_requests),
        "{num_requests}"
    );

    // One attempt and no more: a fifth is in error, and is tried again when asked to.
    let words = [&WORDS[..], &["--max-attempts", "1"]].concat();
    let (code, _) = job.run("once.jsonl", &words);
    assert_eq!(code, Some(3));
    let is_failed = |line: &&Value| outcome(line) == Err("provider");
    let num_failed = job.lines("once.jsonl").iter().filter(is_failed).count();
    assert!((30..100).contains(&num_failed), "{num_failed}");
    let (code, stderr) = job.run("once.jsonl", &[&WORDS[..], &["--retry-errors"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let read = |name: &str| fs::read(job.path(name)).expect("readable");
    assert!(read("once.jsonl") == read("answers.jsonl"), "they differ");
}

#[test]
fn a_key_that_is_refused_ends_the_job_and_the_right_one_goes_on() {
    let server = MockServer::builder().latency(Duration::from_millis(20));
    let server = server.start().expect("listens");
    let rows = (0..200).map(|i| row(&format!("r{i}"), "Once"));
    let job = Job::new(&server, &rows.collect::<String>());
    let words = [&WORDS[..], &["--max-concurrency", "4"]].concat();
    let mut command = job.command("answers.jsonl", &words);
    command.env("OPENAI_API_KEY", INVALID_KEY);
    let (code, stderr) = told(command);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("status 401") && stderr.contains("goes on"),
        "{stderr}"
    );
    assert!(server.log().num_requests() <= 8);
    assert_eq!(job.lines("answers.jsonl").len(), 0);
    let (code, stderr) = job.run("answers.jsonl", &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(job.lines("answers.jsonl").len(), 200);
}

#[test]
fn a_signal_ends_all_traffic_within_a_second_and_the_job_goes_on_elsewhere() {
    let quick = MockServer::start().expect("listens");
    for signal in [Signal::INT, Signal::TERM] {
        let slow = MockServer::builder().latency(Duration::from_mins(1));
        let slow = slow.start().expect("listens");
        let rows = (0..1000).map(|i| row(&format!("r{i}"), &format!("Question {i}.")));
        let mut job = Job::new(&slow, &rows.collect::<String>());
        let words = [&WORDS[..], &["--max-concurrency", "64"]].concat();
        let child = job.spawn("answers.jsonl", &words);
        wait_for("64 requests", || slow.log().open_requests() == 64);
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("sent");
        let begun = Instant::now();
        wait_for("silence", || slow.log().open_connections() == 0);
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        let output = child.wait_with_output().expect("ends");
        assert!(begun.elapsed() < Duration::from_secs(2));
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("interrupted: 0 rows"), "{stderr}");
        assert_eq!(slow.log().num_requests(), 64);
        // Where the service is does not matter.
        job.move_to(&quick);
        let (code, stderr) = job.run("answers.jsonl", &words);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(job.lines("answers.jsonl").len(), 1000);
    }
}
