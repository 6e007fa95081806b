//! Ollama's own protocol: `/api/chat` and `/api/generate`, and what it knows of models.
//!
//! Source: Ollama's API document (`docs/api.md` of its repository).

mod models;
#[cfg(test)]
mod tests;

pub use models::{Ollama, OllamaModel, PullProgress};

use crate::lines::{Frame, Framing};
use crate::openai;
use crate::protocol::{Assembler, Drafts, Protocol, Step, count, given, json, malformed};
use choral::provider::{
    Choice, ErrorKind, FinishReason, GenerateError, GenerateRequest, GenerateResponse, Image,
    ImageSource, Input, Message, ResponseFormat, Role, TokenLogprob, ToolCall, Usage,
};
use serde_json::{Map, Value, json};

/// Chats, and prompts that the model's template makes chats of.
#[derive(Debug)]
pub(crate) struct Native;

/// Conversations and tools are for `/api/chat` alone.
fn is_chat(request: &GenerateRequest) -> bool {
    matches!(request.input, Input::Messages(_)) || !request.tools.is_empty()
}

impl Protocol for Native {
    fn path(&self, request: &GenerateRequest) -> &'static str {
        if is_chat(request) {
            "api/chat"
        } else {
            "api/generate"
        }
    }

    fn body(
        &self,
        model: &str,
        request: &GenerateRequest,
        stream: bool,
    ) -> Result<Map<String, Value>, GenerateError> {
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        match &request.input {
            Input::Prompt(prompt) if !is_chat(request) => {
                body.insert("prompt".to_owned(), prompt.as_str().into());
                if let Some(system) = &request.system {
                    body.insert("system".to_owned(), system.as_str().into());
                }
                if !request.images.is_empty() {
                    let images = request.images.iter().map(base64);
                    let images: Vec<_> = images.collect::<Result<_, _>>()?;
                    body.insert("images".to_owned(), images.into());
                }
            }
            _ => {
                let messages = request.to_messages();
                let messages = messages.iter().map(|message| turn(message, &messages));
                let messages: Vec<_> = messages.collect::<Result<_, _>>()?;
                body.insert("messages".to_owned(), messages.into());
            }
        }
        if !request.tools.is_empty() {
            let tools = serde_json::to_value(&request.tools).expect("tools are JSON");
            body.insert("tools".to_owned(), tools);
        }
        if request.tool_choice.is_some() {
            return Err(GenerateError::unsupported("ollama", "tool_choice"));
        }
        match &request.response_format {
            None | Some(ResponseFormat::Text) => {}
            Some(ResponseFormat::JsonObject) => {
                body.insert("format".to_owned(), "json".into());
            }
            Some(ResponseFormat::JsonSchema { json_schema }) => {
                body.insert("format".to_owned(), json_schema.schema.clone());
            }
        }
        body.insert("stream".to_owned(), stream.into());
        let mut options = Map::new();
        for (name, value) in given(request) {
            let name = match name.as_str() {
                "max_tokens" => "num_predict",
                "repetition_penalty" => "repeat_penalty",
                // One answer is all there is; the capabilities let no other number pass.
                "n" => continue,
                "logprobs" => {
                    body.insert("logprobs".to_owned(), true.into());
                    body.insert("top_logprobs".to_owned(), value);
                    continue;
                }
                same => same,
            };
            options.insert(name.to_owned(), value);
        }
        for (name, value) in &request.params.extra {
            match (name.as_str(), value) {
                ("options", Value::Object(more)) => {
                    if let Some(name) = more.keys().find(|name| options.contains_key(*name)) {
                        let message = format!("`{name}` of `extra.options` is set already");
                        return Err(GenerateError::invalid(name, message));
                    }
                    options.extend(more.clone());
                }
                (name, _) if body.contains_key(name) => {
                    let message = format!("`{name}` of `extra` is set already");
                    return Err(GenerateError::invalid(name, message));
                }
                (name, value) => {
                    body.insert(name.to_owned(), value.clone());
                }
            }
        }
        if !options.is_empty() {
            body.insert("options".to_owned(), options.into());
        }
        Ok(body)
    }

    fn response(&self, body: &Value) -> Result<GenerateResponse, GenerateError> {
        if let Some(error) = openai::error_of(body, ErrorKind::Server) {
            return Err(error);
        }
        if body["done"] != true {
            return Err(malformed("an answer that is not `done`"));
        }
        let said = said(body).ok_or_else(|| malformed("an answer without a text"))?;
        let tool_calls = tool_calls(&body["message"]);
        let choice = Choice {
            index: 0,
            content: said.text.to_owned(),
            reasoning: (!said.thinking.is_empty()).then(|| said.thinking.to_owned()),
            finish_reason: finish_reason(body, !tool_calls.is_empty()),
            tool_calls,
            logprobs: logprobs(body)?,
        };
        let model = body["model"].as_str().unwrap_or_default();
        let mut response = GenerateResponse::of_choices(model, vec![choice]);
        response.usage = usage(body);
        Ok(response)
    }

    fn framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn assembler(&self) -> Box<dyn Assembler> {
        Box::<NativeStream>::default()
    }
}

/// A message as Ollama has it: pictures beside the text, arguments as objects.
fn turn(message: &Message, all: &[Message]) -> Result<Value, GenerateError> {
    if let Some(name) = message.extra.keys().next() {
        let text = format!("`{name}` of a message is not known to ollama");
        return Err(GenerateError::invalid("messages", text));
    }
    if message.name.is_some() && message.role != Role::Tool {
        let text = "ollama knows no `name` of who speaks";
        return Err(GenerateError::invalid("messages", text));
    }
    let mut turn = json!({"role": message.role, "content": message.text()});
    let images: Vec<_> = message.images().map(base64).collect::<Result<_, _>>()?;
    if !images.is_empty() {
        turn["images"] = images.into();
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let arguments: Value = serde_json::from_str(&call.arguments).map_err(|error| {
                let message = format!("arguments of the call of `{}`: {error}", call.name);
                GenerateError::invalid("messages", message)
            })?;
            Ok(json!({"function": {"name": call.name, "arguments": arguments}}))
        });
        turn["tool_calls"] = calls.collect::<Result<Vec<_>, GenerateError>>()?.into();
    }
    if let Some(id) = &message.tool_call_id {
        // Ollama names the tool where others name the call.
        let calls = all.iter().flat_map(|message| &message.tool_calls);
        let call = calls.into_iter().find(|call| call.id == *id);
        if let Some(name) = call.map(|call| &call.name).or(message.name.as_ref()) {
            turn["tool_name"] = name.as_str().into();
        }
    }
    Ok(turn)
}

fn base64(image: &Image) -> Result<String, GenerateError> {
    if image
        .detail
        .as_deref()
        .is_some_and(|detail| detail != "auto")
    {
        let message = "ollama knows no `detail` of a picture";
        return Err(GenerateError::invalid("images", message));
    }
    match &image.source {
        ImageSource::Data { base64, .. } => Ok(base64.clone()),
        ImageSource::Url(_) => {
            let message = "ollama fetches no pictures: give the picture itself";
            Err(GenerateError::invalid("images", message))
        }
    }
}

struct Said<'a> {
    text: &'a str,
    thinking: &'a str,
}

/// What `/api/chat` or `/api/generate` says.
fn said(body: &Value) -> Option<Said<'_>> {
    let message = &body["message"];
    let (text, from) = if message.is_object() {
        (&message["content"], message)
    } else {
        (&body["response"], body)
    };
    Some(Said {
        text: text.as_str()?,
        thinking: from["thinking"].as_str().unwrap_or_default(),
    })
}

fn tool_calls(message: &Value) -> Vec<ToolCall> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let call = |(index, call): (usize, &Value)| {
        let function = &call["function"];
        let id = call["id"].as_str();
        ToolCall {
            id: id.map_or_else(|| format!("call_{index}"), str::to_owned),
            name: function["name"].as_str().unwrap_or_default().to_owned(),
            arguments: function["arguments"].to_string(),
        }
    };
    calls.enumerate().map(call).collect()
}

/// One entry a token that the body brings, spelled as OpenAI spells them.
fn logprobs(body: &Value) -> Result<Option<Vec<TokenLogprob>>, GenerateError> {
    let tokens = body["logprobs"].as_array();
    tokens
        .map(|tokens| tokens.iter().map(openai::token_logprob).collect())
        .transpose()
}

fn finish_reason(body: &Value, has_calls: bool) -> FinishReason {
    match body["done_reason"].as_str().unwrap_or("stop") {
        "stop" if has_calls => FinishReason::ToolCalls,
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        other => FinishReason::Other(other.to_owned()),
    }
}

fn usage(body: &Value) -> Usage {
    Usage::new(
        count(&body["prompt_eval_count"]),
        count(&body["eval_count"]),
    )
}

#[derive(Debug, Default)]
struct NativeStream {
    drafts: Drafts,
    calls: Vec<ToolCall>,
}

impl Assembler for NativeStream {
    fn push(&mut self, frame: &Frame) -> Result<Step, GenerateError> {
        let mut step = Step::default();
        let body = json(frame.data.as_bytes())?;
        if let Some(error) = openai::error_of(&body, ErrorKind::Server) {
            return Err(error);
        }
        if let Some(said) = said(&body) {
            self.drafts.push(0, said.text, said.thinking, &mut step)?;
        }
        if let Some(tokens) = logprobs(&body)? {
            let draft = self.drafts.draft(0)?;
            draft.logprobs.get_or_insert_default().extend(tokens);
        }
        self.calls.extend(tool_calls(&body["message"]));
        if body["done"] == true {
            let model = body["model"].as_str().unwrap_or_default();
            model.clone_into(&mut self.drafts.model);
            self.drafts.usage = usage(&body);
            let reason = finish_reason(&body, !self.calls.is_empty());
            self.drafts.draft(0)?.finish_reason = Some(reason);
            step.is_end = true;
        }
        Ok(step)
    }

    fn finish(self: Box<Self>) -> Result<GenerateResponse, GenerateError> {
        let mut response = self.drafts.finish()?;
        response.tool_calls = self.calls;
        Ok(response)
    }
}
