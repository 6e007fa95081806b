//! The names that image-pair tools document: variables and make targets.

use super::{copy, golden, images, pictures, run};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_names_of_pair_tools_work() {
    let folder = pictures();
    let model = golden("models/glm4v/hf");
    let tool = |set: &[(&str, &str)]| {
        let mut command = images(&[]);
        command
            .env_remove("CHORAL_MODEL")
            .env("GLM_WEIGHTS_DIR", &model);
        command.env("GLM_MAX_TOKENS", "3").env("GLM_SEED", "42");
        command.envs(set.iter().copied()).current_dir(folder.path());
        run(&mut command)
    };
    let (code, _, told) = tool(&[
        ("GLM_PRECOMPUTE", "1"),
        ("GLM_INPUT_DIR", "photos"),
        ("GLM_OUTPUT_DIR", "out"),
        ("GLM_IMAGE_SIZE", "28"),
        ("GLM_BATCH_SIZE", "2"),
    ]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("`out` has 5, of 1 x 1 tokens each"), "{told}");
    let embeds = ("GLM_EMBEDS_DIR", "out");
    let pair = [
        ("GLM_GENERATE", "1"),
        ("GLM_IDX_A", "0"),
        ("GLM_IDX_B", "3"),
        embeds,
    ];
    let (code, out, told) = tool(&pair);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        out.starts_with("photos/a.png | photos/sub/d.tif\n"),
        "{out}"
    );
    let count = |out: &str| out.matches(" | ").count();
    let (_, out, _) = tool(&[("GLM_GENERATE", "1"), embeds]);
    assert_eq!(count(&out), 1, "{out}");
    let (_, out, _) = tool(&[("GLM_BATCH_GENERATE", "1"), embeds]);
    assert_eq!(count(&out), 4, "{out}");
    let (_, out, _) = tool(&[("GLM_BATCH_GENERATE", "1"), ("GLM_BATCH_SIZE", "8"), embeds]);
    assert_eq!(count(&out), 8, "{out}");
    fs::write(folder.path().join("pairs.txt"), "0,1\n2,3\n").expect("written");
    let file = [
        ("GLM_BATCH_GENERATE", "1"),
        ("GLM_PAIRS_FILE", "pairs.txt"),
        embeds,
    ];
    assert_eq!(count(&tool(&file).1), 2);
    // The mode chooses between numbers and a list; without one it is the numbers.
    let both = [pair[1], pair[2], file[1], embeds];
    let asked = |mode: &str| {
        let (code, out, told) = tool(&[&both[..], &[(mode, "1")]].concat());
        assert_eq!(code, Some(0), "{told}");
        count(&out)
    };
    assert_eq!(asked("GLM_GENERATE"), 1);
    assert_eq!(asked("GLM_BATCH_GENERATE"), 2);
    let named = |words: &[&str], set: &[(&str, &str)]| {
        let mut command = images(words);
        command.args(["-n", "2", "-s", "1"]);
        command.envs(set.iter().copied()).current_dir(folder.path());
        let (code, out, told) = run(&mut command);
        assert_eq!(code, Some(0), "{told}");
        out
    };
    let numbers = "photos/a.png | photos/sub/d.tif\n";
    assert!(named(&["pairs"], &both).starts_with(numbers));
    // Words come before all of them.
    assert_eq!(count(&named(&["pairs", "--pairs", "pairs.txt"], &both)), 2);
    assert_eq!(count(&named(&["pairs", "--random", "3"], &both)), 3);
    let words = ["describe", "photos/b.jpg", "--image-size", "28"];
    let others = [embeds, ("GLM_IDX", "0"), ("GLM_IMAGE_SIZE", "56")];
    assert!(named(&words, &others).starts_with("photos/b.jpg\n"));

    let describe = [("GLM_DESCRIBE", "1"), ("GLM_IDX", "2"), embeds];
    assert!(tool(&describe).1.starts_with("photos/sub/c.webp\n"));
    // Greedy, whatever the seed.
    let greedy = |seed| {
        let set = [("GLM_DO_SAMPLE", "0"), ("GLM_SEED", seed)];
        tool(&[&pair[..], &set].concat()).1
    };
    assert_eq!(greedy("1"), greedy("2"));
}

/// Runs a target of the Makefile as one would in `folder`, if there is `make`.
fn make(folder: &Path, words: &[&str]) -> Option<(Option<i32>, String, String)> {
    let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Makefile");
    if Command::new("make").arg("--version").output().is_err() {
        eprintln!("there is no make here: its targets were not run");
        return None;
    }
    let mut command = Command::new("make");
    command.arg("-f").arg(makefile).args(words);
    command.arg(format!("CHORAL={}", env!("CARGO_BIN_EXE_choral")));
    for (name, _) in std::env::vars() {
        if name.starts_with("GLM_") || name.starts_with("CHORAL_") {
            command.env_remove(name);
        }
    }
    command
        .env("CHORAL_MODEL", golden("models/glm4v/hf"))
        .env("GLM_IDX_A", "0")
        .env("GLM_SEED", "3")
        .current_dir(folder)
        .stdin(Stdio::null());
    Some(run(&mut command))
}

#[test]
fn make_targets_take_any_name_and_any_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let names: Vec<String> = (0..16)
        .map(|i| format!("it's my \"photos\"/{i:02}.png"))
        .collect();
    let sources = ["rgb.png", "grey.png", "rgba.png"].iter().cycle();
    let sources: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(sources.copied())
        .collect();
    copy(folder.path(), &sources);
    let words = [
        "precompute",
        "INPUT=it's my \"photos\"",
        "OUTPUT=a 'store'",
        "SIZE=28",
        "BATCH=8",
    ];
    let Some((code, _, told)) = make(folder.path(), &words) else {
        return;
    };
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("`a 'store'` has 16"), "{told}");
    // 16 pictures are 120 pairs.
    let words = [
        "batch-generate",
        "EMBEDS=a 'store'",
        "BATCH=192",
        "TOKENS=1",
        "PROMPT=Isn't it?",
        "OUT=it's.jsonl",
    ];
    let (code, _, told) = make(folder.path(), &words).expect("make is there");
    assert_eq!(code, Some(0), "{told}");
    let answers = fs::read_to_string(folder.path().join("it's.jsonl")).expect("answers");
    assert_eq!(answers.lines().count(), 192);
    let words = ["generate", "EMBEDS=a 'store'", "TOKENS=1", "B=5"];
    let (code, out, told) = make(folder.path(), &words).expect("make is there");
    assert_eq!(code, Some(0), "{told}");
    assert!(out.contains("/00.png | it's my \"photos\"/05.png"), "{out}");
    let words = ["report", "RESULTS=it's.jsonl", "OUT=it's.html"];
    let (code, _, told) = make(folder.path(), &words).expect("make is there");
    assert_eq!(code, Some(0), "{told}");
    assert!(folder.path().join("it's.html").is_file());
}
