//! What the tests of the network share.
#![allow(dead_code, reason = "each test file uses some of it")]

use choral_mock::MockServer;
use choral_providers::{Builder, Kind, RetryPolicy};
use std::time::Duration;

/// A key that would be noticed.
pub(crate) const KEY: &str = "sk-very-secret-0123456789abcdef";

/// A client of a kind, with short waits.
pub(crate) fn client(server: &MockServer, kind: Kind) -> Builder {
    let (model, url) = match kind {
        Kind::Anthropic => ("claude-haiku-4-5", server.url()),
        Kind::Ollama => ("llama3.2:latest", server.url()),
        _ => ("gpt-4o-mini", server.openai_url()),
    };
    Builder::new(kind, model)
        .base_url(url)
        .api_key(KEY)
        .retry(quick())
        .request_timeout(Duration::from_secs(20))
        .total_timeout(Duration::from_mins(1))
        .poll_interval(Duration::from_millis(20))
}

pub(crate) fn openai(server: &MockServer) -> Builder {
    client(server, Kind::OpenAi)
}

/// As many attempts as usual, with shorter waits.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(100),
        ..RetryPolicy::default()
    }
}

/// What the mock answers to a prompt that is asked as a message.
pub(crate) fn expected(prompt: &str) -> String {
    choral_mock::chat_answer(&[("user", prompt)])
}
