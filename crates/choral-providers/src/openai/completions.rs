//! `/completions`: a prompt that is continued as it stands.

use super::{chunk, finish_body, finish_reason, index, response_of};
use crate::lines::{Frame, Framing};
use crate::protocol::{Assembler, Drafts, Protocol, Step, given, renamed, string};
use choral::provider::{
    Choice, GenerateError, GenerateRequest, GenerateResponse, Input, TokenLogprob,
};
use serde_json::{Map, Value};

/// Completions.
#[derive(Debug)]
pub(crate) struct Completions {
    /// Parameters that have another name here.
    pub(crate) names: &'static [(&'static str, &'static str)],
    pub(crate) has_idempotency: bool,
}

impl Protocol for Completions {
    fn path(&self, _request: &GenerateRequest) -> &'static str {
        "completions"
    }

    fn body(
        &self,
        model: &str,
        request: &GenerateRequest,
        stream: bool,
    ) -> Result<Map<String, Value>, GenerateError> {
        let Input::Prompt(prompt) = &request.input else {
            let message = "completions continue a prompt; messages are for chat completions";
            return Err(GenerateError::invalid("messages", message));
        };
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        body.insert("prompt".to_owned(), prompt.as_str().into());
        let given = given(request).into_iter();
        body.extend(given.map(|(name, value)| (renamed(self.names, name), value)));
        finish_body(&mut body, request, stream)?;
        Ok(body)
    }

    fn response(&self, body: &Value) -> Result<GenerateResponse, GenerateError> {
        response_of(body, choice)
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn assembler(&self) -> Box<dyn Assembler> {
        Box::<CompletionStream>::default()
    }

    fn has_idempotency(&self) -> bool {
        self.has_idempotency
    }
}

fn choice(value: &Value) -> Result<Choice, GenerateError> {
    Ok(Choice {
        index: index(value)?,
        content: string(value, "text")?.to_owned(),
        reasoning: None,
        finish_reason: finish_reason(string(value, "finish_reason")?),
        tool_calls: Vec::new(),
        logprobs: logprobs(&value["logprobs"]),
    })
}

/// The older shape: lists side by side.
fn logprobs(value: &Value) -> Option<Vec<TokenLogprob>> {
    let tokens = value["tokens"].as_array()?;
    let entry = |(at, token): (usize, &Value)| {
        let top = value["top_logprobs"][at].as_object();
        let top = top.into_iter().flatten();
        let top = top.filter_map(|(token, logprob)| Some((token.clone(), logprob.as_f64()?)));
        let mut top: Vec<_> = top.collect();
        top.sort_by(|a, b| b.1.total_cmp(&a.1));
        Some(TokenLogprob {
            token: token.as_str()?.to_owned(),
            logprob: value["token_logprobs"][at].as_f64()?,
            top,
        })
    };
    Some(tokens.iter().enumerate().filter_map(entry).collect())
}

#[derive(Debug, Default)]
struct CompletionStream {
    drafts: Drafts,
}

impl Assembler for CompletionStream {
    fn push(&mut self, frame: &Frame) -> Result<Step, GenerateError> {
        let mut step = Step::default();
        let Some(chunk) = chunk(frame, &mut self.drafts)? else {
            step.is_end = true;
            return Ok(step);
        };
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let text = choice["text"].as_str().unwrap_or_default();
            let index = index(choice)?;
            self.drafts.push(index, text, "", &mut step)?;
            let draft = self.drafts.draft(index)?;
            if let Some(tokens) = logprobs(&choice["logprobs"]) {
                draft.logprobs.get_or_insert_default().extend(tokens);
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                draft.finish_reason = Some(finish_reason(reason));
            }
        }
        Ok(step)
    }

    fn finish(self: Box<Self>) -> Result<GenerateResponse, GenerateError> {
        self.drafts.finish()
    }
}
