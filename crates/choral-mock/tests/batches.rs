//! Life cycles of vendors' batches, state by state.

mod client;

use std::time::Duration;

use choral_mock::{BatchEnd, BatchPace, MockServer, chat_answer};
use client::{chat_body, get, post, send};
use serde_json::{Value, json};

/// Uploads rows and makes a batch of them; its id.
fn openai_batch(server: &MockServer, rows: &[(&str, Value)]) -> String {
    let mut file = String::new();
    for (id, body) in rows {
        let row = json!({
            "custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body,
        });
        file.extend([row.to_string(), "\n".to_owned()]);
    }
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{file}\r\n--x--\r\n"
    );
    let headers = [
        ("authorization", "Bearer k"),
        ("content-type", "multipart/form-data; boundary=x"),
    ];
    let file = send(server, "POST", "/v1/files", &headers, form.as_bytes())
        .unwrap()
        .json();
    let batch = json!({
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    });
    let batch = post(server, "/v1/batches", &batch).unwrap().json();
    assert_eq!(batch["status"], "validating");
    batch["id"].as_str().unwrap().to_owned()
}

fn openai_lines(server: &MockServer, file: &Value) -> Vec<Value> {
    get(
        server,
        &format!("/v1/files/{}/content", file.as_str().unwrap()),
    )
    .lines()
}

fn rows() -> Vec<(&'static str, Value)> {
    vec![
        ("a", chat_body("one")),
        ("b", chat_body("two")),
        ("c", chat_body("three")),
    ]
}

#[test]
fn a_batch_moves_a_state_a_poll_and_answers_every_row() {
    let server = MockServer::start().unwrap();
    let id = openai_batch(&server, &rows());
    let states: Vec<Value> = (0..5)
        .map(|_| get(&server, &format!("/v1/batches/{id}")).json())
        .collect();
    let names: Vec<&str> = states
        .iter()
        .map(|state| state["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "in_progress",
            "in_progress",
            "finalizing",
            "completed",
            "completed"
        ]
    );
    assert_eq!(
        states[0]["request_counts"],
        json!({ "total": 3, "completed": 0, "failed": 0 })
    );
    assert_eq!(states[1]["request_counts"]["completed"], 1);
    assert_eq!(states[2]["output_file_id"], Value::Null);
    let over = &states[3];
    assert_eq!(
        over["request_counts"],
        json!({ "total": 3, "completed": 3, "failed": 0 })
    );
    assert_eq!(over["error_file_id"], Value::Null);
    let lines = openai_lines(&server, &over["output_file_id"]);
    for (id, text) in [("a", "one"), ("b", "two"), ("c", "three")] {
        let line = lines.iter().find(|line| line["custom_id"] == id).unwrap();
        let content = &line["response"]["body"]["choices"][0]["message"]["content"];
        assert_eq!(*content, chat_answer(&[("user", text)]));
        assert_eq!(line["error"], Value::Null);
    }
}

#[test]
fn a_batch_moves_with_time_where_that_is_asked() {
    let pace = BatchPace::Every(Duration::from_hours(1));
    let server = MockServer::builder().batch_pace(pace).start().unwrap();
    let id = openai_batch(&server, &rows());
    for _ in 0..5 {
        assert_eq!(
            get(&server, &format!("/v1/batches/{id}")).json()["status"],
            "validating"
        );
    }
    let server = MockServer::builder()
        .batch_pace(BatchPace::Every(Duration::ZERO))
        .start()
        .unwrap();
    let id = openai_batch(&server, &rows());
    assert_eq!(
        get(&server, &format!("/v1/batches/{id}")).json()["status"],
        "completed"
    );
}

#[test]
fn an_expired_batch_keeps_what_was_done() {
    let server = MockServer::builder()
        .batch_end(BatchEnd::Expired)
        .batch_pace(BatchPace::Every(Duration::ZERO))
        .start()
        .unwrap();
    let id = openai_batch(&server, &rows());
    let batch = get(&server, &format!("/v1/batches/{id}")).json();
    assert_eq!(batch["status"], "expired");
    assert_eq!(openai_lines(&server, &batch["output_file_id"]).len(), 2);
    let errors = openai_lines(&server, &batch["error_file_id"]);
    assert_eq!(errors[0]["error"]["code"], "batch_expired");
    assert_eq!(errors[0]["response"], Value::Null);
}

#[test]
fn a_cancelled_batch_ends_and_a_failed_one_says_why() {
    let server = MockServer::builder()
        .batch_end(BatchEnd::Failed)
        .start()
        .unwrap();
    let id = openai_batch(&server, &rows());
    let cancelling = post(&server, &format!("/v1/batches/{id}/cancel"), &json!({}))
        .unwrap()
        .json();
    assert_eq!(cancelling["status"], "cancelling");
    let cancelled = get(&server, &format!("/v1/batches/{id}")).json();
    assert_eq!(cancelled["status"], "cancelled");
    assert!(cancelled["cancelled_at"].is_u64() && cancelled["output_file_id"].is_null());

    let id = openai_batch(&server, &rows());
    get(&server, &format!("/v1/batches/{id}"));
    let failed = get(&server, &format!("/v1/batches/{id}")).json();
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["errors"]["data"][0]["code"], "token_limit_exceeded");
}

#[test]
fn a_row_that_is_refused_is_in_the_error_file_with_its_status() {
    let server = MockServer::builder()
        .batch_pace(BatchPace::Every(Duration::ZERO))
        .start()
        .unwrap();
    let mut rows = rows();
    rows.push(("bad", json!({ "model": "gpt-4o-mini" })));
    rows.push(("busy", chat_body("[[mock:429]]")));
    let id = openai_batch(&server, &rows);
    let batch = get(&server, &format!("/v1/batches/{id}")).json();
    assert_eq!(
        batch["request_counts"],
        json!({ "total": 5, "completed": 3, "failed": 2 })
    );
    let mut statuses: Vec<u64> = openai_lines(&server, &batch["error_file_id"])
        .iter()
        .map(|line| line["response"]["status_code"].as_u64().unwrap())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [400, 429]);
}

fn anthropic(server: &MockServer, method: &str, path: &str, body: &Value) -> client::Response {
    let headers = [("x-api-key", "k"), ("anthropic-version", "2023-06-01")];
    send(server, method, path, &headers, body.to_string().as_bytes()).unwrap()
}

fn message_batch(server: &MockServer) -> String {
    let requests: Vec<Value> = ["one", "two", "three"]
        .iter()
        .map(|text| {
            json!({ "custom_id": text, "params": {
                "model": "claude-sonnet-5", "max_tokens": 50,
                "messages": [{ "role": "user", "content": text }],
            } })
        })
        .collect();
    let batch = anthropic(
        server,
        "POST",
        "/v1/messages/batches",
        &json!({ "requests": requests }),
    )
    .json();
    assert_eq!(batch["processing_status"], "in_progress");
    assert_eq!(batch["request_counts"]["processing"], 3);
    format!("/v1/messages/batches/{}", batch["id"].as_str().unwrap())
}

#[test]
fn a_message_batch_ends_at_the_second_poll() {
    let server = MockServer::start().unwrap();
    let path = message_batch(&server);
    let poll = || anthropic(&server, "GET", &path, &json!({})).json();
    let early = poll();
    assert_eq!(
        (&early["processing_status"], &early["results_url"]),
        (&json!("in_progress"), &Value::Null)
    );
    assert_eq!(
        anthropic(&server, "GET", &format!("{path}/results"), &json!({})).status,
        404
    );
    let ended = poll();
    assert_eq!(ended["processing_status"], "ended");
    assert_eq!(
        ended["results_url"].as_str().unwrap(),
        format!("http://mock{path}/results")
    );
    for line in anthropic(&server, "GET", &format!("{path}/results"), &json!({})).lines() {
        let text = line["custom_id"].as_str().unwrap();
        let content = &line["result"]["message"]["content"][0]["text"];
        assert_eq!(*content, chat_answer(&[("user", text)]));
    }
}

#[test]
fn a_message_batch_can_be_cancelled_expire_and_fail() {
    let kinds = |server: &MockServer, path: &str| -> Vec<String> {
        let results = anthropic(server, "GET", &format!("{path}/results"), &json!({})).lines();
        let mut kinds: Vec<String> = results
            .iter()
            .map(|line| line["result"]["type"].as_str().unwrap().to_owned())
            .collect();
        kinds.sort();
        kinds
    };
    let server = MockServer::start().unwrap();
    let path = message_batch(&server);
    let cancelling = anthropic(&server, "POST", &format!("{path}/cancel"), &json!({})).json();
    assert_eq!(cancelling["processing_status"], "canceling");
    let ended = anthropic(&server, "GET", &path, &json!({})).json();
    assert_eq!(ended["request_counts"]["canceled"], 3);
    assert_eq!(kinds(&server, &path), ["canceled"; 3]);

    for (end, expected) in [
        (BatchEnd::Expired, ["expired", "succeeded", "succeeded"]),
        (BatchEnd::Failed, ["errored", "errored", "errored"]),
    ] {
        let pace = BatchPace::Every(Duration::ZERO);
        let server = MockServer::builder()
            .batch_end(end)
            .batch_pace(pace)
            .start()
            .unwrap();
        let path = message_batch(&server);
        anthropic(&server, "GET", &path, &json!({}));
        assert_eq!(kinds(&server, &path), expected);
    }
}
