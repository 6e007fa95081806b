//! The engine with its threads, on a fake executor. Nothing here sleeps: where
//! order matters, a gate holds the executor at the start of a step.

mod faults;
mod flow;
mod output;
mod refusal;

use super::request::{CompletionOutput, FinishReason, StopReason};
use super::testing::{FakeExecutor, Fault, Gate, fake_hidden_l2, fake_logits};
use super::*;
use crate::sampling::{SampleContext, Sampler, SamplerScratch, SamplingParams, position_logprobs};
use crate::text::Tokenizer;
use std::sync::OnceLock;

/// `<|end_of_text|>` of the golden tokenizer.
const END: u32 = 901;

const VOCAB: usize = 909;

fn executor() -> FakeExecutor {
    FakeExecutor::new(64, VOCAB)
}

fn parts(executor: FakeExecutor) -> EngineParts {
    EngineParts {
        executor: Box::new(executor),
        tokenizer: Some(tokenizer()),
        end_token_ids: vec![END],
        max_model_len: 200,
        images: None,
        info: None,
    }
}

fn start(executor: FakeExecutor) -> Engine {
    Engine::start(parts(executor), EngineConfig::default()).expect("starts")
}

fn gated(config: EngineConfig) -> (Engine, Gate) {
    let (executor, gate) = executor().with_gate();
    let engine = Engine::start(parts(executor), config).expect("starts");
    (engine, gate)
}

/// `max_tokens` tokens, whatever they are.
fn exactly(max_tokens: u32) -> SamplingParams {
    SamplingParams {
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        seed: Some(5),
        ..SamplingParams::default()
    }
}

fn tokens(request: &[u32]) -> Request {
    Request::new(request.to_vec()).with_params(exactly(4))
}

/// The answers that a model without an engine gives.
fn alone(prompt: &[u32], params: &SamplingParams, choice: u32) -> Vec<u32> {
    let seed = params.seed.expect("seeded");
    let sampler = Sampler::new(params, seed, choice);
    let mut all = prompt.to_vec();
    for _ in 0..params.max_tokens.expect("limited") {
        let context = SampleContext {
            prompt,
            output: &all[prompt.len()..],
            end_tokens: &[END],
        };
        let logits = fake_logits(&all, VOCAB);
        let drawn = sampler.sample(&mut SamplerScratch::new(), &logits, &context);
        let drawn = drawn.expect("finite").token_id;
        all.push(drawn);
        if drawn == END && !params.ignore_eos {
            break;
        }
    }
    all.split_off(prompt.len())
}

fn text_of(token_ids: &[u32]) -> String {
    tokenizer().decode(token_ids, true).expect("known tokens")
}

/// A stream's deltas put together by answer, and its output.
fn read(stream: GenerationStream) -> (Vec<(String, Vec<u32>)>, RequestOutput) {
    let mut answers = Vec::new();
    for event in stream {
        match event {
            StreamEvent::Delta {
                index,
                text,
                token_ids,
                ..
            } => {
                let index = index as usize;
                answers.resize(answers.len().max(index + 1), (String::new(), Vec::new()));
                answers[index].0.push_str(&text);
                answers[index].1.extend(token_ids);
            }
            StreamEvent::Finished(output) => return (answers, *output),
        }
    }
    panic!("streams end with an output")
}

fn only(output: &RequestOutput) -> &CompletionOutput {
    assert_eq!(output.outputs.len(), 1);
    &output.outputs[0]
}

/// Byte-level, so that many tokens are parts of characters.
fn tokenizer() -> Tokenizer {
    static LOADED: OnceLock<Tokenizer> = OnceLock::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/models/llama3/hf");
    let load = || Tokenizer::from_hf_dir(folder).expect("a golden tokenizer");
    LOADED.get_or_init(load).clone()
}
