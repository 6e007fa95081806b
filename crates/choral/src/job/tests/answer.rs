//! What a line of the output looks like.

use crate::engine::request::RequestOutput;
use crate::engine::request::{
    CompletionOutput, FinishReason, PositionLogprobs, RequestMetrics, StopReason, TokenLogprob,
};
use crate::job::{Answer, RowCode, RowError, RowHead};

fn head() -> RowHead {
    RowHead {
        index: 6,
        line: 9,
        custom_id: Some("a".to_owned()),
        ..RowHead::default()
    }
}

fn choice(index: u32) -> CompletionOutput {
    CompletionOutput {
        index,
        text: "hi\n".to_owned(),
        token_ids: vec![7, 2],
        cumulative_logprob: None,
        logprobs: None,
        finish_reason: FinishReason::Stop,
        stop_reason: None,
        seed: 42,
        error: None,
    }
}

fn output(outputs: Vec<CompletionOutput>) -> RequestOutput {
    RequestOutput {
        request_id: "a".to_owned(),
        prompt: None,
        prompt_token_ids: vec![1, 5, 6],
        prompt_logprobs: None,
        outputs,
        num_cached_tokens: 2,
        metrics: RequestMetrics::default(),
        diagnostics: None,
    }
}

fn json(output: RequestOutput, with_timings: bool) -> String {
    let answer = Answer::new(head(), output, &|id| format!("<{id}>"), with_timings);
    serde_json::to_string(&answer).expect("answers are JSON")
}

#[test]
fn an_answer_has_the_documented_fields_in_the_documented_order() {
    assert_eq!(
        json(output(vec![choice(0)]), false),
        r#"{"custom_id":"a","row":6,"outputs":[{"index":0,"text":"hi\n","token_ids":[7,2],"finish_reason":"stop","stop_reason":null,"logprobs":null,"seed":42}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"error":null}"#
    );
}

#[test]
fn what_depends_on_the_run_is_there_only_with_timings() {
    let text = json(output(vec![choice(0)]), true);
    let end = r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":2}},"error":null,"timings":{"queue_s":0.0,"time_to_first_token_s":0.0,"e2e_s":0.0,"mean_inter_token_s":0.0}}"#;
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn log_probabilities_come_with_the_tokens_text() {
    let token = |token_id, logprob| TokenLogprob { token_id, logprob };
    let position = PositionLogprobs {
        chosen: token(7, -0.5),
        top: vec![token(8, -0.25), token(7, -0.5)],
    };
    let mut first = choice(0);
    first.logprobs = Some(vec![position.clone()]);
    first.stop_reason = Some(StopReason::Text(".".to_owned()));
    let mut output = output(vec![first]);
    output.prompt_logprobs = Some(vec![None, Some(position)]);
    let text = json(output, false);
    let entry = r#"{"token_id":7,"token":"<7>","logprob":-0.5,"top_logprobs":[{"token_id":8,"token":"<8>","logprob":-0.25},{"token_id":7,"token":"<7>","logprob":-0.5}]}"#;
    assert!(
        text.contains(&format!(r#""logprobs":[{entry}],"seed""#)),
        "{text}"
    );
    assert!(
        text.contains(&format!(r#""prompt_logprobs":[null,{entry}],"usage""#)),
        "{text}"
    );
    assert!(text.contains(r#""stop_reason":".""#), "{text}");
}

#[test]
fn a_row_in_error_has_no_outputs() {
    let error = RowError {
        code: RowCode::UnknownParameter,
        message: "unknown parameter `x`".to_owned(),
        line: 9,
        field: Some("x".to_owned()),
        file: None,
    };
    let text = serde_json::to_string(&Answer::failed(head(), error)).expect("answers are JSON");
    assert_eq!(
        text,
        r#"{"custom_id":"a","row":6,"outputs":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0},"error":{"code":"unknown_parameter","message":"unknown parameter `x`","line":9,"field":"x"}}"#
    );
}

#[test]
fn a_failed_choice_puts_its_row_in_error_and_leaves_the_others() {
    let mut failed = choice(1);
    failed.finish_reason = FinishReason::Error;
    failed.error = Some("logit of token 3 is NaN".to_owned());
    let answer = |outputs| Answer::new(head(), output(outputs), &|_| String::new(), false);

    let some = answer(vec![choice(0), failed.clone()]);
    assert_eq!(some.outputs.len(), 2);
    let error = some.error.expect("a choice failed");
    assert_eq!((error.code, error.line), (RowCode::Engine, 9));
    assert_eq!(error.message, "logit of token 3 is NaN");

    let all = answer(vec![failed]);
    assert!(all.outputs.is_empty() && all.error.is_some());
}
