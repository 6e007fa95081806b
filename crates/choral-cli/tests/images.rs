//! Pictures from files to answers: stores that are killed, grown and damaged, pairs that
//! are answered alike from a store and from files, jobs that go on, and the names that
//! other tools use.

#[path = "images/answers.rs"]
mod answers;
#[path = "images/demo.rs"]
mod demo;
#[path = "images/messages.rs"]
mod messages;
#[path = "images/names.rs"]
mod names;
#[path = "images/resume.rs"]
mod resume;
#[path = "images/shown.rs"]
mod shown;
#[path = "images/store.rs"]
mod store;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    root.join(name).canonicalize().expect("a golden file")
}

/// `choral images` on a small model of random weights.
fn images(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_choral"));
    command.arg("images").args(words);
    for (name, _) in std::env::vars() {
        if name.starts_with("GLM_") || name.starts_with("CHORAL_") {
            command.env_remove(name);
        }
    }
    command.env("CHORAL_MODEL", golden("models/glm4v/hf"));
    command.stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn copy(folder: &Path, names: &[(&str, &str)]) {
    for (to, from) in names {
        let to = folder.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
        fs::copy(golden("images").join(from), to).expect("copied");
    }
}

/// A folder of good pictures, by name `a.png` to `e.gif`.
fn pictures() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy(
        folder.path(),
        &[
            ("photos/a.png", "rgb.png"),
            ("photos/b.jpg", "turned_6.jpg"),
            ("photos/sub/c.webp", "webp_lossy.webp"),
            ("photos/sub/d.tif", "tiff_grey.tif"),
            ("photos/sub/e.gif", "gif.gif"),
        ],
    );
    folder
}

fn precompute(folder: &Path) -> Command {
    let mut command = images(&["precompute", "photos", "-o", "store", "--image-size", "56"]);
    command.current_dir(folder);
    command
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("lines");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Texts and tokens, by row.
fn outputs(path: &Path) -> Vec<Value> {
    let lines = lines(path).into_iter();
    lines.map(|line| line["outputs"].clone()).collect()
}

/// A store of five pictures, and pairs of them.
fn pictures_in_a_store() -> TempDir {
    let folder = pictures();
    let (code, _, told) = run(&mut precompute(folder.path()));
    assert_eq!(code, Some(0), "{told}");
    let pairs = "0,1\n3,2\n\n0,4\n4,0\n0,1\n1,1\n";
    fs::write(folder.path().join("pairs.txt"), pairs).expect("written");
    folder
}

/// What makes answers short, and the same every time.
const SHORT: [&str; 6] = ["-s", "5", "-n", "6", "--no-timings", "--ignore-eos"];

fn pairs(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = images(&["pairs"]);
    command.args(words).args(SHORT).current_dir(folder);
    run(&mut command)
}

/// Asks about the pairs of the list and the pictures of the store that stand in `folder`.
fn pairs_of_list(folder: &Path, output: &str) -> (Option<i32>, String, String) {
    let listed = ["--embeds", "store", "--pairs", "pairs.txt"];
    pairs(folder, &[&listed[..], &["-o", output]].concat())
}

/// What was ended by an error, and what it said.
fn refused(folder: &Path, words: &[&str]) -> String {
    let (code, _, told) = run(images(words).current_dir(folder));
    assert!(matches!(code, Some(1 | 2)), "{words:?}: {code:?} {told}");
    told
}
