//! The vision model that ships, from PNG files and questions to words, against
//! transformers (`training/vision/golden.py`).

use crate::{ids, numbers};
use choral::model::Numeric;
use choral::text::{ChatTemplate, TemplateInput};
use choral::vision::image::{ImageProcessor, ImageSize};
use choral::vision::{ImageEmbedding, Patches};
use choral::{Engine, Request, SamplingParams, demo};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn prompts() -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("models/demo_vision_golden.json"));
    let all: Value = serde_json::from_str(&text.expect("golden values")).expect("JSON");
    all["prompts"].as_array().expect("prompts").clone()
}

/// The pictures of a prompt, as it wants them sized.
fn patches(engine: &Engine, prompt: &Value) -> Vec<Patches> {
    let size = match prompt["square"].as_u64() {
        Some(side) => ImageSize::Fixed(side as usize),
        None => ImageSize::Dynamic,
    };
    let geometry = engine.geometry().expect("an encoder").clone();
    let processor = ImageProcessor::new(geometry, size).expect("a size");
    let names = prompt["pictures"].as_array().expect("names").iter();
    let paths = names.map(|name| {
        let name = name.as_str().expect("a name");
        root().join("examples/pictures").join(name)
    });
    paths
        .map(|path| processor.read(&path).expect("a picture"))
        .collect()
}

fn request(engine: &Engine, prompt: &Value, images: Vec<ImageEmbedding>) -> Request {
    let file = &engine.info().expect("a model").file;
    let tokenizer = engine.tokenizer().expect("a tokenizer");
    let template = ChatTemplate::from_file(file, tokenizer).expect("readable");
    let picture = images.iter().map(|_| json!({"type": "image"}));
    let question = json!({"type": "text", "text": prompt["question"]});
    let content: Vec<Value> = picture.chain([question]).collect();
    let input = TemplateInput::new(vec![json!({"role": "user", "content": content})]);
    let prompt = engine.chat_prompt(&template.expect("a template"), input);
    Request::new(prompt.expect("rendered"))
        .with_images(images)
        .with_params(SamplingParams {
            max_tokens: Some(80),
            temperature: 0.0,
            ..SamplingParams::default()
        })
        .with_diagnostics()
}

/// The first where only the order of sums differs, the second where a picture was scaled by
/// another library, the third for the shipped arithmetic.
fn bound(numeric: Option<Numeric>, is_scaled: bool, of: [f64; 3]) -> f64 {
    match (numeric, is_scaled) {
        (None, _) => of[2],
        (Some(_), true) => of[1],
        (Some(_), false) => of[0],
    }
}

/// In f32 as far as sums in another order, and a picture scaled by another library, allow;
/// in the arithmetic that users get, the words.
#[test]
fn the_shipped_model_sees_and_says_what_transformers_does() {
    let prompts = prompts();
    assert_eq!(prompts.len(), 9, "the golden set is incomplete");
    for numeric in [Some(Numeric::F32), None] {
        let mut builder = Engine::builder().model(demo::vision_model().expect("unpacked"));
        if let Some(numeric) = numeric {
            builder = builder.numeric(numeric);
        }
        let engine = builder.threads(2).build().expect("a good model");
        let mut requests = Vec::new();
        for prompt in &prompts {
            let images = engine
                .encode_images(&patches(&engine, prompt))
                .expect("encoded");
            let is_scaled = !prompt["square"].is_null();
            let bound = bound(numeric, is_scaled, [1e-4, 0.01, 0.15]);
            let wanted = prompt["image_embeds"].as_array();
            for (made, want) in images.iter().zip(wanted.into_iter().flatten()) {
                let made = made.to_f32();
                let norms = numbers(&want["rows_l2"]);
                let rows = made.chunks(made.len() / norms.len());
                assert_eq!(rows.len(), norms.len());
                for (row, want) in rows.zip(norms) {
                    let norm = row
                        .iter()
                        .map(|&x| f64::from(x).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    let difference = (norm / want - 1.0).abs();
                    assert!(difference < bound, "{}: {norm} for {want}", prompt["name"]);
                }
            }
            requests.push(request(&engine, prompt, images));
        }
        for (output, prompt) in engine.generate_requests(requests).iter().zip(&prompts) {
            let name = &prompt["name"];
            let output = output.as_ref().expect("accepted");
            assert_eq!(output.prompt_token_ids, ids(&prompt["ids"]), "{name}");
            let logits = &output.diagnostics.as_ref().expect("asked for").last_logits;
            let is_scaled = !prompt["square"].is_null();
            let bound = bound(numeric, is_scaled, [1e-3, 0.1, 0.6]);
            for (id, want) in ids(&prompt["top_ids"])
                .iter()
                .zip(numbers(&prompt["top_logits"]))
            {
                let got = f64::from(logits[*id as usize]);
                assert!((got - want).abs() < bound, "{name}: {got} for {want}");
            }
            // Where the first two logits are nearly equal, either token is right, and what
            // follows is another text.
            let margins = numbers(&prompt["greedy_margins"]);
            let num_clear = margins.iter().take_while(|&&margin| margin > bound).count();
            let answer = &output.outputs[0].token_ids;
            let expected = ids(&prompt["greedy_ids"]);
            // With the end token, which is the last.
            let same = answer.iter().zip(&expected).take_while(|(a, b)| a == b);
            assert!(same.count() >= num_clear, "{name}: {answer:?}");
        }
    }
}
