//! Messages as they are written.

use super::{error_of, finish_reason, usage};
use crate::lines::Frame;
use crate::protocol::{Assembler, Drafts, Step, json, malformed};
use choral::provider::{ErrorKind, GenerateError, GenerateResponse};
use serde_json::{Map, Value};

#[derive(Debug, Default)]
pub(super) struct MessageStream {
    drafts: Drafts,
    /// Of `message_start`, with what `message_delta` brings on top.
    usage: Map<String, Value>,
    stop_sequence: Option<String>,
}

impl Assembler for MessageStream {
    fn push(&mut self, frame: &Frame) -> Result<Step, GenerateError> {
        let mut step = Step::default();
        let event = json(frame.data.as_bytes())?;
        let index = event["index"].as_u64().unwrap_or(0);
        let index = u32::try_from(index).map_err(|_| malformed(format!("block {index}")))?;
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                let message = &event["message"];
                let model = message["model"].as_str().unwrap_or_default();
                model.clone_into(&mut self.drafts.model);
                self.count(&message["usage"]);
                self.drafts.draft(0)?;
            }
            "content_block_start" => {
                let block = &event["content_block"];
                let text = |name: &str| block[name].as_str().unwrap_or_default();
                match text("type") {
                    "tool_use" => {
                        let call = self.drafts.draft(0)?.tool_call(index)?;
                        text("id").clone_into(&mut call.id);
                        text("name").clone_into(&mut call.name);
                    }
                    "text" => self.drafts.push(0, text("text"), "", &mut step)?,
                    "thinking" => self.drafts.push(0, "", text("thinking"), &mut step)?,
                    _ => {}
                }
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let text = |name: &str| delta[name].as_str().unwrap_or_default();
                match text("type") {
                    "text_delta" => self.drafts.push(0, text("text"), "", &mut step)?,
                    "thinking_delta" => self.drafts.push(0, "", text("thinking"), &mut step)?,
                    "input_json_delta" => {
                        // The vendor's own tools have arguments as well.
                        let draft = self.drafts.draft(0)?;
                        if let Some(call) = draft.tool_calls.get_mut(&index) {
                            call.arguments.push_str(text("partial_json"));
                        }
                    }
                    _ => {}
                }
            }
            "message_delta" => {
                self.count(&event["usage"]);
                let delta = &event["delta"];
                if let Some(reason) = delta["stop_reason"].as_str() {
                    self.drafts.draft(0)?.finish_reason = Some(finish_reason(reason));
                }
                let stop = delta["stop_sequence"].as_str();
                self.stop_sequence = stop.map(str::to_owned);
            }
            "message_stop" => step.is_end = true,
            "error" => return Err(error_of(&event, ErrorKind::Server)),
            // `ping`, `content_block_stop`, and what may be added.
            _ => {}
        }
        Ok(step)
    }

    fn finish(mut self: Box<Self>) -> Result<GenerateResponse, GenerateError> {
        self.drafts.usage = usage(&Value::Object(self.usage));
        let mut response = self.drafts.finish()?;
        for call in &mut response.tool_calls {
            // A call without arguments has no pieces of them.
            if call.arguments.is_empty() {
                call.arguments.push_str("{}");
            }
        }
        if let Some(stop) = self.stop_sequence {
            let metadata = &mut response.metadata;
            metadata.insert("stop_reason".to_owned(), stop.into());
        }
        Ok(response)
    }
}

impl MessageStream {
    /// Counts are totals: later ones replace earlier ones.
    fn count(&mut self, usage: &Value) {
        let counts = usage.as_object().into_iter().flatten();
        let counts = counts.filter(|(_, count)| count.is_u64());
        self.usage
            .extend(counts.map(|(name, count)| (name.clone(), count.clone())));
    }
}
