//! What an answer is does not depend on what it is computed with.
//!
//! A real model on the CPU, below an engine under every kind of pressure: the
//! tokens and the bits of every log-probability are those of a request that has
//! the engine to itself, and the greedy ones are those of transformers.

use choral::engine::request::{FinishReason, RequestOutput};
use choral::engine::{Engine, EngineConfig, EngineMetrics, EngineParts, Request};
use choral::exec::CpuExecutor;
use choral::model::{Model, Numeric};
use choral::sampling::SamplingParams;
use choral_formats::ModelFile;
use choral_kernels::{Compute, Isa};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// What an engine is run with, and must not show.
struct Setup {
    /// The best that this CPU has if none is said.
    isa: Option<Isa>,
    numeric: Numeric,
    num_threads: usize,
    num_blocks: usize,
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
    prefill_chunk: usize,
    prefix_caching: bool,
}

/// Nothing to share and nothing to wait for.
const ROOMY: Setup = Setup {
    isa: None,
    numeric: Numeric::F32,
    num_threads: 1,
    num_blocks: 256,
    max_num_seqs: 1,
    max_num_batched_tokens: 4096,
    prefill_chunk: 4096,
    prefix_caching: false,
};

impl Setup {
    fn start(&self) -> Engine {
        let file = Arc::new(ModelFile::open(golden().join("hf")).expect("a good model"));
        let compute = Compute::new(self.isa.unwrap_or_else(Isa::detect), self.num_threads);
        let model = Model::load(&file, self.numeric, &compute).expect("a good model");
        let executor = CpuExecutor::new(Arc::new(model), compute, self.num_blocks);
        let executor = executor.expect("little memory");
        let parts = EngineParts {
            executor: Box::new(executor),
            tokenizer: None,
            end_token_ids: vec![901],
            max_model_len: 400,
            info: None,
        };
        let config = EngineConfig {
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            prefill_chunk: self.prefill_chunk,
            prefix_caching: self.prefix_caching,
            ..EngineConfig::default()
        };
        Engine::start(parts, config).expect("starts")
    }

    fn run(&self, requests: &[Request]) -> (Vec<RequestOutput>, EngineMetrics) {
        let engine = self.start();
        let outputs = engine.generate_requests(requests.to_vec());
        let outputs = outputs.into_iter().map(|output| output.expect("accepted"));
        (outputs.collect(), engine.metrics())
    }
}

/// Every golden prompt, in different ways, so that answers of different lengths,
/// parameters and ages share the steps.
fn requests() -> Vec<Request> {
    let cases = cases();
    let mut requests = Vec::new();
    for round in 0..2 {
        for (at, case) in cases.iter().enumerate() {
            let scored = round == 1 && at % 3 == 0;
            requests.push(Request::new(ids(&case["ids"])).with_params(SamplingParams {
                n: 1 + (at + round) as u32 % 3,
                max_tokens: Some(15 + 9 * at as u32 % 31),
                seed: Some(at as u64),
                temperature: 1.0,
                top_k: 0,
                top_p: 0.95,
                repetition_penalty: 1.1,
                logprobs: Some(2),
                prompt_logprobs: scored.then_some(1),
                ..SamplingParams::default()
            }));
        }
    }
    requests
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
    let setup = Setup {
        max_num_seqs: 8,
        max_num_batched_tokens: 64,
        prefill_chunk: 24,
        prefix_caching: true,
        ..ROOMY
    };
    let (outputs, _) = setup.run(&requests);
    for (case, output) in cases.iter().zip(outputs) {
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

/// Tokens, and log-probabilities by their bits. Times differ, and so does what
/// came from the cache.
fn bits(output: &RequestOutput) -> Vec<(Vec<u32>, Vec<u32>)> {
    let of = |at: &choral::engine::request::PositionLogprobs| {
        std::iter::once(at.chosen)
            .chain(at.top.clone())
            .flat_map(|at| [at.token_id, at.logprob.to_bits()])
            .collect::<Vec<_>>()
    };
    let prompt = output.prompt_logprobs.iter().flatten().flatten();
    let prompt = (Vec::new(), prompt.flat_map(of).collect());
    let answers = output.outputs.iter().map(|answer| {
        let logprobs = answer.logprobs.iter().flatten().flat_map(of);
        (answer.token_ids.clone(), logprobs.collect())
    });
    answers.chain([prompt]).collect()
}

fn check_invariance(numeric: Numeric) {
    let requests = requests();
    let alone: Vec<_> = requests
        .iter()
        .map(|request| {
            let setup = Setup { numeric, ..ROOMY };
            bits(&setup.run(std::slice::from_ref(request)).0[0])
        })
        .collect();
    let crowded = Setup {
        isa: None,
        numeric,
        num_threads: 2,
        // The longest request needs 16 blocks.
        num_blocks: 24,
        max_num_seqs: 12,
        max_num_batched_tokens: 48,
        prefill_chunk: 17,
        prefix_caching: true,
    };
    let mut setups = vec![
        Setup {
            numeric,
            max_num_seqs: 12,
            ..ROOMY
        },
        Setup {
            num_threads: 1,
            prefix_caching: false,
            prefill_chunk: 5,
            ..crowded
        },
    ];
    setups.extend(Isa::available().into_iter().map(|isa| Setup {
        isa: Some(isa),
        ..crowded
    }));
    for (at, setup) in setups.iter().enumerate() {
        let (outputs, metrics) = setup.run(&requests);
        for (output, alone) in outputs.iter().zip(&alone) {
            assert_eq!(bits(output), *alone, "setup {at}");
        }
        // Otherwise this would not have been a test.
        let is_crowded = setup.num_blocks < 64;
        assert_eq!(metrics.num_preemptions > 0, is_crowded, "setup {at}");
        assert_eq!(metrics.prefix_hit_tokens > 0, setup.prefix_caching);
    }
}

#[test]
fn in_f32_together_is_alone_bit_for_bit() {
    check_invariance(Numeric::F32);
}

#[test]
fn in_bf16_together_is_alone_bit_for_bit() {
    check_invariance(Numeric::Bf16);
}
