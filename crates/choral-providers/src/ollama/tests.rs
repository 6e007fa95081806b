//! Ollama's JSON, as its document has it.

use super::*;
use choral::provider::Tool;

fn body(request: &GenerateRequest) -> Value {
    Native.body("m", request, false).unwrap().into()
}

#[test]
fn a_prompt_and_its_options_are_as_the_document_has_them() {
    let mut request = GenerateRequest::prompt("Why is the sky blue?")
        .system("Be brief.")
        .image(Image::bytes("image/png", b"x"))
        .response_format(ResponseFormat::JsonObject)
        .max_tokens(5)
        .seed(3);
    request.params.repetition_penalty = Some(1.2);
    request.params.stop = Some(vec!["\n".to_owned()]);
    let extra = &mut request.params.extra;
    extra.insert("options".to_owned(), json!({"num_ctx": 4096}));
    extra.insert("keep_alive".to_owned(), "10m".into());
    assert_eq!(Native.path(&request), "api/generate");
    let expected = json!({
        "model": "m", "prompt": "Why is the sky blue?", "system": "Be brief.",
        "images": ["eA=="], "format": "json", "stream": false, "keep_alive": "10m",
        "options": {"num_predict": 5, "repeat_penalty": 1.2, "seed": 3, "stop": ["\n"],
            "num_ctx": 4096},
    });
    assert_eq!(body(&request), expected);
    request
        .params
        .extra
        .insert("options".to_owned(), json!({"seed": 4}));
    assert!(Native.body("m", &request, false).is_err());
}

#[test]
fn a_conversation_names_tools_and_holds_pictures() {
    let mut assistant = Message::assistant("");
    assistant.tool_calls.push(ToolCall {
        id: "call_0".to_owned(),
        name: "f".to_owned(),
        arguments: "{\"a\":1}".to_owned(),
    });
    let turns = [
        Message::user("x").with_image(Image::bytes("image/png", b"x")),
        assistant,
        Message::tool("call_0", "4"),
    ];
    let request = GenerateRequest::messages(turns).tool(Tool {
        name: "f".to_owned(),
        description: None,
        parameters: json!({}),
        strict: None,
    });
    assert_eq!(Native.path(&request), "api/chat");
    let messages = json!([
        {"role": "user", "content": "x", "images": ["eA=="]},
        {"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "4", "tool_name": "f"}]);
    assert_eq!(body(&request)["messages"], messages);
    let url = GenerateRequest::prompt("x").image(Image::url("https://example.com/x.png"));
    assert!(Native.body("m", &url, false).is_err());
}

#[test]
fn log_probabilities_are_asked_for_beside_the_options() {
    let mut request = GenerateRequest::prompt("x");
    request.params.logprobs = Some(2);
    let asked = body(&request);
    assert_eq!(asked["logprobs"], true);
    assert_eq!(asked["top_logprobs"], 2);
    assert!(asked["options"].is_null());
    let token = |text: &str, logprob: f64| json!({"token": text, "logprob": logprob});
    let mut first = token("Blue", -0.25);
    first["top_logprobs"] = json!([token("Blue", -0.25), token("Red", -1.5)]);
    let answer = json!({"model": "m", "response": "Blue.", "done": true,
        "logprobs": [first, token(".", -0.5)]});
    let read = Native.response(&answer).unwrap().logprobs.unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(
        read[0].top,
        [("Blue".to_owned(), -0.25), ("Red".to_owned(), -1.5)]
    );
    assert_eq!((&*read[1].token, read[1].logprob), (".", -0.5));
    let mut assembler = Native.assembler();
    let line = |body: Value| Frame {
        event: String::new(),
        data: body.to_string(),
    };
    for text in ["Blue", "."] {
        let piece = json!({"model": "m", "response": text, "done": false,
            "logprobs": [token(text, -0.25)]});
        assembler.push(&line(piece)).unwrap();
    }
    let last = json!({"model": "m", "response": "", "done": true, "done_reason": "stop"});
    assembler.push(&line(last)).unwrap();
    let streamed = assembler.finish().unwrap().logprobs.unwrap();
    let texts: Vec<_> = streamed.iter().map(|token| &*token.token).collect();
    assert_eq!(texts, ["Blue", "."]);
    let broken = json!({"model": "m", "response": "x", "done": true, "logprobs": [{}]});
    let error = Native.response(&broken).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn answers_of_both_kinds_are_read() {
    let chat = json!({
        "model": "llama3.2", "created_at": "2023-08-04T19:22:45.499127Z",
        "message": {"role": "assistant", "content": "Hello!", "thinking": "Hm."},
        "done": true, "done_reason": "length", "total_duration": 4_883_583_458_u64,
        "prompt_eval_count": 26, "eval_count": 282,
    });
    let read = Native.response(&chat).unwrap();
    assert_eq!(read.content, "Hello!");
    assert_eq!(read.reasoning.as_deref(), Some("Hm."));
    assert_eq!(read.finish_reason, FinishReason::Length);
    assert_eq!(read.usage.total_tokens, 308);
    let generate = json!({"model": "m", "response": "Blue.", "done": true});
    assert_eq!(Native.response(&generate).unwrap().content, "Blue.");
    let calls = json!({"model": "m", "done": true, "done_reason": "stop", "message": {
        "role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1}}}]}});
    let read = Native.response(&calls).unwrap();
    assert_eq!(read.finish_reason, FinishReason::ToolCalls);
    assert_eq!(read.tool_calls[0].arguments, "{\"a\":1}");
    for wrong in [json!({}), json!({"done": true}), json!({"response": "x"})] {
        let error = Native.response(&wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
}

#[test]
fn a_stream_is_put_together_and_must_be_done() {
    let lines = [
        r#"{"model":"m","message":{"role":"assistant","content":"The"},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":" sky"},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":1,"eval_count":2}"#,
    ];
    let stream = |lines: &[&str]| {
        let mut assembler = Native.assembler();
        for line in lines {
            assembler.push(&Frame {
                event: String::new(),
                data: (*line).to_owned(),
            })?;
        }
        assembler.finish()
    };
    let whole = stream(&lines).unwrap();
    assert_eq!(whole.content, "The sky");
    assert_eq!(whole.usage.total_tokens, 3);
    assert_eq!(
        stream(&lines[..2]).unwrap_err().kind(),
        ErrorKind::Connection
    );
    let failed = stream(&[lines[0], r#"{"error":"out of memory"}"#]).unwrap_err();
    assert_eq!(
        (failed.kind(), failed.message()),
        (ErrorKind::Server, "out of memory")
    );
}
