//! `choral embed`.

use super::{Ran, choral, golden, lines, repository};
use serde_json::{Value, json};
use std::path::Path;

const MODEL: &str = "golden/models/bert_embed/hf";

fn embed(args: &[&str], stdin: impl Into<Vec<u8>>) -> Ran {
    let mut all = vec!["embed", "-m", MODEL];
    all.extend(args);
    choral(&all, stdin)
}

#[track_caller]
fn check(found: &Value, want: &Value) {
    let (found, want) = (
        found.as_array().expect("a vector"),
        want.as_array().expect("one"),
    );
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(want) {
        let (found, want) = (
            found.as_f64().expect("a number"),
            want.as_f64().expect("one"),
        );
        assert!((found - want).abs() < 2e-5, "{found} for {want}");
    }
}

fn texts() -> Vec<(String, Value)> {
    let golden = golden("models/bert_embed/golden.json");
    let texts = golden["embeddings"].as_object().expect("texts");
    let mut texts: Vec<_> = texts.clone().into_iter().collect();
    texts.retain(|(name, _)| name != "long");
    assert_eq!(texts.len(), 6);
    texts
}

#[test]
fn standard_input_is_one_text_byte_for_byte() {
    for (_, want) in texts() {
        let text = want["text"].as_str().expect("a text");
        let args = ["--pooling", "mean", "--normalize", "--json"];
        let answers = embed(&args, text).json();
        assert_eq!(answers.len(), 1);
        check(&answers[0]["embedding"], &want["mean_l2_normalised"]);
    }
}

#[test]
fn prompts_are_embedded_in_order() {
    let texts = texts();
    let mut args = vec!["--no-normalize", "-pooling", "cls"];
    for (_, want) in &texts {
        args.extend(["-p", want["text"].as_str().expect("a text")]);
    }
    let answers = embed(&args, "").json();
    assert_eq!(answers.len(), texts.len());
    for (row, (answer, (_, want))) in answers.iter().zip(&texts).enumerate() {
        assert_eq!(answer["row"], row);
        let num_tokens = want["ids"].as_array().expect("ids").len();
        assert_eq!(answer["usage"]["prompt_tokens"], num_tokens);
        check(&answer["embedding"], &want["cls"]);
    }
}

#[test]
fn a_file_gives_the_bits_that_its_rows_give_alone() {
    let rows: Vec<Value> = texts()
        .into_iter()
        .map(|(name, want)| json!({"custom_id": name, "input": want["text"]}))
        .collect();
    let together = embed(&["-i", "-", "-q"], lines(rows.clone())).json();
    assert_eq!(together.len(), rows.len());
    for (row, answer) in rows.iter().zip(&together) {
        assert_eq!(row["custom_id"], answer["custom_id"]);
        let alone = embed(&["-p", row["input"].as_str().expect("a text")], "").json();
        assert_eq!(alone[0]["embedding"], answer["embedding"]);
    }
    for more in [["-b", "1"], ["--max-num-batched-tokens", "16"], ["-t", "3"]] {
        let args = [&["-i", "-", "-q"], &more[..]].concat();
        assert_eq!(
            embed(&args, lines(rows.clone())).json(),
            together,
            "{more:?}"
        );
    }
}

#[test]
fn rows_in_error_say_why_and_the_others_are_answered() {
    let golden = golden("models/bert_embed/golden.json");
    let long = &golden["embeddings"]["long"]["text"];
    let rows = lines([
        json!({"custom_id": "a", "input": "Hello"}),
        json!({"custom_id": "b", "input": long}),
        json!({"custom_id": "c", "inputs": "Hello"}),
        json!({"custom_id": "d", "input": [2, 700]}),
        json!({"custom_id": "e", "input": [2, 50, 212, 138, 130, 3]}),
    ]);
    let ran = embed(&["-i", "-", "--input-format", "jsonl"], rows.clone());
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("3 of 5 rows are in error"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("--truncate"), "{}", ran.stderr);
    let answers: Vec<Value> = ran
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let codes: Vec<&Value> = answers.iter().map(|a| &a["error"]["code"]).collect();
    let expected = [
        json!(null),
        json!("too_long"),
        json!("unknown_parameter"),
        json!("invalid_prompt"),
        json!(null),
    ];
    assert_eq!(codes, expected.iter().collect::<Vec<_>>());
    assert_eq!(answers[1]["embedding"], Value::Null);
    assert_eq!(answers[1]["error"]["line"], 2);
    // Rows of tokens are used as they are.
    assert_eq!(answers[0]["embedding"], answers[4]["embedding"]);

    let ran = embed(&["-i", "-", "--truncate"], rows);
    assert_eq!(ran.code, Some(3));
    assert!(
        ran.stderr.contains("1 texts were cut to 128 tokens"),
        "{}",
        ran.stderr
    );
    let second: Value =
        serde_json::from_str(ran.stdout.lines().nth(1).expect("a line")).expect("JSON");
    assert_eq!(
        (&second["truncated"], &second["usage"]["prompt_tokens"]),
        (&json!(true), &json!(128))
    );
}

#[test]
fn open_ais_lines_are_answered_in_their_format() {
    let line = |id: &str, input: Value| {
        json!({"custom_id": id, "method": "POST", "url": "/v1/embeddings",
            "body": {"model": "text-embedding-3-small", "input": input}})
    };
    let input = lines([line("a", json!(["Hello", "Hello"])), line("b", json!([]))]);
    let ran = embed(&["-i", "-", "-q"], input);
    assert_eq!(ran.code, Some(3));
    let answers: Vec<Value> = ran
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let body = &answers[0]["response"]["body"];
    assert_eq!(body["data"].as_array().expect("items").len(), 2);
    assert_eq!(body["model"], "hf");
    let alone = embed(&["-p", "Hello"], "").json();
    assert_eq!(body["data"][1]["embedding"], alone[0]["embedding"]);
    assert_eq!(answers[1]["response"]["status_code"], 400);
    assert_eq!(
        answers[1]["response"]["body"]["error"]["param"],
        "body.input"
    );
}

#[test]
fn arrays_have_a_row_for_each_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.npy");
    let output = path.to_str().expect("a name");
    let rows = lines([
        json!({"input": "Hello"}),
        json!({"input": [900]}),
        json!({"input": "Hello"}),
    ]);
    let ran = embed(&["-i", "-", "-o", output, "-q"], rows.clone());
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let bytes = std::fs::read(&path).expect("an array");
    let header = String::from_utf8_lossy(&bytes[10..128]).into_owned();
    assert!(header.contains("'shape': (3, 48)"), "{header}");
    let floats: Vec<f32> = bytes[128..]
        .as_chunks()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    assert_eq!(floats.len(), 3 * 48);
    assert_eq!(floats[..48], floats[96..]);
    assert!(floats[48..96].iter().all(|x| x.is_nan()));
    let json = &embed(&["-p", "Hello"], "").json()[0]["embedding"];
    assert_eq!(json[0].as_f64().expect("a number") as f32, floats[0]);

    let again = embed(&["-i", "-", "-o", output, "-q"], rows.clone()).error();
    assert!(again.contains("exists"), "{again}");
    let again = embed(
        &[
            "-i",
            "-",
            "-o",
            output,
            "-q",
            "--overwrite",
            "--dimensions",
            "3",
        ],
        rows,
    );
    assert_eq!(again.code, Some(3));
    assert_eq!(
        std::fs::metadata(&path).expect("an array").len(),
        128 + 3 * 3 * 4
    );
}

#[test]
fn a_file_of_lines_is_a_file_of_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("texts.txt");
    std::fs::write(&path, "Hello\n\nThe quick brown fox\n").expect("a file");
    let ran = embed(&["-i", path.to_str().expect("a name")], "");
    assert!(
        ran.stderr.contains("blank lines passed over: 1"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("2 rows in"), "{}", ran.stderr);
    assert_eq!(ran.json().len(), 2);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (args, expected) in [
        (&["-p", "a", "-i", "x"][..], "cannot be used with"),
        (&["--normalize", "--no-normalize"], "cannot be used with"),
        (&["--output-format", "npy"], "name it with --output"),
        (&["-o", "x.npy", "--pooling", "none"], "one vector a text"),
        (&["--pooling", "max"], "expected mean, cls, last or none"),
        (&["--input-format", "txt"], "--input"),
        (&["--dimensions", "0"], "from 1"),
    ] {
        let ran = embed(args, "a");
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    }
    for (args, expected) in [
        (&["--dimensions", "49"][..], "expected 1 to 48"),
        (&["-c", "129"], "the model has 128"),
        (&["-i", "no-such-file"], "cannot read the input"),
    ] {
        let error = embed(args, "a").error();
        assert!(error.contains(expected), "{args:?}: {error}");
    }
    let golden = golden("models/bert_embed/golden.json");
    let long = golden["embeddings"]["long"]["text"]
        .as_str()
        .expect("a text");
    let error = embed(&[], long).error();
    assert!(
        error.contains("--truncate") && error.contains("the model takes 128"),
        "{error}"
    );
    assert!(Path::new(&repository()).join(MODEL).is_dir());
    let error = choral(&["generate", "-m", MODEL, "-p", "a"], "").error();
    assert!(error.contains("choral embed"), "{error}");
}
