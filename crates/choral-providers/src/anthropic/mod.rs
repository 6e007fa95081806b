//! Anthropic's Messages, and Message Batches.
//!
//! Source: Anthropic's API reference, version 2023-06-01.

pub(crate) mod batch;
mod stream;
#[cfg(test)]
mod tests;

use crate::lines::Framing;
use crate::protocol::{
    Assembler, Protocol, add_extra, count, excerpt, given, is_context_length, kind_of, list,
    malformed, string,
};
use crate::remote::Shared;
use choral::provider::{
    Choice, ErrorKind, FinishReason, GenerateError, GenerateRequest, GenerateResponse, ImageSource,
    Message, Part, ResponseFormat, Role, ToolCall, ToolChoice, Usage,
};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

/// Anthropic has no default of its own, and asks for a number.
const DEFAULT_MAX_TOKENS: u32 = 4096;

/// Most pages of models that are asked for.
const MAX_PAGES: usize = 20;

/// Messages.
#[derive(Debug)]
pub(crate) struct Messages;

impl Protocol for Messages {
    fn path(&self, _request: &GenerateRequest) -> &'static str {
        "v1/messages"
    }

    fn body(
        &self,
        model: &str,
        request: &GenerateRequest,
        stream: bool,
    ) -> Result<Map<String, Value>, GenerateError> {
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        body.insert("max_tokens".to_owned(), DEFAULT_MAX_TOKENS.into());
        let (system, messages) = conversation(&request.to_messages())?;
        body.insert("messages".to_owned(), messages.into());
        if !system.is_empty() {
            body.insert("system".to_owned(), system.join("\n\n").into());
        }
        for (name, value) in given(request) {
            match name.as_str() {
                "stop" => body.insert("stop_sequences".to_owned(), value),
                // One answer is all there is; the capabilities let no other number pass.
                "n" => None,
                _ => body.insert(name, value),
            };
        }
        if !request.tools.is_empty() {
            let tools = request.tools.iter().map(|tool| {
                let mut made = json!({"name": tool.name, "input_schema": tool.parameters});
                if let Some(description) = &tool.description {
                    made["description"] = description.as_str().into();
                }
                made
            });
            body.insert("tools".to_owned(), tools.collect());
        }
        if let Some(choice) = &request.tool_choice {
            let choice = match choice {
                ToolChoice::Auto => json!({"type": "auto"}),
                ToolChoice::None => json!({"type": "none"}),
                ToolChoice::Required => json!({"type": "any"}),
                ToolChoice::Tool(name) => json!({"type": "tool", "name": name}),
            };
            body.insert("tool_choice".to_owned(), choice);
        }
        match &request.response_format {
            None | Some(ResponseFormat::Text) => {}
            Some(ResponseFormat::JsonObject) => {
                return Err(GenerateError::unsupported("anthropic", "json_object"));
            }
            // The schema is always kept to, and has no name; what it is for, it says itself.
            Some(ResponseFormat::JsonSchema { json_schema }) => {
                let mut schema = json_schema.schema.clone();
                if let (Some(text), Some(fields)) =
                    (&json_schema.description, schema.as_object_mut())
                {
                    let said = fields.entry("description");
                    said.or_insert_with(|| text.as_str().into());
                }
                let format = json!({"type": "json_schema", "schema": schema});
                body.insert("output_config".to_owned(), json!({"format": format}));
            }
        }
        if stream {
            body.insert("stream".to_owned(), true.into());
        }
        add_extra(&mut body, request)?;
        Ok(body)
    }

    fn response(&self, body: &Value) -> Result<GenerateResponse, GenerateError> {
        if body["type"] == "error" {
            return Err(error_of(body, ErrorKind::Server));
        }
        let mut choice = Choice {
            index: 0,
            content: String::new(),
            reasoning: None,
            finish_reason: finish_reason(string(body, "stop_reason")?),
            tool_calls: Vec::new(),
            logprobs: None,
        };
        for block in list(body, "content")? {
            let text = |name: &str| block[name].as_str().unwrap_or_default();
            match text("type") {
                "text" => choice.content.push_str(text("text")),
                "thinking" => {
                    let reasoning = choice.reasoning.get_or_insert_default();
                    reasoning.push_str(text("thinking"));
                }
                "tool_use" => choice.tool_calls.push(ToolCall {
                    id: text("id").to_owned(),
                    name: text("name").to_owned(),
                    arguments: block["input"].to_string(),
                }),
                // The vendor's own tools; the answer as it came has them.
                _ => {}
            }
        }
        let model = body["model"].as_str().unwrap_or_default();
        let mut response = GenerateResponse::of_choices(model, vec![choice]);
        response.usage = usage(&body["usage"]);
        if let Some(stop) = body["stop_sequence"].as_str() {
            let metadata = &mut response.metadata;
            metadata.insert("stop_reason".to_owned(), stop.into());
        }
        Ok(response)
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn assembler(&self) -> Box<dyn Assembler> {
        Box::<stream::MessageStream>::default()
    }
}

/// Instructions, and the turns of user and assistant: a tool's answer is a user's.
fn conversation(messages: &[Message]) -> Result<(Vec<String>, Vec<Value>), GenerateError> {
    let refuse = |message: String| Err(GenerateError::invalid("messages", message));
    let mut system = Vec::new();
    let mut turns: Vec<Value> = Vec::new();
    for message in messages {
        if let Some(name) = message.extra.keys().next() {
            return refuse(format!("`{name}` of a message is not known to anthropic"));
        }
        if message.name.is_some() {
            return refuse("`name` of a message is not known to anthropic".to_owned());
        }
        let (role, blocks) = match message.role {
            Role::System | Role::Developer => {
                if !turns.is_empty() {
                    return refuse("anthropic takes instructions only at the beginning".to_owned());
                }
                system.push(message.text());
                continue;
            }
            Role::Tool => {
                let result = json!({
                    "type": "tool_result", "tool_use_id": message.tool_call_id,
                    "content": message.text(),
                });
                ("user", vec![result])
            }
            Role::User => ("user", blocks(message)?),
            Role::Assistant => ("assistant", blocks(message)?),
        };
        // Results of several calls are one turn.
        match turns.last_mut() {
            Some(last) if message.role == Role::Tool && last["role"] == "user" => {
                if let Some(content) = last["content"].as_array_mut() {
                    content.extend(blocks);
                }
            }
            _ => turns.push(json!({"role": role, "content": blocks})),
        }
    }
    Ok((system, turns))
}

fn blocks(message: &Message) -> Result<Vec<Value>, GenerateError> {
    let parts = message.content.iter().map(|part| match part {
        Part::Text(text) => Ok(json!({"type": "text", "text": text})),
        Part::Image(image) => {
            if image
                .detail
                .as_deref()
                .is_some_and(|detail| detail != "auto")
            {
                let message = "anthropic knows no `detail` of a picture";
                return Err(GenerateError::invalid("images", message));
            }
            let source = match &image.source {
                ImageSource::Url(url) => json!({"type": "url", "url": url}),
                ImageSource::Data { media_type, base64 } => {
                    json!({"type": "base64", "media_type": media_type, "data": base64})
                }
            };
            Ok(json!({"type": "image", "source": source}))
        }
    });
    let calls = message.tool_calls.iter().map(|call| {
        let input: Value = serde_json::from_str(&call.arguments).map_err(|error| {
            let message = format!("arguments of the call of `{}`: {error}", call.name);
            GenerateError::invalid("messages", message)
        })?;
        Ok(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}))
    });
    parts.chain(calls).collect()
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// Anthropic counts what the cache has apart from the rest of the prompt.
fn usage(usage: &Value) -> Usage {
    let cached = count(&usage["cache_read_input_tokens"]);
    let written = count(&usage["cache_creation_input_tokens"]);
    let prompt = count(&usage["input_tokens"]);
    let prompt = prompt.saturating_add(cached).saturating_add(written);
    Usage {
        cached_tokens: cached,
        ..Usage::new(prompt, count(&usage["output_tokens"]))
    }
}

/// What an error means.
pub(crate) fn explain(status: StatusCode, body: &[u8]) -> GenerateError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if parsed["error"].is_object() {
        return error_of(&parsed, kind_of(status));
    }
    GenerateError::new(kind_of(status), excerpt(body))
}

fn error_of(body: &Value, kind: ErrorKind) -> GenerateError {
    let error = &body["error"];
    let code = error["type"].as_str().unwrap_or_default();
    let message = error["message"].as_str().unwrap_or("no reason given");
    let kind = match code {
        "authentication_error" | "permission_error" => ErrorKind::Auth,
        "billing_error" => ErrorKind::Quota,
        "not_found_error" => ErrorKind::NotFound,
        "rate_limit_error" => ErrorKind::RateLimit,
        "timeout_error" => ErrorKind::Timeout,
        "api_error" | "overloaded_error" => ErrorKind::Server,
        "invalid_request_error" if is_context_length(message) => ErrorKind::ContextLength,
        "invalid_request_error" if message.contains("credit balance") => ErrorKind::Quota,
        "invalid_request_error" | "request_too_large" => ErrorKind::InvalidRequest,
        _ => kind,
    };
    let mut made = GenerateError::new(kind, message);
    if !code.is_empty() {
        made = made.with_code(code);
    }
    if let Some(id) = body["request_id"].as_str() {
        made = made.with_request_id(id);
    }
    made
}

pub(crate) async fn models(shared: &Shared) -> Result<Vec<String>, GenerateError> {
    let mut models = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut call = shared.get("v1/models");
        call.url.query_pairs_mut().append_pair("limit", "1000");
        if let Some(after) = &after {
            call.url.query_pairs_mut().append_pair("after_id", after);
        }
        let page = shared.fetch_json(&call).await?;
        let listed = list(&page, "data").map_err(|error| shared.client.told(error, 1))?;
        let ids = listed.iter().filter_map(|model| model["id"].as_str());
        models.extend(ids.map(str::to_owned));
        if page["has_more"] != true {
            return Ok(models);
        }
        after = page["last_id"].as_str().map(str::to_owned);
    }
    let error = malformed(format!("more than {MAX_PAGES} pages of models"));
    Err(shared.client.told(error, 1))
}
