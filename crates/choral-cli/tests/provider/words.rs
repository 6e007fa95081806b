//! Options, and what must not be said.

use crate::job::{Job, KEY, bare, row, told};
use choral_mock::MockServer;
use std::fs;

#[test]
fn what_only_the_local_engine_could_honour_is_refused_by_name() {
    let server = MockServer::start().expect("listens");
    let job = Job::new(&server, &row("a", "Once"));
    for words in [
        &["--threads", "2"][..],
        &["--ctx-size", "64"],
        &["--kv-memory", "1G"],
        &["--ctk", "f16"],
        &["--ctv", "f16"],
        &["--no-prefix-cache"],
        &["--max-num-seqs", "4"],
        &["--max-num-batched-tokens", "64"],
        &["--prefill-chunk", "64"],
        &["--numeric", "f32"],
        &["--lora", "."],
        &["--lora-modules", "a=."],
        &["--chat"],
        &["--chat-template", "chatml"],
        &["--timings"],
        &["--dry-run"],
        &["--offline"],
        &["--allow-images-from", "."],
        &["--mmproj", "mmproj.gguf"],
    ] {
        let provider = ["--provider", "openai/gpt-4o-mini"];
        let (code, stderr) = job.run("answers.jsonl", &[&provider, words].concat());
        assert_eq!(code, Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(words[0]), "{stderr}");
    }
    assert!(!job.path("answers.jsonl").exists());
    assert_eq!(server.log().num_requests(), 0);
}

#[test]
fn what_the_service_does_not_take_is_refused_before_rows_are_read() {
    let server = MockServer::start().expect("listens");
    let job = Job::new(&server, &row("a", "Once"));
    for (provider, words, field) in [
        ("anthropic/claude-haiku-4-5", ["-s", "1"], "`seed`"),
        ("anthropic/claude-haiku-4-5", ["--parallel", "2"], "`n`"),
        ("openai/gpt-4o-mini", ["--top-k", "4"], "`top_k`"),
        ("openai/gpt-4o-mini", ["--min-p", "0.1"], "`min_p`"),
    ] {
        let words = [&["--provider", provider][..], &words].concat();
        let (code, stderr) = job.run("answers.jsonl", &words);
        assert_eq!(code, Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(field), "{stderr}");
    }
    assert_eq!(server.log().num_requests(), 0);
}

#[test]
fn options_of_a_service_need_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.txt");
    fs::write(&input, "Once\n").expect("writable");
    for words in [
        &["--base-url", "http://127.0.0.1:9"][..],
        &["--remote", "batch"],
        &["--max-concurrency", "3"],
        &["--provider", "gpt"],
        &["--provider", "openai"],
        &["--provider", "local", "--timeout", "5"],
    ] {
        let mut command = bare(words);
        command.arg("-i").arg(&input).env("OPENAI_API_KEY", KEY);
        let (code, stderr) = told(command);
        assert_eq!(code, Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(words[0]), "{stderr}");
    }
    let mut command = bare(&["--provider", "openai/gpt-4o-mini"]);
    command.arg("-i").arg(&input);
    let (code, stderr) = told(command);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("set OPENAI_API_KEY"), "{stderr}");
}

#[test]
fn the_local_engine_is_a_provider_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("rows.txt");
    fs::write(&input, "Once\n").expect("writable");
    let answer = |words: &[&str]| {
        let mut command = bare(words);
        command.arg("-i").arg(&input).args(["-n", "4", "-s", "1"]);
        command.output().expect("runs").stdout
    };
    assert!(!answer(&[]).is_empty());
    assert_eq!(answer(&["--provider", "local"]), answer(&[]));
}

#[test]
fn the_key_shows_nowhere() {
    let server = MockServer::start().expect("listens");
    let faults = [
        "ok",
        "echo-key",
        "500*",
        "reset*",
        "redirect=307*",
        "malformed-json*",
    ];
    for (provider, remote) in [
        ("openai/gpt-4o-mini", false),
        ("openai/gpt-4o-mini", true),
        ("anthropic/claude-haiku-4-5", false),
        ("anthropic/claude-haiku-4-5", true),
    ] {
        let keys = tempfile::tempdir().expect("a folder");
        let key_file = keys.path().join("key");
        fs::write(&key_file, format!("{KEY}\n")).expect("writable");
        for (i, fault) in faults.into_iter().enumerate() {
            let job = Job::new(&server, &row("a", &format!("[[mock:{fault}]] {i}")));
            let mut command = job.command("answers.jsonl", &["--provider", provider]);
            command.args(["--verbose", "--max-attempts", "2", "-n", "9"]);
            if remote {
                command.args(["--remote", "batch", "--poll-interval", "0.05"]);
            }
            if i % 2 == 0 {
                command.env_remove("OPENAI_API_KEY");
                command.env_remove("ANTHROPIC_API_KEY");
                command.arg("--api-key-file").arg(&key_file);
            }
            let output = command.env("RUST_LOG", "trace").output().expect("runs");
            let stderr = String::from_utf8_lossy(&output.stderr);
            // All libraries told all they do.
            assert!(stderr.contains("hyper"), "{stderr}");
            assert!(stderr.contains("URL: http://127.0.0.1"), "{stderr}");
            let mut seen = vec![("stderr".to_owned(), output.stderr.clone())];
            seen.push(("stdout".to_owned(), output.stdout.clone()));
            for file in fs::read_dir(job.folder.path()).expect("readable") {
                let path = file.expect("a file").path();
                let name = path.display().to_string();
                seen.push((name, fs::read(path).expect("readable")));
            }
            assert!(seen.len() > 4, "{seen:?}");
            for (name, bytes) in seen {
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(KEY), "{provider} {fault}: {name}");
            }
        }
        let sent = server.log().requests();
        let has_key = |(_, value): &(String, String)| value.contains(KEY);
        assert!(
            sent.iter()
                .all(|request| request.headers.iter().any(has_key))
        );
        server.log().clear();
    }
    assert_eq!(server.elsewhere_log().num_requests(), 0);
}
