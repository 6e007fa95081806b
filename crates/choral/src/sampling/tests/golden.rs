//! The vectors of Hugging Face transformers. (The filters' own, and llama.cpp's, are
//! checked where `choral debug sample-dist` is.)

use super::{Sampler, SamplerScratch, SamplingParams, neutral};
use crate::sampling::SampleContext;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The repository's selection, or all of it where `CHORAL_GOLDEN` says.
fn load(file: &str) -> Value {
    let golden = std::env::var_os("CHORAL_GOLDEN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden")),
        PathBuf::from,
    );
    let path = golden.join("sampler").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn floats(base64: &Value) -> Vec<f32> {
    let bytes = STANDARD.decode(base64.as_str().unwrap()).unwrap();
    let (floats, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    floats.iter().copied().map(f32::from_le_bytes).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

/// `[vocab]`: the probabilities that the case expects.
fn expected(case: &Value) -> Vec<f64> {
    if case["probs_f32_b64"].is_string() {
        return floats(&case["probs_f32_b64"])
            .into_iter()
            .map(f64::from)
            .collect();
    }
    let mut dense = vec![0.0; case["n"].as_u64().unwrap() as usize];
    for (id, p) in numbers(&case["ids"])
        .into_iter()
        .zip(numbers(&case["probs"]))
    {
        dense[id as usize] = p;
    }
    dense
}

/// The same parameters for the sampler, if it has all of them.
fn sampler_params(params: &Value) -> Option<SamplingParams> {
    let mut merged = serde_json::to_value(neutral()).unwrap();
    for (name, value) in params.as_object()? {
        merged.get(name)?;
        merged[name] = value.clone();
    }
    let params: SamplingParams = serde_json::from_value(merged).unwrap();
    params.validate(usize::MAX).ok()?;
    Some(params)
}

#[test]
fn the_sampler_draws_what_hugging_face_keeps_and_nothing_else() {
    let golden = load("hf.json");
    let mut scratch = SamplerScratch::new();
    let mut checked = 0;
    for (index, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
        let Some(params) = sampler_params(&case["params"]) else {
            continue;
        };
        let name = format!("hf.json#{index} {}", case["params"]);
        let logits = floats(&case["logits_f32_b64"]);
        let want = expected(case);
        let prev_tokens: Vec<u32> = serde_json::from_value(case["prev_tokens"].clone()).unwrap();
        let context = SampleContext {
            output: &prev_tokens,
            ..SampleContext::default()
        };
        let mut drawn = BTreeSet::new();
        for seed in 0..400 {
            let sampler = Sampler::new(&params, seed, 0);
            let token = sampler.sample(&mut scratch, &logits, &context).unwrap();
            drawn.insert(token.token_id);
        }
        for (id, &p) in want.iter().enumerate() {
            let was_drawn = drawn.contains(&(id as u32));
            assert!(p > 0.0 || !was_drawn, "{name}: drew token {id}");
            // A chance of 10% is missed 400 times once in 10^18 tests.
            assert!(p < 0.1 || was_drawn, "{name}: never drew token {id}");
        }
        let greedy = SamplingParams {
            temperature: 0.0,
            typical_p: 1.0,
            ..params
        };
        let token = Sampler::new(&greedy, 0, 0).sample(&mut scratch, &logits, &context);
        let likeliest = (0..want.len()).max_by(|a, b| want[*a].total_cmp(&want[*b]).then(b.cmp(a)));
        if case["params"].get("typical_p").is_none() {
            assert_eq!(Some(token.unwrap().token_id as usize), likeliest, "{name}");
        }
        checked += 1;
    }
    println!("hf.json: {checked} cases through the sampler");
    assert!(checked >= 30);
}
