//! Jobs that go on: what is right is kept, and what was changed is computed again.

use super::{
    SHORT, copy, golden, images, lines, pairs, pictures, pictures_in_a_store, precompute, run,
};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const FROM_FILES: [&str; 7] = [
    "--images",
    "photos",
    "--image-size",
    "56",
    "--pairs",
    "pairs.txt",
    "--output=out.jsonl",
];

/// How many answers were there already, of how many rows, as a run that went well says.
fn kept(told: &str) -> (u64, u64) {
    let line = told.lines().find(|line| line.contains(" rows in "));
    let words: Vec<_> = line.expect("a summary").split_whitespace().collect();
    let number = |word: &str| word.parse().expect("a number");
    match words.iter().position(|word| word.starts_with("before")) {
        // `6 rows in 0.1 s, 4 of them done before, ...`
        Some(_) => (number(words[5]), number(words[0])),
        None => (0, number(words[0])),
    }
}

fn replace(folder: &Path, name: &str, picture: &str) {
    fs::copy(golden("images").join(picture), folder.join(name)).expect("copied");
}

fn answers(folder: &Path) -> Vec<Value> {
    lines(&folder.join("out.jsonl"))
}

#[test]
fn only_rows_of_a_changed_picture_are_computed_again() {
    let folder = pictures();
    let folder = folder.path();
    fs::write(folder.join("pairs.txt"), "0,2\n0,1\n3,4\n1,2\n").expect("written");
    let (code, _, told) = pairs(folder, &FROM_FILES);
    assert_eq!((code, kept(&told)), (Some(0), (0, 4)), "{told}");
    let before = answers(folder);
    // Nothing was changed.
    let (code, _, told) = pairs(folder, &FROM_FILES);
    assert_eq!((code, kept(&told)), (Some(0), (4, 4)), "{told}");

    replace(folder, "photos/b.jpg", "rgb.png");
    let (code, _, told) = pairs(folder, &FROM_FILES);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("--resume computes what was changed"),
        "{told}"
    );
    assert_eq!(answers(folder), before);
    let resume = [&FROM_FILES[..], &["--resume"]].concat();
    let (code, _, told) = pairs(folder, &resume);
    assert_eq!((code, kept(&told)), (Some(0), (2, 4)), "{told}");
    let after = answers(folder);
    for row in [0, 2] {
        assert_eq!(after[row], before[row]);
    }
    for row in [1, 3] {
        assert_ne!(after[row]["outputs"], before[row]["outputs"]);
    }
    let (_, _, told) = pairs(folder, &FROM_FILES);
    assert_eq!(kept(&told), (4, 4), "{told}");
}

#[test]
fn pictures_of_another_size_are_others() {
    let folder = pictures();
    fs::write(folder.path().join("pairs.txt"), "0,2\n").expect("written");
    let (code, _, told) = pairs(folder.path(), &FROM_FILES);
    assert_eq!(code, Some(0), "{told}");
    let mut smaller = FROM_FILES;
    smaller[3] = "28";
    let (code, _, told) = pairs(folder.path(), &smaller);
    assert_eq!(code, Some(1));
    assert!(told.contains("image size was 56, and is 28 now"), "{told}");
    let resume = [&smaller[..], &["--resume"]].concat();
    let (code, _, told) = pairs(folder.path(), &resume);
    assert_eq!((code, kept(&told)), (Some(0), (0, 1)), "{told}");
}

#[test]
fn a_store_that_grew_is_the_same_and_one_that_was_made_again_is_not() {
    let folder = pictures_in_a_store();
    let folder = folder.path();
    let words = [
        "--embeds",
        "store",
        "--pairs",
        "pairs.txt",
        "--output=out.jsonl",
    ];
    let (code, _, told) = pairs(folder, &words);
    assert_eq!((code, kept(&told)), (Some(0), (0, 6)), "{told}");
    let before = answers(folder);
    copy(folder, &[("photos/z.png", "grey.png")]);
    let (code, _, told) = run(&mut precompute(folder));
    assert_eq!(code, Some(0), "{told}");
    let (code, _, told) = pairs(folder, &words);
    assert_eq!((code, kept(&told)), (Some(0), (6, 6)), "{told}");

    fs::remove_dir_all(folder.join("store")).expect("removed");
    replace(folder, "photos/b.jpg", "rgb.png");
    let (code, _, told) = run(&mut precompute(folder));
    assert_eq!(code, Some(0), "{told}");
    let (code, _, told) = pairs(folder, &words);
    assert_eq!(code, Some(1), "{told}");
    let (code, _, told) = pairs(folder, &[&words[..], &["--resume"]].concat());
    assert_eq!((code, kept(&told)), (Some(0), (0, 6)), "{told}");
    let after = answers(folder);
    assert_ne!(after[0]["outputs"], before[0]["outputs"]);
    assert_eq!(after[2]["outputs"], before[2]["outputs"]);
}

#[test]
fn a_picture_that_was_mended_is_looked_at_again() {
    let folder = pictures();
    let folder = folder.path();
    replace(folder, "photos/b.jpg", "malformed/trunc.png");
    fs::write(folder.join("pairs.txt"), "0,2\n0,1\n9,9\n").expect("written");
    let (code, _, told) = pairs(folder, &FROM_FILES);
    assert_eq!((code, kept(&told)), (Some(3), (0, 3)), "{told}");
    // Errors are kept, and are still errors.
    let (code, _, told) = pairs(folder, &FROM_FILES);
    assert_eq!((code, kept(&told)), (Some(3), (3, 3)), "{told}");
    replace(folder, "photos/b.jpg", "rgb.png");
    let (code, _, told) = pairs(folder, &[&FROM_FILES[..], &["--resume"]].concat());
    assert_eq!((code, kept(&told)), (Some(3), (2, 3)), "{told}");
    let errors: Vec<_> = answers(folder)
        .iter()
        .map(|row| row["error"]["line"].as_u64())
        .collect();
    assert_eq!(errors, [None, None, Some(3)]);
}

#[cfg(unix)]
#[test]
fn a_job_that_is_interrupted_says_how_far_it_came_and_goes_on() {
    use rustix::process::{Pid, Signal, kill_process};
    let folder = pictures_in_a_store();
    let folder = folder.path();
    let words = [
        "--embeds",
        "store",
        "--random",
        "2000",
        "--output=out.jsonl",
    ];
    let command = || {
        let mut command = images(&["pairs"]);
        command.args(words).args(SHORT).current_dir(folder);
        command
    };
    let mut child = command().stderr(Stdio::piped()).spawn().expect("starts");
    let written = || fs::metadata(folder.join("out.jsonl")).map_or(0, |file| file.len());
    let started = Instant::now();
    while written() == 0 {
        let ended = child.try_wait().expect("looked at");
        assert!(ended.is_none(), "it ended before an answer was written");
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "nothing was written"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("not zero");
    kill_process(id, Signal::INT).expect("sent");
    let output = child.wait_with_output().expect("ends");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(130), "{told}");
    let num_answers = answers(folder).len();
    let expected = format!("interrupted: {num_answers} of 2000 questions were answered; the same");
    assert!(told.contains(&expected), "{num_answers}: {told}");
    let (code, _, told) = run(&mut command());
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(kept(&told), (num_answers as u64, 2000), "{told}");
}
