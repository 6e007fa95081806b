//! Messages whose content comes in parts, as OpenAI's API has them.

use super::{ChatTemplate, TemplateError, TemplateInput};
use serde_json::{Value, json};

/// What a template that knows of parts prints of this, and one that does not prints
/// with the part's own name.
const PROBE: &str = "choral-content-probe";

impl ChatTemplate {
    /// The text of a conversation as it came over an API: the arguments of tool calls
    /// become objects ([`parse_tool_arguments`](super::parse_tool_arguments)), and
    /// content in parts becomes a string, its texts joined by line feeds, unless the
    /// template goes through parts itself. (vLLM: `content_format` `string` and
    /// `openai`.)
    ///
    /// # Errors
    /// As [`render`](Self::render); or if a part is no text.
    pub fn render_chat(&self, mut input: TemplateInput) -> Result<String, TemplateError> {
        super::parse_tool_arguments(&mut input.messages);
        let messages = input.messages.as_array_mut().into_iter().flatten();
        for (index, message) in messages.enumerate() {
            let Some(content) = message.get_mut("content") else {
                continue;
            };
            let Some(parts) = content.as_array() else {
                continue;
            };
            let texts: Option<Vec<_>> = parts.iter().map(text_of).collect();
            let texts = texts.ok_or_else(|| TemplateError::Content {
                message: index,
                found: parts
                    .iter()
                    .find(|part| text_of(part).is_none())
                    .and_then(|part| part["type"].as_str())
                    .unwrap_or("unknown type")
                    .to_owned(),
            })?;
            if !self.goes_through_parts() {
                *content = Value::String(texts.join("\n"));
            }
        }
        self.render(&input)
    }

    /// Whether the template prints the text of a part, rather than the part as it is
    /// written in a program. Found out by asking it.
    fn goes_through_parts(&self) -> bool {
        *self.goes_through_parts.get_or_init(|| {
            let part = json!({"type": "text", "text": PROBE});
            let rendered = self.render(&TemplateInput {
                messages: json!([{"role": "user", "content": [part]}]),
                add_generation_prompt: true,
                ..TemplateInput::default()
            });
            rendered.is_ok_and(|text| {
                let is_written_out = ["'type'", "\"type\""].iter().any(|key| text.contains(key));
                text.contains(PROBE) && !is_written_out
            })
        })
    }
}

/// A part's text, if it is one.
fn text_of(part: &Value) -> Option<&str> {
    match part["type"].as_str() {
        Some("text" | "input_text" | "output_text") => part["text"].as_str(),
        _ => part.as_str(),
    }
}
