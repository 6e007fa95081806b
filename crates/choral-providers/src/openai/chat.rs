//! `/chat/completions`.

use super::{chunk, finish_body, finish_reason, index, response_of, token_logprob};
use crate::lines::{Frame, Framing};
use crate::protocol::{
    Assembler, Draft, Drafts, Protocol, Step, given, malformed, renamed, string,
};
use choral::provider::{
    Choice, FinishReason, GenerateError, GenerateRequest, GenerateResponse, TokenLogprob, ToolCall,
};
use serde_json::{Map, Value};

/// Chat completions.
#[derive(Debug)]
pub(crate) struct Chat {
    /// OpenAI renamed `max_tokens`, and its newer models take the new name alone.
    pub(crate) max_tokens: &'static str,
    /// Parameters that have another name here.
    pub(crate) names: &'static [(&'static str, &'static str)],
    pub(crate) has_idempotency: bool,
}

impl Protocol for Chat {
    fn path(&self, _request: &GenerateRequest) -> &'static str {
        "chat/completions"
    }

    fn body(
        &self,
        model: &str,
        request: &GenerateRequest,
        stream: bool,
    ) -> Result<Map<String, Value>, GenerateError> {
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        body.insert("messages".to_owned(), value(request.to_messages()));
        for (name, value) in given(request) {
            match name.as_str() {
                "max_tokens" => body.insert(self.max_tokens.to_owned(), value),
                "logprobs" => {
                    body.insert("top_logprobs".to_owned(), value);
                    body.insert(name, true.into())
                }
                _ => body.insert(renamed(self.names, name), value),
            };
        }
        if !request.tools.is_empty() {
            body.insert("tools".to_owned(), value(&request.tools));
        }
        if let Some(choice) = &request.tool_choice {
            body.insert("tool_choice".to_owned(), value(choice));
        }
        if let Some(format) = &request.response_format {
            body.insert("response_format".to_owned(), value(format));
        }
        finish_body(&mut body, request, stream)?;
        Ok(body)
    }

    fn response(&self, body: &Value) -> Result<GenerateResponse, GenerateError> {
        let mut response = response_of(body, choice)?;
        let refusal = &body["choices"][0]["message"]["refusal"];
        if !refusal.is_null() {
            response.finish_reason = FinishReason::ContentFilter;
            let metadata = &mut response.metadata;
            metadata.insert("refusal".to_owned(), refusal.clone());
        }
        Ok(response)
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn assembler(&self) -> Box<dyn Assembler> {
        Box::<ChatStream>::default()
    }

    fn has_idempotency(&self) -> bool {
        self.has_idempotency
    }
}

pub(super) fn value(of: impl serde::Serialize) -> Value {
    serde_json::to_value(of).expect("messages, tools and formats are JSON")
}

fn choice(value: &Value) -> Result<Choice, GenerateError> {
    let message = &value["message"];
    if !message.is_object() {
        return Err(malformed("a choice without a message"));
    }
    let calls = message["tool_calls"].as_array();
    let calls = calls.into_iter().flatten().map(|call| {
        let call: Result<ToolCall, _> = serde_json::from_value(call.clone());
        call.map_err(|error| malformed(format!("a tool call that is none: {error}")))
    });
    Ok(Choice {
        index: index(value)?,
        content: message["content"].as_str().unwrap_or_default().to_owned(),
        reasoning: reasoning(message).map(str::to_owned),
        finish_reason: finish_reason(string(value, "finish_reason")?),
        tool_calls: calls.collect::<Result<_, _>>()?,
        logprobs: logprobs(&value["logprobs"])?,
    })
}

/// Not OpenAI's, but vLLM's, llama.cpp's and LM Studio's, in two spellings.
fn reasoning(message: &Value) -> Option<&str> {
    let names = ["reasoning_content", "reasoning"];
    names.into_iter().find_map(|name| message[name].as_str())
}

fn logprobs(value: &Value) -> Result<Option<Vec<TokenLogprob>>, GenerateError> {
    let tokens = value["content"].as_array();
    tokens
        .map(|tokens| tokens.iter().map(token_logprob).collect())
        .transpose()
}

#[derive(Debug, Default)]
struct ChatStream {
    drafts: Drafts,
    refusal: String,
}

impl Assembler for ChatStream {
    fn push(&mut self, frame: &Frame) -> Result<Step, GenerateError> {
        let mut step = Step::default();
        let Some(chunk) = chunk(frame, &mut self.drafts)? else {
            step.is_end = true;
            return Ok(step);
        };
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let delta = &choice["delta"];
            let index = index(choice)?;
            let text = delta["content"].as_str().unwrap_or_default();
            let thought = reasoning(delta).unwrap_or_default();
            self.drafts.push(index, text, thought, &mut step)?;
            if index == 0 {
                let refusal = delta["refusal"].as_str().unwrap_or_default();
                self.refusal.push_str(refusal);
            }
            let draft = self.drafts.draft(index)?;
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                add_call(draft, call)?;
            }
            if let Some(tokens) = logprobs(&choice["logprobs"])? {
                draft.logprobs.get_or_insert_default().extend(tokens);
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                draft.finish_reason = Some(finish_reason(reason));
            }
        }
        Ok(step)
    }

    fn finish(self: Box<Self>) -> Result<GenerateResponse, GenerateError> {
        let mut response = self.drafts.finish()?;
        if !self.refusal.is_empty() {
            response.finish_reason = FinishReason::ContentFilter;
            let metadata = &mut response.metadata;
            metadata.insert("refusal".to_owned(), self.refusal.into());
        }
        Ok(response)
    }
}

/// A piece of a tool call: its name comes first, its arguments bit by bit.
fn add_call(draft: &mut Draft, piece: &Value) -> Result<(), GenerateError> {
    let index = index(piece)?;
    let call = draft.tool_call(index)?;
    if let Some(id) = piece["id"].as_str().filter(|id| !id.is_empty()) {
        id.clone_into(&mut call.id);
    }
    let text = |name: &str| piece["function"][name].as_str().unwrap_or_default();
    call.name.push_str(text("name"));
    call.arguments.push_str(text("arguments"));
    Ok(())
}
