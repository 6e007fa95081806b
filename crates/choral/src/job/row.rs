//! From a line of the input to what is to be run, or to what is wrong with it.

use super::adapter::Adapters;
use super::entry::{Entries, Entry, Fault, fields};
use super::key::RowKey;
use super::parameter::set_parameter;
use crate::engine::request::{Lora, Prompt};
use crate::sampling::SamplingParams;
use crate::text::TemplateInput;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How an input file is to be read. Blank lines are passed over in both.
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
    /// There is neither `prompt` nor `messages`, or both.
    InvalidPrompt,
    /// An earlier row has the same `custom_id`.
    DuplicateCustomId,
    /// The chat template refused the messages, or there is none.
    Template,
    /// Prompt and answer do not fit.
    TooLong,
    /// Computing the answer failed.
    Engine,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowHead {
    /// Its number, from 0; blank lines do not count.
    pub index: u64,
    /// Its line in the input, from 1.
    pub line: u64,
    /// Its `custom_id`, if it has a usable one.
    pub custom_id: Option<String>,
}

impl RowHead {
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

/// Reads rows from a file of prompts. Yields an error only when the file itself
/// cannot be read on.
#[derive(Debug)]
pub struct RowReader<R> {
    entries: Entries<R>,
    format: InputFormat,
    base: SamplingParams,
    adapters: Adapters,
}

impl<R: BufRead> RowReader<R> {
    /// Reads `reader`, giving rows the parameters `base` where they have none.
    pub fn new(reader: R, format: InputFormat, base: SamplingParams) -> Self {
        Self {
            entries: Entries::new(reader),
            format,
            base,
            adapters: Adapters::default(),
        }
    }

    /// Lets rows ask for adapters of those names; rows that ask for none run with
    /// `default`.
    #[must_use]
    pub fn with_adapters(mut self, known: &[String], default: Vec<Lora>) -> Self {
        let known = known.to_vec();
        self.adapters = Adapters { known, default };
        self
    }

    /// Counts the lines without content, which are no rows, while another thread
    /// reads.
    pub fn num_blank_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(self.entries.num_blank_lines())
    }

    fn row(&mut self, entry: Entry) -> Row {
        let Entry { index, line, text } = entry;
        let mut custom_id = None;
        let work = match (text, self.format) {
            (Err(fault), _) => Err(fault),
            (Ok(text), InputFormat::Text) => Ok(RowWork {
                input: RowInput::Prompt(Prompt::Text(text)),
                params: self.base.clone(),
                lora: self.adapters.default.clone(),
            }),
            (Ok(text), InputFormat::Jsonl) => self.json_work(&text, &mut custom_id),
        };
        Row {
            work: work.map_err(|fault| fault.at(line)),
            head: RowHead {
                index,
                line,
                custom_id,
            },
        }
    }

    fn json_work(&mut self, text: &str, custom_id: &mut Option<String>) -> Result<RowWork, Fault> {
        let fields = fields(text)?;
        // First, so that an error further on is reported under the row's name.
        *custom_id = self.entries.custom_id(&fields)?;
        let mut draft = Draft::new(self.base.clone(), &self.adapters);
        for (name, value) in fields {
            draft.set(&name, value)?;
        }
        draft.finish()
    }
}

impl<R: BufRead> Iterator for RowReader<R> {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        let entry = self.entries.next()?;
        Some(entry.map(|entry| self.row(entry)))
    }
}

/// A JSON row as its fields come in.
struct Draft<'a> {
    adapters: &'a Adapters,
    params: SamplingParams,
    /// What it asks for, and in which field.
    lora: Option<(Vec<Lora>, &'static str)>,
    prompt: Option<Prompt>,
    messages: Option<Vec<Value>>,
    tools: Option<Vec<Value>>,
    add_generation_prompt: Option<bool>,
    kwargs: Option<Map<String, Value>>,
    /// Which of two names for one thing was used.
    max_tokens_name: Option<String>,
    logprobs_off: bool,
    top_logprobs: bool,
}

impl<'a> Draft<'a> {
    fn new(params: SamplingParams, adapters: &'a Adapters) -> Self {
        Self {
            adapters,
            params,
            lora: None,
            prompt: None,
            messages: None,
            tools: None,
            add_generation_prompt: None,
            kwargs: None,
            max_tokens_name: None,
            logprobs_off: false,
            top_logprobs: false,
        }
    }

    fn set(&mut self, name: &str, value: Value) -> Result<(), Fault> {
        if value.is_null() && is_field(name) {
            return Ok(());
        }
        match name {
            "custom_id" => {}
            "prompt" => self.prompt = Some(prompt(value)?),
            "messages" => self.messages = Some(objects(name, value)?),
            "tools" => self.tools = Some(objects(name, value)?),
            "add_generation_prompt" => match value {
                Value::Bool(add) => self.add_generation_prompt = Some(add),
                other => return Err(Fault::value(name, &other, "true or false")),
            },
            "chat_template_kwargs" => match value {
                Value::Object(kwargs) => self.kwargs = Some(kwargs),
                other => return Err(Fault::value(name, &other, "an object")),
            },
            "lora" => {
                let lora = self.adapters.read(&value);
                let lora = lora.map_err(|expected| Fault::value(name, &value, &expected))?;
                self.ask_for(lora, "lora")?;
            }
            "model"
                if let Value::String(_) = &value
                    && let Ok(lora) = self.adapters.read(&value) =>
            {
                self.ask_for(lora, "model")?;
            }
            "model" => {
                let mut fault = Fault::value(name, &value, "no such field");
                fault.code = RowCode::UnknownParameter;
                fault
                    .message
                    .push_str(": a job runs one model, the command's");
                if !self.adapters.known.is_empty() {
                    fault.message.push_str(", and its adapters: ");
                    fault.message.push_str(&self.adapters.known.join(", "));
                }
                return Err(fault);
            }
            _ => {
                set_parameter(&mut self.params, name, &value)?;
                self.note(name, &value)?;
            }
        }
        Ok(())
    }

    /// `lora` and `model` are two ways to say one thing.
    fn ask_for(&mut self, lora: Vec<Lora>, field: &'static str) -> Result<(), Fault> {
        if let Some((_, other)) = self.lora.replace((lora, field)) {
            let message = format!("`{field}` and `{other}` both ask for adapters: give one");
            return Err(Fault::new(RowCode::InvalidParameter, field, message));
        }
        Ok(())
    }

    /// Finds parameters that contradict each other, in whatever order they come.
    fn note(&mut self, name: &str, value: &Value) -> Result<(), Fault> {
        match name {
            "max_tokens" | "max_completion_tokens" if !value.is_null() => {
                if let Some(other) = self.max_tokens_name.replace(name.to_owned()) {
                    let mut fault = Fault::value(name, value, "");
                    fault.message = format!("`{name}` and `{other}` are the same: give one");
                    return Err(fault);
                }
            }
            "logprobs" => self.logprobs_off = value == &Value::Bool(false),
            "top_logprobs" => self.top_logprobs = !value.is_null(),
            _ => {}
        }
        if self.logprobs_off && self.top_logprobs {
            let mut fault = Fault::value("top_logprobs", value, "");
            "`top_logprobs` is given, but `logprobs` is false".clone_into(&mut fault.message);
            return Err(fault);
        }
        Ok(())
    }

    fn finish(self) -> Result<RowWork, Fault> {
        let input = match (self.prompt, self.messages) {
            (Some(_), Some(_)) => {
                let message = "there are both `prompt` and `messages`: give one";
                return Err(invalid_prompt("messages", message));
            }
            (None, None) => {
                let message = "there is neither `prompt` nor `messages`";
                return Err(invalid_prompt("", message));
            }
            (Some(prompt), None) => {
                let of_chat = [
                    ("tools", self.tools.is_some()),
                    (
                        "add_generation_prompt",
                        self.add_generation_prompt.is_some(),
                    ),
                    ("chat_template_kwargs", self.kwargs.is_some()),
                ];
                if let Some((field, _)) = of_chat.iter().find(|(_, given)| *given) {
                    let message = format!("`{field}` is for `messages`, but there is a `prompt`");
                    return Err(invalid_prompt(field, message));
                }
                RowInput::Prompt(prompt)
            }
            (None, Some(messages)) => RowInput::Chat(ChatInput {
                messages,
                tools: self.tools,
                add_generation_prompt: self.add_generation_prompt.unwrap_or(true),
                kwargs: self.kwargs.unwrap_or_default(),
            }),
        };
        Ok(RowWork {
            input,
            params: self.params,
            lora: match self.lora {
                Some((lora, _)) => lora,
                None => self.adapters.default.clone(),
            },
        })
    }
}

fn invalid_prompt(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(RowCode::InvalidPrompt, field, message)
}

/// Whether `name` is a field of a row rather than a parameter.
fn is_field(name: &str) -> bool {
    matches!(
        name,
        "custom_id"
            | "prompt"
            | "messages"
            | "tools"
            | "add_generation_prompt"
            | "chat_template_kwargs"
            | "lora"
    )
}

fn prompt(value: Value) -> Result<Prompt, Fault> {
    let ids = |ids: &Vec<Value>| -> Option<Vec<u32>> {
        ids.iter().map(|id| id.as_u64()?.try_into().ok()).collect()
    };
    match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(items) if let Some(ids) = ids(&items) => Ok(Prompt::Tokens(ids)),
        other => {
            let mut fault = Fault::value("prompt", &other, "a string or a list of token ids");
            fault.code = RowCode::InvalidPrompt;
            Err(fault)
        }
    }
}

fn objects(field: &str, value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(items) if items.iter().all(Value::is_object) => Ok(items),
        other => Err(Fault::value(field, &other, "a list of objects")),
    }
}
