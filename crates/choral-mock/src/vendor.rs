//! What differs between vendors on every request: errors, keys, limits' headers.
//!
//! Owns the choice of vendor from path and headers. Sources: OpenAI's guides "Error
//! codes" and "Rate limits", Anthropic's "Errors" and "Rate limits", Ollama's
//! `docs/api.md`, LM Studio's "REST API v0".

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::fault::RetryHint;
use crate::rate::Standing;
use crate::reply::Reply;
use crate::time;

/// A key that is refused even where any other is taken.
pub const INVALID_KEY: &str = "invalid-key";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    OpenAi,
    Anthropic,
    Ollama,
    LmStudio,
}

impl Vendor {
    /// `/v1/models` is at two vendors; Anthropic's clients name a version.
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Self {
        if path.starts_with("/api/v0") {
            Self::LmStudio
        } else if path.starts_with("/api/") || path == "/" {
            Self::Ollama
        } else if path.starts_with("/v1/messages")
            || (path.starts_with("/v1/models") && headers.contains_key("anthropic-version"))
        {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }

    /// An error in this vendor's shape.
    pub(crate) fn error(self, status: u16, message: &str) -> Reply {
        Reply::json(status, &self.error_body(status, message))
    }

    pub(crate) fn error_body(self, status: u16, message: &str) -> Value {
        match self {
            Self::OpenAi | Self::LmStudio => {
                openai_error(status, message, None, openai_code(status))
            }
            Self::Anthropic => anthropic_error(status, message),
            Self::Ollama => json!({ "error": message }),
        }
    }

    /// An error that a fault asked for, with a message like the vendor's.
    pub(crate) fn injected(self, status: u16, hint: Option<RetryHint>) -> Reply {
        let message = match (self, status) {
            (Self::OpenAi, 429) => "Rate limit reached for requests. Please try again later.",
            (Self::Anthropic, 429) => "Number of requests has exceeded your rate limit.",
            (Self::Anthropic, 529) => "Overloaded",
            (Self::OpenAi, 503) => "The engine is currently overloaded, please try again later.",
            (_, 408) => "Request timed out.",
            (_, 500..) => "The server had an error while processing your request.",
            _ => "The request was refused by an injected fault.",
        };
        let reply = self.error(status, message);
        match hint {
            None => reply,
            Some(RetryHint::Seconds(seconds)) => reply.with("retry-after", &seconds.to_string()),
            Some(RetryHint::Date(seconds)) => {
                reply.with("retry-after", &time::http_date(time::unix_now() + seconds))
            }
            Some(RetryHint::Millis(millis)) => reply.with("retry-after-ms", &millis.to_string()),
        }
    }

    /// The event that ends a stream with an error, as this vendor writes it.
    pub(crate) fn stream_error(self) -> String {
        let message = "The server had an error while processing your request.";
        let body = self.error_body(500, message);
        match self {
            Self::OpenAi | Self::LmStudio => format!("data: {body}\n\n"),
            Self::Anthropic => {
                let body = anthropic_error(529, "Overloaded");
                format!("event: error\ndata: {body}\n\n")
            }
            Self::Ollama => format!("{body}\n"),
        }
    }

    /// The key that came with a request.
    pub(crate) fn key(self, headers: &HeaderMap) -> Option<String> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = || header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = match self {
            Self::Anthropic => header("x-api-key").or_else(bearer),
            Self::OpenAi | Self::Ollama | Self::LmStudio => bearer(),
        };
        key.map(str::trim)
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
    }

    /// The refusal of a request's key, if it is refused.
    ///
    /// `accepted` empty stands for any key but [`INVALID_KEY`].
    pub(crate) fn refuse_key(self, headers: &HeaderMap, accepted: &[String]) -> Option<Reply> {
        let key = self.key(headers);
        let good = key.as_ref().is_some_and(|key| {
            if accepted.is_empty() {
                key != INVALID_KEY
            } else {
                accepted.contains(key)
            }
        });
        match (self, key) {
            (Self::Ollama | Self::LmStudio, _) => None,
            _ if good => None,
            (Self::OpenAi, None) => Some(Reply::json(
                401,
                &openai_error(
                    401,
                    "You didn't provide an API key. You need to provide your API key in an \
                     Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                    None,
                    None,
                ),
            )),
            (Self::OpenAi, Some(key)) => {
                let message = format!("Incorrect API key provided: {}.", masked(&key));
                Some(Reply::json(
                    401,
                    &openai_error(401, &message, None, Some("invalid_api_key")),
                ))
            }
            (Self::Anthropic, None) => Some(self.error(401, "x-api-key header is required")),
            (Self::Anthropic, Some(_)) => Some(self.error(401, "invalid x-api-key")),
        }
    }

    /// Adds the headers that all of this vendor's answers have.
    pub(crate) fn stamp(self, reply: Reply, request: u64, standing: &Standing) -> Reply {
        let reset = standing.reset_in.as_secs_f64();
        let number = |number: u64| number.to_string();
        let limit = standing.limit;
        match self {
            Self::OpenAi => reply
                .with("x-request-id", &format!("req_{request:024x}"))
                .with("openai-version", "2020-10-01")
                .with("openai-processing-ms", "1")
                .with("x-ratelimit-limit-requests", &number(limit.requests))
                .with(
                    "x-ratelimit-remaining-requests",
                    &number(standing.requests_left),
                )
                .with(
                    "x-ratelimit-reset-requests",
                    &go_duration(standing.reset_in.as_millis()),
                )
                .with("x-ratelimit-limit-tokens", &number(limit.tokens))
                .with(
                    "x-ratelimit-remaining-tokens",
                    &number(standing.tokens_left),
                )
                .with(
                    "x-ratelimit-reset-tokens",
                    &go_duration(standing.reset_in.as_millis()),
                ),
            Self::Anthropic => {
                let until = time::rfc3339(time::unix_now() + reset.ceil() as u64);
                reply
                    .with("request-id", &format!("req_{request:024x}"))
                    .with(
                        "anthropic-organization-id",
                        "00000000-0000-0000-0000-000000000000",
                    )
                    .with(
                        "anthropic-ratelimit-requests-limit",
                        &number(limit.requests),
                    )
                    .with(
                        "anthropic-ratelimit-requests-remaining",
                        &number(standing.requests_left),
                    )
                    .with("anthropic-ratelimit-requests-reset", &until)
                    .with("anthropic-ratelimit-tokens-limit", &number(limit.tokens))
                    .with(
                        "anthropic-ratelimit-tokens-remaining",
                        &number(standing.tokens_left),
                    )
                    .with("anthropic-ratelimit-tokens-reset", &until)
                    .with(
                        "anthropic-ratelimit-input-tokens-limit",
                        &number(limit.tokens),
                    )
                    .with(
                        "anthropic-ratelimit-input-tokens-remaining",
                        &number(standing.tokens_left),
                    )
                    .with("anthropic-ratelimit-input-tokens-reset", &until)
                    .with(
                        "anthropic-ratelimit-output-tokens-limit",
                        &number(limit.tokens),
                    )
                    .with(
                        "anthropic-ratelimit-output-tokens-remaining",
                        &number(standing.tokens_left),
                    )
                    .with("anthropic-ratelimit-output-tokens-reset", &until)
            }
            Self::Ollama | Self::LmStudio => reply,
        }
    }

    /// The refusal of a request that is over the limit.
    pub(crate) fn limited(self, standing: &Standing) -> Reply {
        let limit = standing.limit;
        let seconds = standing.reset_in.as_secs_f64();
        let message = match self {
            Self::Anthropic => format!(
                "This request would exceed your organization's rate limit of {} requests per {:?}.",
                limit.requests, limit.window
            ),
            _ => format!(
                "Rate limit reached for requests: Limit {}, Used {}, Requested 1. Please try again in {}.",
                limit.requests,
                limit.requests - standing.requests_left,
                go_duration(standing.reset_in.as_millis()),
            ),
        };
        let reply = self
            .error(429, &message)
            .with("retry-after", &(seconds.ceil() as u64).to_string());
        if self == Self::OpenAi {
            // The vendor's SDKs read it first; whole seconds would be too coarse for tests.
            return reply.with(
                "retry-after-ms",
                &(standing.reset_in.as_millis() + 1).to_string(),
            );
        }
        reply
    }
}

/// `{"error": {"message", "type", "param", "code"}}`.
pub(crate) fn openai_error(
    status: u16,
    message: &str,
    param: Option<&str>,
    code: Option<&str>,
) -> Value {
    let kind = match status {
        401 if code.is_none() => "invalid_request_error",
        403 => "permission_error",
        408 => "timeout",
        429 => "requests",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

fn openai_code(status: u16) -> Option<&'static str> {
    match status {
        401 => Some("invalid_api_key"),
        429 => Some("rate_limit_exceeded"),
        _ => None,
    }
}

/// `{"type": "error", "error": {"type", "message"}, "request_id"}`.
pub(crate) fn anthropic_error(status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": message },
        "request_id": "req_mock",
    })
}

/// `6m0s`, `1.5s`, `20ms`: durations as Go prints them, which OpenAI's headers use.
fn go_duration(millis: u128) -> String {
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let fraction = seconds as f64 / 1000.0;
    match (hours, minutes) {
        (0, 0) if seconds < 1000 => format!("{seconds}ms"),
        (0, 0) => format!("{fraction}s"),
        (0, _) => format!("{minutes}m{fraction}s"),
        _ => format!("{hours}h{minutes}m{fraction}s"),
    }
}

/// A key with its middle hidden, as OpenAI's refusals show it.
fn masked(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    if letters.len() <= 8 {
        return "*".repeat(letters.len());
    }
    let head: String = letters[..4].iter().collect();
    let tail: String = letters[letters.len() - 4..].iter().collect();
    format!("{head}{}{tail}", "*".repeat(letters.len() - 8))
}

#[cfg(test)]
mod tests {
    use super::{go_duration, masked};

    #[test]
    fn durations_are_written_as_openai_documents_them() {
        assert_eq!(go_duration(1000), "1s");
        assert_eq!(go_duration(360_000), "6m0s");
        assert_eq!(go_duration(20), "20ms");
        assert_eq!(go_duration(3_661_500), "1h1m1.5s");
    }

    #[test]
    fn a_masked_key_cannot_be_used() {
        assert_eq!(masked("sk-abcdefgh1234"), "sk-a*******1234");
        assert_eq!(masked("short"), "*****");
    }
}
