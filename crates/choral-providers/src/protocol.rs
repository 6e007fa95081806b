//! What vendors have in common once the network is gone: requests to JSON, JSON to
//! responses, events to pieces.

use super::lines::{Frame, Framing};
use choral::provider::{
    Choice, ErrorKind, FinishReason, GenerateDelta, GenerateError, GenerateRequest,
    GenerateResponse, TokenLogprob, ToolCall, Usage,
};
use reqwest::StatusCode;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How much of what a server says is told in an error, in characters.
const EXCERPT_CHARS: usize = 300;

/// Most answers to one request, and most tools called in one. A server that goes beyond
/// is not to be believed.
const MAX_INDEX: u32 = 4096;

/// One vendor's way of saying things.
pub(crate) trait Protocol: Send + Sync + std::fmt::Debug {
    /// Where requests go, below the base URL.
    fn path(&self, request: &GenerateRequest) -> &'static str;

    /// The request as the vendor takes it.
    fn body(
        &self,
        model: &str,
        request: &GenerateRequest,
        stream: bool,
    ) -> Result<Map<String, Value>, GenerateError>;

    /// The vendor's answer.
    fn response(&self, body: &Value) -> Result<GenerateResponse, GenerateError>;

    /// How its streams are cut.
    fn framing(&self) -> Framing;

    /// What puts a stream together.
    fn assembler(&self) -> Box<dyn Assembler>;

    /// Whether a request may carry `Idempotency-Key`.
    fn has_idempotency(&self) -> bool {
        false
    }
}

/// Puts a stream together.
pub(crate) trait Assembler: Send {
    /// Takes an event.
    fn push(&mut self, frame: &Frame) -> Result<Step, GenerateError>;

    /// Everything, once the stream has ended.
    fn finish(self: Box<Self>) -> Result<GenerateResponse, GenerateError>;
}

/// What an event brought.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) deltas: Vec<GenerateDelta>,
    /// Nothing more will come.
    pub(crate) is_end: bool,
}

/// One answer that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) finish_reason: Option<FinishReason>,
    pub(crate) tool_calls: BTreeMap<u32, ToolCall>,
    pub(crate) logprobs: Option<Vec<TokenLogprob>>,
}

impl Draft {
    pub(crate) fn tool_call(&mut self, index: u32) -> Result<&mut ToolCall, GenerateError> {
        check_index(index)?;
        Ok(self.tool_calls.entry(index).or_insert_with(|| ToolCall {
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
        }))
    }

    fn choice(self, index: u32) -> Result<Choice, GenerateError> {
        let finish_reason = self.finish_reason.ok_or_else(ended_early)?;
        let has_reasoning = !self.reasoning.is_empty();
        Ok(Choice {
            index,
            content: self.content,
            reasoning: has_reasoning.then_some(self.reasoning),
            finish_reason,
            tool_calls: self.tool_calls.into_values().collect(),
            logprobs: self.logprobs,
        })
    }
}

/// Several answers that are being put together.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    pub(crate) model: String,
    pub(crate) usage: Usage,
    by_index: BTreeMap<u32, Draft>,
}

impl Drafts {
    pub(crate) fn draft(&mut self, index: u32) -> Result<&mut Draft, GenerateError> {
        check_index(index)?;
        Ok(self.by_index.entry(index).or_default())
    }

    /// Takes a piece and tells of it, unless it is empty.
    pub(crate) fn push(
        &mut self,
        index: u32,
        text: &str,
        reasoning: &str,
        step: &mut Step,
    ) -> Result<(), GenerateError> {
        let draft = self.draft(index)?;
        draft.content.push_str(text);
        draft.reasoning.push_str(reasoning);
        if !text.is_empty() || !reasoning.is_empty() {
            step.deltas.push(GenerateDelta {
                index,
                text: text.to_owned(),
                reasoning: reasoning.to_owned(),
            });
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<GenerateResponse, GenerateError> {
        if self.by_index.is_empty() {
            return Err(ended_early());
        }
        let drafts = self.by_index.into_iter();
        let choices: Result<_, _> = drafts.map(|(index, draft)| draft.choice(index)).collect();
        let mut response = GenerateResponse::of_choices(self.model, choices?);
        response.usage = self.usage;
        Ok(response)
    }
}

fn check_index(index: u32) -> Result<(), GenerateError> {
    if index < MAX_INDEX {
        return Ok(());
    }
    Err(malformed(format!("answer or tool call number {index}")))
}

fn ended_early() -> GenerateError {
    GenerateError::new(
        ErrorKind::Connection,
        "the stream ended before the answer did",
    )
}

pub(crate) fn malformed(problem: impl std::fmt::Display) -> GenerateError {
    GenerateError::new(ErrorKind::Malformed, format!("the server sent {problem}"))
}

/// Reads JSON.
pub(crate) fn json(text: &[u8]) -> Result<Value, GenerateError> {
    serde_json::from_slice(text)
        .map_err(|error| malformed(format!("no JSON ({error}): {}", excerpt(text))))
}

/// A text that must be there.
pub(crate) fn string<'a>(value: &'a Value, name: &str) -> Result<&'a str, GenerateError> {
    let text = value[name].as_str();
    text.ok_or_else(|| missing(value, name))
}

/// A list that must be there.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], GenerateError> {
    let list = value[name].as_array();
    list.map(Vec::as_slice).ok_or_else(|| missing(value, name))
}

fn missing(value: &Value, name: &str) -> GenerateError {
    let found = excerpt(value.to_string().as_bytes());
    malformed(format!("an answer without `{name}`: {found}"))
}

/// The beginning of what a server sent.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT_CHARS)]);
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

/// The parameters that are set, with numbers as they were written: 0.7, not the f64 that
/// is nearest to the f32.
pub(crate) fn given(request: &GenerateRequest) -> Map<String, Value> {
    let given = request.params.given().into_iter();
    given.map(|(name, value)| (name, short(value))).collect()
}

fn short(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let written = number.as_f64().map(|number| (number as f32).to_string());
            let written = written.and_then(|text| text.parse::<f64>().ok());
            written.map_or(Value::Number(number), Value::from)
        }
        Value::Object(map) => {
            let map = map.into_iter();
            Value::Object(map.map(|(name, value)| (name, short(value))).collect())
        }
        other => other,
    }
}

/// What a status means where the body does not say more.
pub(crate) fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 | 407 => ErrorKind::Auth,
        402 => ErrorKind::Quota,
        404 | 410 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        429 => ErrorKind::RateLimit,
        // A conflict is with another request, and passes.
        409 | 500.. => ErrorKind::Server,
        _ => ErrorKind::InvalidRequest,
    }
}

/// Servers put it in many words.
pub(crate) fn is_context_length(message: &str) -> bool {
    let message = message.to_lowercase();
    [
        "context length",
        "context_length",
        "maximum context",
        "context window",
        "context size",
        "prompt is too long",
        "too many tokens",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// `extra` on top of a body, which it may not contradict.
pub(crate) fn add_extra(
    body: &mut Map<String, Value>,
    request: &GenerateRequest,
) -> Result<(), GenerateError> {
    for (name, value) in &request.params.extra {
        if body.contains_key(name) {
            let message = format!("`{name}` of `extra` is set already");
            return Err(GenerateError::invalid(name, message));
        }
        body.insert(name.clone(), value.clone());
    }
    Ok(())
}

/// A parameter's name in a service that calls some of them otherwise.
pub(crate) fn renamed(names: &[(&str, &str)], name: String) -> String {
    let other = names.iter().find(|(usual, _)| *usual == name);
    other.map_or(name, |(_, other)| (*other).to_owned())
}

/// A number of tokens.
pub(crate) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests;
