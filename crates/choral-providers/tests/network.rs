//! A client in bad weather, against a server that fails on demand.

mod common;

use choral::provider::{
    BatchOptions, BlockingStream, ErrorKind, GenerateError, GenerateEvent, GenerateRequest,
    Provider, ProviderExt,
};
use choral_mock::{Fault, MockServer, RetryHint};
use choral_providers::{NetworkOptions, RateLimits, RetryPolicy};
use common::{expected, openai, quick};
use std::time::{Duration, Instant};

fn fault(server: &MockServer, fault: &str) -> Result<String, GenerateError> {
    let provider = openai(server).build().unwrap();
    let answer = provider.generate_blocking(format!("[[mock:{fault}]]"));
    answer.map(|answer| answer.content)
}

#[test]
fn a_thousand_requests_in_bad_weather_all_have_an_outcome() {
    const REQUESTS: usize = 1000;
    let server = MockServer::builder()
        .seed(20)
        .random_faults(
            0.2,
            [
                Fault::Status(429, Some(RetryHint::Millis(20))),
                Fault::Status(500, None),
                Fault::Reset,
                Fault::Stall(Duration::from_mins(1)),
            ],
        )
        .start()
        .unwrap();
    let provider = openai(&server)
        .request_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let prompts: Vec<_> = (0..REQUESTS).map(|i| format!("Question {i}")).collect();
    let outcomes = provider.batch_generate_with_errors_blocking(
        prompts.iter().map(String::as_str),
        &BatchOptions::default().max_concurrency(64),
    );
    assert_eq!(outcomes.len(), REQUESTS);
    let most = RetryPolicy::default().max_attempts;
    let mut attempts = 0;
    let mut failed = 0;
    for (prompt, outcome) in prompts.iter().zip(&outcomes) {
        match outcome {
            Ok(answer) => {
                assert_eq!(answer.content, expected(prompt));
                attempts += answer.metadata["attempts"].as_u64().unwrap();
            }
            Err(error) => {
                assert_eq!(error.attempts(), most, "{error}");
                attempts += u64::from(error.attempts());
                failed += 1;
            }
        }
    }
    // A fifth of a fifth of ... fails six times: hardly one in ten thousand.
    assert!(failed <= 3, "{failed} requests failed");
    // Every attempt is one that was counted, and there are about 1.25 a request.
    assert_eq!(attempts, server.log().num_requests() as u64);
    assert!(attempts <= 1400, "{attempts} attempts");
    println!("{attempts} attempts for {REQUESTS} requests, {failed} failed");
}

#[test]
fn cancelling_a_batch_of_a_thousand_ends_all_traffic_within_a_second() {
    let server = MockServer::builder().latency(Duration::from_mins(1));
    let server = server.start().unwrap();
    let provider = openai(&server).max_concurrency(64).build().unwrap();
    let options = BatchOptions::default();
    let token = options.cancel.clone();
    let prompts = (0..1000).map(|i| format!("Question {i}"));
    std::thread::scope(|scope| {
        let log = server.log();
        scope.spawn(move || {
            let begun = Instant::now();
            while log.open_requests() < 64 && begun.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(log.open_requests(), 64);
            token.cancel();
            let cancelled = Instant::now();
            while log.open_connections() > 0 {
                assert!(cancelled.elapsed() < Duration::from_secs(1));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let outcomes = provider.batch_generate_with_errors_blocking(prompts, &options);
        assert_eq!(outcomes.len(), 1000);
        let is_cancelled = |error: &GenerateError| error.kind() == ErrorKind::Cancelled;
        assert!(outcomes.iter().all(|o| o.as_ref().is_err_and(is_cancelled)));
    });
    let requests = server.log().num_requests();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.log().num_requests(), requests);
    assert_eq!(requests, 64);
}

#[test]
fn the_first_error_of_a_batch_drops_the_others() {
    let server = MockServer::builder().latency(Duration::from_mins(1));
    let server = server.start().unwrap();
    let provider = openai(&server).build().unwrap();
    let mut bad = GenerateRequest::prompt("x");
    bad.params.top_k = Some(4);
    let requests = [GenerateRequest::prompt("a"), bad];
    let error = provider
        .batch_generate_blocking(requests, &BatchOptions::default())
        .unwrap_err();
    assert_eq!((error.index, error.error.field()), (1, Some("top_k")));
}

#[test]
fn keys_do_not_follow_a_redirect() {
    let server = MockServer::start().unwrap();
    for status in [301, 302, 303, 307, 308] {
        let error = fault(&server, &format!("redirect={status}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert_eq!(error.status(), Some(status));
        assert!(!error.is_retryable());
    }
    assert_eq!(server.elsewhere_log().num_requests(), 0);
}

#[test]
fn what_passes_is_tried_again_and_the_answer_is_right() {
    let server = MockServer::start().unwrap();
    for fault in [
        "408",
        "409",
        "429",
        "500",
        "502",
        "503",
        "529",
        "reset",
        "close",
        "truncated",
        "reset-after-headers",
    ] {
        let prompt = format!("[[mock:{fault}*2]] again {fault}");
        let provider = openai(&server).build().unwrap();
        let answer = provider.generate_blocking(prompt.as_str());
        let answer = answer.unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_eq!(answer.content, expected(&prompt), "{fault}");
        assert_eq!(answer.metadata["attempts"], 3, "{fault}");
        assert_eq!(server.log().attempts(&format!("again {fault}")), 3);
    }
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    let server = MockServer::start().unwrap();
    for (fault, kind) in [
        ("400", ErrorKind::InvalidRequest),
        ("401", ErrorKind::Auth),
        ("403", ErrorKind::Auth),
        ("404", ErrorKind::NotFound),
        ("422", ErrorKind::InvalidRequest),
        ("malformed-json", ErrorKind::Malformed),
        ("wrong-content-type", ErrorKind::Malformed),
    ] {
        let provider = openai(&server).build().unwrap();
        let prompt = format!("[[mock:{fault}*]] once {fault}");
        let error = provider.generate_blocking(prompt).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        assert_eq!(error.attempts(), 1);
        assert_eq!(server.log().attempts(&format!("once {fault}")), 1);
    }
}

#[test]
fn attempts_are_bounded() {
    let server = MockServer::start().unwrap();
    let error = fault(&server, "503*").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert_eq!(error.attempts(), 6);
    assert_eq!(server.log().num_requests(), 6);
    let never = openai(&server).retry(RetryPolicy::never()).build().unwrap();
    assert!(never.generate_blocking("[[mock:500]] never").is_err());
    assert_eq!(server.log().attempts("never"), 1);
}

#[test]
fn retry_after_is_obeyed_in_all_its_forms() {
    let server = MockServer::start().unwrap();
    for (hint, least) in [
        ("retry-after=1", 1.0),
        ("retry-after-ms=400", 0.4),
        // Seconds are cut off a date.
        ("retry-after-date=2", 1.0),
    ] {
        let text = format!("wait {hint}");
        let provider = openai(&server).build().unwrap();
        let prompt = format!("[[mock:429;{hint}]] {text}");
        assert!(provider.generate_blocking(prompt).is_ok());
        let all = server.log().requests();
        let at: Vec<_> = all
            .iter()
            .filter(|request| request.body_contains(&text))
            .map(|request| request.at.as_secs_f64())
            .collect();
        assert_eq!(at.len(), 2);
        assert!(at[1] - at[0] >= least - 0.005, "{hint}: {}", at[1] - at[0]);
    }
    // Nobody waits an hour.
    let begun = Instant::now();
    let error = fault(&server, "429;retry-after=3600").unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
    assert_eq!(error.attempts(), 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn stalls_and_drips_end_by_the_deadline() {
    let server = MockServer::start().unwrap();
    for fault in ["stall=60", "stall-body=60", "slow-drip=2"] {
        let provider = openai(&server)
            .retry(RetryPolicy::never())
            .request_timeout(Duration::from_millis(500))
            .build()
            .unwrap();
        let begun = Instant::now();
        let error = provider.generate_blocking(format!("[[mock:{fault}*]]"));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{fault}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{fault}");
    }
    // All attempts together have one, too, and a request may have its own.
    let provider = openai(&server)
        .request_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let request = GenerateRequest::prompt("[[mock:stall=60*]]");
    let begun = Instant::now();
    let error = provider.generate_blocking(request.timeout(Duration::from_secs(1)));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let server = MockServer::start().unwrap();
    let network = NetworkOptions {
        max_response_bytes: 1 << 20,
        ..NetworkOptions::default()
    };
    let provider = openai(&server).network(network).build().unwrap();
    let error = provider.generate_blocking("[[mock:huge-body=1000000000]]");
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!(error.attempts(), 1);
}

#[test]
fn connections_are_used_again() {
    let server = MockServer::start().unwrap();
    let provider = openai(&server).build().unwrap();
    for i in 0..20 {
        provider.generate_blocking(format!("{i}")).unwrap();
    }
    assert_eq!(server.log().connections(), 1);
}

#[test]
fn no_more_requests_are_open_than_may_be() {
    let server = MockServer::builder().latency(Duration::from_millis(10));
    let server = server.start().unwrap();
    let provider = openai(&server).max_concurrency(3).build().unwrap();
    let prompts = (0..40).map(|i| format!("{i}"));
    // The client's bound holds, whatever the batch's.
    let options = BatchOptions::default().max_concurrency(40);
    provider.batch_generate_blocking(prompts, &options).unwrap();
    assert_eq!(server.log().peak_open_requests(), 3);
}

#[test]
fn requests_go_out_at_the_rate_that_is_allowed() {
    let server = MockServer::start().unwrap();
    let limits = RateLimits {
        requests_per_minute: Some(600),
        tokens_per_minute: None,
    };
    let provider = openai(&server).rate_limits(limits).build().unwrap();
    let prompts = (0..15).map(|i| format!("{i}"));
    let begun = Instant::now();
    let options = BatchOptions::default();
    provider.batch_generate_blocking(prompts, &options).unwrap();
    // Ten at once, then ten a second.
    assert!(begun.elapsed() >= Duration::from_millis(480));
}

#[test]
fn a_request_keeps_its_idempotency_key_and_has_it_alone() {
    let server = MockServer::start().unwrap();
    let provider = openai(&server).build().unwrap();
    provider.generate_blocking("[[mock:500*2]]").unwrap();
    provider.generate_blocking("other").unwrap();
    let requests = server.log().requests();
    let keys: Vec<_> = requests
        .iter()
        .map(|request| request.header("idempotency-key").unwrap())
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3]);
}

#[test]
fn a_server_that_is_not_there_is_a_connection_error() {
    let server = MockServer::start().unwrap();
    let builder = openai(&server).retry(RetryPolicy {
        max_attempts: 2,
        ..quick()
    });
    drop(server);
    let error = builder.build().unwrap().generate_blocking("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(error.attempts(), 2);
}

/// The pieces of a stream, and its end.
fn streamed(server: &MockServer, prompt: &str) -> (String, Result<String, GenerateError>) {
    let provider = openai(server)
        .request_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let mut text = String::new();
    for event in BlockingStream::new(provider.stream(GenerateRequest::prompt(prompt))) {
        match event {
            Ok(GenerateEvent::Delta(delta)) => text.push_str(&delta.text),
            Ok(GenerateEvent::Finished(answer)) => return (text, Ok(answer.content)),
            Err(error) => return (text, Err(error)),
        }
    }
    panic!("a stream ends with its answer or an error");
}

#[test]
fn a_stream_is_the_answer_or_says_why_not() {
    let server = MockServer::start().unwrap();
    let (text, end) = streamed(&server, "Tell me");
    assert_eq!(end.unwrap(), expected("Tell me"));
    assert_eq!(text, expected("Tell me"));
    // Before the first byte a stream is tried again.
    let prompt = "[[mock:429,500,reset]] Tell me";
    assert_eq!(streamed(&server, prompt).1.unwrap(), expected(prompt));
    for (fault, kind) in [
        ("half-stream", ErrorKind::Connection),
        ("cut-stream", ErrorKind::Connection),
        ("stream-error", ErrorKind::Server),
        ("malformed-json", ErrorKind::Malformed),
        ("wrong-content-type", ErrorKind::Malformed),
        ("stall-body=60", ErrorKind::Timeout),
        ("401", ErrorKind::Auth),
    ] {
        let (_, end) = streamed(&server, &format!("[[mock:{fault}*]] {fault}"));
        let error = end.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
    }
}

#[test]
fn a_stream_that_is_dropped_ends_its_request() {
    let server = MockServer::builder().pace(Duration::from_millis(50));
    let server = server.start().unwrap();
    let provider = openai(&server).build().unwrap();
    let request = GenerateRequest::prompt("[[mock:words=1000]] Tell me");
    let mut stream = BlockingStream::new(provider.stream(request));
    assert!(stream.next().unwrap().is_ok());
    drop(stream);
    let dropped = Instant::now();
    while server.log().open_requests() > 0 {
        assert!(dropped.elapsed() < Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn futures_run_inside_of_another_runtime() {
    let server = MockServer::start().unwrap();
    let provider = openai(&server).build().unwrap();
    let answer = provider.generate("x".into()).await.unwrap();
    assert_eq!(answer.content, expected("x"));
    let options = BatchOptions::default();
    let answers = provider.batch_generate(["a", "b"], &options).await;
    assert_eq!(answers.unwrap()[1].content, expected("b"));
    // Its threads end here, where nobody may wait.
    drop(provider);
}
