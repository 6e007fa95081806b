//! Each fault, seen from the other end of the socket.

mod client;

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use choral_mock::{Fault, Log, MockServer, Outcome, RateLimit, chat_answer};
use client::{chat, chat_body, connect, post, send, write};
use serde_json::json;

/// For what happens at once, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn streamed(text: &str) -> serde_json::Value {
    let mut body = chat_body(text);
    body["stream"] = json!(true);
    body
}

#[test]
fn without_faults_the_right_answer_comes() {
    let server = MockServer::start().unwrap();
    let response = chat(&server, "hello").unwrap();
    assert_eq!(response.status, 200);
    let answer = response.json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        chat_answer(&[("user", "hello")])
    );
    let records = server.log().requests();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].status, Some(200));
    assert_eq!(records[0].outcome, Outcome::Delivered);
    assert_eq!(records[0].header("authorization"), Some("Bearer sk-test"));
    assert_eq!(records[0].json().unwrap()["model"], "gpt-4o-mini");
}

#[test]
fn a_status_comes_as_often_as_the_prompt_says() {
    let server = MockServer::start().unwrap();
    let text = "x [[mock:429;retry-after=2,503;retry-after-ms=150,500;retry-after-date=60]]";
    let statuses: Vec<_> = (0..4).map(|_| chat(&server, text).unwrap()).collect();
    assert_eq!(
        statuses
            .iter()
            .map(|response| response.status)
            .collect::<Vec<_>>(),
        [429, 503, 500, 200]
    );
    assert_eq!(statuses[0].header("retry-after"), Some("2"));
    assert_eq!(statuses[0].json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(statuses[1].header("retry-after-ms"), Some("150"));
    assert!(statuses[2].header("retry-after").unwrap().ends_with(" GMT"));
    assert_eq!(server.log().attempts("x [[mock:"), 4);
    let attempts: Vec<u32> = server
        .log()
        .requests()
        .iter()
        .map(|request| request.attempt)
        .collect();
    assert_eq!(attempts, [0, 1, 2, 3]);
}

#[test]
fn a_header_brings_a_fault_and_a_misspelt_one_is_refused() {
    let server = MockServer::start().unwrap();
    let body = chat_body("x").to_string();
    let with = |fault| {
        let headers = [("authorization", "Bearer k"), ("x-mock-fault", fault)];
        send(
            &server,
            "POST",
            "/v1/chat/completions",
            &headers,
            body.as_bytes(),
        )
        .unwrap()
    };
    assert_eq!(with("403").status, 403);
    let refused = with("tyop");
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.json()["error"]["message"],
        "mock: unknown fault `tyop`"
    );
}

#[test]
fn connections_are_reset_or_closed_before_or_after_headers() {
    let server = MockServer::start().unwrap();
    assert_eq!(
        chat(&server, "[[mock:reset]]").unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        chat(&server, "[[mock:close]]").unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    let late = chat(&server, "[[mock:reset-after-headers]]").unwrap();
    assert_eq!((late.status, late.body.len()), (200, 0));
    assert_eq!(late.error, Some(ErrorKind::ConnectionReset));
    for record in server.log().requests() {
        assert_eq!(record.outcome, Outcome::Cut, "{record:?}");
    }
}

#[test]
fn stalls_last_as_long_as_they_say() {
    let server = MockServer::start().unwrap();
    for fault in ["stall=0.3", "stall-body=0.3"] {
        let begun = Instant::now();
        let response = chat(&server, &format!("[[mock:{fault}]]")).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(response.complete);
        assert!(response.json()["choices"].is_array());
    }
}

#[test]
fn half_a_stream_ends_in_good_order_and_a_cut_one_does_not() {
    let server = MockServer::start().unwrap();
    let path = "/v1/chat/completions";
    let whole = post(&server, path, &streamed("a b c d")).unwrap();
    assert!(whole.complete && whole.text().ends_with("data: [DONE]\n\n"));
    let half = post(&server, path, &streamed("a b c d [[mock:half-stream]]")).unwrap();
    assert!(half.complete);
    assert!(!half.text().contains("[DONE]") && half.events().len() > 1);
    let cut = post(&server, path, &streamed("a b c d [[mock:cut-stream]]")).unwrap();
    assert!(!cut.complete && cut.events().len() > 1);
    let failed = post(&server, path, &streamed("a b c d [[mock:stream-error]]")).unwrap();
    assert_eq!(
        failed.events().last().unwrap()["error"]["type"],
        "server_error"
    );
}

#[test]
fn json_can_be_broken_and_html_can_come_instead() {
    let server = MockServer::start().unwrap();
    let broken = chat(&server, "[[mock:malformed-json]]").unwrap();
    assert_eq!(broken.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&broken.body).is_err());
    let stream = post(
        &server,
        "/v1/chat/completions",
        &streamed("[[mock:malformed-json]]"),
    )
    .unwrap();
    assert!(stream.text().contains("data: {{"));
    let page = chat(&server, "[[mock:wrong-content-type]]").unwrap();
    assert_eq!(page.header("content-type"), Some("text/html"));
    assert!(page.complete && page.text().starts_with("<!DOCTYPE html>"));
}

#[test]
fn a_truncated_body_is_shorter_than_promised() {
    let server = MockServer::start().unwrap();
    let response = chat(&server, "[[mock:truncated]]").unwrap();
    let promised: usize = response.header("content-length").unwrap().parse().unwrap();
    assert!(response.body.len() < promised && !response.complete);
}

#[test]
fn a_redirect_leads_to_the_other_listener_which_records() {
    let server = MockServer::start().unwrap();
    let response = chat(&server, "[[mock:redirect=308]]").unwrap();
    assert_eq!(response.status, 308);
    let location = response.header("location").unwrap();
    assert_eq!(
        location,
        format!("{}/v1/chat/completions", server.elsewhere_url())
    );
    let mut stream =
        std::net::TcpStream::connect(server.elsewhere_url().replace("http://", "")).unwrap();
    let body = chat_body("followed").to_string();
    let headers = [("connection", "close"), ("authorization", "Bearer leaked")];
    write(
        &mut stream,
        "POST",
        "/v1/chat/completions",
        &headers,
        body.as_bytes(),
    );
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"));
    let seen = server.elsewhere_log().requests();
    assert_eq!(seen[0].header("authorization"), Some("Bearer leaked"));
}

#[test]
fn slow_and_huge_bodies_are_slow_and_huge() {
    let server = MockServer::start().unwrap();
    let begun = Instant::now();
    let slow = chat(&server, "[[mock:slow-drip=0.01]]").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(slow.json()["choices"].is_array());
    let huge = chat(&server, "[[mock:huge-body=3000000]]").unwrap();
    assert!(huge.body.len() > 3_000_000);
}

#[test]
fn a_server_can_echo_the_key_it_refuses() {
    let server = MockServer::start().unwrap();
    let response = chat(&server, "[[mock:echo-key]]").unwrap();
    assert_eq!(response.status, 401);
    assert!(response.text().contains("sk-test"));
}

#[test]
fn keys_are_checked_unless_none_is_asked_for() {
    let body = chat_body("x").to_string();
    let with = |server: &MockServer, headers: &[(&str, &str)]| {
        send(
            server,
            "POST",
            "/v1/chat/completions",
            headers,
            body.as_bytes(),
        )
        .unwrap()
        .status
    };
    let server = MockServer::builder().key("good").start().unwrap();
    assert_eq!(with(&server, &[]), 401);
    assert_eq!(with(&server, &[("authorization", "Bearer bad")]), 401);
    assert_eq!(with(&server, &[("authorization", "Bearer good")]), 200);
    let any = MockServer::start().unwrap();
    assert_eq!(with(&any, &[("authorization", "Bearer whatever")]), 200);
    assert_eq!(with(&any, &[("authorization", "Bearer invalid-key")]), 401);
    assert_eq!(
        with(&MockServer::builder().without_keys().start().unwrap(), &[]),
        200
    );
}

#[test]
fn beyond_the_limit_comes_429_until_the_window_ends() {
    let window = Duration::from_millis(500);
    let server = MockServer::builder()
        .rate_limit(RateLimit::requests(2, window))
        .start()
        .unwrap();
    let first = chat(&server, "1").unwrap();
    assert_eq!(first.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(chat(&server, "2").unwrap().status, 200);
    let refused = chat(&server, "3").unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let millis: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    assert!((1..=501).contains(&millis));
    std::thread::sleep(Duration::from_millis(millis));
    assert_eq!(chat(&server, "3").unwrap().status, 200);
}

#[test]
fn connections_are_counted_and_a_client_that_leaves_is_noticed() {
    let server = MockServer::start().unwrap();
    let mut stream = connect(&server);
    let headers = [("authorization", "Bearer k")];
    for (number, text) in ["one", "two"].into_iter().enumerate() {
        let body = chat_body(text).to_string();
        write(
            &mut stream,
            "POST",
            "/v1/chat/completions",
            &headers,
            body.as_bytes(),
        );
        let ended = |log: &Log| log.requests().iter().filter(|r| r.ended.is_some()).count();
        assert!(server.log().wait_until(PATIENCE, |log| ended(log) > number));
    }
    assert_eq!(server.log().connections(), 1);
    let body = chat_body("[[mock:stall=60]]").to_string();
    write(
        &mut stream,
        "POST",
        "/v1/chat/completions",
        &headers,
        body.as_bytes(),
    );
    assert!(
        server
            .log()
            .wait_until(PATIENCE, |log| log.open_requests() == 1)
    );
    drop(stream);
    let left = |log: &Log| log.open_connections() + log.open_requests() == 0;
    assert!(server.log().wait_until(PATIENCE, left));
    assert_eq!(server.log().requests()[2].outcome, Outcome::ClientGone);
    assert_eq!(server.log().peak_open_requests(), 1);
    assert!(server.log().idle_for() < Duration::from_secs(10));
}

#[test]
fn random_faults_hit_the_same_requests_in_every_run() {
    let run = || {
        let faults = [Fault::Status(500, None), Fault::Reset];
        let server = MockServer::builder()
            .seed(3)
            .random_faults(0.5, faults)
            .start()
            .unwrap();
        (0..40)
            .map(|number| {
                chat(&server, &format!("prompt {number}")).map_or(0, |response| response.status)
            })
            .collect::<Vec<u16>>()
    };
    let first = run();
    assert_eq!(first, run());
    assert!(
        first.contains(&0) && first.contains(&500) && first.contains(&200),
        "{first:?}"
    );
}

#[test]
fn a_server_starts_and_stops_inside_an_async_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = MockServer::start().unwrap();
        assert_eq!(chat(&server, "x").unwrap().status, 200);
    });
}
