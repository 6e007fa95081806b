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
    /// `openai`.) Pictures were taken out before and left `{"type": "image"}`, for templates
    /// that go through parts and write what stands for one.
    ///
    /// # Errors
    /// As [`render`](Self::render); or if a part is neither text nor a picture that the
    /// template has a place for.
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
            let is_known =
                |part: &&Value| text_of(part).is_some() || (is_image(part) && self.shows_images());
            if let Some(unknown) = parts.iter().find(|part| !is_known(part)) {
                return Err(TemplateError::Content {
                    message: index,
                    found: unknown["type"]
                        .as_str()
                        .unwrap_or("unknown type")
                        .to_owned(),
                });
            }
            if !self.goes_through_parts() {
                let texts: Vec<_> = parts.iter().filter_map(text_of).collect();
                *content = Value::String(texts.join("\n"));
            }
        }
        self.render(&input)
    }

    /// Whether the template writes something for a picture among parts. Found out by
    /// asking it.
    fn shows_images(&self) -> bool {
        let render = |parts: Value| {
            let input = TemplateInput {
                messages: json!([{"role": "user", "content": parts}]),
                ..TemplateInput::default()
            };
            self.render(&input).ok()
        };
        *self.shows_images.get_or_init(|| {
            let text = json!({"type": "text", "text": PROBE});
            let with = render(json!([{"type": "image"}, text]));
            self.goes_through_parts() && with.is_some() && with != render(json!([text]))
        })
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

/// Whether a part stands for a picture that was taken out of it
/// ([`take_images`](crate::vision::message::take_images)). One that is still in it nobody
/// would look at.
fn is_image(part: &Value) -> bool {
    *part == json!({"type": "image"})
}

/// A part's text, if it is one.
fn text_of(part: &Value) -> Option<&str> {
    match part["type"].as_str() {
        Some("text" | "input_text" | "output_text") => part["text"].as_str(),
        _ => part.as_str(),
    }
}
