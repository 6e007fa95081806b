//! `choral debug`.

use super::{choral, floats, golden, lines, repository};
use serde_json::{Value, json};

#[test]
fn rows_are_dequantised_as_gguf_py_does() {
    let mut checked = 0;
    for row in golden("quant_rows.json")["rows"].as_array().expect("rows") {
        let file = row["file"].as_str().expect("a name");
        let model = file.split('-').next().expect("a first part");
        let path = format!("golden/models/{model}/gguf/{file}");
        if !repository().join(&path).exists() {
            continue;
        }
        let tensor = row["tensor"].as_str().expect("a name");
        let index = row["row"].to_string();
        let args = [
            "debug", "dequant", "-m", &path, "--tensor", tensor, "--row", &index,
        ];
        let answer = choral(&args, "").json().remove(0);
        assert_eq!(answer["type"], row["type"]);
        let (got, want) = (
            floats(&answer["values_f32_b64"]),
            floats(&row["values_f32_b64"]),
        );
        let largest = want.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 2e-7 * largest, "{file} {tensor}");
        }
        checked += 1;
    }
    assert!(checked >= 2, "only {checked} rows");
}

#[test]
fn tensors_and_rows_that_are_not_there_are_named() {
    let model = "golden/models/qwen2/hf";
    let args = [
        "debug", "dequant", "-m", model, "--tensor", "nothing", "--row", "0",
    ];
    assert_eq!(
        choral(&args, "").error(),
        "choral: golden/models/qwen2/hf: tensor `nothing` is missing"
    );
    let norm = "model.norm.weight";
    let args = [
        "debug", "dequant", "-m", model, "--tensor", norm, "--row", "1",
    ];
    assert_eq!(
        choral(&args, "").error(),
        "choral: golden/models/qwen2/hf: tensor `model.norm.weight` has 1 rows, no row 1"
    );
}

#[test]
fn distributions_are_those_of_transformers_and_llama_cpp() {
    for file in ["hf.json", "llamacpp.json"] {
        let set = golden(&format!("sampler/{file}"));
        let cases = set["cases"].as_array().expect("cases");
        let inputs = cases.iter().map(|case| {
            let mut input = case.clone();
            if !set["order"].is_null() {
                input["order"] = set["order"].clone();
            }
            input
        });
        let answers = choral(&["debug", "sample-dist", "--input", "-"], lines(inputs)).json();
        assert_eq!(answers.len(), cases.len());
        for (i, (answer, case)) in answers.iter().zip(cases).enumerate() {
            check_distribution(&format!("{file}#{i}"), answer, case);
        }
    }
}

fn check_distribution(name: &str, answer: &Value, case: &Value) {
    let n = case["n"].as_u64().expect("a size") as usize;
    let spread = |ids: &Value, probs: &Value| {
        let mut all = vec![0.0; n];
        let ids = ids.as_array().into_iter().flatten();
        for (id, p) in ids.zip(probs.as_array().into_iter().flatten()) {
            all[id.as_u64().expect("an id") as usize] = p.as_f64().expect("a probability");
        }
        all
    };
    let want = if case["ids"].is_null() {
        let probs = floats(&case["probs_f32_b64"]);
        probs.into_iter().map(f64::from).collect()
    } else {
        spread(&case["ids"], &case["probs"])
    };
    let got = spread(&answer["ids"], &answer["probs"]);
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 1e-5, "{name}: {got} for {want}");
    }
}

#[test]
fn malformed_cases_are_named_by_their_line() {
    let good = json!({"logits_f32_b64": "AAAAAAAAAAAAAHrE", "chain": []});
    let input = format!("{good}\n\n{{\"logits_f32_b64\": 1}}\n");
    let ran = choral(&["debug", "sample-dist"], input);
    assert_eq!(ran.stdout.lines().count(), 1, "the good line is answered");
    let error = ran.error();
    assert!(
        error.starts_with("choral: stdin: line 3: case is malformed: invalid type: integer `1`"),
        "{error}"
    );
    let error = choral(&["debug", "sample-dist", "--input", "no-such-file"], "").error();
    assert!(
        error.starts_with("choral: no-such-file: No such file"),
        "{error}"
    );
}

/// From the directory, and from llama.cpp's two files.
#[test]
fn patches_and_embeddings_of_a_picture_are_those_of_transformers() {
    let folder = "golden/models/glm4v";
    let set = golden("models/glm4v/golden.json");
    let gguf = format!("{folder}/gguf/glm4v-BF16.gguf");
    let mmproj = format!("{folder}/gguf/mmproj-glm4v-F32.gguf");
    let hf = format!("{folder}/hf");
    for source in [vec!["-m", &hf], vec!["-m", &gguf, "--mmproj", &mmproj]] {
        let image = &set["images"]["a"];
        let path = format!("{folder}/{}", image["file"].as_str().expect("a file"));
        let mut args = vec!["debug", "image", "--image", &path];
        args.extend(&source);
        let answer = choral(&args, "").json().remove(0);
        assert_eq!(answer["grid_thw"], image["grid_thw"]);
        assert_eq!(answer["n_tokens"], image["n_tokens"]);
        let sums = |value: &Value| -> Vec<f64> {
            let sums = value.as_array().expect("numbers").iter();
            sums.filter_map(Value::as_f64).collect()
        };
        let (got, want) = (
            sums(&answer["row_sums"]),
            sums(&image["pixel_values"]["row_sums"]),
        );
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-2));
        let (got, want) = (
            floats(&answer["embeds_f32_b64"]),
            floats(&image["image_embeds"]["f32_b64"]),
        );
        assert_eq!(got.len(), want.len());
        let std = image["image_embeds"]["std"].as_f64().expect("a number") as f32;
        let near = |(got, want): (&f32, &f32)| (got - want).abs() <= 2e-3 * std;
        assert!(got.iter().zip(&want).all(near));
    }
}

#[test]
fn pictures_need_a_model_that_sees_and_a_file_that_is_one() {
    let image = |model: &str, image: &str| {
        choral(&["debug", "image", "-m", model, "--image", image], "").error()
    };
    assert_eq!(
        image("golden/models/qwen2/hf", "cat.png"),
        "choral: golden/models/qwen2/hf: the model has no image encoder"
    );
    let missing = image("golden/models/glm4v/hf", "cat.png");
    assert!(missing.starts_with("choral: cat.png: "), "{missing}");
    let broken = image("golden/models/glm4v/hf", "golden/README.md");
    assert!(broken.starts_with("choral: golden/README.md: "), "{broken}");
}
