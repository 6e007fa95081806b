//! The same conversation at all vendors: the same answer, in each one's shape.

mod client;

use choral_mock::{MockServer, chat_answer, image_tag, prompt_answer};
use client::{Response, post, send};
use serde_json::{Value, json};

fn messages(server: &MockServer, body: &Value) -> Response {
    let headers = [("x-api-key", "k"), ("anthropic-version", "2023-06-01")];
    send(
        server,
        "POST",
        "/v1/messages",
        &headers,
        body.to_string().as_bytes(),
    )
    .unwrap()
}

#[test]
fn a_conversation_gets_one_answer_from_all() {
    let server = MockServer::start().unwrap();
    let turns = json!([
        { "role": "user", "content": "hello" },
        { "role": "assistant", "content": "hi" },
        { "role": "user", "content": "what is one" },
    ]);
    let mut with_system = turns.as_array().unwrap().clone();
    with_system.insert(0, json!({ "role": "system", "content": "be brief" }));
    let expected = chat_answer(&[
        ("system", "be brief"),
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", "what is one"),
    ]);

    let chat = json!({ "model": "gpt-4o-mini", "messages": with_system });
    let chat = post(&server, "/v1/chat/completions", &chat).unwrap().json();
    assert_eq!(chat["choices"][0]["message"]["content"], expected);
    let response = json!({ "model": "gpt-4o-mini", "instructions": "be brief", "input": turns });
    let response = post(&server, "/v1/responses", &response).unwrap().json();
    assert_eq!(response["output"][0]["content"][0]["text"], expected);
    let message = json!({
        "model": "claude-sonnet-5", "max_tokens": 99, "system": "be brief", "messages": turns,
    });
    let message = messages(&server, &message).json();
    assert_eq!(message["content"][0]["text"], expected);
    let ollama = json!({ "model": "llama3.2", "stream": false, "messages": with_system });
    let ollama = post(&server, "/api/chat", &ollama).unwrap().json();
    assert_eq!(ollama["message"]["content"], expected);

    // Counts agree too, whatever they are called.
    assert_eq!(
        chat["usage"]["prompt_tokens"],
        message["usage"]["input_tokens"]
    );
    assert_eq!(chat["usage"]["completion_tokens"], ollama["eval_count"]);
    assert_eq!(
        response["usage"]["input_tokens"],
        ollama["prompt_eval_count"]
    );
}

#[test]
fn a_plain_prompt_gets_one_answer_from_all() {
    let server = MockServer::start().unwrap();
    let body = json!({ "model": "gpt-3.5-turbo-instruct", "prompt": "one", "max_tokens": 50 });
    let done = post(&server, "/v1/completions", &body).unwrap().json();
    assert_eq!(done["choices"][0]["text"], prompt_answer("one"));
    let body = json!({ "model": "llama3.2", "prompt": "one", "raw": true, "stream": false });
    let done = post(&server, "/api/generate", &body).unwrap().json();
    assert_eq!(done["response"], prompt_answer("one"));
}

#[test]
fn an_image_is_told_apart_by_its_bytes() {
    let server = MockServer::start().unwrap();
    let expected = chat_answer(&[("user", &format!("what{}", image_tag(b"pixels")))]);
    let text = json!({ "type": "text", "text": "what" });
    let url =
        json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,cGl4ZWxz" } });
    let body =
        json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": [url, text] }] });
    let done = post(&server, "/v1/chat/completions", &body).unwrap().json();
    assert_eq!(done["choices"][0]["message"]["content"], expected);
    let source = json!({ "type": "base64", "media_type": "image/png", "data": "cGl4ZWxz" });
    let image = json!({ "type": "image", "source": source });
    let body = json!({
        "model": "claude-sonnet-5", "max_tokens": 99,
        "messages": [{ "role": "user", "content": [image, text] }],
    });
    assert_eq!(
        messages(&server, &body).json()["content"][0]["text"],
        expected
    );
    let message = json!({ "role": "user", "content": "what", "images": ["cGl4ZWxz"] });
    let body = json!({ "model": "llama3.2", "stream": false, "messages": [message] });
    assert_eq!(
        post(&server, "/api/chat", &body).unwrap().json()["message"]["content"],
        expected
    );
}

#[test]
fn streams_end_as_their_vendors_end_them() {
    let server = MockServer::start().unwrap();
    let body = json!({
        "model": "claude-sonnet-5", "max_tokens": 99, "stream": true,
        "messages": [{ "role": "user", "content": "x" }],
    });
    let stream = messages(&server, &body);
    assert!(
        stream
            .text()
            .starts_with("event: message_start\ndata: {\"type\":\"message_start\"")
    );
    assert!(
        stream
            .text()
            .ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    );
    let body = json!({ "model": "llama3.2", "messages": [{ "role": "user", "content": "x" }] });
    let stream = post(&server, "/api/chat", &body).unwrap();
    assert_eq!(stream.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(stream.lines().last().unwrap()["done"], true);
    let body = json!({ "model": "gpt-4o-mini", "input": "x", "stream": true });
    let stream = post(&server, "/v1/responses", &body).unwrap();
    assert_eq!(
        stream.events().last().unwrap()["type"],
        "response.completed"
    );
}

#[test]
fn each_vendor_refuses_in_its_own_words() {
    let server = MockServer::start().unwrap();
    let none = json!({ "model": "none", "max_tokens": 1, "messages": [{ "role": "user", "content": "x" }] });
    let openai = post(&server, "/v1/chat/completions", &none).unwrap();
    assert_eq!(
        (openai.status, &openai.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    let anthropic = messages(&server, &none);
    assert_eq!(
        (anthropic.status, &anthropic.json()["error"]["type"]),
        (404, &json!("not_found_error"))
    );
    let ollama = post(&server, "/api/chat", &none).unwrap();
    assert_eq!(
        (ollama.status, &ollama.json()["error"]),
        (404, &json!("model 'none' not found"))
    );
    assert_eq!(post(&server, "/v1/nowhere", &none).unwrap().status, 404);
    let wrong = send(
        &server,
        "GET",
        "/v1/chat/completions",
        &[("authorization", "Bearer k")],
        b"",
    );
    assert_eq!(wrong.unwrap().status, 405);
    let garbage = send(&server, "POST", "/api/chat", &[], b"{").unwrap();
    assert_eq!(garbage.status, 400);
}
