//! `choral images pairs` and `describe`: what is asked, and what is answered.

use super::{
    SHORT, copy, golden, images, lines, outputs, pairs, pairs_of_list, pictures,
    pictures_in_a_store, refused, run,
};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;

#[test]
fn pairs_have_the_same_answers_from_a_store_from_files_and_in_any_batch() {
    let folder = pictures_in_a_store();
    let path = |name: &str| folder.path().join(name);
    let from = |source: &[&str], batch: &str, output: &str| {
        let words = [
            source,
            &["--pairs", "pairs.txt", "--batch-size", batch, "-o", output],
        ];
        let (code, _, told) = pairs(folder.path(), &words.concat());
        assert_eq!(code, Some(0), "{told}");
        fs::read(path(output)).expect("answers")
    };
    let store = ["--embeds", "store"];
    let one = from(&store, "1", "one.jsonl");
    assert_eq!(one, from(&store, "64", "many.jsonl"));
    let files = ["--images", "photos", "--image-size", "56"];
    assert_eq!(one, from(&files, "64", "files.jsonl"));

    let rows = lines(&path("one.jsonl"));
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[1]["row"], 1);
    assert_eq!(rows[1]["fields"]["image_a"], "photos/sub/d.tif");
    assert_eq!(rows[1]["fields"]["index_a"], 3);
    assert_eq!(rows[1]["fields"]["image_b"], "photos/sub/c.webp");
    assert_eq!(
        rows[1]["outputs"][0]["token_ids"].as_array().map(Vec::len),
        Some(6)
    );
    // Two images of four tokens are in the prompt, and the order of a pair matters.
    assert!(
        rows.iter()
            .all(|row| row["usage"]["prompt_tokens"].as_u64() > Some(20))
    );
    let outputs = outputs(&path("one.jsonl"));
    assert_ne!(outputs[2][0]["token_ids"], outputs[3][0]["token_ids"]);
    // Again there is nothing to do.
    let (code, _, told) = pairs(
        folder.path(),
        &[
            &store[..],
            &[
                "--pairs",
                "pairs.txt",
                "--batch-size",
                "1",
                "-o",
                "one.jsonl",
            ],
        ]
        .concat(),
    );
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("6 answers are there already"), "{told}");
}

#[test]
fn lines_that_are_no_pairs_are_told_and_the_others_are_answered() {
    let folder = pictures_in_a_store();
    fs::write(folder.path().join("pairs.txt"), "0,1\nx\n\n0,9\n1,0\n").expect("written");
    let (code, _, told) = pairs_of_list(folder.path(), "out.jsonl");
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("pairs.txt:2: found `x`, expected two numbers"),
        "{told}"
    );
    assert!(
        told.contains("pairs.txt:4: there is no image 9: there are 5"),
        "{told}"
    );
    let rows = lines(&folder.path().join("out.jsonl"));
    let errors: Vec<_> = rows
        .iter()
        .map(|row| row["error"]["line"].as_u64())
        .collect();
    assert_eq!(errors, [None, Some(2), Some(4), None]);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_of_its_pairs() {
    let folder = pictures();
    copy(folder.path(), &[("photos/0.png", "malformed/trunc.png")]);
    fs::write(folder.path().join("pairs.txt"), "0,1\n1,2\n").expect("written");
    let words = [
        "--images",
        "photos",
        "--image-size",
        "56",
        "--pairs",
        "pairs.txt",
        "--json",
    ];
    let (code, out, told) = pairs(folder.path(), &words);
    assert_eq!(code, Some(3), "{told}");
    let rows: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(rows[0]["error"]["code"], "invalid_image");
    let message = rows[0]["error"]["message"].as_str().expect("text");
    assert!(
        message.contains("photos/0.png: is a damaged PNG file"),
        "{message}"
    );
    assert_eq!(rows[1]["error"], Value::Null);
    assert_eq!(rows[0]["error"]["file"], "pairs.txt");
    assert_eq!(rows[0]["error"]["line"], 1);
    assert!(
        told.contains("pairs.txt:1: photos/0.png: is a damaged PNG file"),
        "{told}"
    );
    // One that is not there is as one that is damaged.
    fs::write(folder.path().join("pairs.txt"), "\n1,1\n\n1,0\n").expect("written");
    let words = [
        "--images",
        "gone.png",
        "photos/a.png",
        "--pairs",
        "pairs.txt",
        "--image-size",
        "56",
    ];
    let (code, out, told) = pairs(folder.path(), &words);
    assert_eq!(code, Some(3), "{told}");
    assert!(out.starts_with("photos/a.png | photos/a.png\n"), "{out}");
    assert!(told.contains("pairs.txt:4: gone.png: "), "{told}");
    assert!(told.contains("1 of 2 questions are in error"), "{told}");
}

#[test]
fn a_system_message_stands_before_the_question() {
    let folder = pictures();
    let describe = |words: &[&str]| {
        let mut command = images(&["describe", "photos/a.png", "--image-size", "56", "--json"]);
        command.args(SHORT).args(words).current_dir(folder.path());
        let (code, out, told) = run(&mut command);
        assert_eq!(code, Some(0), "{told}");
        let row: Value = serde_json::from_str(&out).expect("JSON");
        row["usage"]["prompt_tokens"].as_u64()
    };
    assert!(describe(&["--system", "Be brief."]) > describe(&[]));
}

#[test]
fn a_seed_draws_the_same_pairs_again() {
    let folder = pictures_in_a_store();
    let draw = |seed: &str| {
        let mut command = images(&["pairs", "--embeds", "store", "--random", "4", "--json"]);
        command.args(["-n", "2", "--no-timings", "-s", seed]);
        run(command.current_dir(folder.path())).1
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn any_number_of_pairs_is_drawn_and_any_batch_size_is_taken() {
    let folder = pictures_in_a_store();
    let words = [
        "--embeds",
        "store",
        "--random",
        "25",
        "--batch-size",
        "10000000",
        "-o",
        "out.jsonl",
    ];
    let (code, _, told) = pairs(folder.path(), &words);
    assert_eq!(code, Some(0), "{told}");
    let rows = lines(&folder.path().join("out.jsonl"));
    // Five pictures make ten pairs: two rounds, and a half.
    let pair = |row: &Value| {
        let numbers = ["index_a", "index_b"].map(|name| row["fields"][name].as_u64());
        [numbers[0].min(numbers[1]), numbers[0].max(numbers[1])]
    };
    let distinct = |rows: &[Value]| rows.iter().map(pair).collect::<HashSet<_>>().len();
    let rounds: Vec<_> = rows.chunks(10).map(distinct).collect();
    assert_eq!(rounds, [10, 10, 5]);
}

#[test]
fn pictures_are_described_one_by_one() {
    let folder = pictures_in_a_store();
    fs::write(folder.path().join("some.txt"), "4\n0\n").expect("written");
    let describe = |words: &[&str]| {
        let mut command = images(&["describe"]);
        command.args(words).args(SHORT).current_dir(folder.path());
        let (code, out, told) = run(command.arg("--json"));
        assert_eq!(code, Some(0), "{told}");
        let rows = out
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        rows.collect::<Vec<Value>>()
    };
    let all = describe(&["--embeds", "store"]);
    assert_eq!(all.len(), 5);
    let some = describe(&["--embeds", "store", "--indices", "some.txt"]);
    assert_eq!(some[0]["fields"]["image"], "photos/sub/e.gif");
    let one = describe(&["--embeds", "store", "-i", "0"]);
    // Seeds follow from the row: only the first of each is drawn alike.
    assert_eq!(one[0]["outputs"], all[0]["outputs"]);
    let file = describe(&["photos/a.png", "--image-size", "56"]);
    assert_eq!(file[0]["outputs"], all[0]["outputs"]);
    // At its own size it has as many tokens as the model's limits say.
    let dynamic = describe(&["photos/a.png", "--image-size", "dynamic"]);
    assert_ne!(
        dynamic[0]["usage"]["prompt_tokens"],
        file[0]["usage"]["prompt_tokens"]
    );
}

#[test]
fn what_makes_no_sense_is_told() {
    let folder = pictures_in_a_store();
    let error = |words: &[&str]| refused(folder.path(), words);
    let told = error(&["pairs", "--embeds", "nowhere", "-a", "0", "-b", "1"]);
    assert!(
        told.contains("`nowhere` is no store of embeddings: it has no embeddings.bin"),
        "{told}"
    );
    let told = error(&["pairs", "--embeds", "store", "-a", "0", "-b", "5"]);
    assert!(
        told.contains("there is no image 5: there are 5, from 0"),
        "{told}"
    );
    let told = error(&[
        "pairs",
        "--embeds",
        "store",
        "-a",
        "0",
        "-b",
        "photos/a.png",
    ]);
    assert!(
        told.contains("-a and -b are two numbers, or two files"),
        "{told}"
    );
    let told = error(&["pairs", "--embeds", "store", "--image-size", "84"]);
    assert!(
        told.contains("84, but the pictures of the store were encoded with 56"),
        "{told}"
    );
    let told = error(&["precompute", "photos", "-o", "store", "--image-size", "112"]);
    assert!(
        told.contains("another image size: it has Fixed(56), expected Fixed(112)"),
        "{told}"
    );
    let told = error(&[
        "precompute",
        "photos",
        "-o",
        "store",
        "--image-size",
        "dynamic",
    ]);
    assert!(told.contains("expected a number"), "{told}");
    let told = error(&["precompute", "photos", "-o", "new", "--image-size", "50"]);
    assert!(
        told.contains("the image size is 50, expected a multiple of 28"),
        "{told}"
    );
    let told = error(&["precompute", "nowhere", "-o", "new"]);
    assert!(told.contains("nowhere"), "{told}");
    let mut blind = images(&["describe", "photos/a.png"]);
    blind.env("CHORAL_MODEL", golden("models/qwen2/hf"));
    let (code, _, told) = run(blind.current_dir(folder.path()));
    assert_eq!(code, Some(1));
    assert!(told.contains("image"), "{told}");
}

/// An answer in the place of what was asked about would be a loss.
#[test]
fn nothing_that_is_read_is_written_over() {
    let folder = pictures_in_a_store();
    let folder = folder.path();
    fs::write(folder.join("question.txt"), "Which?").expect("written");
    let read = |name: &str| fs::read(folder.join(name)).expect("a file");
    let from_store = ["pairs", "--embeds", "store", "--pairs", "pairs.txt"];
    let from_store = [&from_store[..], &["--file", "question.txt"]].concat();
    let from_file = ["describe", "photos/a.png"];
    for (words, name) in [
        (&from_store[..], "pairs.txt"),
        (&from_store, "question.txt"),
        (&from_store, "store/filenames.txt"),
        (&from_store, "store/embeddings.bin"),
        (&from_file, "photos/a.png"),
    ] {
        let before = read(name);
        let told = refused(folder, &[words, &["--overwrite", "-o", name]].concat());
        assert!(told.contains("is the input"), "{told}");
        assert_eq!(read(name), before);
    }
    let told = refused(folder, &["pairs", "--pairs", "-", "--file", "-"]);
    assert!(told.contains("both standard input"), "{told}");
}

#[test]
fn two_files_are_compared_whatever_the_store() {
    let folder = pictures_in_a_store();
    let files = [
        "-a",
        "photos/a.png",
        "-b",
        "photos/b.jpg",
        "--image-size",
        "56",
    ];
    let (code, out, told) = pairs(
        folder.path(),
        &[&files[..], &["--embeds", "store"]].concat(),
    );
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("the store `store` is not looked at"),
        "{told}"
    );
    assert_eq!(pairs(folder.path(), &files).1, out);
}
