//! What an engine answers is what transformers does, prompts in pieces and together.

use choral::engine::request::FinishReason;
use choral::model::Numeric;
use choral::{Engine, Request, SamplingParams};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models/llama3")
}

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(golden().join("golden.json")).expect("golden values");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let prompts = all["prompts"].as_object().expect("prompts");
    prompts.values().cloned().collect()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("ids").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    let floats = value.as_array().expect("numbers").iter();
    floats.filter_map(Value::as_f64).collect()
}

/// Small steps, so that prompts come in pieces and share them.
fn engine() -> Engine {
    Engine::builder()
        .model(golden().join("hf"))
        .numeric(Numeric::F32)
        .threads(1)
        .max_model_len(400)
        .max_num_seqs(8)
        .max_num_batched_tokens(64)
        .prefill_chunk(24)
        .build()
        .expect("a good model")
}

#[test]
fn greedy_answers_and_prompt_logprobs_are_those_of_transformers() {
    let cases = cases();
    let requests: Vec<_> = cases
        .iter()
        .map(|case| {
            Request::new(ids(&case["ids"])).with_params(SamplingParams {
                max_tokens: Some(32),
                temperature: 0.0,
                ignore_eos: true,
                prompt_logprobs: Some(0),
                ..SamplingParams::default()
            })
        })
        .collect();
    let outputs = engine().generate_requests(requests);
    assert_eq!(outputs.len(), cases.len());
    for (case, output) in cases.iter().zip(outputs) {
        let output = output.expect("accepted");
        let answer = &output.outputs[0];
        assert_eq!(answer.finish_reason, FinishReason::Length);
        // Where the first two logits are nearly equal, either token is right, and
        // what follows is another text.
        let margins = floats(&case["greedy"]["margins"]);
        let num_clear = margins.iter().take_while(|&&margin| margin > 0.01).count();
        let expected = ids(&case["greedy"]["ids"]);
        assert_eq!(answer.token_ids[..num_clear], expected[..num_clear]);
        assert!(num_clear >= 3, "the golden answers are mostly clear");

        let expected = floats(&case["prompt_logprobs"]);
        let logprobs = output.prompt_logprobs.expect("asked for");
        let logprobs = logprobs.iter().flatten().map(|at| at.chosen.logprob);
        assert_eq!(logprobs.clone().count(), expected.len());
        for (got, want) in logprobs.zip(expected) {
            assert!((f64::from(got) - want).abs() < 0.01, "{got} for {want}");
        }
    }
}
