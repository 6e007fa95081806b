//! Pictures against transformers: what the encoder makes of them, and what the text model
//! makes of that, from safetensors and from llama.cpp's two files.

use crate::{floats, folder, ids, numbers, patches, reference, sources, values};
use choral::engine::request::FinishReason;
use choral::model::Numeric;
use choral::vision::{ImageEmbedding, VisionError};
use choral::{Engine, Request, RequestOutput, SamplingParams};
use serde_json::Value;

fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let differences = got.iter().zip(want).map(|(g, w)| (g - w).abs());
    // NaN is the largest of all.
    differences.fold(0.0, |a, b| if a > b || a.is_nan() { a } else { b })
}

/// Sums of rows of patches, and embeddings. What depends on a resampler is held to what
/// transformers' own two differ by, as `golden/README.md` says.
#[test]
fn embeddings_are_those_of_transformers() {
    let all = values();
    let pictures = all["images"].as_object().expect("images");
    assert_eq!(pictures.len(), 4, "the golden set is incomplete");
    let number = |value: &Value| value.as_f64().expect("a number") as f32;
    for (numeric, bound) in [(Numeric::F32, 2e-3_f32), (Numeric::Bf16, 5e-2)] {
        for (source, builder) in sources() {
            let builder = builder.numeric(numeric).threads(2);
            let encoder = builder.build_image_encoder().expect("a good encoder");
            let geometry = encoder.geometry();
            let own: Vec<_> = pictures.values().map(|p| patches(p, geometry)).collect();
            let made = encoder.encode(&own).expect("encoded");
            for (((name, image), own), made) in pictures.iter().zip(&own).zip(made) {
                let resized = image["resize_needed"] == true;
                let backends = number(&image["pixel_values_pil_backend_max_abs_diff"]);
                let mean = if resized {
                    (2.0 * backends).max(0.03)
                } else {
                    2e-3
                };
                let sums = own.values.chunks(geometry.patch_len());
                let sums = sums.map(|row| row.iter().map(|&x| f64::from(x)).sum::<f64>());
                let want_sums = numbers(&image["pixel_values"]["row_sums"]);
                assert_eq!(sums.len(), want_sums.len(), "{name}");
                for (found, want) in sums.zip(want_sums) {
                    let difference = (found - want).abs() / geometry.patch_len() as f64;
                    assert!(difference < f64::from(mean), "{name}: {found} for {want}");
                }
                let want = reference(image);
                assert_eq!((made.rows(), made.columns()), (want.rows(), want.columns()));
                let std = number(&image["image_embeds"]["std"]);
                let backends = number(&image["image_embeds_pil_backend_max_abs_diff"]) / std;
                let bound = if resized {
                    bound.max(2e-2).max(3.0 * backends)
                } else {
                    bound
                };
                let difference = largest_difference(&made.to_f32(), &want.to_f32()) / std;
                assert!(difference <= bound, "{source} {name}: {difference}");
            }
        }
    }
}

/// A prompt of the golden set with the pictures as transformers embeds them.
fn request(all: &Value, name: &str, prompt: &Value) -> Request {
    let names = prompt["images"].as_array().expect("names").iter();
    let images = names.map(|name| {
        let name = name.as_str().expect("a name");
        reference(&all["images"][name])
    });
    Request::new(ids(&prompt["ids_before_image_expansion"]))
        .with_images(images)
        .with_id(name)
        .with_params(SamplingParams {
            max_tokens: Some(32),
            temperature: 0.0,
            ignore_eos: true,
            prompt_logprobs: Some(0),
            ..SamplingParams::default()
        })
        .with_diagnostics()
}

fn check(source: &str, prompt: &Value, output: &RequestOutput, bound: f64) {
    let place = format!("{source}, {}", output.request_id);
    assert_eq!(output.prompt_token_ids, ids(&prompt["ids"]), "{place}");
    let std = prompt["last"]["std"].as_f64().expect("a number");
    let diagnostics = output.diagnostics.as_ref().expect("asked for");
    let want = floats(&prompt["last"]["logits_f32_b64"]);
    let difference = f64::from(largest_difference(&diagnostics.last_logits, &want)) / std;
    assert!(difference <= bound, "{place}: logits {difference}");
    let hidden = prompt["hidden"].as_array().expect("norms");
    for (layer, (got, want)) in diagnostics.hidden_l2.iter().zip(hidden).enumerate() {
        let want = want["l2_last"].as_f64().expect("a number");
        let relative = (f64::from(*got) / want - 1.0).abs();
        assert!(relative < 2.0 * bound, "{place}, layer {layer}: {relative}");
    }
    let logprobs = output.prompt_logprobs.as_ref().expect("asked for");
    let logprobs = logprobs.iter().flatten().map(|at| at.chosen.logprob);
    let expected = numbers(&prompt["prompt_logprobs"]);
    assert_eq!(logprobs.clone().count(), expected.len());
    for (at, (got, want)) in logprobs.zip(expected).enumerate() {
        let difference = (f64::from(got) - want).abs();
        assert!(
            difference < 4.0 * bound * std,
            "{place}, token {at}: {got} for {want}"
        );
    }
    // Where the first two logits are nearly equal, either token is right, and what
    // follows is another text.
    let answer = &output.outputs[0];
    assert_eq!(answer.finish_reason, FinishReason::Length);
    let margins = numbers(&prompt["greedy"]["margins"]);
    let limit = (4.0 * bound * std).max(1e-3);
    let num_clear = margins.iter().take_while(|&&margin| margin > limit).count();
    let expected = ids(&prompt["greedy"]["ids"]);
    assert_eq!(
        answer.token_ids[..num_clear],
        expected[..num_clear],
        "{place}"
    );
}

#[test]
fn answers_to_prompts_with_pictures_are_those_of_transformers() {
    let all = values();
    let prompts = all["prompts"].as_object().expect("prompts");
    for (numeric, bound) in [(Numeric::F32, 1e-3), (Numeric::Bf16, 5e-2)] {
        for (source, builder) in sources() {
            // Small steps, so that pictures come in pieces and share steps.
            let builder = builder
                .numeric(numeric)
                .threads(1)
                .max_num_seqs(8)
                .max_num_batched_tokens(48)
                .prefill_chunk(13);
            let engine = builder.build().expect("a good model");
            let requests = prompts
                .iter()
                .map(|(name, prompt)| request(&all, name, prompt));
            for (output, prompt) in engine
                .generate_requests(requests)
                .iter()
                .zip(prompts.values())
            {
                check(source, prompt, output.as_ref().expect("accepted"), bound);
            }
        }
    }
}

#[test]
fn an_encoder_beside_a_gguf_model_is_found_by_its_name() {
    let text = folder().join("gguf/glm4v-BF16.gguf");
    let builder = || Engine::builder().model(&text).threads(1);
    assert!(builder().build().expect("a good model").has_vision());
    let engine = builder().image_encoder(false).build();
    let engine = engine.expect("a good model");
    assert!(!engine.has_vision());
    let refused = engine.encode_images(&[]).expect_err("no encoder");
    assert!(matches!(refused, VisionError::NoEncoder { .. }));
    // Embeddings that were made before are taken all the same.
    let all = values();
    let prompt = &all["prompts"]["one_image_a"];
    let output = engine.submit(request(&all, "a", prompt)).expect("accepted");
    assert_eq!(output.wait().prompt_token_ids, ids(&prompt["ids"]));
}

#[test]
fn what_pictures_cannot_be_says_why() {
    let [(_, builder), _] = sources();
    let engine = builder.threads(1).build().expect("a good model");
    let geometry = engine.geometry().expect("it sees").clone();
    let patches = |grid: [usize; 3], len: usize| choral::vision::Patches {
        grid,
        values: vec![0.5; len],
    };
    let len = geometry.patch_len();
    let error = |images: &[choral::vision::Patches]| {
        let refused = engine.encode_images(images).expect_err("refused");
        refused.to_string()
    };
    let good = patches([1, 2, 4], 8 * len);
    assert_eq!(
        error(&[good.clone(), patches([1, 3, 4], 12 * len)]),
        "image 1 has a grid of [1, 3, 4] patches, expected one frame, and multiples of 2"
    );
    assert!(error(&[patches([2, 2, 2], 8 * len)]).contains("one frame"));
    assert!(error(&[patches([1, 0, 2], 0)]).contains("multiples of 2"));
    assert!(error(&[patches([1, usize::MAX - 1, 2], len)]).contains("values, expected"));
    assert_eq!(
        error(&[good.clone(), patches([1, 2, 2], 4 * len - 1)]),
        format!("image 1 has {} values, expected {}", 4 * len - 1, 4 * len)
    );
    let mut hollow = good.clone();
    hollow.values[77] = f32::NAN;
    assert_eq!(error(&[hollow]), "image 0 has a value that is not finite");

    let image = ImageEmbedding::new(1, 1, 64, vec![0.0; 64]).expect("whole");
    let refused = |request: Request| {
        let refused = engine.submit(request).map(|_| ()).expect_err("refused");
        refused.to_string()
    };
    assert_eq!(
        refused(Request::new(vec![1, 854, 2, 854]).with_image(image.clone())),
        "the prompt has 2 `<|image|>` for 1 images, expected one for each"
    );
    let narrow = ImageEmbedding::new(1, 1, 63, vec![0.0; 63]).expect("whole");
    assert_eq!(
        refused(Request::new(vec![1, 854]).with_image(narrow)),
        "image 0 is 63 numbers wide, expected 64"
    );
    let text_only = Engine::builder().threads(1).build().expect("the demo");
    let refused = text_only.submit(Request::new(vec![1]).with_image(image));
    assert_eq!(
        refused.map(|_| ()).expect_err("refused").to_string(),
        "the prompt has 1 images, but the model reads text only"
    );
    assert!(text_only.encode_images(&[good]).is_err());
}

#[test]
fn files_that_are_no_encoder_of_this_model_are_refused() {
    let gguf = folder().join("gguf");
    let text = gguf.join("glm4v-BF16.gguf");
    let error = |builder: choral::EngineBuilder| {
        let built = builder.threads(1).build();
        built.map(|_| ()).expect_err("refused").to_string()
    };
    // A text model for an encoder, and an encoder for a text model.
    let wrong = error(Engine::builder().model(&text).mmproj(&text));
    assert!(wrong.contains("general.architecture"), "{wrong}");
    let mmproj = gguf.join("mmproj-glm4v-F32.gguf");
    let wrong = error(Engine::builder().model(&mmproj));
    assert!(wrong.contains("clip"), "{wrong}");
    let wrong = error(Engine::builder().mmproj(&mmproj));
    assert!(wrong.contains("reads text only"), "{wrong}");
}

#[test]
fn both_files_say_the_same_of_pictures() {
    let [hf, gguf] = sources().map(|(_, builder)| {
        let encoder = builder.threads(1).build_image_encoder();
        encoder.expect("a good encoder").geometry().clone()
    });
    assert_eq!(hf, gguf);
    assert_eq!(
        (hf.patch_size, hf.temporal_patch_size, hf.merge_size),
        (14, 2, 2)
    );
    assert_eq!((hf.min_area, hf.max_area), (12544, 9_633_792));
}

#[test]
fn settings_of_pictures_that_choral_does_not_follow_are_refused() {
    let copy = tempfile::tempdir().expect("a folder");
    let hf = folder().join("hf");
    for file in std::fs::read_dir(&hf).expect("the model") {
        let from = file.expect("a file").path();
        let to = copy.path().join(from.file_name().expect("a name"));
        std::fs::copy(&from, to).expect("room");
    }
    for (file, from, to, parts) in [
        (
            "preprocessor_config.json",
            "\"merge_size\": 2",
            "\"merge_size\": 4",
            ["merge_size", "expected 2"],
        ),
        (
            "preprocessor_config.json",
            "\"do_normalize\": true",
            "\"do_normalize\": false",
            ["do_normalize", "true"],
        ),
        (
            "preprocessor_config.json",
            "0.00392156862745098",
            "0.1",
            ["rescale_factor", "1/255"],
        ),
        (
            "preprocessor_config.json",
            "\"resample\": 3",
            "\"resample\": 2",
            ["resample", "expected 3"],
        ),
        (
            "preprocessor_config.json",
            "12544",
            "99999999999",
            ["size", "the lesser first"],
        ),
        (
            "preprocessor_config.json",
            "0.48145466,",
            "",
            ["image_mean", "three numbers"],
        ),
        (
            "config.json",
            "\"num_heads\": 4",
            "\"num_heads\": 5",
            ["vision_config.num_heads", "divisor"],
        ),
        (
            "config.json",
            "\"out_hidden_size\": 64",
            "\"out_hidden_size\": 32",
            ["width 32", "is 64"],
        ),
        (
            "config.json",
            "\"depth\": 2",
            "\"depth\": 3",
            ["visual.blocks.2", "missing"],
        ),
        (
            "config.json",
            "\"image_token_id\": 854",
            "\"image_token_id\": 860",
            ["image_token_id", "below 860"],
        ),
        (
            "config.json",
            "\"patch_size\": 14",
            "\"patch_size\": 7",
            ["patch_size", "expected 7"],
        ),
    ] {
        let original = std::fs::read_to_string(hf.join(file)).expect("a file of the model");
        let changed = original.replacen(from, to, 1);
        assert_ne!(original, changed, "{from}");
        std::fs::write(copy.path().join(file), changed).expect("room");
        let built = Engine::builder().model(copy.path()).threads(1).build();
        let error = built.map(|_| ()).expect_err(to).to_string();
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{to}: {error}"
        );
        std::fs::write(copy.path().join(file), original).expect("room");
    }
    assert!(
        Engine::builder()
            .model(copy.path())
            .threads(1)
            .build()
            .is_ok()
    );
}
