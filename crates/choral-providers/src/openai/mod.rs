//! OpenAI's protocol, which many servers speak: chat completions, completions and
//! responses, and the Batch service.
//!
//! Source: OpenAI's API reference and its OpenAPI document.

pub(crate) mod batch;
mod chat;
mod completions;
mod responses;
#[cfg(test)]
mod tests;

pub(crate) use chat::Chat;
pub(crate) use completions::Completions;
pub(crate) use responses::Responses;

use super::lines::Frame;
use super::protocol::{
    Drafts, add_extra, count, excerpt, is_context_length, json as json_of, kind_of, list, malformed,
};
use choral::provider::{
    Choice, ErrorKind, FinishReason, GenerateError, GenerateRequest, GenerateResponse,
    TokenLogprob, Usage,
};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

/// What an error means. Servers that follow the protocol loosely put the error's fields,
/// or a text, in several places.
pub(crate) fn explain(status: StatusCode, body: &[u8]) -> GenerateError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    error_of(&parsed, kind_of(status)).unwrap_or_else(|| {
        let text = excerpt(body);
        let text = if text.trim().is_empty() {
            status
                .canonical_reason()
                .unwrap_or("no reason given")
                .to_lowercase()
        } else {
            text
        };
        let kind = refined(kind_of(status), "", &text);
        GenerateError::new(kind, text)
    })
}

/// The error that a piece of JSON holds.
pub(crate) fn error_of(body: &Value, kind: ErrorKind) -> Option<GenerateError> {
    let error = match &body["error"] {
        Value::Null => match &body["detail"] {
            // FastAPI's own.
            Value::Null => return None,
            detail => detail,
        },
        error => error,
    };
    let text = |name: &str| error[name].as_str();
    let message = text("message").or(error.as_str());
    let message = message.map_or_else(|| excerpt(error.to_string().as_bytes()), str::to_owned);
    let code = text("code").or(text("type")).unwrap_or_default();
    let mut made = GenerateError::new(refined(kind, code, &message), message);
    if !code.is_empty() {
        made = made.with_code(code);
    }
    if let Some(field) = text("param") {
        made = made.with_field(field);
    }
    Some(made)
}

fn refined(kind: ErrorKind, code: &str, message: &str) -> ErrorKind {
    match (kind, code) {
        (_, "insufficient_quota" | "billing_hard_limit_reached") => ErrorKind::Quota,
        (_, "context_length_exceeded" | "exceed_context_size_error") => ErrorKind::ContextLength,
        (_, "content_filter" | "content_policy_violation") => ErrorKind::Content,
        (_, "invalid_api_key") => ErrorKind::Auth,
        (_, "model_not_found") => ErrorKind::NotFound,
        (_, "rate_limit_exceeded") => ErrorKind::RateLimit,
        // Some servers make it a failure of their own.
        (ErrorKind::InvalidRequest | ErrorKind::Server, _) if is_context_length(message) => {
            ErrorKind::ContextLength
        }
        _ => kind,
    }
}

pub(super) fn finish_reason(name: &str) -> FinishReason {
    match name {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

pub(super) fn usage(usage: &Value) -> Usage {
    let mut made = Usage::new(
        count(&usage["prompt_tokens"]),
        count(&usage["completion_tokens"]),
    );
    made.total_tokens = made.total_tokens.max(count(&usage["total_tokens"]));
    made.cached_tokens = count(&usage["prompt_tokens_details"]["cached_tokens"]);
    made.reasoning_tokens = count(&usage["completion_tokens_details"]["reasoning_tokens"]);
    made
}

/// What bodies of chat completions and completions end with.
fn finish_body(
    body: &mut Map<String, Value>,
    request: &GenerateRequest,
    stream: bool,
) -> Result<(), GenerateError> {
    if stream {
        body.insert("stream".to_owned(), true.into());
        let options = json!({"include_usage": true});
        body.insert("stream_options".to_owned(), options);
    }
    add_extra(body, request)
}

/// An answer of chat completions or completions, each of whose `choices` is read by
/// `choice`.
fn response_of(
    body: &Value,
    choice: impl Fn(&Value) -> Result<Choice, GenerateError>,
) -> Result<GenerateResponse, GenerateError> {
    if let Some(error) = error_of(body, ErrorKind::Server) {
        return Err(error);
    }
    let choices = list(body, "choices")?.iter().map(choice);
    let choices: Vec<_> = choices.collect::<Result<_, _>>()?;
    if choices.is_empty() {
        return Err(malformed("no answer among its `choices`"));
    }
    let model = body["model"].as_str().unwrap_or_default();
    let mut response = GenerateResponse::of_choices(model, choices);
    response.usage = usage(&body["usage"]);
    Ok(response)
}

/// The next piece of a stream of chat completions or completions; none at its end. What
/// it says of the whole goes to `drafts`.
fn chunk(frame: &Frame, drafts: &mut Drafts) -> Result<Option<Value>, GenerateError> {
    if frame.data.trim() == "[DONE]" {
        return Ok(None);
    }
    let chunk = json_of(frame.data.as_bytes())?;
    if let Some(error) = error_of(&chunk, ErrorKind::Server) {
        return Err(error);
    }
    if let Some(model) = chunk["model"].as_str().filter(|model| !model.is_empty()) {
        model.clone_into(&mut drafts.model);
    }
    if chunk["usage"].is_object() {
        drafts.usage = usage(&chunk["usage"]);
    }
    Ok(Some(chunk))
}

/// Which of the answers a choice is.
fn index(choice: &Value) -> Result<u32, GenerateError> {
    let index = choice["index"].as_u64().unwrap_or(0);
    u32::try_from(index).map_err(|_| malformed(format!("answer number {index}")))
}

/// A token as chat completions and responses have it, and Ollama.
pub(crate) fn token_logprob(value: &Value) -> Result<TokenLogprob, GenerateError> {
    let one = |value: &Value| {
        let token = value["token"].as_str().map(str::to_owned);
        token.zip(value["logprob"].as_f64())
    };
    let (token, logprob) =
        one(value).ok_or_else(|| malformed("a log-probability without a token"))?;
    let top = value["top_logprobs"].as_array().into_iter().flatten();
    Ok(TokenLogprob {
        token,
        logprob,
        top: top.filter_map(one).collect(),
    })
}
