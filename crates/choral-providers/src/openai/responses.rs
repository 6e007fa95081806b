//! `/responses`: OpenAI's newer protocol, with items instead of messages.

use super::chat::value;
use super::{error_of, token_logprob};
use crate::lines::{Frame, Framing};
use crate::protocol::{
    Assembler, Drafts, Protocol, Step, add_extra, count, given, json, list, malformed,
};
use choral::provider::{
    Choice, ErrorKind, FinishReason, GenerateError, GenerateRequest, GenerateResponse, Message,
    Part, ResponseFormat, Role, ToolCall, ToolChoice, Usage,
};
use serde_json::{Map, Value, json};

/// Responses.
#[derive(Debug)]
pub(crate) struct Responses;

impl Protocol for Responses {
    fn path(&self, _request: &GenerateRequest) -> &'static str {
        "responses"
    }

    fn body(
        &self,
        model: &str,
        request: &GenerateRequest,
        stream: bool,
    ) -> Result<Map<String, Value>, GenerateError> {
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        let mut items = Vec::new();
        for message in request.to_messages() {
            add_items(&mut items, &message)?;
        }
        body.insert("input".to_owned(), items.into());
        for (name, value) in given(request) {
            match name.as_str() {
                "max_tokens" => body.insert("max_output_tokens".to_owned(), value),
                "logprobs" => {
                    let include = json!(["message.output_text.logprobs"]);
                    body.insert("include".to_owned(), include);
                    body.insert("top_logprobs".to_owned(), value)
                }
                // One answer is all there is; the capabilities let no other number pass.
                "n" => None,
                _ => body.insert(name, value),
            };
        }
        if !request.tools.is_empty() {
            let tools = request.tools.iter().map(|tool| {
                json!({
                    "type": "function", "name": tool.name, "description": tool.description,
                    "parameters": tool.parameters, "strict": tool.strict.unwrap_or(false),
                })
            });
            body.insert("tools".to_owned(), tools.collect());
        }
        if let Some(choice) = &request.tool_choice {
            let choice = match choice {
                ToolChoice::Tool(name) => json!({"type": "function", "name": name}),
                other => value(other),
            };
            body.insert("tool_choice".to_owned(), choice);
        }
        if let Some(format) = &request.response_format {
            let mut format = value(format);
            if let Some(Value::Object(schema)) = format
                .as_object_mut()
                .and_then(|format| format.remove("json_schema"))
                && let Some(format) = format.as_object_mut()
            {
                format.extend(schema);
            }
            debug_assert!(!matches!(
                request.response_format,
                Some(ResponseFormat::JsonSchema { .. }) if format["schema"].is_null()
            ));
            body.insert("text".to_owned(), json!({"format": format}));
        }
        if stream {
            body.insert("stream".to_owned(), true.into());
        }
        add_extra(&mut body, request)?;
        Ok(body)
    }

    fn response(&self, body: &Value) -> Result<GenerateResponse, GenerateError> {
        response(body)
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn assembler(&self) -> Box<dyn Assembler> {
        Box::<ResponseStream>::default()
    }

    fn has_idempotency(&self) -> bool {
        true
    }
}

/// A message as items: its texts and pictures, its calls, or what a call gave back.
fn add_items(items: &mut Vec<Value>, message: &Message) -> Result<(), GenerateError> {
    if let Some(name) = message.extra.keys().next() {
        let text = format!("`{name}` of a message is not known to the responses API");
        return Err(GenerateError::invalid("messages", text));
    }
    if message.role == Role::Tool {
        items.push(json!({
            "type": "function_call_output", "call_id": message.tool_call_id,
            "output": message.text(),
        }));
        return Ok(());
    }
    let text_type = match message.role {
        Role::Assistant => "output_text",
        _ => "input_text",
    };
    let content = message.content.iter().map(|part| match part {
        Part::Text(text) => json!({"type": text_type, "text": text}),
        Part::Image(image) => {
            let detail = image.detail.as_deref().unwrap_or("auto");
            let url = image.source.to_url();
            json!({"type": "input_image", "image_url": url, "detail": detail})
        }
    });
    let content: Vec<_> = content.collect();
    if !content.is_empty() {
        items.push(json!({"role": message.role, "content": content}));
    }
    for call in &message.tool_calls {
        items.push(json!({
            "type": "function_call", "call_id": call.id, "name": call.name,
            "arguments": call.arguments,
        }));
    }
    Ok(())
}

fn response(body: &Value) -> Result<GenerateResponse, GenerateError> {
    if let Some(error) = error_of(body, ErrorKind::Server) {
        return Err(error);
    }
    let mut choice = Choice {
        index: 0,
        content: String::new(),
        reasoning: None,
        finish_reason: FinishReason::Stop,
        tool_calls: Vec::new(),
        logprobs: None,
    };
    let mut refusal = None;
    for item in list(body, "output")? {
        let parts = || item["content"].as_array().into_iter().flatten();
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        match item["type"].as_str() {
            Some("message") => {
                for part in parts() {
                    choice
                        .content
                        .push_str(part["text"].as_str().unwrap_or_default());
                    if let Some(tokens) = part["logprobs"].as_array().filter(|t| !t.is_empty()) {
                        let tokens = tokens.iter().map(token_logprob);
                        let tokens: Vec<_> = tokens.collect::<Result<_, _>>()?;
                        choice.logprobs.get_or_insert_default().extend(tokens);
                    }
                    refusal = refusal.or(part["refusal"].as_str());
                }
            }
            Some("function_call") => choice.tool_calls.push(ToolCall {
                id: text("call_id"),
                name: text("name"),
                arguments: text("arguments"),
            }),
            Some("reasoning") => {
                let summary = item["summary"].as_array().into_iter().flatten();
                for part in summary.chain(parts()) {
                    let thought = part["text"].as_str().unwrap_or_default();
                    choice.reasoning.get_or_insert_default().push_str(thought);
                }
            }
            // The vendor's own tools; the answer as it came has them.
            _ => {}
        }
    }
    choice.finish_reason = finish_reason(body, !choice.tool_calls.is_empty())?;
    if refusal.is_some() {
        choice.finish_reason = FinishReason::ContentFilter;
    }
    let model = body["model"].as_str().unwrap_or_default();
    let mut response = GenerateResponse::of_choices(model, vec![choice]);
    let usage = &body["usage"];
    let details = |side: &str, name: &str| count(&usage[side][name]);
    response.usage = Usage {
        cached_tokens: details("input_tokens_details", "cached_tokens"),
        reasoning_tokens: details("output_tokens_details", "reasoning_tokens"),
        ..Usage::new(
            count(&usage["input_tokens"]),
            count(&usage["output_tokens"]),
        )
    };
    if let Some(refusal) = refusal {
        let metadata = &mut response.metadata;
        metadata.insert("refusal".to_owned(), refusal.into());
    }
    Ok(response)
}

fn finish_reason(body: &Value, has_calls: bool) -> Result<FinishReason, GenerateError> {
    Ok(match body["status"].as_str() {
        Some("completed") if has_calls => FinishReason::ToolCalls,
        Some("completed") => FinishReason::Stop,
        Some("incomplete") => match body["incomplete_details"]["reason"].as_str() {
            Some("max_output_tokens") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            other => FinishReason::Other(other.unwrap_or("incomplete").to_owned()),
        },
        Some("cancelled") => return Err(GenerateError::cancelled()),
        other => return Err(malformed(format!("a response with the status {other:?}"))),
    })
}

#[derive(Debug, Default)]
struct ResponseStream {
    whole: Option<Value>,
}

impl Assembler for ResponseStream {
    fn push(&mut self, frame: &Frame) -> Result<Step, GenerateError> {
        let mut step = Step::default();
        let event = json(frame.data.as_bytes())?;
        let text = event["delta"].as_str().unwrap_or_default();
        let mut none = Drafts::default();
        match event["type"].as_str().unwrap_or_default() {
            "response.output_text.delta" => none.push(0, text, "", &mut step)?,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                none.push(0, "", text, &mut step)?;
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.whole = Some(event["response"].clone());
                step.is_end = true;
            }
            "error" => {
                let body = json!({"error": event});
                let error = error_of(&body, ErrorKind::Server);
                return Err(error.expect("an error is there"));
            }
            _ => {}
        }
        Ok(step)
    }

    fn finish(self: Box<Self>) -> Result<GenerateResponse, GenerateError> {
        match &self.whole {
            Some(whole) => response(whole),
            // Says that the stream ended early.
            None => Drafts::default().finish(),
        }
    }
}
