//! What the tests of jobs over a service share.

use assert_cmd::cargo::cargo_bin;
use choral_mock::MockServer;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A key that would be noticed.
pub(crate) const KEY: &str = "sk-very-secret-0123456789abcdef";

/// A folder with the rows of a job.
pub(crate) struct Job {
    pub(crate) folder: TempDir,
    url: String,
}

impl Job {
    pub(crate) fn new(server: &MockServer, rows: &str) -> Self {
        let job = Self {
            folder: tempfile::tempdir().expect("a folder"),
            url: server.url(),
        };
        fs::write(job.path("rows.jsonl"), rows).expect("writable");
        job
    }

    /// Asks another server from now on.
    pub(crate) fn move_to(&mut self, server: &MockServer) {
        self.url = server.url();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `choral batch` of the rows to `output`.
    pub(crate) fn command(&self, output: &str, words: &[&str]) -> Command {
        let mut command = bare(words);
        command.arg("-i").arg(self.path("rows.jsonl"));
        command.arg("-o").arg(self.path(output));
        command
            .env("OPENAI_BASE_URL", format!("{}/v1", self.url))
            .env("ANTHROPIC_BASE_URL", &self.url)
            .env("OPENAI_API_KEY", KEY)
            .env("ANTHROPIC_API_KEY", KEY);
        command
    }

    pub(crate) fn run(&self, output: &str, words: &[&str]) -> (Option<i32>, String) {
        told(self.command(output, words))
    }

    pub(crate) fn spawn(&self, output: &str, words: &[&str]) -> Child {
        let mut command = self.command(output, words);
        command.stderr(Stdio::piped()).spawn().expect("starts")
    }

    pub(crate) fn lines(&self, output: &str) -> Vec<Value> {
        lines(&self.path(output))
    }
}

/// Without the variables of whoever runs the tests.
pub(crate) fn bare(words: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("choral"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_uppercase();
        let is_theirs = ["CHORAL_", "OPENAI_", "ANTHROPIC_"];
        if is_theirs.iter().any(|start| text.starts_with(start)) || text.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").arg("batch").args(words);
    command
}

/// How a command ended, and what it said.
pub(crate) fn told(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("runs");
    let stderr = String::from_utf8(stderr).expect("messages are text");
    (status.code(), stderr)
}

/// Kills a job, and gives what it said.
pub(crate) fn kill(mut child: Child) -> String {
    // It may have ended by itself.
    let _ = child.kill();
    let output = child.wait_with_output().expect("ends");
    String::from_utf8(output.stderr).expect("messages are text")
}

/// The whole lines of a file; a torn one at its end is none.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read(path).unwrap_or_default();
    let end = text.iter().rposition(|byte| *byte == b'\n');
    let whole = &text[..end.map_or(0, |end| end + 1)];
    let lines = whole.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
}

pub(crate) fn row(id: &str, prompt: &str) -> String {
    format!("{}\n", json!({"custom_id": id, "prompt": prompt}))
}

/// What the mock answers to a prompt.
pub(crate) fn expected(prompt: &str) -> String {
    choral_mock::chat_answer(&[("user", prompt)])
}

/// What the user said in a request.
pub(crate) fn prompt_of(body: &Value) -> String {
    let content = &body["messages"][0]["content"];
    let text = content.as_str().map(str::to_owned);
    text.unwrap_or_else(|| content[0]["text"].as_str().unwrap_or_default().to_owned())
}

/// The answer that a line has, or its error's code.
pub(crate) fn outcome(line: &Value) -> Result<&str, &str> {
    match line["error"]["code"].as_str() {
        Some(code) => Err(code),
        None => Ok(line["outputs"][0]["text"].as_str().expect("a text")),
    }
}

pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
