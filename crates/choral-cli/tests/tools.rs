//! The commands that look at models, text and numbers, as a shell sees them.

#[path = "tools/debug.rs"]
mod debug;
#[path = "tools/embed.rs"]
mod embed;
#[path = "tools/inspect.rs"]
mod inspect;
#[path = "tools/plan.rs"]
mod plan;
#[path = "tools/score.rs"]
mod score;
#[path = "tools/text.rs"]
mod text;

use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a run left.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `choral` in the root of the repository.
fn choral(args: &[&str], stdin: impl Into<Vec<u8>>) -> Ran {
    let output = assert_cmd::cargo::cargo_bin_cmd!("choral")
        .current_dir(repository())
        .args(args)
        .write_stdin(stdin)
        .output()
        .expect("choral runs");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

impl Ran {
    /// What it printed, when all went well.
    #[track_caller]
    fn text(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stdout
    }

    /// The JSON lines that it printed, when all went well.
    #[track_caller]
    fn json(self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON lines")
    }

    /// Its one message, when it failed cleanly.
    #[track_caller]
    fn error(self) -> String {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr.trim_end().to_owned()
    }
}

/// A JSON file of the golden set.
fn golden(path: &str) -> Value {
    let path = repository().join("golden").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("golden files are JSON")
}

/// One JSON value a line.
fn lines(values: impl IntoIterator<Item = Value>) -> String {
    let lines: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    lines.join("\n")
}

/// Floats from base64 of their little-endian bytes.
fn floats(value: &Value) -> Vec<f32> {
    use base64::Engine as _;
    let text = value.as_str().expect("base64");
    let bytes = base64::prelude::BASE64_STANDARD
        .decode(text)
        .expect("base64");
    let (floats, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    floats.iter().map(|&b| f32::from_le_bytes(b)).collect()
}
