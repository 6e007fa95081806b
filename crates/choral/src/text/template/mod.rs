//! Chat templates: messages to the text that a model was trained on.
//!
//! Finds a model's template (`source.rs`) and renders it as transformers'
//! `apply_chat_template` does. The language itself is in `jinja`, with its
//! bounds on time and memory, so templates from strangers may be rendered in
//! the process. Knows nothing of token ids.

mod content;
mod named;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::jinja::{DateTime, Error, Kind, RenderLimits, Template};

/// A parsed chat template with the special tokens that it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    default: Template,
    /// Used instead when there are tools, if the model has one.
    tool_use: Option<Template>,
    special_tokens: BTreeMap<String, String>,
    limits: RenderLimits,
    /// Found out when it is first asked for.
    goes_through_parts: OnceLock<bool>,
    /// Likewise.
    shows_images: OnceLock<bool>,
}

/// What a template is rendered with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TemplateInput {
    /// An array of messages, each an object with `role` and usually `content`.
    pub messages: Value,
    /// An array of tool descriptions, in the shape of OpenAI's `tools`.
    pub tools: Option<Value>,
    /// End with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// More variables, such as `enable_thinking` or `documents`.
    pub kwargs: Map<String, Value>,
    /// What `strftime_now` sees; absent: the system clock, in UTC.
    pub now: Option<DateTime>,
}

impl TemplateInput {
    /// Messages to be answered.
    pub fn new(messages: Vec<Value>) -> Self {
        Self {
            messages: Value::Array(messages),
            add_generation_prompt: true,
            ..Self::default()
        }
    }
}

/// A template that cannot be found, parsed or rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The model's files are unreadable or hold no text where a template should
    /// be.
    #[error("chat template: {0}")]
    Source(String),
    /// The template does not parse.
    #[error("chat template, line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template refuses the conversation (`raise_exception`).
    #[error("chat template: {0}")]
    Raised(String),
    /// Rendering failed.
    #[error("chat template, line {line}: {message}")]
    Failed {
        /// Counted from 1.
        line: usize,
        /// What went wrong.
        message: String,
    },
    /// The template does more than a template may: see [`RenderLimits`].
    #[error("chat template, line {line}: {message}")]
    Limit {
        /// Counted from 1; 0 when the template as a whole is meant.
        line: usize,
        /// The limit.
        message: String,
    },
    /// A message's content holds something else than text.
    #[error("message {message} has content of type `{found}`, expected text")]
    Content {
        /// Which message, from 0.
        message: usize,
        /// The part's type.
        found: String,
    },
    /// An extra variable has the name of one that choral sets.
    #[error("`{0}` cannot be given as a template argument: it is set already")]
    ReservedName(String),
}

impl From<Error> for TemplateError {
    fn from(error: Error) -> Self {
        let Error {
            kind,
            message,
            line,
        } = error;
        match kind {
            Kind::Syntax => Self::Syntax { line, message },
            Kind::Raised => Self::Raised(message),
            Kind::Limit => Self::Limit { line, message },
            Kind::Undefined | Kind::Type | Kind::Security => Self::Failed { line, message },
        }
    }
}

impl ChatTemplate {
    /// Parses `source`; `special_tokens` (`bos_token` and so on) become
    /// variables.
    pub fn new(
        source: &str,
        special_tokens: BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        Ok(Self {
            default: Template::parse(source)?,
            tool_use: None,
            special_tokens,
            limits: RenderLimits::default(),
            goes_through_parts: OnceLock::new(),
            shows_images: OnceLock::new(),
        })
    }

    /// Sets how much one render may do.
    #[must_use]
    pub fn with_limits(mut self, limits: RenderLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Replaces the special tokens that the template may name.
    #[must_use]
    pub fn with_special_tokens(mut self, special_tokens: BTreeMap<String, String>) -> Self {
        self.special_tokens = special_tokens;
        self
    }

    /// The text of a conversation.
    ///
    /// Variables are those of transformers: `messages`, `tools` (`None` without
    /// tools), `documents` (`None` unless given), `add_generation_prompt`, the
    /// special tokens, and `kwargs`, which win over special tokens. Object keys
    /// keep their order.
    ///
    /// # Errors
    /// If the template refuses the conversation, fails, or goes beyond its
    /// limits. No template makes this panic, hang or exhaust memory.
    pub fn render(&self, input: &TemplateInput) -> Result<String, TemplateError> {
        let tools = input.tools.as_ref().unwrap_or(&Value::Null);
        let has_tools = tools.as_array().is_some_and(|tools| !tools.is_empty());
        let generation = Value::Bool(input.add_generation_prompt);
        let own = [
            ("messages", &input.messages),
            ("tools", tools),
            ("add_generation_prompt", &generation),
        ];
        if let Some((name, _)) = own
            .iter()
            .find(|(name, _)| input.kwargs.contains_key(*name))
        {
            return Err(TemplateError::ReservedName((*name).to_owned()));
        }
        let special: Vec<(&str, Value)> = self
            .special_tokens
            .iter()
            .filter(|(name, _)| !input.kwargs.contains_key(*name))
            .map(|(name, token)| (name.as_str(), Value::from(token.as_str())))
            .collect();
        let kwargs = input
            .kwargs
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        let documents =
            (!input.kwargs.contains_key("documents")).then_some(("documents", &Value::Null));
        let variables = own
            .into_iter()
            .chain(documents)
            .chain(special.iter().map(|(name, token)| (*name, token)))
            .chain(kwargs);
        let template = match &self.tool_use {
            Some(tool_use) if has_tools => tool_use,
            _ => &self.default,
        };
        let now = input.now.unwrap_or_else(DateTime::now_utc);
        Ok(template.render(variables, now, self.limits)?)
    }
}

/// Turns the arguments of tool calls from JSON text into values.
///
/// OpenAI's API gives `function.arguments` as a string; templates expect an
/// object, as transformers passes it. Strings that are not a JSON object stay as
/// they are.
pub fn parse_tool_arguments(messages: &mut Value) {
    let calls = messages
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(|message| message.get_mut("tool_calls")?.as_array_mut())
        .flatten();
    for call in calls {
        let arguments = call
            .get_mut("function")
            .and_then(|function| function.get_mut("arguments"));
        if let Some(arguments) = arguments
            && let Some(text) = arguments.as_str()
            && let Ok(parsed @ Value::Object(_)) = serde_json::from_str(text)
        {
            *arguments = parsed;
        }
    }
}
