//! Anthropic's JSON, as its reference has it.

use super::*;
use crate::lines::Frame;
use choral::provider::{Image, Tool};

fn body(request: &GenerateRequest) -> Value {
    Messages.body("m", request, false).unwrap().into()
}

#[test]
fn a_request_is_as_the_reference_has_it() {
    let call = ToolCall {
        id: "toolu_1".to_owned(),
        name: "f".to_owned(),
        arguments: "{\"a\": 1}".to_owned(),
    };
    let mut assistant = Message::assistant("Let me see");
    assistant.tool_calls = vec![
        call.clone(),
        ToolCall {
            id: "toolu_2".to_owned(),
            ..call
        },
    ];
    let turns = [
        Message::system("Be brief."),
        Message::user("What is this?").with_image(Image::bytes("image/png", b"x")),
        assistant,
        Message::tool("toolu_1", "4"),
        Message::tool("toolu_2", "5"),
    ];
    let mut request = GenerateRequest::messages(turns)
        .temperature(0.7)
        .tool(Tool {
            name: "f".to_owned(),
            description: None,
            parameters: json!({"type": "object"}),
            strict: None,
        });
    request.tool_choice = Some(ToolChoice::Required);
    request.params.stop = Some(vec!["END".to_owned()]);
    let expected = json!({
        "model": "m", "max_tokens": 4096,
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                    "data": "eA=="}}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Let me see"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "4"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "5"}]}],
        "system": "Be brief.", "temperature": 0.7, "stop_sequences": ["END"],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
    });
    assert_eq!(body(&request), expected);
    assert_eq!(
        body(&GenerateRequest::prompt("x").max_tokens(7))["max_tokens"],
        7
    );
    let late = GenerateRequest::messages([Message::user("x"), Message::system("y")]);
    assert!(Messages.body("m", &late, false).is_err());
}

#[test]
fn a_schema_is_asked_for_as_the_output_s_format() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}},
        "required": ["a"], "additionalProperties": false});
    let format = ResponseFormat::json_schema("answer", schema.clone());
    let request = GenerateRequest::prompt("x").response_format(format);
    let expected = json!({"format": {"type": "json_schema", "schema": schema}});
    assert_eq!(body(&request)["output_config"], expected);
    let any = GenerateRequest::prompt("x").response_format(ResponseFormat::JsonObject);
    assert!(Messages.body("m", &any, false).is_err());
}

#[test]
fn an_answer_is_read() {
    let answer = json!({
        "id": "msg_013Zva2CMHLNnjNjJJKqJ2EF", "type": "message", "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "text", "text": "Hi!"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 2},
    });
    let read = Messages.response(&answer).unwrap();
    assert_eq!(read.content, "Hi!");
    assert_eq!(read.reasoning.as_deref(), Some("Hm."));
    assert_eq!(read.finish_reason, FinishReason::ToolCalls);
    assert_eq!(read.tool_calls[0].arguments, "{\"a\":1}");
    assert_eq!(read.usage.prompt_tokens, 15);
    assert_eq!(read.usage.total_tokens, 20);
    assert_eq!(read.usage.cached_tokens, 3);
    for wrong in [
        json!({}),
        json!({"content": [], "stop_reason": null}),
        json!(7),
    ] {
        let error = Messages.response(&wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
}

/// The reference's own example of a stream with a tool, shortened.
const STREAM: &[&str] = &[
    r#"{"type":"message_start","message":{"id":"msg_014p7gG3wDgGV9EUtLvnow3U","type":"message","role":"assistant","model":"claude-opus-4-6","stop_sequence":null,"usage":{"input_tokens":472,"output_tokens":2},"content":[],"stop_reason":null}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type": "ping"}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Okay"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":", let's"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_01T1x1fJ34qAmk2tNTrN7Up6","name":"get_weather","input":{}}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"location\":"}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":" \"San Francisco\"}"}}"#,
    r#"{"type":"content_block_stop","index":1}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}"#,
    r#"{"type":"message_stop"}"#,
];

fn stream(events: &[&str]) -> Result<GenerateResponse, GenerateError> {
    let mut assembler = Messages.assembler();
    for data in events {
        let frame = Frame {
            event: String::new(),
            data: (*data).to_owned(),
        };
        assembler.push(&frame)?;
    }
    assembler.finish()
}

#[test]
fn a_stream_is_put_together() {
    let whole = stream(STREAM).unwrap();
    assert_eq!(whole.content, "Okay, let's");
    assert_eq!(whole.model, "claude-opus-4-6");
    assert_eq!(whole.tool_calls[0].id, "toolu_01T1x1fJ34qAmk2tNTrN7Up6");
    assert_eq!(
        whole.tool_calls[0].arguments,
        "{\"location\": \"San Francisco\"}"
    );
    assert_eq!(
        (whole.usage.prompt_tokens, whole.usage.completion_tokens),
        (472, 89)
    );
    assert_eq!(whole.finish_reason, FinishReason::ToolCalls);
}

#[test]
fn a_stream_that_ends_early_is_no_answer() {
    for end in 0..STREAM.len() - 2 {
        let error = stream(&STREAM[..end]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection);
    }
    let overloaded =
        r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
    let error = stream(&[STREAM[0], overloaded]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
}

#[test]
fn errors_have_their_kinds() {
    for (status, code, message, kind) in [
        (
            401,
            "authentication_error",
            "invalid x-api-key",
            ErrorKind::Auth,
        ),
        (403, "permission_error", "no", ErrorKind::Auth),
        (402, "billing_error", "no", ErrorKind::Quota),
        (404, "not_found_error", "model: x", ErrorKind::NotFound),
        (429, "rate_limit_error", "slow", ErrorKind::RateLimit),
        (529, "overloaded_error", "Overloaded", ErrorKind::Server),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 208310 tokens > 200000 maximum",
            ErrorKind::ContextLength,
        ),
        (413, "request_too_large", "no", ErrorKind::InvalidRequest),
    ] {
        let body = json!({"type": "error", "request_id": "req_1",
            "error": {"type": code, "message": message}});
        let status = StatusCode::from_u16(status).unwrap();
        let error = explain(status, body.to_string().as_bytes());
        assert_eq!(error.kind(), kind, "{code}");
        assert_eq!(error.code(), Some(code));
        assert_eq!(error.request_id(), Some("req_1"));
    }
}
