//! `choral debug score` and `choral score`.

// What is compared here is rounded before it is shown.
#![allow(clippy::disallowed_methods)]

use super::{choral, floats, golden, lines};
use serde_json::{Value, json};

/// What one prompt must give, and how far from it a result may be, in standard
/// deviations of its logits.
fn check(name: &str, answer: &Value, want: &Value, tolerance: f32) {
    let std = want["last"]["std"].as_f64().expect("a number") as f32;
    let (got, logits) = (
        floats(&answer["last_logits_b64"]),
        floats(&want["last"]["logits_f32_b64"]),
    );
    assert_eq!(got.len(), logits.len(), "{name}");
    for (got, want) in got.iter().zip(&logits) {
        assert!(
            (got - want).abs() <= tolerance * std,
            "{name}: {got} for {want}"
        );
    }
    // A choice between two logits that are this close may go either way.
    let margins = want["greedy"]["margins"].as_array().expect("a list");
    let close = |m: &Value| m.as_f64().expect("a number") as f32 <= 4.0 * tolerance * std;
    let clear = margins.iter().position(close).unwrap_or(margins.len());
    let ids = |value: &Value| value.as_array().expect("ids")[..clear].to_vec();
    assert_eq!(
        ids(&answer["greedy_ids"]),
        ids(&want["greedy"]["ids"]),
        "{name}"
    );

    let logprobs = answer["prompt_logprobs"].as_array().expect("a list");
    let wanted = want["prompt_logprobs"].as_array().expect("a list");
    assert_eq!(logprobs.len(), wanted.len(), "{name}");
    assert!(logprobs[0].is_null());
    for (got, want) in logprobs.iter().zip(wanted).skip(1) {
        let (got, want) = (
            got.as_f64().expect("a number"),
            want.as_f64().expect("a number"),
        );
        assert!(
            (got - want).abs() <= f64::from(4.0 * tolerance * std),
            "{name}"
        );
    }
    let norms = answer["hidden_l2"].as_array().expect("a list");
    let wanted = want["hidden"].as_array().expect("a list");
    assert_eq!(norms.len(), wanted.len(), "{name}");
    for (got, want) in norms.iter().zip(wanted) {
        let (got, want) = (
            got.as_f64().expect("a number"),
            want["l2_last"].as_f64().expect("one"),
        );
        assert!(
            (got / want - 1.0).abs() <= f64::from(2.0 * tolerance),
            "{name}"
        );
    }
}

fn prompts(golden: &Value) -> Vec<(&String, &Value)> {
    golden["prompts"]
        .as_object()
        .expect("prompts")
        .iter()
        .collect()
}

fn debug_score(model: &str, golden: &Value, more: &[&str]) -> String {
    let inputs = prompts(golden)
        .into_iter()
        .map(|(name, prompt)| json!({"name": name, "ids": prompt["ids"]}));
    let path = format!("golden/models/{model}/hf");
    let mut args = vec!["debug", "score", "--model", &path, "--input", "-"];
    args.extend(["--greedy", "32", "--logits", "full", "--hidden"]);
    args.extend(more);
    choral(&args, lines(inputs)).text()
}

#[test]
fn f32_agrees_with_transformers() {
    for model in ["llama3", "qwen2", "qwen3", "tinyllama"] {
        let golden = golden(&format!("models/{model}/golden.json"));
        let text = debug_score(model, &golden, &["--numeric", "f32"]);
        let wanted = prompts(&golden);
        assert_eq!(text.lines().count(), wanted.len());
        for ((name, want), line) in wanted.into_iter().zip(text.lines()) {
            let answer: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(answer["name"], **name);
            check(&format!("{model} {name}"), &answer, want, 1e-3);
        }
    }
}

#[test]
fn prompts_with_pictures_agree_with_transformers() {
    let golden = golden("models/glm4v/golden.json");
    let prompts = prompts(&golden);
    let line = |(name, prompt): &(&String, &Value)| {
        let names = prompt["images"].as_array().expect("names").iter();
        let files = names.map(|name| {
            let file = &golden["images"][name.as_str().expect("a name")]["file"];
            format!("golden/models/glm4v/{}", file.as_str().expect("a file"))
        });
        let ids = &prompt["ids_before_image_expansion"];
        json!({"name": name, "ids": ids, "images": files.collect::<Vec<_>>()})
    };
    let gguf = "golden/models/glm4v/gguf/glm4v-BF16.gguf";
    let mmproj = "golden/models/glm4v/gguf/mmproj-glm4v-F32.gguf";
    let sources = [
        vec!["-m", "golden/models/glm4v/hf"],
        vec!["-m", gguf, "--mmproj", mmproj],
    ];
    for source in sources {
        let mut args = vec!["debug", "score", "--input", "-", "--numeric", "f32"];
        args.extend(["--greedy", "32", "--logits", "full", "--hidden"]);
        args.extend(&source);
        let answers = choral(&args, lines(prompts.iter().map(line))).json();
        assert_eq!(answers.len(), prompts.len());
        for ((name, want), answer) in prompts.iter().zip(answers) {
            // Resized pictures depend on the resampler.
            check(&format!("{source:?} {name}"), &answer, want, 5e-2);
        }
    }
}

#[test]
fn bf16_is_near() {
    let golden = golden("models/qwen2/golden.json");
    let text = debug_score("qwen2", &golden, &[]);
    let wanted = prompts(&golden);
    assert_eq!(text.lines().count(), wanted.len());
    for ((name, want), line) in wanted.into_iter().zip(text.lines()) {
        let answer: Value = serde_json::from_str(line).expect("JSON");
        check(name, &answer, want, 5e-2);
    }
}

#[test]
fn a_batch_gives_the_bits_that_each_prompt_gives_alone() {
    let golden = golden("models/qwen2/golden.json");
    let batch = debug_score("qwen2", &golden, &[]);
    for options in [
        vec!["--sequential"],
        vec![
            "--max-num-seqs",
            "2",
            "--prefill-chunk",
            "7",
            "--threads",
            "1",
        ],
        vec![
            "--max-num-batched-tokens",
            "33",
            "--max-num-seqs",
            "3",
            "--no-prefix-cache",
        ],
    ] {
        assert!(
            debug_score("qwen2", &golden, &options) == batch,
            "{options:?}"
        );
    }
}

#[test]
fn tokens_that_a_model_does_not_have_are_refused() {
    let args = ["debug", "score", "-m", "golden/models/qwen2/hf"];
    let error = choral(&args, lines([json!({"name": "a", "ids": [1, 100_000]})])).error();
    assert_eq!(
        error,
        "choral: a: prompt token 1 is 100000, expected an id below 768"
    );
    let line = json!({"name": "a", "ids": [1], "images": ["cat.png"]});
    assert_eq!(
        choral(&args, lines([line])).error(),
        "choral: stdin: line 1: golden/models/qwen2/hf: the model has no image encoder"
    );
}

#[test]
fn texts_are_scored_as_transformers_does() {
    let golden = golden("models/qwen2/golden.json");
    let want = &golden["prompts"]["short"];
    let text = want["text"].as_str().expect("text");
    let args = [
        "score",
        "-m",
        "golden/models/qwen2/hf",
        "--numeric",
        "f32",
        "--json",
        "--top",
        "3",
    ];
    let inputs = [
        json!({"name": "as text", "prompt": text}),
        json!({"name": "as ids", "ids": want["ids"]}),
    ];
    let args = [&args[..], &["--input", "-"]].concat();
    let answers = choral(&args, lines(inputs)).json();
    assert_eq!(answers[0]["name"], "as text");
    assert_eq!(answers[0]["logprobs"], answers[1]["logprobs"]);
    let score = &answers[0];
    assert_eq!(score["ids"], want["ids"]);
    let wanted = want["prompt_logprobs"].as_array().expect("a list");
    let mut sum = 0.0;
    for (got, want) in score["logprobs"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(wanted)
        .skip(1)
    {
        let (got, want) = (
            got.as_f64().expect("a number"),
            want.as_f64().expect("a number"),
        );
        assert!((got - want).abs() < 4e-3);
        sum += want;
    }
    assert_eq!(score["num_scored"], wanted.len() - 1);
    let perplexity = score["perplexity"].as_f64().expect("a number");
    assert!((perplexity / (-sum / (wanted.len() - 1) as f64).exp() - 1.0).abs() < 1e-3);
    let top = score["top_logprobs"].as_array().expect("a list");
    assert_eq!(top[0], json!([]));
    assert_eq!(top[1].as_array().expect("alternatives").len(), 3);
}

#[test]
fn scores_are_shown_as_a_table_with_a_total() {
    let args = [
        "score",
        "-m",
        "golden/models/tinyllama/hf",
        "--numeric",
        "f32",
        "-p",
        "Hello",
        "-p",
        "Hi",
    ];
    insta::assert_snapshot!(choral(&args, "").text(), @r#"
          1          -  "<s>"
        466   -10.2784  " H"
        533   -12.3822  "e"
        274    -7.2925  "ll"
        536    -8.4628  "o"
    4 tokens scored, sum -38.4159, perplexity 14823.7571

          1          -  "<s>"
        466   -10.2784  " H"
        537   -10.7063  "i"
    2 tokens scored, sum -20.9847, perplexity 36038.4433

    2 texts, 6 tokens scored, sum -59.4006, perplexity 19932.4585
    "#);
}

#[test]
fn lines_of_a_file_are_texts() {
    let args = ["score", "-m", "golden/models/qwen2/hf", "--json"];
    let answers = choral(&args, "Hello\r\n\n The fox\n").json();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["tokens"].as_array().expect("a list").len(), 4);
    let error = choral(
        &[&args[..], &["--input", "-"]].concat(),
        "{\"prompt\": \"a\", \"ids\": []}",
    );
    assert_eq!(
        error.error(),
        "choral: stdin: line 1: expected either `prompt` or `ids`"
    );
}
