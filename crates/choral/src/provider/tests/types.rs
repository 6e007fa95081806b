//! Requests and messages as JSON.

use super::*;
use crate::SamplingParams;
use serde_json::{Value, json};

fn request(value: Value) -> Result<GenerateRequest, GenerateError> {
    let Value::Object(fields) = value else {
        panic!("a request is an object");
    };
    GenerateRequest::from_json(fields)
}

#[test]
fn a_request_is_read_with_the_names_of_openai_and_vllm() {
    let read = request(json!({
        "custom_id": "7", "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 5, "temperature": 0.5, "stop": "END", "top_k": -1,
        "logprobs": true, "top_logprobs": 3, "seed": null, "min_p": 0.25,
    }));
    let read = read.unwrap();
    assert_eq!(read.id.as_deref(), Some("7"));
    assert_eq!(read.input, Input::Messages(vec![Message::user("Hi")]));
    let expected = GenerateParams {
        max_tokens: Some(5),
        temperature: Some(0.5),
        stop: Some(vec!["END".to_owned()]),
        top_k: Some(0),
        logprobs: Some(3),
        min_p: Some(0.25),
        ..GenerateParams::default()
    };
    assert_eq!(read.params, expected);
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    for (value, field) in [
        (json!({"prompt": "x", "heat": 1}), "heat"),
        (json!({"prompt": "x", "temperature": "hot"}), "temperature"),
        (json!({"prompt": "x", "max_tokens": -4}), "max_tokens"),
        (json!({"prompt": 4}), "prompt"),
        (json!({"temperature": 1}), "prompt"),
        (json!({"prompt": "x", "messages": []}), "messages"),
        (
            json!({"messages": [{"role": "robot", "content": "x"}]}),
            "messages",
        ),
    ] {
        let error = request(value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert_eq!(error.field(), Some(field), "{error}");
    }
}

#[test]
fn names_are_those_that_are_given() {
    let all: serde_json::Map<String, Value> = GenerateParams::NAMES
        .iter()
        .map(|name| {
            let value = match *name {
                "stop" => json!(["x"]),
                "stop_token_ids" | "allowed_token_ids" | "banned_token_ids" => json!([1]),
                "logit_bias" => json!({"3": 1.5}),
                "include_stop_str_in_output" | "ignore_eos" => json!(true),
                "skip_special_tokens" => json!(false),
                "temperature" | "top_p" | "min_p" | "typical_p" => json!(0.5),
                "repetition_penalty" | "frequency_penalty" | "presence_penalty" => json!(1.5),
                _ => json!(2),
            };
            ((*name).to_owned(), value)
        })
        .collect();
    let params = GenerateParams::from_json(all.clone()).unwrap();
    assert_eq!(params.given(), all);

    // Every one of them reaches the engine.
    let mut sampling = SamplingParams::default();
    params.apply_to(&mut sampling);
    let sampling = serde_json::to_value(sampling).unwrap();
    for (name, value) in all {
        assert_eq!(sampling[&name], value, "{name}");
    }
}

#[test]
fn a_message_is_what_openai_writes() {
    for value in [
        json!({"role": "user", "content": "Hi"}),
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        json!({"role": "tool", "content": "4", "tool_call_id": "c"}),
        json!({"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}}]}),
        json!({"role": "assistant", "content": "x", "reasoning_content": "because"}),
    ] {
        let message: Message = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(message).unwrap(), value);
    }
    let image = Image::bytes("image/png", b"x");
    assert_eq!(image, Image::url("data:image/png;base64,eA=="));
}

#[test]
fn an_error_says_what_is_known() {
    let error = GenerateError::new(ErrorKind::RateLimit, "too many requests")
        .with_provider("openai")
        .with_status(429)
        .with_request_id("req_1")
        .with_attempts(5);
    assert_eq!(
        error.to_string(),
        "openai: too many requests (status 429, request req_1, 5 attempts)"
    );
    assert!(error.is_retryable());
    assert!(!error.clone().not_retryable().is_retryable());
    let json = serde_json::to_value(&error).unwrap();
    assert_eq!(
        serde_json::from_value::<GenerateError>(json).unwrap(),
        error
    );
}

#[test]
fn a_finish_reason_that_nobody_knows_is_kept() {
    let known: FinishReason = serde_json::from_value(json!("tool_calls")).unwrap();
    assert_eq!(known, FinishReason::ToolCalls);
    let strange: FinishReason = serde_json::from_value(json!("pause_turn")).unwrap();
    assert_eq!(strange, FinishReason::Other("pause_turn".to_owned()));
    assert_eq!(serde_json::to_value(strange).unwrap(), json!("pause_turn"));
}

#[test]
fn one_answer_is_taken_and_nothing_else_with_it() {
    let one: Capabilities = Capabilities {
        parameters: &["max_tokens"],
        ..LocalProvider::CAPABILITIES
    };
    let mut request = GenerateRequest::prompt("x").max_tokens(3);
    request.params.n = Some(1);
    one.check("p", &request).unwrap();
    request.params.min_p = Some(0.5);
    let error = one.check("p", &request).unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Unsupported, Some("min_p"))
    );
    request.params.min_p = None;
    request.params.n = Some(2);
    assert_eq!(one.check("p", &request).unwrap_err().field(), Some("n"));
}

#[test]
fn what_would_be_left_out_is_refused() {
    for messages in [
        json!([{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]),
        json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "size": 3}}]}]),
    ] {
        let read: Result<Vec<Message>, _> = serde_json::from_value(messages.clone());
        assert!(read.is_err(), "{messages}");
    }
    let tool = json!({"type": "function", "function": {"name": "f", "cached": true}});
    assert!(serde_json::from_value::<Tool>(tool).is_err());
}

#[test]
fn answers_stand_in_the_order_of_their_indexes() {
    let choice = |index: u32| Choice {
        index,
        content: index.to_string(),
        reasoning: None,
        finish_reason: FinishReason::Stop,
        tool_calls: Vec::new(),
        logprobs: None,
    };
    let response = GenerateResponse::of_choices("m", vec![choice(1), choice(0), choice(2)]);
    assert_eq!(response.content, "0");
    let others: Vec<_> = response
        .others
        .iter()
        .map(|other| &*other.content)
        .collect();
    assert_eq!(others, ["1", "2"]);
}
