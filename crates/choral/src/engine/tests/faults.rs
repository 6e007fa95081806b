//! What goes wrong, and how far it reaches.

use super::batch::{Batch, ExecError, Executor, StepResult};
use super::*;

/// A token that something happens to.
const BAD: u32 = 9;

fn error_of(output: &RequestOutput) -> &str {
    let answer = only(output);
    assert_eq!(answer.finish_reason, FinishReason::Error);
    answer.error.as_deref().expect("errors are named")
}

#[test]
fn logits_that_are_not_numbers_end_their_sequence_only() {
    let engine = start(executor().with_fault(BAD, Fault::NanLogits));
    let healthy = SamplingParams {
        banned_token_ids: vec![BAD],
        ..exactly(6)
    };
    let prompts: Vec<_> = (0..6)
        .map(|at| vec![1, if at == 3 { BAD } else { at }])
        .collect();
    let outputs = engine.generate(prompts.clone(), &healthy);
    for (at, output) in outputs.into_iter().enumerate() {
        let output = output.expect("accepted");
        if at == 3 {
            assert!(error_of(&output).contains("NaN"), "{}", error_of(&output));
        } else {
            assert_eq!(only(&output).token_ids, alone(&prompts[at], &healthy, 0));
        }
    }
}

#[test]
fn a_failure_in_the_middle_keeps_what_was_drawn_before() {
    let engine = start(executor().with_fault(BAD, Fault::NanLogits));
    let prompt = vec![3, 1, 4];
    let params = SamplingParams {
        logit_bias: [(BAD, 3.0)].into(),
        ..exactly(50)
    };
    let token_ids = alone(&prompt, &params, 0);
    let bad_at = token_ids.iter().position(|&id| id == BAD).expect("likely");
    let outputs = engine.generate([prompt], &params);
    let output = outputs[0].as_ref().expect("accepted");
    assert!(error_of(output).contains("NaN"));
    assert_eq!(only(output).token_ids, token_ids[..=bad_at]);
}

#[test]
fn prompt_logits_that_are_not_numbers_end_the_request() {
    let engine = start(executor().with_fault(BAD, Fault::NanLogits));
    let params = SamplingParams {
        prompt_logprobs: Some(0),
        ..exactly(3)
    };
    let outputs = engine.generate([vec![1, BAD, 2, 3]], &params);
    let output = outputs[0].as_ref().expect("accepted");
    assert!(error_of(output).contains("NaN"));
    assert_eq!(output.prompt_logprobs.as_ref().map(Vec::len), Some(4));
    assert_eq!(engine.metrics().kv_blocks_used, 0);
}

#[test]
fn a_score_that_fails_in_the_last_step_is_no_success() {
    let engine = start(executor().with_fault(BAD, Fault::NanLogits));
    // With 0 and 1 tokens, the step that scores the prompt also ends the answers.
    for (max_tokens, n) in [(0, 1), (0, 3), (1, 1), (1, 3), (2, 3)] {
        let params = SamplingParams {
            prompt_logprobs: Some(0),
            n,
            ..exactly(max_tokens)
        };
        let outputs = engine.generate([vec![1, BAD, 2, 3]], &params);
        let output = outputs[0].as_ref().expect("accepted");
        assert_eq!(output.outputs.len(), n as usize);
        for answer in &output.outputs {
            assert_eq!(answer.finish_reason, FinishReason::Error, "{max_tokens}");
            let error = answer.error.as_deref().expect("errors are named");
            assert!(error.contains("NaN"), "{error}");
        }
    }
    assert_eq!(engine.metrics().kv_blocks_used, 0);
}

#[test]
fn a_fault_of_the_executor_ends_that_steps_sequences_and_no_others() {
    for (fault, says) in [(Fault::Error, "cursed"), (Fault::Panic, "haunted")] {
        let (executor, gate) = executor().with_fault(BAD, fault).with_gate();
        let config = EngineConfig {
            max_num_seqs: 2,
            ..EngineConfig::default()
        };
        let engine = Engine::start(parts(executor), config).expect("starts");
        let params = SamplingParams {
            banned_token_ids: vec![BAD],
            ..exactly(30)
        };
        let submit = |prompt: &[u32]| {
            let request = Request::new(prompt.to_vec()).with_params(params.clone());
            engine.submit(request).expect("accepted")
        };
        let bystander = submit(&[1, 2]);
        gate.wait_for_step();
        let culprit = submit(&[3, BAD]);
        let next = submit(&[4, 5]);
        gate.open();
        let bystander = bystander.wait();
        assert!(error_of(&bystander).contains(says));
        assert_eq!(only(&bystander).token_ids.len(), 1, "from before the fault");
        let culprit = culprit.wait();
        assert!(error_of(&culprit).contains(says));
        assert!(only(&culprit).token_ids.is_empty());
        assert_eq!(only(&next.wait()).token_ids, alone(&[4, 5], &params, 0));
        assert_eq!(engine.metrics().kv_blocks_used, 0);
    }
}

#[test]
fn an_executor_that_gives_too_few_logits_is_not_believed() {
    struct Forgetful(FakeExecutor);
    impl Executor for Forgetful {
        fn vocab_size(&self) -> usize {
            self.0.vocab_size()
        }
        fn num_layers(&self) -> usize {
            self.0.num_layers()
        }
        fn num_blocks(&self) -> usize {
            self.0.num_blocks()
        }
        fn block_bytes(&self) -> usize {
            self.0.block_bytes()
        }
        fn forward(&mut self, batch: &Batch, result: &mut StepResult) -> Result<(), ExecError> {
            self.0.forward(batch, result)?;
            result.logits.pop();
            Ok(())
        }
        fn run_parallel(&self, _: usize, _: &(dyn Fn(usize) + Sync)) {}
    }
    let parts = EngineParts {
        executor: Box::new(Forgetful(executor())),
        ..parts(executor())
    };
    let engine = Engine::start(parts, EngineConfig::default()).expect("starts");
    let outputs = engine.generate([vec![1, 2]], &exactly(3));
    let output = outputs[0].as_ref().expect("accepted");
    assert_eq!(
        error_of(output),
        "the executor gave 908 logits, expected 909"
    );
}

#[test]
fn no_reader_waits_in_vain_when_the_engine_thread_dies() {
    let config = EngineConfig {
        on_step: Some(Box::new(|_| panic!("observers must not do this"))),
        ..EngineConfig::default()
    };
    let engine = Engine::start(parts(executor()), config).expect("starts");
    let stream = engine.submit(tokens(&[1, 2])).expect("accepted");
    assert!(error_of(&stream.wait()).contains("stopped"));
    // The queue closes as the thread unwinds, so this ends one way or the other.
    let late = engine.submit_wait(tokens(&[1, 2]));
    assert!(late.is_err_and(|error| matches!(error, SubmitError::ShutDown)));
}
