//! The model and the pictures that ship, as they are without an option.

use crate::{images, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("a folder")
}

/// `choral images` with the model that ships, unpacked to `cache`.
fn shipped(cache: &Path, words: &[&str]) -> Command {
    let mut command = images(words);
    command
        .env_remove("CHORAL_MODEL")
        .env("XDG_CACHE_HOME", cache)
        .current_dir(root());
    command
}

/// Prompts whose answers transformers is sure of (`training/vision/golden.py`), since the
/// shipped arithmetic is not to the last digit that of its values.
#[test]
fn the_shipped_model_answers_as_transformers_does() {
    let cache = tempfile::tempdir().expect("a folder");
    let golden = fs::read_to_string(root().join("models/demo_vision_golden.json"));
    let golden: Value = serde_json::from_str(&golden.expect("values")).expect("JSON");
    let mut num_checked = 0;
    for prompt in golden["prompts"].as_array().expect("prompts") {
        let margins = prompt["greedy_margins"].as_array().expect("numbers").iter();
        let least = margins.filter_map(Value::as_f64).fold(f64::MAX, f64::min);
        let pictures = prompt["pictures"].as_array().expect("names").iter();
        let pictures = pictures.filter_map(Value::as_str);
        let pictures: Vec<_> = pictures
            .map(|name| format!("examples/pictures/{name}"))
            .collect();
        let question = prompt["question"].as_str().expect("text");
        let size = prompt["square"]
            .as_u64()
            .map_or("dynamic".to_owned(), |side| side.to_string());
        let mut words = match &pictures[..] {
            [one] => vec!["describe", one],
            [left, right] => vec!["pairs", "-a", left, "-b", right],
            _ => continue,
        };
        if least < 0.6 {
            continue;
        }
        words.extend(["--image-size", &size, "--prompt", question]);
        words.extend(["--do-sample", "0", "--json"]);
        let (code, out, told) = run(&mut shipped(cache.path(), &words));
        assert_eq!(code, Some(0), "{told}");
        let row: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(
            row["outputs"][0]["text"], prompt["greedy_text"],
            "{question}"
        );
        num_checked += 1;
    }
    assert!(num_checked >= 3, "{num_checked} sure answers are too few");
    let unpacked = fs::read_dir(cache.path().join("choral")).expect("listed");
    assert_eq!(unpacked.count(), 1);
}

#[test]
fn the_demo_answers_all_pairs_and_alike_in_any_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let store = at("store");
    let encode = ["precompute", "examples/pictures", "--output", &store];
    let (code, _, told) = run(&mut shipped(folder.path(), &encode));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("has 16, of 16 x 16 tokens each"), "{told}");
    let ask = |source: &[&str], batch: &str| {
        let pairs = ["pairs", "--pairs", "examples/pictures/pairs.txt"];
        let how = [
            "--seed",
            "7",
            "--batch-size",
            batch,
            "--json",
            "--no-timings",
        ];
        let words = [&pairs[..], source, &how].concat();
        let (code, out, told) = run(&mut shipped(folder.path(), &words));
        assert_eq!(code, Some(0), "{told}");
        out
    };
    let alone = ask(&["--embeds", &store], "1");
    assert_eq!(alone.lines().count(), 16);
    assert_eq!(ask(&["--embeds", &store], "64"), alone);
    assert_eq!(ask(&["--images", "examples/pictures"], "64"), alone);
}
