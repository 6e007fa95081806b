//! Services that are slow, that stall, that limit, and that repeat what they were told.
//!
//! Against a server of a few lines, which does what no vendor documents.

mod common;

use choral::provider::{BatchOptions, ErrorKind, GenerateError, ProviderExt};
use choral_providers::{Builder, Kind, NetworkOptions, RateLimits, RetryPolicy};
use common::KEY;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Answers every request with what `answer` writes; gives its address.
fn serve(answer: impl Fn(&mut TcpStream, &str) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            thread::spawn(move || {
                let head = head_of(&mut stream);
                answer(&mut stream, &head);
            });
        }
    });
    at.to_string()
}

/// Reads a request to its end, and returns its head.
fn head_of(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        all.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then_some(value)
            });
            let length = length.map_or(0, |length| length.parse().unwrap());
            if body.len() >= length || count == 0 {
                return head.to_owned();
            }
        } else if count == 0 {
            return text;
        }
    }
}

fn reply(stream: &mut TcpStream, status: &str, more: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n{more}\r\n{body}",
        body.len()
    );
    // Who asked may be gone.
    let _ = stream.write_all(head.as_bytes());
}

const HELLO: &str = r#"{"model": "m", "choices": [{"index": 0, "finish_reason": "stop",
    "message": {"role": "assistant", "content": "Hello"}}]}"#;

fn client(at: &str, network: NetworkOptions) -> Builder {
    Builder::new(Kind::Compatible, "m")
        .base_url(format!("http://{at}/v1"))
        .api_key(KEY)
        .network(network)
}

#[test]
fn a_service_may_think_longer_than_it_may_stall() {
    let slow = serve(|stream, _| {
        thread::sleep(Duration::from_millis(900));
        reply(stream, "200 OK", "", HELLO);
    });
    let network = NetworkOptions {
        read_timeout: Duration::from_millis(200),
        retry: RetryPolicy::never(),
        ..NetworkOptions::default()
    };
    let answer = client(&slow, network.clone()).build().unwrap();
    assert_eq!(answer.generate_blocking("x").unwrap().content, "Hello");

    let stalling = serve(|stream, _| {
        let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                     content-length: 900\r\n\r\n{";
        let _ = stream.write_all(begun.as_bytes());
        thread::sleep(Duration::from_secs(30));
    });
    let began = Instant::now();
    let stalled = client(&stalling, network).build().unwrap();
    let error = stalled.generate_blocking("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("200ms"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn ones_own_limits_make_nobody_late() {
    let at = serve(|stream, _| reply(stream, "200 OK", "", HELLO));
    let network = NetworkOptions {
        total_timeout: Duration::from_millis(500),
        // Ten at once, and ten a second.
        rate_limits: RateLimits {
            requests_per_minute: Some(600),
            tokens_per_minute: None,
        },
        ..NetworkOptions::default()
    };
    let provider = client(&at, network).max_concurrency(32).build().unwrap();
    let prompts = (0..30).map(|i| format!("{i}"));
    let answers = provider.batch_generate_blocking(prompts, &BatchOptions::default());
    assert_eq!(answers.unwrap().len(), 30);
}

#[test]
fn a_long_wait_that_is_asked_for_holds_the_others_back() {
    let at = serve(|stream, _| {
        let wait = "retry-after: 2\r\n";
        reply(stream, "429 Too Many Requests", wait, "{}");
    });
    let network = NetworkOptions {
        retry: RetryPolicy {
            max_retry_after: Duration::from_secs(1),
            ..RetryPolicy::default()
        },
        ..NetworkOptions::default()
    };
    let provider = client(&at, network).build().unwrap();
    let error = provider.generate_blocking("x").unwrap_err();
    assert_eq!(error.attempts(), 1);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    let began = Instant::now();
    provider.generate_blocking("y").unwrap_err();
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
}

/// No eight letters in a row of a secret are in a text.
fn assert_hidden(secret: &str, text: &str) {
    for at in 0..=secret.len() - 8 {
        let piece = &secret[at..at + 8];
        assert!(!text.contains(piece), "{piece} of {secret} is in {text}");
    }
}

#[test]
fn nothing_secret_is_quoted_however_it_comes_back() {
    const PASSWORD: &str = "p@ss-phrase-of-ours";
    const QUERY: &str = "query-secret-987654";
    const OTHER: &str = "other-secret-135790";
    // What is quoted of an error ends where it pleases: perhaps within a key.
    for filler in [0, 230, 250, 262, 270, 280, 290] {
        for (status, content) in [
            ("400 Bad Request", "json"),
            ("200 OK", "json"),
            ("200 OK", "html"),
        ] {
            let at = serve(move |stream, head| {
                let told = head.replace(['\r', '\n', '"'], " ");
                let body = format!("{}{told}", "x".repeat(filler));
                let body = match (status, content) {
                    ("200 OK", "json") => format!("{{\"x\": \"{body}\"}}"),
                    _ => body,
                };
                let text = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/{content}\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes());
            });
            for kind in Kind::ALL {
                let url = format!("http://user:p%40ss-phrase-of-ours@{at}/v1?api-key={QUERY}");
                let provider = Builder::new(kind, "m")
                    .base_url(url)
                    .api_key(KEY)
                    .header("x-gateway", format!("Token {OTHER}"))
                    .retry(RetryPolicy::never())
                    .build()
                    .unwrap();
                let error: GenerateError = provider.generate_blocking("hello").unwrap_err();
                let told = format!("{error} {error:?}");
                // `user:p@ss-phrase-of-ours` as it is sent.
                let basic = "dXNlcjpwQHNzLXBocmFzZS1vZi1vdXJz";
                for secret in [KEY, PASSWORD, QUERY, OTHER, basic, "p%40ss-phrase-of-ours"] {
                    assert_hidden(secret, &told);
                }
            }
        }
    }
}
