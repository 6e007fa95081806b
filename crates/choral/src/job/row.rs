//! What a row is: what is to be run, or what is wrong with it.

use super::key::RowKey;
use crate::engine::request::{Lora, Prompt};
use crate::provider::GenerateRequest;
use crate::sampling::SamplingParams;
use crate::text::TemplateInput;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// How a file of lines is to be read. Blank lines are passed over in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// Each line is a prompt.
    Text,
    /// Each line is a JSON object.
    Jsonl,
}

impl InputFormat {
    /// What a file's first bytes look like: JSONL if the first that is no white
    /// space is `{`. `None` for the beginning of a JSON array, which is neither.
    pub fn sniff(first: &[u8]) -> Option<Self> {
        let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first);
        match first.trim_ascii_start() {
            [b'{', ..] => Some(Self::Jsonl),
            // A prompt may well begin with `[INST]`.
            [b'[', rest @ ..] => match rest.trim_ascii_start().first() {
                None | Some(b'{' | b'[' | b'"' | b']') => None,
                Some(_) => Some(Self::Text),
            },
            _ => Some(Self::Text),
        }
    }
}

/// What kind of thing went wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RowCode {
    /// The line is too long or not UTF-8.
    InvalidLine,
    /// The line is not a JSON object, or names a field twice.
    InvalidJson,
    /// No field or parameter has this name.
    UnknownParameter,
    /// A field or parameter has a value that it cannot have.
    InvalidParameter,
    /// There is neither `prompt` nor `messages`, or both; or nothing in it.
    InvalidPrompt,
    /// No model of that name runs here.
    UnknownModel,
    /// An earlier row has the same `custom_id`.
    DuplicateCustomId,
    /// The chat template refused the messages, or there is none.
    Template,
    /// A picture cannot be used, or the model reads text only.
    InvalidImage,
    /// Prompt and answer do not fit.
    TooLong,
    /// Computing the answer failed.
    Engine,
    /// The provider gave no answer.
    Provider,
}

/// What is wrong with a row, as its answer reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// What kind of error.
    pub code: RowCode,
    /// The cause, in words.
    pub message: String,
    /// The line of the input, from 1.
    pub line: u64,
    /// The field that is at fault, if one is.
    pub field: Option<String>,
    /// The file of the line, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Arc<str>>,
}

/// One row of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which row it is.
    pub head: RowHead,
    /// What is to be run, or why it cannot be.
    pub work: Result<RowWork, RowError>,
}

/// Which row of the input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowHead {
    /// Its number, from 0; blank lines do not count.
    pub index: u64,
    /// Its line in the input, from 1.
    pub line: u64,
    /// Its file, where there are several.
    pub file: Option<Arc<str>>,
    /// Its `custom_id`, if it has a usable one.
    pub custom_id: Option<String>,
    /// The `custom_id` that it has, but an earlier row too, so that it is no key.
    pub repeated_id: Option<String>,
    /// Whose format it came in, and its answer goes in.
    pub form: Form,
    /// What stands in the row beside what is run, to be carried through to the answer.
    pub fields: Map<String, Value>,
}

/// Whose format a row is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Form {
    /// choral's.
    #[default]
    Own,
    /// OpenAI's batch format.
    OpenAi {
        /// What is asked.
        endpoint: Endpoint,
        /// The model that the row names, to be named by its answer.
        model: String,
    },
}

impl Form {
    /// OpenAI's, before anything else is known of the row.
    pub(super) fn unknown_request() -> Self {
        Self::OpenAi {
            endpoint: Endpoint::default(),
            model: String::new(),
        }
    }
}

/// What a row of OpenAI's batch format asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    #[default]
    Chat,
    /// `/v1/completions`
    Completions,
}

impl RowHead {
    /// An error of this row, in a field that says what is to be run; empty where none
    /// is at fault. In OpenAI's format these are fields of the `body`.
    pub fn error(&self, code: RowCode, message: String, field: &str) -> RowError {
        let field = match &self.form {
            _ if field.is_empty() => None,
            Form::Own => Some(field.to_owned()),
            Form::OpenAi { .. } => Some(format!("body.{field}")),
        };
        RowError {
            code,
            message,
            line: self.line,
            field,
            file: self.file.clone(),
        }
    }

    /// The `custom_id` that it came with, usable or not.
    pub fn given_id(&self) -> Option<&str> {
        let id = self.custom_id.as_ref().or(self.repeated_id.as_ref());
        id.map(String::as_str)
    }

    /// What identifies the row.
    pub fn key(&self) -> RowKey {
        match &self.custom_id {
            Some(id) => RowKey::Id(id.clone()),
            None => RowKey::Row(self.index),
        }
    }
}

/// A row that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct RowWork {
    /// What is to be continued or answered.
    pub input: RowInput,
    /// The job's parameters, with the row's own over them.
    pub params: SamplingParams,
    /// The adapters that it asks for, or the job's.
    pub lora: Vec<Lora>,
}

/// What is to be continued or answered.
#[derive(Debug, Clone, PartialEq)]
pub enum RowInput {
    /// A prompt, used as it is.
    Prompt(Prompt),
    /// Messages, for the chat template.
    Chat(ChatInput),
    /// A request to a provider, which has parameters of its own.
    Request(Box<GenerateRequest>),
}

/// Messages, and what else goes to the chat template. Its JSON is passed on as it
/// is: what a message may hold is the template's affair.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatInput {
    /// The messages, objects each.
    pub messages: Vec<Value>,
    /// Descriptions of tools.
    pub tools: Option<Vec<Value>>,
    /// Ends the prompt with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Further variables (`chat_template_kwargs`).
    pub kwargs: Map<String, Value>,
}

impl ChatInput {
    /// Messages to be answered.
    pub fn new(messages: Vec<Value>) -> Self {
        Self {
            messages,
            tools: None,
            add_generation_prompt: true,
            kwargs: Map::new(),
        }
    }
}

impl From<&ChatInput> for TemplateInput {
    fn from(input: &ChatInput) -> Self {
        Self {
            messages: Value::Array(input.messages.clone()),
            tools: input.tools.clone().map(Value::Array),
            add_generation_prompt: input.add_generation_prompt,
            kwargs: input.kwargs.clone(),
            now: None,
        }
    }
}
