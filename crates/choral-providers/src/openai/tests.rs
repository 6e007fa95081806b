//! OpenAI's JSON, as its reference has it.

use super::*;
use crate::lines::Frame;
use crate::protocol::Protocol;
use choral::provider::{
    GenerateEvent, GenerateRequest, GenerateResponse, Image, Message, ResponseFormat, Tool,
    ToolCall, ToolChoice,
};
use serde_json::json;

const CHAT: Chat = Chat {
    max_tokens: "max_completion_tokens",
    names: &[],
    has_idempotency: true,
};

fn body(protocol: &dyn Protocol, request: &GenerateRequest) -> Value {
    protocol.body("m", request, false).unwrap().into()
}

fn tool() -> Tool {
    Tool {
        name: "get_weather".to_owned(),
        description: Some("Weather".to_owned()),
        parameters: json!({"type": "object", "properties": {"city": {"type": "string"}}}),
        strict: None,
    }
}

/// Pushes events and returns the text of the pieces and the whole.
fn stream(
    protocol: &dyn Protocol,
    events: &[&str],
) -> Result<(String, GenerateResponse), GenerateError> {
    let mut assembler = protocol.assembler();
    let mut text = String::new();
    for data in events {
        let frame = Frame {
            event: String::new(),
            data: (*data).to_owned(),
        };
        let step = assembler.push(&frame)?;
        for delta in step.deltas {
            let GenerateEvent::Delta(delta) = GenerateEvent::Delta(delta) else {
                unreachable!("made just now");
            };
            text.push_str(&delta.text);
        }
        if step.is_end {
            break;
        }
    }
    Ok((text, assembler.finish()?))
}

#[test]
fn a_chat_request_is_as_the_reference_has_it() {
    let mut request = GenerateRequest::prompt("What is this?")
        .system("Be brief.")
        .image(Image::bytes("image/png", b"x"))
        .tool(tool())
        .response_format(ResponseFormat::json_schema(
            "answer",
            json!({"type": "object"}),
        ))
        .max_tokens(5)
        .seed(1);
    request.tool_choice = Some(ToolChoice::Tool("get_weather".to_owned()));
    request.params.stop = Some(vec!["END".to_owned()]);
    request.params.logprobs = Some(2);
    request
        .params
        .extra
        .insert("reasoning_effort".to_owned(), "low".into());
    let expected = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]}],
        "max_completion_tokens": 5, "seed": 1, "stop": ["END"],
        "logprobs": true, "top_logprobs": 2,
        "tools": [{"type": "function", "function": {
            "name": "get_weather", "description": "Weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "answer", "schema": {"type": "object"}, "strict": true}},
        "reasoning_effort": "low",
    });
    assert_eq!(body(&CHAT, &request), expected);

    request.params.extra.insert("model".to_owned(), "x".into());
    let error = CHAT.body("m", &request, false).unwrap_err();
    assert_eq!(error.field(), Some("model"));
}

#[test]
fn a_chat_answer_is_read() {
    let answer = json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion",
        "created": 1_741_569_952, "model": "gpt-4.1-2025-04-14",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello!", "refusal": null,
                "annotations": []},
             "logprobs": {"content": [{"token": "Hello", "logprob": -0.5, "bytes": [72],
                "top_logprobs": [{"token": "Hello", "logprob": -0.5, "bytes": [72]}]}]},
             "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function",
                 "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
             "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2}},
    });
    let read = CHAT.response(&answer).unwrap();
    assert_eq!(read.content, "Hello!");
    assert_eq!(read.model, "gpt-4.1-2025-04-14");
    assert_eq!(read.finish_reason, FinishReason::Stop);
    assert_eq!(read.usage.total_tokens, 29);
    assert_eq!(
        (read.usage.cached_tokens, read.usage.reasoning_tokens),
        (4, 2)
    );
    let logprobs = read.logprobs.unwrap();
    assert_eq!(logprobs[0].top, [("Hello".to_owned(), -0.5)]);
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "f".to_owned(),
        arguments: "{\"a\":1}".to_owned(),
    };
    assert_eq!(read.others[0].tool_calls, [call]);
    assert_eq!(read.others[0].finish_reason, FinishReason::ToolCalls);
}

#[test]
fn answers_that_are_none_are_malformed() {
    for answer in [
        json!({}),
        json!({"choices": []}),
        json!({"choices": [{}]}),
        json!({"choices": [{"message": "x", "finish_reason": "stop"}]}),
        json!({"choices": [{"message": {"content": "x"}}]}),
        json!({"choices": "x"}),
        json!([1]),
        json!(null),
    ] {
        let error = CHAT.response(&answer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{answer}");
    }
}

#[test]
fn a_chat_stream_is_put_together() {
    let (text, whole) = stream(
        &CHAT,
        &[
            r#"{"model":"m1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"model":"m1","choices":[{"index":0,"delta":{"content":"Hi "},"finish_reason":null}]}"#,
            r#"{"model":"m1","choices":[{"index":0,"delta":{"content":"you"},"finish_reason":null}]}"#,
            r#"{"model":"m1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}"#,
            r#"{"model":"m1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]},"finish_reason":null}]}"#,
            r#"{"model":"m1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":null}]}"#,
            r#"{"model":"m1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
            r#"{"model":"m1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
            "[DONE]",
        ],
    )
    .unwrap();
    assert_eq!(
        (text.as_str(), whole.content.as_str()),
        ("Hi you", "Hi you")
    );
    assert_eq!(whole.model, "m1");
    assert_eq!(whole.usage.total_tokens, 3);
    assert_eq!(whole.tool_calls[0].arguments, "{\"a\":1}");
    assert_eq!(whole.finish_reason, FinishReason::ToolCalls);
}

#[test]
fn a_stream_that_ends_early_is_no_answer() {
    let piece = r#"{"choices":[{"index":0,"delta":{"content":"Hi "},"finish_reason":null}]}"#;
    for events in [&[piece][..], &[], &[piece, "[DONE]"]] {
        let error = stream(&CHAT, events).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection);
    }
    let error = r#"{"error":{"message":"The server had an error","type":"server_error"}}"#;
    let error = stream(&CHAT, &[piece, error]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    let error = stream(&CHAT, &[piece, "{\"choices\":[{"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn completions_continue_prompts_alone() {
    let protocol = Completions {
        names: &[("repetition_penalty", "repeat_penalty")],
        has_idempotency: false,
    };
    let mut request = GenerateRequest::prompt("Once").max_tokens(5);
    request.params.logprobs = Some(1);
    request.params.repetition_penalty = Some(1.1);
    let expected = json!({
        "model": "m", "prompt": "Once", "max_tokens": 5, "repeat_penalty": 1.1, "logprobs": 1,
    });
    assert_eq!(body(&protocol, &request), expected);
    let chat = GenerateRequest::messages([Message::user("x")]);
    assert!(protocol.body("m", &chat, false).is_err());
    let answer = json!({
        "object": "text_completion", "model": "m1",
        "choices": [{"index": 0, "text": " upon", "finish_reason": "length", "logprobs": {
            "tokens": [" upon"], "token_logprobs": [-0.25], "text_offset": [0],
            "top_logprobs": [{" upon": -0.25, " a": -2.0}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    });
    let read = protocol.response(&answer).unwrap();
    assert_eq!(read.content, " upon");
    let logprobs = read.logprobs.unwrap();
    assert_eq!(logprobs[0].top[1], (" a".to_owned(), -2.0));
    let (text, whole) = stream(
        &protocol,
        &[
            r#"{"model":"m1","choices":[{"index":0,"text":" up","finish_reason":null}]}"#,
            r#"{"model":"m1","choices":[{"index":0,"text":"on","finish_reason":"length"}]}"#,
            "[DONE]",
        ],
    )
    .unwrap();
    assert_eq!((text.as_str(), whole.content.as_str()), (" upon", " upon"));
}

#[test]
fn responses_have_items() {
    let call = ToolCall {
        id: "c".to_owned(),
        name: "f".to_owned(),
        arguments: "{}".to_owned(),
    };
    let mut assistant = Message::assistant("Let me see");
    assistant.tool_calls.push(call);
    let turns = [Message::user("Hi"), assistant, Message::tool("c", "4")];
    let request = GenerateRequest::messages(turns)
        .max_tokens(9)
        .tool(tool())
        .response_format(ResponseFormat::json_schema("a", json!({"type": "object"})));
    let expected = json!({
        "model": "m",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "4"}],
        "max_output_tokens": 9,
        "tools": [{"type": "function", "name": "get_weather", "description": "Weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            "strict": false}],
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"},
            "strict": true}},
    });
    assert_eq!(body(&Responses, &request), expected);
}

#[test]
fn a_response_is_read_whole_and_from_a_stream() {
    let whole = json!({
        "id": "resp_1", "object": "response", "status": "incomplete", "error": null,
        "incomplete_details": {"reason": "max_output_tokens"}, "model": "gpt-4.1",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "In a peaceful", "annotations": []}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}],
        "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 3},
            "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 5},
            "total_tokens": 123},
    });
    let read = Responses.response(&whole).unwrap();
    assert_eq!(read.content, "In a peaceful");
    assert_eq!(read.reasoning.as_deref(), Some("Hm."));
    assert_eq!(read.finish_reason, FinishReason::Length);
    assert_eq!(read.usage.total_tokens, 123);
    assert_eq!(read.usage.reasoning_tokens, 5);
    assert_eq!(read.tool_calls[0].id, "c");

    let delta = json!({"type": "response.output_text.delta", "delta": "In a"}).to_string();
    let end = json!({"type": "response.incomplete", "response": whole}).to_string();
    let (text, streamed) = stream(&Responses, &[&delta, &end]).unwrap();
    assert_eq!(text, "In a");
    assert_eq!(streamed, read);
    assert!(stream(&Responses, &[&delta]).is_err());
    let failed = json!({"type": "response.failed", "response": {
        "status": "failed", "error": {"code": "server_error", "message": "no"}}});
    let error = stream(&Responses, &[&failed.to_string()]).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "no"));
}

#[test]
fn errors_have_their_kinds() {
    let check = |status: u16, body: &str, kind| {
        let error = explain(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(error.kind(), kind, "{status} {body}");
        error
    };
    let error = check(
        429,
        r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        ErrorKind::Quota,
    );
    assert!(!error.is_retryable());
    let error = check(
        400,
        r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ErrorKind::ContextLength,
    );
    assert_eq!(error.field(), Some("messages"));
    assert_eq!(error.code(), Some("context_length_exceeded"));
    // llama.cpp, vLLM, FastAPI, a proxy, and nothing at all.
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    assert_eq!(
        check(503, loading, ErrorKind::Server).message(),
        "Loading model"
    );
    let vllm = r#"{"object":"error","message":"x","code":400}"#;
    check(400, vllm, ErrorKind::InvalidRequest);
    let fast = r#"{"detail":[{"loc":["body","temperature"],"msg":"not a float"}]}"#;
    let error = check(422, fast, ErrorKind::InvalidRequest);
    assert!(error.message().contains("not a float"));
    check(502, "<html>Bad Gateway</html>", ErrorKind::Server);
    assert_eq!(
        check(500, "", ErrorKind::Server).message(),
        "internal server error"
    );
}
